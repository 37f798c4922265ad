"""Translation table walks: stage 1, stage 2, and stage 1 on top of stage 2. (Arm DDI 0487, D8; IHI 0070, 3.4, 3.13.)

A walk reads one descriptor a level. With both stages on, every address that stage 1 computes is an intermediate
physical address: before each stage-1 descriptor can be read, stage 2 has to say where it is. Four levels on four
levels are 24 reads, which is why TLBs exist.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from wdasync_hip08.smmu.access import Op
from wdasync_hip08.smmu.bus import Bus, BusError
from wdasync_hip08.smmu.events import EventCode, FaultClass
from wdasync_hip08.smmu.faults import ABORT_AND_RECORD, Blame, Fault
from wdasync_hip08.smmu.geometry import LEAF_LEVELS, low_bit
from wdasync_hip08.smmu.permissions import (
    AF,
    ALL,
    AP_READ_ONLY,
    DBM,
    INHERITED,
    NG,
    S2AP_WRITE,
    WRITE,
    is_device_memory,
    needed,
    stage1_permissions,
    stage2_permissions,
)
from wdasync_hip08.smmu.regime import Regime, Stage1, Stage2, Tables
from wdasync_hip08.smmu.statistics import Statistics

__all__ = ["Mapping", "Walker"]

ADDRESS = (1 << 48) - 1
TABLE, PAGE, BLOCK = 0b11, 0b11, 0b01
UPDATE_ATTEMPTS = 8
"""A descriptor that changes between read and update is walked to again; memory that never holds still is broken."""


class Leaf(NamedTuple):
    """Where a descent ended.

    :ivar address: of the descriptor, as the stage sees it; ``pa`` physically
    :ivar inherited: restrictions from the table descriptors passed
    """

    address: int
    pa: int
    descriptor: int
    level: int
    inherited: int


class Mapping(NamedTuple):
    """A translation: ``size`` bytes around the input go to the same number around ``pa``.

    :ivar permissions: mask; a write that would still have to mark its page dirty is not in it
    :ivar not_global: belongs to one ASID
    :ivar granule: log2, and ``level`` of the leaf (of stage 1 where both translate), for invalidation hints
    """

    pa: int
    size: int
    permissions: int
    ipa: int | None = None
    not_global: bool = False
    granule: int = 12
    level: int = 3


class _Changed(Exception):
    """A descriptor was not any more what the walk had read."""


class Walker:
    """Walks tables on ``bus``, collecting its reads in ``reads`` where that is a list."""

    def __init__(self, bus: Bus, output_bits: int, statistics: Statistics) -> None:
        self.bus = bus
        self.output_bits = output_bits
        self.statistics = statistics
        self.reads: list[tuple[str, int]] | None = None

    def translate(
        self, regime: Regime, va: int, op: Op, privileged: bool, *, check: bool = True, to_ipa: bool = False
    ) -> Mapping:
        """Translate ``va`` through the stages of ``regime``, updating access flags and dirty state on the way.

        :param check: whether a missing permission is a fault; without, look at ``permissions``
        :param to_ipa: leave out the last step, the translation of stage 1's output by stage 2
        :raises Fault: it does not translate
        """
        self.statistics.walks += 1
        first: Mapping | None = None
        ipa = va
        if regime.stage1 is not None:
            first = self._stage1(regime.stage1, regime.stage2, va, op, privileged, check)
            ipa = first.pa
        elif va >> self.output_bits:
            raise Fault(EventCode.F_ADDR_SIZE, blame=Blame(1, FaultClass.IN, ABORT_AND_RECORD))
        if regime.stage2 is None or to_ipa:
            return first or Mapping(va, 1, ALL)
        second = self.stage2(regime.stage2, ipa, op, privileged, FaultClass.IN, check=check)
        nested = ipa if regime.ste.stage1 else None
        if first is None:
            return second._replace(ipa=nested)
        return Mapping(
            second.pa,
            min(first.size, second.size),
            first.permissions & second.permissions,
            ipa,
            first.not_global,
            first.granule,
            first.level,
        )

    def stage2(
        self, stage: Stage2, ipa: int, op: Op, privileged: bool, what: FaultClass, *, check: bool = True
    ) -> Mapping:
        """Translate an intermediate physical address.

        :param what: the access itself, a stage-1 descriptor or a context descriptor: what a fault will say
        :raises Fault: it does not translate; ``blame`` is stage 2
        """
        blame = Blame(2, what, stage.policy, ipa)
        if ipa >> stage.tables.input_bits:
            raise Fault(EventCode.F_TRANSLATION, blame=blame, why="address beyond stage 2")

        def fetch(address: int, level: int) -> tuple[int, int]:
            return address, self._read(f"S2L{level}", address, blame)

        attempts = 0
        while True:
            leaf = self._descend(stage.tables, ipa, blame, fetch)
            try:
                return self._stage2_leaf(stage, leaf, ipa, op, privileged, blame, check)
            except _Changed:
                attempts += 1
                if attempts == UPDATE_ATTEMPTS:
                    raise self._abort(leaf.pa, blame) from None

    def _stage1(
        self, stage: Stage1, below: Stage2 | None, va: int, op: Op, privileged: bool, check: bool
    ) -> Mapping:
        half, tables = stage.half_of(va)

        def fetch(address: int, level: int) -> tuple[int, int]:
            pa = address
            if below is not None:
                pa = self.stage2(below, address, "R", False, FaultClass.TT).pa
            return pa, self._read(f"S1L{level}", pa, stage.blame._replace(fault_class=FaultClass.TT))

        attempts = 0
        while True:
            leaf = self._descend(tables, va, stage.blame, fetch)
            if not half.hierarchical:
                leaf = leaf._replace(inherited=0)
            try:
                return self._stage1_leaf(stage, below, tables, leaf, va, op, privileged, check)
            except _Changed:
                attempts += 1
                if attempts == UPDATE_ATTEMPTS:
                    raise self._abort(leaf.pa, stage.blame._replace(fault_class=FaultClass.TT)) from None

    def _descend(
        self, tables: Tables, address: int, blame: Blame, fetch: Callable[[int, int], tuple[int, int]]
    ) -> Leaf:
        """From the first table to a leaf. ``fetch(address, level)`` gives (physical address, descriptor)."""
        granule, table, inherited = tables.granule, tables.base, 0
        index_mask = (1 << tables.input_bits - low_bit(granule, tables.start)) - 1
        for level in range(tables.start, 4):
            low = low_bit(granule, level)
            entry = table + (address >> low & index_mask) * 8
            pa, descriptor = fetch(entry, level)
            kind = descriptor & 0b11
            if kind == (PAGE if level == 3 else BLOCK) and level in LEAF_LEVELS[granule]:
                if (descriptor & ADDRESS & -(1 << low)) >> tables.output_bits:
                    raise Fault(EventCode.F_ADDR_SIZE, level=level, blame=blame)
                return Leaf(entry, pa, descriptor, level, inherited)
            if kind != TABLE or level == 3:
                raise Fault(EventCode.F_TRANSLATION, level=level, blame=blame, why="invalid descriptor")
            table = descriptor & ADDRESS & -(1 << granule)
            if table >> tables.output_bits:
                raise Fault(EventCode.F_ADDR_SIZE, level=level, blame=blame, why="next table out of range")
            inherited |= descriptor & INHERITED
            index_mask = (1 << granule - 3) - 1
        raise AssertionError("level 3 ends every walk")

    def _stage1_leaf(
        self,
        stage: Stage1,
        below: Stage2 | None,
        tables: Tables,
        leaf: Leaf,
        va: int,
        op: Op,
        privileged: bool,
        check: bool,
    ) -> Mapping:
        """Access flag, dirty state, permission. The access flag is set even where permission then fails."""
        old = descriptor = leaf.descriptor
        if not descriptor & AF:
            if stage.hardware_access:
                descriptor |= AF
            elif not stage.ignore_access:
                raise Fault(EventCode.F_ACCESS, level=leaf.level, blame=stage.blame)
        granted = stage1_permissions(descriptor, leaf.inherited, stage)
        allowed = bool(granted & needed(op, privileged))
        if allowed and op == "W":
            descriptor &= ~AP_READ_ONLY  # Permitted although read-only: clean until now.
        if descriptor != old:
            if below is not None:
                # The SMMU writes to a page of the guest's: stage 2 must let it.
                self.stage2(below, leaf.address, "W", False, FaultClass.TT)
            self._update(leaf, descriptor, stage.blame._replace(fault_class=FaultClass.TT))
        if check and not allowed:
            raise Fault(EventCode.F_PERMISSION, level=leaf.level, blame=stage.blame)
        if descriptor & AP_READ_ONLY:
            granted &= ~WRITE
        size = 1 << low_bit(tables.granule, leaf.level)
        pa = descriptor & ADDRESS & -size | va & size - 1
        return Mapping(pa, size, granted, None, bool(descriptor & NG), tables.granule, leaf.level)

    def _stage2_leaf(
        self, stage: Stage2, leaf: Leaf, ipa: int, op: Op, privileged: bool, blame: Blame, check: bool
    ) -> Mapping:
        old = descriptor = leaf.descriptor
        if not descriptor & AF:
            if stage.hardware_access:
                descriptor |= AF
            elif not stage.ignore_access:
                raise Fault(EventCode.F_ACCESS, level=leaf.level, blame=blame)
        granted = stage2_permissions(descriptor, stage)
        allowed = bool(granted & needed(op, privileged))
        if stage.protected_walks and blame.fault_class is not FaultClass.IN:
            allowed = allowed and not is_device_memory(descriptor, stage)
        if allowed and op == "W" and descriptor & DBM and stage.hardware_dirty:
            descriptor |= S2AP_WRITE
        if descriptor != old:
            self._update(leaf, descriptor, blame)
        if check and not allowed:
            read = int(blame.fault_class is FaultClass.TT and op == "R")
            raise Fault(EventCode.F_PERMISSION, level=leaf.level, blame=blame, ttrnw=read)
        if not descriptor & S2AP_WRITE:
            granted &= ~WRITE
        granule = stage.tables.granule
        size = 1 << low_bit(granule, leaf.level)
        pa = descriptor & ADDRESS & -size | ipa & size - 1
        return Mapping(pa, size, granted, None, False, granule, leaf.level)

    def _read(self, kind: str, pa: int, blame: Blame) -> int:
        self.statistics.descriptor_fetches += 1
        if self.reads is not None:
            self.reads.append((kind, pa))
        try:
            return self.bus.read64(pa)
        except BusError as error:
            raise self._abort(pa, blame) from error

    def _update(self, leaf: Leaf, new: int, blame: Blame) -> None:
        """Write a descriptor back if it still is what the walk has read: software may be changing it, too."""
        try:
            found = self.bus.compare_exchange64(leaf.pa, leaf.descriptor, new)
        except BusError as error:
            raise self._abort(leaf.pa, blame) from error
        if found != leaf.descriptor:
            raise _Changed
        self.statistics.descriptor_updates += 1

    @staticmethod
    def _abort(pa: int, blame: Blame) -> Fault:
        return Fault(EventCode.F_WALK_EABT, blame=blame._replace(policy=ABORT_AND_RECORD), fetch_address=pa)
