"""From an access to its outcome: the TLB first, then configuration and tables. (IHI 0070, 3.3 and 3.4.)"""

from __future__ import annotations

from typing import Any

from wdasync_hip08.smmu.access import AbortedSilently, Access, Outcome, Parked, Translated
from wdasync_hip08.smmu.bursts import Bursts, TableMemory
from wdasync_hip08.smmu.configuration import Configuration
from wdasync_hip08.smmu.fault_recorder import FaultRecorder
from wdasync_hip08.smmu.faults import Fault
from wdasync_hip08.smmu.permissions import READ, WRITE_BIT, needed
from wdasync_hip08.smmu.profile import Profile
from wdasync_hip08.smmu.regime import Regime
from wdasync_hip08.smmu.registers import SMMUEN, RegisterFile
from wdasync_hip08.smmu.statistics import Statistics
from wdasync_hip08.smmu.stream_table_entry import StreamTableEntry
from wdasync_hip08.smmu.tlb import Tlb
from wdasync_hip08.smmu.trace import Trace, no_trace
from wdasync_hip08.smmu.walk import Mapping, Walker, Wanted

__all__ = ["Translator"]

PAGE = 4096
OPS = ("R", "W", "X")
GBPA_ABORT = 1 << 20


class Translator:
    """Translates accesses.

    The hot path is a burst: a dictionary look-up for the address space, and the rest in C. It is taken where no range
    has to be checked (``regime.limit``), and there are no regimes while the SMMU is off.
    """

    def __init__(
        self,
        profile: Profile,
        registers: RegisterFile,
        configuration: Configuration,
        tlb: Tlb,
        walker: Walker,
        faults: FaultRecorder,
        statistics: Statistics,
        trace: Trace,
        *,
        cached: bool,
        memory: TableMemory | None = None,
    ) -> None:
        self.profile = profile
        self.registers = registers
        self.configuration = configuration
        self.tlb = tlb
        self.walker = walker
        self.faults = faults
        self.statistics = statistics
        self.trace = trace
        self.cached = cached
        self.bursts = Bursts(tlb, memory, statistics)
        self._traced = trace is not no_trace
        self._regimes = configuration.regimes

    def __repr__(self) -> str:
        statistics = self.statistics
        return f"<Translator {statistics.accesses} accesses, {statistics.tlb_hits} TLB hits, {statistics.walks} walks>"

    def lookup(self, sid: int, ssid: int | None, va: int, write: bool) -> int | None:
        """Physical address of an unprivileged data access if the TLB has it, else ``None``."""
        regime = self._regimes.get((sid, ssid))
        if regime is None or va >= regime.limit:
            return None
        entry = self.tlb.find(regime, va)
        if entry is None or not entry.permissions & (WRITE_BIT if write else READ):
            return None
        self.statistics.accesses += 1
        self.statistics.tlb_hits += 1
        if self._traced:
            access = Access(sid, ssid, va, "W" if write else "R")
            self.trace("hit", {"access": access, "mapping": entry.mapping(va)})
        return entry.pa + va - entry.address

    def burst(
        self, sid: int, ssid: int | None, va: int, nbytes: int, write: bool, pas: Any, limit: int
    ) -> int:
        """Translate the pages of [va, va + nbytes) for unprivileged data accesses, up to the first that is not plain.

        :param pas: a C array for the physical addresses, with room for ``limit``
        :returns: how many pages there were; for the next one ask :meth:`translate`
        """
        regime = self._regimes.get((sid, ssid))
        if regime is None or self._traced or self.walker.reads is not None:
            return 0  # Who watches sees each translation.
        return self.bursts.translate(regime, va, nbytes, write, pas, limit)

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
                self.statistics.tlb_hits += 1
                if self._traced:
                    self.trace("hit", {"access": access, "mapping": entry.mapping(va)})
                offset = va - entry.address
                writable = entry.permissions & needed("W", access.privileged) != 0
                ipa = None if entry.ipa is None else entry.ipa + offset
                return Translated(entry.pa + offset, entry.size, ipa, writable, True)
        return self._missed(access)

    def _missed(self, access: Access) -> Outcome:
        _check_numbers(access)
        if not self.registers["CR0"] & SMMUEN:
            return self._bypass(access)
        wanted = Wanted(access.op, access.privileged)
        regime: Regime | None = None  # Stage 2 may stall the fetch of a context descriptor.
        try:
            regime = self.configuration.find(access.sid, access.ssid)
            if regime.ste.aborts:
                self.statistics.aborts += 1
                return AbortedSilently()
            if self.profile.perms_override:
                wanted = _overridden(wanted, regime.ste)
            return self._through(regime, access, wanted)
        except Fault as fault:
            if fault.ste is not None and self.profile.perms_override:
                wanted = _overridden(wanted, fault.ste)  # before the context: IHI 0070, 3.3.2
            outcome = self.faults.conclude(access, fault, wanted)
            if isinstance(outcome, Parked) and regime is not None:
                outcome.stall.tag = regime.tag
            return outcome

    def _bypass(self, access: Access) -> Outcome:
        """The SMMU is off: GBPA decides."""
        if self.registers["GBPA"] & GBPA_ABORT or access.va >> self.profile.output_bits:
            self.statistics.aborts += 1
            return AbortedSilently()
        return Translated(access.va, None)

    def _through(self, regime: Regime, access: Access, wanted: Wanted) -> Translated:
        mapping, hit = self.find_or_walk(regime, access.va, wanted)
        self.trace("hit" if hit else "walk", {"access": access, "mapping": mapping})
        writable = bool(mapping.permissions & needed("W", wanted.privileged))
        return Translated(mapping.pa, mapping.size if regime.translates else None, mapping.ipa, writable, hit)

    def find_or_walk(self, regime: Regime, va: int, wanted: Wanted) -> tuple[Mapping, bool]:
        """From the TLB (true), which knows addresses that the hot path leaves alone, too; else from the tables.

        :raises Fault: it does not translate
        """
        if not regime.translates:
            return self.walker.translate(regime, va, wanted), False
        if regime.stage1 is not None:
            regime.stage1.half_of(va)  # A TLB must not hit where the address is not even in range.
        address = regime.tlb_address(va)
        entry = self.tlb.find(regime, address)
        # An entry that lacks the permission is no reason to fault: software may have granted it since.
        if entry is not None and entry.permissions & needed(wanted.op, wanted.privileged):
            self.statistics.tlb_hits += 1
            return entry.mapping(address), True
        self.statistics.tlb_misses += 1
        mapping = self.walker.translate(regime, va, wanted)
        if self.cached:
            self.tlb.insert(regime, address, mapping)
        return mapping, False


def _overridden(wanted: Wanted, ste: StreamTableEntry) -> Wanted:
    """Kind and privilege as the STE says: 2 and 3 say what the access is, 0 and 1 leave it."""
    if ste.privcfg >= 2:
        wanted = wanted._replace(privileged=ste.privcfg == 3)
    if ste.instcfg >= 2 and wanted.op != "W":
        wanted = wanted._replace(op="X" if ste.instcfg == 3 else "R")
    return wanted


def _check_numbers(access: Access) -> None:
    if access.op not in OPS:
        raise ValueError(f"expected one of {', '.join(OPS)} as op, got {access}")
    if not (0 <= access.va < 1 << 64 and 0 <= access.sid < 1 << 32 and access.size >= 1):
        raise ValueError(f"expected a 64-bit address, a 32-bit StreamID and a positive size, got {access}")
    if access.ssid is not None and not 0 <= access.ssid < 1 << 20:
        raise ValueError(f"expected a SubstreamID of 20 bits or None, got {access.ssid}")
