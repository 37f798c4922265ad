"""The queue manager itself.

Doorbells and mailbox words are recorded when they are stored and looked at in order by :meth:`QueueManager.step`: no
doorbell is merged or lost. Each queue runs its entries in order; several may be in the engine at a time, but the
oldest is written back first, so completions come in the order of submission. The order of one completion is: result
buffers, submission entry, completion body, phase halfword, event, interrupt.

Rings, contexts and event queues are addressed without a PASID. Data are addressed with the PASID of the queue's
context, if the user signals of the data ports say so (bit 0 of three registers, QM v2).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace

from wdasync_hip08.port import DmaAbort, Port
from wdasync_hip08.qm import registers as reg
from wdasync_hip08.qm.contexts import (
    CONTEXT_BYTES,
    CQE_BYTES,
    AeqType,
    CqContext,
    EqContext,
    SqContext,
    pack_cqe,
)
from wdasync_hip08.qm.events import EventQueues, Interrupt
from wdasync_hip08.qm.pairs import Engine, QueuePair, User
from wdasync_hip08.qm.registers import (
    Doorbell,
    DoorbellCommand,
    Mailbox,
    MailboxCommand,
    QmError,
    RegisterFile,
)
from wdasync_hip08.tasks import Task, Tasks, TaskState
from wdasync_hip08.trace import Trace

__all__ = ["QueueManager"]

TOTAL_QUEUES = 1024
RANGE_BASE_SHIFT, RANGE_VALID, RANGE_COUNT_SHIFT = 28, 1 << 44, 45


class QueueManager:
    """One function's queues.

    :param name: of the function, for traces
    :param window: entries of one queue that are in work at a time. A limit for each queue and not for all, so that
        a queue whose entries wait for pages takes no place away from the others
    :param interrupt: raises a line
    """

    def __init__(
        self,
        name: str,
        port: Port,
        engine: Engine,
        trace: Trace,
        interrupt: Callable[[Interrupt], None],
        window: int,
    ) -> None:
        self.name = name
        self.registers = RegisterFile()
        self.queues: dict[int, QueuePair] = {}
        self.completion_queues: dict[int, CqContext] = {}
        self.completed = 0
        self.fetched = 0
        self.doorbells = 0
        self.tasks: Tasks | None = None
        self.events = EventQueues(self.registers, port, trace, self.error, interrupt)
        self._port = port
        self._engine = engine
        self._trace = trace
        self._interrupt = interrupt
        self._window = window
        self._pending: deque[Doorbell | Mailbox] = deque()
        self._runnable: deque[QueuePair] = deque()
        self._mailbox = Mailbox(0, 0)
        self._tables = {MailboxCommand.SQ_TABLE: 0, MailboxCommand.CQ_TABLE: 0}
        self._ranges: dict[tuple[int, int], int] = {}

    # Registers: recorded, not acted on (but for what is instant on the chip too).

    def load(self, offset: int, width: int) -> int:
        """What the processor reads."""
        if offset >= reg.MAILBOX and offset + width <= reg.MAILBOX + 16:
            word = self._mailbox.encode() >> (offset - reg.MAILBOX) * 8
            return word & (1 << width * 8) - 1
        value = self.registers.get(offset)
        return value | self.registers.get(offset + 4) << 32 if width == 8 else value

    def store(self, offset: int, width: int, value: int) -> None:
        """What the processor writes."""
        if offset == reg.MAILBOX and width == 16:
            self._mailbox = replace(Mailbox.decode(value), busy=True)
            self._pending.append(self._mailbox)
        elif offset in (reg.DOORBELL, reg.KERNEL_DOORBELL) and width == 8:
            self.ring(value, kernel=offset == reg.KERNEL_DOORBELL)
        elif width == 4:
            self._store32(offset, value)

    def _store32(self, offset: int, value: int) -> None:
        if offset == reg.ERROR_SOURCE:  # Written bits are cleared.
            self.registers.set(offset, self.registers.get(offset) & ~value)
            self._update_status()
            return
        if not self.registers.put(offset, value):
            return
        if offset == reg.MEMORY_INIT_START and value & 1:
            self.registers.set(reg.MEMORY_INIT_DONE, 1)
        elif offset == reg.RANGE_START and value & 1:
            self._range()
        elif offset == reg.ERROR_SET:
            self.error(QmError(value & 0x7FFF))
        elif offset == reg.ERROR_MASK:
            self._update_status()
        elif offset == reg.SHUTDOWN:
            self.registers.set(reg.SHUTDOWN_DONE, 3 if value & 1 else 0)
        elif offset in (reg.EQ_MASK, reg.AEQ_MASK):
            self.events.raise_if_set("eq" if offset == reg.EQ_MASK else "aeq")

    def ring(self, word: int, *, kernel: bool = False) -> None:
        """Record a doorbell. From the user's page only SQ and CQ are heard."""
        self.doorbells += 1
        doorbell = Doorbell.decode(word)
        if kernel == (doorbell.command in (DoorbellCommand.EQ, DoorbellCommand.AEQ)):
            self._pending.append(doorbell)
        else:
            self.error(QmError.SQ_INVALID)

    def _range(self) -> None:
        key = self.registers.get(reg.RANGE_TYPE), self.registers.get(reg.RANGE_FUNCTION)
        if self.registers.get(reg.RANGE_READ):
            data = self._ranges.get(key, 0)
            self.registers.set(reg.RANGE_DATA_LOW, data)
            self.registers.set(reg.RANGE_DATA_HIGH, data >> 32)
        else:
            low, high = self.registers.get(reg.RANGE_DATA_LOW), self.registers.get(reg.RANGE_DATA_HIGH)
            self._ranges[key] = high << 32 | low
        self.registers.set(reg.RANGE_READY, 1)

    @property
    def range(self) -> range:
        """The queues of this function."""
        word = self._ranges.get((0, 0), 0)
        if not word & RANGE_VALID:
            return range(0)
        base = word >> RANGE_BASE_SHIFT & 0xFFFF
        return range(base, base + (word >> RANGE_COUNT_SHIFT & 0x3FF) + 1)

    # Errors

    def error(self, bits: QmError) -> None:
        """Note a hardware error, and tell if it is not masked."""
        self.registers.set(reg.ERROR_SOURCE, self.registers.get(reg.ERROR_SOURCE) | bits)
        self._trace.instant("qm", "error", bits=bits.name)
        if self._update_status() & bits:
            self._interrupt("abnormal")

    def _update_status(self) -> int:
        status = self.registers.get(reg.ERROR_SOURCE) & ~self.registers.get(reg.ERROR_MASK)
        self.registers.set(reg.ERROR_STATUS, status)
        return status

    # One step

    def step(self) -> bool:
        """Look at one word that was stored, or fetch one entry; False if there was nothing to do."""
        if self._pending:
            item = self._pending.popleft()
            if isinstance(item, Doorbell):
                self._doorbell(item)
            else:
                self._mailbox = replace(self._execute(item), busy=False)
            return True
        if not self.registers.get(reg.SHUTDOWN) & 1:
            return self._fetch_next()
        return False

    def _doorbell(self, bell: Doorbell) -> None:
        if self._trace.on:
            self._trace.instant(
                self.track(bell.queue), "doorbell", command=bell.command, index=bell.index, arm=bell.priority
            )
        match bell.command:
            case DoorbellCommand.SQ:
                self._submission(bell)
            case DoorbellCommand.CQ:
                self._completion(bell)
            case DoorbellCommand.EQ:
                self.events.consumed("eq", bell.index)
            case DoorbellCommand.AEQ:
                self.events.consumed("aeq", bell.index)
            case _:
                self.error(QmError.SQ_INVALID)

    def _submission(self, bell: Doorbell) -> None:
        queue = self.queues.get(bell.queue)
        if queue is None or queue.halted:
            self.error(QmError.SQ_INVALID)
        elif bell.tag != queue.sq.tag:
            self.error(QmError.DOORBELL_TAG)
        elif bell.index >= queue.sq.depth:
            self.error(QmError.RANGE_INVALID)
        else:
            queue.sq.wrap ^= bell.index < queue.sq.tail
            queue.sq.tail = bell.index
            self._schedule(queue)

    def _completion(self, bell: Doorbell) -> None:
        cq = self.completion_queues.get(bell.queue)
        if cq is None:
            self.error(QmError.CQ_INVALID)
        elif bell.tag != cq.tag:
            self.error(QmError.DOORBELL_TAG)
        elif bell.index >= cq.depth or (bell.index - cq.head) % cq.depth > (cq.tail - cq.head) % cq.depth:
            self.error(QmError.RANGE_INVALID)  # A head that runs ahead of the tail.
        else:
            cq.head = bell.index
            cq.armed = bool(bell.priority & 1)
            if cq.armed and cq.head != cq.tail:
                cq.armed = False
                self.events.completed(bell.queue)

    # The mailbox

    def _execute(self, box: Mailbox) -> Mailbox:
        self._trace.instant("qm", "mailbox", command=box.command, queue=box.queue, read=box.read)
        try:
            return self._command(box)
        except DmaAbort as abort:
            self.error(QmError.BUS_WRITE if abort.write else QmError.BUS_READ)
            return replace(box, status=1)

    def _command(self, box: Mailbox) -> Mailbox:
        match box.command:
            case MailboxCommand.SQ_CONTEXT | MailboxCommand.CQ_CONTEXT:
                return self._queue_context(box)
            case MailboxCommand.EQ_CONTEXT | MailboxCommand.AEQ_CONTEXT:
                return self._event_context(box)
            case MailboxCommand.SQ_TABLE | MailboxCommand.CQ_TABLE:
                self._tables[MailboxCommand(box.command)] = box.base
                return box
            case MailboxCommand.QUEUE_RANGE if box.read:
                return replace(box, base=self._ranges.get((0, 0), 0))
            case MailboxCommand.PING:
                return box
            case _:
                return replace(box, status=1)

    def _queue_context(self, box: Mailbox) -> Mailbox:
        if box.queue not in self.range:
            self.error(QmError.RANGE_INVALID)
            return replace(box, status=1)
        submission = box.command == MailboxCommand.SQ_CONTEXT
        if box.read:
            self._port.store(box.base, self._dump(box.queue, submission))
            return box
        data = self._port.fetch(box.base, CONTEXT_BYTES)
        table = self._tables[MailboxCommand.SQ_TABLE if submission else MailboxCommand.CQ_TABLE]
        self._port.store(table + box.queue * CONTEXT_BYTES, data)
        if submission:
            self.reset(box.queue)
            if any(data):
                self.queues[box.queue] = QueuePair(box.queue, SqContext.unpack(data))
        elif any(data):
            self.completion_queues[box.queue] = CqContext.unpack(data)
        else:
            self.completion_queues.pop(box.queue, None)
        return box

    def _dump(self, number: int, submission: bool) -> bytes:
        if submission:
            queue = self.queues.get(number)
            return queue.sq.pack() if queue is not None else bytes(CONTEXT_BYTES)
        cq = self.completion_queues.get(number)
        return cq.pack() if cq is not None else bytes(CONTEXT_BYTES)

    def _event_context(self, box: Mailbox) -> Mailbox:
        current = self.events.eq if box.command == MailboxCommand.EQ_CONTEXT else self.events.aeq
        if box.read:
            data = current.pack() if current is not None else bytes(28)
            self._port.store(box.base, data)
            return box
        context = EqContext.unpack(self._port.fetch(box.base, 28))
        if box.command == MailboxCommand.EQ_CONTEXT:
            self.events.eq = context
        else:
            self.events.aeq = context
        return box

    def reset(self, number: int) -> None:
        """Drop a queue with everything that it has in work."""
        queue = self.queues.pop(number, None)
        if queue is not None:
            queue.halted = True
            for task in queue.in_flight:
                if self.tasks is not None:
                    self.tasks.kill(task)
            queue.in_flight.clear()

    # Entries

    def _schedule(self, queue: QueuePair) -> None:
        if not queue.scheduled and self._may_fetch(queue):
            queue.scheduled = True
            self._runnable.append(queue)

    def _may_fetch(self, queue: QueuePair) -> bool:
        return not queue.halted and queue.sq.head != queue.sq.tail and len(queue.in_flight) < self._window

    def _fetch_next(self) -> bool:
        while self._runnable:
            queue = self._runnable.popleft()
            queue.scheduled = False
            if self._may_fetch(queue):
                self._fetch(queue)
                self._schedule(queue)  # To the back: one entry a turn for each queue.
                return True
        return False

    def _fetch(self, queue: QueuePair) -> None:
        sq, slot = queue.sq, queue.sq.head
        if sq.entry_bytes != self._engine.entry_bytes:
            self._halt(queue, QmError.SQ_INVALID)
            return
        try:
            entry = self._port.fetch(sq.base + slot * sq.entry_bytes, sq.entry_bytes)
        except DmaAbort:
            self._halt(queue, QmError.BUS_READ)
            return
        assert self.tasks is not None
        sq.head = (slot + 1) % sq.depth
        task = Task(self._port.sid, queue.number, slot)
        queue.in_flight.append(task)
        self.fetched += 1
        if self._trace.on:
            self._trace.instant(self.track(queue.number), "SQE fetch", slot=slot, nbytes=len(entry))
            self._trace.begin(self.track(queue.number), "request", task.number, slot=slot)
        self.tasks.start(task, self._engine.process(entry, sq, self._user(sq), task))

    def track(self, queue: int) -> str:
        """Where a trace has what happens to a queue."""
        return f"{self.name} queue {queue}"

    def _user(self, sq: SqContext) -> User:
        signals = (reg.SGL_READ_USER, reg.DATA_READ_USER, reg.DATA_WRITE_USER)
        return User(*(sq.pasid if self.registers.get(offset) & 1 else None for offset in signals))

    def _halt(self, queue: QueuePair, bits: QmError) -> None:
        queue.halted = True
        self.error(bits)

    def finished(self, task: Task) -> None:
        """A task is done: write back what can be written back in order."""
        queue = self.queues.get(task.queue)
        if queue is None:
            return
        while queue.in_flight and queue.in_flight[0].state is TaskState.DONE and not queue.halted:
            self._complete(queue, queue.in_flight.popleft())
        self._schedule(queue)

    def _complete(self, queue: QueuePair, task: Task) -> None:
        sq, cq = queue.sq, self.completion_queues.get(queue.sq.cq)
        if cq is None:
            self._halt(queue, QmError.CQ_INVALID)
            return
        if (cq.tail + 1) % cq.depth == cq.head:
            queue.halted = True
            self.events.abnormal(AeqType.CQ_OVERFLOW, sq.cq)
            return
        queue.faults[task.slot] = task.faults
        at = cq.base + cq.tail * CQE_BYTES
        try:
            self._port.store(sq.base + task.slot * sq.entry_bytes, task.result)
            self._port.store(at, pack_cqe(task.slot, queue.number))
            self._port.store16(at + 14, int(cq.phase))
        except DmaAbort:
            self._halt(queue, QmError.BUS_WRITE)
            return
        self.completed += 1
        queue.completed += 1
        if self._trace.on:
            self._trace.end(self.track(queue.number), "request", task.number, faults=task.faults)
            self._trace.instant(
                self.track(queue.number), "CQE", slot=task.slot, index=cq.tail, phase=int(cq.phase)
            )
        cq.tail = (cq.tail + 1) % cq.depth
        if cq.tail == 0:
            cq.phase = not cq.phase
            cq.wrap = not cq.wrap
        if cq.armed:
            cq.armed = False
            self.events.completed(sq.cq)

    def awaited(self, number: int) -> bool:
        """Whether somebody has asked for an interrupt by the next completion of this queue."""
        queue = self.queues.get(number)
        cq = self.completion_queues.get(queue.sq.cq) if queue is not None else None
        return cq is not None and cq.armed

    @property
    def idle(self) -> bool:
        """No word waits to be looked at and no entry to be fetched."""
        return not self._pending and not self._runnable

    def __repr__(self) -> str:
        return (
            f"<QueueManager {len(self.queues)} queues, {self.fetched} fetched, {self.completed} completed, "
            f"{len(self._pending)} words waiting>"
        )
