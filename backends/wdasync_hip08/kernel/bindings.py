"""Who has which PASID: address spaces and the functions that work in them.

A space has one PASID, whichever functions it uses and however many queues it has there: the first queue of all takes the
number, the first queue of a function sets the context descriptor there. They go in the opposite order.
"""

from __future__ import annotations

import errno

from wdasync_hip08.kernel.iommu import Iommu
from wdasync_hip08.kernel.iopf import FaultHandling
from wdasync_hip08.kernel.modes import Mode
from wdasync_hip08.kernel.pasids import PasidAllocator
from wdasync_hip08.kernel.spaces import Residency, Space
from wdasync_hip08.trace import Trace

__all__ = ["Bindings"]


class Bindings:
    """Of one machine. The chip's lock is held by who calls.

    :param spaces: is kept: the spaces that are bound, by PASID
    """

    def __init__(
        self, spaces: dict[int, Space], iommu: Iommu, faults: FaultHandling, mode: Mode, trace: Trace
    ) -> None:
        self.pasids = PasidAllocator()
        self._spaces = spaces
        self._iommu = iommu
        self._faults = faults
        self._mode = mode
        self._trace = trace

    def bind(self, space: Space, stream: int) -> int:
        """One more queue of a function works in a space; its PASID.

        Where the functions have one address space for all, it belongs to the space that has it first.

        :raises OSError: ENOSPC: no PASID left; EBUSY: the function belongs to another; ESRCH: its program is gone;
            ENOMEM: there is no memory for its context descriptor
        """
        if not space.alive:
            raise OSError(errno.ESRCH, f"bind: expected an address space that is alive, got {space!r}")
        if space.pasid is None:
            space.pasid = self._new_pasid()
            self._spaces[space.pasid] = space
        if not space.users[stream] and self._mode.substreams:
            self._describe(space, space.pasid, stream)
        space.users[stream] += 1
        return space.pasid

    def _describe(self, space: Space, pasid: int, stream: int) -> None:
        stall = self._mode.stall and space.residency is not Residency.PINNED
        try:
            self._iommu.bind(stream, pasid, space.table, space.asid, stall=stall)
        except MemoryError as error:
            if not space.users.total():
                self._free(space, pasid)
            raise OSError(errno.ENOMEM, f"bind: {error}") from error

    def _new_pasid(self) -> int:
        if self._mode.substreams:
            return self.pasids.allocate()
        if self._spaces:
            raise OSError(
                errno.EBUSY, f"bind: expected a function that nobody owns, got that of {self._spaces[0]!r}"
            )
        return 0

    def unbind(self, space: Space, stream: int) -> None:
        """One queue less. With the last one of a function: descriptor away, caches told, events read, faults refused. With
        the last one of all the PASID is free.

        The queues have been stopped: nothing that bears this PASID is on its way from this function any more.
        """
        space.users[stream] -= 1
        if space.users[stream] or space.pasid is None:
            return
        if self._mode.substreams:
            self._iommu.unbind(stream, space.pasid, space.asid)
        self._faults.drain_events()
        self._faults.flush(stream, space.pasid)
        if not space.users.total():
            self._free(space, space.pasid)

    def _free(self, space: Space, pasid: int) -> None:
        del self._spaces[pasid]
        space.pasid = None
        if self._mode.substreams:
            self.pasids.free(pasid)
            self._trace.instant("kernel", "PASID free", pasid=pasid)

    def __repr__(self) -> str:
        return f"<Bindings {self._spaces}, {self.pasids!r}>"
