"""The rings of the emulated queue manager against a deque: a state machine that hypothesis drives."""

from __future__ import annotations

import gzip
from collections import deque

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.hip08.conftest import LoneMachine, RawDriver
from wdasync_hip08.functions import ZIP
from wdasync_hip08.memory import PAGE
from wdasync_hip08.options import Options

VA = 0x4_0000_0000
TEXT = b"submission and completion. " * 30
GOOD, REFUSED = 0, 1


class ChipRings(RuleBasedStateMachine):
    """A driver of silicon in one queue: what it has rung for is a deque, and comes out at its other end, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = LoneMachine(Options(clock="virtual", depth=64, ram=32))
        self.space = self.machine.new_space("program")
        self.memory = self.machine.map_memory(self.space, VA, 16 * PAGE)
        self.memory.poke(0, TEXT)
        self.space.grant(VA, 16 * PAGE, writable=True)
        self.driver = RawDriver(self.machine, space=self.space)
        self.written: deque[tuple[int, int]] = deque()
        self.rung: deque[tuple[int, int]] = deque()
        self.count = 0

    @initialize(laps=st.integers(0, 200))
    def somewhere_in_the_ring(self, laps: int) -> None:
        """Begin anywhere: slots, phases."""
        for _ in range(laps):
            self.write([GOOD])
            self.ring()
            self.machine.run()
            self.take()

    def room(self) -> int:
        return self.driver.depth - 1 - len(self.written) - len(self.rung)

    @rule(kinds=st.lists(st.sampled_from([GOOD, GOOD, REFUSED]), min_size=1, max_size=63))
    def write(self, kinds: list[int]) -> None:
        """Entries without a doorbell: the chip does not know of them."""
        for kind in kinds[: self.room()]:
            length = len(TEXT) if kind == GOOD else 0x100_0000
            tag = self.count & 0xFFFF
            entry = self.driver.entry(VA, length, VA + 4 * PAGE, 4 * PAGE, tag=tag)
            self.driver.submit(entry, ring=False)
            self.written.append((tag, kind))
            self.count += 1

    @rule()
    def ring(self) -> None:
        self.driver.ring(0, self.driver.tail)
        self.rung += self.written
        self.written.clear()

    @rule()
    def ring_again(self) -> None:
        """A doorbell that says nothing new."""
        self.driver.ring(0, (self.driver.tail - len(self.written)) % self.driver.depth)

    @rule()
    def arm(self) -> None:
        self.driver.arm()

    @rule(limit=st.integers(0, 40))
    def work(self, limit: int) -> None:
        """A few steps of the chip."""
        self.machine.pump(limit)

    @rule()
    def take(self) -> None:
        for slot, sqe in self.driver.completions():
            tag, kind = self.rung.popleft()
            assert sqe[13] == tag, f"expected {tag}, got {sqe[13]} in slot {slot}"
            assert (sqe[3] == 0) is (kind == GOOD), f"status {sqe[3]:#x}"
            if kind == GOOD:
                packed = bytes.fromhex("1f8b0800000000000003") + self.memory.peek(4 * PAGE, sqe[1])
                assert gzip.decompress(packed) == TEXT

    @precondition(lambda self: self.rung)
    @rule()
    def drain(self) -> None:
        self.machine.run()
        self.take()
        assert not self.rung, f"lost: {self.rung}"

    @invariant()
    def well(self) -> None:
        assert self.machine.lost(ZIP.name) is None
        assert self.driver.status() == (0, 0)

    def teardown(self) -> None:
        self.machine.run()
        self.take()
        assert not self.rung, f"lost: {self.rung}"
        assert self.machine.chip.frames.stale_access == 0
        self.machine.close()
