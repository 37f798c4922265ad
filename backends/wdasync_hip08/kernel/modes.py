"""How programs' memory gets to the device: the five modes, as a table.

What differs is what the SMMU is told, and which :class:`~wdasync_uacce.files.AddressSpace` an opened queue has. The user
driver is the same in all of them.

Linux had each of them once. A function that one process owns is what passing a whole device to a program gives: its
addresses are those that the process mapped, and nothing bears a PASID. Private tables for each PASID are what a device can
have whose IOMMU knows PASIDs and whose accesses cannot wait: DMA mappings, in several processes. Shared addresses need
pages that are there, or a device that waits for those that are not. A reserved region needs nothing: the kernel maps
it, and the program copies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from wdasync_hip08.options import Options
from wdasync_uacce.files import NodeFlag

__all__ = ["MODES", "Mode", "mode_of"]


@dataclass(frozen=True, slots=True)
class Mode:
    """One row.

    :ivar name: for people
    :ivar memory: the option of that name
    :ivar residency: the options of that name which it goes with
    :ivar flags: attribute ``flags`` of the device
    :ivar substreams: data bear a PASID, which has a context descriptor of its own; else the function has one address space
    :ivar stall: an access to an absent page waits (``CD.S``); else it aborts, and the stream may not stall
        (``STE.S1STALLD``)
    :ivar addresses: what stands in a descriptor
    :ivar mapped: what the table of the address space shows the device
    """

    name: str
    memory: str
    residency: tuple[str, ...]
    flags: NodeFlag
    substreams: bool
    stall: bool
    addresses: str
    mapped: str

    @property
    def shared(self) -> bool:
        """Addresses are the program's own."""
        return bool(self.flags & NodeFlag.SVA)

    @property
    def region(self) -> bool:
        """Memory is that of a reserved region."""
        return bool(self.flags & NodeFlag.IOMMU)


MODES: Final = (
    Mode(
        "one process owns the function", "function", ("mirror",), NodeFlag(0), False, False,
        "an IOVA", "buffers in flight, rings and contexts",
    ),
    Mode(
        "private tables for each PASID", "private", ("mirror",), NodeFlag.PASID, True, False,
        "an IOVA", "buffers in flight",
    ),
    Mode(
        "SVA, pinned", "sva", ("pinned",), NodeFlag.SVA, True, False,
        "the pointer", "buffers in flight",
    ),
    Mode(
        "SVA with page faults", "sva", ("mirror", "cold"), NodeFlag.SVA, True, True,
        "the pointer", "of buffers in flight, pages that are there",
    ),
    Mode(
        "reserved region", "reserved", ("mirror",), NodeFlag.IOMMU, True, False,
        "an IOVA", "one region of each queue, as long as that is mapped",
    ),
)  # fmt: skip


def mode_of(options: Options) -> Mode:
    """The row that options ask for."""
    return next(row for row in MODES if row.memory == options.memory and options.residency in row.residency)
