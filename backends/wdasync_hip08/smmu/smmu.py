"""The SMMU itself: registers in, translations out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wdasync_hip08.smmu.access import (
    Access,
    Outcome,
    Translated,
)
from wdasync_hip08.smmu.ats import AtsCompletion, AtsPort, AtsRequest
from wdasync_hip08.smmu.bursts import TableMemory
from wdasync_hip08.smmu.bus import Bus
from wdasync_hip08.smmu.command_processor import AtcInvalidation, CommandProcessor
from wdasync_hip08.smmu.commands import Command
from wdasync_hip08.smmu.configuration import Configuration
from wdasync_hip08.smmu.event_queue import EventQueue
from wdasync_hip08.smmu.fault_recorder import FaultRecorder
from wdasync_hip08.smmu.invalidation import Invalidations
from wdasync_hip08.smmu.pri import PageRequest, PageResponse
from wdasync_hip08.smmu.pri_queue import PriQueue
from wdasync_hip08.smmu.profile import HIP08, Profile
from wdasync_hip08.smmu.queues import INDEX_MASK, Queue
from wdasync_hip08.smmu.registers import CMDQEN, EVENTQEN, SMMUEN, RegisterFile
from wdasync_hip08.smmu.signals import GlobalError, Interrupt, Signals
from wdasync_hip08.smmu.stalls import Stall, StallTable
from wdasync_hip08.smmu.statistics import Statistics
from wdasync_hip08.smmu.tlb import Tlb
from wdasync_hip08.smmu.trace import Trace, no_trace
from wdasync_hip08.smmu.translator import Translator
from wdasync_hip08.smmu.walk import Walker

__all__ = ["Smmu"]


class Smmu:
    """One SMMUv3, non-secure.

    :param bus: physical memory: tables, queues, and where messages go
    :param profile: what the implementation can do
    :param caches: keep translations and configurations; without, every access walks
    :param tlb_entries: capacity of the TLB
    :param stall_quota: the most stall tags that one (StreamID, SubstreamID) may hold; ``None``: all of them
    :param auto_commands: consume commands when CMDQ_PROD is written
    :param reads: collects each fetch of a structure as (kind, physical address), kinds being STE_L1, STE, CD_L1,
        CD, S1L0 to S1L3 and S2L0 to S2L3
    :param on_event_irq: the wire of the event queue's interrupt; ``on_pri_irq``, ``on_gerror_irq`` and
        ``on_sync_irq`` likewise. Wires are pulled at the end of the call that caused it
    :param on_sync: called when a SYNC has completed, in the middle of command consumption
    :param on_resumed: called when :meth:`take_resumed` has something
    :param on_atc_invalidate: an endpoint's translation cache; ``False``: it does not answer
    :param trace: an observer
    :param memory: RAM of ``bus`` that tables can be walked in without it
    """

    def __init__(
        self,
        bus: Bus,
        profile: Profile = HIP08,
        *,
        caches: bool = True,
        tlb_entries: int = 64,
        stall_quota: int | None = None,
        auto_commands: bool = True,
        reads: list[tuple[str, int]] | None = None,
        on_event_irq: Callable[[], None] | None = None,
        on_pri_irq: Callable[[], None] | None = None,
        on_gerror_irq: Callable[[], None] | None = None,
        on_sync_irq: Callable[[], None] | None = None,
        on_sync: Callable[[Command], None] | None = None,
        on_resumed: Callable[[], None] | None = None,
        on_atc_invalidate: Callable[[AtcInvalidation], bool] | None = None,
        trace: Trace | None = None,
        memory: TableMemory | None = None,
    ) -> None:
        if tlb_entries < 1:
            raise ValueError(
                f"tlb_entries: expected at least 1, got {tlb_entries}; for no TLB say caches=False"
            )
        if stall_quota is not None and stall_quota < 1:
            raise ValueError(
                f"stall_quota: expected at least 1 or None, got {stall_quota}; nothing could stall"
            )
        self.bus = bus
        self.profile = profile
        self.caches = caches
        self.auto_commands = auto_commands
        self.on_resumed = on_resumed
        self.trace: Trace = trace or no_trace
        self.statistics = statistics = Statistics()
        self.registers = registers = RegisterFile(profile)
        wires = {
            Interrupt.EVENTQ: on_event_irq,
            Interrupt.PRIQ: on_pri_irq,
            Interrupt.GERROR: on_gerror_irq,
            Interrupt.SYNC: on_sync_irq,
        }
        self.signals = Signals(bus, registers, wires, statistics, self.trace, msi=profile.msi)
        self.walker = Walker(bus, profile.output_bits, statistics)
        self.configuration = Configuration(bus, profile, registers, self.walker, statistics, cached=caches)
        self.tlb = Tlb(tlb_entries, statistics)
        self.reads = reads
        self.events = EventQueue(
            self._queue("EVENTQ", 32, profile.eventq_log2), registers, self.signals, statistics, self.trace
        )
        self.stalls = StallTable(
            max(1, profile.stall_max),
            stall_quota,
            self.events.write,
            self.events.writable,
            statistics,
            self.trace,
        )
        self.faults = FaultRecorder(self.events, self.stalls, registers, statistics, self.trace)
        self.translator = Translator(
            profile,
            registers,
            self.configuration,
            self.tlb,
            self.walker,
            self.faults,
            statistics,
            self.trace,
            cached=caches,
            memory=memory,
        )
        self.ats = AtsPort(
            self.configuration, self.walker, self.translator, registers, profile.output_bits, self.faults
        )
        self.pri = PriQueue(
            self._queue("PRIQ", 16, profile.priq_log2),
            profile,
            registers,
            self.signals,
            statistics,
            self.configuration.stream,
            self.ats.record_page_request_fault,
        )
        self.commands = CommandProcessor(
            self._queue("CMDQ", 16, profile.cmdq_log2),
            profile,
            registers,
            self.signals,
            self.stalls,
            self.pri,
            Invalidations(self.tlb, self.configuration, profile),
            statistics,
            self.trace,
            on_sync,
            on_atc_invalidate,
        )
        self._announced = False
        self._depth = 0
        self._effects: dict[str, Callable[[], None]] = {
            "CR0": self._control_written,
            "IRQ_CTRL": self._interrupt_control_written,
            "GERRORN": self._errors_acknowledged,
            "CMDQ_PROD": self._commands_submitted,
            "EVENTQ_CONS": self.stalls.advance,
        }

    def _queue(self, name: str, entry: int, limit: int) -> Queue:
        return Queue(name, self.bus, self.registers, entry, limit, self.profile.output_bits)

    @property
    def reads(self) -> list[tuple[str, int]] | None:
        """Where fetches of structures are collected."""
        return self.walker.reads

    @reads.setter
    def reads(self, log: list[tuple[str, int]] | None) -> None:
        self.walker.reads = log
        self.configuration.stream_table.reads = log

    # Registers

    def read32(self, offset: int) -> int:
        """Read a register, or half of one. What is no register reads zero."""
        return self._read(offset, 32)

    def read64(self, offset: int) -> int:
        """Read a 64-bit register, or two of 32 bits."""
        return self._read(offset, 64)

    def write32(self, offset: int, value: int) -> None:
        """Write a register, or half of one, and do what it sets in motion."""
        self._write(offset, 32, value)

    def write64(self, offset: int, value: int) -> None:
        """Write a 64-bit register, or two of 32 bits."""
        self._write(offset, 64, value)

    def _read(self, offset: int, width: int) -> int:
        value = self.registers.read(offset, width)
        if value is None:
            self.statistics.bad_register_accesses += 1
            return 0
        return value

    def _write(self, offset: int, width: int, value: int) -> None:
        written = self.registers.write(offset, width, value)
        if written is None:
            self.statistics.bad_register_accesses += 1
            return
        self._depth += 1
        try:
            for name in written:
                effect = self._effects.get(name)
                if effect is not None:
                    effect()
        finally:
            self._depth -= 1
        self._settle()

    def _control_written(self) -> None:
        """CR0: every change takes effect at once, and is acknowledged at once."""
        old, new = self.registers["CR0ACK"], self.registers["CR0"]
        self.registers["CR0ACK"] = new
        if (old ^ new) & SMMUEN:
            self.configuration.regimes.clear()
            if not new & SMMUEN:
                self.stalls.terminate()
        if new & ~old & EVENTQEN:
            self.stalls.advance()
        if new & ~old & CMDQEN:
            self._commands_submitted()

    def _interrupt_control_written(self) -> None:
        self.registers["IRQ_CTRLACK"] = self.registers["IRQ_CTRL"]

    def _errors_acknowledged(self) -> None:
        """What an active error has stopped goes on. CMDQ_CONS.ERR means nothing any more and is cleared."""
        if not self.signals.active(GlobalError.CMDQ_ERR):
            self.registers["CMDQ_CONS"] &= INDEX_MASK
        self.stalls.advance()
        self._commands_submitted()

    def _commands_submitted(self) -> None:
        if self.auto_commands:
            self.commands.run()

    def process_commands(self, limit: int | None = None) -> int:
        """Consume commands, at most ``limit``; how many were."""
        self._depth += 1
        try:
            return self.commands.run(limit)
        finally:
            self._depth -= 1
            self._settle()

    def _settle(self) -> None:
        """Tell others what has happened, once the SMMU is at rest."""
        if self._depth:
            return
        self.signals.settle()
        if self.stalls.resumed and not self._announced and self.on_resumed is not None:
            self._announced = True
            self.on_resumed()

    def take_resumed(self) -> list[Stall]:
        """Stalls that are over, in order, since the last call."""
        resumed, self.stalls.resumed = self.stalls.resumed, []
        self._announced = False
        return resumed

    # Translation

    def lookup(self, sid: int, ssid: int | None, va: int, write: bool) -> int | None:
        """Physical address of an unprivileged data access if the TLB has it; ``None``: ask :meth:`translate`."""
        return self.translator.lookup(sid, ssid, va, write)

    def burst(
        self, sid: int, ssid: int | None, va: int, nbytes: int, write: bool, pas: Any, limit: int
    ) -> int:
        """Translate the pages of a buffer, as far as that is plain; see :meth:`Translator.burst`."""
        return self.translator.burst(sid, ssid, va, nbytes, write, pas, limit)

    def translate(self, access: Access) -> Outcome:
        """What becomes of ``access``.

        :raises ValueError: it is no access: it crosses a page, or its numbers do not fit a bus
        """
        outcome = self.translator.translate(access)
        if not isinstance(outcome, Translated):
            self._settle()
        return outcome

    # ATS and PRI

    def ats_request(self, request: AtsRequest) -> AtsCompletion:
        """An endpoint asks for a translation."""
        try:
            return self.ats.request(request)
        finally:
            self._settle()

    def translated_access(self, access: Access) -> Outcome:
        """An access of an endpoint that has translated the address itself."""
        try:
            return self.ats.translated(access)
        finally:
            self._settle()

    def page_request(self, request: PageRequest) -> None:
        """An endpoint asks for a page, or says that it has stopped asking; see :meth:`take_page_responses`."""
        try:
            self.pri.request(request)
        finally:
            self._settle()

    def take_page_responses(self) -> list[PageResponse]:
        """What has been answered to endpoints since the last call, by software or automatically, in order."""
        responses, self.pri.responses = self.pri.responses, []
        return responses

    # For people

    def dump(self) -> str:
        """Registers, queues, caches and stalls."""
        parts = [repr(self), self.registers.dump()]
        parts += [repr(part) for part in (self.commands, self.events, self.pri, self.configuration, self.tlb)]
        parts += [f"  {entry!r}" for entry in self.tlb]
        parts += [repr(self.stalls), *(f"  {stall!r}" for stall in self.stalls.pending())]
        return "\n".join(parts)

    def __repr__(self) -> str:
        state = "enabled" if self.registers["CR0"] & SMMUEN else "off"
        return f"<Smmu {state}, {self.tlb!r}, {self.stalls!r}, {self.statistics.faults} faults>"
