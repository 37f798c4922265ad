"""The regions of a queue as a program maps them: shared memory, and a doorbell page that is a call."""

from __future__ import annotations

from collections.abc import Callable

from wdasync_hip08._native import lib
from wdasync_hip08.memory import PAGE, Mapping
from wdasync_hip08.qm import registers as reg
from wdasync_uacce.files import RegionKind

__all__ = ["MMIO_BYTES", "MmioRegion", "ShareRegion"]

MMIO_BYTES = 2 * PAGE


def _check(offset: int, nbytes: int, size: int, what: str) -> None:
    if offset < 0 or offset + nbytes > size or offset % nbytes:
        raise ValueError(
            f"{what}: expected an aligned offset below {size}, got {nbytes} bytes at {offset}"
            f"{'' if size else ' of a region that was unmapped'}"
        )


class ShareRegion:
    """The DUS region as the program maps it: the same memory as the device's, at another address."""

    kind = RegionKind.DUS

    def __init__(self, mapping: Mapping) -> None:
        self._mapping = mapping

    @property
    def size(self) -> int:
        return self._mapping.size

    @property
    def address(self) -> int | None:
        return self._mapping.address if self._mapping.size else None

    @property
    def view(self) -> memoryview | None:
        return self._mapping.view if self._mapping.size else None

    def load32(self, offset: int) -> int:
        _check(offset, 4, self._mapping.size, "DUS")
        return lib.wda_load32(self._mapping.address + offset)

    def load64(self, offset: int) -> int:
        _check(offset, 8, self._mapping.size, "DUS")
        return lib.wda_load64(self._mapping.address + offset)

    def store32(self, offset: int, value: int) -> None:
        _check(offset, 4, self._mapping.size, "DUS")
        lib.wda_store32(self._mapping.address + offset, value)

    def store64(self, offset: int, value: int) -> None:
        _check(offset, 8, self._mapping.size, "DUS")
        lib.wda_store64(self._mapping.address + offset, value)

    def read(self, offset: int, nbytes: int) -> bytes:
        self._span(offset, nbytes)
        return bytes(self._mapping.view[offset : offset + nbytes])

    def write(self, offset: int, data: bytes) -> None:
        self._span(offset, len(data))
        self._mapping.view[offset : offset + len(data)] = data

    def _span(self, offset: int, nbytes: int) -> None:
        if offset < 0 or nbytes < 0 or offset + nbytes > self._mapping.size:
            raise ValueError(f"DUS: expected bytes within {self._mapping.size}, got {nbytes} at {offset}")

    def close(self) -> None:
        """Unmap."""
        self._mapping.close()

    def __repr__(self) -> str:
        return f"<ShareRegion {self._mapping.size} bytes>"


class MmioRegion:
    """The doorbell page as the program maps it: a store is a call of the model, which only takes note."""

    kind = RegionKind.MMIO
    address: int | None = None
    view: memoryview | None = None

    def __init__(self, ring: Callable[[int], None]) -> None:
        self._ring = ring
        self.size = MMIO_BYTES

    def load32(self, offset: int) -> int:
        _check(offset, 4, self.size, "MMIO")
        return 0

    def load64(self, offset: int) -> int:
        _check(offset, 8, self.size, "MMIO")
        return 0

    def store32(self, offset: int, value: int) -> None:
        _check(offset, 4, self.size, "MMIO")  # A doorbell is 64 bits; half a one rings nothing.

    def store64(self, offset: int, value: int) -> None:
        _check(offset, 8, self.size, "MMIO")
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
