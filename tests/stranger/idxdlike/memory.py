"""Addresses: of the buffers of operations, and of the records that the device writes."""

from __future__ import annotations

import ctypes
import mmap
from typing import Final

from .layout import RECORD_SIZE

_SIMPLE: Final = 0
_WRITABLE: Final = 1


class _PyBuffer(ctypes.Structure):
    """``Py_buffer`` of CPython's buffer protocol."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.py_object),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    )


_get_buffer = ctypes.pythonapi.PyObject_GetBuffer
_get_buffer.argtypes = (ctypes.py_object, ctypes.POINTER(_PyBuffer), ctypes.c_int)
_release_buffer = ctypes.pythonapi.PyBuffer_Release
_release_buffer.argtypes = (ctypes.POINTER(_PyBuffer),)


class Pinned:
    """Memory of somebody else, that stays where it is until :meth:`release`.

    :ivar address: where it is
    :ivar nbytes: how long it is
    """

    def __init__(self, owner: bytes | bytearray | memoryview | mmap.mmap, *, writable: bool = False) -> None:
        self._buffer = _PyBuffer()
        _get_buffer(owner, ctypes.byref(self._buffer), _WRITABLE if writable else _SIMPLE)
        self.address: int = self._buffer.buf or 0
        self.nbytes: int = self._buffer.len
        self._held = True

    def release(self) -> None:
        if self._held:
            self._held = False
            _release_buffer(ctypes.byref(self._buffer))


class Records:
    """Completion records of one queue, one a slot, aligned as the device wants them."""

    def __init__(self, count: int) -> None:
        self._memory = mmap.mmap(-1, count * RECORD_SIZE)
        self._pin = Pinned(self._memory)

    def address(self, slot: int) -> int:
        return self._pin.address + slot * RECORD_SIZE

    def clear(self, slot: int) -> None:
        start = slot * RECORD_SIZE
        self._memory[start : start + RECORD_SIZE] = bytes(RECORD_SIZE)

    def status(self, slot: int) -> int:
        """The status byte, and nothing else: the rest is only good when this is not 0."""
        return self._memory[slot * RECORD_SIZE]

    def read(self, slot: int) -> bytes:
        start = slot * RECORD_SIZE
        return self._memory[start : start + RECORD_SIZE]

    def close(self) -> None:
        self._pin.release()
        self._memory.close()


def lazily(nbytes: int) -> mmap.mmap:
    """Memory that costs nothing until it is touched, for outputs of unknown length."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
    return mmap.mmap(-1, max(nbytes, 1), flags=flags)
