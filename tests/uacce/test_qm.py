"""The queue pair's rings against a scripted device, against a deque, and when everything goes wrong."""

import errno
import json
import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from wdasync_uacce import QueueInfo, RegionKind
from wdasync_uacce.qm import QueueLayoutError, QueuePair, qm_version

from .stand_in import Doorbells, Mishap, StandIn, StandInFile

VECTORS: dict[str, list[dict[str, Any]]] = json.loads((Path(__file__).parent / "vectors.json").read_text())


def entry(number: int) -> bytes:
    """A submission entry that the scripted device completes without work; it is known by its tag."""
    return bytes(52) + number.to_bytes(4, "little") + bytes(72)


def number_of(pair: QueuePair[int], offset: int) -> int:
    return int.from_bytes(pair.entries[offset + 52 : offset + 56], "little")


def opened(layer: StandIn) -> tuple[QueuePair[int], StandInFile]:
    layer.script = Forever()
    file = layer.open("hisi_zip-0")
    return QueuePair(file, layer.version, 0, 128), file


class Forever(deque[Mishap]):
    """A script that never ends: every entry is completed without work."""

    def __bool__(self) -> bool:
        return True

    def popleft(self) -> Mishap:
        return super().popleft() if len(self) else Mishap(status=0)


@pytest.fixture(params=[64, 1024])
def depth(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def pair_and_file(depth: int) -> Iterator[tuple[QueuePair[int], StandInFile]]:
    pair, file = opened(StandIn(depth))
    yield pair, file
    pair.close()


# -- setting up, and the end ------------------------------------------------------------------------------------


def test_a_queue_is_set_up_in_the_order_that_drivers_use() -> None:
    pair, file = opened(StandIn())
    assert file.calls == ["map DUS", "map MMIO", "set_queue_type", "queue_info", "start"]
    assert (pair.number, pair.depth, file.type, file.state) == (21, 64, 0, "STARTED")
    pair.close()
    assert file.calls[5:] == ["put", "unmap MMIO", "unmap DUS", "close"]


@pytest.mark.parametrize("restartable", [False, True], ids=["zombie", "restartable"])
def test_both_meanings_of_put_are_accepted(restartable: bool) -> None:
    layer = StandIn()
    layer.restartable = restartable
    pair, file = opened(layer)
    pair.close()
    assert file.state == "CLOSED"
    pair.close()


def test_a_zombie_can_be_closed() -> None:
    pair, file = opened(StandIn())
    file.state = "ZOMBIE"
    pair.close()
    assert file.state == "CLOSED"


@pytest.mark.parametrize("call", ["map DUS", "map MMIO", "set_queue_type", "start"])
@pytest.mark.parametrize("number", [errno.ENXIO, errno.EINVAL, errno.ENOMEM, errno.EEXIST])
def test_a_failed_set_up_leaves_nothing_open(call: str, number: int) -> None:
    layer = StandIn()
    layer.errors[call] = number
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        opened(layer)
    assert caught.value.errno == number
    assert (layer.files[0].state, layer.files[0].mapped) == ("CLOSED", {})


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTTY])
def test_a_kernel_that_cannot_tell_the_depth_means_1024(number: int) -> None:
    layer = StandIn(1024)
    layer.errors["queue_info"] = number
    pair, _ = opened(layer)
    assert pair.depth == 1024
    pair.close()


def test_a_queue_that_is_gone_is_no_kernel_that_cannot_tell() -> None:
    layer = StandIn(1024)
    layer.errors["queue_info"] = errno.ENXIO
    with pytest.raises(OSError, match=os.strerror(errno.ENXIO)):
        opened(layer)


@pytest.mark.parametrize(
    "shape", [QueueInfo(64, 64, 64), QueueInfo(128, 1, 64), QueueInfo(128, 64, 32), QueueInfo(128, 128, 128)]
)
def test_rings_of_another_shape_are_refused(shape: QueueInfo) -> None:
    layer = StandIn(64)
    file = layer.open("hisi_zip-0")
    layer.shape = shape
    with pytest.raises(QueueLayoutError, match="queue 21: expected entries of 128 bytes"):
        QueuePair(file, 2, 0, 128)
    assert file.state == "CLOSED"


def test_a_dus_region_that_is_no_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = StandIn(64)
    file = layer.open("hisi_zip-0")
    real = file.map
    monkeypatch.setattr(
        file, "map", lambda kind: Doorbells(1 << 20, file._ring) if kind is RegionKind.DUS else real(kind)
    )
    monkeypatch.setattr(file, "unmap", lambda region: None)
    with pytest.raises(QueueLayoutError, match="expected a DUS region that is memory"):
        QueuePair(file, 2, 0, 128)


@pytest.mark.parametrize(
    ("api", "version"),
    [("hisi_qm_v1", 1), ("hisi_qm_v2", 2), ("hisi_qm_v3\n", 3), ("hisi_qm_v5", 5), ("hisi_qm_v2_noiommu", 2),
     ("hisi_qm_v9", None), ("hisi_qm_v", None), ("idxd", None), ("", None)],
)  # fmt: skip
def test_versions(api: str, version: int | None) -> None:
    assert qm_version(api) == version


# -- laps ------------------------------------------------------------------------------------------------------------


def test_entries_come_back_in_order_over_many_laps(
    pair_and_file: tuple[QueuePair[int], StandInFile], depth: int
) -> None:
    pair, file = pair_and_file
    sent = received = 0
    burst = depth // 2 - 5
    while received < 7 * depth:
        count = pair.room(burst)
        assert pair.push(b"".join(map(entry, range(sent, sent + count))), range(sent, sent + count))
        sent += count
        file.work(burst - 3)
        for cookie, offset in pair.reap(burst):
            assert cookie == number_of(pair, offset) == received
            received += 1
    assert file.phase == 1 ^ (received + file.unseen) // depth % 2
    assert pair.strays == 0


def test_phases_flip_as_the_vector_says() -> None:
    (case,) = VECTORS["phase_sequences"]
    depth = int(case["depth"], 16)
    pair, file = opened(StandIn(depth))
    for number, (slot, phase) in enumerate((int(a, 16), int(b, 16)) for a, b in case["slot_phase"]):
        assert (pair._head, pair._phase) == (slot, phase)
        assert pair.push(entry(number), [number])
        assert not pair.waiting()
        file.work()
        assert pair.waiting()
        assert [cookie for cookie, _ in pair.reap(9)] == [number]
    pair.close()


def test_a_full_ring_takes_no_more(pair_and_file: tuple[QueuePair[int], StandInFile], depth: int) -> None:
    pair, file = pair_and_file
    for lap in range(4):
        assert pair.room(2 * depth) == depth - 1
        pair.push(b"".join(map(entry, range(depth - 1))), range(depth - 1))
        assert pair.room(1) == 0
        assert (pair.in_flight, len(file.pending)) == (depth - 1, depth - 1)
        file.work(1)
        assert pair.room(1) == 0, "a slot is free when its completion was taken, not before"
        assert len(pair.reap(1)) == 1
        assert pair.room(9) == 1
        file.work()
        assert len(pair.reap(depth)) == depth - 2, lap


def test_slots_are_freed_by_name_not_by_number() -> None:
    """Out of order, the oldest slot stays taken however many others were finished."""
    pair, file = opened(StandIn(8))
    assert pair.push(b"".join(map(entry, range(7))), range(7))
    file.work(6, last_first=True)
    assert [cookie for cookie, _ in pair.reap(8)] == [6, 5, 4, 3, 2, 1]
    assert pair.in_flight == 1
    assert pair.room(8) == 1, "slot 7 is free, slot 0 is not, though six others are"
    assert pair.push(entry(7), [7])
    assert pair.room(8) == 0
    file.work()
    assert [cookie for cookie, _ in pair.reap(8)] == [0, 7]
    assert pair.room(8) == 7
    pair.close()


def test_one_doorbell_a_burst_and_one_a_batch(pair_and_file: tuple[QueuePair[int], StandInFile]) -> None:
    pair, file = pair_and_file
    mmio = file.mapped[RegionKind.MMIO]
    assert isinstance(mmio, Doorbells)
    pair.push(b"".join(map(entry, range(10))), range(10))
    file.work()
    assert mmio.stores == [(0x1000, 0x0000_000A_0000_0015)]
    pair.reap(10)
    assert mmio.stores[1:] == [(0x1000, 0x0000_000A_0000_1015)]
    pair.arm()
    assert mmio.stores[2:] == [(0x1000, 0x0001_000A_0000_1015)]


def test_a_limit_is_kept(pair_and_file: tuple[QueuePair[int], StandInFile]) -> None:
    pair, file = pair_and_file
    pair.push(b"".join(map(entry, range(10))), range(10))
    file.work()
    assert [cookie for cookie, _ in pair.reap(3)] == [0, 1, 2]
    assert [cookie for cookie, _ in pair.reap(100_000)] == [*range(3, 10)]
    assert pair.reap(1) == []


# -- waiting -----------------------------------------------------------------------------------------------------------


def test_arming_orders_one_interrupt(pair_and_file: tuple[QueuePair[int], StandInFile]) -> None:
    pair, file = pair_and_file
    pair.push(entry(1) + entry(2), [1, 2])
    assert pair.arm()
    assert (pair.armed, file.interrupts) == (True, 0)
    file.work()
    assert file.interrupts == 1, "two completions, one order"
    pair.reap(9)
    assert not pair.armed


def test_arming_sees_what_is_there_already(pair_and_file: tuple[QueuePair[int], StandInFile]) -> None:
    pair, file = pair_and_file
    pair.push(entry(1), [1])
    file.work()
    assert not pair.arm()
    assert file.interrupts == 0


def test_arming_sees_what_comes_in_between(
    pair_and_file: tuple[QueuePair[int], StandInFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device finishes after the first look and before it is asked for an interrupt."""
    pair, file = pair_and_file
    pair.push(entry(1), [1])
    monkeypatch.setattr(file, "acknowledge", lambda: file.work() and None)
    assert not pair.arm()
    assert len(pair.reap(1)) == 1


def test_old_readiness_is_gone_after_arming(pair_and_file: tuple[QueuePair[int], StandInFile]) -> None:
    pair, file = pair_and_file
    os.eventfd_write(file.fd, 1)
    assert pair.arm()
    with pytest.raises(BlockingIOError):
        os.eventfd_read(file.fd)


# -- the kernel's reader ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("burst", [1, 5, 8, 15])
@pytest.mark.parametrize("count", [*range(10, 70, 3), 500])
def test_who_was_not_woken_for_more_than_a_lap_is_woken_all_the_same(burst: int, count: int) -> None:
    """A ring's phase is the same again after two laps: the kernel takes a completion of the lap between for an old one."""
    pair, file = opened(StandIn(16))
    for number in range(0, count, burst):
        pair.push(entry(number) * burst, [number] * burst)
        file.work()
        assert len(pair.reap(16)) == burst
    assert pair.arm()
    pair.push(entry(1) * burst, [1] * burst)
    file.work()
    assert file.interrupts == 1, "the first completion of a queue has an interrupt, and nobody armed it here"
    assert len(pair.reap(16)) == burst


def test_a_wake_that_is_eaten_while_the_kernel_catches_up_is_ordered_again() -> None:
    pair, file = opened(StandIn(16))
    pair.push(entry(0) * 10, [0] * 10)
    file.work()
    assert len(pair.reap(16)) == 10
    pair.push(entry(1) * 3, [1] * 3)
    assert pair.arm()
    file.work(1)
    assert file.interrupts == 1
    os.eventfd_read(file.fd)  # its poll comes too late: the next line polls first
    pair.push(entry(2) * 4, [2] * 4)
    file.work()
    os.eventfd_read(file.fd)
    assert len(pair.reap(16)) == 7


# -- misfortunes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slot", [5, 63, 64, 0xFFFF])
def test_completions_that_mean_nothing_are_dropped(slot: int) -> None:
    pair, file = opened(StandIn(64))
    pair.push(entry(1), [1])
    for _ in range(3):
        file.post(slot)
    file.work()
    assert [cookie for cookie, _ in pair.reap(1)] == [1]
    assert (pair.strays, pair.in_flight, pair.room(99)) == (3, 0, 63)
    assert file.unseen == 0
    pair.close()


def test_a_completion_that_comes_twice_counts_once() -> None:
    pair, file = opened(StandIn(64))
    file.layer.script.append(Mishap(status=0, completions=2))
    pair.push(entry(1), [1])
    file.work()
    assert [cookie for cookie, _ in pair.reap(9)] == [1]
    assert (pair.strays, pair.in_flight) == (1, 0)
    pair.close()


@pytest.mark.parametrize(
    ("send", "receive", "sides"),
    [(1, 0, "send side"), (0, 1, "receive side"), (1, 1, "send and receive side")],
)
def test_the_status_words_are_looked_at_before_ringing(send: int, receive: int, sides: str) -> None:
    pair, file = opened(StandIn(64))
    assert not pair.failed()
    file.disable(send, receive)
    assert not pair.push(entry(1), [1]), "the stand-in takes a doorbell now for a violation"
    assert pair.failure == f"the device is in reset ({sides} disabled)"
    assert pair.in_flight == 0
    pair.close()


def test_what_is_abandoned_comes_oldest_first() -> None:
    pair, file = opened(StandIn(8))
    for lap in range(3):
        pair.push(b"".join(map(entry, range(6))), [10 * lap + number for number in range(6)])
        if lap < 2:
            file.work()
            pair.reap(8)
    file.work(2)
    pair.reap(1)
    assert pair.abandon() == [21, 22, 23, 24, 25]
    assert (pair.in_flight, pair.failure) == (0, "the queue was stopped")
    assert not pair.push(entry(1), [1])
    pair.close()


def test_a_closed_queue_touches_nothing() -> None:
    pair, file = opened(StandIn(8))
    pair.push(entry(1), [1])
    file.work()
    pair.close()
    assert not pair.waiting()
    assert pair.reap(8) == []
    assert not pair.push(entry(1), [1])
    assert "closed" in repr(pair)


def test_a_file_that_cannot_be_closed_is_told() -> None:
    layer = StandIn(8)
    pair, _ = opened(layer)
    layer.errors["close"] = errno.EIO
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        pair.close()
    layer.errors.clear()
    pair.close()
    assert layer.files[0].state == "CLOSED"


# -- against a deque -----------------------------------------------------------------------------------------------------


class Ring(RuleBasedStateMachine):
    """A queue pair, its device and a deque: what goes in, comes out once, in the order of completion."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = StandIn(8)
        self.pair, self.file = opened(self.layer)
        self.device: deque[int] = deque()
        self.finished: deque[int] = deque()
        self.next = 0

    @rule(wanted=st.integers(0, 10))
    def push(self, wanted: int) -> None:
        room = self.pair.room(wanted)
        assert room <= wanted
        in_order = not self.holes
        if in_order:
            assert room == min(wanted, 7 - len(self.device) - len(self.finished))
        numbers = range(self.next, self.next + room)
        if room:
            assert self.pair.push(b"".join(map(entry, numbers)), numbers)
        self.device.extend(numbers)
        self.next += room

    holes = False

    @precondition(lambda self: self.device)
    @rule(count=st.integers(1, 8), last_first=st.booleans())
    def work(self, count: int, last_first: bool) -> None:
        for _ in range(min(count, len(self.device))):
            self.finished.append(self.device.pop() if last_first else self.device.popleft())
        self.holes = self.holes or last_first
        self.file.work(count, last_first=last_first)

    @rule(limit=st.integers(1, 10))
    def reap(self, limit: int) -> None:
        for cookie, offset in self.pair.reap(limit):
            assert cookie == number_of(self.pair, offset) == self.finished.popleft()
            limit -= 1
        assert limit >= 0
        assert not (limit and self.finished)
        if not self.device and not self.finished:
            self.holes = False

    @rule()
    def arm(self) -> None:
        assert self.pair.arm() is not bool(self.finished)

    @rule(slot=st.sampled_from([8, 1000, 0xFFFF]))
    def stray(self, slot: int) -> None:
        if self.file.unseen < 8 - len(self.device) - 1:
            self.file.post(slot)
            before = self.pair.strays
            got = self.pair.reap(20)
            assert [cookie for cookie, _ in got] == list(self.finished)
            self.finished.clear()
            self.pair.reap(20)
            assert self.pair.strays == before + 1

    @invariant()
    def counts_agree(self) -> None:
        assert self.pair.in_flight == len(self.device) + len(self.finished)
        assert self.pair.waiting() == bool(self.finished)

    def teardown(self) -> None:
        self.pair.close()


TestRing = Ring.TestCase
TestRing.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
