"""The CPU backend of wdasync: codecs on worker threads of this process, outside the interpreter lock."""

from .backend import CpuBackend, Options

__all__ = ["CpuBackend", "Options", "backend"]

#: What the entry point names.
backend = CpuBackend()
