"""From (StreamID, SubstreamID) to a translation regime, and the caches on that way. (IHI 0070, 3.3.3, 3.17, 3.21.3.)

An STE is cached by StreamID, a context descriptor by StreamID and its index, good or bad: what software changes in
memory is not seen until a CFGI command has dropped the copy, and that holds for entries that were invalid, too.
"""

from __future__ import annotations

from wdasync_hip08.smmu.bus import Bus
from wdasync_hip08.smmu.context_descriptor import ContextDescriptor
from wdasync_hip08.smmu.context_table import ContextTable
from wdasync_hip08.smmu.context_table import why_illegal as why_cd_illegal
from wdasync_hip08.smmu.events import EventCode
from wdasync_hip08.smmu.faults import Fault
from wdasync_hip08.smmu.profile import Profile
from wdasync_hip08.smmu.regime import Regime, Stage1, Stage2, Tag
from wdasync_hip08.smmu.registers import RegisterFile
from wdasync_hip08.smmu.statistics import Statistics
from wdasync_hip08.smmu.stream_table import StreamTable
from wdasync_hip08.smmu.stream_table import why_illegal as why_ste_illegal
from wdasync_hip08.smmu.stream_table_entry import Config, S1Dss, StreamTableEntry
from wdasync_hip08.smmu.walk import Walker

__all__ = ["Configuration"]

STRW_EL2 = 2


class Configuration:
    """Configuration structures and their caches.

    ``regimes`` holds what was worked out from cached structures; it never outlives them.
    """

    def __init__(
        self,
        bus: Bus,
        profile: Profile,
        registers: RegisterFile,
        walker: Walker,
        statistics: Statistics,
        *,
        cached: bool,
    ) -> None:
        self.profile = profile
        self.registers = registers
        self.statistics = statistics
        self.cached = cached
        self.stream_table = StreamTable(bus, profile, registers)
        self.context_table = ContextTable(bus, profile, walker)
        self.streams: dict[int, StreamTableEntry] = {}
        self.contexts: dict[tuple[int, int], ContextDescriptor] = {}
        self.regimes: dict[tuple[int, int | None], Regime] = {}

    def find(self, sid: int, ssid: int | None) -> Regime:
        """How this stream's accesses are translated; ``regime.ste.aborts`` says that they are not.

        :raises Fault: the configuration is wrong, cannot be read, or forbids it
        """
        key = (sid, ssid)
        regime = self.regimes.get(key)
        if regime is not None:
            self.statistics.config_hits += 1
            return regime
        regime = self._build(sid, ssid)
        if self.cached:
            self.regimes[key] = regime
        return regime

    def stream(self, sid: int) -> StreamTableEntry:
        """The legal STE of ``sid``.

        :raises Fault: C_BAD_STREAMID, F_STE_FETCH or C_BAD_STE
        """
        ste = self.streams.get(sid)
        if ste is None:
            self.statistics.ste_fetches += 1
            ste = self.stream_table.fetch(sid)
            if self.cached:
                self.streams[sid] = ste
        why = why_ste_illegal(ste, self.profile)
        if why is not None:
            raise Fault(EventCode.C_BAD_STE, why=why)
        return ste

    def _build(self, sid: int, ssid: int | None) -> Regime:
        ste = self.stream(sid)
        if ste.aborts:
            return Regime(ste, None, None, None, *self._tags(ste, None))
        index = self._context_index(ste, ssid)
        stage2 = self.second_stage(ste) if ste.stage2 else None
        cd = stage1 = None
        if index is not None:
            try:
                cd = self._context(sid, ste, index, stage2)
            except Fault as fault:
                fault.ste = ste
                raise
            stage1 = Stage1.of(cd, self.profile)
        regime = Regime(ste, cd, stage1, stage2, *self._tags(ste, cd))
        if self.profile.perms_override and (ste.privcfg or ste.instcfg):
            regime.limit = 0  # The attributes of each access have to be looked at.
        return regime

    def second_stage(self, ste: StreamTableEntry) -> Stage2:
        """Stage 2 of a legal STE that has one."""
        return Stage2.of(ste, self.profile)

    def _context_index(self, ste: StreamTableEntry, ssid: int | None) -> int | None:
        """Which context descriptor serves the access, or ``None`` where stage 1 does not translate it.

        Without substreams there is one context, for accesses without SubstreamID. With substreams, S1DSS says
        what those mean, and whether number 0 is a substream like any other.
        """
        contexts = ste.s1cdmax if self.profile.ssid_bits else 0
        if ssid is not None:
            if not ste.stage1:
                raise Fault(EventCode.C_BAD_SUBSTREAMID, why="stage 1 is off")
            if not contexts:
                raise Fault(EventCode.C_BAD_SUBSTREAMID, why="the stream has no substreams")
            if ssid >> contexts:
                raise Fault(EventCode.C_BAD_SUBSTREAMID, why=f"beyond the {contexts} bits of S1CDMax")
            if ssid == 0 and ste.s1dss == S1Dss.SUBSTREAM0:
                raise Fault(EventCode.F_STREAM_DISABLED, why="context 0 is for accesses without SubstreamID")
            return ssid
        if not ste.stage1:
            return None
        if not contexts or ste.s1dss == S1Dss.SUBSTREAM0:
            return 0
        if ste.s1dss == S1Dss.BYPASS:
            return None
        raise Fault(EventCode.F_STREAM_DISABLED, why="accesses without SubstreamID are disabled")

    def _context(
        self, sid: int, ste: StreamTableEntry, index: int, stage2: Stage2 | None
    ) -> ContextDescriptor:
        cd = self.contexts.get((sid, index))
        if cd is None:
            self.statistics.cd_fetches += 1
            cd = self.context_table.fetch(ste, index, stage2)
            if self.cached:
                self.contexts[sid, index] = cd
        why = why_cd_illegal(cd, ste, self.profile)
        if why is not None:
            raise Fault(EventCode.C_BAD_CD, why=why)
        return cd

    def _tags(self, ste: StreamTableEntry, cd: ContextDescriptor | None) -> tuple[Tag, Tag]:
        """TLB tags of the regime's own entries and of the global entries that it may use."""
        vmid = ste.s2vmid if self.profile.s2p else 0
        if cd is None:
            tag = Tag(1, True, vmid, None, 0)
            return tag, tag
        if self.profile.hyp and ste.config == Config.S1 and ste.strw == STRW_EL2:
            asid = cd.asid if self.registers.fields("CR2")["E2H"] else None
            return Tag(2, False, 0, asid, cd.aset), Tag(2, False, 0, None, cd.aset)
        return Tag(1, False, vmid, cd.asid, cd.aset), Tag(1, False, vmid, None, cd.aset)

    # Invalidation: the only way out of the caches.

    def invalidate_streams(self, first: int, count: int) -> None:
        """CFGI_STE and its range: those STEs, and every context descriptor that was found through them."""
        self.regimes.clear()
        for sid in [sid for sid in self.streams if first <= sid < first + count]:
            del self.streams[sid]
        for key in [key for key in self.contexts if first <= key[0] < first + count]:
            del self.contexts[key]

    def invalidate_context(self, sid: int, index: int) -> None:
        """CFGI_CD: one context descriptor, by its index in the table of the stream."""
        self.regimes.clear()
        self.contexts.pop((sid, index), None)

    def invalidate_contexts(self, sid: int) -> None:
        """CFGI_CD_ALL: every context descriptor of the stream."""
        self.regimes.clear()
        for key in [key for key in self.contexts if key[0] == sid]:
            del self.contexts[key]

    def __repr__(self) -> str:
        return f"<Configuration {len(self.streams)} STEs, {len(self.contexts)} CDs cached>"
