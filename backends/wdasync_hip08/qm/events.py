"""The event queues of the queue manager: what it tells the kernel, and the interrupt lines that go with them.

An entry is 4 bytes. The EQ says which completion queue has something, the AEQ what went wrong with a queue. A full EQ
is itself an abnormal event, a full AEQ a hardware error.
"""

from __future__ import annotations

from collections.abc import Callable

from wdasync_hip08.port import DmaAbort, Port
from wdasync_hip08.qm import registers as reg
from wdasync_hip08.qm.contexts import EQE_BYTES, AeqType, EqContext
from wdasync_hip08.qm.registers import QmError, RegisterFile
from wdasync_hip08.trace import Trace

__all__ = ["EventQueues", "Interrupt"]

#: Name of an interrupt line: ``eq``, ``aeq`` or ``abnormal``.
Interrupt = str


class EventQueues:
    """EQ and AEQ of one function.

    :param error: notes a hardware error
    :param interrupt: raises a line

    :ivar eq: context of the event queue, once the kernel has written it
    :ivar aeq: of the abnormal event queue
    """

    def __init__(
        self,
        registers: RegisterFile,
        port: Port,
        trace: Trace,
        error: Callable[[QmError], None],
        interrupt: Callable[[Interrupt], None],
    ) -> None:
        self.eq: EqContext | None = None
        self.aeq: EqContext | None = None
        self._registers = registers
        self._port = port
        self._trace = trace
        self._error = error
        self._interrupt = interrupt

    def completed(self, queue: int) -> None:
        """A completion queue has something."""
        if self.eq is None:
            return
        if self._push(self.eq, queue):
            self._registers.set(reg.EQ_SOURCE, 1)
            self.raise_if_set("eq")
        else:
            self.abnormal(AeqType.EQ_OVERFLOW, 0)

    def abnormal(self, kind: int, queue: int) -> None:
        """Something went wrong with a queue."""
        if self.aeq is not None and self._push(self.aeq, queue, kind):
            self._registers.set(reg.AEQ_SOURCE, 1)
            self.raise_if_set("aeq")
        else:
            self._error(QmError.FIFO_OVERFLOW)

    def _push(self, events: EqContext, number: int, kind: int = 0) -> bool:
        if (events.tail + 1) % events.depth == events.head:
            return False
        entry = (number | events.phase << 16 | kind << 17).to_bytes(EQE_BYTES, "little")
        try:
            self._port.store(events.base + events.tail * EQE_BYTES, entry)
        except DmaAbort:
            self._error(QmError.BUS_WRITE)
            return False
        events.tail = (events.tail + 1) % events.depth
        if events.tail == 0:
            events.phase = not events.phase
        return True

    def consumed(self, line: Interrupt, head: int) -> None:
        """The kernel has read up to ``head``; the line stays raised if there is more."""
        queue = self.eq if line == "eq" else self.aeq
        if queue is None or head >= queue.depth:
            self._error(QmError.RANGE_INVALID)
            return
        queue.head = head
        self._registers.set(reg.EQ_SOURCE if line == "eq" else reg.AEQ_SOURCE, int(queue.head != queue.tail))
        self.raise_if_set(line)

    def raise_if_set(self, line: Interrupt) -> None:
        """Raise a line whose source is set and not masked."""
        source, mask = (reg.EQ_SOURCE, reg.EQ_MASK) if line == "eq" else (reg.AEQ_SOURCE, reg.AEQ_MASK)
        if self._registers.get(source) and not self._registers.get(mask) & 1:
            self._trace.instant("qm", "interrupt", line=line)
            self._interrupt(line)

    def __repr__(self) -> str:
        return f"<EventQueues {self.eq}, {self.aeq}>"
