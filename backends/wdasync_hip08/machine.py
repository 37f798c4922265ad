"""A machine with the chip in it: chip and kernel together, and who lets them go on.

Everything that changes the machine happens under one lock, in :meth:`Machine.pump`: in the thread that owns a queue,
when it enqueues or dequeues; in the task :meth:`Machine.serve`, for timers, fault handlers and work that is done. Each
does a bounded number of steps. Where no such task runs, an engine's thread goes on when its work is done; where one
runs, that thread only tells it, so that in practice one thread pumps: two that take turns cost more than both do.

Under a virtual clock there are no threads: work is done at once, and the same program gives the same trace.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import anyio
import anyio.lowlevel

from wdasync.backend import PageFaults
from wdasync.faults import FaultHandler, FaultReporter
from wdasync_hip08.backings import Memfd, OwnProcess
from wdasync_hip08.chip import SMMU_BASE, Chip
from wdasync_hip08.clocks import RealClock, Timer, Timers, VirtualClock
from wdasync_hip08.codec import CodecWorkers
from wdasync_hip08.engines.deflate import Deflation
from wdasync_hip08.functions import FUNCTIONS, Function
from wdasync_hip08.kernel.bindings import Bindings
from wdasync_hip08.kernel.dma import DmaDomain
from wdasync_hip08.kernel.iommu import Iommu
from wdasync_hip08.kernel.iopf import FaultHandling, PendingFault
from wdasync_hip08.kernel.modes import mode_of
from wdasync_hip08.kernel.nodes import Node
from wdasync_hip08.kernel.spaces import Area, Residency, Space
from wdasync_hip08.kernel.uacce import OpenQueue
from wdasync_hip08.memory import PAGE_SHIFT, pages_of
from wdasync_hip08.options import Options
from wdasync_hip08.qm.registers import Doorbell, DoorbellCommand
from wdasync_hip08.tasks import Task, Work
from wdasync_hip08.trace import Recorder, Trace
from wdasync_hip08.workers import Workers
from wdasync_uacce.files import NodeInfo

__all__ = ["Machine"]

log = logging.getLogger(__name__)

#: Steps of one pump, and seconds after which it begins no other: they bound how long a caller is kept. But a step is
#: indivisible, and one that translates and copies megabytes takes milliseconds itself.
STEPS = 256
SECONDS = 0.001
#: Work on so many bytes is done at once, in the thread that comes upon it.
INLINE_BYTES = 1024
#: Seconds after which records that lie in the SMMU's event queue with no interrupt are looked for.
LOOK_SECONDS = 0.1


class Machine:
    """The model behind the uacce files; a :class:`wdasync_uacce.files.FileLayer`.

    :raises OSError: no memory for the chip; or, with the path as ``filename``, the trace cannot be written

    :ivar lock: held by whoever changes anything
    :ivar nodes: its devices, by name
    :ivar spaces: the address spaces that are bound, by PASID
    :ivar at_work: tasks whose work is in a thread
    :ivar rescues: times that records of the SMMU had to be looked for, because their interrupt was lost
    """

    def __init__(
        self,
        options: Options,
        functions: Sequence[Function] = FUNCTIONS,
        *,
        handler: FaultHandler | None = None,
        reporter: FaultReporter | None = None,
        clock: VirtualClock | None = None,
    ) -> None:
        self.options = options
        self._functions = functions
        self.mode = mode_of(options)
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.clock = clock or (VirtualClock() if options.clock == "virtual" else RealClock())
        self.timers = Timers(self.clock)
        self.trace: Trace = Recorder(self.clock) if options.trace else Trace()
        self.rescues = 0
        self._look: Timer | None = None
        #: What is wrong with the model, if anything is.
        self._defect: str | None = None
        self._serving = False
        #: The task that serves: it sleeps, until so late; there is something that it has not seen.
        self._asleep, self._until, self._unseen = False, math.inf, False
        #: The thread in which a task that answers faults goes on with the machine; 0: none does.
        self._attending = 0
        self._closed = False
        self._workers = Workers(options.engines, self._finished)
        self._codec = CodecWorkers()
        #: Work that an engine's thread has done, and its result.
        self._done: deque[tuple[Task, object]] = deque()
        self.at_work: set[Task] = set()
        self._process: Space | None = None
        self._handler, self._reporter = handler, reporter
        if options.trace:
            Path(options.trace).open("a").close()  # If it cannot be written, better now than in the end.
        with contextlib.ExitStack() as undo:
            self._attention = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            undo.callback(os.close, self._attention)
            self._watch = select.epoll()
            undo.callback(self._watch.close)
            self._watch.register(self._attention, select.EPOLLIN)
            self.own = OwnProcess()
            undo.callback(self.own.close)
            self._switch_on()
            undo.callback(self._switch_off)
            self._undo = undo.pop_all()  # What it has of the system, given back in the end.

    def _switch_on(self) -> None:
        options = self.options
        self.chip = chip = Chip(
            self._start_work,
            self.trace,
            self._functions,
            ram=options.ram << 20,
            seed=options.seed,
            window=options.window,
            tlb_entries=options.tlb_entries,
            stall_quota=options.stall_quota,
        )
        if self._look is not None:
            self._look.cancel()
            self._look = None
        self.spaces: dict[int, Space] = {}
        self.iommu = Iommu(chip.memory, SMMU_BASE, self.trace)
        self.faults = FaultHandling(
            self.iommu,
            self.timers,
            self.spaces,
            self.trace,
            self.lock,
            devices={function.stream: function.name for function in self._functions},
            handler=self._handler,
            reporter=self._reporter,
            deadline=options.fault_deadline or None,
            entry_of=chip.tasks.entry_of,
            elsewhere=self._elsewhere,
            wake=self._wake,
        )
        self.bindings = Bindings(self.spaces, self.iommu, self.faults, self.mode, self.trace)
        chip.handlers = {
            "smmu events": lambda _: self.faults.drain_events(),
            "smmu errors": lambda _: self.iommu.acknowledge_errors(),
        }
        # Where nothing bears a PASID, all functions have one address space: whoever has one of them has them all.
        shared = None if self.mode.substreams else DmaDomain(chip.memory.ram, self.iommu)
        self.nodes = {
            name: Node(self, block, shared or DmaDomain(chip.memory.ram, self.iommu))
            for name, block in chip.blocks.items()
        }
        for node in self.nodes.values():
            chip.handlers.update(node.handlers)
        self._domain = shared

    def _switch_off(self) -> None:
        with self.lock:
            self.chip.close()

    # Going on

    def pump(self, limit: int = STEPS) -> bool:
        """Go on, at most ``limit`` steps or a millisecond; whether there is more to do at once."""
        with self.lock:
            if not self.alive:
                return False
            try:
                return self._pump(limit)
            except Exception as error:
                log.exception("the model of the chip has a defect; its devices are lost")
                self._defect = f"defect of the model: {type(error).__name__}: {error}"
                for node in self.nodes.values():
                    node.lose(self._defect)
                return False

    def _pump(self, limit: int) -> bool:
        if not self.chip.tasks.alive:
            self.chip.frames.settle()  # While entries are in work it is done before their next access.
        self.timers.run_due()
        self._collect()
        end = math.inf if self.clock.virtual else time.perf_counter() + SECONDS
        for _ in range(limit):
            if not self.chip.step() and not self._collect():
                self._expect_interrupt()
                self.changed.notify_all()
                return False
            if time.perf_counter() > end:
                break
        self._codec.kick()
        self._wake()
        return True

    def _expect_interrupt(self) -> None:
        """All interrupts have arrived; if there are still records, one was lost.

        The queue gives no other before it is empty, so all that stalls would stall for ever.
        """
        if self._look is None and len(self.chip.smmu.stalls) and self.iommu.has_events:
            self._look = self.timers.after(LOOK_SECONDS, self._look_for_events)
            self._wake()

    def _look_for_events(self) -> None:
        self._look = None
        if self.iommu.has_events:
            self.rescues += 1
            log.warning("the SMMU has records but gave no interrupt; they are read")
            self.faults.drain_events()

    def run(self) -> None:
        """Go on until nothing is left to do at once. For programs without a loop, and for tests."""
        while self.pump():
            pass

    def advance(self, seconds: float) -> None:
        """Let virtual time pass, timer by timer, and go on after each.

        :raises TypeError: the clock is real
        """
        clock = self._virtual()
        end = clock.now() + seconds
        self.run()
        while (when := self.timers.next()) is not None and when <= end:
            clock.advance(max(when - clock.now(), 0.0))
            self.run()
        clock.advance(end - clock.now())
        self.run()

    def advance_until(self, done: Callable[[], bool]) -> bool:
        """Let virtual time pass, timer by timer, until something has happened; False: no timer helps.

        :raises TypeError: the clock is real
        """
        clock = self._virtual()
        while (when := self.timers.next()) is not None:
            clock.advance(max(when - clock.now(), 0.0))
            self.run()
            if done():
                return True
        return False

    def _virtual(self) -> VirtualClock:
        if not isinstance(self.clock, VirtualClock):
            raise TypeError("expected a virtual clock, got the real one; set the option clock=virtual")
        return self.clock

    def ring(self, node: Node, word: int) -> None:
        """A doorbell was stored in a program's page. It is taken note of; :meth:`pump` looks at it.

        But who arms an interrupt is about to sleep, and nobody else may be there to go on. Who has armed one and submits may
        sleep as well.
        """
        bell = Doorbell.decode(word)
        arms = bell.command == DoorbellCommand.CQ and bool(bell.priority & 1)
        with self.lock:
            if not self.alive:
                return
            if bell.command == DoorbellCommand.CQ and self.options.consuming:
                self._has_polled(node, bell.queue)
            awaited = bell.command == DoorbellCommand.SQ and node.block.qm.awaited(bell.queue)
            node.block.qm.ring(word)
        if self.clock.virtual:
            if arms or awaited:
                self.run()
        elif awaited and self._serving:
            self._wake()
        elif (awaited or (arms and self.pump())) and not self._serving:
            self._workers.call(self.run)

    @staticmethod
    def _has_polled(node: Node, queue: int) -> None:
        # The kernel's poll eats the events before it. Nobody sees a poll; but who takes completions or arms has done one.
        for file in node.files:
            if file.queue is not None and file.queue.number == queue:
                file.readiness.take()

    def _wake(self) -> None:
        """The task that serves has something to do. If it is awake, it looks once more before it sleeps."""
        self._unseen = True
        if self._asleep and self._attending != threading.get_ident():
            os.eventfd_write(self._attention, 1)

    # Work

    def _start_work(self, task: Task, work: Work) -> None:
        if work.endless:
            return
        if self.clock.virtual or work.nbytes <= INLINE_BYTES:
            self.chip.tasks.finish(task, work.run())
            return
        self.at_work.add(task)
        if not (self._serving and isinstance(work, Deflation) and self._codec.submit(task, work)):
            self._workers.submit(task, work)

    def _collect(self) -> bool:
        """Let tasks go on whose work is done; whether there were any."""
        self._codec.kick()
        done = self._codec.collect()
        while self._done:
            done.append(self._done.popleft())
        for task, result in done:
            self.at_work.discard(task)
            self.chip.tasks.finish(task, result)
        return bool(done)

    def _elsewhere(self, job: Callable[[], object]) -> bool:
        """Do a job in an engine's thread and go on, unless this is one, or there are none."""
        if self.clock.virtual or self._workers.here():
            return False

        def do() -> None:
            job()
            self._tell()

        self._workers.call(do)
        return True

    def _finished(self, task: Task, result: object) -> None:
        """In an engine's thread."""
        self._done.append((task, result))
        self._tell()

    def _tell(self) -> None:
        """In an engine's thread: there is something to do. Without a task that does it, this thread does."""
        self._wake()
        if not self._serving:
            self.run()

    # The task

    async def serve(self) -> None:
        """Timers and fault handlers, until it is cancelled. One task a machine does it; others stand by."""
        if self._serving:
            await anyio.sleep_forever()
        self._serving = True
        try:
            self._open_codec()
            async with anyio.create_task_group() as group:
                while True:
                    self._unseen = False
                    more = self.pump()
                    self.faults.report()
                    self.faults.cancel_expired()
                    while (fault := self.faults.next_waiting()) is not None:
                        group.start_soon(self._attend, fault)
                    if more:
                        await anyio.lowlevel.checkpoint()
                    else:
                        await self._pause()
        finally:
            self._serving = self._asleep = False
            with self.lock:
                self.faults.abandon()
            self.pump()
            self.faults.report()

    def _open_codec(self) -> None:
        """Have codec workers at hand: their descriptor wakes the task that serves, and nobody else."""
        if not self.clock.virtual and not self._codec.opened:
            descriptor = self._codec.open()
            if descriptor is not None:
                self._watch.register(descriptor, select.EPOLLIN)

    async def _attend(self, fault: PendingFault | None) -> None:
        """Answer faults, one after the other: an access that goes on often stops at the next page."""
        while fault is not None:
            await self.faults.handle(fault)
            fault = self._go_on()

    def _go_on(self) -> PendingFault | None:
        """Let go on what waited for an answer; the fault that comes of it. The task that serves need not be woken."""
        self._attending = threading.get_ident()
        more = self.pump()
        self._attending = 0
        self.faults.report()
        fault = self.faults.next_waiting()
        when = self.timers.next()
        if more or self.faults.needs_service or (when is not None and when < self._until):
            self._wake()
        return fault

    async def _pause(self) -> None:
        when = self.timers.next()
        timeout = None if when is None or self.clock.virtual else max(when - self.clock.now(), 0.0)
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

    # Spaces

    def new_space(self, name: str, *, residency: Residency | None = None) -> Space:
        """A made-up address space: a process that is not there. Its memory is put in with :meth:`map_memory`."""
        with self.lock:
            return self._space(name, residency, None)

    def _space(self, name: str, residency: Residency | None, whole: OwnProcess | None) -> Space:
        mode = self.mode
        if residency is None:
            residency = Residency(self.options.residency) if mode.shared else Residency.PINNED
        return Space(
            name, self.chip.memory.ram, self.chip.frames, self.iommu,
            whole=whole if mode.shared else None, residency=residency, domain=self._domain,
        )  # fmt: skip

    def map_memory(self, space: Space, address: int, nbytes: int, *, writable: bool = True) -> Memfd:
        """Give a made-up space memory at an address of its own."""
        memory = Memfd(pages_of(nbytes) << PAGE_SHIFT, space.name)
        first = address >> PAGE_SHIFT
        with self.lock:
            space.add(Area(first, first + pages_of(nbytes), memory, writable=writable))
        return memory

    # The file layer

    @property
    def page_faults(self) -> PageFaults:
        return PageFaults.HANDLER if self.mode.stall else PageFaults.NONE

    @property
    def process(self) -> Space:
        """The address space of this process."""
        if self._process is None:
            self._process = self._space("process", None, self.own)
        return self._process

    def discover(self) -> Sequence[NodeInfo]:
        return tuple(self.nodes[name].info() for name in sorted(self.nodes))

    def open(self, name: str, space: Space | None = None) -> OpenQueue:
        """Open a node, for this process or for a made-up space."""
        if name not in self.nodes:
            raise OSError(errno.ENOENT, f"open: expected one of {', '.join(self.nodes)}, got {name!r}")
        with self.lock:
            if self._closed:
                raise OSError(errno.ENODEV, "open: the machine is off")
            return self.nodes[name].open(space or self.process)

    @property
    def alive(self) -> bool:
        """The chip is on and works."""
        return self._defect is None and not self._closed

    def lost(self, name: str) -> str | None:
        return self.nodes[name].lost

    def remove(self, name: str, reason: str = "the device was removed") -> None:
        """Take a device out of the machine while it is in use."""
        with self.lock:
            self.nodes[name].lose(reason)

    def reset(self, name: str) -> None:
        """Switch a device off and on again; after a defect of the model, all of them. All their queues are closed.

        :raises OSError: EBUSY: there are queues in use
        """
        with self.lock:
            if self._defect is None:
                self.nodes[name].reset()
            elif still := sum(len(node.files) for node in self.nodes.values()):
                raise OSError(errno.EBUSY, f"reset: expected all queues closed, got {still} open")
            else:
                self._process = None
                self._switch_off()
                self._switch_on()
                self._defect = None

    def close(self) -> None:
        """Switch it off. All queues are closed.

        :raises OSError: the trace could not be written; everything else is done
        """
        with self.lock:
            if self._closed:
                return
            self._closed = True
        self._workers.close()
        self._codec.close()
        with self._undo:
            if isinstance(self.trace, Recorder):
                self.trace.save(Path(self.options.trace))

    def dump(self) -> str:
        """The state of everything, for people."""
        parts = [repr(self), repr(self.chip), repr(self.faults)]
        for node in self.nodes.values():
            parts += [repr(node), repr(node.qm), node.block.qm.registers.dump()]
            parts += [repr(queue) for queue in node.block.qm.queues.values()]
        parts += [repr(space) for space in self.spaces.values()]
        return "\n".join([*parts, self.chip.smmu.dump()])

    def __repr__(self) -> str:
        state = self._defect or ("off" if self._closed else "on")
        return f"<Machine {state}, {[*self.nodes.values()]}, {len(self.spaces)} spaces bound>"
