"""PASIDs: one for each address space that a device uses, in the whole machine."""

from __future__ import annotations

import errno
import heapq

__all__ = ["PasidAllocator"]


class PasidAllocator:
    """Hands out PASIDs, the lowest free one first; so a number comes again soon after it was given back.

    :param first: PASID 0 is the device's own address space
    :param last: a queue's context holds 16 bits
    """

    def __init__(self, first: int = 1, last: int = 0xFFFF) -> None:
        self._next = first
        self._last = last
        self._free: list[int] = []
        self.used: set[int] = set()

    def allocate(self) -> int:
        """A PASID.

        :raises OSError: ENOSPC: all are in use
        """
        if self._free:
            pasid = heapq.heappop(self._free)
        elif self._next <= self._last:
            pasid = self._next
            self._next += 1
        else:
            raise OSError(errno.ENOSPC, f"PASID: expected a free one, got all {len(self.used)} in use")
        self.used.add(pasid)
        return pasid

    def free(self, pasid: int) -> None:
        """Give one back. No request with it may be on its way.

        :raises KeyError: it is not in use
        """
        self.used.remove(pasid)
        heapq.heappush(self._free, pasid)

    def __repr__(self) -> str:
        return f"<PasidAllocator {len(self.used)} in use>"
