"""Memory that is shared with a device: mapped regions, and the address of a buffer.

A word that the other side reads or writes is one aligned access made in C, with its barrier. Python's own ways to
write a word (``struct.pack_into``, a slice of a ``memoryview``) copy bytes: such a word can be seen half written.
"""

from __future__ import annotations

from collections.abc import Sequence, Sized

from wdasync.buffers import Segment

from ._native import ffi, lib
from .files import RegionKind

__all__ = ["MemoryRegion", "ProcessSpace", "address_of", "fence"]

fence = lib.wdu_fence


def address_of(buffer: object) -> int:
    """Where the bytes of a contiguous buffer begin. The caller keeps the buffer alive and in place.

    :raises TypeError: it is not bytes-like
    """
    return int(ffi.cast("uintptr_t", ffi.from_buffer(buffer)))


class MemoryRegion:
    """A region that is memory of this process: every region of the kernel, and any DUS region.

    :param kind: which region of a queue
    :param address: where it begins
    :param size: bytes
    :param keep: what keeps the mapping alive
    """

    __slots__ = ("_address", "_keep", "kind", "size")

    def __init__(self, kind: RegionKind, address: int, size: int, keep: object = None) -> None:
        self.kind = kind
        self.size = size
        self._address = address
        self._keep = keep

    @property
    def address(self) -> int | None:
        return self._address

    @property
    def view(self) -> memoryview | None:
        if not self.size:
            return None
        return memoryview(ffi.buffer(ffi.cast("char *", self._address), self.size)).cast("B")

    def load32(self, offset: int) -> int:
        return lib.wdu_load32(self._at(offset, 4))

    def load64(self, offset: int) -> int:
        return lib.wdu_load64(self._at(offset, 8))

    def store32(self, offset: int, value: int) -> None:
        lib.wdu_store32(self._at(offset, 4), value)

    def store64(self, offset: int, value: int) -> None:
        lib.wdu_store64(self._at(offset, 8), value)

    def read(self, offset: int, nbytes: int) -> bytes:
        self._check(offset, nbytes)
        data = bytearray(nbytes)
        lib.wdu_read(self._address + offset, ffi.from_buffer(data), nbytes)
        return bytes(data)

    def write(self, offset: int, data: bytes) -> None:
        self._check(offset, len(data))
        lib.wdu_write(self._address + offset, data, len(data))

    def forget(self) -> None:
        """The mapping is gone: every later access raises ValueError."""
        self.size = 0
        self._keep = None

    def _at(self, offset: int, width: int) -> int:
        if offset % width:
            raise ValueError(
                f"{self.kind.name} region: expected an offset aligned to {width} bytes, got {offset:#x}"
            )
        self._check(offset, width)
        return self._address + offset

    def _check(self, offset: int, nbytes: int) -> None:
        if not 0 <= offset <= self.size - nbytes:
            raise ValueError(
                f"{self.kind.name} region: expected {nbytes} bytes within {self.size:#x}, got offset {offset:#x}"
                f"{'' if self.size else '; it is not mapped any more'}"
            )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.kind.name} {self.size:#x} bytes at {self._address:#x}>"


class ProcessSpace:
    """The address space of this process, shared with the device: an address is a pointer."""

    direct = True

    def grant(self, buffer: Sized, writable: bool, resident: bool = False) -> int:
        """The buffer's address. The kernel binds the whole space and brings in pages, so there is nothing else to do."""
        return address_of(buffer)

    def revoke(self, address: int, nbytes: int, writable: bool) -> None:
        """Nothing: whole pages belong to the process as long as it lives."""

    def peek(self, pieces: Sequence[Segment]) -> bytes:
        """A plain copy: it has no guard against files that shrink yet."""
        return b"".join(pieces)

    def poke(self, memory: memoryview, data: bytes) -> int:
        """A plain copy, as :meth:`peek`."""
        memory[:] = data
        return len(data)

    def allocate(self, nbytes: int) -> memoryview | None:
        """``None``: any memory will do."""
        return None
