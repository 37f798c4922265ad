"""Boots Debian's own kernel in QEMU, with its uacce core and our device, and runs tests inside."""
