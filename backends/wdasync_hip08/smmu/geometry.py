"""The shape of VMSAv8-64 translation tables. (Arm DDI 0487, D8.2 and D8.3.)

A table of granule 2^g holds 2^(g-3) descriptors of 8 bytes, so each level resolves g-3 bits of the address. Level 3
resolves the bits from g upwards; how many levels are above it depends on how large the address space is.
"""

from __future__ import annotations

__all__ = ["LEAF_LEVELS", "TG0", "TG1", "TLBI_TG", "low_bit", "stage1_start", "stage2_start"]

#: Log2 of the granule by CD.TG0 and STE.S2TG; the other value is reserved.
TG0 = {0: 12, 1: 16, 2: 14}
#: By CD.TG1, which has another code.
TG1 = {1: 14, 2: 12, 3: 16}
#: By the TG field of an invalidation, which has a third one; 0 is "any".
TLBI_TG = {1: 12, 2: 14, 3: 16}

#: Levels at which a descriptor may map memory, by granule: pages at level 3, blocks above.
LEAF_LEVELS = {12: frozenset({1, 2, 3}), 14: frozenset({2, 3}), 16: frozenset({2, 3})}

#: Level at which stage 2 starts, by granule and STE.S2SL0; the other values are reserved.
S2SL0 = {12: {0: 2, 1: 1, 2: 0}, 14: {0: 3, 1: 2, 2: 1}, 16: {0: 3, 1: 2, 2: 1}}


def low_bit(granule: int, level: int) -> int:
    """The lowest address bit that a table of this level resolves, which is the log2 of what an entry covers."""
    return granule + (3 - level) * (granule - 3)


def stage1_start(granule: int, txsz: int) -> int:
    """Level of the first table for an address space of 64 - ``txsz`` bits: no more levels than it needs."""
    return 4 - -(-(64 - txsz - granule) // (granule - 3))


def stage2_start(granule: int, sl0: int, input_bits: int) -> int | None:
    """Level of the first stage-2 table, which software chooses, or ``None`` where the choice is inconsistent.

    Up to 16 tables may lie side by side at that level instead of having one more level above them; fewer than two
    entries make no table.
    """
    level = S2SL0[granule].get(sl0)
    if level is None:
        return None
    index_bits = input_bits - low_bit(granule, level)
    return level if 1 <= index_bits <= granule - 3 + 4 else None
