"""Rings, against a list that behaves as it should."""

import sys
import threading
from collections import deque
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from examples.reverse_proxy.ring import Ring

COUNTS = st.integers(0, 20)


class Rings(RuleBasedStateMachine):
    """Every call, in any order, beside a deque."""

    @initialize(exponent=st.integers(0, 4))
    def make(self, exponent: int) -> None:
        self.size = 1 << exponent
        self.ring: Ring[int] = Ring(self.size)
        self.model: deque[int] = deque()
        self.next = 0

    def items(self, count: int) -> list[int]:
        self.next += count
        return list(range(self.next - count, self.next))

    @rule(count=COUNTS)
    def enqueue_bulk(self, count: int) -> None:
        items = self.items(count)
        fits = count <= self.size - len(self.model)
        assert self.ring.enqueue_bulk(items) == (count if fits else 0)
        self.model.extend(items if fits else [])

    @rule(count=COUNTS)
    def enqueue_burst(self, count: int) -> None:
        items = self.items(count)
        fit = min(count, self.size - len(self.model))
        assert self.ring.enqueue_burst(items) == fit
        self.model.extend(items[:fit])

    @rule(count=COUNTS)
    def dequeue_bulk(self, count: int) -> None:
        expected = [self.model.popleft() for _ in range(count)] if count <= len(self.model) else []
        assert self.ring.dequeue_bulk(count) == expected

    @rule(limit=COUNTS)
    def dequeue_burst(self, limit: int) -> None:
        expected = [self.model.popleft() for _ in range(min(limit, len(self.model)))]
        assert self.ring.dequeue_burst(limit) == expected

    @invariant()
    def counts(self) -> None:
        if hasattr(self, "ring"):
            assert len(self.ring) == self.ring.count == len(self.model)
            assert self.ring.free_count == self.size - len(self.model)
            assert self.ring.capacity == self.size


TestRings = Rings.TestCase


@given(st.integers(-4, 1 << 12))
def test_sizes(size: int) -> None:
    if size > 0 and size.bit_count() == 1:
        assert Ring[int](size).capacity == size
    else:
        with pytest.raises(ValueError, match=f"expected a power of two, got {size}"):
            Ring[int](size)


def test_a_ring_keeps_nothing_alive_that_has_left_it() -> None:
    class Thing:
        alive = 0

        def __init__(self) -> None:
            Thing.alive += 1

        def __del__(self) -> None:
            Thing.alive -= 1

    ring: Ring[Thing] = Ring(4)
    ring.enqueue_burst([Thing() for _ in range(3)])
    ring.dequeue_burst(2)
    assert Thing.alive == 1


@pytest.fixture
def _frequent_switches() -> Iterator[None]:
    """Threads that wait for each other by polling take turns of microseconds, and not of 5 ms."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_frequent_switches")
def test_a_producer_and_a_consumer_in_threads() -> None:
    ring: Ring[int] = Ring(64)
    count = 50_000
    taken: list[int] = []

    def produce() -> None:
        sent = 0
        while sent < count:
            sent += ring.enqueue_burst(range(sent, min(sent + 17, count)))

    def consume() -> None:
        while len(taken) < count:
            taken.extend(ring.dequeue_burst(13))

    threads = [threading.Thread(target=produce), threading.Thread(target=consume)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert taken == list(range(count))
