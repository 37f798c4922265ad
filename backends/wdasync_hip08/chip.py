"""The chip: memory, SMMU, queue managers and engines on one board, and the order in which they take their turns.

Everything is synchronous and happens in :meth:`Chip.step`, one small thing a call: an interrupt is delivered, a
resumed access goes on, a task runs up to its next wait, a doorbell is looked at, an entry is fetched. Who calls it and
when is not the chip's business.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence

from wdasync_hip08.frames import Frames
from wdasync_hip08.functions import FUNCTIONS, Function
from wdasync_hip08.memory import Mmio, PhysicalMemory, Ram
from wdasync_hip08.port import Port
from wdasync_hip08.qm.manager import QueueManager
from wdasync_hip08.smmu import HIP08, Smmu
from wdasync_hip08.smmu.bursts import TableMemory
from wdasync_hip08.smmu.commands import Command
from wdasync_hip08.tasks import Task, Tasks, Work
from wdasync_hip08.trace import Trace

__all__ = ["FRAMES_BASE", "QM_BASE", "RAM_BASE", "SMMU_BASE", "Block", "Chip"]

# The physical memory map.
RAM_BASE = 0x4000_0000
SMMU_BASE, SMMU_SIZE = 0x2_0000_0000, 0x2_0000
QM_BASE, QM_SIZE = 0x2_1000_0000, 0x40_0000
FRAMES_BASE = 0x100_0000_0000


class Block:
    """What of the chip is one function's: its way to memory, its queue manager, its engine.

    :param registers: physical address of its BAR
    """

    def __init__(self, chip: Chip, function: Function, registers: int, window: int, generation: int) -> None:
        self.function = function
        self.registers = registers
        self._chip = chip
        self._window = window
        self._generation = generation
        self.switch_on()
        chip.memory.add(
            Mmio(
                registers,
                QM_SIZE,
                function.name,
                self._load,
                self._store,
            )
        )

    def switch_on(self) -> None:
        """Begin anew, with nothing in the registers. No queue has anything in work."""
        chip, function = self._chip, self.function
        self.port = Port(function.stream, chip.smmu, chip.memory, chip.frames, chip.trace)
        self.engine = function.engine(self.port, chip.trace, self._generation)
        self.qm = QueueManager(
            function.name, self.port, self.engine, chip.trace,
            lambda line: chip.interrupt(self.line(line)), self._window,
        )  # fmt: skip
        self.qm.tasks = chip.tasks

    def _load(self, offset: int, width: int) -> int:
        return self.qm.load(offset, width)

    def _store(self, offset: int, width: int, value: int) -> None:
        self.qm.store(offset, width, value)

    def line(self, interrupt: str) -> str:
        """The name of one of its interrupt lines in the chip."""
        return f"{self.function.name} {interrupt}"

    def __repr__(self) -> str:
        return f"<Block {self.function.name}: {self.port!r}, {self.engine!r}, {self.qm!r}>"


class Chip:
    """One emulated chip with its functions.

    :param start_work: does an engine's work sometime, or at once, and calls ``tasks.finish``
    :param ram: bytes of RAM
    :param seed: scrambles frame numbers
    :param window: entries of one queue that are in work at a time
    :param generation: version of the queue managers, and so of the engines
    :param stall_quota: stalled accesses of one PASID that software is told of at a time, for each function

    :ivar blocks: its functions, by name
    :ivar handlers: what is called for an interrupt line
    :ivar lose: interrupts to be lost, by line: the next so many do not arrive
    """

    def __init__(
        self,
        start_work: Callable[[Task, Work], None],
        trace: Trace,
        functions: Sequence[Function] = FUNCTIONS,
        *,
        ram: int,
        seed: int = 0,
        generation: int = 2,
        window: int = 4,
        tlb_entries: int = 64,
        stall_quota: int | None = None,
    ) -> None:
        self.trace = trace
        self.memory = PhysicalMemory(Ram(RAM_BASE, ram))
        self.frames = Frames(FRAMES_BASE, seed=seed)
        self.smmu = Smmu(
            self.memory,
            HIP08,
            tlb_entries=tlb_entries,
            stall_quota=stall_quota,
            on_event_irq=lambda: self.interrupt("smmu events"),
            on_gerror_irq=lambda: self.interrupt("smmu errors"),
            on_resumed=self._note_resumed,
            trace=self._note if trace.on else None,
            memory=TableMemory(*self.memory.ram.host_window),
        )
        self.tasks = Tasks(start_work, self._finished)
        self.handlers: dict[str, Callable[[str], object]] = {}
        self.lose: Counter[str] = Counter()
        self.steps = 0
        self._interrupts: deque[str] = deque()
        self._resumed = False
        self.memory.add(self.frames)
        self.memory.add(Mmio(SMMU_BASE, SMMU_SIZE, "smmu", self._load_smmu, self._store_smmu))
        self.blocks = {
            function.name: Block(self, function, QM_BASE + index * QM_SIZE, window, generation)
            for index, function in enumerate(functions)
        }
        self._of_stream = {block.function.stream: block for block in self.blocks.values()}
        self._turns = deque(self.blocks.values())

    def _finished(self, task: Task) -> None:
        self._of_stream[task.stream].qm.finished(task)

    def _load_smmu(self, offset: int, width: int) -> int:
        return self.smmu.read64(offset) if width == 8 else self.smmu.read32(offset)

    def _store_smmu(self, offset: int, width: int, value: int) -> None:
        if width == 8:
            self.smmu.write64(offset, value)
        elif width == 4:
            self.smmu.write32(offset, value)

    def interrupt(self, line: str) -> None:
        """Raise an interrupt line; it arrives with the next step, unless it is to be lost."""
        if self.lose[line] > 0:
            self.lose[line] -= 1
        elif line not in self._interrupts:
            self._interrupts.append(line)

    def _note(self, what: str, particulars: Mapping[str, object]) -> None:
        command = particulars.get("command")
        if what == "command" and isinstance(command, Command):
            self.trace.instant("smmu", command.opcode.name, **command.fields())
        elif what == "command error":
            self.trace.instant("smmu", what, **particulars)

    def _note_resumed(self) -> None:
        self._resumed = True

    def step(self) -> bool:
        """Do one thing; False if there is nothing to do until somebody rings, answers or finishes."""
        if self._interrupts:
            line = self._interrupts.popleft()
            handler = self.handlers.get(line)
            if handler is not None:
                handler(line)
        elif self._resumed:
            self._resumed = False
            for stall in self.smmu.take_resumed():
                verdict = stall.verdict.value if stall.verdict is not None else ""
                self.trace.instant(
                    "smmu", "resume", address=stall.access.va, stag=stall.stag, verdict=verdict
                )
                self.tasks.resume(stall)
        elif not self.tasks.step() and not self._step_queues():
            return False
        self.steps += 1
        return True

    def _step_queues(self) -> bool:
        """Each function in turn."""
        for _ in self.blocks:
            self._turns.rotate(-1)
            if self._turns[-1].qm.step():
                return True
        return False

    def close(self) -> None:
        """Give the memory back."""
        self.memory.ram.close()

    def __repr__(self) -> str:
        return f"<Chip {self.steps} steps: {[*self.blocks.values()]}, {self.tasks!r}, {self.smmu!r}, {self.frames!r}>"
