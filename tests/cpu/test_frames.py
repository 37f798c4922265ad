"""Zstandard and LZ4: frames that follow each other, what may stand between them, and what is wrong with them."""

from __future__ import annotations

import random
from collections.abc import Callable

import lz4.frame
import pytest

from tests.cpu.support import (
    VARIANTS,
    ZSTD_CHECKED,
    expand,
    good,
    noise,
    pack,
    run,
    squeeze,
    unpack,
    words,
    zstd,
)
from wdasync.backend import DataCause, Direction, Status, StreamSpec
from wdasync.operations import Compress, Decompress, DecompressChunk, Flush
from wdasync_cpu.devices import CpuDevice
from wdasync_cpu.queues import CpuQueue

FRAMES = ("zstd", "lz4")

#: Implementations of both. Others have none.
pytestmark = pytest.mark.parametrize("device", ["all", "packages"], indirect=True)


@pytest.fixture
def device(request: pytest.FixtureRequest) -> CpuDevice:
    from tests.cpu.support import open_device

    assert request.param in VARIANTS
    return open_device(request.param)


def skippable(content: bytes, kind: int = 0) -> bytes:
    """RFC 8878 section 3.1.2; LZ4 has the same."""
    return bytes([0x50 + kind]) + b"\x2a\x4d\x18" + len(content).to_bytes(4, "little") + content


def decompressor(device: CpuDevice, algorithm: str) -> object:
    return device.open_session(StreamSpec(Direction.DECOMPRESS, algorithm))


@pytest.mark.parametrize("algorithm", FRAMES)
def test_frames_follow_each_other(queue: CpuQueue, device: CpuDevice, algorithm: str) -> None:
    parts = [words(size, size) for size in (0, 5, 200_000, 0, 1)]
    packed = b"".join(pack(part, algorithm) for part in parts)
    (done,) = run(queue, [Decompress(packed, algorithm)])
    assert (good(done), done.consumed) == (b"".join(parts), len(packed))
    session, rest = device.open_session(StreamSpec(Direction.DECOMPRESS, algorithm)), packed
    for part in parts:
        content, used, final = expand(queue, session, rest)
        assert (content, final) == (part, True)
        rest = rest[used:]
    assert rest == b""


@pytest.mark.parametrize("algorithm", FRAMES)
@pytest.mark.parametrize("kind", [0, 14, 15])
def test_skippable_frames(queue: CpuQueue, device: CpuDevice, algorithm: str, kind: int) -> None:
    skip, frame = skippable(b"not ours", kind), pack(words(3000), algorithm)
    whole = skip + frame + skippable(b"", kind) + frame + skip
    (done, only) = run(queue, [Decompress(whole, algorithm, max_members=2), Decompress(skip, algorithm)])
    assert (good(done), done.consumed) == (words(3000) * 2, len(whole))
    assert (good(only), only.consumed) == (b"", len(skip))
    session, rest, content = device.open_session(StreamSpec(Direction.DECOMPRESS, algorithm)), whole, b""
    while rest:
        found, used, final = expand(queue, session, rest)
        assert final
        content, rest = content + found, rest[used:]
    assert content == words(3000) * 2


@pytest.mark.parametrize("algorithm", FRAMES)
def test_too_many_frames(queue: CpuQueue, algorithm: str) -> None:
    packed = pack(b"x", algorithm) * 3
    within, beyond = run(queue, [Decompress(packed, algorithm, max_members=most) for most in (3, 2)])
    assert good(within) == b"xxx"
    assert beyond.status is Status.OUT_OF_SPACE_TERMINATED
    assert "max_members of 2 frames" in beyond.detail.message


@pytest.mark.parametrize("algorithm", FRAMES)
def test_many_frames_take_linear_time(queue: CpuQueue, device: CpuDevice, algorithm: str) -> None:
    count = 20_000
    (done,) = run(queue, [Decompress(pack(b"x", algorithm) * count, algorithm, max_members=count)])
    assert good(done) == b"x" * count


@pytest.mark.parametrize("algorithm", FRAMES)
def test_whole_frames_fit(queue: CpuQueue, algorithm: str) -> None:
    """DPDK's recoverable kind: what is whole is kept, and the rest can be decoded from there."""
    first, second = pack(words(1000), algorithm), pack(words(5000, 1), algorithm)
    buffer = bytearray(3000)
    (done,) = run(queue, [Decompress(first + second, algorithm, into=buffer)])
    assert done.status is Status.OUT_OF_SPACE_RECOVERABLE
    assert (done.consumed, done.produced, bytes(buffer[:1000])) == (len(first), 1000, words(1000))
    (done,) = run(queue, [Decompress(second, algorithm, into=buffer)])
    assert done.status is Status.OUT_OF_SPACE_TERMINATED
    for room in (4999, 5000, 5001):
        (done,) = run(queue, [Decompress(second, algorithm, into=bytearray(room))])
        assert (done.status is Status.SUCCESS) == (room >= 5000)


@pytest.mark.parametrize("algorithm", FRAMES)
def test_a_bomb_stops_at_its_bound(queue: CpuQueue, algorithm: str) -> None:
    packed = pack(bytes(50_000_000), algorithm)
    (done,) = run(queue, [Decompress(packed, algorithm, max_length=1 << 20)])
    assert done.status is Status.OUT_OF_SPACE_TERMINATED
    assert "max_length of 1048576 bytes" in done.detail.message


def zstd_without_size(content: bytes) -> bytes:
    """A frame that does not tell its length, as streams have it."""
    encoder = zstd.ZstdCompressor(options=ZSTD_CHECKED)
    return encoder.compress(content[: len(content) // 2]) + encoder.compress(
        content[len(content) // 2 :], encoder.FLUSH_FRAME
    )


def zstd_of_window(bits: int) -> bytes:
    """The beginning of a frame that wants a history of 2**bits bytes (RFC 8878 section 3.1.1.1)."""
    return b"\x28\xb5\x2f\xfd\x00" + bytes([(bits - 10) << 3])


@pytest.mark.parametrize("size", [0, 1, 3000, 1_000_000])
def test_a_frame_that_does_not_tell_its_length(queue: CpuQueue, size: int) -> None:
    packed = zstd_without_size(words(size))
    assert good(run(queue, [Decompress(packed, "zstd")])[0]) == words(size)
    packed = lz4.frame.compress(words(size), store_size=False)
    assert good(run(queue, [Decompress(packed, "lz4")])[0]) == words(size)


def test_a_window_that_is_too_large(queue: CpuQueue, device: CpuDevice) -> None:
    """Memory is bounded: 2**27 bytes are read, as zstd(1) does, and more are refused before they are taken."""
    block = b"\x01\x00\x00"
    assert good(run(queue, [Decompress(zstd_of_window(27) + block, "zstd")])[0]) == b""
    (done,) = run(queue, [Decompress(zstd_of_window(28) + block, "zstd")])
    assert done.status is Status.INVALID_ARGS
    assert "history of at most 2**27 bytes" in done.detail.message
    session = device.open_session(StreamSpec(Direction.DECOMPRESS, "zstd"))
    (done,) = run(queue, [DecompressChunk(session, zstd_of_window(30) + block)])
    assert (done.status, "2**27" in done.detail.message) == (Status.INVALID_ARGS, True)


@pytest.mark.parametrize("bits", [10, 23, 27])
def test_a_stream_may_bound_the_window(queue: CpuQueue, device: CpuDevice, bits: int) -> None:
    """HTTP wants that (RFC 9659). A frame of one segment has its content for a window."""
    spec, block = StreamSpec(Direction.DECOMPRESS, "zstd", window=bits), b"\x01\x00\x00"
    assert (
        good(run(queue, [DecompressChunk(device.open_session(spec), zstd_of_window(bits) + block)])[0]) == b""
    )
    content = words(1 << 10) if bits == 10 else words(1 << 20)
    assert expand(queue, device.open_session(spec), pack(content, "zstd"))[0] == content
    for beyond in (zstd_of_window(bits + 1), zstd_of_window(bits)[:-1] + bytes([(bits - 10) << 3 | 1])):
        (done,) = run(queue, [DecompressChunk(device.open_session(spec), beyond + block)])
        assert (done.status, f"2**{bits} bytes" in done.detail.message) == (Status.INVALID_ARGS, True)


CORRUPT, CHECKSUM = DataCause.CORRUPT, DataCause.CHECKSUM
TRUNCATED, WRONG_FORMAT, TRAILING = DataCause.TRUNCATED, DataCause.WRONG_FORMAT, DataCause.TRAILING_DATA

#: What is wrong -> algorithm, input, cause.
WRONG: dict[str, tuple[str, bytes, DataCause]] = {
    "zstd: nothing": ("zstd", b"", TRUNCATED),
    "lz4: nothing": ("lz4", b"", TRUNCATED),
    "zstd: words": ("zstd", b"plain words", WRONG_FORMAT),
    "lz4: words": ("lz4", b"plain words", WRONG_FORMAT),
    "zstd: one byte of words": ("zstd", b"p", WRONG_FORMAT),
    "zstd: an old version": ("zstd", b"\x27\xb5\x2f\xfd" + bytes(20), WRONG_FORMAT),
    "zstd: an lz4 frame": ("zstd", pack(b"x", "lz4"), WRONG_FORMAT),
    "lz4: a zstd frame": ("lz4", pack(b"x", "zstd"), WRONG_FORMAT),
    "lz4: a legacy frame": ("lz4", b"\x02\x21\x4c\x18" + bytes(20), WRONG_FORMAT),
    "zstd: trailing": ("zstd", pack(b"x", "zstd") + b"rest", TRAILING),
    "lz4: trailing": ("lz4", pack(b"x", "lz4") + b"rest", TRAILING),
    "zstd: trailing zeros": ("zstd", pack(b"x", "zstd") + bytes(9), TRAILING),
    "zstd: trailing after a skippable frame": ("zstd", skippable(b"a") + b"rest", TRAILING),
    "zstd: the check value": ("zstd", pack(words(50), "zstd")[:-1] + b"\x00", CHECKSUM),
    "lz4: the check value": ("lz4", pack(words(50), "lz4")[:-1] + b"\x00", CHECKSUM),
    "lz4: the header's check value": ("lz4", b"\x04\x22\x4d\x18\x64\x40\x00" + bytes(20), CHECKSUM),
    "lz4: reserved flags": ("lz4", b"\x04\x22\x4d\x18\x66\x40\x00" + bytes(20), CORRUPT),
    "lz4: a version": ("lz4", b"\x04\x22\x4d\x18\x24\x40\x00" + bytes(20), CORRUPT),
    "lz4: a block size": ("lz4", b"\x04\x22\x4d\x18\x64\x10\x00" + bytes(20), CORRUPT),
    "zstd: a reserved bit": ("zstd", b"\x28\xb5\x2f\xfd\x08\x00\x01\x00\x00", CORRUPT),
    "zstd: a reserved block": ("zstd", b"\x28\xb5\x2f\xfd\x00\x00\x07\x00\x00", CORRUPT),
    "zstd: a block that is too large": ("zstd", b"\x28\xb5\x2f\xfd\x00\x00\xfd\xff\xff" + bytes(99), CORRUPT),
    "zstd: a length that is another": ("zstd", b"\x28\xb5\x2f\xfd\x20\x05\x11\x00\x00ab", CORRUPT),
    "zstd: a skippable frame": ("zstd", skippable(b"abc")[:-1], TRUNCATED),
    "zstd: its header": ("zstd", skippable(b"abc")[:7], TRUNCATED),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong(queue: CpuQueue, name: str) -> None:
    algorithm, data, cause = WRONG[name]
    for source in (data, [data[:3], data[3:]]):
        (done,) = run(queue, [Decompress(source, algorithm)])
        status = Status.CHECKSUM_FAILED if cause is CHECKSUM else Status.DATA_ERROR
        assert (done.status, done.detail.cause) == (status, cause)
        assert done.detail.message
        assert done.output is None


@pytest.mark.parametrize(
    "name", [name for name, row in WRONG.items() if row[2] in (CORRUPT, CHECKSUM, WRONG_FORMAT)]
)
def test_what_is_wrong_breaks_a_stream_until_a_reset(queue: CpuQueue, device: CpuDevice, name: str) -> None:
    algorithm, data, cause = WRONG[name]
    session = device.open_session(StreamSpec(Direction.DECOMPRESS, algorithm))
    (done,) = run(queue, [DecompressChunk(session, data + b"more of it")])
    assert done.detail.cause is cause
    (done,) = run(queue, [DecompressChunk(session, pack(b"good", algorithm))])
    assert done.status is Status.INVALID_STATE
    session.reset()
    assert expand(queue, session, pack(b"good", algorithm))[0] == b"good"


@pytest.mark.parametrize("algorithm", FRAMES)
def test_what_follows_in_a_stream_is_left_alone(queue: CpuQueue, device: CpuDevice, algorithm: str) -> None:
    session = device.open_session(StreamSpec(Direction.DECOMPRESS, algorithm))
    expand(queue, session, pack(b"first", algorithm))
    for rest in (b"", b"rest", bytes(50), pack(b"x", algorithm)[:2] + b"??"):
        (done,) = run(queue, [DecompressChunk(session, rest)])
        assert (good(done), done.consumed, done.detail.final) == (b"", 0, True)
    second = pack(b"second", algorithm)
    (done,) = run(queue, [DecompressChunk(session, second[:1])])
    assert (done.consumed, done.detail.final) == (1, False)
    assert expand(queue, session, second[1:])[0] == b"second"


@pytest.mark.parametrize("algorithm", FRAMES)
def test_a_stream_may_be_asked_in_vain(queue: CpuQueue, device: CpuDevice, algorithm: str) -> None:
    """Zstandard's library fails when it is called 16 times with nothing."""
    packed, session = (
        pack(words(5000), algorithm),
        device.open_session(StreamSpec(Direction.DECOMPRESS, algorithm)),
    )
    content = b""
    for part in (packed[:9], packed[9:200], packed[200:]):
        content += good(run(queue, [DecompressChunk(session, part)])[0])
        for _ in range(40):
            (done,) = run(queue, [DecompressChunk(session, b"")])
            assert (good(done), done.consumed) == (b"", 0)
    assert content == words(5000)


@pytest.mark.parametrize("algorithm", FRAMES)
def test_a_full_flush_ends_the_frame(queue: CpuQueue, device: CpuDevice, algorithm: str) -> None:
    session = device.open_session(StreamSpec(Direction.COMPRESS, algorithm))
    first, nothing = squeeze(queue, session, [(words(3000), Flush.FULL), (b"", Flush.FULL)])
    assert (unpack(first, algorithm), nothing) == (words(3000), b"")
    second, end = squeeze(queue, session, [(words(99), Flush.FULL), (b"", Flush.FINISH)])
    assert (unpack(second, algorithm), end) == (words(99), b"")


@pytest.mark.parametrize("algorithm", FRAMES)
def test_an_empty_stream_is_a_frame(queue: CpuQueue, device: CpuDevice, algorithm: str) -> None:
    session = device.open_session(StreamSpec(Direction.COMPRESS, algorithm))
    (packed,) = squeeze(queue, session, [(b"", Flush.FINISH)])
    assert packed
    assert unpack(packed, algorithm) == b""


def test_frames_have_what_a_reader_wants(queue: CpuQueue) -> None:
    """The length of a whole unit, and the check value of its content."""
    (packed,) = map(good, run(queue, [Compress(words(5000), "zstd")]))
    assert zstd.get_frame_info(packed).decompressed_size == 5000
    assert packed[4] & 4, "no check value"
    (packed,) = map(good, run(queue, [Compress(words(5000), "lz4")]))
    info = lz4.frame.get_frame_info(packed)
    assert (info["content_size"], info["content_checksum"]) == (5000, True)


def test_the_best_level_of_zstd_can_be_read_by_everybody(queue: CpuQueue) -> None:
    """RFC 9659: a window of 8 MiB is the most that a content coding may want."""
    content = noise(100) * 200_000
    frame = good(run(queue, [Compress(content, "zstd", level="best")])[0])
    most = {zstd.DecompressionParameter.window_log_max: 23}
    assert zstd.decompress(frame, options=most) == content


def mutations(data: bytes, count: int, seed: int) -> list[bytes]:
    """Bits turned, bytes replaced, pieces cut out, doubled and put elsewhere."""
    chance, found = random.Random(seed), []

    def turn(raw: bytearray) -> None:
        raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)

    def replace(raw: bytearray) -> None:
        raw[chance.randrange(len(raw))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))

    def cut(raw: bytearray) -> None:
        start = chance.randrange(len(raw))
        del raw[start : start + chance.randrange(1, 9)]

    def double(raw: bytearray) -> None:
        start = chance.randrange(len(raw))
        raw[start:start] = raw[start : start + chance.randrange(1, 40)]

    ways: list[Callable[[bytearray], None]] = [turn, replace, cut, double]
    for _ in range(count):
        raw = bytearray(data)
        for _ in range(chance.choice((1, 1, 1, 2, 5))):
            if raw:
                chance.choice(ways)(raw)
        found.append(bytes(raw))
    return found


@pytest.mark.parametrize("algorithm", FRAMES)
def test_damage_is_noticed(queue: CpuQueue, device: CpuDevice, algorithm: str) -> None:
    """Whatever is done to frames that have check values: an error, or the right content. In one call and as a stream."""
    content = words(700) + noise(40) + bytes(3000)
    for data in mutations(pack(content, algorithm), 400, 1):
        (done,) = run(queue, [Decompress(data, algorithm, max_length=1 << 20)])
        if done.status is Status.SUCCESS:
            assert content.startswith(good(done)) or good(done).startswith(content)
        else:
            assert done.detail.message
        session, rest, found = device.open_session(StreamSpec(Direction.DECOMPRESS, algorithm)), data, b""
        while len(found) < 1 << 20:
            (step,) = run(queue, [DecompressChunk(session, rest, 4096)])
            found += step.output or b""
            rest = rest[step.consumed :]
            if step.status is not Status.SUCCESS or not (step.consumed or step.output):
                break
        session.close()
