"""The translation lookaside buffer. (IHI 0070, 3.17 and 4.4.)

An entry belongs to an address space, named by VMID and ASID, not to a device: two devices bound to one process hit
the same entries. A global entry (nG=0) is used by every ASID of its VMID. Entries are found by page number, so a
look-up costs one dictionary access for each page size in use.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

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
    """A fully associative TLB of ``capacity`` entries that evicts the least recently used."""

    def __init__(self, capacity: int, statistics: Statistics) -> None:
        self.capacity = capacity
        self.statistics = statistics
        self._entries: OrderedDict[tuple[int, int, int], TlbEntry] = OrderedDict()
        self._shifts: dict[int, int] = {}  # log2 of a page size -> number of entries
        self._globals = 0

    def find(self, regime: Regime, address: int) -> TlbEntry | None:
        """The entry of ``regime``'s address space, or a global one, that covers ``address``."""
        entries, tag = self._entries, regime.key
        for shift in self._shifts:
            key = (tag, shift, address >> shift)
            if key in entries:
                entries.move_to_end(key)
                return entries[key]
        return self._find_global(regime.global_key, address) if self._globals else None

    def _find_global(self, tag: int, address: int) -> TlbEntry | None:
        for shift in self._shifts:
            key = (tag, shift, address >> shift)
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key]
        return None

    def insert(self, regime: Regime, address: int, mapping: Mapping) -> None:
        """Remember ``mapping`` of ``address``; the least recently used entry makes room."""
        tag = regime.tag if mapping.not_global else regime.global_tag
        offset = address & mapping.size - 1
        shift = mapping.size.bit_length() - 1
        key = (tag.key, shift, address >> shift)
        self._remove(key)
        while len(self._entries) >= self.capacity:
            self._remove(next(iter(self._entries)))
            self.statistics.tlb_evictions += 1
        self._entries[key] = TlbEntry(
            tag,
            address - offset,
            mapping.size,
            mapping.pa - offset,
            mapping.permissions,
            None if mapping.ipa is None else mapping.ipa - offset,
            mapping.granule,
            mapping.level,
        )
        self._shifts[shift] = self._shifts.get(shift, 0) + 1
        self._globals += tag.asid is None

    def invalidate(self, matches: Callable[[TlbEntry], bool]) -> int:
        """Drop every entry that ``matches``; how many those were."""
        doomed = [key for key, entry in self._entries.items() if matches(entry)]
        for key in doomed:
            self._remove(key)
        self.statistics.tlb_invalidated += len(doomed)
        return len(doomed)

    def _remove(self, key: tuple[int, int, int]) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        shift = key[1]
        self._shifts[shift] -= 1
        if not self._shifts[shift]:
            del self._shifts[shift]
        self._globals -= entry.tag.asid is None

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[TlbEntry]:
        return iter(self._entries.values())

    def __repr__(self) -> str:
        return f"<Tlb {len(self)}/{self.capacity} entries>"
