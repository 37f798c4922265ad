"""Sessions: state that outlives an operation, one operation of it in flight."""

from __future__ import annotations

from ...backend import Capability, Completion, Direction, Session, StreamSpec
from ...errors import Status, UnsupportedOperation
from ...operations import CompressChunk, DecompressChunk, Flush, Kind, Operation
from .._bench import Bench, NotApplicable, Violation, Watched, require
from .._checks import check, check_each
from .._reference import text
from .units import decoded, known_or_not

STATE = "State on a device that outlives an operation."
ONE = "At most one operation of it is in flight."
RESET = "Go back to the state just after opening."


def opened(bench: Bench, row: Capability, **spec: str | int) -> Session:
    """A stream for this row."""
    direction = Direction.COMPRESS if row.kind is Kind.COMPRESS_CHUNK else Direction.DECOMPRESS
    session = bench.session(StreamSpec(direction, row.algorithm, **spec))  # type: ignore[arg-type]  # its fields
    require(
        session.spec.kind is row.kind and session.spec.algorithm == row.algorithm, f"spec is {session.spec}"
    )
    return session


def step(bench: Bench, queue: Watched, operation: Operation) -> Completion:
    """One step that must succeed."""
    (done,) = bench.run(queue, [operation])
    require(
        done.status is Status.SUCCESS,
        f"{operation!r} completed {done.status.name}: {done.detail.message or 'no message'}",
    )
    return done


def squeeze(
    bench: Bench, queue: Watched, session: Session, pieces: list[bytes], flush: Flush = Flush.NONE
) -> bytes:
    """A whole stream: the pieces with that flush, then the end."""
    packed = b""
    for piece in pieces:
        done = step(bench, queue, CompressChunk(session, piece, flush))
        require(done.consumed == len(piece), f"consumed {done.consumed} of {len(piece)} bytes")
        packed += done.output or b""
    done = step(bench, queue, CompressChunk(session, b"", Flush.FINISH))
    require(done.detail.final, "the last step is not marked final")
    return packed + (done.output or b"")


def expand(
    bench: Bench, queue: Watched, session: Session, data: bytes, most: int = 1 << 20
) -> tuple[bytes, int]:
    """A whole stream, at most ``most`` bytes a step: its content, and how much of ``data`` it used."""
    content, position, idle = b"", 0, 0
    while True:
        done = step(bench, queue, DecompressChunk(session, data[position:], most))
        output = done.output or b""
        require(len(output) <= most, f"{len(output)} bytes came out of a step of at most {most}")
        content += output
        position += done.consumed
        if done.detail.final:
            return content, position
        idle = 0 if output or done.consumed else idle + 1
        if idle > 3:
            raise Violation(
                f"the stream does not end: {position} of {len(data)} bytes used, nothing comes out"
            )


@check_each(
    Kind.COMPRESS_CHUNK,
    sentences=(
        STATE,
        "Open a stream.",
        "What was asked for when it was opened.",
        "the stream ended with this step",
    ),
)
def stream_compresses(bench: Bench, row: Capability) -> None:
    """Pieces of any size, with each kind of flush, are one whole that somebody else decompresses."""
    queue = bench.queue(row)
    pieces = [text(size, size) for size in (0, 1, 5000, 0, 70_000, 17)]
    for flush in (Flush.NONE, Flush.SYNC, Flush.FULL):
        packed = squeeze(bench, queue, opened(bench, row), pieces, flush)
        require(
            decoded(bench, row, [packed]) == [b"".join(pieces)],
            f"flush {flush.name}: the content has changed",
        )
    levels: list[str | int] = ["fast", "best", row.scale[0], row.scale[1]]
    for level in levels:
        packed = squeeze(bench, queue, opened(bench, row, level=level), pieces)
        require(
            decoded(bench, row, [packed]) == [b"".join(pieces)], f"level {level!r}: the content has changed"
        )


@check_each(
    Kind.COMPRESS_CHUNK,
    sentences=(
        "All input so far becomes decodable; the output ends on a byte boundary with an empty stored block.",
    ),
)
def flush_lets_all_out(bench: Bench, row: Capability) -> None:
    """After a sync or a full flush, what came out so far holds all that went in."""
    other = bench.device.capabilities.find(Kind.DECOMPRESS_CHUNK, row.algorithm)
    if other is None:
        raise NotApplicable(f"the device cannot decompress a stream of {row.algorithm}")
    for flush in (Flush.SYNC, Flush.FULL):
        queue, back = bench.queue(row), bench.queue(other)
        session, decoder = opened(bench, row), opened(bench, other)
        for seed in range(4):
            piece = text(3000, seed)
            done = step(bench, queue, CompressChunk(session, piece, flush))
            out = step(bench, back, DecompressChunk(decoder, done.output or b""))
            require(
                out.output == piece, f"{flush.name}: {len(out.output or b'')} of {len(piece)} bytes came out"
            )


@check_each(
    Kind.DECOMPRESS_CHUNK,
    sentences=(
        STATE,
        "The completion's ``consumed`` says how much of ``data`` was used: less than all of it when ``max_length`` "
        "was reached (give the rest again) or when the stream ended inside ``data``.",
    ),
)
def stream_decompresses(bench: Bench, row: Capability) -> None:
    """Any cut of the input and any bound on the output give the content; the end is told, and where it was."""
    known, queue = known_or_not(row), bench.queue(row)
    content = text(50_000)
    packed = known.compress(content)
    for most in (1000, 4096, 1 << 20):
        found, used = expand(bench, queue, opened(bench, row), packed, most)
        require(found == content and used == len(packed), f"at most {most} a step: the content has changed")
    session, parts = opened(bench, row), b""
    for start in range(0, len(packed), 997):
        done = step(bench, queue, DecompressChunk(session, packed[start : start + 997]))
        parts += done.output or b""
        require(
            done.detail.final == (start + 997 >= len(packed)), "the end was told too early, or not at all"
        )
    require(parts == content, "in pieces, the content has changed")


@check_each(Kind.DECOMPRESS_CHUNK, sentences=("or when the stream ended inside ``data``",))
def stream_ends_inside(bench: Bench, row: Capability) -> None:
    """What follows the end of a stream is not consumed."""
    known, queue = known_or_not(row), bench.queue(row)
    if not known.exact:
        raise NotApplicable(f"libraries for {row.algorithm} do not tell where a stream ended")
    content = text(3000)
    packed = known.compress(content)
    for rest in (b"?", packed):
        found, used = expand(bench, queue, opened(bench, row), packed + rest)
        require(found == content, "the content has changed")
        require(used == len(packed), f"the stream has {len(packed)} bytes, and {used} were consumed")


@check_each(
    Kind.DECOMPRESS_CHUNK,
    sentences=(
        "Of a decompressing stream: the step in which a unit (member, frame) ends says ``detail.final``.",
        "A later step with more input begins the next member, where the format has members (gzip, RFC 1952 section "
        "2.2) and what follows is one.",
        "Otherwise it succeeds, consumes and produces nothing, and says ``final`` again: the input is not the "
        "stream's.",
    ),
)
def stream_goes_on_with_members(bench: Bench, row: Capability) -> None:
    """After the end of a unit the next member begins, if there is one; other input is left alone."""
    known, queue, session = known_or_not(row), bench.queue(row), opened(bench, row)
    contents = [text(size, size) for size in (3000, 1, 40_000)]
    for content in contents if known.members else contents[:1]:
        packed = known.compress(content)
        found, used = expand(bench, queue, session, packed)
        require(found == content and used == len(packed), "the content of a member has changed")
    for rest in (b"", b"no member", b"\x00" * 50):
        done = step(bench, queue, DecompressChunk(session, rest))
        seen = (done.consumed, done.produced, done.detail.final)
        require(seen == (0, 0, True), f"after the end, {rest!r}: consumed, produced and final are {seen}")


@check_each(
    Kind.COMPRESS_CHUNK,
    Kind.DECOMPRESS_CHUNK,
    sentences=(RESET, "The session is in a state in which this operation is not allowed."),
)
def reset_begins_anew(bench: Bench, row: Capability) -> None:
    """After its end a stream refuses, after reset() it begins anew: at any point, many times."""
    queue, session = bench.queue(row), opened(bench, row)
    for _ in range(3):
        whole(bench, queue, session)
        if row.kind is Kind.COMPRESS_CHUNK:
            (done,) = bench.run(queue, [chunk(session, b"more")])
            require(done.status is Status.INVALID_STATE, f"a step after the end completed {done.status.name}")
        session.reset()
        step(bench, queue, chunk(session, beginning(row)))
        session.reset()
    whole(bench, queue, session)


def chunk(session: Session, data: bytes) -> Operation:
    """A step that does not end the stream by itself."""
    if session.spec.direction is Direction.COMPRESS:
        return CompressChunk(session, data)
    return DecompressChunk(session, data)


def beginning(row: Capability) -> bytes:
    """Input that a stream of this row takes as its first, and that does not end it."""
    data = text(2000)
    return data if row.kind is Kind.COMPRESS_CHUNK else known_or_not(row).compress(data)[:200]


def whole(bench: Bench, queue: Watched, session: Session) -> None:
    """Take a stream from its start to its end, and compare."""
    content = text(8000, 5)
    row = bench.device.capabilities.find(session.spec.kind, session.spec.algorithm)
    if row is None:
        raise Violation(f"the table has no row for {session.spec}")
    if session.spec.direction is Direction.COMPRESS:
        packed = squeeze(bench, queue, session, [content])
        require(decoded(bench, row, [packed]) == [content], "the content has changed")
    else:
        found, _ = expand(bench, queue, session, known_or_not(row).compress(content))
        require(found == content, "the content has changed")


@check_each(Kind.DECOMPRESS_CHUNK, sentences=(RESET, "The input is not valid in its format."))
def broken_stream_can_be_reset(bench: Bench, row: Capability) -> None:
    """Bad data in a stream is an error; a reset makes it usable again."""
    known, queue, session = known_or_not(row), bench.queue(row), opened(bench, row)
    packed = bytearray(known.compress(text(5000)))
    packed[: len(packed) // 2] = b"\xff" * (len(packed) // 2)
    (done,) = bench.run(queue, [DecompressChunk(session, bytes(packed))])
    require(
        done.status in (Status.DATA_ERROR, Status.CHECKSUM_FAILED),
        f"bad data in a stream completed {done.status.name}",
    )
    session.reset()
    whole(bench, queue, session)


@check_each(Kind.COMPRESS_CHUNK, Kind.DECOMPRESS_CHUNK, sentences=(STATE, "State on a device"))
def streams_do_not_mix(bench: Bench, row: Capability) -> None:
    """Several streams in turn on one queue, and one stream on two queues in turn, keep their states apart."""
    if row.kind is Kind.DECOMPRESS_CHUNK:
        known = known_or_not(row)
        inputs = [known.compress(text(9000, seed)) for seed in range(3)]
    else:
        inputs = [text(9000, seed) for seed in range(3)]
    queues = [bench.queue(row), bench.queue(row)]
    sessions = [opened(bench, row) for _ in inputs]
    outputs = [b""] * len(inputs)
    for turn, start in enumerate(range(0, max(map(len, inputs)), 700)):
        for index, session in enumerate(sessions):
            if start < len(inputs[index]):
                done = step(bench, queues[turn % 2], chunk(session, inputs[index][start : start + 700]))
                outputs[index] += done.output or b""
    if row.kind is Kind.COMPRESS_CHUNK:
        for index, session in enumerate(sessions):
            outputs[index] += squeeze(bench, queues[0], session, [])
        outputs = decoded(bench, row, outputs)
    require(outputs == [text(9000, seed) for seed in range(3)], "streams have mixed")


@check_each(
    Kind.COMPRESS_CHUNK, Kind.DECOMPRESS_CHUNK, sentences=(ONE, "Only while nothing of it is in flight.")
)
def second_step_in_flight(bench: Bench, row: Capability) -> None:
    """Two steps at once: each completes once, the second in order or as INVALID_STATE; a reset cures it."""
    queue, session = bench.queue(row), opened(bench, row)
    queue.fill([(1, chunk(session, beginning(row))), (2, chunk(session, b""))])
    done = {completion.tag: completion for completion in queue.drain()}
    allowed = (Status.SUCCESS, Status.INVALID_STATE)
    strange = {tag: found.status.name for tag, found in done.items() if found.status not in allowed}
    require(not strange, f"two steps in flight completed {strange}")
    session.reset()
    whole(bench, queue, session)


@check_each(Kind.COMPRESS_CHUNK, Kind.DECOMPRESS_CHUNK, sentences=("Give back what it holds.",))
def closed_stream_refuses(bench: Bench, row: Capability) -> None:
    """A step of a stream that was closed completes with an error."""
    queue, session = bench.queue(row), opened(bench, row)
    step(bench, queue, chunk(session, beginning(row)))
    session.close()
    (done,) = bench.run(queue, [chunk(session, b"more")])
    require(
        done.status in (Status.INVALID_STATE, Status.INVALID_ARGS),
        f"a step of a closed stream completed {done.status.name}",
    )


@check_each(Kind.COMPRESS_CHUNK, Kind.DECOMPRESS_CHUNK, sentences=(RESET,))
def interrupted_stream_can_be_reset(bench: Bench, row: Capability) -> None:
    """A step that was withdrawn or aborted leaves a stream that reset() makes usable, on another queue."""
    session = opened(bench, row)
    queue = bench.queue(row)
    queue.fill([(1, chunk(session, beginning(row)))])
    queue.withdraw(1)
    queue.drain()
    session.reset()
    queue.fill([(1, chunk(session, beginning(row)))])
    queue.finish()
    session.reset()
    whole(bench, bench.queue(row), session)


@check("if the device has no such stream")
def unknown_stream_is_refused(bench: Bench) -> None:
    """open_session() refuses an algorithm that is not in the table."""
    for direction in Direction:
        try:
            session = bench.device.open_session(StreamSpec(direction, "no-such-algorithm"))
        except UnsupportedOperation:
            continue
        raise Violation(f"expected UnsupportedOperation, got {session!r}")
