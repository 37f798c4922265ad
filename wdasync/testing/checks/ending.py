"""Ends: of one operation (withdraw), of a queue (stop, close), of a device."""

from __future__ import annotations

import threading
from pathlib import Path

from ...backend import Completion
from ...errors import Status
from ...operations import Compress, Kind, Operation
from .._bench import Bench, NotApplicable, Violation, Watched, require
from .._checks import check
from .._reference import text
from .bursts import plain, quiet, succeed

WITHDRAW = "True: the device never saw it, and no completion follows."
STOP = "What is not finished completes as ABORTED, without being waited for."
CLOSED = "Afterwards the device touches no memory of an operation."


def heavy(bench: Bench, count: int) -> list[Operation]:
    """Operations that take long enough to be caught at work."""
    row = bench.row()
    if row.kind is not Kind.COMPRESS:
        return plain(bench, count, 20_000)
    size = min(60_000, row.max_input or 60_000)
    return [Compress(text(size, seed), row.algorithm, level="best") for seed in range(count)]


@check(WITHDRAW, "Take an operation back.", "true ``withdraw`` calls", "except after a true ``withdraw``")
def withdrawn_is_gone(bench: Bench) -> None:
    """After a true withdraw() no completion comes; after a false one, exactly one."""
    queue = bench.queue()
    for _ in range(3):
        queue.fill(list(enumerate(heavy(bench, min(12, queue.depth)))))
        for tag in reversed(list(queue.flying)):
            queue.withdraw(tag)
        queue.drain()
        quiet(bench, queue)
    statistics = queue.statistics()
    require(statistics.in_flight == 0, f"nothing is in flight, and in_flight is {statistics.in_flight}")
    require(
        statistics.enqueued == statistics.dequeued + statistics.withdrawn,
        f"enqueued is not the sum of dequeued and withdrawn: {statistics}",
    )


@check(WITHDRAW, "Take an operation back.")
def withdraw_knows_its_tags(bench: Bench) -> None:
    """A tag that is not in flight, or no longer, cannot be withdrawn."""
    queue = bench.queue()
    require(not queue.withdraw(7), "withdraw() of a tag that never was is True")
    succeed(bench, queue, plain(bench, 3))
    require(not queue.withdraw(1), "withdraw() of a tag that was dequeued is True")


@check(WITHDRAW)
def withdrawn_tag_is_free(bench: Bench) -> None:
    """The place and the tag of what was withdrawn can be used again at once."""
    queue = bench.queue(depth=8)
    operations = heavy(bench, queue.depth)
    queue.fill(list(enumerate(operations)))
    freed = [tag for tag in reversed(list(queue.flying)) if queue.withdraw(tag)]
    if not freed:
        queue.drain()
        raise NotApplicable("the device sees every operation at once, so none could be withdrawn")
    queue.fill([(tag, operations[tag]) for tag in freed])
    tags = sorted(completion.tag for completion in queue.drain())
    require(tags == list(range(queue.depth)), f"expected each tag once, got {tags}")


def ended(bench: Bench, queue: Watched) -> list[Completion]:
    """What comes out of a stopped queue, each a success or ABORTED."""
    completions = queue.drain()
    strange = [found for found in completions if found.status not in (Status.SUCCESS, Status.ABORTED)]
    require(not strange, f"after stop() expected SUCCESS or ABORTED, got {strange[:1]}")
    quiet(bench, queue)
    return completions


@check(
    STOP,
    "Begin to stop; never blocks.",
    "Completions can still be dequeued; nothing can be enqueued (``enqueue_burst`` returns 0).",
)
def stop_ends_all(bench: Bench) -> None:
    """Everything in flight ends, finished or ABORTED, exactly once; nothing new is accepted."""
    queue = bench.queue()
    work = heavy(bench, min(12, queue.depth))
    queue.fill(list(enumerate(work)))
    queue.stop()
    require(queue.enqueue([(1000, work[0])]) == 0, "a stopped queue accepted an operation")
    require(len(ended(bench, queue)) == len(work), "stop() lost operations")
    queue.stop()
    require(queue.enqueue([(1000, work[0])]) == 0, "a stopped queue accepted an operation")


@check(STOP)
def stop_wakes_the_sleeper(bench: Bench) -> None:
    """An owner who armed before stop() hears of what stop() completed."""
    queue = bench.queue()
    queue.register()
    work = heavy(bench, min(8, queue.depth))
    queue.fill(list(enumerate(work)))
    asleep = queue.arm()
    queue.stop()
    if asleep and not queue.readable(bench.patience):
        raise Violation(f"armed, then stopped, and the descriptor was not readable within {bench.patience} s")
    queue.drain()


@check("Idempotent.", "May block, so it runs in a thread.", "Nothing is in flight any more.")
def close_is_idempotent(bench: Bench) -> None:
    """A stopped and emptied queue can be closed in another thread, twice; an unused one as well."""
    used, unused = bench.queue(), bench.queue()
    succeed(bench, used, plain(bench, 10))
    for queue in (used, unused):
        queue.stop()
        queue.drain()
        for _ in range(2):
            in_a_thread(bench, queue)


def in_a_thread(bench: Bench, queue: Watched) -> None:
    """Close the queue in a thread."""
    problems: list[BaseException] = []

    def close() -> None:
        try:
            queue.close()
        except BaseException as problem:  # noqa: BLE001  it is raised in the other thread
            problems.append(problem)

    thread = threading.Thread(target=close, daemon=True)
    thread.start()
    clock = bench.stopwatch()
    while thread.is_alive():
        if clock():
            raise Violation(f"close() did not return within {bench.patience} s")
        bench.pause()
    if problems:
        raise problems[0]


@check(CLOSED)
def closed_queue_touches_no_memory(bench: Bench) -> None:
    """Of operations that were at work when the queue was stopped, no byte changes after close()."""
    row = bench.row(Kind.COMPRESS)
    queue = bench.queue(row)
    size = min(100_000, row.max_input or 100_000)
    buffers = [bytearray(2 * size) for _ in range(min(8, queue.depth))]
    entries: list[tuple[int, Operation]] = [
        (tag, Compress(text(size, tag), row.algorithm, level="best", into=buffer))
        for tag, buffer in enumerate(buffers)
    ]
    queue.fill(entries)
    queue.stop()
    queue.drain()
    in_a_thread(bench, queue)
    before = [bytes(buffer) for buffer in buffers]
    bench.pause(0.05)
    changed = [tag for tag, buffer in enumerate(buffers) if before[tag] != buffer]
    require(not changed, f"after close() the device still wrote for tags {changed}")


@check("Give everything back.")
def closed_queues_leave_no_descriptor(bench: Bench) -> None:
    """Opening and closing queues many times leaves no descriptor behind."""
    operations = plain(bench, 2)

    def once() -> None:
        queue = bench.queue(depth=8)
        succeed(bench, queue, operations)
        queue.finish()

    once()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(10):
        once()
    after = len(list(Path("/proc/self/fd").iterdir()))
    require(after < before + 10, f"{before} descriptors were open, and after 10 queues {after}")
