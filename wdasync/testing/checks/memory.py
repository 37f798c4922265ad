"""Memory: what a device may touch, and for how long it is held."""

from __future__ import annotations

import gc

from ...backend import Capability
from ...errors import Status
from ...operations import Compress, Decompress, Kind, Operation
from .._bench import Bench, NotApplicable, Watched, require
from .._checks import check, check_each
from .._reference import Reference, reference, samples, text
from .bursts import content_of

PINNED = "The queue keeps the operation, and so its buffers, alive until its completion was dequeued."
CALLERS = "the output, if the framework owns it and there is one; ``None`` with caller-owned memory"
GUARD = 64
MARK = 0xA5


def resizable(buffer: bytearray) -> bool:
    """Whether nobody holds on to the memory of this buffer."""
    try:
        buffer.append(0)
    except BufferError:
        return False
    return True


def held(buffers: list[bytearray], when: str) -> None:
    """See that all are held."""
    gc.collect()
    freed = [index for index, buffer in enumerate(buffers) if resizable(buffer)]
    require(
        not freed, f"{when}, the buffers of tags {freed} were let go, and their completions were not dequeued"
    )


def until_dequeued(bench: Bench, queue: Watched, buffers: list[bytearray]) -> None:
    """Follow buffers whose operations were just submitted."""
    held(buffers, "right after enqueue_burst")
    while queue.doze():
        pass
    held(buffers, "when completions appeared")
    queue.drain()
    gc.collect()
    kept = [index for index, buffer in enumerate(buffers) if not resizable(buffer)]
    require(not kept, f"the completions of tags {kept} were dequeued, and their buffers are still held")


@check(PINNED)
def input_is_held_until_dequeued(bench: Bench) -> None:
    """Its owner forgot the operation: the input cannot be resized before, and can be after, the completion."""
    row = bench.row(Kind.COMPRESS)
    queue = bench.queue(row)
    buffers = [bytearray(text(5000, seed)) for seed in range(min(8, queue.depth))]
    queue.fill([(tag, Compress(buffer, row.algorithm)) for tag, buffer in enumerate(buffers)])
    until_dequeued(bench, queue, buffers)


@check(PINNED)
def output_is_held_until_dequeued(bench: Bench) -> None:
    """The same for the memory that the caller gave for the output."""
    row = bench.row(Kind.COMPRESS)
    queue = bench.queue(row)
    buffers = [bytearray(8000) for _ in range(min(8, queue.depth))]
    data = text(5000)
    queue.fill([(tag, Compress(data, row.algorithm, into=buffer)) for tag, buffer in enumerate(buffers)])
    until_dequeued(bench, queue, buffers)


@check(PINNED)
def withdrawn_buffers_are_let_go(bench: Bench) -> None:
    """What was withdrawn is not held any longer."""
    row = bench.row(Kind.COMPRESS)
    queue = bench.queue(row)
    buffers = [bytearray(text(60_000, seed)) for seed in range(min(12, queue.depth))]
    queue.fill([(tag, Compress(buffer, row.algorithm, level="best")) for tag, buffer in enumerate(buffers)])
    withdrawn = [tag for tag in reversed(list(queue.flying)) if queue.withdraw(tag)]
    gc.collect()
    kept = [tag for tag in withdrawn if not resizable(buffers[tag])]
    queue.drain()
    if not withdrawn:
        raise NotApplicable("the device sees every operation at once, so none could be withdrawn")
    require(not kept, f"tags {kept} were withdrawn, and their buffers are still held")


class Guarded:
    """Memory for an output, in the middle of memory that nobody may touch."""

    def __init__(self, size: int) -> None:
        self._memory = bytearray([MARK]) * (size + 2 * GUARD)
        self._size = size

    @property
    def view(self) -> memoryview:
        return memoryview(self._memory)[GUARD : GUARD + self._size]

    def check(self, operation: Operation) -> None:
        around = self._memory[:GUARD] + self._memory[GUARD + self._size :]
        wrong = [index for index, byte in enumerate(around) if byte != MARK]
        require(
            not wrong, f"{operation!r} into {self._size} bytes wrote outside of them ({len(wrong)} bytes)"
        )


def into_sizes(
    bench: Bench, queue: Watched, make: list[tuple[Operation, Guarded, bytes, Reference | None]]
) -> None:
    """Run them; each either succeeds with the right content, or says that its memory was too small."""
    operations = [operation for operation, *_ in make]
    for (operation, guarded, expected, known), done in zip(make, bench.run(queue, operations), strict=True):
        guarded.check(operation)
        content = bytes(guarded.view[: done.produced]) if done.status is Status.SUCCESS else None
        if content is None:
            require(
                done.status in (Status.OUT_OF_SPACE_TERMINATED, Status.OUT_OF_SPACE_RECOVERABLE),
                f"{operation!r} into {len(guarded.view)} bytes completed {done.status.name}",
            )
        elif known is not None:
            content = content_of(known, content, repr(operation))
        require(content in (None, expected), f"{operation!r} into {len(guarded.view)} bytes: wrong content")


@check_each(
    Kind.COMPRESS,
    sentences=(CALLERS, "where the caller wants the output; ``None``: the framework owns the output"),
)
def compress_stays_inside(bench: Bench, row: Capability) -> None:
    """Compression into memory of any size, large enough or not, touches no byte around it."""
    queue = bench.queue(row)
    known = reference(row.algorithm)
    make: list[tuple[Operation, Guarded, bytes, Reference | None]] = []
    for data in (text(3000), samples()["random"][: row.max_input]):
        enough = len(data) + len(data) // 8 + 1024
        for size in (0, 1, 7, 8, 63, 64, 65, len(data) // 4, len(data), enough):
            guarded = Guarded(size)
            make.append((Compress(data, row.algorithm, into=guarded.view), guarded, data, known))
    into_sizes(bench, queue, [entry for entry in make if known or len(entry[1].view) < len(entry[2])])
    for data in (text(3000), samples()["random"][: row.max_input]):
        guarded = Guarded(len(data) + len(data) // 8 + 1024)
        (done,) = bench.run(queue, [Compress(data, row.algorithm, into=guarded.view)])
        require(done.status is Status.SUCCESS, f"memory is large enough, and it completed {done.status.name}")


@check_each(Kind.DECOMPRESS, sentences=(CALLERS,))
def decompress_stays_inside(bench: Bench, row: Capability) -> None:
    """Decompression into memory of any size touches no byte around it; exactly enough is enough."""
    known = reference(row.algorithm)
    if known is None:
        raise NotApplicable(f"nobody else here knows {row.algorithm}")
    queue = bench.queue(row)
    make: list[tuple[Operation, Guarded, bytes, Reference | None]] = []
    for data in (text(3000), bytes(10_000), samples()["random"]):
        packed = known.compress(data)
        for size in (0, 1, 63, 258, len(data) - 1, len(data), len(data) + 1, 2 * len(data)):
            guarded = Guarded(size)
            make.append((Decompress(packed, row.algorithm, into=guarded.view), guarded, data, None))
    into_sizes(bench, queue, make)
    data = text(3000)
    guarded = Guarded(len(data))
    (done,) = bench.run(queue, [Decompress(known.compress(data), row.algorithm, into=guarded.view)])
    require(done.status is Status.SUCCESS, f"memory is exactly enough, and it completed {done.status.name}")


@check_each(Kind.COMPRESS, Kind.DECOMPRESS, sentences=("the input: one segment, or a tuple of them",))
def input_is_left_alone(bench: Bench, row: Capability) -> None:
    """Nothing is written into the input, whether it is valid or not."""
    queue = bench.queue(row)
    known = reference(row.algorithm)
    data = text(5000)
    if row.kind is Kind.DECOMPRESS:
        if known is None:
            raise NotApplicable(f"nobody else here knows {row.algorithm}")
        data = known.compress(data)
    for content in (data, data[:-9], data[9:]):
        source = bytearray(content)
        make = Compress if row.kind is Kind.COMPRESS else Decompress
        bench.run(queue, [make(source, row.algorithm)])
        require(source == content, "the input has changed")
