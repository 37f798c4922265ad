"""The SMMU itself: registers in, translations out."""

from __future__ import annotations

from collections.abc import Callable

from wdasync_hip08.smmu.access import (
    AbortedSilently,
    Access,
    BusResponse,
    Faulted,
    Op,
    Outcome,
    Parked,
    Translated,
)
from wdasync_hip08.smmu.ats import AtsCompletion, AtsPort, AtsRequest
from wdasync_hip08.smmu.bus import Bus
from wdasync_hip08.smmu.command_processor import AtcInvalidation, CommandProcessor
from wdasync_hip08.smmu.commands import Command
from wdasync_hip08.smmu.configuration import Configuration
from wdasync_hip08.smmu.event_queue import EventQueue
from wdasync_hip08.smmu.events import STALLABLE, EventCode, EventRecord
from wdasync_hip08.smmu.faults import ABORT_AND_RECORD, Fault
from wdasync_hip08.smmu.invalidation import Invalidations
from wdasync_hip08.smmu.permissions import needed
from wdasync_hip08.smmu.pri import PageRequest, PageResponse
from wdasync_hip08.smmu.pri_queue import PriQueue
from wdasync_hip08.smmu.profile import HIP08, Profile
from wdasync_hip08.smmu.queues import Queue
from wdasync_hip08.smmu.regime import Regime
from wdasync_hip08.smmu.registers import CMDQEN, EVENTQEN, SMMUEN, RegisterFile
from wdasync_hip08.smmu.signals import Interrupt, Signals
from wdasync_hip08.smmu.stalls import Stall, StallTable
from wdasync_hip08.smmu.statistics import Statistics
from wdasync_hip08.smmu.stream_table_entry import StreamTableEntry
from wdasync_hip08.smmu.tlb import Tlb, TlbEntry
from wdasync_hip08.smmu.trace import Trace, no_trace
from wdasync_hip08.smmu.walk import Walker

__all__ = ["Smmu"]

PAGE = 4096
GBPA_ABORT = 1 << 20
READ, WRITE = 1, 2  # permission bits of unprivileged accesses


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
        self._traced = trace is not None
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
        self.ats = AtsPort(
            self.configuration, self.walker, registers, profile.output_bits, self._conclude, self._record_only
        )
        self.pri = PriQueue(
            self._queue("PRIQ", 16, profile.priq_log2),
            profile,
            registers,
            self.signals,
            statistics,
            self.configuration.stream,
            self._page_request_fault,
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
        self._regimes = self.configuration.regimes
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
            self._regimes.clear()
            if not new & SMMUEN:
                self.stalls.terminate()
        if new & ~old & EVENTQEN:
            self.stalls.advance()
        if new & ~old & CMDQEN:
            self._commands_submitted()

    def _interrupt_control_written(self) -> None:
        self.registers["IRQ_CTRLACK"] = self.registers["IRQ_CTRL"]

    def _errors_acknowledged(self) -> None:
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
        """Physical address of an unprivileged data access if the TLB knows it; ``None``: ask :meth:`translate`."""
        regime = self._regimes.get((sid, ssid))
        if regime is None or va >= regime.limit:
            return None
        entry = self.tlb.find(regime, va)
        if entry is None or not entry.permissions & (WRITE if write else READ):
            return None
        self.statistics.accesses += 1
        self.statistics.tlb_hits += 1
        if self._traced:
            self.trace("hit", {"sid": sid, "ssid": ssid, "va": va, "entry": entry})
        return entry.pa + va - entry.address

    def translate(self, access: Access) -> Outcome:
        """What becomes of ``access``.

        :raises ValueError: it is no access: it crosses a page, or its numbers do not fit a bus
        """
        self.statistics.accesses += 1
        va = access.va
        if va % PAGE + access.size > PAGE:
            raise ValueError(f"expected an access within one page of {PAGE} bytes, got {access}; split it")
        regime = self._regimes.get((access.sid, access.ssid))
        if regime is not None and va < regime.limit:
            entry = self.tlb.find(regime, va)
            if entry is not None and entry.permissions & needed(access.op, access.privileged):
                return self._hit(access, entry, va, access.privileged)
        return self._translate(access)

    def _hit(self, access: Access, entry: TlbEntry, address: int, privileged: bool) -> Translated:
        self.statistics.tlb_hits += 1
        if self._traced:
            self.trace("hit", {"sid": access.sid, "ssid": access.ssid, "va": access.va, "entry": entry})
        offset = address - entry.address
        return Translated(
            entry.pa + offset,
            entry.size,
            None if entry.ipa is None else entry.ipa + offset,
            bool(entry.permissions & needed("W", privileged)),
            True,
        )

    def _translate(self, access: Access) -> Outcome:
        _check_numbers(access)
        if not self.registers["CR0"] & SMMUEN:
            return self._bypass(access)
        op, privileged = access.op, access.privileged
        try:
            regime = self.configuration.find(access.sid, access.ssid)
            if regime.ste.aborts:
                self.statistics.aborts += 1
                return AbortedSilently()
            op, privileged = self._attributes(access, regime.ste)
            return self._through(regime, access, op, privileged)
        except Fault as fault:
            return self._conclude(access, fault, op, privileged)

    def _bypass(self, access: Access) -> Outcome:
        """The SMMU is off: GBPA decides."""
        if self.registers["GBPA"] & GBPA_ABORT or access.va >> self.profile.output_bits:
            self.statistics.aborts += 1
            return AbortedSilently()
        return Translated(access.va, None)

    def _attributes(self, access: Access, ste: StreamTableEntry) -> tuple[Op, bool]:
        """Kind and privilege of an access, which the STE may override: 2 and 3 say what it is, 0 and 1 nothing."""
        op, privileged = access.op, access.privileged
        if self.profile.perms_override:
            if ste.privcfg >= 2:
                privileged = ste.privcfg == 3
            if ste.instcfg >= 2 and op != "W":
                op = "X" if ste.instcfg == 3 else "R"
        return op, privileged

    def _through(self, regime: Regime, access: Access, op: Op, privileged: bool) -> Outcome:
        """Through the TLB or the tables."""
        if not regime.translates:
            return Translated(self.walker.translate(regime, access.va, op, privileged).pa, None)
        if regime.stage1 is not None:
            regime.stage1.half_of(access.va)  # A TLB must not hit where the address is not even in range.
        address = regime.tlb_address(access.va)
        entry = self.tlb.find(regime, address)
        # An entry that lacks the permission is no reason to fault: software may have granted it since.
        if entry is not None and entry.permissions & needed(op, privileged):
            return self._hit(access, entry, address, privileged)
        self.statistics.tlb_misses += 1
        mapping = self.walker.translate(regime, access.va, op, privileged)
        if self.caches:
            self.tlb.insert(regime, address, mapping)
        self.trace("walk", {"access": access, "mapping": mapping})
        writable = bool(mapping.permissions & needed("W", privileged))
        return Translated(mapping.pa, mapping.size, mapping.ipa, writable)

    # Faults

    def _conclude(self, access: Access, fault: Fault, op: Op, privileged: bool) -> Outcome:
        """End or park an access that does not translate, as the stage at fault is configured to."""
        self.statistics.faults += 1
        blame = fault.blame
        policy = ABORT_AND_RECORD if blame is None else blame.policy
        record = _event_of(access, fault, op, privileged)
        try:
            if blame is not None and policy.stall and fault.event in STALLABLE:
                record.stall = 1
                stall = self.stalls.park(access, record)
                self.trace("stall", {"stall": stall, "why": fault.why})
                return Parked(stall, fault.event, record, blame.stage, blame.fault_class, fault.level)
            recorded = policy.record and self._is_recorded(fault)
            if recorded:
                self.events.post(record)
            self.trace("fault", {"access": access, "record": record, "recorded": recorded, "why": fault.why})
            return Faulted(
                fault.event,
                record if recorded else None,
                recorded,
                None if blame is None else blame.stage,
                None if blame is None else blame.fault_class,
                fault.level,
                BusResponse.ABORT if policy.abort else BusResponse.RAZ_WI,
            )
        finally:
            self._settle()

    def _is_recorded(self, fault: Fault) -> bool:
        """CR2.RECINVSID says whether unknown StreamIDs are worth a record."""
        return fault.event is not EventCode.C_BAD_STREAMID or bool(self.registers.fields("CR2")["RECINVSID"])

    def _record_only(self, access: Access, fault: Fault) -> None:
        if self._is_recorded(fault):
            self.events.post(_event_of(access, fault, access.op, access.privileged))

    def _page_request_fault(self, sid: int, fault: Fault) -> None:
        self.ats.record_configuration_fault(Access(sid, None, 0, "R"), fault)

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


def _check_numbers(access: Access) -> None:
    if not (0 <= access.va < 1 << 64 and 0 <= access.sid < 1 << 32 and access.size >= 1):
        raise ValueError(f"expected a 64-bit address, a 32-bit StreamID and a positive size, got {access}")
    if access.ssid is not None and not 0 <= access.ssid < 1 << 20:
        raise ValueError(f"expected a SubstreamID of 20 bits or None, got {access.ssid}")


def _event_of(access: Access, fault: Fault, op: Op, privileged: bool) -> EventRecord:
    """The record of ``fault``; which of its fields are written depends on the event."""
    record = EventRecord(
        code=fault.event,
        sid=access.sid,
        ssid=fault.ssid if fault.ssid is not None else access.ssid,
        pnu=int(privileged),
        ind=int(op == "X"),
        rnw=int(op != "W"),
        ttrnw=fault.ttrnw,
        input_address=access.va,
        fetch_address=fault.fetch_address,
    )
    if fault.blame is not None:
        record.s2 = int(fault.blame.stage == 2)
        record.fault_class = fault.blame.fault_class
        record.ipa = fault.blame.ipa & -PAGE
    return record
