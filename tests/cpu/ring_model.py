"""The native rings against a deque: a state machine that hypothesis drives."""

from __future__ import annotations

import select
import time
from collections import deque
from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.cpu.support import PATIENCE, open_device, pack
from wdasync.backend import Completion, Status
from wdasync.operations import Compress, Decompress, Nop, Operation
from wdasync_cpu import binding
from wdasync_cpu.queues import CpuQueue

TEXT = b"what goes in comes out. " * 40
PACKED = pack(TEXT, "zlib")


def operation(kind: int) -> Operation:
    match kind:
        case 0:
            return Compress(TEXT, "zlib")
        case 1:
            return Decompress(PACKED, "zlib")
        case 2:
            return Decompress(b"no unit", "zlib")
        case 3:
            return Compress(TEXT, "none")  # refused at once, and completes all the same
        case _:
            return Nop()


STATUS = {2: Status.DATA_ERROR, 3: Status.INVALID_ARGS}


class NativeRings(RuleBasedStateMachine):
    """One owner, one queue. When completions come is the workers' business, so no rule depends on it. What is in flight is a deque: of all that was accepted, in order.

    A single worker finishes what it takes in the order in which it was put in; with several, with a spare one, for which on a slow machine
    all of this is lengthy, or where codecs are packages of Python, which have threads of their own, any order is right. Other tests of the
    process may have started some.
    """

    def __init__(self) -> None:
        super().__init__()
        self.device = open_device(spare_workers=0)
        self.in_flight: deque[tuple[int, int]] = deque()
        self.accepted = self.withdrawn = self.taken = 0
        self.wishes = 0
        self.stopped = False

    @initialize(depth=st.sampled_from([1, 2, 3, 8, 64]))
    def open(self, depth: int) -> None:
        self.depth = depth
        self.queue: CpuQueue = self.device.open_queue(depth)
        assert self.queue.depth == depth

    @rule(kinds=st.lists(st.integers(0, 9), max_size=80))
    def enqueue(self, kinds: list[int]) -> None:
        if self.stopped:
            kinds = []
        tags = range(self.accepted, self.accepted + len(kinds))
        entries = [(tag, operation(kind)) for tag, kind in zip(tags, kinds, strict=True)]
        count = self.queue.enqueue_burst(entries)
        assert count == min(len(kinds), self.depth - len(self.in_flight))
        self.in_flight += zip(tags[:count], kinds[:count], strict=True)
        self.accepted += count

    @rule(limit=st.integers(1, 100))
    def dequeue(self, limit: int) -> None:
        self.take(self.queue.dequeue_burst(limit), limit)

    @rule()
    def drain(self) -> None:
        """Nothing is lost: everything comes some time."""
        end = time.monotonic() + PATIENCE
        while self.in_flight:
            if found := self.queue.dequeue_burst(7):
                self.take(found, 7)
            else:
                time.sleep(0.0001)  # work in Python threads wants the interpreter, too
            assert time.monotonic() < end, f"lost: {self.in_flight}"

    @rule()
    def sleep(self) -> None:
        """Arm, sleep, and there is something. Where completions wait already, arming says so."""
        if self.stopped or not self.in_flight:
            return
        if self.queue.arm():
            poll = select.poll()
            poll.register(self.queue.fileno(), select.POLLIN)
            assert poll.poll(PATIENCE * 1000), f"a wake-up was lost: {self.in_flight}"
        found = self.queue.dequeue_burst(100)
        assert found, "woken for nothing"
        self.take(found, 100)

    @rule(position=st.integers(0, 63))
    def withdraw(self, position: int) -> None:
        if not self.in_flight:
            return
        tag, kind = self.in_flight[position % len(self.in_flight)]
        if self.queue.withdraw(tag):
            self.in_flight.remove((tag, kind))
            self.withdrawn += 1

    @rule(tag=st.integers(10**6, 10**7))
    def withdraw_a_stranger(self, tag: int) -> None:
        assert not self.queue.withdraw(tag)

    @rule()
    def stop(self) -> None:
        """Rarely, and never at once: not much happens afterwards."""
        self.wishes += 1
        if self.wishes < 4:
            return
        self.queue.stop()
        self.stopped = True
        assert self.queue.enqueue_burst([(0, Nop())]) == 0

    @invariant()
    def counts(self) -> None:
        if hasattr(self, "queue"):
            statistics = self.queue.statistics()
            assert statistics.in_flight == len(self.in_flight)
            assert (statistics.enqueued, statistics.dequeued) == (self.accepted, self.taken)
            assert statistics.withdrawn == self.withdrawn

    def take(self, found: Sequence[Completion], limit: int) -> None:
        assert len(found) <= limit
        kinds = dict(self.in_flight)
        for completion in found:
            assert completion.tag in kinds, f"nobody has asked for it: {completion}"
            one_by_one = binding.workers() == 1 and not binding.spare_workers()
            if one_by_one and not self.stopped and not self.queue.statistics().extra["python"]:
                self.in_order(completion.tag, kinds)
            self.in_flight.remove((completion.tag, kinds[completion.tag]))
            self.check(completion, kinds.pop(completion.tag))
        self.taken += len(found)

    def in_order(self, tag: int, kinds: dict[int, int]) -> None:
        """What was refused at once has overtaken the others; those are in order."""
        if kinds[tag] != 3:
            assert tag == next(other for other, kind in self.in_flight if kind != 3)

    def check(self, completion: Completion, kind: int) -> None:
        if completion.status is Status.ABORTED:
            assert self.stopped
            return
        assert completion.status is STATUS.get(kind, Status.SUCCESS), completion
        if kind == 1:
            assert completion.output == TEXT

    def teardown(self) -> None:
        if hasattr(self, "queue"):
            self.queue.stop()
            self.stopped = True
            self.drain()
            self.queue.close()
        self.device.close()
