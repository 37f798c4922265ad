"""Streams: state in a worker between steps, every flush, members, back-pressure, errors and resets."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.cpu.support import WBITS, expand, good, noise, pack, run, squeeze, unpack, words
from wdasync.backend import Completion, DataCause, Direction, Status, StreamSpec
from wdasync.errors import UnsupportedOperation
from wdasync.operations import CompressChunk, DecompressChunk, Flush, Kind
from wdasync_cpu.codecs import ALGORITHMS
from wdasync_cpu.devices import CpuDevice
from wdasync_cpu.queues import CpuQueue
from wdasync_cpu.sessions import CpuSession

PIECES = [b"", b"a", words(5000), b"", words(90_000, 2), noise(300), words(17)]


def algorithms(device: CpuDevice, kind: Kind) -> list[str]:
    return [row.algorithm for row in device.capabilities if row.kind is kind]


def compressor(device: CpuDevice, algorithm: str, **spec: str | int) -> CpuSession:
    return device.open_session(StreamSpec(Direction.COMPRESS, algorithm, **spec))  # type: ignore[arg-type]  # its fields


def decompressor(device: CpuDevice, algorithm: str) -> CpuSession:
    return device.open_session(StreamSpec(Direction.DECOMPRESS, algorithm))


@pytest.mark.parametrize("flush", [Flush.NONE, Flush.SYNC, Flush.FULL])
def test_every_flush(queue: CpuQueue, device: CpuDevice, flush: Flush) -> None:
    for algorithm in algorithms(device, Kind.COMPRESS_CHUNK):
        for level in ("fast", 2, "balanced"):
            session = compressor(device, algorithm, level=level)
            outputs = squeeze(queue, session, [(piece, flush) for piece in PIECES] + [(b"", Flush.FINISH)])
            assert unpack(b"".join(outputs), algorithm) == b"".join(PIECES)
            session.close()


def test_every_level(queue: CpuQueue, device: CpuDevice) -> None:
    for algorithm in algorithms(device, Kind.COMPRESS_CHUNK):
        low, high = ALGORITHMS[algorithm].scale
        for level in (*range(low, high + 1), "best"):
            session = compressor(device, algorithm, level=level)
            outputs = squeeze(queue, session, [(words(9000), Flush.NONE), (words(9000, 1), Flush.FINISH)])
            assert unpack(b"".join(outputs), algorithm) == words(9000) + words(9000, 1)
            session.close()


def test_what_was_flushed_can_be_decoded(queue: CpuQueue, device: CpuDevice) -> None:
    for algorithm in algorithms(device, Kind.COMPRESS_CHUNK):
        for flush in (Flush.SYNC, Flush.FULL):
            session, back = compressor(device, algorithm), decompressor(device, algorithm)
            for seed in range(4):
                (out,) = squeeze(queue, session, [(words(3000, seed), flush)])
                assert good(run(queue, [DecompressChunk(back, out)])[0]) == words(3000, seed)


@pytest.mark.parametrize("algorithm", ["gzip", "zlib", "deflate"])
@pytest.mark.parametrize("level", [1, 2, 6])
def test_flushes_end_on_a_byte(queue: CpuQueue, device: CpuDevice, algorithm: str, level: int) -> None:
    """RFC 1951 section 3.2.4: an empty stored block ends with its length and the complement of that."""
    session = compressor(device, algorithm, level=level)
    for flush in (Flush.SYNC, Flush.FULL):
        (out,) = squeeze(queue, session, [(words(500), flush)])
        assert out.endswith(b"\x00\x00\xff\xff")


@pytest.mark.parametrize("level", [1, 2, 6])
def test_after_a_full_flush_decoding_can_begin(queue: CpuQueue, device: CpuDevice, level: int) -> None:
    session = compressor(device, "deflate", level=level)
    squeeze(queue, session, [(words(5000), Flush.FULL)])
    outputs = squeeze(queue, session, [(words(5000), Flush.NONE), (b"", Flush.FINISH)])
    assert zlib.decompress(b"".join(outputs), -15) == words(5000)


def test_the_last_step_says_so_and_nothing_follows(queue: CpuQueue, device: CpuDevice) -> None:
    for algorithm in algorithms(device, Kind.COMPRESS_CHUNK):
        session = compressor(device, algorithm)
        (done,) = run(queue, [CompressChunk(session, b"all", Flush.FINISH)])
        assert done.detail.final
        assert unpack(good(done), algorithm) == b"all"
        (done,) = run(queue, [CompressChunk(session, b"more", Flush.NONE)])
        assert done.status is Status.INVALID_STATE
        session.reset()
        (done,) = run(queue, [CompressChunk(session, b"anew", Flush.FINISH)])
        assert unpack(good(done), algorithm) == b"anew"


def test_segments(queue: CpuQueue, device: CpuDevice) -> None:
    content = words(30_000)
    for algorithm in algorithms(device, Kind.COMPRESS_CHUNK):
        session = compressor(device, algorithm)
        (done,) = run(
            queue, [CompressChunk(session, [content[:100], b"", bytearray(content[100:])], Flush.FINISH)]
        )
        assert done.consumed == len(content)
        packed = good(done)
        assert unpack(packed, algorithm) == content
        back = decompressor(device, algorithm)
        (done,) = run(queue, [DecompressChunk(back, [b"", packed[:7], packed[7:]])])
        assert (good(done), done.consumed, done.detail.final) == (content, len(packed), True)


@pytest.mark.parametrize("most", [1, 100, 4096, 1 << 20])
def test_output_in_pieces(queue: CpuQueue, device: CpuDevice, most: int) -> None:
    content = words(most * 30) + bytes(most * 70) if most < 4096 else words(3000) + bytes(200_000)
    for algorithm in algorithms(device, Kind.DECOMPRESS_CHUNK):
        packed = pack(content, algorithm)
        found = expand(queue, decompressor(device, algorithm), packed, most)
        assert found == (content, len(packed), True)


@pytest.mark.parametrize("cut", [1, 7, 1000])
def test_input_in_pieces(queue: CpuQueue, device: CpuDevice, cut: int) -> None:
    content = words(2000)
    for algorithm in algorithms(device, Kind.DECOMPRESS_CHUNK):
        packed, session, found = pack(content, algorithm), decompressor(device, algorithm), b""
        for start in range(0, len(packed), cut):
            piece = packed[start : start + cut]
            (done,) = run(queue, [DecompressChunk(session, piece)])
            found += good(done)
            assert done.consumed == len(piece)
            assert done.detail.final == (start + cut >= len(packed))
        assert found == content


def test_the_end_of_a_unit_ends_the_step(queue: CpuQueue, device: CpuDevice) -> None:
    for algorithm in set(algorithms(device, Kind.DECOMPRESS_CHUNK)) - {"br"}:
        packed = pack(b"content", algorithm)
        session = decompressor(device, algorithm)
        (done,) = run(queue, [DecompressChunk(session, packed + b"rest")])
        assert (good(done), done.consumed, done.detail.final) == (b"content", len(packed), True)
        for rest in (b"rest", b"", bytes(50)):
            (done,) = run(queue, [DecompressChunk(session, rest)])
            assert (good(done), done.consumed, done.detail.final) == (b"", 0, True)


#: What comes after the end of a gzip member and is not the next one's beginning. Padding with zeros is the framework's to skip.
NO_MEMBER: list[bytes | list[bytes]] = [
    b"",
    b"rest",
    bytes(50),
    bytes(3) + gzip.compress(b"later", mtime=0),
    b"\x1f\x1f",
    [b"\x1f", b"\x8c"],
    [b"", b"x"],
    [b"", b""],
]


@pytest.mark.parametrize("rest", NO_MEMBER)
def test_what_is_no_member_is_left_alone(
    queue: CpuQueue, device: CpuDevice, rest: bytes | list[bytes]
) -> None:
    session = decompressor(device, "gzip")
    expand(queue, session, gzip.compress(b"first"))
    for _ in range(2):
        (done,) = run(queue, [DecompressChunk(session, rest)])
        assert (good(done), done.consumed, done.detail.final) == (b"", 0, True)
    assert expand(queue, session, gzip.compress(b"second"))[0] == b"second"


@pytest.mark.parametrize("second", [[b"\x1f", b"\x8b"], [b"", b"\x1f\x8b"], [b"\x1f\x8b", b""], [b"\x1f"]])
def test_what_may_be_a_member_begins_one(queue: CpuQueue, device: CpuDevice, second: list[bytes]) -> None:
    session, packed = decompressor(device, "gzip"), gzip.compress(b"second")
    expand(queue, session, gzip.compress(b"first"))
    (done,) = run(queue, [DecompressChunk(session, second)])
    size = len(b"".join(second))
    assert (good(done), done.consumed, done.detail.final) == (b"", size, False)
    assert expand(queue, session, packed[size:]) == (b"second", len(packed) - size, True)


@pytest.mark.parametrize("most", [1, 49, 50, 51, 1 << 20])
@pytest.mark.parametrize("rest", [b"r", b"the rest", bytes(1000), gzip.compress(b"later", mtime=0)])
def test_output_in_pieces_takes_nothing_of_what_follows(
    queue: CpuQueue, device: CpuDevice, most: int, rest: bytes
) -> None:
    content = words(100)
    for algorithm in set(algorithms(device, Kind.DECOMPRESS_CHUNK)) - {"br"}:
        packed = pack(content, algorithm)
        found = expand(queue, decompressor(device, algorithm), packed + rest, most)
        assert found == (content, len(packed), True), algorithm


@pytest.mark.parametrize("size", [100, 32_752, 33_000, 65_599, 300_000])
@pytest.mark.parametrize("most", [1000, 32_752, 1 << 20])
def test_nothing_that_was_flushed_is_held_back(
    queue: CpuQueue, device: CpuDevice, size: int, most: int
) -> None:
    """A step that gives less than it may has no more to give."""
    for algorithm in algorithms(device, Kind.DECOMPRESS_CHUNK):
        content = words(size)
        (rest,) = squeeze(queue, compressor(device, algorithm), [(content, Flush.SYNC)])
        session, found = decompressor(device, algorithm), b""
        while True:
            (done,) = run(queue, [DecompressChunk(session, rest, most)])
            found += good(done)
            rest = rest[done.consumed :]
            if len(good(done)) < most:
                break
        assert (found, rest) == (content, b""), algorithm


def test_members_follow_each_other(queue: CpuQueue, device: CpuDevice) -> None:
    parts = [words(size, size) for size in (100, 0, 50_000)]
    session, rest = decompressor(device, "gzip"), b"".join(map(gzip.compress, parts))
    for part in parts:
        content, used, final = expand(queue, session, rest)
        assert (content, final) == (part, True)
        rest = rest[used:]
    assert rest == b""


def test_a_member_whose_first_byte_comes_alone(queue: CpuQueue, device: CpuDevice) -> None:
    session = decompressor(device, "gzip")
    expand(queue, session, gzip.compress(b"first"))
    second = gzip.compress(b"second")
    (done,) = run(queue, [DecompressChunk(session, second[:1])])
    assert (done.status, done.consumed, done.detail.final) == (Status.SUCCESS, 1, False)
    assert expand(queue, session, second[1:])[0] == b"second"


def test_what_begins_like_a_member_and_is_none_is_trailing_data(queue: CpuQueue, device: CpuDevice) -> None:
    session = decompressor(device, "gzip")
    expand(queue, session, gzip.compress(b"first"))
    run(queue, [DecompressChunk(session, b"\x1f")])
    (done,) = run(queue, [DecompressChunk(session, b"the rest, longer than a header")])
    assert (done.status, done.detail.cause) == (Status.DATA_ERROR, DataCause.TRAILING_DATA)


BAD = {
    "format": (b"plain words", DataCause.WRONG_FORMAT),
    "method": (b"\x1f\x8b\x07\x00" + bytes(20), DataCause.WRONG_FORMAT),
    "block": (gzip.compress(b"")[:10] + b"\x07" + bytes(20), DataCause.CORRUPT),
    "check": (gzip.compress(b"content")[:-8] + bytes(8), DataCause.CHECKSUM),
    "length": (gzip.compress(b"content")[:-4] + bytes(4), DataCause.CHECKSUM),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_data_breaks_the_stream_until_a_reset(queue: CpuQueue, device: CpuDevice, name: str) -> None:
    data, cause = BAD[name]
    session = decompressor(device, "gzip")
    (done,) = run(queue, [DecompressChunk(session, data)])
    assert done.detail.cause is cause
    assert done.status is (Status.CHECKSUM_FAILED if cause is DataCause.CHECKSUM else Status.DATA_ERROR)
    assert done.detail.message
    (done,) = run(queue, [DecompressChunk(session, gzip.compress(b"good"))])
    assert done.status is Status.INVALID_STATE
    session.reset()
    assert expand(queue, session, gzip.compress(b"good"))[0] == b"good"


def test_bad_brotli(queue: CpuQueue, device: CpuDevice) -> None:
    if "br" not in algorithms(device, Kind.DECOMPRESS_CHUNK):
        with pytest.raises(UnsupportedOperation, match="expected one of"):
            decompressor(device, "br")
        return
    session = decompressor(device, "br")
    (done,) = run(queue, [DecompressChunk(session, b"\xff" * 50)])
    assert (done.status, done.detail.cause) == (Status.DATA_ERROR, DataCause.CORRUPT)
    session.reset()
    assert expand(queue, session, pack(b"good", "br"))[0] == b"good"


def test_a_small_window(queue: CpuQueue, device: CpuDevice) -> None:
    for algorithm in ("gzip", "zlib", "deflate"):
        session = compressor(device, algorithm, window=9, level=6)
        packed = b"".join(squeeze(queue, session, [(words(20_000), Flush.FINISH)]))
        wbits = {"gzip": 25, "zlib": 9, "deflate": -9}[algorithm]
        assert zlib.decompress(packed, wbits) == words(20_000)


def test_the_gzip_header_tells_nothing(queue: CpuQueue, device: CpuDevice) -> None:
    for level in (0, 1, 2, 6, 9):
        packed = b"".join(squeeze(queue, compressor(device, "gzip", level=level), [(b"x", Flush.FINISH)]))
        assert packed[3:8] == bytes(5)
        assert packed[9] == 255


def test_large_outputs(queue: CpuQueue, device: CpuDevice) -> None:
    content = noise(1 << 20)
    session = compressor(device, "gzip")
    packed = b"".join(squeeze(queue, session, [(content, Flush.FINISH)]))
    assert unpack(packed, "gzip") == content
    assert expand(queue, decompressor(device, "gzip"), packed, 1 << 22)[0] == content


def test_two_steps_at_once(queue: CpuQueue, device: CpuDevice) -> None:
    session = compressor(device, "gzip")
    first, second = run(queue, [CompressChunk(session, words(200_000)), CompressChunk(session, b"x")])
    assert first.status is Status.SUCCESS
    assert second.status in (Status.INVALID_STATE, Status.SUCCESS)  # SUCCESS if the first was done already
    tags = [
        (0, CompressChunk(session, b"a")),
        (1, CompressChunk(session, b"b")),
        (2, CompressChunk(session, b"c")),
    ]
    assert queue.enqueue_burst(tags) == 3
    found: list[Completion] = []
    while len(found) < 3:
        found += queue.dequeue_burst(8)
    assert sorted(done.status for done in found) == [
        Status.SUCCESS,
        Status.INVALID_STATE,
        Status.INVALID_STATE,
    ]
    assert "under way" in found[0].detail.message + found[1].detail.message


def test_steps_of_the_wrong_kind(queue: CpuQueue, device: CpuDevice) -> None:
    (done,) = run(queue, [DecompressChunk(compressor(device, "gzip"), b"x")])
    assert (done.status, done.detail.message) == (Status.INVALID_ARGS, "the stream goes the other way")


def test_a_closed_stream(queue: CpuQueue, device: CpuDevice) -> None:
    session = compressor(device, "gzip")
    squeeze(queue, session, [(b"x", Flush.NONE)])
    session.close()
    session.close()
    (done,) = run(queue, [CompressChunk(session, b"x")])
    assert (done.status, done.detail.message) == (Status.INVALID_STATE, "the stream is closed")


@pytest.mark.parametrize(
    ("spec", "words_"),
    [
        (StreamSpec(Direction.COMPRESS, "lzw"), "algorithm"),
        (StreamSpec(Direction.COMPRESS, "gzip", level=13), "level"),
        (StreamSpec(Direction.COMPRESS, "gzip", level="slow"), "level"),
        (StreamSpec(Direction.COMPRESS, "gzip", window=16), "window"),
    ],
)
def test_streams_that_there_are_not(device: CpuDevice, spec: StreamSpec, words_: str) -> None:
    with pytest.raises(UnsupportedOperation, match=words_):
        device.open_session(spec)


def test_many_streams_do_not_mix(queue: CpuQueue, device: CpuDevice) -> None:
    sessions = [compressor(device, algorithm) for algorithm in WBITS for _ in range(8)]
    outputs = [b""] * len(sessions)
    for turn in range(5):
        flush = Flush.FINISH if turn == 4 else Flush.NONE
        steps = [
            CompressChunk(session, words(2000, index * 10 + turn), flush)
            for index, session in enumerate(sessions)
        ]
        for index, done in enumerate(run(queue, steps)):
            outputs[index] += good(done)
    for index, (session, output) in enumerate(zip(sessions, outputs, strict=True)):
        expected = b"".join(words(2000, index * 10 + turn) for turn in range(5))
        assert unpack(output, session.spec.algorithm) == expected


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_steps(whole_device: CpuDevice, whole_queue: CpuQueue, data: st.DataObject) -> None:
    algorithm = data.draw(st.sampled_from(algorithms(whole_device, Kind.COMPRESS_CHUNK)))
    session = compressor(whole_device, algorithm, level=data.draw(st.sampled_from([0, 1, 2, 3, 6, 9])))
    flushes = st.sampled_from([Flush.NONE, Flush.SYNC, Flush.FULL])
    pieces = st.one_of(st.binary(max_size=200), st.binary(max_size=3).map(lambda piece: piece * 3000))
    steps = data.draw(st.lists(st.tuples(pieces, flushes), max_size=8))
    packed = b"".join(squeeze(whole_queue, session, [*steps, (b"", Flush.FINISH)]))
    content = b"".join(piece for piece, _ in steps)
    assert unpack(packed, algorithm) == content
    size, most = data.draw(st.integers(1, 4000)), data.draw(st.integers(100, 5000))
    back, found, position = decompressor(whole_device, algorithm), b"", 0
    while True:
        (done,) = run(whole_queue, [DecompressChunk(back, packed[position : position + size], most)])
        found += good(done)
        position += done.consumed
        if done.detail.final and position == len(packed):  # a full flush may end a frame
            break
    assert (found, position) == (content, len(packed))
