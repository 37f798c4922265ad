"""What both sides know before: each format's dictionaries, in one call and as streams; missing and wrong ones."""

from __future__ import annotations

import zlib

import lz4.block
import pytest

from tests.cpu.support import expand, good, noise, open_device, run, squeeze, words, zstd
from wdasync.backend import DataCause, Direction, Status, StreamSpec
from wdasync.errors import InvalidArgument, UnsupportedOperation
from wdasync.operations import Compress, Decompress, DecompressChunk, Dictionary, Flush, Kind
from wdasync_cpu.backend import available
from wdasync_cpu.devices import CpuDevice
from wdasync_cpu.queues import CpuQueue

KNOWN = words(20_000, 9) + noise(2000, 9)
CONTENT = KNOWN[500:4000] + b"something new" + KNOWN[-2000:] + KNOWN[8000:12_000]


def takers(device: CpuDevice, kind: Kind) -> list[str]:
    return [row.algorithm for row in device.capabilities if row.kind is kind and row.dictionary]


def test_who_takes_dictionaries() -> None:
    device = open_device("all")
    built_in = {"br": "brotli-dictionary", "lz4": "lz4-dictionary"}  # no Python package has them
    native = {
        name for name, implementation in built_in.items() if implementation in available(native_codecs=True)
    }
    assert set(takers(device, Kind.COMPRESS)) == {"zlib", "deflate", "zstd", "lz4-block"} | native
    assert set(takers(device, Kind.DECOMPRESS_CHUNK)) == {"zlib", "deflate", "zstd"} | native
    assert set(takers(open_device("packages"), Kind.COMPRESS)) == {"zlib", "deflate", "zstd", "lz4-block"}
    assert set(takers(open_device("standard library"), Kind.COMPRESS)) == {"zlib", "deflate"}


@pytest.mark.parametrize("raw", [False, True])
def test_every_level(queue: CpuQueue, device: CpuDevice, raw: bool) -> None:
    known = Dictionary(KNOWN, raw=raw)
    for algorithm in takers(device, Kind.COMPRESS):
        plain = len(good(run(queue, [Compress(CONTENT, algorithm)])[0]))
        for level in ("fast", "balanced", "best", 1, 2, 9):
            (done,) = run(queue, [Compress(CONTENT, algorithm, level=level, dictionary=known)])
            packed = good(done)
            assert len(packed) < plain / 3, (algorithm, level)
            (done,) = run(queue, [Decompress(packed, algorithm, dictionary=known)])
            assert good(done) == CONTENT
            pieces = [packed[:50], packed[50:]]
            assert good(run(queue, [Decompress(pieces, algorithm, dictionary=known)])[0]) == CONTENT


def test_streams(queue: CpuQueue, device: CpuDevice) -> None:
    known = Dictionary(KNOWN)
    for algorithm in takers(device, Kind.COMPRESS_CHUNK):
        session = device.open_session(StreamSpec(Direction.COMPRESS, algorithm, "balanced", dictionary=known))
        back = device.open_session(StreamSpec(Direction.DECOMPRESS, algorithm, dictionary=known))
        for _ in range(3):
            steps = [(CONTENT[:100], Flush.NONE), (CONTENT[100:], Flush.SYNC), (b"", Flush.FINISH)]
            packed = b"".join(squeeze(queue, session, steps))
            assert len(packed) < len(CONTENT) / 4, algorithm
            assert expand(queue, back, packed, 1000) == (CONTENT, len(packed), True)
            session.reset()
            back.reset()


@pytest.mark.parametrize("raw", [False, True])
def test_each_frame_has_it(queue: CpuQueue, device: CpuDevice, raw: bool) -> None:
    """A full flush of a stream begins another frame, and the dictionary is not used up."""
    known = Dictionary(KNOWN, raw=raw)
    for algorithm in set(takers(device, Kind.COMPRESS_CHUNK)) & {"zstd", "lz4"}:
        session = device.open_session(StreamSpec(Direction.COMPRESS, algorithm, dictionary=known))
        outputs = squeeze(
            queue, session, [(CONTENT, Flush.FULL), (CONTENT, Flush.FULL), (CONTENT, Flush.FINISH)]
        )
        assert all(len(output) < len(CONTENT) / 3 for output in outputs)
        (done,) = run(queue, [Decompress(b"".join(outputs), algorithm, dictionary=known)])
        assert good(done) == CONTENT * 3


def test_others_read_it(queue: CpuQueue) -> None:
    known = Dictionary(KNOWN)
    for algorithm, wbits in (("zlib", 15), ("deflate", -15)):
        packed = good(run(queue, [Compress(CONTENT, algorithm, dictionary=known)])[0])
        assert zlib.decompressobj(wbits, zdict=KNOWN).decompress(packed) == CONTENT
        encoder = zlib.compressobj(6, zlib.DEFLATED, wbits, zdict=KNOWN)
        packed = encoder.compress(CONTENT) + encoder.flush()
        assert good(run(queue, [Decompress(packed, algorithm, dictionary=known)])[0]) == CONTENT


@pytest.mark.parametrize("device", ["all", "packages"], indirect=True)
def test_others_read_frames_and_blocks(queue: CpuQueue) -> None:
    for raw in (False, True):
        packed = good(run(queue, [Compress(CONTENT, "zstd", dictionary=Dictionary(KNOWN, raw=raw))])[0])
        assert zstd.decompress(packed, zstd.ZstdDict(KNOWN, is_raw=True)) == CONTENT
    packed = good(run(queue, [Compress(CONTENT, "lz4-block", dictionary=KNOWN)])[0])
    assert lz4.block.decompress(packed, uncompressed_size=len(CONTENT), dict=KNOWN) == CONTENT


@pytest.mark.parametrize("device", ["all", "packages"], indirect=True)
def test_trained_dictionaries(queue: CpuQueue, device: CpuDevice) -> None:
    """RFC 8878 section 5: they have a number, by which a wrong or missing one is known."""
    samples = [words(300, seed) for seed in range(300)]
    one, other = (zstd.train_dict(part, 4000) for part in (samples[:150], samples[150:]))
    known, content = Dictionary(one.dict_content), samples[7] + samples[11]
    packed = good(run(queue, [Compress(content, "zstd", dictionary=known)])[0])
    assert zstd.get_frame_info(packed).dictionary_id == one.dict_id
    assert zstd.decompress(packed, one) == content
    assert good(run(queue, [Decompress(packed, "zstd", dictionary=known)])[0]) == content
    wrong = [Decompress(packed, "zstd"), Decompress(packed, "zstd", dictionary=other.dict_content)]
    for done in run(queue, wrong):
        assert (done.status, done.detail.cause) == (Status.DATA_ERROR, DataCause.DICTIONARY)
    session = device.open_session(StreamSpec(Direction.DECOMPRESS, "zstd"))
    (done,) = run(queue, [DecompressChunk(session, packed)])
    assert (done.status, done.detail.cause) == (Status.DATA_ERROR, DataCause.DICTIONARY)


@pytest.mark.parametrize("device", ["all", "packages"], indirect=True)
def test_a_trained_dictionary_that_is_not_valid(queue: CpuQueue) -> None:
    broken = b"\x37\xa4\x30\xec" + noise(5000)
    work = [
        Compress(b"x" * 500, "zstd", dictionary=broken),
        Compress(words(1 << 17), "zstd", level=19, dictionary=broken),
        Decompress(good(run(queue, [Compress(b"x", "zstd")])[0]), "zstd", dictionary=broken),
    ]
    for done in run(queue, work):
        assert done.status is Status.INVALID_ARGS
        assert "dictionary" in done.detail.message
    (done,) = run(queue, [Compress(bytearray(broken), "zstd", dictionary=Dictionary(broken, raw=True))])
    assert len(good(done)) < 100


def test_missing_and_wrong_ones(queue: CpuQueue, device: CpuDevice) -> None:
    """zlib's header tells at once; elsewhere a check value does, or what is referred to is not there."""
    other = Dictionary(noise(5000, 1) + words(17_000, 8))
    for algorithm in takers(device, Kind.DECOMPRESS):
        packed = good(run(queue, [Compress(CONTENT, algorithm, dictionary=KNOWN)])[0])
        missing, wrong = run(
            queue, [Decompress(packed, algorithm), Decompress(packed, algorithm, dictionary=other)]
        )
        assert missing.status in (Status.DATA_ERROR, Status.CHECKSUM_FAILED), algorithm
        if algorithm == "zlib":
            assert (missing.detail.cause, wrong.detail.cause) == (DataCause.DICTIONARY,) * 2
            assert "none was given" in missing.detail.message
            assert f"{zlib.adler32(other.content):08x}" in wrong.detail.message
        elif algorithm in ("zstd", "lz4"):
            assert wrong.status in (Status.DATA_ERROR, Status.CHECKSUM_FAILED)
        else:  # nobody can tell
            assert wrong.output != CONTENT


def test_missing_and_wrong_ones_of_streams(queue: CpuQueue, device: CpuDevice) -> None:
    packed = good(run(queue, [Compress(CONTENT, "zlib", dictionary=KNOWN)])[0])
    for given in (None, Dictionary(b"another")):
        session = device.open_session(StreamSpec(Direction.DECOMPRESS, "zlib", dictionary=given))
        (done,) = run(queue, [DecompressChunk(session, packed)])
        assert (done.status, done.detail.cause) == (Status.DATA_ERROR, DataCause.DICTIONARY)


def test_what_was_made_without_is_read_with(queue: CpuQueue, device: CpuDevice) -> None:
    """zlib's header says that there is none; frames do not ask, and refer to nothing before them."""
    for algorithm in set(takers(device, Kind.DECOMPRESS)) & {"zlib", "zstd", "lz4"}:
        packed = good(run(queue, [Compress(CONTENT, algorithm)])[0])
        assert good(run(queue, [Decompress(packed, algorithm, dictionary=KNOWN)])[0]) == CONTENT


def test_gzip_has_none(queue: CpuQueue, device: CpuDevice) -> None:
    for work in (Compress(b"x", "gzip", dictionary=KNOWN), Decompress(b"x", "gzip", dictionary=KNOWN)):
        (done,) = run(queue, [work])
        assert (done.status, done.detail.message) == (
            Status.INVALID_ARGS,
            "dictionary: gzip has none here",
        )
    with pytest.raises(UnsupportedOperation, match="dictionary: gzip has none here"):
        device.open_session(StreamSpec(Direction.COMPRESS, "gzip", dictionary=Dictionary(KNOWN)))


@pytest.mark.parametrize("size", [1, 7, 8, 9, 32_768, 32_769, 65_536, 65_537, 3_000_000])
def test_every_length(queue: CpuQueue, device: CpuDevice, size: int) -> None:
    known = Dictionary(noise(size, 4))
    content = known.content[-2000:] + words(100)
    for algorithm in takers(device, Kind.COMPRESS):
        packed = good(run(queue, [Compress(content, algorithm, dictionary=known)])[0])
        assert good(run(queue, [Decompress(packed, algorithm, dictionary=known)])[0]) == content
        assert size < 2000 or len(packed) < 600, algorithm


@pytest.mark.parametrize("value", ["text", 5, b"", [], object()])
def test_what_is_no_dictionary(value: object) -> None:
    with pytest.raises(InvalidArgument, match="dictionary: "):
        Compress(b"x", "zlib", dictionary=value)


def test_a_dictionary_says_what_it_is() -> None:
    known = Dictionary([b"se", bytearray(b"cret")], raw=True)
    assert repr(known) == "<Dictionary of 6 bytes, raw>"
    assert known.content == b"secret"
    assert known.sha256.hex() == "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
