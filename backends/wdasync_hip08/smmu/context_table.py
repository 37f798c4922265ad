"""Finding and judging a context descriptor. (IHI 0070, 3.3.2, 5.3 and 5.4.2.)"""

from __future__ import annotations

from collections.abc import Callable

from wdasync_hip08.smmu.bus import Bus, BusError
from wdasync_hip08.smmu.context_descriptor import ContextDescriptor, ContextL1
from wdasync_hip08.smmu.events import EventCode, FaultClass
from wdasync_hip08.smmu.faults import Fault
from wdasync_hip08.smmu.fields import unpack_words
from wdasync_hip08.smmu.geometry import TG0, TG1
from wdasync_hip08.smmu.profile import Profile
from wdasync_hip08.smmu.regime import Stage2
from wdasync_hip08.smmu.stream_table_entry import StreamTableEntry
from wdasync_hip08.smmu.walk import Walker, Wanted

__all__ = ["CD_RULES", "ContextTable", "why_illegal"]

CD_BYTES = 64
LEAF_BITS = {1: 6, 2: 10}
"""Low SubstreamID bits that a leaf of a two-level table resolves, by S1Fmt; other formats are linear."""


class ContextTable:
    """Reads context descriptors. With stage 2 below, the table lies at intermediate physical addresses."""

    def __init__(self, bus: Bus, profile: Profile, walker: Walker) -> None:
        self.bus = bus
        self.profile = profile
        self.walker = walker

    def __repr__(self) -> str:
        return f"<ContextTable reader, addresses of {self.profile.output_bits} bits>"

    def fetch(self, ste: StreamTableEntry, index: int, stage2: Stage2 | None) -> ContextDescriptor:
        """Entry ``index`` of the table of ``ste``, not judged yet.

        :raises Fault: C_BAD_SUBSTREAMID: no such leaf table; F_CD_FETCH: its memory does not answer; or a
            translation fault of stage 2 with class CD
        """
        table, low = ste.s1contextptr, index
        leaf_bits = LEAF_BITS.get(ste.s1fmt) if ste.s1cdmax else None
        if leaf_bits is not None:
            word = self._read("CD_L1", table + (index >> leaf_bits) * 8, 8, stage2)
            level1 = ContextL1.decode(unpack_words(word))
            if not level1.v:
                raise Fault(EventCode.C_BAD_SUBSTREAMID, ssid=index, why="first-level entry is invalid")
            if stage2 is None and level1.l2ptr >> self.profile.output_bits:
                raise Fault(EventCode.C_BAD_SUBSTREAMID, ssid=index, why="L2Ptr out of range")
            table, low = level1.l2ptr, index & (1 << leaf_bits) - 1
        return ContextDescriptor.decode(
            unpack_words(self._read("CD", table + low * CD_BYTES, CD_BYTES, stage2))
        )

    def _read(self, kind: str, address: int, size: int, stage2: Stage2 | None) -> bytes:
        if stage2 is not None:
            address = self.walker.stage2(stage2, address, Wanted("R", privileged=False), FaultClass.CD).pa
        if self.walker.reads is not None:
            self.walker.reads.append((kind, address))
        try:
            return self.bus.read(address, size)
        except BusError as error:
            raise Fault(EventCode.F_CD_FETCH, fetch_address=address) from error


Rule = Callable[[ContextDescriptor, StreamTableEntry, Profile], bool]


def _half_illegal(granule: int | None, txsz: int, ttb: int, cd: ContextDescriptor, profile: Profile) -> bool:
    """Size, granule or table of a half that is enabled."""
    if granule is None or granule not in profile.granules:
        return True
    return not 16 <= txsz <= profile.txsz_max(granule) or bool(ttb >> profile.capped(cd.ips))


#: What makes a context descriptor illegal. Of a half that is disabled nothing is checked.
CD_RULES: dict[str, Rule] = {
    "V=0": lambda cd, ste, profile: not cd.v,
    "AA64=0 without AArch32 tables": lambda cd, ste, profile: not cd.aa64,
    "the lower half": lambda cd, ste, profile: (
        not cd.epd0 and _half_illegal(TG0.get(cd.tg0), cd.t0sz, cd.ttb0, cd, profile)
    ),
    "the upper half": lambda cd, ste, profile: (
        not cd.epd1 and _half_illegal(TG1.get(cd.tg1), cd.t1sz, cd.ttb1, cd, profile)
    ),
    "ENDI": lambda cd, ste, profile: (
        not (cd.epd0 and cd.epd1) and (profile.ttendian, cd.endi) in ((2, 1), (3, 0))
    ),
    "A=0 on hardware that only aborts": lambda cd, ste, profile: profile.abort_only and not cd.a,
    "HA or HD without hardware update": lambda cd, ste, profile: bool(cd.ha or cd.hd) and not profile.httu,
    "HD without dirty state": lambda cd, ste, profile: bool(cd.hd) and profile.httu < 2,
    "S=1 on hardware that only terminates": lambda cd, ste, profile: bool(cd.s) and profile.stall_model == 1,
    "S=0 on hardware that always stalls": lambda cd, ste, profile: not cd.s and profile.stall_model == 2,
    "S=1 where the STE forbids stalls": lambda cd, ste, profile: bool(cd.s and ste.s1stalld),
    "ASID needs 16 bits": lambda cd, ste, profile: not profile.asid16 and cd.asid > 0xFF,
}


def why_illegal(cd: ContextDescriptor, ste: StreamTableEntry, profile: Profile) -> str | None:
    """The first reason why ``cd`` is C_BAD_CD, or ``None``."""
    return next((why for why, rule in CD_RULES.items() if rule(cd, ste, profile)), None)
