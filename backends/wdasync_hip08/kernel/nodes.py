"""Nodes: the functions of the chip as the kernel has them, each with its driver and its opened queues."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from wdasync_hip08.chip import Block
from wdasync_hip08.functions import Function
from wdasync_hip08.kernel.dma import DmaDomain
from wdasync_hip08.kernel.hisi_qm import (
    EventQueueFullError,
    HisiQm,
    KernelQueue,
    MailboxError,
    share_bytes,
)
from wdasync_hip08.kernel.iopf import Owner
from wdasync_hip08.kernel.modes import mode_of
from wdasync_hip08.kernel.regions import MMIO_BYTES
from wdasync_hip08.kernel.spaces import Space
from wdasync_hip08.kernel.uacce import OpenQueue
from wdasync_hip08.options import Options
from wdasync_uacce.files import NodeInfo

if TYPE_CHECKING:
    from wdasync_hip08.machine import Machine

__all__ = ["DRAIN_SECONDS", "Node", "node_info"]

log = logging.getLogger(__name__)

#: Seconds that the kernel waits for a queue to drain before it resets it (1,000 looks, 100 to 200 µs apart).
DRAIN_SECONDS = 0.15


class Node:
    """One function, probed.

    :param block: its part of the chip
    :param dma: where its driver has rings and contexts

    :ivar qm: the driver of its queue manager
    :ivar files: its opened queues, by number
    :ivar lost: why it is gone; ``None`` while it is there
    :ivar reset_queues: queues that did not drain and were reset
    """

    def __init__(self, machine: Machine, block: Block, dma: DmaDomain) -> None:
        self.function = block.function
        self.block = block
        self.dma = dma
        self.files: dict[int, OpenQueue] = {}
        self.lost: str | None = None
        self.reset_queues = 0
        #: It is lost until its last queue is closed.
        self._returns = False
        self._machine = machine
        mode = machine.mode
        machine.iommu.attach(
            self.function.stream, dma.table, dma.asid, substreams=mode.substreams, stall=mode.stall
        )
        self.qm = self._probe()

    def _probe(self) -> HisiQm:
        options = self._machine.options
        return HisiQm(
            self._machine.chip.memory, self.block.registers, self.dma, self.block.qm.step,
            entry_bytes=self.function.entry_bytes, depth=options.depth, limit=options.queues,
            pasids=self._machine.mode.substreams,
        )  # fmt: skip

    @property
    def handlers(self) -> Mapping[str, Callable[[str], None]]:
        """What is to be called for its interrupt lines."""
        return {self.block.line(line): self._interrupt for line in ("eq", "aeq", "abnormal")}

    def _interrupt(self, line: str) -> None:
        try:
            self.qm.interrupt(line.rpartition(" ")[2])
        except MailboxError as error:
            self.refused(error)
        except EventQueueFullError as error:
            self._overflowed(error)

    def info(self) -> NodeInfo:
        """Its attributes."""
        return node_info(self.function, self._machine.options, self.qm.available)

    # Queues

    def open(self, space: Space, owner: Owner) -> OpenQueue:
        """Open it, for an address space.

        :raises OSError: ENODEV: it is lost; EBUSY: no queue is free; as :meth:`Bindings.bind`
        """
        if self.lost is not None:
            raise OSError(errno.ENODEV, f"open: {self.lost}")
        bindings = self._machine.bindings
        bindings.bind(space, self.function.stream)
        try:
            file = OpenQueue(self._machine, self, space, owner)
        except OSError:
            bindings.unbind(space, self.function.stream)
            raise
        self.files[file.number] = file
        return file

    def closed(self, file: OpenQueue, space: Space) -> None:
        """An opened queue was closed."""
        del self.files[file.number]
        if self._machine.alive:
            self._machine.bindings.unbind(space, self.function.stream)
            self._return()

    def lose(self, reason: str) -> None:
        """It is gone, and its queues with it."""
        self.lost = reason
        self._returns = False
        for file in self.files.values():
            file.remove()
        self._machine.changed.notify_all()

    def refused(self, error: MailboxError) -> None:
        """It takes no orders, so nobody knows what it does."""
        log.error("%s: %s; the device is lost", self.function.name, error.strerror)
        self.lose(f"it takes no orders: {error.strerror}")

    def _overflowed(self, error: EventQueueFullError) -> None:
        """The kernel resets it by itself. Its queues are dead, and when all are closed it is there again."""
        if self.lost is None:
            log.error("%s: %s; the function is reset", self.function.name, error)
            self.lose(f"{error}; it is there again when all its queues are closed")
            self._returns = True
            self._return()

    def _return(self) -> None:
        if self._returns and not self.files:
            self.reset()

    def reset(self) -> None:
        """Switch the function off and on again. All its queues are closed.

        :raises OSError: EBUSY: there are queues in use
        """
        if self.files:
            raise OSError(errno.EBUSY, f"reset: expected all queues closed, got {len(self.files)} open")
        self.block.switch_on()
        self.qm.close()
        self.qm = self._probe()
        self.lost, self._returns = None, False

    # Stopping a queue

    def drain(self, queue: KernelQueue) -> None:
        """Let a queue finish what was submitted; after a while, refuse its pages; then give up."""
        trace = self._machine.trace
        trace.begin("kernel", "drain", queue.number)
        drained = self._drain(queue)
        trace.end("kernel", "drain", queue.number, drained=drained)
        if not drained:
            with self._machine.lock:
                self.reset_queues += 1
                log.warning("queue %d of %s did not drain; it is reset", queue.number, self.function.name)

    def _drain(self, queue: KernelQueue) -> bool:
        if self._drained_within(queue, DRAIN_SECONDS):
            return True
        # Handlers have until their deadline: then the answer is INVALID, and the entries end.
        with self._machine.lock:
            faults = self._machine.faults.of_queue(self.function.stream, queue.number)
        deadlines = [fault.timer.when for fault in faults if fault.timer is not None]
        return bool(deadlines) and self._drained_within(
            queue, max(deadlines) - self._machine.clock.now() + DRAIN_SECONDS
        )

    def stop(self, queue: KernelQueue) -> None:
        """Take a queue away from the chip. A chip that refuses might go on with it, so it is lost."""
        with self._machine.lock:
            try:
                self.qm.stop(queue)
                self._machine.trace.instant("kernel", "queue stopped", queue=queue.number)
            except MailboxError as error:
                self.refused(error)

    def _drained_within(self, queue: KernelQueue, seconds: float) -> bool:
        machine = self._machine
        end = time.monotonic() + seconds
        with machine.lock:
            while True:
                more = machine.pump()
                if not machine.alive or self.lost is not None or self._drained(queue):
                    return True
                if machine.clock.virtual:
                    if not more:
                        return machine.advance_until(lambda: self._drained(queue))
                elif (
                    not more
                    and not machine.changed.wait(0.01)
                    and time.monotonic() >= end
                    and not self._under_way(queue)
                ):
                    return False

    def _under_way(self, queue: KernelQueue) -> bool:
        """Threads of this program are at something that a queue waits for. They may be slow; that is no chip that hangs."""
        stream = self.function.stream
        faults = self._machine.faults.of_queue(stream, queue.number)
        at_work = (task.entry[:2] for task in self._machine.at_work)
        return (stream, queue.number) in at_work or any(fault.populating for fault in faults)

    def _drained(self, queue: KernelQueue) -> bool:
        """As the kernel sees it: by the contexts, which it reads through the mailbox."""
        try:
            return self.qm.drained(queue)
        except MailboxError as error:
            self.refused(error)
            return True

    def __repr__(self) -> str:
        return f"<Node {self.function.name} {self.lost or 'there'}, {len(self.files)} queues open>"


def node_info(function: Function, options: Options, available: int | None = None) -> NodeInfo:
    """The attributes of a device, as the kernel shows them.

    :param available: free queues; ``None``: all
    """
    available = options.queues if available is None else available
    share = share_bytes(function.entry_bytes, options.depth)
    flags = mode_of(options).flags
    algorithms, api = function.of(options.generation), f"hisi_qm_v{options.generation}"
    mmio = MMIO_BYTES[options.generation]
    attributes = {
        "api": f"{api}\n", "flags": f"{int(flags)}\n",
        "algorithms": "".join(f"{name}\n" for name in algorithms), "isolate": "0\n",
        "available_instances": f"{available}\n", "region_mmio_size": f"{mmio}\n",
        "region_dus_size": f"{share}\n", "device/numa_node": "0\n", "node_id": "0\n", "numa_distance": "10\n",
        "isolate_strategy": "0\n", "dev_state": "0\n",
    }  # fmt: skip
    return NodeInfo(
        function.name, api, flags, algorithms, available, mmio, share,
        numa_node=0, attributes=attributes,
    )  # fmt: skip
