"""uacce as the kernel shows it: nodes, opened queues, regions. What :mod:`wdasync_uacce.files` asks for.

======= ======= ==========================================================================
state   call    result
======= ======= ==========================================================================
INIT    start   STARTED; a failure leaves INIT
INIT    put     ZOMBIE, or INIT again with ``restartable``
STARTED start   EINVAL
STARTED put     the queue is stopped first, then as above
ZOMBIE  any     ENXIO, but for close and unmap
any     map     a region twice: EEXIST; one that does not exist: EINVAL
======= ======= ==========================================================================
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from wdasync_hip08.backings import Memfd
from wdasync_hip08.kernel.address_spaces import MappedSpace, RegionSpace, SharedSpace
from wdasync_hip08.kernel.hisi_qm import KernelQueue
from wdasync_hip08.kernel.iopf import Owner
from wdasync_hip08.kernel.mappings import Mappings
from wdasync_hip08.kernel.readiness import Readiness
from wdasync_hip08.kernel.regions import MmioRegion, ShareRegion
from wdasync_hip08.kernel.spaces import Space
from wdasync_hip08.memory import Mapping
from wdasync_hip08.tasks import Entry
from wdasync_uacce import Slice, read_slices
from wdasync_uacce.files import AddressSpace, QueueInfo, Refusal, RegionKind
from wdasync_uacce.states import TRANSITIONS, QueueState

if TYPE_CHECKING:
    from wdasync_hip08.kernel.nodes import Node
    from wdasync_hip08.machine import Machine

__all__ = ["OpenQueue"]


class OpenQueue:
    """One open of a node.

    :ivar node: what it is a queue of
    :ivar owner: who has opened it
    :ivar number: of the hardware queue
    :ivar queue: the hardware queue; ``None`` once it went back
    :ivar wakes: completion interrupts
    :ivar readiness: its descriptor
    """

    def __init__(self, machine: Machine, node: Node, space: Space, owner: Owner) -> None:
        self._machine = machine
        self.node = node
        self.owner = owner
        self._space = space
        self._restartable = machine.options.restartable
        self.state = QueueState.INIT
        self.wakes = 0
        self._typed = False
        self._closed = False
        self._regions: dict[RegionKind, ShareRegion | MmioRegion] = {}
        self._mappings = Mappings(space)
        self._reserved: tuple[Memfd, int] | None = None
        self._addresses: AddressSpace | None = None
        self.readiness = Readiness(machine.options.consuming)
        self.queue: KernelQueue | None = node.qm.allocate(self._woken)
        self.number = self.queue.number

    def _to(self, state: QueueState) -> None:
        if state not in TRANSITIONS[self.state]:
            raise ValueError(
                f"{self!r}: expected {self.state.value} to be left for another state than {state.value}"
            )
        self.state = state

    def _alive(self) -> KernelQueue:
        if self.state is QueueState.ZOMBIE or self.queue is None:
            raise OSError(errno.ENXIO, "the queue was put, or its device is gone; open another")
        return self.queue

    @property
    def space(self) -> AddressSpace:
        """The address space of its program. A reserved region is mapped by the first use."""
        if self._addresses is None:
            self._addresses = self._address_space()
        return self._addresses

    def _address_space(self) -> AddressSpace:
        mode = self._machine.mode
        if mode.shared:
            return SharedSpace(self._machine, self._space)
        if not mode.region:
            return MappedSpace(self._machine, self._mappings)
        region = self._regions.get(RegionKind.STATIC_SHARE) or self.map(RegionKind.STATIC_SHARE)
        assert region.view is not None
        return RegionSpace(self._machine, region.view, read_slices(self.dma_slice))

    # Readiness

    def fileno(self) -> int:
        return self.readiness.fileno()

    def _woken(self) -> None:
        """The completion interrupt of this queue arrived."""
        if not self._closed and self.state is not QueueState.ZOMBIE:
            self.wakes += 1
            told = self.readiness.tell()
            self._machine.trace.instant(
                self.node.block.qm.track(self.number), "wake" if told else "wake eaten"
            )

    def acknowledge(self) -> None:
        self.readiness.take()

    def catch_up(self) -> None:
        """Nothing: each interrupt makes the descriptor readable, whatever was taken before."""

    # ioctls

    def set_queue_type(self, queue_type: int) -> int:
        with self._machine.lock:
            queue = self._alive()
            if queue_type not in (0, 1) or self.state is not QueueState.INIT or self._typed:
                raise OSError(
                    errno.EINVAL,
                    f"queue type: expected 0 or 1, once and before start, got {queue_type} in {self.state.value}",
                )
            queue.queue_type = queue_type
            self._typed = True
            return queue.number

    def queue_info(self) -> QueueInfo:
        queue = self._alive()
        return QueueInfo(queue.entry_bytes, queue.depth, queue.depth)

    def start(self) -> None:
        with self._machine.lock:
            queue = self._alive()
            if self.state is not QueueState.INIT:
                raise OSError(errno.EINVAL, f"start: expected a queue in init, got {self.state.value}")
            assert self._space.pasid is not None
            self.node.qm.start(queue, self._space.pasid)
            self._to(QueueState.STARTED)

    def put(self) -> None:
        with self._machine.lock:
            self._alive()
        self._stop()
        with self._machine.lock:
            restarts = (
                self._restartable and self.state is not QueueState.ZOMBIE
            )  # Unless the device was lost.
            self._to(QueueState.INIT if restarts else QueueState.ZOMBIE)

    def _stop(self) -> None:
        queue = self.queue
        if self.state is QueueState.STARTED and queue is not None:
            self.node.drain(queue)
            self.node.stop(queue)
            with self._machine.lock:
                self._machine.faults.flush_queue(self.node.function.stream, queue.number)

    # Regions

    def map(self, kind: RegionKind) -> ShareRegion | MmioRegion:
        with self._machine.lock:
            queue = self._alive()
            known = 3 if self._machine.mode.region else 2
            if kind not in range(known):
                raise OSError(errno.EINVAL, f"map: expected a region from 0 to {known - 1}, got {int(kind)}")
            if kind in self._regions:
                raise OSError(errno.EEXIST, f"map: expected a region that is not mapped yet, got {kind.name}")
            region = self._regions[kind] = self._region(RegionKind(kind), queue)
            return region

    def _region(self, kind: RegionKind, queue: KernelQueue) -> ShareRegion | MmioRegion:
        machine = self._machine
        if kind is RegionKind.STATIC_SHARE:
            return self._reserve(machine.options.region << 20)
        if kind is RegionKind.DUS:
            return ShareRegion(machine.chip.memory.ram.alias(queue.share.pa, self.node.qm.share_bytes))
        return MmioRegion(lambda word: machine.ring(self, word), machine.options.generation)

    def _reserve(self, nbytes: int) -> ShareRegion:
        memory = Memfd(nbytes, "region")
        try:
            self._reserved = memory, self._mappings.map(memory, 0, nbytes, True)
            return ShareRegion(Mapping(memory.fd, nbytes), RegionKind.STATIC_SHARE)
        except BaseException:
            self._release_region()
            memory.close()
            raise

    def _release_region(self) -> None:
        if self._reserved is not None:
            (memory, iova), self._reserved = self._reserved, None
            self._mappings.unmap(iova)
            memory.close()

    def dma_slice(self, number: int) -> tuple[int, bool]:
        """Where the device sees a part of the reserved region (ioctl 0x80085703). Behind an IOMMU there is one for all.

        :returns: address and length in one word, and whether there are more
        :raises OSError: EINVAL: there is no such slice, or no region is mapped
        """
        if self._reserved is None or number:
            raise OSError(
                errno.EINVAL, f"slice: expected 0, of a reserved region that is mapped, got {number}"
            )
        memory, iova = self._reserved
        return Slice(iova, memory.size).encode(), False

    def unmap(self, region: object) -> None:
        for kind, mine in list(self._regions.items()):
            if mine is region:
                del self._regions[kind]
                mine.close()
                if kind is RegionKind.STATIC_SHARE:
                    with self._machine.lock:
                        self._release_region()
                return
        raise ValueError("unmap: expected a region of this queue that is mapped, got another")

    # What goes on

    def faults(self, slot: int) -> int:
        queue = self.queue
        pair = self.node.block.qm.queues.get(queue.number) if queue is not None else None
        if pair is None:
            return 0
        with self._machine.lock:
            self._machine.faults.forget(self.node.function.stream, pair.number, slot)
            return pair.faults.pop(slot, 0)

    def refusal(self, slot: int) -> Refusal | None:
        return None if self.queue is None else self._machine.faults.refusal(self._entry(self.queue, slot))

    def give_up(self, slot: int) -> None:
        with self._machine.lock:
            # A slot of a queue that was taken away may be another queue's already.
            if self.queue is not None and self.state is QueueState.STARTED:
                self._machine.faults.give_up(self._entry(self.queue, slot))

    def _entry(self, queue: KernelQueue, slot: int) -> Entry:
        return self.node.function.stream, queue.number, slot

    def pump(self) -> None:
        if self._machine.pump():
            self.owner.wake()
        self.owner.report()

    def remove(self) -> None:
        """The device goes away: the queue is dead, its faults are refused, and who sleeps is woken to see it."""
        if self.queue is not None:
            self.queue.started = False
            if self._machine.alive:  # A chip with a defect is told nothing more.
                self._machine.faults.flush_queue(self.node.function.stream, self.queue.number)
            self.node.block.qm.reset(self.queue.number)
            self.node.qm.tell_stopped(self.queue)
        self.state = QueueState.ZOMBIE
        for region in self._regions.values():
            region.withdraw()
        if not self._closed:
            self.readiness.insist()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._stop()
        with self._machine.lock:
            for region in self._regions.values():
                region.close()
            self._regions.clear()
            self._release_region()
            self._mappings.close()
            if self.queue is not None and self._machine.alive:
                self.node.qm.release(self.queue)
            self.queue = None
            self.state = QueueState.ZOMBIE
            self.node.closed(self, self._space)
        self.readiness.close()

    def __repr__(self) -> str:
        number = self.queue.number if self.queue is not None else "none"
        return f"<OpenQueue {number} {self.state.value}, regions {[kind.name for kind in self._regions]}, {self.wakes} wakes>"
