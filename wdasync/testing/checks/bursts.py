"""Bursts: what is accepted, what comes back, tags, depth, and the counters."""

from __future__ import annotations

import dataclasses

from ...backend import QueueStatistics
from ...errors import Status
from ...operations import Compress, Decompress, Kind, Nop, Operation
from .._bench import Bench, NotApplicable, Violation, Watched, require
from .._checks import check
from .._reference import Reference, reference, text

ENQUEUE = "Submit as many of ``entries`` as fit, in order."
EXACTLY_ONE = "Exactly one for each accepted entry, except after a true ``withdraw``."
DEQUEUE = "Take up to ``limit`` completions, oldest first."


def plain(bench: Bench, count: int, size: int = 700) -> list[Operation]:
    """Operations that this device can do; no two alike where they have content."""
    row = bench.row()
    if row.kind is Kind.NOP:
        return [Nop() for _ in range(count)]
    pieces = [text(size, seed) for seed in range(count)]
    if row.kind is Kind.COMPRESS:
        return [Compress(piece, row.algorithm) for piece in pieces]
    known = reference(row.algorithm)
    if known is None:
        raise NotApplicable(f"nobody else here knows {row.algorithm}")
    return [Decompress(known.compress(piece), row.algorithm) for piece in pieces]


def succeed(bench: Bench, queue: Watched, operations: list[Operation], **how: object) -> None:
    """Put them through, and see that all succeed."""
    for operation, completion in zip(operations, bench.run(queue, operations, **how), strict=True):  # type: ignore[arg-type]  # the keywords of run()
        require(
            completion.status is Status.SUCCESS,
            f"{operation!r} completed {completion.status.name}: {completion.detail.message or 'no message'}",
        )


def quiet(bench: Bench, queue: Watched, looks: int = 20) -> None:
    """See that nothing more comes."""
    for _ in range(looks):
        require(not queue.dequeue(16), "a completion came, and nothing was in flight")
        bench.pause()


@check("One finished operation.", EXACTLY_ONE, "A queue pair: requests in, completions out.")
def exactly_one_completion(bench: Bench) -> None:
    """Many operations in bursts: each tag comes back once, and nothing else does."""
    queue = bench.queue()
    succeed(bench, queue, plain(bench, 4 * queue.depth + 3))
    quiet(bench, queue)


@check("A poll-mode program never arms.", "Empty if there are none.")
def poll_mode(bench: Bench) -> None:
    """Without arm() or the descriptor, looking again is enough."""
    queue = bench.queue()
    require(len(queue.dequeue(8)) == 0, "a fresh queue gave completions")
    for operation in plain(bench, 40):
        succeed(bench, queue, [operation])


@check(
    ENQUEUE,
    "how many were accepted.",
    "How many operations may be in flight.",
)
def burst_is_accepted_in_order(bench: Bench) -> None:
    """Of a burst that does not fit, a prefix is accepted, and only that completes."""
    queue = bench.queue(depth=8)
    require(1 <= queue.depth <= 8, f"wished for a depth of 8, got {queue.depth}")
    entries = list(enumerate(plain(bench, 3 * queue.depth)))
    count = 0
    clock = bench.stopwatch()
    while count == 0:
        count = queue.enqueue(entries)
        require(not clock(), "an idle queue accepted nothing")
    tags = {completion.tag for completion in queue.drain()}
    require(tags == set(range(count)), f"{count} entries were accepted, and tags {sorted(tags)} completed")
    quiet(bench, queue)


@check(ENQUEUE)
def whole_depth_can_be_used(bench: Bench) -> None:
    """A queue whose completions nobody takes accepts as many as its depth, and no more."""
    queue = bench.queue(depth=16)
    entries = list(enumerate(plain(bench, queue.depth + 1)))
    queue.fill(entries[:-1])
    require(queue.enqueue(entries[-1:]) == 0, "accepted one more than its depth")
    queue.drain()


@check(DEQUEUE)
def limit_is_kept(bench: Bench) -> None:
    """dequeue_burst gives no more than its limit, which may be far below what is ready."""
    queue = bench.queue()
    operations = plain(bench, min(24, queue.depth))
    for limit in (1, 3):
        succeed(bench, queue, operations, limit=limit)
    queue.fill(list(enumerate(operations[:4])))
    require(len(queue.dequeue(0)) == 0, "dequeue_burst(0) gave something")
    queue.drain()


@check(DEQUEUE)
def oldest_first(bench: Bench) -> None:
    """A completion that waited before an operation was even submitted comes out before that operation's."""
    queue = bench.queue()
    operations = plain(bench, 2)
    for _ in range(10):
        queue.register()
        queue.fill([(1, operations[0])])
        while queue.doze():
            pass
        queue.fill([(2, operations[1])])
        bench.pause(0.002)
        first = queue.dequeue(1)
        require([found.tag for found in first] == [1], f"expected the completion that waited, got {first}")
        queue.drain()


@check("a tag is any int below 2**32 that is not in flight here", "the tag given to ``enqueue_burst``")
def tags_are_any_number(bench: Bench) -> None:
    """Extreme tags come back as they are, and may be used again at once."""
    queue = bench.queue()
    tags = [0, 1, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1]
    for _ in range(3):
        succeed(bench, queue, plain(bench, len(tags)), tags=tags)


@check(
    "An operation that the device cannot do is accepted, and completes INVALID_ARGS.",
    "lowest and highest level of the algorithm's own scale; a level outside is the caller's error",
)
def impossible_operations_complete(bench: Bench) -> None:
    """An unknown algorithm, level or window is accepted and completes INVALID_ARGS, among good ones."""
    queue = bench.queue()
    good = plain(bench, 6)
    bad: list[Operation] = [Compress(b"x", "no-such-algorithm"), Decompress(b"x", "no-such-algorithm")]
    row = bench.row()
    if row.kind is Kind.COMPRESS:
        bad.append(Compress(b"x", row.algorithm, level=row.scale[1] + 1))
        bad.append(Compress(b"x", row.algorithm, level=row.scale[0] - 1))
        bad.append(Compress(b"x", row.algorithm, window=row.window + 1))
        bad.append(Compress(b"x", row.algorithm, level="no such level"))
    mixed = [operation for pair in zip(good, bad, strict=False) for operation in pair]
    for operation, completion in zip(mixed, bench.run(queue, mixed), strict=True):
        expected = Status.INVALID_ARGS if operation in bad else Status.SUCCESS
        require(
            completion.status is expected,
            f"{operation!r} level={operation.level!r}: expected {expected.name}, got {completion.status.name}",
        )
    quiet(bench, queue)


@check(
    "Counters of one queue since it was opened.",
    "The counters, at any time, also after close.",
    "Whole numbers; they never go back.",
    "accepted, and not yet dequeued or withdrawn",
    "completions handed out",
)
def counters_agree(bench: Bench) -> None:
    """statistics() agrees with what its owner saw, while it works and after it was closed."""
    queue = bench.queue(depth=16)
    before = queue.statistics()
    enqueued = dequeued = 0
    for turn, operation in enumerate(plain(bench, 40)):
        enqueued += queue.enqueue([(enqueued, operation)])
        dequeued += len(queue.dequeue(1)) if turn % 2 else 0
        before = compare(before, queue.statistics(), enqueued, dequeued, queue.depth)
    dequeued += len(queue.drain())
    compare(before, queue.statistics(), enqueued, dequeued, queue.depth)
    queue.finish()
    compare(before, queue.raw.statistics(), enqueued, dequeued, queue.depth)


def compare(
    before: QueueStatistics, now: QueueStatistics, enqueued: int, dequeued: int, depth: int
) -> QueueStatistics:
    """See that ``now`` is what was counted outside, and that nothing went back."""
    expected = {"depth": depth, "enqueued": enqueued, "dequeued": dequeued, "in_flight": enqueued - dequeued}
    seen = {name: getattr(now, name) for name in expected}
    require(seen == expected, f"statistics: expected {expected}, got {seen}")
    for field in dataclasses.fields(now):
        old, new = getattr(before, field.name), getattr(now, field.name)
        if field.name not in ("in_flight", "extra"):
            require(type(new) is int and new >= old, f"statistics: {field.name} went from {old} to {new}")
    return now


@check("entries that did not fit")
def rejected_entries_are_counted(bench: Bench) -> None:
    """What did not fit is in the counters, and can be submitted again."""
    queue = bench.queue(depth=4)
    operations = plain(bench, 4 * queue.depth)
    accepted = queue.enqueue(list(enumerate(operations)))
    rejected = queue.statistics().rejected
    require(
        rejected == len(operations) - accepted,
        f"{len(operations) - accepted} entries did not fit, and rejected is {rejected}",
    )
    queue.drain()
    succeed(bench, queue, operations[accepted:])


@check("operations of one class share a queue", "One thread owns it, and no method of it waits.")
def twins_on_one_device(bench: Bench) -> None:
    """Two queues of one device with the same tags: each gets its own results, and one may end first."""
    queues = [bench.queue(), bench.queue()]
    row = bench.row()
    works = [plain(bench, 12), plain(bench, 12, 900)]
    for round_number in range(3):
        for queue, work in zip(queues, works, strict=True):
            queue.fill(list(enumerate(work[: queue.depth])))
        for queue, work in zip(queues, works, strict=True):
            for completion in queue.drain():
                require(
                    completion.status is Status.SUCCESS, f"round {round_number}: {completion.status.name}"
                )
                same_content(row.algorithm, work[completion.tag], completion.output)
    queues[0].finish()
    succeed(bench, queues[1], works[1])


def content_of(known: Reference, packed: bytes, what: str) -> bytes:
    """What somebody else makes of the device's output."""
    try:
        return known.decompress(packed)
    except ValueError as error:
        raise Violation(f"{what}: somebody else cannot decompress the output: {error}") from error


def same_content(algorithm: str, operation: Operation, output: bytes | None) -> None:
    """See that an output is that of this operation."""
    known = reference(algorithm)
    if known is None or output is None or not isinstance(operation.source, bytes):
        return
    if operation.kind is Kind.COMPRESS:
        require(
            content_of(known, output, repr(operation)) == operation.source,
            f"{operation!r}: the output is of something else",
        )
    else:
        require(
            known.decompress(operation.source) == output, f"{operation!r}: the output is of something else"
        )
