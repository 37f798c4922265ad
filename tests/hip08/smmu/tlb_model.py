"""A TLB in a few lines of Python, to compare the one in C with: a dictionary whose order is that of last use."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from wdasync_hip08.smmu.regime import Regime
from wdasync_hip08.smmu.tlb import TlbEntry
from wdasync_hip08.smmu.walk import Mapping

Key = tuple[int, int, int]


class TlbModel:
    """What :class:`wdasync_hip08.smmu.tlb.Tlb` has to do."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.evicted = 0
        self.entries: OrderedDict[Key, TlbEntry] = OrderedDict()
        self.sizes: dict[
            int, int
        ] = {}  # log2 of a size -> entries; in the order in which sizes came into use

    def find(self, regime: Regime, address: int) -> TlbEntry | None:
        for tag in (regime.key, regime.global_key):
            for shift in self.sizes:
                key = (tag, shift, address >> shift)
                if key in self.entries:
                    self.entries.move_to_end(key)
                    return self.entries[key]
        return None

    def insert(self, regime: Regime, address: int, mapping: Mapping) -> None:
        tag = regime.tag if mapping.not_global else regime.global_tag
        offset = address & mapping.size - 1
        shift = mapping.size.bit_length() - 1
        key = (tag.key, shift, address >> shift)
        self.remove(key)
        while len(self.entries) >= self.capacity:
            self.remove(next(iter(self.entries)))
            self.evicted += 1
        self.entries[key] = TlbEntry(
            tag,
            address - offset,
            mapping.size,
            mapping.pa - offset,
            mapping.permissions,
            None if mapping.ipa is None else mapping.ipa - offset,
            mapping.granule,
            mapping.level,
        )
        self.sizes[shift] = self.sizes.get(shift, 0) + 1

    def invalidate(self, matches: Callable[[TlbEntry], bool]) -> int:
        doomed = [key for key, entry in self.entries.items() if matches(entry)]
        for key in doomed:
            self.remove(key)
        return len(doomed)

    def remove(self, key: Key) -> None:
        if self.entries.pop(key, None) is not None:
            self.sizes[key[1]] -= 1
            if not self.sizes[key[1]]:
                del self.sizes[key[1]]
