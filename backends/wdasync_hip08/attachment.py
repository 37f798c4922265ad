"""What one accelerator has of a machine: its queues, its fault handler, and the task that serves both.

Several accelerators may be attached to one machine, in several event loops and threads. Each pumps the machine in its own
thread and is told of what is its own: the work of its queues that is done, its faults, its timers. So an event loop that is
busy or blocked keeps back nobody else's work, and a handler runs in the event loop and context of who gave it.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from wdasync.backend import PageFaults
from wdasync.faults import FaultHandler, FaultReporter
from wdasync_hip08.codec import CodecWorkers
from wdasync_hip08.kernel.iopf import Owner, PendingFault
from wdasync_hip08.kernel.spaces import Space
from wdasync_hip08.kernel.uacce import OpenQueue
from wdasync_uacce.files import NodeInfo

if TYPE_CHECKING:
    from wdasync_hip08.machine import Machine

__all__ = ["Attachment"]


class Attachment(Owner):
    """One user of a machine; a :class:`wdasync_uacce.files.FileLayer`.

    :raises OSError: no descriptor is to be had

    :ivar codec: workers for its queues, while it is served
    :ivar serving: its task runs
    """

    def __init__(
        self,
        machine: Machine,
        handler: FaultHandler | None = None,
        reporter: FaultReporter | None = None,
    ) -> None:
        super().__init__(handler, reporter)
        self.machine = machine
        self.codec = CodecWorkers()
        self.serving = False
        #: The task sleeps, until so late; there is something that it has not seen.
        self._asleep, self._until, self._unseen = False, math.inf, False
        #: The thread that serves; and that in which a task that answers faults goes on with the machine. 0: none does.
        self._thread = self._attending = 0
        self._leaving, self._left = threading.Lock(), False
        with contextlib.ExitStack() as undo:
            self._attention = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            undo.callback(os.close, self._attention)
            self._watch = select.epoll()
            undo.callback(self._watch.close)
            self._watch.register(self._attention, select.EPOLLIN)
            self._undo = undo.pop_all()

    # The file layer

    @property
    def page_faults(self) -> PageFaults:
        return self.machine.page_faults

    def discover(self) -> Sequence[NodeInfo]:
        return self.machine.discover()

    def open(self, name: str, space: Space | None = None) -> OpenQueue:
        """Open a node, for this process or for a made-up space."""
        return self.machine.open(name, space, self)

    def lost(self, name: str) -> str | None:
        return self.machine.lost(name)

    @property
    def files(self) -> list[OpenQueue]:
        """Its opened queues."""
        nodes = self.machine.nodes.values()
        return [file for node in nodes for file in list(node.files.values()) if file.owner is self]

    # Being told

    def wake(self) -> None:
        """Its task has something to do. If that is awake, it looks once more before it sleeps."""
        self._unseen = True
        if self._asleep and self._attending != threading.get_ident():
            with self._leaving:  # An engine's thread may come when all is over, and the descriptor another's.
                if not self._left:
                    os.eventfd_write(self._attention, 1)

    def wake_elsewhere(self) -> None:
        """Somebody has left something undone. If it may be ours, and our thread is another, we must not wait for him."""
        if self.serving and self._thread != threading.get_ident() and any(map(_has_work, self.files)):
            self.wake()

    # The task

    async def serve(self) -> None:
        """Timers, fault handlers and the work of its queues, until it is cancelled. One task does it; others stand by."""
        if self.serving:
            await anyio.sleep_forever()
        self._thread, self.serving = threading.get_ident(), True
        try:
            self._open_codec()
            async with anyio.create_task_group() as group:
                while True:
                    self._unseen = False
                    more = self.machine.pump()
                    self.report()
                    self.cancel_expired()
                    while (fault := self.next_waiting()) is not None:
                        group.start_soon(self._attend, fault)
                    if more:
                        await anyio.lowlevel.checkpoint()
                    else:
                        await self._pause()
        finally:
            self.serving = self._asleep = False
            with self.machine.lock:
                self.machine.faults.abandon(self)
            self.machine.pump()
            self.report()

    def _open_codec(self) -> None:
        """Have codec workers at hand: their descriptor wakes this task, and nobody else."""
        with self.machine.lock:
            if not self.machine.clock.virtual and not self.codec.opened:
                descriptor = self.codec.open()
                if descriptor is not None:
                    self._watch.register(descriptor, select.EPOLLIN)

    async def _attend(self, fault: PendingFault | None) -> None:
        """Answer faults, one after the other: an access that goes on often stops at the next page."""
        while fault is not None:
            await self.machine.faults.handle(fault)
            fault = self._go_on()

    def _go_on(self) -> PendingFault | None:
        """Let go on what waited for an answer; the fault that comes of it. The task that serves need not be woken."""
        self._attending = threading.get_ident()
        more = self.machine.pump()
        self._attending = 0
        self.report()
        fault = self.next_waiting()
        when = self.machine.timers.next()
        if more or self.needs_service or (when is not None and when < self._until):
            self.wake()
        return fault

    async def _pause(self) -> None:
        clock = self.machine.clock
        when = self.machine.timers.next()
        timeout = None if when is None or clock.virtual else max(when - clock.now(), 0.0)
        self._until = math.inf if timeout is None or when is None else when
        self._asleep = True
        try:
            if self._unseen:  # It came before this task was asleep, so nobody would wake it.
                await anyio.lowlevel.checkpoint()
                return
            with contextlib.nullcontext() if timeout is None else anyio.move_on_after(timeout):
                await anyio.wait_readable(self._watch)
        finally:
            self._asleep = False
        try:
            os.eventfd_read(self._attention)
        except BlockingIOError:
            pass

    def close(self) -> bool:
        """Leave the machine; the others go on. Queues that are still open are closed. False: it had left."""
        for file in self.files:
            file.close()
        if gone := self.machine.detach(self):
            self.codec.close()
            with self._leaving:
                self._left = True
                self._undo.close()
        return gone

    def __repr__(self) -> str:
        return f"<Attachment {'served' if self.serving else 'not served'}, {len(self.files)} queues, {self.counters.taken} faults>"


def _has_work(file: OpenQueue) -> bool:
    """Something was submitted that is not complete."""
    pair = file.node.block.qm.queues.get(file.number)
    return pair is not None and (bool(pair.in_flight) or pair.sq.head != pair.sq.tail)
