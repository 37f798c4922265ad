"""Many pages at once: what a buffer needs before it can be read or written.

One page after the other is looked up in the TLB, or walked to, in C (``native/walk.c``), as far as that is plain: stage
1 alone, tables in RAM, nothing to mark and nothing to refuse. The first page that is anything else ends the burst, and
:meth:`Translator.translate` has it, with all that can become of it. So whatever is recorded, stalled, marked as
accessed or as dirty, and every walk through two stages, is Python's; a burst only does what leaves no trace but an
entry in the TLB. Both fetch the same descriptors in the same order.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from wdasync_hip08._native import ffi, lib
from wdasync_hip08.smmu.regime import Regime
from wdasync_hip08.smmu.statistics import Statistics
from wdasync_hip08.smmu.tlb import Tlb

__all__ = ["Bursts", "TableMemory", "walk_here"]


class TableMemory(NamedTuple):
    """The RAM that translation tables are in.

    :ivar host: where it is in this process
    :ivar base: its physical address
    :ivar size: bytes
    """

    host: int
    base: int
    size: int


class Bursts:
    """Translations of whole buffers.

    :param memory: ``None``: only what is in the TLB
    """

    def __init__(self, tlb: Tlb, memory: TableMemory | None, statistics: Statistics) -> None:
        self._tlb = tlb.native
        self._statistics = statistics
        self._walks = memory is not None
        self._memory = ffi.new("struct walk_memory *", memory or (0, 0, 0))
        self._counts = ffi.new("struct walk_counts *")

    def translate(self, regime: Regime, va: int, nbytes: int, write: bool, pas: Any, limit: int) -> int:
        """Physical addresses of the pages of [va, va + nbytes), from the first one on; how many could be had here.

        :param pas: a C array for them, with room for ``limit``
        """
        counts, statistics = self._counts, self._statistics
        native = regime.native
        if native is None:
            native = regime.native = regime_here(regime, self._walks)
        pages: int = lib.walk_pages(self._tlb, self._memory, native, va, nbytes, write, pas, limit, counts)
        walks = counts.walks
        statistics.accesses += pages
        statistics.tlb_hits += pages - walks
        if walks:
            statistics.config_hits += walks
            statistics.tlb_misses += walks
            statistics.walks += walks
            statistics.descriptor_fetches += counts.fetches
            statistics.tlb_evictions += counts.evictions
        return pages

    def __repr__(self) -> str:
        return f"<Bursts {'with' if self._walks else 'without'} walks>"


def regime_here(regime: Regime, walks: bool) -> Any:
    """What C has to know of a regime.

    :param walks: it may be walked
    """
    stage1, tables = regime.stage1, regime.stage1.halves[0].tables if regime.stage1 is not None else None
    fields = {"tag": regime.key, "global_tag": regime.global_key, "limit": regime.limit}
    if stage1 is not None and tables is not None and regime.stage2 is None:
        fields |= tables._asdict()
        fields |= {
            "walks": walks,
            "hierarchical": stage1.halves[0].hierarchical,
            "hardware_access": stage1.hardware_access,
            "ignore_access": stage1.ignore_access,
            "hardware_dirty": stage1.hardware_dirty,
            "wxn": stage1.wxn,
            "pan": stage1.pan,
        }
    return ffi.new("struct walk_regime *", fields)


def walk_here(memory: TableMemory, regime: Regime, va: int, write: bool) -> tuple[list[int], Any]:
    """One walk as a burst does it, for who compares.

    :returns: physical addresses of the descriptors that were fetched; and the TLB's entry, or ``None``: not here
    """
    entry, fetched, fetches = ffi.new("struct tlb_entry *"), ffi.new("uint64_t[4]"), ffi.new("unsigned *")
    found = lib.walk_one(
        ffi.new("struct walk_memory *", memory), regime_here(regime, True), va, write, entry, fetched, fetches
    )
    return list(fetched[0 : fetches[0]]), entry if found else None
