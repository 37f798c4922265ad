"""A ring: a queue of fixed size between one producer and one consumer, without a lock.

The meaning of *bulk* and *burst* is DPDK's (``rte_ring``): a bulk operation moves all of what was asked for or nothing, a burst moves as
much as there is, or fits. Two indices only ever grow; the number of a slot is an index modulo the size, a power of two. The producer alone
stores ``_head`` and the consumer alone stores ``_tail``, each after the slots that it speaks of. With CPython's lock those stores are
seen in their order, so the two may be different threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

__all__ = ["Ring"]

T = TypeVar("T")


class Ring(Generic[T]):
    """One producer, one consumer, first in, first out.

    :param size: slots, a power of two; all of them can be used
    :ivar capacity: slots
    :raises ValueError: if ``size`` is no power of two
    """

    __slots__ = ("_head", "_mask", "_slots", "_tail", "capacity")

    def __init__(self, size: int) -> None:
        if size < 1 or size & (size - 1):
            raise ValueError(f"size: expected a power of two, got {size}")
        self.capacity = size
        self._mask = size - 1
        self._slots: list[T | None] = [None] * size
        self._head = 0
        self._tail = 0

    def __len__(self) -> int:
        return self.count

    @property
    def count(self) -> int:
        """Slots that are taken. The consumer may rely on it: others only make it grow."""
        return self._head - self._tail

    @property
    def free_count(self) -> int:
        """Slots that are free. The producer may rely on it: others only make it grow."""
        return self.capacity - (self._head - self._tail)

    def enqueue_bulk(self, items: Sequence[T]) -> int:
        """Put all of them, or none: the number of ``items``, or 0."""
        return self._put(items, len(items)) if len(items) <= self.free_count else 0

    def enqueue_burst(self, items: Sequence[T]) -> int:
        """Put as many as fit, in order; how many that was. The caller keeps the rest."""
        return self._put(items, min(len(items), self.free_count))

    def dequeue_bulk(self, count: int) -> list[T]:
        """Take exactly so many, or none."""
        return self._take(count) if count <= len(self) else []

    def dequeue_burst(self, limit: int) -> list[T]:
        """Take as many as there are, up to a limit."""
        return self._take(min(limit, len(self)))

    def _put(self, items: Sequence[T], count: int) -> int:
        slots, mask, head = self._slots, self._mask, self._head
        for number in range(count):
            slots[(head + number) & mask] = items[number]
        self._head = head + count  # published only now
        return count

    def _take(self, count: int) -> list[T]:
        slots, mask, tail = self._slots, self._mask, self._tail
        taken: list[T] = []
        for number in range(tail, tail + count):
            taken.append(slots[number & mask])  # type: ignore[arg-type]  # between tail and head nothing is None
            slots[number & mask] = None  # a ring keeps nothing alive that has left it
        self._tail = tail + count
        return taken
