"""Rings: exactly one completion, withdrawals, the wake-up, stopping, closing, several owners."""

from __future__ import annotations

import gc
import random
import select
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.cpu.support import PATIENCE, drain, good, open_device, pack, python, run, words
from wdasync.backend import Completion, Direction, Session, Status, StreamSpec
from wdasync.errors import BackendUnavailable
from wdasync.operations import Checksum, Compress, CompressChunk, Decompress, Flush, Nop, Operation, Priority
from wdasync_cpu import binding
from wdasync_cpu.devices import CpuDevice
from wdasync_cpu.queues import CpuQueue

Opener = Callable[..., CpuQueue]

BIG = words(8 << 20)


def heavy() -> Compress:
    """Seconds of work, which ends soon after its queue is stopped. The window makes it zlib's."""
    return Compress(BIG, "gzip", level=9, window=14)


@contextmanager
def busy_workers(device: CpuDevice) -> Iterator[CpuQueue]:
    """All native workers work on something long, until the block ends."""
    queue = device.open_queue(binding.workers(), Priority.HIGH)
    assert queue.enqueue_burst([(tag, heavy()) for tag in range(queue.depth)]) == queue.depth
    end = time.monotonic() + PATIENCE
    probe = device.open_queue(1)
    left = 0
    while (
        left < 3
    ):  # Until withdrawals show that nobody takes anything any more; one may be of a worker without a core.
        probe.enqueue_burst([(0, Nop())])
        time.sleep(0.02)
        if probe.withdraw(0):
            left += 1
            continue
        left = 0
        drain(probe, 1)
        assert time.monotonic() < end
    try:
        yield queue
    finally:
        queue.stop()
        queue.close()
        probe.close()


def readable(queue: CpuQueue, milliseconds: float = 0) -> bool:
    poll = select.poll()
    poll.register(queue.fileno(), select.POLLIN)
    return bool(poll.poll(milliseconds))


# -- in and out ------------------------------------------------------------------------------------------------------


def test_depth_and_limit(open_queue: Opener) -> None:
    queue = open_queue(5)
    assert queue.depth == 5
    assert queue.enqueue_burst([(tag, Nop()) for tag in range(9)]) == 5
    assert queue.enqueue_burst([(9, Nop())]) == 0
    statistics = queue.statistics()
    assert (statistics.in_flight, statistics.enqueued, statistics.rejected) == (5, 5, 5)
    assert queue.dequeue_burst(0) == []
    found: list[Completion] = []
    while len(found) < 5:
        batch = queue.dequeue_burst(2)
        assert len(batch) <= 2
        found += batch
    assert sorted(done.tag for done in found) == [0, 1, 2, 3, 4]
    assert queue.dequeue_burst(9) == []


@pytest.mark.parametrize("wish", [-1, 0, 1, 1 << 16, 1 << 40])
def test_any_depth_can_be_wished_for(whole_device: CpuDevice, wish: int) -> None:
    queue = whole_device.open_queue(wish)
    assert 1 <= queue.depth <= max(wish, 1)
    assert [done.status for done in run(queue, [Nop()] * 3)] == [Status.SUCCESS] * 3
    queue.close()


def test_entries_may_be_any_sequence(whole_queue: CpuQueue) -> None:
    class Entries:
        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> tuple[int, Operation]:
            if index < 2:
                return index, Nop()
            raise IndexError

    assert whole_queue.enqueue_burst(((7, Nop()),)) == 1
    assert whole_queue.enqueue_burst(Entries()) == 2  # type: ignore[arg-type]  # as a sequence, it is enough of one
    assert sorted(done.tag for done in drain(whole_queue, 3)) == [0, 1, 7]


@pytest.mark.parametrize("tag", [0, 1, 255, 256, 1 << 31, (1 << 32) - 1])
def test_tags_come_back_as_they_went(whole_queue: CpuQueue, tag: int) -> None:
    whole_queue.enqueue_burst([(tag, Nop())])
    assert drain(whole_queue, 1)[0].tag == tag


@pytest.mark.parametrize(
    ("entry", "error"),
    [
        ((-1, Nop()), ValueError),
        ((1 << 32, Nop()), ValueError),
        ((1 << 80, Nop()), ValueError),
        (("1", Nop()), TypeError),
        ((1, Nop(), 1), TypeError),
        ([1, Nop()], TypeError),
        (None, TypeError),
    ],
)
def test_entries_that_are_none(whole_queue: CpuQueue, entry: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        whole_queue.enqueue_burst([entry])  # type: ignore[list-item]  # that is the test
    # Those before it are accepted; it is complained of when it comes first.
    assert whole_queue.enqueue_burst([(1, Nop()), entry]) == 1  # type: ignore[list-item]  # that is the test
    drain(whole_queue, 1)
    assert whole_queue.statistics().in_flight == 0


def test_operations_that_cannot_be_done_complete(whole_queue: CpuQueue) -> None:
    class Strange(Operation):
        kind = Nop.kind

    broken = Compress(b"x", "gzip")
    del broken.source
    unhashable = Compress(b"x", "gzip", level=[1])  # type: ignore[arg-type]  # that is the test
    work = [
        Strange(),
        object(),
        broken,
        unhashable,
        Compress(b"x", "lzw"),
        Compress(b"x", 7),  # type: ignore[arg-type]  # that is the test
        Compress(b"x", "gzip", level="slow"),
        Compress(b"x", "gzip", level=-1),
        Compress(b"x", "gzip", level=1.5),  # type: ignore[arg-type]  # that is the test
        Compress(b"x", "gzip", window="large"),  # type: ignore[arg-type]  # that is the test
        Decompress(b"x", "lzw"),
    ]
    for operation, done in zip(work, run(whole_queue, work), strict=True):  # type: ignore[arg-type]  # that is the test
        assert done.status is Status.INVALID_ARGS, operation
        assert done.detail.message
        assert done.output is None


def test_subclasses_of_operations_are_operations(whole_queue: CpuQueue) -> None:
    class Mine(Compress):
        pass

    assert zlib.decompress(good(run(whole_queue, [Mine(b"x", "zlib")])[0])) == b"x"


def test_names_of_levels_and_numbers_that_are_mapped() -> None:
    device = open_device("only zlib")
    queue = device.open_queue(64)
    assert {
        good(done)
        for done in run(queue, [Compress(words(5000), "gzip", level=level) for level in (9, 10, 11, 12)])
    }
    assert queue.statistics().levels_mapped == 3
    run(queue, [Compress(b"x", "gzip", level="best")])
    assert queue.statistics().levels_mapped == 3
    queue.close()


def test_who_did_it(open_queue: Opener) -> None:
    (done,) = run(open_queue(), [Nop()])
    assert done.detail.where in {f"worker {number}" for number in range(binding.workers())}


# -- memory ----------------------------------------------------------------------------------------------------------


def resizable(buffer: bytearray) -> bool:
    try:
        buffer.append(0)
    except BufferError:
        return False
    buffer.pop()
    return True


def test_buffers_are_held_until_the_completion_is_taken(open_queue: Opener) -> None:
    queue = open_queue()
    source, output = bytearray(words(1000)), bytearray(2000)
    operations: list[Operation] = [Compress([source, b"more"], "gzip", into=output)]
    references = sys.getrefcount(operations[0])
    queue.enqueue_burst([(0, operations[0])])
    end = time.monotonic() + PATIENCE
    while queue.arm():
        assert time.monotonic() < end
    operations[0].source = b""  # What the operation refers to no longer counts: the queue has its own hold.
    operations[0].destination = None
    assert not resizable(source)
    assert not resizable(output)
    (done,) = drain(queue, 1)
    assert resizable(source)
    assert resizable(output)
    after = sys.getrefcount(operations[0])
    assert after == references
    assert unpacked(output, done) == words(1000) + b"more"


def unpacked(output: bytearray, done: Completion) -> bytes:
    return zlib.decompress(bytes(output[: done.produced]), 31)


def test_a_queue_that_is_dropped_lets_go_of_everything(whole_device: CpuDevice) -> None:
    source = bytearray(words(100_000))
    queues = [whole_device.open_queue(64)]
    queues[0].enqueue_burst([(tag, Compress(source, "gzip")) for tag in range(20)])
    with pytest.warns(ResourceWarning, match="unclosed <CpuQueue"):
        queues.clear()
    assert resizable(source)


def test_a_closed_queue_that_is_dropped_lets_go_of_everything(whole_device: CpuDevice) -> None:
    source = bytearray(words(600_000))
    queue = whole_device.open_queue(64)
    queue.enqueue_burst([(tag, Compress(source, "gzip")) for tag in range(20)])
    queue.close()
    del queue
    gc.collect()
    assert resizable(source)


def test_devices_are_freed() -> None:
    gc.collect()
    before = sum(isinstance(each, CpuDevice) for each in gc.get_objects())
    for _ in range(5):
        device = open_device()
        queue = device.open_queue(4)
        run(queue, [Compress(b"x", "gzip"), Compress(b"x", "none")])
        queue.close()
        del device, queue
    assert sum(isinstance(each, CpuDevice) for each in gc.get_objects()) == before


# -- withdrawals -----------------------------------------------------------------------------------------------------


def test_what_no_worker_has_taken_can_be_withdrawn(whole_device: CpuDevice, open_queue: Opener) -> None:
    queue = open_queue(64)
    with busy_workers(whole_device):
        assert queue.enqueue_burst([(tag, Nop()) for tag in range(64)]) == 64
        assert all(queue.withdraw(tag) for tag in range(0, 64, 2))
        assert not any(queue.withdraw(tag) for tag in range(0, 64, 2))
        assert not queue.withdraw(1000)
        assert queue.enqueue_burst([(tag, Nop()) for tag in range(100, 200)]) == 32
    done = drain(queue, 64)
    assert sorted(each.tag for each in done) == [*range(1, 64, 2), *range(100, 132)]
    statistics = queue.statistics()
    assert (statistics.withdrawn, statistics.dequeued, statistics.in_flight) == (32, 64, 0)


def test_withdrawn_places_never_run_out(whole_device: CpuDevice, open_queue: Opener) -> None:
    """However much is withdrawn while no worker looks, the depth stays usable."""
    queue, chance = open_queue(16), random.Random(3)
    with busy_workers(whole_device):
        queue.enqueue_burst([(tag, Nop()) for tag in range(16)])
        flying, tag = list(range(16)), 16
        for _ in range(3000):
            victim = flying.pop(chance.randrange(16))
            assert queue.withdraw(victim)
            assert queue.enqueue_burst([(tag, Nop())]) == 1
            flying.append(tag)
            tag += 1
    assert sorted(done.tag for done in drain(queue, 16)) == sorted(flying)


def test_what_a_worker_has_taken_cannot_be_withdrawn(whole_device: CpuDevice) -> None:
    with busy_workers(whole_device) as queue:
        assert not any(queue.withdraw(tag) for tag in range(queue.depth))


def test_withdrawn_buffers_are_let_go(whole_device: CpuDevice, open_queue: Opener) -> None:
    queue, source = open_queue(), bytearray(100)
    with busy_workers(whole_device):
        queue.enqueue_burst([(0, Checksum(source, "crc32"))])  # too short for a spare worker on any machine
        assert not resizable(source)
        assert queue.withdraw(0)
        assert resizable(source)


def test_a_step_that_is_withdrawn_leaves_its_stream_alone(
    whole_device: CpuDevice, open_queue: Opener
) -> None:
    queue = open_queue()
    with busy_workers(whole_device):
        session = stream_with_a_step_withdrawn(whole_device, queue, b"never")
        queue.enqueue_burst([(1, CompressChunk(session, b"but this"))])
    packed = good(drain(queue, 1)[0]) + good(run(queue, [CompressChunk(session, b"", Flush.FINISH)])[0])
    assert zlib.decompress(packed) == b"but this"


def stream_with_a_step_withdrawn(device: CpuDevice, queue: CpuQueue, data: bytes) -> Session:
    """While others are busy a spare worker may be quicker, on a machine that is so slow that any step is lengthy."""
    for _ in range(1000):
        session = device.open_session(StreamSpec(Direction.COMPRESS, "zlib"))
        queue.enqueue_burst([(0, CompressChunk(session, data))])
        if queue.withdraw(0):
            return session
        drain(queue, 1)
        session.close()
    raise AssertionError("nothing could be withdrawn while all workers were busy")


# -- the wake-up -----------------------------------------------------------------------------------------------------


def test_no_wake_up_without_arming(whole_queue: CpuQueue) -> None:
    run(whole_queue, [Nop()] * 100)
    assert not readable(whole_queue)
    assert whole_queue.statistics().wakes == 0


def test_arming_orders_one_wake_up(whole_queue: CpuQueue) -> None:
    for count in (1, 2, 60):
        before = whole_queue.statistics().wakes
        assert whole_queue.arm()
        assert whole_queue.arm()
        assert not readable(whole_queue)
        whole_queue.enqueue_burst([(tag, Nop()) for tag in range(count)])
        assert readable(whole_queue, PATIENCE * 1000)
        drain(whole_queue, count)
        assert not readable(whole_queue)
        assert whole_queue.statistics().wakes == before + 1


def test_arming_is_refused_while_completions_wait(whole_queue: CpuQueue) -> None:
    whole_queue.enqueue_burst([(tag, Nop()) for tag in range(10)])
    end = time.monotonic() + PATIENCE
    while whole_queue.arm():
        assert time.monotonic() < end
    assert not whole_queue.arm()
    found = list(whole_queue.dequeue_burst(1))
    while len(found) < 10:
        found += whole_queue.dequeue_burst(3)
    assert whole_queue.arm()


def test_an_armed_queue_that_is_polled_wakes_for_what_comes_later(whole_queue: CpuQueue) -> None:
    assert whole_queue.arm()
    assert whole_queue.dequeue_burst(8) == []
    whole_queue.enqueue_burst([(0, Nop())])
    assert readable(whole_queue, PATIENCE * 1000)


def test_what_is_refused_at_once_wakes_too(whole_queue: CpuQueue) -> None:
    assert whole_queue.arm()
    whole_queue.enqueue_burst([(0, Compress(b"x", "none"))])
    assert readable(whole_queue, PATIENCE * 1000)
    assert drain(whole_queue, 1)[0].status is Status.INVALID_ARGS


def test_a_large_output_wakes_after_its_copy(whole_queue: CpuQueue) -> None:
    """The first trip is no completion: an owner that finds nothing arms again, and is woken by the second."""
    whole_queue.enqueue_burst([(0, Decompress(pack(words(2_000_000), "gzip"), "gzip"))])
    done: list[Completion] = []
    while not done:
        if whole_queue.arm():
            assert readable(whole_queue, PATIENCE * 1000)
        done += whole_queue.dequeue_burst(4)
    assert good(done[0]) == words(2_000_000)


def test_no_wake_up_is_lost(whole_queue: CpuQueue) -> None:
    """An owner that sleeps whenever it may: each sleep ends, or the test does."""
    chance = random.Random(5)
    for _ in range(3000):
        count = chance.choice([1, 1, 1, 2, 3, 40])
        whole_queue.enqueue_burst([(tag, Nop()) for tag in range(count)])
        left = count
        while left:
            left -= len(whole_queue.dequeue_burst(chance.choice([1, 64])))
            if left and whole_queue.arm():
                assert readable(whole_queue, PATIENCE * 1000), f"{left} operations, and nobody wakes"


# -- the end ---------------------------------------------------------------------------------------------------------


def test_stop_aborts_without_waiting(whole_device: CpuDevice, open_queue: Opener) -> None:
    queue = open_queue(32)
    with busy_workers(whole_device):
        queue.enqueue_burst([(tag, Nop()) for tag in range(20)])
        assert queue.arm()
        queue.stop()
        assert readable(queue)
        done = queue.dequeue_burst(64)
        assert sorted((each.tag, each.status) for each in done) == [
            (tag, Status.ABORTED) for tag in range(20)
        ]
        assert queue.enqueue_burst([(0, Nop())]) == 0
        queue.stop()
        assert queue.dequeue_burst(64) == []


def test_what_is_being_worked_on_ends_soon_after_a_stop(whole_device: CpuDevice) -> None:
    with busy_workers(whole_device) as queue:
        queue.stop()
        assert {done.status for done in drain(queue, queue.depth)} == {Status.ABORTED}


def test_close_under_load(open_queue: Opener) -> None:
    contents = [words(60_000, tag) for tag in range(40)]
    for _ in range(20):
        queue = open_queue(256)
        outputs = [bytearray(70_000) for _ in range(40)]
        pairs = zip(contents, outputs, strict=True)
        work = [Compress(content, "gzip", level=6, into=output) for content, output in pairs]
        assert queue.enqueue_burst(list(enumerate(work))) == 40
        closer = threading.Thread(target=queue.close)
        closer.start()
        closer.join(PATIENCE)
        assert not closer.is_alive()
        done = queue.dequeue_burst(64)
        assert len(done) == 40
        assert {each.status for each in done} <= {Status.SUCCESS, Status.ABORTED}
        for each in done:
            if each.status is Status.SUCCESS:
                assert unpacked(outputs[each.tag], each) == contents[each.tag]
        del work
        assert all(map(resizable, outputs))


def test_after_close(open_queue: Opener) -> None:
    queue = open_queue(16)
    run(queue, [Nop()] * 3)
    queue.close()
    queue.close()
    queue.stop()
    assert queue.enqueue_burst([(0, Nop())]) == 0
    assert queue.dequeue_burst(4) == []
    assert not queue.withdraw(0)
    assert (queue.statistics().enqueued, queue.statistics().dequeued) == (3, 3)


def test_large_outputs_in_a_queue_that_is_closed(open_queue: Opener) -> None:
    queue = open_queue(16)
    packed = pack(words(900_000), "gzip")
    queue.enqueue_burst([(tag, Decompress(packed, "gzip")) for tag in range(4)])
    end = time.monotonic() + PATIENCE
    while queue.arm():
        assert time.monotonic() < end
    queue.close()
    done = queue.dequeue_burst(64)
    assert len(done) == 4
    assert {each.status for each in done} == {Status.ABORTED}


def test_there_is_a_last_queue(whole_device: CpuDevice) -> None:
    """More queues than there is room for are refused with an error, and closing them makes room again."""
    queues: list[CpuQueue] = []
    with pytest.raises(BackendUnavailable, match="close others"):
        queues.extend(whole_device.open_queue(1, Priority.LOW) for _ in range(1100))
    assert run(queues[-1], [Nop()])[0].status is Status.SUCCESS
    for queue in queues:
        queue.close()
    queue = whole_device.open_queue(1, Priority.LOW)
    queue.close()


# -- many ------------------------------------------------------------------------------------------------------------


def test_two_queues_in_two_threads(whole_device: CpuDevice) -> None:
    problems: list[BaseException] = []

    def own(seed: int) -> None:
        try:
            queue = whole_device.open_queue(128)
            for turn in range(10):
                contents = [words(size, seed + turn) for size in range(1, 3000, 97)]
                packed = [good(done) for done in run(queue, [Compress(data, "zlib") for data in contents])]
                assert [zlib.decompress(each) for each in packed] == contents
            queue.close()
        except BaseException as problem:  # noqa: BLE001  it is raised in the other thread
            problems.append(problem)

    threads = [threading.Thread(target=own, args=(seed * 1000,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]


def test_a_hundred_thousand_operations(open_queue: Opener) -> None:
    """Of all kinds and random sizes, with random withdrawals, polling and sleeping: every one is accounted for."""
    queue, chance = open_queue(256), random.Random(11)
    texts = [words(size, size) for size in (0, 1, 20, 100, 300, 900, 3000)]
    packed = [zlib.compress(each) for each in texts]
    total, tag, gone, lost = 100_000, 0, 0, 0
    flying: dict[int, bytes | None] = {}
    end = time.monotonic() + PATIENCE
    while gone < total:
        burst: list[tuple[int, Operation]] = []
        while len(burst) < chance.randrange(64) and tag + len(burst) < total:
            number = tag + len(burst)
            match chance.randrange(10):
                case 0:
                    burst.append((number, Decompress(chance.choice(packed), "zlib")))
                case 1:
                    burst.append((number, Compress(chance.choice(texts), "zlib")))
                case 2:
                    burst.append((number, Decompress(b"nonsense", "zlib")))
                case 3:
                    burst.append((number, Compress(b"x", "none")))
                case _:
                    burst.append((number, Nop()))
        accepted = queue.enqueue_burst(burst)
        flying.update((number, None) for number, _ in burst[:accepted])
        tag += accepted
        if flying and chance.randrange(4) == 0:
            victim = chance.choice(list(flying))
            if queue.withdraw(victim):
                del flying[victim]
                gone += 1
        if flying and chance.randrange(3) == 0 and queue.arm():
            assert readable(queue, PATIENCE * 1000)
        for done in queue.dequeue_burst(64):
            lost += done.tag not in flying
            flying.pop(done.tag, None)
            gone += 1
        assert time.monotonic() < end, f"{gone} of {total}; {queue.statistics()}"
    assert lost == 0
    assert not flying
    statistics = queue.statistics()
    assert statistics.enqueued == total == statistics.dequeued + statistics.withdrawn
    assert statistics.in_flight == 0


def test_higher_priorities_come_first_and_none_starves() -> None:
    code = """
import threading, time
from tests.cpu.support import open_device, drain
from wdasync.errors import Status
from wdasync.operations import Compress, Priority
from wdasync_cpu import packages
order, gate = [], threading.Event()
def compress(operation, plan, stop):
    gate.wait()
    order.append(len(operation.source))
    return Status.SUCCESS, b"", 0, 0, False, None
device = open_device("standard library", threads=1)
packages.compress = compress
first = device.open_queue(1, Priority.HIGH)
first.enqueue_burst([(0, Compress(b"", "gzip"))])
while first.withdraw(0):
    first.enqueue_burst([(0, Compress(b"", "gzip"))])
    time.sleep(0.01)
queues = [device.open_queue(200, priority) for priority in Priority]
for queue, count, priority in zip(queues, (40, 40, 200), Priority):
    queue.enqueue_burst([(tag, Compress(bytes(1 + priority), "gzip")) for tag in range(count)])
gate.set()
for queue, count in zip(queues, (40, 40, 200)):
    drain(queue, count)
    queue.close()
drain(first, 1)
first.close()
print(*order[1:])
"""
    order = [int(word) - 1 for word in python(code).split()]
    assert len(order) == 280
    high, normal, low = Priority.HIGH, Priority.NORMAL, Priority.LOW
    ahead = order[:160]
    assert ahead.count(high) > 140, "HIGH does not come first"
    assert ahead.count(normal) >= 5, "NORMAL starves"
    assert ahead.count(low) >= 1, "LOW starves"
    rest = order[order[::-1].index(high) * -1 :] if order[-1] != high else []
    assert rest.count(normal) == 0 or rest.index(normal) < rest.index(low) + 3


def test_queues_of_one_priority_take_turns() -> None:
    code = """
import threading, time
from tests.cpu.support import open_device, drain
from wdasync.errors import Status
from wdasync.operations import Compress
from wdasync_cpu import packages
order, gate = [], threading.Event()
def compress(operation, plan, stop):
    gate.wait()
    order.append(len(operation.source))
    return Status.SUCCESS, b"", 0, 0, False, None
device = open_device("standard library", threads=1)
packages.compress = compress
queues = [device.open_queue(64) for _ in range(3)]
queues[0].enqueue_burst([(0, Compress(b"", "gzip"))])
time.sleep(0.1)
for number, queue in enumerate(queues):
    queue.enqueue_burst([(tag, Compress(bytes(number), "gzip")) for tag in range(1, 21)])
gate.set()
for queue, count in zip(queues, (21, 20, 20)):
    drain(queue, count)
    queue.close()
print(*order[1:])
"""
    order = [int(word) for word in python(code).split()]
    assert sorted(order[:30]) == [0] * 10 + [1] * 10 + [2] * 10


def test_nobody_did_what_was_refused(whole_queue: CpuQueue) -> None:
    (done,) = run(whole_queue, [Compress(b"x", "gzip", level=99)])
    assert done.detail.where == ""
