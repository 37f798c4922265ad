"""A backend of wdasync for a device in the shape of Intel's IDXD."""

from .backend import IdxdBackend, Options

__all__ = ["IdxdBackend", "Options", "backend"]

#: What the entry point names.
backend = IdxdBackend()
