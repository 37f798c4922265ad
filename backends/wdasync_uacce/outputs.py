"""Memory for outputs that the framework owns.

A device writes where it was told to, so the room is chosen before the size is known. Small and medium outputs go
through buffers that are used again and again: their pages are there, and the copy into ``bytes`` is short. A
large output is written straight into the ``bytes`` object that the caller will get, which is then cut to length:
copying megabytes would hold up the event loop. So is an output of any size that another device reads next.
"""

from __future__ import annotations

import ctypes
from typing import Final, Protocol

from .files import AddressSpace

__all__ = ["MAX_COPY", "Output", "OutputPool"]

#: The longest output that is copied; more than that is not done on an event loop.
MAX_COPY: Final = 256 << 10
_SMALLEST: Final = 1 << 10
#: What the pool keeps of each size.
_KEEP: Final = 2 << 20

_PY = ctypes.PYFUNCTYPE
_bytes_new = _PY(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_ssize_t)(
    ("PyBytes_FromStringAndSize", ctypes.pythonapi)
)
_bytes_data = _PY(ctypes.c_void_p, ctypes.c_void_p)(("PyBytes_AsString", ctypes.pythonapi))
_bytes_resize = _PY(ctypes.c_int, ctypes.POINTER(ctypes.c_void_p), ctypes.c_ssize_t)(
    ("_PyBytes_Resize", ctypes.pythonapi)
)
_decref = _PY(None, ctypes.c_void_p)(("Py_DecRef", ctypes.pythonapi))


class Output(Protocol):
    """Room for one output.

    :ivar view: its memory; as long as the room is
    """

    view: memoryview

    def take(self, nbytes: int) -> bytes:
        """The first ``nbytes``; the room is given back."""

    def drop(self) -> None:
        """Give the room back. After ``take`` it does nothing."""


class _Block:
    """A buffer of the pool, or memory of a reserved region (without a pool)."""

    __slots__ = ("_pool", "view")

    def __init__(self, view: memoryview, pool: list[memoryview] | None) -> None:
        self.view = view
        self._pool = pool

    def take(self, nbytes: int) -> bytes:
        data = bytes(self.view[:nbytes])
        self.drop()
        return data

    def drop(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None and (len(pool) + 1) * len(self.view) <= _KEEP:
            pool.append(self.view)
        self.view = _NOTHING


_NOTHING: Final = memoryview(bytearray())


class _WholeBytes:
    """A ``bytes`` object that nobody has seen yet: one reference, ours, held as a bare pointer."""

    __slots__ = ("_object", "view")

    def __init__(self, nbytes: int) -> None:
        self._object: int | None = _bytes_new(None, nbytes)
        self.view = memoryview((ctypes.c_char * nbytes).from_address(_bytes_data(self._object))).cast("B")

    def take(self, nbytes: int) -> bytes:
        self.view = _NOTHING
        pointer, self._object = ctypes.c_void_p(self._object), None
        _bytes_resize(ctypes.byref(pointer), nbytes)
        try:
            data: bytes = ctypes.cast(pointer, ctypes.py_object).value
        finally:
            _decref(pointer)
        return data

    def drop(self) -> None:
        pointer, self._object = self._object, None
        self.view = _NOTHING
        if pointer is not None:
            _decref(pointer)

    def __del__(self) -> None:
        self.drop()


class OutputPool:
    """Gives out room for outputs. One queue has one.

    :param space: the queue's address space: one that is not direct gives all memory from its reserved region
    """

    __slots__ = ("_free", "_space")

    def __init__(self, space: AddressSpace) -> None:
        self._space = space
        self._free: dict[int, list[memoryview]] = {}

    def room(self, nbytes: int, whole: bool = False) -> Output:
        """Room for at least ``nbytes``.

        :param whole: in the ``bytes`` object that is handed out, where the device can write there
        :raises OSError: ENOMEM: the reserved region is used up
        """
        if (whole or nbytes > MAX_COPY) and self._space.direct:
            return _WholeBytes(nbytes)
        size = max(1 << (nbytes - 1).bit_length(), _SMALLEST)
        if not self._space.direct:
            view = self._space.allocate(size)
            if view is None:
                raise TypeError(
                    "address space that is not direct: expected allocate() to give memory, got None"
                )
            return _Block(view, None)
        free = self._free.setdefault(size, [])
        return _Block(free.pop() if free else memoryview(bytearray(size)), free)
