"""Translation table walks: stage 1, stage 2, and stage 1 on top of stage 2. (Arm DDI 0487, D8; IHI 0070, 3.4, 3.13.)

A walk reads one descriptor a level. With both stages on, every address that stage 1 computes is an intermediate
physical address: before each stage-1 descriptor can be read, stage 2 has to say where it is. Four levels on four
levels are 24 reads, which is why TLBs exist.

The leaf is more than read. Where the context says so (HTTU), the walk marks it as accessed, and as dirty when it is
written to: the page tables are shared with an operating system that wants to know.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
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
    INHERITED,
    NG,
    S2AP_WRITE,
    WRITE,
    is_device_memory,
    needed,
    stage1_permissions,
    stage2_permissions,
)
from wdasync_hip08.smmu.regime import Half, Regime, Stage1, Stage2, Tables
from wdasync_hip08.smmu.statistics import Statistics

__all__ = ["Mapping", "Walker", "Wanted"]

ADDRESS = (1 << 48) - 1
TABLE, PAGE, BLOCK = 0b11, 0b11, 0b01
UPDATE_ATTEMPTS = 8
"""A leaf that changes between read and update is walked to again; memory that never holds still is broken."""


class Wanted(NamedTuple):
    """What the access wants to do. Without ``check``, a missing permission is not a fault but an answer."""

    op: Op
    privileged: bool
    check: bool = True


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


class Walker:
    """Walks tables on ``bus``, collecting its reads in ``reads`` where that is a list."""

    def __init__(self, bus: Bus, output_bits: int, statistics: Statistics) -> None:
        self.bus = bus
        self.output_bits = output_bits
        self.statistics = statistics
        self.reads: list[tuple[str, int]] | None = None

    def __repr__(self) -> str:
        return f"<Walker {self.statistics.walks} walks, addresses of {self.output_bits} bits>"

    def translate(self, regime: Regime, va: int, wanted: Wanted, *, to_ipa: bool = False) -> Mapping:
        """Translate ``va`` through the stages of ``regime``.

        :param to_ipa: leave out the last step, the translation of stage 1's output by stage 2
        :raises Fault: it does not translate
        """
        self.statistics.walks += 1
        if regime.stage1 is None:
            return self._without_stage1(regime, va, wanted)
        first = self._stage1(regime.stage1, regime.stage2, va, wanted)
        if regime.stage2 is None or to_ipa:
            return first
        second = self.stage2(regime.stage2, first.pa, wanted, FaultClass.IN)
        return first._replace(
            pa=second.pa,
            size=min(first.size, second.size),
            permissions=first.permissions & second.permissions,
            ipa=first.pa,
        )

    def _without_stage1(self, regime: Regime, va: int, wanted: Wanted) -> Mapping:
        """The input is the intermediate address; if it is none, that counts as a fault of stage 1."""
        if va >> self.output_bits:
            raise Fault(EventCode.F_ADDR_SIZE, blame=Blame(1, FaultClass.IN, ABORT_AND_RECORD))
        if regime.stage2 is None:
            return Mapping(va, 1, ALL)
        mapping = self.stage2(regime.stage2, va, wanted, FaultClass.IN)
        return mapping._replace(ipa=va) if regime.ste.stage1 else mapping

    def _stage1(self, stage: Stage1, below: Stage2 | None, va: int, wanted: Wanted) -> Mapping:
        half, tables = stage.half_of(va)
        return Stage1Walk(self, stage, half, tables, below, wanted).run(va)

    def stage2(self, stage: Stage2, ipa: int, wanted: Wanted, what: FaultClass) -> Mapping:
        """Translate an intermediate physical address.

        :param what: the access itself, a stage-1 descriptor or a context descriptor: what a fault will say
        :raises Fault: it does not translate; ``blame`` is stage 2
        """
        blame = Blame(2, what, stage.policy, ipa)
        if ipa >> stage.tables.input_bits:
            raise Fault(EventCode.F_TRANSLATION, blame=blame, why="address beyond stage 2")
        return Stage2Walk(self, stage, blame, wanted).run(ipa)


class StageWalk(ABC):
    """One walk through the tables of one stage. What the stages do differently is said by the subclasses.

    :ivar blame: who a fault belongs to; ``fetching`` who an external abort on a descriptor belongs to
    """

    def __init__(
        self,
        walker: Walker,
        stage: Stage1 | Stage2,
        tables: Tables,
        blame: Blame,
        fetching: Blame,
        wanted: Wanted,
    ) -> None:
        self.walker = walker
        self.stage = stage
        self.tables = tables
        self.blame = blame
        self.fetching = fetching._replace(policy=ABORT_AND_RECORD)
        self.wanted = wanted

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.wanted} at {self.tables}>"

    @abstractmethod
    def locate(self, address: int) -> int:
        """Physical address of the descriptor at ``address``."""

    @abstractmethod
    def kind(self, level: int) -> str:
        """What the log of reads calls a descriptor of this level."""

    @abstractmethod
    def granted(self, leaf: Leaf) -> int:
        """Permissions of a leaf, where a page that hardware may make dirty counts as writable."""

    @abstractmethod
    def dirtied(self, descriptor: int) -> int:
        """A leaf that may be written to, after it has been."""

    @abstractmethod
    def clean(self, descriptor: int) -> bool:
        """The first write to this page still has to be marked, so it needs a walk."""

    @abstractmethod
    def before_update(self, leaf: Leaf) -> None:
        """Raise where the leaf must not be written back."""

    def run(self, address: int) -> Mapping:
        """Walk. The access flag is set even where permission is then missing.

        :raises Fault: it does not translate
        """
        attempts = UPDATE_ATTEMPTS
        while True:
            leaf = self._descend(address)
            granted = self.granted(leaf)
            allowed = bool(granted & needed(self.wanted.op, self.wanted.privileged))
            marked = self._marked(leaf, allowed)
            if marked != leaf.descriptor and not self._write_back(leaf, marked):
                attempts -= 1
                if not attempts:
                    raise self._external_abort(leaf.pa)
                continue
            if self.wanted.check and not allowed:
                ttrnw = self.blame.fault_class is FaultClass.TT and self.wanted.op == "R"
                raise Fault(EventCode.F_PERMISSION, level=leaf.level, blame=self.blame, ttrnw=int(ttrnw))
            return self._mapping(address, leaf.level, marked, granted)

    def _descend(self, address: int) -> Leaf:
        """From the first table to a leaf."""
        granule, table, inherited = self.tables.granule, self.tables.base, 0
        index_mask = (1 << self.tables.input_bits - low_bit(granule, self.tables.start)) - 1
        for level in range(self.tables.start, 4):
            low = low_bit(granule, level)
            entry = table + (address >> low & index_mask) * 8
            pa = self.locate(entry)
            descriptor = self._read(level, pa)
            kind = descriptor & 0b11
            if kind == (PAGE if level == 3 else BLOCK) and level in LEAF_LEVELS[granule]:
                self._check_size(descriptor & ADDRESS & -(1 << low), level)
                return Leaf(entry, pa, descriptor, level, inherited)
            if kind != TABLE or level == 3:
                raise Fault(EventCode.F_TRANSLATION, level=level, blame=self.blame, why="invalid descriptor")
            table = descriptor & ADDRESS & -(1 << granule)
            self._check_size(table, level)
            inherited |= descriptor & INHERITED
            index_mask = (1 << granule - 3) - 1
        raise AssertionError("level 3 ends every walk")

    def _check_size(self, output: int, level: int) -> None:
        if output >> self.tables.output_bits:
            raise Fault(EventCode.F_ADDR_SIZE, level=level, blame=self.blame)

    def _marked(self, leaf: Leaf, allowed: bool) -> int:
        """The leaf as this access leaves it behind: accessed, and dirty if it was written to."""
        descriptor = leaf.descriptor
        if not descriptor & AF:
            if self.stage.hardware_access:
                descriptor |= AF
            elif not self.stage.ignore_access:
                raise Fault(EventCode.F_ACCESS, level=leaf.level, blame=self.blame)
        return self.dirtied(descriptor) if allowed and self.wanted.op == "W" else descriptor

    def _write_back(self, leaf: Leaf, descriptor: int) -> bool:
        """Update a leaf, unless it is not any more what was read: software may be changing it, too."""
        self.before_update(leaf)
        try:
            found = self.walker.bus.compare_exchange64(leaf.pa, leaf.descriptor, descriptor)
        except BusError as error:
            raise self._external_abort(leaf.pa) from error
        self.walker.statistics.descriptor_updates += found == leaf.descriptor
        return found == leaf.descriptor

    def _mapping(self, address: int, level: int, descriptor: int, granted: int) -> Mapping:
        if self.clean(descriptor):
            granted &= ~WRITE
        granule = self.tables.granule
        size = 1 << low_bit(granule, level)
        pa = descriptor & ADDRESS & -size | address & size - 1
        return Mapping(pa, size, granted, None, bool(descriptor & NG), granule, level)

    def _read(self, level: int, pa: int) -> int:
        self.walker.statistics.descriptor_fetches += 1
        if self.walker.reads is not None:
            self.walker.reads.append((self.kind(level), pa))
        try:
            return self.walker.bus.read64(pa)
        except BusError as error:
            raise self._external_abort(pa) from error

    def _external_abort(self, pa: int) -> Fault:
        return Fault(EventCode.F_WALK_EABT, blame=self.fetching, fetch_address=pa)


class Stage1Walk(StageWalk):
    """Stage 1. With a stage 2 ``below``, its tables lie at intermediate addresses."""

    stage: Stage1

    def __init__(
        self, walker: Walker, stage: Stage1, half: Half, tables: Tables, below: Stage2 | None, wanted: Wanted
    ) -> None:
        fetching = stage.blame._replace(fault_class=FaultClass.TT)
        super().__init__(walker, stage, tables, stage.blame, fetching, wanted)
        self.hierarchical = half.hierarchical
        self.below = below

    def locate(self, address: int) -> int:
        if self.below is None:
            return address
        return self.walker.stage2(self.below, address, Wanted("R", privileged=False), FaultClass.TT).pa

    def before_update(self, leaf: Leaf) -> None:
        # The update is a write to a page that stage 2 maps, and stage 2 must allow it.
        if self.below is not None:
            self.walker.stage2(self.below, leaf.address, Wanted("W", privileged=False), FaultClass.TT)

    def kind(self, level: int) -> str:
        return f"S1L{level}"

    def granted(self, leaf: Leaf) -> int:
        return stage1_permissions(leaf.descriptor, leaf.inherited if self.hierarchical else 0, self.stage)

    def dirtied(self, descriptor: int) -> int:
        return descriptor & ~AP_READ_ONLY

    def clean(self, descriptor: int) -> bool:
        return bool(descriptor & AP_READ_ONLY)


class Stage2Walk(StageWalk):
    """Stage 2. Its tables are where it says."""

    stage: Stage2

    def __init__(self, walker: Walker, stage: Stage2, blame: Blame, wanted: Wanted) -> None:
        super().__init__(walker, stage, stage.tables, blame, blame, wanted)

    def locate(self, address: int) -> int:
        return address

    def before_update(self, leaf: Leaf) -> None:
        pass  # Its own tables belong to nobody else.

    def kind(self, level: int) -> str:
        return f"S2L{level}"

    def granted(self, leaf: Leaf) -> int:
        """With S2PTW, tables and contexts of stage 1 must not lie in Device memory: reading it has effects."""
        protected = self.stage.protected_walks and self.blame.fault_class is not FaultClass.IN
        if protected and is_device_memory(leaf.descriptor, self.stage):
            return 0
        return stage2_permissions(leaf.descriptor, self.stage)

    def dirtied(self, descriptor: int) -> int:
        return descriptor | S2AP_WRITE

    def clean(self, descriptor: int) -> bool:
        return not descriptor & S2AP_WRITE
