"""The regions of a queue as a program maps them: shared memory, and a doorbell page that is a call."""

from __future__ import annotations

import errno
from collections.abc import Callable

from wdasync_hip08.memory import PAGE, Mapping
from wdasync_hip08.qm import registers as reg
from wdasync_uacce.errnos import Call, DeviceGone
from wdasync_uacce.files import RegionKind
from wdasync_uacce.memory import MemoryRegion

__all__ = ["MMIO_BYTES", "MmioRegion", "ShareRegion"]

#: Generation of the queue manager -> bytes of a queue's doorbell window.
MMIO_BYTES = {2: 2 * PAGE, 3: 64 << 10}

#: Whose regions they are, for people.
OWNER = "emulated queue"


def _check(offset: int, nbytes: int, size: int, what: str) -> None:
    if offset < 0 or offset + nbytes > size or offset % nbytes:
        raise ValueError(
            f"{what}: expected an aligned offset below {size}, got {nbytes} bytes at {offset}"
            f"{'' if size else ' of a region that was unmapped'}"
        )


class ShareRegion(MemoryRegion):
    """A region that is memory, as the program maps it: the same memory as the device's, at another address."""

    def __init__(self, mapping: Mapping, kind: RegionKind = RegionKind.DUS) -> None:
        super().__init__(kind, mapping.address, mapping.size, mapping, OWNER)
        self._mapping = mapping

    @property
    def address(self) -> int | None:
        return super().address if self.size else None

    @property
    def view(self) -> memoryview | None:
        return self._mapping.view if self.size else None

    def close(self) -> None:
        """Unmap."""
        self.forget()
        self._mapping.close()


class MmioRegion:
    """The doorbell page as the program maps it: a store is a call of the model, which only takes note."""

    kind = RegionKind.MMIO
    address: int | None = None
    view: memoryview | None = None

    def __init__(self, ring: Callable[[int], None], generation: int) -> None:
        self._ring = ring
        self._gone = False
        self.size = MMIO_BYTES[generation]

    def withdraw(self) -> None:
        """The device is gone: every later access raises DeviceGone."""
        self._gone = True

    def _at(self, offset: int, nbytes: int) -> None:
        _check(offset, nbytes, self.size, "MMIO")
        if self._gone:
            raise DeviceGone(
                errno.ENXIO, OWNER, Call.ACCESS, "the device was removed while its MMIO region was mapped",
                "open another queue when it is back",
            )  # fmt: skip

    def load32(self, offset: int) -> int:
        self._at(offset, 4)
        return 0

    def load64(self, offset: int) -> int:
        self._at(offset, 8)
        return 0

    def store32(self, offset: int, value: int) -> None:
        self._at(offset, 4)  # A doorbell is 64 bits; half a one rings nothing.

    def store64(self, offset: int, value: int) -> None:
        self._at(offset, 8)
        if offset == reg.DOORBELL:
            self._ring(value & (1 << 64) - 1)

    def read(self, offset: int, nbytes: int) -> bytes:
        if offset < 0 or nbytes < 0 or offset + nbytes > self.size:
            raise ValueError(f"MMIO: expected bytes within {self.size}, got {nbytes} at {offset}")
        return bytes(nbytes)

    def write(self, offset: int, data: bytes) -> None:
        raise ValueError(
            "MMIO: expected one aligned store of 32 or 64 bits, got a copy of bytes; registers are words"
        )

    def close(self) -> None:
        """Unmap."""
        self.size = 0

    def __repr__(self) -> str:
        return f"<MmioRegion {self.size} bytes>"
