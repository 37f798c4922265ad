"""One-shot work, for each row of the capability table: content, levels, windows, bounds, bad input."""

from __future__ import annotations

import itertools
import random

from ...backend import Capability, Completion
from ...errors import DataCause, Status
from ...operations import Chain, Compress, Decompress, Kind, Operation
from .._bench import Bench, NotApplicable, require
from .._checks import check_each
from .._reference import Reference, reference, samples, text
from .bursts import content_of

RULES = "``consumed`` and ``produced`` follow DPDK: on SUCCESS the input bytes used and the output bytes made"
TABLE = "One row of a capability table: one kind of operation on one algorithm."
FULL = (Status.OUT_OF_SPACE_TERMINATED, Status.OUT_OF_SPACE_RECOVERABLE)
BAD = (Status.DATA_ERROR, Status.CHECKSUM_FAILED)


def fitting(row: Capability) -> dict[str, bytes]:
    """The samples that this row takes."""
    return {
        name: data for name, data in samples().items() if row.max_input is None or len(data) <= row.max_input
    }


def known_or_not(row: Capability) -> Reference:
    """The reference for this row.

    :raises NotApplicable: if there is none
    """
    known = reference(row.algorithm)
    if known is None:
        raise NotApplicable(f"nobody else here knows {row.algorithm}")
    return known


def decoded(bench: Bench, row: Capability, packed: list[bytes]) -> list[bytes]:
    """Decode by somebody else; where nobody else can, by the device."""
    known = reference(row.algorithm)
    if known is not None:
        return [content_of(known, piece, row.algorithm) for piece in packed]
    other = bench.device.capabilities.find(Kind.DECOMPRESS, row.algorithm)
    if other is None:
        raise NotApplicable(f"nobody here can decompress {row.algorithm}")
    work = [Decompress(piece, row.algorithm) for piece in packed]
    return [done.output or b"" for done in bench.run(bench.queue(other), work)]


def success(operation: Operation, done: Completion) -> bytes:
    """The output of an operation that must have succeeded."""
    require(
        done.status is Status.SUCCESS,
        f"{operation!r} level={operation.level!r} completed {done.status.name}: {done.detail.message or 'no message'}",
    )
    return done.output or b""


@check_each(Kind.COMPRESS, sentences=(RULES, TABLE, "the part of the device that did the work"))
def compress_round_trip(bench: Bench, row: Capability) -> None:
    """What the device compresses, somebody else decompresses; sizes at every edge."""
    queue = bench.queue(row)
    contents = list(fitting(row).values())
    work = [Compress(data, row.algorithm) for data in contents]
    done = bench.run(queue, work)
    outputs = [success(operation, found) for operation, found in zip(work, done, strict=True)]
    for operation, found in zip(work, done, strict=True):
        require(found.consumed == operation.nbytes, f"{operation!r}: consumed is {found.consumed}")
    for name, data, content in zip(fitting(row), contents, decoded(bench, row, outputs), strict=True):
        require(content == data, f"{row.algorithm} of {name!r}: the round trip changed it")


@check_each(
    Kind.COMPRESS,
    sentences=(
        "the chain of which it is a step: its output goes into another operation; ``None``: none",
        "An output can still be reached, until ``end`` is called; at once, if nobody goes on with it.",
    ),
)
def steps_of_a_chain(bench: Bench, row: Capability) -> None:
    """A step of a chain has the same output as any other, and what is kept of it can be ended at any time, after the queue too."""
    data, chains = text(5000), [Chain(), Chain()]
    chains[1].close()
    queue = bench.queue(row)
    for chain in chains:
        operation = Compress(data, row.algorithm)
        operation.chain = chain
        (done,) = bench.run(queue, [operation])
        (content,) = decoded(bench, row, [success(operation, done)])
        require(content == data, f"{operation!r} of a chain: another output")
    require(not len(chains[1]), f"{row.algorithm}: something is kept for a chain that nobody goes on with")
    queue.finish()
    for chain in chains:
        try:
            chain.close()
        except Exception as error:  # noqa: BLE001  # whatever a backend raises
            require(False, f"{row.algorithm}: what was kept of a step cannot be ended: {error!r}")


@check_each(Kind.DECOMPRESS, sentences=(RULES, TABLE))
def decompress_round_trip(bench: Bench, row: Capability) -> None:
    """What somebody else compressed, the device decompresses."""
    known, queue = known_or_not(row), bench.queue(row)
    work = [Decompress(known.compress(data), row.algorithm) for data in samples().values()]
    work = [operation for operation in work if row.max_input is None or operation.nbytes <= row.max_input]
    for operation, done, (name, data) in zip(work, bench.run(queue, work), samples().items(), strict=False):
        require(success(operation, done) == data, f"{row.algorithm} of {name!r}: the content has changed")
        require(done.consumed == operation.nbytes, f"{operation!r}: consumed is {done.consumed}")


@check_each(Kind.COMPRESS, Kind.DECOMPRESS, sentences=("the input: one segment, or a tuple of them",))
def input_in_segments(bench: Bench, row: Capability) -> None:
    """An input in pieces, empty ones among them, is the input."""
    known, queue = known_or_not(row), bench.queue(row)
    content = text(20_000)
    data = content if row.kind is Kind.COMPRESS else known.compress(content)
    cuts = [0, 0, 1, 2, 2, len(data) // 2, len(data) - 1, len(data), len(data)]
    pieces = [data[start:end] for start, end in itertools.pairwise(cuts)]
    mixed = [bytearray(piece) if index % 2 else piece for index, piece in enumerate(pieces)]
    for source in (mixed, [data], [], [b""]):
        make = Compress if row.kind is Kind.COMPRESS else Decompress
        operation = make(source, row.algorithm)
        (done,) = bench.run(queue, [operation])
        if row.kind is Kind.COMPRESS:
            expected = content if operation.nbytes else b""
            require(known.decompress(success(operation, done)) == expected, "segments were joined wrongly")
        elif operation.nbytes:
            require(success(operation, done) == content, "segments were joined wrongly")
        else:
            require(done.status in BAD, f"no input at all completed {done.status.name}")


@check_each(
    Kind.COMPRESS,
    sentences=(
        "lowest and highest level that the device takes; other levels of the algorithm's own scale are mapped "
        "to the nearest and counted",
        'the level that ``"fast"`` means here',
        'the level that ``"balanced"`` means here',
        'the level that ``"best"`` means here',
        "operations whose level the device could not honour",
    ),
)
def every_level(bench: Bench, row: Capability) -> None:
    """Every level of the scale and every name works; those that the device maps are counted."""
    queue = bench.queue(row)
    data = text(4000)
    levels: list[str | int] = [*range(row.scale[0], row.scale[1] + 1), "fast", "balanced", "best"]
    work = [Compress(data, row.algorithm, level=level) for level in levels]
    outputs = [success(operation, done) for operation, done in zip(work, bench.run(queue, work), strict=True)]
    for level, content in zip(levels, decoded(bench, row, outputs), strict=True):
        require(content == data, f"level {level!r}: the round trip changed the content")
    mapped = sum(type(level) is int and row.level(level) != level for level in levels)
    counted = queue.statistics().levels_mapped
    require(counted == mapped, f"levels_mapped: {mapped} levels are outside {row.levels}, counted {counted}")


@check_each(
    Kind.COMPRESS,
    sentences=("base-2 logarithm of the largest history, in bytes, that the device makes and reads",),
)
def every_window(bench: Bench, row: Capability) -> None:
    """The largest window of the table works, a smaller one works or is INVALID_ARGS, a larger one is that."""
    queue = bench.queue(row)
    data = text(60_000)
    windows = [row.window, row.window - 1, row.window - 3, row.window + 1]
    work = [Compress(data, row.algorithm, window=window) for window in windows]
    done = bench.run(queue, work)
    success(work[0], done[0])
    good = [found.output or b"" for found in done if found.status is Status.SUCCESS]
    require(
        all(content == data for content in decoded(bench, row, good)), "the round trip changed the content"
    )
    for window, found in zip(windows, done, strict=True):
        allowed = [Status.INVALID_ARGS] if window > row.window else [Status.INVALID_ARGS, Status.SUCCESS]
        require(
            found.status in allowed, f"window {window} of at most {row.window} completed {found.status.name}"
        )


@check_each(
    Kind.COMPRESS,
    Kind.DECOMPRESS,
    sentences=(
        "longest input in bytes of one operation; ``None``: no limit",
        "longest output in bytes of one operation; ``None``: no limit",
    ),
)
def limits_of_the_table(bench: Bench, row: Capability) -> None:
    """An input longer than the table allows is INVALID_ARGS."""
    if row.max_input is None or row.max_input > 1 << 26:
        raise NotApplicable("no limit, or one of more than 64 MiB")
    make = Compress if row.kind is Kind.COMPRESS else Decompress
    (done,) = bench.run(bench.queue(row), [make(bytes(row.max_input + 1), row.algorithm)])
    require(done.status is Status.INVALID_ARGS, f"{row.max_input + 1} bytes completed {done.status.name}")


@check_each(Kind.DECOMPRESS, sentences=("bytes of output allowed; more is :exc:`~wdasync.LimitExceeded`",))
def output_is_bounded(bench: Bench, row: Capability) -> None:
    """max_length bytes may come out, and not one more; a small bound on a bomb costs no large memory."""
    known, queue = known_or_not(row), bench.queue(row)
    most = 1 << 20 if row.max_output is None else min(1 << 20, row.max_output)
    for data in (text(5000), bytes(most), b""):
        packed = known.compress(data)
        bounds = [len(data), len(data) + 1, len(data) - 1, len(data) // 2, 1, 0]
        bounds = [bound for bound in bounds if bound >= 0]
        work = [Decompress(packed, row.algorithm, max_length=bound) for bound in bounds]
        for bound, operation, done in zip(bounds, work, bench.run(queue, work), strict=True):
            if bound >= len(data):
                require(success(operation, done) == data, f"max_length={bound}: the content has changed")
            else:
                require(
                    done.status in FULL,
                    f"{len(data)} bytes with max_length={bound} completed {done.status.name}",
                )


@check_each(
    Kind.DECOMPRESS,
    sentences=(
        "concatenated members (gzip) or frames allowed",
        "Decompress one whole unit, its concatenated members",
    ),
)
def members_are_one_whole(bench: Bench, row: Capability) -> None:
    """Concatenated members are one whole, up to max_members of them."""
    known, queue = known_or_not(row), bench.queue(row)
    if not known.members:
        raise NotApplicable(f"{row.algorithm} has no members")
    parts = [text(3000, 1), b"", text(70_000, 2), b"x"]
    packed = b"".join(map(known.compress, parts))
    bounds = [4, 5, 1024, 3, 1]
    work = [Decompress(packed, row.algorithm, max_members=bound) for bound in bounds]
    for bound, operation, done in zip(bounds, work, bench.run(queue, work), strict=True):
        if bound >= len(parts):
            require(success(operation, done) == b"".join(parts), "members were joined wrongly")
        else:
            require(done.status in FULL, f"4 members with max_members={bound} completed {done.status.name}")


@check_each(
    Kind.COMPRESS,
    sentences=(
        "takes an operation with a dictionary, or a stream with one",
        "An operation that the device cannot do is accepted",
    ),
)
def a_dictionary_counts_or_is_refused(bench: Bench, row: Capability) -> None:
    """With a dictionary that has the content the output is shorter, and needs it again; without the capability: refused."""
    queue, content = bench.queue(row), random.Random(3).randbytes(3000)  # noqa: S311  reproducible on purpose
    plain, known = Compress(content, row.algorithm), Compress(content, row.algorithm, dictionary=content)
    without, done = bench.run(queue, [plain, known])
    if not row.dictionary:
        require(
            done.status is Status.INVALID_ARGS, f"a dictionary was given, and it completed {done.status.name}"
        )
        return
    packed = success(known, done)
    require(
        len(packed) < len(success(plain, without)) // 2, "the dictionary has the content, and it saved little"
    )
    back = bench.device.capabilities.find(Kind.DECOMPRESS, row.algorithm)
    if back is None or not back.dictionary:
        return
    again, missing = (
        Decompress(packed, row.algorithm, dictionary=content),
        Decompress(packed, row.algorithm),
    )
    found, lost = bench.run(bench.queue(back), [again, missing])
    require(success(again, found) == content, "with its dictionary, the content has changed")
    require(lost.status in BAD, f"without its dictionary, it completed {lost.status.name}")


def agree(bench: Bench, row: Capability, inputs: list[bytes], *, strict: bool) -> None:
    """The device decodes what the reference decodes, and refuses what that refuses.

    :param strict: False where decoders differ in what damage they notice: then refusing is not asked for
    """
    known, queue, algorithm = known_or_not(row), bench.queue(row), row.algorithm
    work = [Decompress(data, algorithm, max_length=1 << 20) for data in inputs]
    for data, done in zip(inputs, bench.run(queue, work), strict=True):
        try:
            expected = known.decompress(data)
        except ValueError as error:
            require(
                done.status in (*BAD, *FULL) or (not strict and done.status is Status.SUCCESS),
                f"{data[:40]!r} ({len(data)} bytes) is bad ({error}), and completed {done.status.name}",
            )
        else:
            if len(expected) <= 1 << 20:
                right = done.status is Status.SUCCESS and done.output == expected
                require(right, f"{data[:40]!r} ({len(data)} bytes) is good, and completed {done.status.name}")


@check_each(Kind.DECOMPRESS, sentences=("The input is not valid in its format.",))
def bad_input_is_an_error(bench: Bench, row: Capability) -> None:
    """Truncated, changed and foreign input: what somebody else refuses is refused; nothing hangs."""
    known = known_or_not(row)
    packed = known.compress(text(600))
    chance = random.Random(7)  # noqa: S311  reproducible on purpose
    cuts = sorted({*range(12), *range(0, len(packed), 17), len(packed) - 1})
    agree(bench, row, [packed[:cut] for cut in cuts] + [packed * 2, packed + b"?"], strict=True)
    inputs = []
    for _ in range(150):
        changed = bytearray(packed)
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        inputs.append(bytes(changed))
    inputs += [chance.randbytes(size) for size in (1, 2, 10, 18, 100, 1000, 5000)]
    inputs += [bytes(100), b"\xff" * 100, b"plain words, not compressed at all", packed[1:]]
    agree(bench, row, inputs, strict=known.checked)


@check_each(Kind.DECOMPRESS, sentences=("what is wrong with the data, where it is",))
def bad_input_has_a_cause(bench: Bench, row: Capability) -> None:
    """Truncation, trailing data, a wrong check value and a wrong format are told apart."""
    known, queue = known_or_not(row), bench.queue(row)
    packed = known.compress(text(600))
    cases = {
        DataCause.TRUNCATED: packed[:-5],
        DataCause.TRAILING_DATA: packed + b"something else",
        DataCause.CHECKSUM: packed[:-1] + bytes([packed[-1] ^ 0x55]),
        DataCause.WRONG_FORMAT: b"plain words, not compressed at all",
    }
    if not known.checked:
        del cases[DataCause.CHECKSUM], cases[DataCause.WRONG_FORMAT]
    if not known.exact:
        del cases[DataCause.TRAILING_DATA]
    work = [Decompress(data, row.algorithm) for data in cases.values()]
    for cause, done in zip(cases, bench.run(queue, work), strict=True):
        found = DataCause.CHECKSUM if done.status is Status.CHECKSUM_FAILED else done.detail.cause
        require(
            done.status in BAD and found is cause,
            f"{cause.value}: completed {done.status.name}, cause {found and found.value}",
        )


@check_each(Kind.DECOMPRESS, sentences=("An operation that the device cannot do is accepted",))
def good_survives_bad(bench: Bench, row: Capability) -> None:
    """Bad operations between good ones change nothing for the good ones."""
    known, queue = known_or_not(row), bench.queue(row)
    work, expected = [], []
    for seed in range(30):
        data = text(2000, seed)
        packed = known.compress(data)
        work += [Decompress(packed, row.algorithm), Decompress(packed[:-7], row.algorithm)]
        expected += [data, None]
    for operation, content, done in zip(work, expected, bench.run(queue, work), strict=True):
        if content is None:
            require(done.status in BAD, f"truncated input completed {done.status.name}")
        else:
            require(success(operation, done) == content, "good content has changed")
