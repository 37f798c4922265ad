"""Memory that is shared with a device: mapped regions, and the address of a buffer.

A word that the other side reads or writes is one aligned access made in C, with its barrier. Python's own ways to
write a word (``struct.pack_into``, a slice of a ``memoryview``) copy bytes: such a word can be seen half written.

When a device is removed, its mappings stay and have nothing behind them: an access is SIGBUS, which ends the process. All
accesses in C are guarded; here they raise :class:`~wdasync_uacce.errnos.DeviceGone`, an OSError with ENXIO.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence, Sized
from typing import Any, Final

from wdasync.buffers import Segment

from ._native import ffi, lib
from .errnos import Call, CallRefused, DeviceGone, ForeignQueue, UacceError
from .files import RegionKind

__all__ = ["MemoryRegion", "ProcessSpace", "address_of", "fence"]

fence = lib.wdu_fence

#: What a load gives when there is nothing.
_ALL_ONES: Final = {4: (1 << 32) - 1, 8: (1 << 64) - 1}


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
    :param owner: for people: whose region it is

    :ivar handle: the region as C knows it; for those who make many accesses in one call
    """

    def __init__(
        self, kind: RegionKind, address: int, size: int, keep: object = None, owner: str = "queue"
    ) -> None:
        self.kind = kind
        self.size = size
        self.owner = owner
        self.handle: Any = ffi.new("wdu_region *", {"address": address, "size": size})
        self._address = address
        self._keep = keep
        if number := lib.wdu_guard_install():
            raise OSError(number, f"no handler for SIGBUS can be had: {os.strerror(number)}")

    @property
    def address(self) -> int | None:
        return self._address

    @property
    def view(self) -> memoryview | None:
        if not self.size:
            return None
        return memoryview(ffi.buffer(ffi.cast("char *", self._address), self.size)).cast("B")

    @property
    def gone(self) -> bool:
        """Whether an access found nothing behind the mapping."""
        return bool(self.handle.state == lib.WDU_GONE)

    @property
    def foreign(self) -> bool:
        """Whether this process is a forked child, and the mapping its parent's."""
        return bool(self.handle.state == lib.WDU_FOREIGN)

    def load32(self, offset: int) -> int:
        return self._loaded(lib.wdu_load32(self.handle, self._at(offset, 4)), 4)

    def load64(self, offset: int) -> int:
        return self._loaded(lib.wdu_load64(self.handle, self._at(offset, 8)), 8)

    def _loaded(self, value: int, width: int) -> int:
        if value == _ALL_ONES[width] and self.handle.state != lib.WDU_MAPPED:
            raise self.missing()
        return value

    def store32(self, offset: int, value: int) -> None:
        if lib.wdu_store32(self.handle, self._at(offset, 4), value):
            raise self.missing()

    def store64(self, offset: int, value: int) -> None:
        if lib.wdu_store64(self.handle, self._at(offset, 8), value):
            raise self.missing()

    def read(self, offset: int, nbytes: int) -> bytes:
        self._check(offset, nbytes)
        data = bytearray(nbytes)
        if lib.wdu_read(self.handle, offset, ffi.from_buffer(data), nbytes):
            raise self.missing()
        return bytes(data)

    def write(self, offset: int, data: bytes) -> None:
        self._check(offset, len(data))
        if lib.wdu_write(self.handle, offset, data, len(data)):
            raise self.missing()

    def withdraw(self) -> None:
        """The device is gone: every later access raises :class:`~wdasync_uacce.errnos.DeviceGone`."""
        self._become(lib.WDU_GONE)

    def disown(self) -> None:
        """A forked child has no such mapping: every later access raises ForeignQueue."""
        self._become(lib.WDU_FOREIGN)

    def forget(self) -> None:
        """The mapping is given back: every later access raises ValueError."""
        self._become(lib.WDU_UNMAPPED)
        self.size = 0
        self._keep = None

    def _become(self, state: int) -> None:
        self.handle.state = max(self.handle.state, state)

    def missing(self) -> UacceError:
        """The error that an access deserves which found nothing."""
        state = self.handle.state
        if state == lib.WDU_GONE:
            return DeviceGone(
                errno.ENXIO, self.owner, Call.ACCESS,
                f"the device was removed while its {self.kind.name} region was mapped",
                "open another queue when it is back",
            )  # fmt: skip
        if state == lib.WDU_FOREIGN:
            return ForeignQueue(
                errno.ENXIO, self.owner, Call.ACCESS,
                "the queue was opened before a fork, and its regions stayed with the parent",
                "open a queue in this process",
            )  # fmt: skip
        return CallRefused(
            errno.ENXIO, self.owner, Call.ACCESS, "the region is not mapped any more", "open another queue"
        )

    def _at(self, offset: int, width: int) -> int:
        if offset % width:
            raise ValueError(
                f"{self.kind.name} region: expected an offset aligned to {width} bytes, got {offset:#x}"
            )
        self._check(offset, width)
        return offset

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

    direct = shared = True

    def grant(self, buffer: Sized, writable: bool, resident: bool = False) -> int:
        """The buffer's address. The kernel binds the whole space and brings in pages, so there is nothing else to do."""
        return address_of(buffer)

    def revoke(self, address: int, nbytes: int, writable: bool) -> None:
        """Nothing: whole pages belong to the process as long as it lives."""

    def peek(self, pieces: Sequence[Segment]) -> bytes:
        data = bytearray(sum(map(len, pieces)))
        done = 0
        for piece in pieces:
            copied = _copy(memoryview(data)[done:], piece)
            done += copied
            if copied < len(piece):
                break
        return bytes(memoryview(data)[:done])

    def poke(self, memory: memoryview, data: bytes) -> int:
        return _copy(memory, data)

    def allocate(self, nbytes: int) -> memoryview | None:
        """``None``: any memory will do."""
        return None


def _copy(to: memoryview, source: Segment) -> int:
    """Copy all of ``source``, or what is there of both; how many bytes that is."""
    return lib.wdu_copy(ffi.from_buffer(to), ffi.from_buffer(source), len(source))
