"""The emulated HiSilicon chip, a backend of wdasync."""
