"""DMA memory of the kernel's own: rings, contexts, event queues.

A function addresses it without a PASID. Its addresses (IOVAs) are the kernel's choice and have nothing to do with
physical ones; they are translated by the function's substream 0, and a fault there aborts.
"""

from __future__ import annotations

from dataclasses import dataclass

from wdasync_hip08.kernel.iommu import Iommu
from wdasync_hip08.kernel.pagetable import PageTable, page_descriptor
from wdasync_hip08.memory import PAGE, PAGE_SHIFT, Ram, pages_of

__all__ = ["CoherentBuffer", "DmaDomain"]

#: The first IOVA handed out.
FIRST = 0x1000_0000


@dataclass(frozen=True, slots=True)
class CoherentBuffer:
    """Memory that processor and device see alike.

    :ivar pa: for the processor
    :ivar iova: for the device
    """

    pa: int
    iova: int
    size: int


class DmaDomain:
    """The function's ordinary address space.

    :ivar asid: its tag in the TLB
    """

    def __init__(self, ram: Ram, iommu: Iommu) -> None:
        self.asid = iommu.allocate_asid()
        self.table = PageTable(ram)
        self._ram = ram
        self._iommu = iommu
        self._next = FIRST

    def allocate(self, nbytes: int) -> CoherentBuffer:
        """Zeroed memory, mapped for the device.

        :raises MemoryError: there is no RAM left
        """
        buffer = CoherentBuffer(self._ram.allocate(nbytes), self._next, pages_of(nbytes) * PAGE)
        for page in range(pages_of(nbytes)):
            pa = buffer.pa + page * PAGE
            self.table.set((buffer.iova >> PAGE_SHIFT) + page, page_descriptor(pa, writable=True))
        self._next += buffer.size + PAGE  # A hole behind each, so that an overrun faults.
        return buffer

    def free(self, buffer: CoherentBuffer) -> None:
        """Unmap, invalidate, SYNC, and give the memory back. IOVAs are not used again."""
        vpns = range(buffer.iova >> PAGE_SHIFT, buffer.iova + buffer.size >> PAGE_SHIFT)
        for vpn in vpns:
            self.table.set(vpn, 0)
        self._iommu.invalidate(self.asid, vpns)
        self._ram.free(buffer.pa)

    def __repr__(self) -> str:
        return f"<DmaDomain ASID {self.asid}, next IOVA {self._next:#x}>"
