"""Finding and judging a stream table entry. (IHI 0070, 3.3.1, 5.1, 5.2.2, 6.3.24 and 6.3.25.)"""

from __future__ import annotations

from collections.abc import Callable

from wdasync_hip08.smmu.bus import Bus, BusError
from wdasync_hip08.smmu.events import EventCode
from wdasync_hip08.smmu.faults import Fault
from wdasync_hip08.smmu.fields import unpack_words
from wdasync_hip08.smmu.geometry import TG0, stage2_start
from wdasync_hip08.smmu.profile import Profile
from wdasync_hip08.smmu.registers import RegisterFile
from wdasync_hip08.smmu.stream_table_entry import Config, StreamTableEntry, StreamTableL1

__all__ = ["STE_RULES", "StreamTable", "why_illegal"]

STE_BYTES = 64
SPAN_MAX = 11
"""Greater spans behave as 0, which is "no table here"."""
SPLITS = {6: 6, 8: 8, 10: 10}
"""Where a StreamID may be split; other values of the field behave as 6."""


class StreamTable:
    """Reads stream table entries, from a linear or a two-level table."""

    def __init__(self, bus: Bus, profile: Profile, registers: RegisterFile) -> None:
        self.bus = bus
        self.profile = profile
        self.registers = registers
        self.reads: list[tuple[str, int]] | None = None

    def __repr__(self) -> str:
        base, config = self.registers.fields("STRTAB_BASE")["ADDR"], self.registers.fields("STRTAB_BASE_CFG")
        levels = 2 if config["FMT"] == 1 and self.profile.st_level else 1
        return f"<StreamTable at {base:#x}, {config['LOG2SIZE']} bits, {levels} levels>"

    def fetch(self, sid: int) -> StreamTableEntry:
        """The entry of ``sid``, not judged yet.

        :raises Fault: C_BAD_STREAMID: there is none; F_STE_FETCH: its memory does not answer
        """
        address = self._locate(sid)
        return StreamTableEntry.decode(unpack_words(self._read("STE", address, STE_BYTES)))

    def _locate(self, sid: int) -> int:
        config = self.registers.fields("STRTAB_BASE_CFG")
        size = min(config["LOG2SIZE"], self.profile.sid_bits)
        if sid >> size:
            raise Fault(EventCode.C_BAD_STREAMID, why=f"beyond the {size} bits of the table")
        base = self.registers.fields("STRTAB_BASE")["ADDR"]
        if config["FMT"] != 1 or not self.profile.st_level:
            return (base & -(STE_BYTES << config["LOG2SIZE"])) + sid * STE_BYTES
        split = SPLITS.get(config["SPLIT"], 6)
        base &= -max(64, 8 << max(0, config["LOG2SIZE"] - split))
        word = self._read("STE_L1", base + (sid >> split) * 8, 8)
        level1 = StreamTableL1.decode(unpack_words(word))
        index = sid & (1 << split) - 1
        if not 1 <= level1.span <= min(SPAN_MAX, split + 1):
            raise Fault(EventCode.C_BAD_STREAMID, why=f"first-level entry has span {level1.span}")
        if index >> level1.span - 1:
            raise Fault(
                EventCode.C_BAD_STREAMID, why=f"beyond the span {level1.span} of its first-level entry"
            )
        return (level1.l2ptr & -(STE_BYTES << level1.span - 1)) + index * STE_BYTES

    def _read(self, kind: str, address: int, size: int) -> bytes:
        address &= (1 << self.profile.output_bits) - 1
        if self.reads is not None:
            self.reads.append((kind, address))
        try:
            return self.bus.read(address, size)
        except BusError as error:
            raise Fault(EventCode.F_STE_FETCH, fetch_address=address) from error


Rule = Callable[[StreamTableEntry, Profile], bool]


def _stage2_geometry(ste: StreamTableEntry, profile: Profile) -> bool:
    """Size, granule and start level of stage 2 do not go together."""
    granule = TG0.get(ste.s2tg)
    if granule not in profile.granules or granule is None:
        return True
    smallest = max(16, 64 - profile.output_bits)
    if not smallest <= ste.s2t0sz <= profile.txsz_max(granule):
        return True
    return stage2_start(granule, ste.s2sl0, 64 - ste.s2t0sz) is None


def _split_ats(ste: StreamTableEntry, profile: Profile) -> bool:
    """Split-stage ATS hands out IPAs, so it needs two stages and no stalls at the second."""
    return ste.eats == 2 and (ste.config != Config.NESTED or bool(ste.s2s) or profile.ns1ats)


# What makes an STE illegal. Rules for a stage are asked only where the stage is configured, and none where
# everything is aborted anyway: an entry that aborts is legal whatever else it says.
_ANY: dict[str, Rule] = {
    "stage 1 is not implemented": lambda ste, profile: ste.stage1 and not profile.s1p,
    "stage 2 is not implemented": lambda ste, profile: ste.stage2 and not profile.s2p,
    "EATS=1 with a stalling stage 2": lambda ste, profile: (
        profile.ats and ste.eats == 1 and ste.stage2 and bool(ste.s2s)
    ),
    "EATS=2 needs both stages, S2S=0 and NS1ATS=0": lambda ste, profile: (
        profile.ats and ste.config != Config.BYPASS and _split_ats(ste, profile)
    ),
    "S2VMID needs 16 bits": lambda ste, profile: (
        ste.config != Config.BYPASS and profile.s2p and not profile.vmid16 and ste.s2vmid > 0xFF
    ),
}
_STAGE1: dict[str, Rule] = {
    "S1CDMax beyond SSIDSIZE": lambda ste, profile: 0 < profile.ssid_bits < ste.s1cdmax,
    "two-level CD table without IDR0.CD2L": lambda ste, profile: (
        profile.ssid_bits > 0 and ste.s1cdmax > 0 and not profile.cd2l and ste.s1fmt in (1, 2)
    ),
    "S1ContextPtr out of range": lambda ste, profile: bool(ste.s1contextptr >> profile.output_bits),
    "S1STALLD without a choice of stalling": lambda ste, profile: (
        bool(ste.s1stalld) and profile.stall_model != 0
    ),
    "STRW reserved": lambda ste, profile: profile.hyp and ste.config == Config.S1 and bool(ste.strw & 1),
}
_STAGE2: dict[str, Rule] = {
    "stage-2 size, granule and start level do not fit": _stage2_geometry,
    "S2TTB above S2PS": lambda ste, profile: bool(ste.s2ttb >> profile.capped(ste.s2ps)),
    "S2AA64=0 without AArch32 tables": lambda ste, profile: not ste.s2aa64,
    "S2ENDI": lambda ste, profile: (profile.ttendian, ste.s2endi) in ((2, 1), (3, 0)),
    "S2HA or S2HD without hardware update": lambda ste, profile: (
        bool(ste.s2ha or ste.s2hd) and not profile.httu
    ),
    "S2HD without dirty state": lambda ste, profile: bool(ste.s2hd) and profile.httu < 2,
    "S2S on hardware that only terminates": lambda ste, profile: bool(ste.s2s) and profile.stall_model == 1,
    "S2S=0 on hardware that always stalls": lambda ste, profile: not ste.s2s and profile.stall_model == 2,
}
#: Every rule by its sentence.
STE_RULES: dict[str, Rule] = _ANY | _STAGE1 | _STAGE2


def why_illegal(ste: StreamTableEntry, profile: Profile) -> str | None:
    """The first reason why ``ste`` is C_BAD_STE, or ``None``."""
    if not ste.v:
        return "V=0"
    if ste.aborts:
        return None
    rules = [_ANY]
    if ste.stage1:
        rules.append(_STAGE1)
    if ste.stage2:
        rules.append(_STAGE2)
    return next((why for table in rules for why, rule in table.items() if rule(ste, profile)), None)
