"""IOVAs: addresses that the kernel chooses for a device."""

from __future__ import annotations

from wdasync_hip08.memory import PAGE_SHIFT

__all__ = ["IovaAllocator"]

#: The first page handed out; the kernel's own DMA memory is below.
FIRST_PAGE = 1 << 40 - PAGE_SHIFT


class IovaAllocator:
    """Ranges of IOVAs, each a power of two long, with at least one page behind it that is never mapped."""

    def __init__(self) -> None:
        self._next = FIRST_PAGE
        self._free: dict[int, list[int]] = {}

    def take(self, pages: int) -> int:
        """The first page of a range that holds so many pages."""
        size = 1 << pages.bit_length()
        free = self._free.get(size)
        if free:
            return free.pop()
        first = -(-self._next // size) * size
        self._next = first + size
        return first

    def give_back(self, first: int, pages: int) -> None:
        """Nobody remembers this range any more."""
        self._free.setdefault(1 << pages.bit_length(), []).append(first)

    def __repr__(self) -> str:
        free = sum(size * len(firsts) for size, firsts in self._free.items())
        return f"<IovaAllocator up to page {self._next:#x}, {free} pages free>"
