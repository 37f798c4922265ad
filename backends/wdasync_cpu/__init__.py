"""The CPU backend of wdasync."""
