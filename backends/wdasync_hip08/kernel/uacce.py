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

import enum
import errno
from collections.abc import Sequence, Sized
from typing import TYPE_CHECKING

from wdasync.buffers import Segment
from wdasync.paged import PagedBuffer
from wdasync_hip08._native import ffi
from wdasync_hip08.kernel.hisi_qm import KernelQueue
from wdasync_hip08.kernel.readiness import Readiness
from wdasync_hip08.kernel.regions import MmioRegion, ShareRegion
from wdasync_hip08.kernel.spaces import Space
from wdasync_hip08.memory import PAGE_SHIFT, pages_of
from wdasync_uacce.files import QueueInfo, RegionKind
from wdasync_uacce.memory import address_of

if TYPE_CHECKING:
    from wdasync_hip08.machine import Machine

__all__ = ["TRANSITIONS", "Grants", "OpenQueue", "QueueState"]


class QueueState(enum.Enum):
    """The state of an opened queue."""

    INIT = "init"
    STARTED = "started"
    ZOMBIE = "zombie"


#: Which state may follow which.
TRANSITIONS: dict[QueueState, frozenset[QueueState]] = {
    QueueState.INIT: frozenset({QueueState.STARTED, QueueState.ZOMBIE, QueueState.INIT}),
    QueueState.STARTED: frozenset({QueueState.ZOMBIE, QueueState.INIT}),
    QueueState.ZOMBIE: frozenset({QueueState.ZOMBIE}),
}


class Grants:
    """The address space of an opened queue, as its program grants memory of it."""

    direct = True

    def __init__(self, machine: Machine, space: Space) -> None:
        self._machine = machine
        self._space = space

    def grant(self, buffer: Sized, writable: bool, resident: bool = False) -> int:
        if isinstance(buffer, PagedBuffer):
            return self._grant_paged(buffer, writable)
        pointer = ffi.from_buffer(buffer)
        address = int(ffi.cast("uintptr_t", pointer))
        with self._machine.lock:
            self._space.grant(address, len(pointer), writable, resident)
        return address

    def _grant_paged(self, buffer: PagedBuffer, writable: bool) -> int:
        address = int(ffi.cast("uintptr_t", ffi.from_buffer(buffer.memory)))
        with self._machine.lock:
            self._space.supply(address >> PAGE_SHIFT, pages_of(len(buffer.memory)), self._machine.own, buffer)
            self._space.grant(address, len(buffer), writable)
        return address

    def revoke(self, address: int, nbytes: int, writable: bool) -> None:
        with self._machine.lock:
            self._space.revoke(address, nbytes, writable)
            self._space.supply_no_more(address >> PAGE_SHIFT)

    def peek(self, pieces: Sequence[Segment]) -> bytes:
        return self._machine.own.read([(address_of(piece), len(piece)) for piece in pieces])

    def poke(self, memory: memoryview, data: bytes) -> int:
        return self._machine.own.write([(address_of(memory), len(data))], data)

    def allocate(self, nbytes: int) -> memoryview | None:
        return None

    def __repr__(self) -> str:
        return f"<Grants in {self._space!r}>"


class OpenQueue:
    """One open of a node.

    :ivar queue: the hardware queue; ``None`` once it went back
    :ivar wakes: completion interrupts
    :ivar readiness: its descriptor
    """

    def __init__(self, machine: Machine, space: Space) -> None:
        self._machine = machine
        self._space = space
        self._restartable = machine.options.restartable
        self.state = QueueState.INIT
        self.space = Grants(machine, space)
        self.wakes = 0
        self._typed = False
        self._closed = False
        self._regions: dict[RegionKind, ShareRegion | MmioRegion] = {}
        self.readiness = Readiness(machine.options.consuming)
        self.queue: KernelQueue | None = machine.qm.allocate(self._woken)

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

    # Readiness

    def fileno(self) -> int:
        return self.readiness.fileno()

    def _woken(self) -> None:
        """The completion interrupt of this queue arrived."""
        if not self._closed and self.state is not QueueState.ZOMBIE:
            self.wakes += 1
            number = self.queue.number if self.queue is not None else -1
            told = self.readiness.tell()
            self._machine.trace.instant(f"queue {number}", "wake" if told else "wake eaten")

    def acknowledge(self) -> None:
        self.readiness.take()

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
            self._machine.qm.start(queue, self._space.pasid)
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
            self._machine.drain(queue)
            self._machine.stop(queue)
            with self._machine.lock:
                self._machine.faults.forget(queue.number)

    # Regions

    def map(self, kind: RegionKind) -> ShareRegion | MmioRegion:
        with self._machine.lock:
            queue = self._alive()
            if kind not in (RegionKind.MMIO, RegionKind.DUS):
                raise OSError(errno.EINVAL, f"map: expected region 0 or 1, got {int(kind)}")
            if kind in self._regions:
                raise OSError(errno.EEXIST, f"map: expected a region that is not mapped yet, got {kind.name}")
            region: ShareRegion | MmioRegion
            if kind is RegionKind.DUS:
                share = queue.share
                region = ShareRegion(
                    self._machine.chip.memory.ram.alias(share.pa, self._machine.qm.share_bytes)
                )
            else:
                region = MmioRegion(self._machine.ring)
            self._regions[kind] = region
            return region

    def unmap(self, region: object) -> None:
        for kind, mine in list(self._regions.items()):
            if mine is region:
                del self._regions[kind]
                mine.close()
                return
        raise ValueError("unmap: expected a region of this queue that is mapped, got another")

    # What goes on

    def faults(self, slot: int) -> int:
        queue = self.queue
        pair = self._machine.chip.qm.queues.get(queue.number) if queue is not None else None
        if pair is None:
            return 0
        with self._machine.lock:
            self._machine.faults.forget(pair.number, slot)
            return pair.faults.pop(slot, 0)

    def refusal(self, slot: int) -> str:
        return "" if self.queue is None else self._machine.faults.refusal((self.queue.number, slot))

    def give_up(self, slot: int) -> None:
        with self._machine.lock:
            if self.queue is not None:
                self._machine.faults.give_up((self.queue.number, slot))

    def pump(self) -> None:
        self._machine.pump()
        self._machine.faults.report()

    def remove(self) -> None:
        """The device goes away: the queue is dead, and who sleeps is woken to see it."""
        if self.queue is not None:
            self.queue.started = False
            self._machine.chip.qm.reset(self.queue.number)
            self._machine.qm.tell_stopped(self.queue)
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
            if self.queue is not None and self._machine.alive:
                self._machine.qm.release(self.queue)
            self.queue = None
            self.state = QueueState.ZOMBIE
            self._machine.closed(self, self._space)
        self.readiness.close()

    def __repr__(self) -> str:
        number = self.queue.number if self.queue is not None else "none"
        return f"<OpenQueue {number} {self.state.value}, regions {[kind.name for kind in self._regions]}, {self.wakes} wakes>"
