"""Circular queues in memory. (IHI 0070, 3.5.)

Both sides have an index with one bit more than the queue needs. That bit flips on every lap, so equal indices mean
empty where it is equal, too, and full where it differs. Sizes are powers of two.
"""

from __future__ import annotations

from wdasync_hip08.smmu.bus import Bus
from wdasync_hip08.smmu.registers import RegisterFile

__all__ = ["INDEX_MASK", "Queue"]

INDEX_MASK = (1 << 20) - 1


class Queue:
    """One queue, its indices being registers: ``NAME_BASE``, ``NAME_PROD``, ``NAME_CONS``.

    :param entry: bytes an entry
    :param limit: log2 of the most entries there may be; a greater LOG2SIZE counts as this
    """

    def __init__(
        self, name: str, bus: Bus, registers: RegisterFile, entry: int, limit: int, output_bits: int
    ) -> None:
        self.name = name
        self.bus = bus
        self.registers = registers
        self.entry = entry
        self.limit = limit
        self.address_mask = (1 << output_bits) - 1
        self._base, self._prod, self._cons = f"{name}_BASE", f"{name}_PROD", f"{name}_CONS"
        self._values = registers.values

    @property
    def size(self) -> int:
        """The number of entries that there is room for."""
        return 1 << min(self._values[self._base] & 0x1F, self.limit)

    @property
    def used(self) -> int:
        """Entries in the queue; more than there is room for where software has set indices that cannot be."""
        values = self._values
        return values[self._prod] - values[self._cons] & 2 * self.size - 1

    @property
    def empty(self) -> bool:
        """Nothing to consume. Impossible indices count as empty for a consumer."""
        values = self._values
        return values[self._prod] == values[self._cons] or not 0 < self.used <= self.size

    @property
    def full(self) -> bool:
        """No room to produce. Impossible indices count as full for a producer."""
        return self.used >= self.size

    def read(self) -> bytes:
        """The next entry to consume; it stays in the queue.

        :raises BusError: external abort
        """
        return self.bus.read(self._address(self._values[self._cons]), self.entry)

    def write(self, data: bytes) -> None:
        """Produce one entry: first the data, then the index.

        :raises BusError: external abort; the index stays
        """
        self.bus.write(self._address(self._values[self._prod]), data)
        self._advance(self._prod)

    def consumed(self) -> None:
        """Step over the entry that :meth:`read` gave."""
        self._advance(self._cons)

    def _advance(self, index: str) -> None:
        value = self._values[index]
        following = (value & INDEX_MASK) + 1 & 2 * self.size - 1
        self._values[index] = value & ~INDEX_MASK | following

    def _address(self, index: int) -> int:
        size, entry = self.size, self.entry
        base = self._values[self._base] & self.address_mask & -max(size * entry, 32)
        return base + (index & size - 1) * entry

    def __repr__(self) -> str:
        prod, cons = self.registers[self._prod], self.registers[self._cons]
        return f"<Queue {self.name} PROD={prod:#x} CONS={cons:#x} {self.used}/{self.size}>"
