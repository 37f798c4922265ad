"""A translation regime: what STE and CD say, checked once and brought into the form that walks need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from wdasync_hip08.smmu.context_descriptor import ContextDescriptor
from wdasync_hip08.smmu.events import EventCode, FaultClass
from wdasync_hip08.smmu.faults import Blame, Fault, FaultPolicy
from wdasync_hip08.smmu.geometry import TG0, TG1, low_bit, stage1_start, stage2_start
from wdasync_hip08.smmu.profile import Profile
from wdasync_hip08.smmu.stream_table_entry import StreamTableEntry

__all__ = [
    "KEY_ASID",
    "KEY_STAGE2_ONLY",
    "KEY_VMID",
    "KEY_WORLD",
    "Half",
    "Regime",
    "Stage1",
    "Stage2",
    "Tables",
    "Tag",
]

HALF_BIT = 55
"""Bit of a virtual address that chooses TTB0 or TTB1. It is never part of a tag."""

# Of the number of a tag.
KEY_WORLD, KEY_STAGE2_ONLY, KEY_VMID, KEY_ASID = 0b11, 1 << 2, 0xFFFF << 4, 20


class Tables(NamedTuple):
    """One tree of translation tables.

    :ivar base: address of the first table, aligned
    :ivar start: its level
    :ivar granule: log2
    :ivar input_bits: address bits that are translated
    :ivar output_bits: an address beyond is F_ADDR_SIZE
    """

    base: int
    start: int
    granule: int
    input_bits: int
    output_bits: int

    @classmethod
    def at(cls, base: int, start: int, granule: int, input_bits: int, output_bits: int) -> Tables:
        """Low bits of ``base`` that an aligned table cannot have are ignored, not an error."""
        size = 8 << input_bits - low_bit(granule, start)
        return cls(base & -size, start, granule, input_bits, output_bits)


class Half(NamedTuple):
    """One half of a virtual address space. ``tables`` is ``None`` where walks are disabled (EPD).

    :ivar tbi: the top byte is a tag of software's and is ignored
    :ivar hierarchical: table descriptors may take permissions away
    """

    tables: Tables | None
    tbi: bool
    hierarchical: bool


@dataclass(slots=True)
class Stage1:
    """Stage 1 of a context."""

    halves: tuple[Half, Half]
    hardware_access: bool
    hardware_dirty: bool
    ignore_access: bool
    wxn: bool
    pan: bool
    blame: Blame

    @classmethod
    def of(cls, cd: ContextDescriptor, profile: Profile) -> Stage1:
        """From a legal context descriptor."""
        bits = profile.capped(cd.ips)
        return cls(
            halves=(
                Half(
                    None if cd.epd0 else _stage1_tables(cd.ttb0, TG0[cd.tg0], cd.t0sz, bits),
                    bool(cd.tbi0),
                    not (cd.had0 and profile.had),
                ),
                Half(
                    None if cd.epd1 else _stage1_tables(cd.ttb1, TG1[cd.tg1], cd.t1sz, bits),
                    bool(cd.tbi1),
                    not (cd.had1 and profile.had),
                ),
            ),
            hardware_access=bool(cd.ha),
            hardware_dirty=bool(cd.ha and cd.hd),  # HD alone behaves as neither.
            ignore_access=bool(cd.affd),
            wxn=bool(cd.wxn),
            pan=bool(cd.pan),
            blame=Blame(1, FaultClass.IN, FaultPolicy(bool(cd.s), bool(cd.a), bool(cd.r))),
        )

    def half_of(self, va: int) -> tuple[Half, Tables]:
        """The half that translates ``va``.

        :raises Fault: F_TRANSLATION: the half is disabled, or the address is outside it
        """
        upper = va >> HALF_BIT & 1
        half = self.halves[upper]
        if half.tables is None:
            raise Fault(EventCode.F_TRANSLATION, blame=self.blame, why="walks of this half are disabled")
        top = HALF_BIT + 1 if half.tbi else 64
        above = (va & (1 << top) - 1) >> half.tables.input_bits
        if above != (-upper & (1 << top - half.tables.input_bits) - 1):
            raise Fault(EventCode.F_TRANSLATION, blame=self.blame, why="address outside the half")
        return half, half.tables


def _stage1_tables(base: int, granule: int, txsz: int, output_bits: int) -> Tables:
    return Tables.at(base, stage1_start(granule, txsz), granule, 64 - txsz, output_bits)


@dataclass(slots=True)
class Stage2:
    """Stage 2 of a stream."""

    tables: Tables
    hardware_access: bool
    hardware_dirty: bool
    ignore_access: bool
    protected_walks: bool
    forced_write_back: bool
    by_privilege: bool
    policy: FaultPolicy

    @classmethod
    def of(cls, ste: StreamTableEntry, profile: Profile) -> Stage2:
        """From a legal STE."""
        granule = TG0[ste.s2tg]
        input_bits = 64 - ste.s2t0sz
        start = stage2_start(granule, ste.s2sl0, input_bits)
        assert start is not None, "the STE was not checked"
        return cls(
            tables=Tables.at(ste.s2ttb, start, granule, input_bits, profile.capped(ste.s2ps)),
            hardware_access=bool(ste.s2ha),
            hardware_dirty=bool(ste.s2ha and ste.s2hd),
            ignore_access=bool(ste.s2affd),
            protected_walks=bool(ste.s2ptw),
            forced_write_back=bool(ste.s2fwb and profile.fwb),
            by_privilege=profile.xnx,
            policy=FaultPolicy(bool(ste.s2s), abort=True, record=bool(ste.s2r)),
        )


class Tag(NamedTuple):
    """Which address space a TLB entry belongs to. (IHI 0070, 3.17.)

    :ivar world: 1 for EL1, 2 for EL2
    :ivar stage2_only: entries are by IPA, not by VA
    :ivar vmid: counts even for stage 1 alone, wherever stage 2 is implemented
    :ivar asid: ``None`` in a tag of global entries, which match any ASID
    :ivar aset: contexts of the two ASID sets share nothing
    """

    world: int
    stage2_only: bool
    vmid: int
    asid: int | None
    aset: int

    @property
    def key(self) -> int:
        """The tag as one number, which is what C compares."""
        asid = 0 if self.asid is None else self.asid + 1
        return (asid << 16 | self.vmid) << 4 | self.aset << 3 | self.stage2_only << 2 | self.world

    @classmethod
    def of_key(cls, key: int) -> Tag:
        """The tag of a number."""
        asid = key >> KEY_ASID
        return cls(
            key & KEY_WORLD,
            bool(key & KEY_STAGE2_ONLY),
            key >> 4 & 0xFFFF,
            asid - 1 if asid else None,
            key >> 3 & 1,
        )


@dataclass(slots=True)
class Regime:
    """How the accesses of one (StreamID, SubstreamID) are translated.

    :ivar stage1: ``None``: not configured, or skipped by S1DSS
    :ivar stage2: ``None``: not configured
    :ivar tag: of the TLB entries of this address space; ``global_tag`` those that any ASID may use
    :ivar limit: virtual addresses below it need no range check
    :ivar key: ``tag`` as a number, since that is faster to look up; ``global_key`` likewise
    :ivar native: what a walk in C has to know of it, once there was one
    """

    ste: StreamTableEntry
    cd: ContextDescriptor | None
    stage1: Stage1 | None
    stage2: Stage2 | None
    tag: Tag
    global_tag: Tag
    limit: int = 0
    key: int = 0
    global_key: int = 0
    native: object = None

    def __post_init__(self) -> None:
        self.key, self.global_key = self.tag.key, self.global_tag.key
        if self.stage1 is not None:
            lower = self.stage1.halves[0].tables
            self.limit = 0 if lower is None else 1 << lower.input_bits
        elif self.stage2 is not None:
            self.limit = 1 << self.stage2.tables.input_bits

    @property
    def translates(self) -> bool:
        """Some stage translates; otherwise the output is the input."""
        return self.stage1 is not None or self.stage2 is not None

    def tlb_address(self, va: int) -> int:
        """``va`` without what a TLB must not compare: stage 1's tag byte (the half is in bit 55)."""
        return va if self.stage1 is None else va & (1 << HALF_BIT + 1) - 1
