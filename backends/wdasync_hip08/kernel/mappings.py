"""DMA mappings: memory of a program at addresses that the kernel chooses for the device (IOVAs).

A mapping lasts from the grant of a buffer to its revocation. Its pages are brought in first, since nothing waits for
absent ones. When it ends, its entries are cleared, the SMMU is told, and only behind the SYNC may the same IOVAs mean
something else: the strict way of Linux's DMA API.
"""

from __future__ import annotations

from wdasync_hip08.backings import Backing
from wdasync_hip08.kernel.spaces import Area, Space
from wdasync_hip08.memory import PAGE, PAGE_SHIFT, pages_of

__all__ = ["Mappings"]


class Mappings:
    """What one opened queue has mapped. The chip's lock is held by who calls.

    :param space: of its program
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        #: By IOVA: the area, the length in bytes, and whether it may be written.
        self._live: dict[int, tuple[Area, int, bool]] = {}

    def map(self, backing: Backing, address: int, nbytes: int, writable: bool) -> int:
        """Let the device touch bytes [address, address + nbytes) of a backing.

        :returns: their IOVA
        :raises OSError: EFAULT: a page of them cannot be had
        :raises MemoryError: there is no memory for the tables
        """
        pages = pages_of((address & PAGE - 1) + nbytes)
        first = self._space.iovas.take(pages)
        area = Area(first, first + pages, backing, address >> PAGE_SHIFT)
        iova = first << PAGE_SHIFT | address & PAGE - 1
        self._space.add(area)
        try:
            self._space.grant(iova, nbytes, writable, resident=True)
        except BaseException:
            self._end(area)
            raise
        self._live[iova] = area, nbytes, writable
        return iova

    def unmap(self, iova: int) -> None:
        """End a mapping. Closing the queue ends what is left, so one that is not there is none of ours any more."""
        if iova in self._live:
            self._end(self._live.pop(iova)[0])

    def _end(self, area: Area) -> None:
        self._space.discard(area)
        self._space.iovas.give_back(area.start, area.end - area.start)

    def close(self) -> None:
        """The queue is closed: nothing stays mapped."""
        for iova in list(self._live):
            self.unmap(iova)

    def __repr__(self) -> str:
        return f"<Mappings {len(self._live)} in {self._space!r}>"
