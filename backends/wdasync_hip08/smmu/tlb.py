"""The translation lookaside buffer. (IHI 0070, 3.17 and 4.4.)

An entry belongs to an address space, named by VMID and ASID, not to a device: two devices bound to one process hit
the same entries. A global entry (nG=0) is used by every ASID of its VMID. Entries are found by page number, so a
look-up costs one access to a hash table for each page size in use. The table is in C (``native/tlb.c``), where walks
of many pages use it (``native/walk.c``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from wdasync_hip08._native import ffi, lib
from wdasync_hip08.smmu.regime import Regime, Tag
from wdasync_hip08.smmu.statistics import Statistics
from wdasync_hip08.smmu.walk import Mapping

__all__ = ["Tlb", "TlbEntry"]


@dataclass(slots=True, eq=False)
class TlbEntry:
    """One cached translation: ``size`` bytes from ``address`` go to ``pa``.

    :ivar permissions: mask of what needs no walk
    :ivar ipa: intermediate physical address of the first byte, where both stages are configured
    :ivar granule: log2, and ``level``, of the leaf it came from
    """

    tag: Tag
    address: int
    size: int
    pa: int
    permissions: int
    ipa: int | None
    granule: int
    level: int

    def mapping(self, address: int) -> Mapping:
        """What it says about ``address``."""
        offset = address - self.address
        ipa = None if self.ipa is None else self.ipa + offset
        not_global = self.tag.asid is not None
        return Mapping(
            self.pa + offset, self.size, self.permissions, ipa, not_global, self.granule, self.level
        )

    def __repr__(self) -> str:
        return (
            f"<TlbEntry {self.address:#x}+{self.size:#x} -> {self.pa:#x} "
            f"asid={self.tag.asid} vmid={self.tag.vmid} permissions={self.permissions:06b}>"
        )


class Tlb:
    """A fully associative TLB of ``capacity`` entries that evicts the least recently used.

    :raises MemoryError: there is none for so many entries

    :ivar native: the table; for who walks in C
    """

    def __init__(self, capacity: int, statistics: Statistics) -> None:
        self.capacity = capacity
        self.statistics = statistics
        self.native: Any = ffi.gc(lib.tlb_new(capacity), lib.tlb_free)
        if self.native == ffi.NULL:
            raise MemoryError(f"no memory for a TLB of {capacity} entries")
        self._entry = ffi.new("struct tlb_entry *")

    def find(self, regime: Regime, address: int) -> TlbEntry | None:
        """The entry of ``regime``'s address space, or a global one, that covers ``address``."""
        if lib.tlb_find(self.native, regime.key, regime.global_key, address, self._entry):
            return _entry(self._entry)
        return None

    def insert(self, regime: Regime, address: int, mapping: Mapping) -> None:
        """Remember ``mapping`` of ``address``; the least recently used entry makes room."""
        tag = regime.tag if mapping.not_global else regime.global_tag
        offset = address & mapping.size - 1
        entry = self._entry
        entry.tag = tag.key
        entry.address = address - offset
        entry.pa = mapping.pa - offset
        entry.has_ipa = mapping.ipa is not None
        entry.ipa = 0 if mapping.ipa is None else mapping.ipa - offset
        entry.permissions = mapping.permissions
        entry.shift = mapping.size.bit_length() - 1
        entry.granule, entry.level = mapping.granule, mapping.level
        entry.shared = tag.asid is None
        self.statistics.tlb_evictions += lib.tlb_insert(self.native, entry)

    def invalidate(self, matches: Callable[[TlbEntry], bool]) -> int:
        """Drop every entry that ``matches``; how many those were."""
        doomed = [entry for entry in self if matches(entry)]
        for entry in doomed:
            lib.tlb_remove(self.native, entry.tag.key, entry.size.bit_length() - 1, entry.address)
        self.statistics.tlb_invalidated += len(doomed)
        return len(doomed)

    def invalidate_scope(
        self, mask: int, tags: tuple[int, int], low: int, high: int, granule: int, level: int
    ) -> int:
        """Drop entries by what C can compare; how many those were.

        :param mask: of the bits of :attr:`Tag.key` that count
        :param tags: which two values they may have
        :param low: first address, and ``high``, the last: entries that cover some of them
        :param granule: of the entries, and ``level``; 0: any
        """
        count = int(
            lib.tlb_invalidate(
                self.native, ffi.new("struct tlb_scope *", (mask, *tags, low, high, granule, level))
            )
        )
        self.statistics.tlb_invalidated += count
        return count

    def __len__(self) -> int:
        return int(lib.tlb_count(self.native))

    def __iter__(self) -> Iterator[TlbEntry]:
        entries = ffi.new("struct tlb_entry[]", len(self))
        count = lib.tlb_list(self.native, entries, len(entries))
        return iter([_entry(entries[index]) for index in range(count)])

    def __repr__(self) -> str:
        return f"<Tlb {len(self)}/{self.capacity} entries>"


def _entry(entry: Any) -> TlbEntry:
    ipa = int(entry.ipa) if entry.has_ipa else None
    return TlbEntry(
        Tag.of_key(entry.tag), entry.address, 1 << entry.shift, entry.pa, entry.permissions, ipa,
        entry.granule, entry.level,
    )  # fmt: skip
