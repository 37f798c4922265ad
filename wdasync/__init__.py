"""Await work that an accelerator, its software model or CPU threads do."""
