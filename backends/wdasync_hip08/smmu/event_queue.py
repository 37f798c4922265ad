"""The event queue. (IHI 0070, 3.5.3, 7.2 and 7.4.)

It takes records while it is enabled, not full, and its memory answers. An ordinary event that finds it full is lost,
and OVFLG tells so once, until software acknowledges it; records are taken again as soon as there is room, whether
acknowledged or not. A record of a stall is never lost and never an overflow: whoever owns the stall keeps it.
"""

from __future__ import annotations

from wdasync_hip08.smmu.bus import BusError
from wdasync_hip08.smmu.events import EventRecord
from wdasync_hip08.smmu.queues import Queue
from wdasync_hip08.smmu.registers import EVENTQEN, RegisterFile
from wdasync_hip08.smmu.signals import GlobalError, Interrupt, Signals
from wdasync_hip08.smmu.statistics import Statistics
from wdasync_hip08.smmu.trace import Trace

__all__ = ["EventQueue"]

OVERFLOW = 1 << 31


class EventQueue:
    """Writes event records and raises the event queue's interrupt when it becomes non-empty."""

    def __init__(
        self, queue: Queue, registers: RegisterFile, signals: Signals, statistics: Statistics, trace: Trace
    ) -> None:
        self.queue = queue
        self.registers = registers
        self.signals = signals
        self.statistics = statistics
        self.trace = trace

    @property
    def enabled(self) -> bool:
        """Enabled, and its memory answers as far as is known."""
        return bool(self.registers["CR0"] & EVENTQEN) and not self.signals.active(GlobalError.EVENTQ_ABT_ERR)

    def writable(self) -> bool:
        """Takes a record now."""
        return self.enabled and not self.queue.full

    def write(self, record: EventRecord) -> bool:
        """Write ``record`` if that is possible now; whether it was."""
        if not self.writable():
            return False
        was_empty = self.queue.empty
        try:
            self.queue.write(record.pack())
        except BusError:
            self.signals.activate(GlobalError.EVENTQ_ABT_ERR)
            return False
        self.statistics.events_written += 1
        self.trace("event", {"record": record})
        if was_empty:
            self.signals.interrupt(Interrupt.EVENTQ)
        return True

    def post(self, record: EventRecord) -> None:
        """Write an ordinary record, or lose it."""
        full = self.enabled and self.queue.full
        if full:
            self.statistics.events_dropped += 1
            self._overflow()
        elif not self.write(record):
            self.statistics.events_lost += 1

    def _overflow(self) -> None:
        if (self.registers["EVENTQ_PROD"] ^ self.registers["EVENTQ_CONS"]) & OVERFLOW:
            return
        self.registers["EVENTQ_PROD"] ^= OVERFLOW
        self.statistics.event_overflows += 1
        self.signals.interrupt(Interrupt.EVENTQ)

    def __repr__(self) -> str:
        return f"<EventQueue {self.queue!r} enabled={self.enabled}>"
