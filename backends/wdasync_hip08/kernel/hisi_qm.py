"""The queue manager's driver: start-up, queues, interrupts, as Linux's hisi_qm has them.

It drives the chip through registers, mailbox and tables. Queues of programs get their contexts here; their rings are
filled and their doorbells rung by the programs themselves.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from wdasync_hip08.kernel.dma import CoherentBuffer, DmaDomain
from wdasync_hip08.memory import PAGE, PhysicalMemory
from wdasync_hip08.qm import registers as reg
from wdasync_hip08.qm.contexts import CONTEXT_BYTES, CQE_BYTES, EQE_BYTES, CqContext, EqContext, SqContext
from wdasync_hip08.qm.registers import Doorbell, DoorbellCommand, Mailbox, MailboxCommand, QmError

__all__ = ["EventQueueFullError", "HisiQm", "KernelQueue", "MailboxError", "share_bytes"]

log = logging.getLogger(__name__)

EQ_DEPTH, AEQ_DEPTH = 2048, 1024
#: User signals of a data port: snooped, normal translation, and bit 0: with a PASID.
USER_SIGNALS = 0x40001070
USER_PASID = 1 << 0
#: Times that the driver looks whether the mailbox is free.
MAILBOX_TRIES = 100_000
#: Interrupts of one line in a row with nothing behind them, after which the driver masks it.
NOBODY_CARED = 1000
AEQ_TYPES = {0: "CQ overflow", 1: "EQ overflow", 2: "CQE error"}


def share_bytes(entry_bytes: int, depth: int) -> int:
    """Bytes of the memory shared with a program: rings, rounded up, and one page for the status words."""
    return -(-(entry_bytes + CQE_BYTES) * depth // PAGE) * PAGE + PAGE


class MailboxError(OSError):
    """The mailbox answered with an error, or not at all."""


class EventQueueFullError(Exception):
    """There was no room for an event, so nobody knows which queues have something: the function has to be reset."""


@dataclass(slots=True)
class KernelQueue:
    """A hardware queue that is handed out.

    :ivar share: the memory that is shared with the program: SQ, CQ, status words
    :ivar woken: called when the queue's completion interrupt arrives
    :ivar used: it was started before
    """

    number: int
    depth: int
    entry_bytes: int
    share: CoherentBuffer
    woken: Callable[[], None]
    pasid: int = 0
    queue_type: int = 0
    started: bool = False
    used: bool = False

    @property
    def cq_offset(self) -> int:
        """Where the CQ begins in the shared memory."""
        return self.entry_bytes * self.depth


class HisiQm:
    """Drives one queue manager.

    :param registers: physical address of its BAR
    :param step: lets the chip go on a little, while the driver waits for it
    :param limit: queues of this function
    :param pasids: data bear the PASID of their queue

    :ivar spurious: interrupts with nothing behind them
    :ivar abnormal: abnormal events, as (what, queue)
    :ivar errors: hardware errors so far
    """

    def __init__(
        self,
        memory: PhysicalMemory,
        registers: int,
        dma: DmaDomain,
        step: Callable[[], object],
        *,
        entry_bytes: int,
        depth: int,
        limit: int,
        pasids: bool,
    ) -> None:
        self.queues: dict[int, KernelQueue] = {}
        self.spurious = 0
        self.events = 0
        self.abnormal: list[tuple[str, int]] = []
        self.errors = QmError(0)
        self.depth = depth
        self.entry_bytes = entry_bytes
        self.limit = limit
        self._memory = memory
        self._ram = memory.ram
        self._registers = registers
        self._dma = dma
        self._step = step
        self._free = list(range(limit - 1, -1, -1))
        #: Memory of its own, for as long as it drives.
        self._buffers: list[CoherentBuffer] = []
        self._scratch = self._allocate(PAGE)
        self._eq = self._allocate(EQ_DEPTH * EQE_BYTES)
        self._aeq = self._allocate(AEQ_DEPTH * EQE_BYTES)
        self._heads = {"eq": 0, "aeq": 0}
        self._phases = {"eq": 1, "aeq": 1}
        self._unexplained = {"eq": 0, "aeq": 0}
        self._start(USER_SIGNALS | (USER_PASID if pasids else 0))

    # Start-up

    def _allocate(self, nbytes: int) -> CoherentBuffer:
        buffer = self._dma.allocate(nbytes)
        self._buffers.append(buffer)
        return buffer

    def close(self) -> None:
        """Give its memory back. The queue manager does not use it any more."""
        while self._buffers:
            self._dma.free(self._buffers.pop())

    def _write(self, offset: int, value: int) -> None:
        self._memory.write32(self._registers + offset, value)

    def _read(self, offset: int) -> int:
        return self._memory.read32(self._registers + offset)

    def _start(self, signals: int) -> None:
        self._write(reg.MEMORY_INIT_START, 1)
        if not self._read(reg.MEMORY_INIT_DONE) & 1:
            raise OSError(110, "queue manager: expected its memory to initialise, got no answer")
        self._write_range(0, (self.limit - 1) << 45 | 1 << 44)
        self._write_range(1, 1 << 28)
        for command in (MailboxCommand.SQ_TABLE, MailboxCommand.CQ_TABLE):
            table = self._allocate(self.limit * CONTEXT_BYTES)
            self.mailbox(Mailbox(command, 0, table.iova))
        self._write_context(MailboxCommand.EQ_CONTEXT, 0, EqContext(self._eq.iova, EQ_DEPTH).pack())
        self._write_context(MailboxCommand.AEQ_CONTEXT, 0, EqContext(self._aeq.iova, AEQ_DEPTH).pack())
        for port in (reg.SGL_READ_USER, reg.DATA_READ_USER, reg.DATA_WRITE_USER):
            self._write(port, signals)
        self._write(reg.ERROR_MASK, 0)
        self._write(reg.EQ_MASK, 0)
        self._write(reg.AEQ_MASK, 0)

    def _write_range(self, kind: int, word: int) -> None:
        self._write(reg.RANGE_READ, 0)
        self._write(reg.RANGE_TYPE, kind)
        self._write(reg.RANGE_FUNCTION, 0)
        self._write(reg.RANGE_DATA_LOW, word & 0xFFFFFFFF)
        self._write(reg.RANGE_DATA_HIGH, word >> 32)
        self._write(reg.RANGE_READY, 0)
        self._write(reg.RANGE_START, 1)
        if not self._read(reg.RANGE_READY) & 1:
            raise OSError(110, "queue manager: expected the queue range to be taken, got no answer")

    # The mailbox

    def mailbox(self, box: Mailbox) -> Mailbox:
        """Ask, and wait for the answer.

        :raises MailboxError: EIO: it says no; EBUSY: it says nothing
        """
        word = box.encode().to_bytes(16, "little")
        self._memory.write(self._registers + reg.MAILBOX, word)
        for _ in range(MAILBOX_TRIES):
            head = self._read(reg.MAILBOX)
            if not head >> 13 & 1:
                low, high = self._read(reg.MAILBOX_BASE_LOW), self._read(reg.MAILBOX_BASE_HIGH)
                answer = Mailbox.decode(head | low << 32 | high << 64)
                if answer.status:
                    raise MailboxError(5, f"mailbox: command {box.command} for queue {box.queue} was refused")
                return answer
            self._step()
        raise MailboxError(16, f"mailbox: command {box.command} for queue {box.queue} got no answer")

    def _write_context(self, command: MailboxCommand, queue: int, context: bytes) -> None:
        self._ram.write(self._scratch.pa, context.ljust(CONTEXT_BYTES, b"\0"))
        self.mailbox(Mailbox(command, queue, self._scratch.iova))

    def read_context(self, command: MailboxCommand, queue: int) -> bytes:
        """Dump a context, 32 bytes.

        :raises MailboxError: it cannot be had
        """
        self._ram.write(self._scratch.pa, bytes(CONTEXT_BYTES))
        self.mailbox(Mailbox(command, queue, self._scratch.iova, read=True))
        return self._ram.read(self._scratch.pa, CONTEXT_BYTES)

    # Queues

    @property
    def available(self) -> int:
        """Free queues."""
        return len(self._free)

    @property
    def share_bytes(self) -> int:
        """Bytes of the memory shared with a program."""
        return share_bytes(self.entry_bytes, self.depth)

    def allocate(self, woken: Callable[[], None]) -> KernelQueue:
        """Hand out a queue.

        :raises OSError: EBUSY: all are in use; ENOMEM: no memory for its rings
        """
        if not self._free:
            raise OSError(16, f"queue manager: expected a free queue, got all {self.limit} in use")
        try:
            share = self._dma.allocate(self.share_bytes)
        except MemoryError as error:
            raise OSError(12, str(error)) from error
        number = self._free.pop()
        queue = self.queues[number] = KernelQueue(number, self.depth, self.entry_bytes, share, woken)
        return queue

    def start(self, queue: KernelQueue, pasid: int) -> None:
        """Write the contexts: from now on its doorbells are heard. What the program has put into the rings stays.

        :raises MailboxError: the chip refuses
        """
        share = queue.share
        if queue.used:  # Phases begin anew, so what the last run has left would look new.
            self._ram.write(share.pa, bytes(share.size))
        queue.used = True
        cq = CqContext(share.iova + queue.cq_offset, queue.depth, pasid)
        sq = SqContext(share.iova, queue.depth, queue.entry_bytes, pasid, queue.number, queue.queue_type)
        self._write_context(MailboxCommand.CQ_CONTEXT, queue.number, cq.pack())
        self._write_context(MailboxCommand.SQ_CONTEXT, queue.number, sq.pack())
        queue.pasid, queue.started = pasid, True

    def drained(self, queue: KernelQueue) -> bool:
        """Whether everything that was submitted is completed: both tails and both wrap bits agree."""
        sq = SqContext.unpack(self.read_context(MailboxCommand.SQ_CONTEXT, queue.number))
        cq = CqContext.unpack(self.read_context(MailboxCommand.CQ_CONTEXT, queue.number))
        return (sq.tail, sq.wrap) == (cq.tail, cq.wrap)

    def stop(self, queue: KernelQueue) -> None:
        """Take the contexts away: doorbells are not heard, and what is in work is dropped.

        :raises MailboxError: the chip refuses; it may go on with the queue
        """
        if queue.started:
            queue.started = False
            self._write_context(MailboxCommand.SQ_CONTEXT, queue.number, b"")
            self._write_context(MailboxCommand.CQ_CONTEXT, queue.number, b"")
        self.tell_stopped(queue)

    def tell_stopped(self, queue: KernelQueue) -> None:
        """Set the status words at the end of the shared memory: nothing is received or sent any more."""
        self._ram.write64(queue.share.pa + queue.share.size - 8, 1 << 32 | 1)

    def release(self, queue: KernelQueue) -> None:
        """Take a stopped queue back."""
        self._dma.free(queue.share)
        del self.queues[queue.number]
        self._free.append(queue.number)

    # Interrupts

    def interrupt(self, line: str) -> None:
        """An interrupt line was raised.

        :raises MailboxError: a queue that went wrong cannot be stopped
        :raises EventQueueFullError: the function has to be reset
        """
        if line == "abnormal":
            self._abnormal_interrupt()
            return
        source = reg.EQ_SOURCE if line == "eq" else reg.AEQ_SOURCE
        entries = self._entries(line) if self._read(source) else []
        if not entries:
            self._nothing_behind(line)
            return
        self._unexplained[line] = 0
        if line == "eq":
            self._completions(entries)
        else:
            self._abnormal_events(entries)

    def _nothing_behind(self, line: str) -> None:
        self.spurious += 1
        self._unexplained[line] += 1
        if self._unexplained[line] == NOBODY_CARED:
            # The chip may write its events elsewhere and raise the line for ever: then nothing else goes on.
            self._write(reg.EQ_MASK if line == "eq" else reg.AEQ_MASK, 1)
            log.error(
                "interrupt line %s: %d in a row with nothing behind them; it is masked", line, NOBODY_CARED
            )

    def _entries(self, line: str) -> list[int]:
        """New entries of an event queue; its head is told to the chip."""
        ring, depth, command = (
            (self._eq, EQ_DEPTH, DoorbellCommand.EQ)
            if line == "eq"
            else (self._aeq, AEQ_DEPTH, DoorbellCommand.AEQ)
        )
        entries: list[int] = []
        head, phase = self._heads[line], self._phases[line]
        while len(entries) < depth:
            entry = int.from_bytes(self._ram.read(ring.pa + head * EQE_BYTES, EQE_BYTES), "little")
            if entry >> 16 & 1 != phase:
                break
            entries.append(entry)
            head = (head + 1) % depth
            phase ^= head == 0
        self._heads[line], self._phases[line] = head, phase
        self._memory.write64(self._registers + reg.KERNEL_DOORBELL, Doorbell(0, command, 0, head, 0).encode())
        return entries

    def _completions(self, entries: list[int]) -> None:
        for number in dict.fromkeys(entry & 0xFFFF for entry in entries):
            queue = self.queues.get(number)
            if queue is not None:
                self.events += 1
                queue.woken()

    def _abnormal_events(self, entries: list[int]) -> None:
        for entry in entries:
            number, kind = entry & 0xFFFF, AEQ_TYPES.get(entry >> 17, "unknown")
            self.abnormal.append((kind, number))
            if kind == "EQ overflow":
                raise EventQueueFullError("its event queue overflowed")
            queue = self.queues.get(number)
            if queue is not None:
                self.stop(queue)
                queue.woken()

    def _abnormal_interrupt(self) -> None:
        source = QmError(self._read(reg.ERROR_STATUS))
        self.errors |= source
        self._write(reg.ERROR_SOURCE, int(source))

    def __repr__(self) -> str:
        return (
            f"<HisiQm driver, {len(self.queues)} of {self.limit} queues, {self.events} events, "
            f"{self.spurious} spurious, errors {self.errors.name or 0}>"
        )
