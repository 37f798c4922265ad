"""A machine with the chip in it: chip and kernel together, and who lets them go on.

Everything that changes the machine happens under one lock, in :meth:`Machine.pump`: in the thread that owns a queue,
when it enqueues or dequeues; in the task :meth:`Attachment.serve`, for timers, fault handlers and work that is done. Each
does a bounded number of steps. Where no such task runs, an engine's thread goes on when its work is done; where one
runs, that thread only tells it. So only threads pump that have an event loop with queues here, in practice one: those
that take turns cost more than both do.

Under a virtual clock there are no threads: work is done at once, and the same program gives the same trace.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeGuard

from wdasync.backend import PageFaults
from wdasync.faults import FaultHandler, FaultReporter
from wdasync_hip08.attachment import Attachment
from wdasync_hip08.backings import Memfd, OwnProcess
from wdasync_hip08.chip import SMMU_BASE, Chip
from wdasync_hip08.clocks import RealClock, Timer, Timers, VirtualClock
from wdasync_hip08.engines.deflate import Deflation
from wdasync_hip08.functions import FUNCTIONS, Function
from wdasync_hip08.kernel.bindings import Bindings
from wdasync_hip08.kernel.dma import DmaDomain
from wdasync_hip08.kernel.iommu import Iommu
from wdasync_hip08.kernel.iopf import FaultHandling, Owner
from wdasync_hip08.kernel.modes import mode_of
from wdasync_hip08.kernel.nodes import Node
from wdasync_hip08.kernel.spaces import Area, Residency, Space
from wdasync_hip08.kernel.uacce import OpenQueue
from wdasync_hip08.memory import PAGE_SHIFT, pages_of
from wdasync_hip08.options import Options
from wdasync_hip08.qm.registers import Doorbell, DoorbellCommand
from wdasync_hip08.tasks import Entry, Task, Work
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
    """The model behind the uacce files.

    :raises OSError: no memory for the chip; or, with the path as ``filename``, the trace cannot be written

    :ivar lock: held by whoever changes anything
    :ivar nodes: its devices, by name
    :ivar spaces: the address spaces that are bound, by PASID
    :ivar attachments: who uses it
    :ivar at_work: tasks whose work is in a thread
    :ivar rescues: times that records of the SMMU had to be looked for, because their interrupt was lost
    """

    def __init__(
        self,
        options: Options,
        functions: Sequence[Function] = FUNCTIONS,
        *,
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
        self._closed = False
        self._workers = Workers(options.engines, self._finished)
        #: Work that an engine's thread has done, and its result.
        self._done: deque[tuple[Task, object]] = deque()
        self.at_work: set[Task] = set()
        self._process: Space | None = None
        self.attachments: list[Attachment] = []
        if options.trace:
            Path(options.trace).open("a").close()  # If it cannot be written, better now than in the end.
        with contextlib.ExitStack() as undo:
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
            generation=options.generation,
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
            deadline=options.fault_deadline or None,
            entry_of=chip.tasks.entry_of,
            owner_of=self.owner_of,
            elsewhere=self._elsewhere,
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
        self._of_stream = {node.function.stream: node for node in self.nodes.values()}

    def _switch_off(self) -> None:
        with self.lock:
            self.chip.close()

    # Going on

    def pump(self, limit: int = STEPS) -> bool:
        """Go on, at most ``limit`` steps or a millisecond; whether there is more to do at once.

        It is the caller's then. But who has an event loop in another thread, and work here, does not wait for him.
        """
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
        for attachment in self.attachments:
            attachment.codec.kick()
            attachment.wake_elsewhere()
        return True

    def _expect_interrupt(self) -> None:
        """All interrupts have arrived; if there are still records, one was lost.

        The queue gives no other before it is empty, so all that stalls would stall for ever.
        """
        if self._look is None and len(self.chip.smmu.stalls) and self.iommu.has_events:
            self._look = self.timers.after(LOOK_SECONDS, self._look_for_events)
            for attachment in self.attachments:
                attachment.wake()

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

    def ring(self, file: OpenQueue, word: int) -> None:
        """A doorbell was stored in a program's page. It is taken note of; :meth:`pump` looks at it.

        But who arms an interrupt is about to sleep, and nobody else may be there to go on. Who has armed one and submits may
        sleep as well.
        """
        bell, qm = Doorbell.decode(word), file.node.block.qm
        arms = bell.command == DoorbellCommand.CQ and bool(bell.priority & 1)
        with self.lock:
            if not self.alive:
                return
            if bell.command == DoorbellCommand.CQ and self.options.consuming:
                self._has_polled(file.node, bell.queue)
            awaited = bell.command == DoorbellCommand.SQ and qm.awaited(bell.queue)
            qm.ring(word)
        if self.clock.virtual:
            if arms or awaited:
                self.run()
        elif awaited or (arms and self.pump()):
            if _served(file.owner):
                file.owner.wake()
            else:
                self._workers.call(self.run)

    @staticmethod
    def _has_polled(node: Node, queue: int) -> None:
        # The kernel's poll eats the events before it. Nobody sees a poll; but who takes completions or arms has done one.
        if queue in node.files:
            node.files[queue].readiness.take()

    # Who uses it

    def attach(
        self, handler: FaultHandler | None = None, reporter: FaultReporter | None = None
    ) -> Attachment:
        """One more user.

        :param handler: is asked of the page faults of its queues
        :param reporter: is told of their answers, in its thread
        """
        attachment = Attachment(self, handler, reporter)
        with self.lock:
            self.attachments.append(attachment)
        return attachment

    def detach(self, attachment: Attachment) -> bool:
        """One user less. It has closed its queues; what its codec still has in hand is for nobody. False: it had left."""
        with self.lock:
            if attachment not in self.attachments:
                return False
            self.attachments.remove(attachment)
            self.at_work.difference_update(attachment.codec.tasks)
            return True

    def owner_of(self, entry: Entry) -> Owner | None:
        """Who has opened the queue of an entry."""
        stream, queue, _ = entry
        file = self._of_stream[stream].files.get(queue)
        return file.owner if file is not None else None

    # Work

    def _start_work(self, task: Task, work: Work) -> None:
        if work.endless:
            return
        if self.clock.virtual or work.nbytes <= INLINE_BYTES:
            self.chip.tasks.finish(task, work.run())
            return
        self.at_work.add(task)
        owner = self.owner_of(task.entry)
        if not (_served(owner) and isinstance(work, Deflation) and owner.codec.submit(task, work)):
            self._workers.submit(task, work)

    def _collect(self) -> bool:
        """Let tasks go on whose work is done; whether there were any."""
        done: list[tuple[Task, object]] = []
        for attachment in self.attachments:
            attachment.codec.kick()
            done += attachment.codec.collect()
        while self._done:
            done.append(self._done.popleft())
        for task, result in done:
            self.at_work.discard(task)
            self.chip.tasks.finish(task, result)
        return bool(done)

    def _elsewhere(self, job: Callable[[], object], owner: Owner | None) -> bool:
        """Do a job in an engine's thread and go on, unless this is one, or there are none."""
        if self.clock.virtual or self._workers.here():
            return False

        def do() -> None:
            job()
            self._tell(owner)

        self._workers.call(do)
        return True

    def _finished(self, task: Task, result: object) -> None:
        """In an engine's thread."""
        self._done.append((task, result))
        self._tell(self.owner_of(task.entry))

    def _tell(self, owner: Owner | None) -> None:
        """In an engine's thread: somebody has something to do. Without a task that does it, this thread does."""
        if _served(owner):
            owner.wake()
        if not _served(owner):
            self.run()

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

    def open(self, name: str, space: Space | None, owner: Owner) -> OpenQueue:
        """Open a node, for this process or for a made-up space.

        :raises OSError: ENOENT: there is none of that name; ENODEV: the machine is off, or as :meth:`Node.open`
        """
        if name not in self.nodes:
            raise OSError(errno.ENOENT, f"open: expected one of {', '.join(self.nodes)}, got {name!r}")
        with self.lock:
            if self._closed:
                raise OSError(errno.ENODEV, "open: the machine is off")
            return self.nodes[name].open(space or self.process, owner)

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
        """Switch it off, for all its users. Their queues are closed.

        :raises OSError: the trace could not be written; everything else is done
        """
        with self.lock:
            if self._closed:
                return
            self._closed = True
        for attachment in list(self.attachments):
            attachment.close()
        self._workers.close()
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


def _served(owner: Owner | None) -> TypeGuard[Attachment]:
    """Its task runs, in whatever thread."""
    return isinstance(owner, Attachment) and owner.serving
