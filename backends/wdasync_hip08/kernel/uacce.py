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
import os
from collections.abc import Sized
from typing import TYPE_CHECKING

from wdasync.paged import PagedBuffer
from wdasync_hip08._native import ffi, lib
from wdasync_hip08.kernel.hisi_qm import KernelQueue
from wdasync_hip08.kernel.spaces import Space
from wdasync_hip08.memory import PAGE, PAGE_SHIFT, Mapping, pages_of
from wdasync_hip08.qm import registers as reg
from wdasync_uacce.files import QueueInfo, RegionKind

if TYPE_CHECKING:
    from wdasync_hip08.machine import Machine

__all__ = ["Grants", "MmioRegion", "OpenQueue", "QueueState", "ShareRegion"]

MMIO_BYTES = 2 * PAGE


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

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
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
            self._machine.ring(value & (1 << 64) - 1)

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


class Grants:
    """The address space of an opened queue, as its program grants memory of it."""

    sva = True

    def __init__(self, machine: Machine, space: Space) -> None:
        self._machine = machine
        self._space = space

    def grant(self, buffer: Sized, writable: bool) -> int:
        if isinstance(buffer, PagedBuffer):
            return self._grant_paged(buffer, writable)
        pointer = ffi.from_buffer(buffer)
        address = int(ffi.cast("uintptr_t", pointer))
        with self._machine.lock:
            self._space.grant(address, len(pointer), writable)
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

    def allocate(self, nbytes: int) -> memoryview | None:
        return None

    def __repr__(self) -> str:
        return f"<Grants in {self._space!r}>"


class OpenQueue:
    """One open of a node.

    :ivar queue: the hardware queue; ``None`` once it went back
    :ivar wakes: times that the descriptor was made readable
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
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
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
        return self._event

    def _woken(self) -> None:
        """The completion interrupt of this queue arrived."""
        if not self._closed and self.state is not QueueState.ZOMBIE:
            self.wakes += 1
            number = self.queue.number if self.queue is not None else -1
            self._machine.trace.instant(f"queue {number}", "wake")
            os.eventfd_write(self._event, 1)

    def acknowledge(self) -> None:
        if not self._machine.options.consuming:
            self._clear()

    def forget_readiness(self) -> None:
        """Readiness goes away by itself, as after the kernel's poll."""
        self._clear()

    def _clear(self) -> None:
        try:
            os.eventfd_read(self._event)
        except BlockingIOError:
            pass

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
            self._to(QueueState.INIT if self._restartable else QueueState.ZOMBIE)

    def _stop(self) -> None:
        queue = self.queue
        if self.state is QueueState.STARTED and queue is not None:
            self._machine.drain(queue)
            with self._machine.lock:
                self._machine.qm.stop(queue)

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
                region = MmioRegion(self._machine)
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
        return pair.faults.pop(slot, 0) if pair is not None else 0

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
        if not self._closed:
            os.eventfd_write(self._event, 1)

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
        os.close(self._event)

    def __repr__(self) -> str:
        number = self.queue.number if self.queue is not None else "none"
        return f"<OpenQueue {number} {self.state.value}, regions {[kind.name for kind in self._regions]}, {self.wakes} wakes>"
