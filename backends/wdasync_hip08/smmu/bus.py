"""Physical memory as the SMMU sees it.

The SMMU is a bus master of its own: it fetches tables and commands, writes records and interrupt messages, and
updates descriptors atomically. Anything that can do so much can be its memory.
"""

from __future__ import annotations

from typing import Protocol

__all__ = ["Bus", "BusError", "SparseMemory"]

PAGE = 4096


class BusError(Exception):
    """External abort: nothing answers at this physical address.

    :ivar pa: the physical address
    """

    def __init__(self, pa: int) -> None:
        super().__init__(f"external abort at physical address {pa:#x}")
        self.pa = pa


class Bus(Protocol):
    """Little-endian physical memory. Addresses are bytes; each method may raise :class:`BusError`."""

    def read64(self, pa: int, /) -> int:
        """One aligned 64-bit word, single-copy atomic."""
        ...

    def write64(self, pa: int, value: int, /) -> None:
        """Store one aligned 64-bit word, single-copy atomic."""
        ...

    def compare_exchange64(self, pa: int, expected: int, new: int, /) -> int:
        """Store ``new`` where the word equals ``expected``; return what the word was."""
        ...

    def read(self, pa: int, n: int, /) -> bytes:
        """``n`` bytes."""
        ...

    def write(self, pa: int, data: bytes, /) -> None:
        """Store ``data``."""
        ...


class SparseMemory:
    """A :class:`Bus` of 4 KiB pages that come into being when they are written.

    :param missing_reads_zero: a read where nothing was written gives zero instead of an external abort
    """

    def __init__(self, words: dict[int, int] | None = None, *, missing_reads_zero: bool = False) -> None:
        self.missing_reads_zero = missing_reads_zero
        self.pages: dict[int, bytearray] = {}
        #: Addresses of 64-bit words at which any access is an external abort.
        self.broken: set[int] = set()
        for pa, value in (words or {}).items():
            self.write64(pa, value)

    def read64(self, pa: int, /) -> int:
        return int.from_bytes(self.read(pa, 8), "little")

    def write64(self, pa: int, value: int, /) -> None:
        self.write(pa, value.to_bytes(8, "little"))

    def compare_exchange64(self, pa: int, expected: int, new: int, /) -> int:
        old = self.read64(pa)
        if old == expected:
            self.write64(pa, new)
        return old

    def read(self, pa: int, n: int, /) -> bytes:
        self._check(pa, n)
        parts = []
        for page, start, stop in _pieces(pa, n):
            data = self.pages.get(page)
            if data is None:
                if not self.missing_reads_zero:
                    raise BusError(page * PAGE + start)
                data = bytearray(PAGE)
            parts.append(data[start:stop])
        return b"".join(parts)

    def write(self, pa: int, data: bytes, /) -> None:
        self._check(pa, len(data))
        done = 0
        for page, start, stop in _pieces(pa, len(data)):
            target = self.pages.setdefault(page, bytearray(PAGE))
            target[start:stop] = data[done : done + stop - start]
            done += stop - start

    def _check(self, pa: int, n: int) -> None:
        if self.broken:
            for word in range(pa & ~7, pa + n, 8):
                if word in self.broken:
                    raise BusError(word)

    def __repr__(self) -> str:
        missing = "zero" if self.missing_reads_zero else "abort"
        return f"<SparseMemory {len(self.pages)} pages, missing={missing}, {len(self.broken)} broken words>"


def _pieces(pa: int, n: int) -> list[tuple[int, int, int]]:
    """Cut [pa, pa + n) at page borders: (page number, first byte in it, end in it)."""
    pieces = []
    while n > 0:
        start = pa % PAGE
        size = min(n, PAGE - start)
        pieces.append((pa // PAGE, start, start + size))
        pa += size
        n -= size
    return pieces
