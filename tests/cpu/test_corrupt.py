"""What is not valid: each way in which a unit can be wrong gets a status, a cause and words of its own."""

from __future__ import annotations

import contextlib
import gzip
import random
import zlib
from typing import NamedTuple

import pytest

from tests.cpu.bits import Bits
from tests.cpu.support import VARIANTS, WBITS, noise, open_device, pack, run, words
from wdasync.backend import DataCause, Direction, Status, StreamSpec
from wdasync.operations import Decompress, DecompressChunk, Kind
from wdasync_cpu import binding, codecs
from wdasync_cpu.backend import available
from wdasync_cpu.devices import CpuDevice
from wdasync_cpu.queues import CpuQueue

CORRUPT, TRUNCATED = DataCause.CORRUPT, DataCause.TRUNCATED

#: Codes for code lengths: 0, 1, 2, 16, 17 and 18, of lengths that leave nothing unused.
META = {0: 2, 1: 2, 2: 3, 16: 3, 17: 3, 18: 3}


class Wrong(NamedTuple):
    """A deflate stream that is not valid.

    :ivar stream: it
    :ivar words: what the message says
    :ivar cause: what is wrong
    """

    stream: bytes
    words: str
    cause: DataCause = CORRUPT


def lengths(*steps: tuple[int, int], literals: int = 257, distances: int = 1) -> bytes:
    """A dynamic block with these code lengths, and something behind them that no check value is."""
    return Bits().dynamic(literals, distances, META).lengths(META, *steps).done() + b"\x5a" * 9


#: 256 code lengths of 0, so that what follows is about the end of the block (256) and the distances.
NO_LITERALS = [(18, 127), (18, 107)]

#: Behind none of them is the right check value. With one, what stands in ``LENIENT`` as well is taken.
WRONG = {
    "block of type 3": Wrong(Bits().block(3).done(), "reserved type 3"),
    "stored length and its complement": Wrong(
        Bits().block(0).align().number(5, 16).number(5, 16).raw(b"12345").done(), "complement do not agree"
    ),
    "286 as a number of literal codes": Wrong(
        Bits().dynamic(287, 1, META).done() + bytes(9), "more than 286"
    ),
    "31 as a number of distance codes": Wrong(
        Bits().dynamic(257, 31, META).done() + bytes(9), "more than 30"
    ),
    "too many codes for code lengths": Wrong(
        Bits().dynamic(257, 1, {0: 1, 1: 1, 2: 1}).done() + bytes(9), "more codes for code lengths"
    ),
    "too few codes for code lengths": Wrong(
        Bits().dynamic(257, 1, {0: 2, 1: 2, 2: 2}).done() + bytes(9), "codes for code lengths that leave some"
    ),
    "no codes for code lengths": Wrong(
        Bits().dynamic(257, 1, {}).done() + bytes(9), "codes for code lengths that leave some"
    ),
    "nothing to repeat": Wrong(lengths((16, 0)), "repeated code length with none before it"),
    "repeat of the last past the end": Wrong(
        lengths(*NO_LITERALS, (1, 0), (16, 3)), "repeated code length that runs past"
    ),
    "few zeros past the end": Wrong(
        lengths(*NO_LITERALS, (1, 0), (17, 7)), "repeated code length that runs past"
    ),
    "many zeros past the end": Wrong(lengths((18, 127), (18, 127)), "repeated code length that runs past"),
    "no code for the end of the block": Wrong(
        lengths((1, 0), (1, 0), (18, 127), (18, 105), (0, 0), (1, 0)), "without a code for its end"
    ),
    "too many literal codes": Wrong(
        lengths((1, 0), (1, 0), (18, 127), (18, 105), (1, 0), (1, 0)), "more literal and length codes"
    ),
    "too few literal codes": Wrong(
        lengths((2, 0), (0, 0), (18, 127), (18, 105), (2, 0), (1, 0)),
        "literal and length codes that leave some",
    ),
    "too many distance codes": Wrong(
        lengths(*NO_LITERALS, (1, 0), (1, 0), (1, 0), (1, 0), distances=3), "more distance codes"
    ),
    "too few distance codes": Wrong(
        lengths(*NO_LITERALS, (1, 0), (2, 0), (2, 0), distances=2), "distance codes that leave some"
    ),
    "a literal code that nothing has": Wrong(
        Bits().dynamic(257, 1, META).lengths(META, *NO_LITERALS, (1, 0), (1, 0)).number(1, 1).done()
        + b"\xff" * 9,
        "no literal or length has this code",
    ),
    "a distance code that nothing has": Wrong(
        # Lengths: literal 0 and length 257 have 2 bits, the end of the block 1; the only distance has 1 bit.
        Bits()
        .dynamic(258, 1, META)
        .lengths(META, (2, 0), (18, 127), (18, 106), (1, 0), (2, 0), (1, 0))
        .code(2, 2)
        .code(2, 3)
        .number(1, 1)
        .done()
        + b"\xff" * 9,
        "no distance has this code",
    ),
    "length symbol 286": Wrong(
        Bits().block(1).fixed(65, 286).done() + bytes(4), "length symbol that is reserved"
    ),
    "length symbol 287": Wrong(
        Bits().block(1).fixed(65, 287).done() + bytes(4), "length symbol that is reserved"
    ),
    "distance symbol 30": Wrong(
        Bits().block(1).fixed(65, 257).code(5, 30).done() + bytes(4), "distance symbol that is reserved"
    ),
    "distance symbol 31": Wrong(
        Bits().block(1).fixed(65, 257).code(5, 31).done() + bytes(4), "distance symbol that is reserved"
    ),
    "a distance before the beginning": Wrong(
        Bits().block(1).fixed(65, 257).code(5, 1).fixed(256).done(), "before the beginning of the output"
    ),
    "a distance before the beginning, in a later block": Wrong(
        Bits().stored(b"ab", last=False).block(1).fixed(257).code(5, 3).fixed(256).done(),
        "before the beginning of the output",
    ),
    "nothing at all": Wrong(b"", "it is empty", TRUNCATED),
    "the end in the head of a stored block": Wrong(
        Bits().block(0).align().number(5, 16).done(), "the header of a stored block", TRUNCATED
    ),
    "the end in a stored block": Wrong(
        Bits().stored(b"12345").done()[:-2], "inside a stored block", TRUNCATED
    ),
    "the end in the head of a dynamic block": Wrong(
        Bits().dynamic(257, 1, META).done()[:5], "the header of a block", TRUNCATED
    ),
    "the end in code lengths": Wrong(
        Bits().dynamic(257, 1, META).lengths(META, (18, 127)).done(), "the code lengths of a block", TRUNCATED
    ),
    "the end in compressed data": Wrong(
        Bits().block(1).fixed(*[200] * 20).done(), "inside compressed data", TRUNCATED
    ),
    "the end before the last block": Wrong(
        Bits().stored(b"12345", last=False).done(), "the header of a block", TRUNCATED
    ),
}


def test_the_tool_makes_valid_streams() -> None:
    """What the wrong ones are derived from is right, so that each is wrong for one reason."""
    text = Bits().stored(b"ab", last=False).block(1, last=False).fixed(67, 257).code(5, 2).fixed(256)
    text.dynamic(257, 1, META).lengths(META, (1, 0), (18, 127), (18, 106), (1, 0), (0, 0))
    text.code(1, 0).code(1, 0).code(1, 1)
    assert zlib.decompress(text.done(), -15) == b"abCabC\x00\x00"
    assert len(WRONG) >= 20
    assert sum(wrong.cause is CORRUPT for wrong in WRONG.values()) >= 20


@pytest.mark.parametrize("name", WRONG)
def test_wrong_deflate_data(queue: CpuQueue, device: CpuDevice, name: str) -> None:
    stream, expected, cause = WRONG[name]
    with pytest.raises(zlib.error):
        zlib.decompress(stream, -15)  # Somebody else does not take it either.
    header = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
    cases = [(stream, "deflate", 0), (b"\x78\x9c" + stream, "zlib", 2), (header + stream, "gzip", 10)]
    for done, (data, _, start) in zip(
        run(queue, [Decompress(data, algorithm) for data, algorithm, _ in cases]), cases, strict=True
    ):
        assert done.status is Status.DATA_ERROR
        assert done.detail.cause is cause
        assert expected in done.detail.message
        where = int(done.detail.message.partition("at byte ")[2].split()[0])
        assert start <= where <= len(data)
        assert done.output is None


#: A header of gzip that is wrong -> what the message says, and the cause.
GZIP_HEADERS = {
    b"\x1f\x8c\x08\x00": ("not gzip", DataCause.WRONG_FORMAT),
    b"PK\x03\x04": ("not gzip", DataCause.WRONG_FORMAT),
    b"\x1f\x8b\x07\x00": ("compression method 7", DataCause.WRONG_FORMAT),
    b"\x1f\x8b\x08\x20": ("reserved flags", DataCause.WRONG_FORMAT),
    b"\x1f\x8b\x08\x80": ("reserved flags", DataCause.WRONG_FORMAT),
    b"": ("it is empty", TRUNCATED),
    b"\x1f": ("gzip header", TRUNCATED),
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00": ("gzip header", TRUNCATED),
    b"\x1f\x8b\x08\x04\x00\x00\x00\x00\x00\xff\x05\x00123": ("extra field", TRUNCATED),
    b"\x1f\x8b\x08\x04\x00\x00\x00\x00\x00\xff\x05": ("extra field", TRUNCATED),
    b"\x1f\x8b\x08\x08\x00\x00\x00\x00\x00\xffname": ("file name", TRUNCATED),
    b"\x1f\x8b\x08\x10\x00\x00\x00\x00\x00\xffcomment": ("comment", TRUNCATED),
    b"\x1f\x8b\x08\x02\x00\x00\x00\x00\x00\xff\x00": ("CRC", TRUNCATED),
}

ZLIB_HEADERS = {
    b"\x79\x9c\x00": ("compression method 9", DataCause.WRONG_FORMAT),
    b"\x88\x1c\x00": ("window", DataCause.WRONG_FORMAT),
    b"\x78\x9d\x00": ("header check", DataCause.WRONG_FORMAT),
    b"\x78\xbb\x00": ("preset dictionary", DataCause.DICTIONARY),
    b"": ("it is empty", TRUNCATED),
    b"\x78": ("zlib header", TRUNCATED),
}


@pytest.mark.parametrize("header", GZIP_HEADERS)
def test_wrong_gzip_header(queue: CpuQueue, header: bytes) -> None:
    (done,) = run(queue, [Decompress(header, "gzip")])
    assert (done.status, done.detail.cause) == (Status.DATA_ERROR, GZIP_HEADERS[header][1])
    assert GZIP_HEADERS[header][0] in done.detail.message


@pytest.mark.parametrize("header", ZLIB_HEADERS)
def test_wrong_zlib_header(queue: CpuQueue, header: bytes) -> None:
    (done,) = run(queue, [Decompress(header, "zlib")])
    assert (done.status, done.detail.cause) == (Status.DATA_ERROR, ZLIB_HEADERS[header][1])
    assert ZLIB_HEADERS[header][0] in done.detail.message


def test_wrong_crc_of_a_gzip_header(queue: CpuQueue) -> None:
    good = gzip.compress(b"content")
    header = good[:3] + b"\x02" + good[4:10]
    wrong = header + b"\x00\x00" + good[10:]
    (done,) = run(queue, [Decompress(wrong, "gzip")])
    assert (done.status, done.detail.cause) == (Status.CHECKSUM_FAILED, DataCause.CHECKSUM)


@pytest.mark.parametrize("position", [-1, -2, -3, -4, -5, -6, -7, -8])
def test_wrong_trailer(queue: CpuQueue, position: int) -> None:
    for algorithm, last in (("gzip", 8), ("zlib", 4)):
        packed = bytearray(pack(words(500), algorithm))
        if -position <= last:
            packed[position] ^= 0x10
            (done,) = run(queue, [Decompress(bytes(packed), algorithm)])
            assert (done.status, done.detail.cause) == (Status.CHECKSUM_FAILED, DataCause.CHECKSUM)


def test_wrong_values_are_named(whole_queue: CpuQueue) -> None:
    packed = gzip.compress(b"content")
    (done,) = run(whole_queue, [Decompress(packed[:-8] + bytes(4) + packed[-4:], "gzip")])
    assert f"0x{zlib.crc32(b'content'):08x}" in done.detail.message
    (done,) = run(whole_queue, [Decompress(packed[:-4] + b"\x09\x00\x00\x00", "gzip")])
    assert "7 bytes" in done.detail.message
    assert "says 9" in done.detail.message


def formats_with_an_end(device: CpuDevice) -> list[str]:
    """All but blocks of LZ4, whose content ends where their input does."""
    found = [row.algorithm for row in device.capabilities if row.kind is Kind.DECOMPRESS]
    return [name for name in found if name != "lz4-block"]


def test_every_truncation(queue: CpuQueue, device: CpuDevice) -> None:
    for algorithm in formats_with_an_end(device):
        packed = pack(words(300), algorithm)
        done = run(queue, [Decompress(packed[:cut], algorithm) for cut in range(len(packed))])
        assert {(each.status, each.detail.cause) for each in done} == {(Status.DATA_ERROR, TRUNCATED)}


def test_every_truncation_of_a_later_member(queue: CpuQueue) -> None:
    first, second = gzip.compress(b"first"), gzip.compress(words(200))
    done = run(queue, [Decompress(first + second[:cut], "gzip") for cut in range(1, len(second))])
    assert {(each.status, each.detail.cause) for each in done} == {(Status.DATA_ERROR, TRUNCATED)}


@pytest.mark.parametrize("rest", [b"x", b"\x00x", b"\x1fx", b"trailing", b"\x00" * 9 + b"\x01"])
def test_trailing_data(queue: CpuQueue, device: CpuDevice, rest: bytes) -> None:
    for algorithm in formats_with_an_end(device):
        packed = pack(words(3000), algorithm)
        (done,) = run(queue, [Decompress(packed + rest, algorithm)])
        assert (done.status, done.detail.cause) == (Status.DATA_ERROR, DataCause.TRAILING_DATA), algorithm
        assert f"at byte {len(packed)}" in done.detail.message or algorithm == "gzip"


def test_zeros_after_what_has_no_members_are_trailing_data(queue: CpuQueue) -> None:
    for algorithm in ("zlib", "deflate"):
        (done,) = run(queue, [Decompress(pack(b"x", algorithm) + bytes(1), algorithm)])
        assert done.detail.cause is DataCause.TRAILING_DATA


# -- what only a check value covers ----------------------------------------------------------------------------------


class Lenient(NamedTuple):
    """A deflate stream that is not valid, and what some codecs make of it.

    :ivar stream: it
    :ivar content: what they make
    :ivar words: what the others say
    :ivar taken_by: the implementations that take it, if the check value agrees
    """

    stream: bytes
    content: bytes
    words: str
    taken_by: str = "libdeflate"


#: Code lengths: literal 0 and the end of the block 1 bit each; then of length 257, too, 2 bits like the literal.
TWO, THREE = [(1, 0), (18, 127), (18, 106), (1, 0)], [(2, 0), (18, 127), (18, 106), (1, 0), (2, 0)]


def two_zeros(literals: int, distances: int) -> bytes:
    """A dynamic block with so many codes, of which it uses two."""
    rest = [(0, 0)] * (literals - 257 + distances)
    block = Bits().dynamic(literals, distances, META).lengths(META, *TWO, *rest)
    return block.code(1, 0).code(1, 0).code(1, 1).done()


def repeated(*distances: tuple[int, int], value: tuple[int, int]) -> bytes:
    """A zero that is repeated three times, from a distance that has this code."""
    block = Bits().dynamic(258, len(distances), META).lengths(META, *THREE, *distances)
    return block.code(2, 2).code(2, 3).code(*value).code(1, 0).done()


def from_afar(symbol: int) -> bytes:
    """Three bytes from where the reserved distance symbol is taken to point."""
    return Bits().stored(AFAR, last=False).block(1).fixed(257).code(5, symbol).number(0, 13).fixed(256).done()


AFAR = noise(24_600)

#: What a decoder may overlook (RFC 1951, sections 3.2.5 to 3.2.7), and the faster ones do. There is nothing else that
#: zlib refuses and they take: see :func:`test_single_bits`.
LENIENT = {
    "287 literal codes": Lenient(two_zeros(287, 1), bytes(2), "more than 286"),
    "288 literal codes": Lenient(two_zeros(288, 1), bytes(2), "more than 286"),
    "31 distance codes": Lenient(two_zeros(257, 31), bytes(2), "more than 30"),
    "32 distance codes": Lenient(two_zeros(257, 32), bytes(2), "more than 30"),
    "length symbol 286": Lenient(
        Bits().block(1).fixed(65, 286).code(5, 0).fixed(256).done(),
        b"A" * 259,
        "length symbol that is reserved",
    ),
    "length symbol 287": Lenient(
        Bits().block(1).fixed(65, 287).code(5, 0).fixed(256).done(),
        b"A" * 259,
        "length symbol that is reserved",
    ),
    "distance symbol 30": Lenient(from_afar(30), AFAR + AFAR[23:26], "distance symbol that is reserved"),
    "distance symbol 31": Lenient(from_afar(31), AFAR + AFAR[23:26], "distance symbol that is reserved"),
    "the other code beside the only one": Lenient(
        Bits().dynamic(257, 1, META).lengths(META, *NO_LITERALS, (1, 0), (0, 0)).code(1, 1).done(),
        b"",
        "no literal or length has this code",
    ),
    "the other distance beside the only one": Lenient(
        repeated((1, 0), value=(1, 1)), bytes(4), "no distance has this code"
    ),
    "a distance where there is none": Lenient(
        repeated((0, 0), value=(1, 0)), bytes(4), "no distance has this code"
    ),
    "a single literal code that is too long": Lenient(
        Bits().dynamic(257, 1, META).lengths(META, *NO_LITERALS, (2, 0), (0, 0)).code(2, 0).done(),
        b"",
        "literal and length codes that leave some",
        "isal-package",
    ),
    "too few distance codes": Lenient(
        repeated((2, 0), (2, 0), value=(2, 0)),
        bytes(4),
        "distance codes that leave some",
        "isal-package",
    ),
}


def decoder_of(variant: str) -> str:
    """Who decodes whole units of gzip and zlib."""
    found = available(native_codecs=True) & (VARIANTS[variant] or frozenset(codecs.IMPLEMENTATIONS))
    choice = codecs.choose(Kind.DECOMPRESS, "gzip", 0, 15, found)
    assert choice is not None
    return choice[0]


def with_checks(stream: bytes, content: bytes) -> dict[str, bytes]:
    """The wrappers with check values of this content."""
    crc, length = zlib.crc32(content).to_bytes(4, "little"), len(content).to_bytes(4, "little")
    return {
        "gzip": gzip.compress(b"")[:10] + stream + crc + length,
        "zlib": b"\x78\x9c" + stream + zlib.adler32(content).to_bytes(4, "big"),
    }


def by_zlib(data: bytes, wbits: int) -> tuple[bytes, bool]:
    """What zlib makes, byte by byte as far as it comes; whether it takes it."""
    decoder, content = zlib.decompressobj(wbits), b""
    try:
        for start in range(len(data)):
            content += decoder.decompress(data[start : start + 1])
    except zlib.error:
        return content, False
    return content, decoder.eof and not decoder.unused_data


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", LENIENT)
def test_what_only_a_check_value_covers(variant: str, name: str) -> None:
    """Whoever takes it has the right content; streams and raw deflate are zlib's, which refuses it."""
    stream, content, words_, taken_by = LENIENT[name]
    begun, taken = by_zlib(stream, -15)
    assert not taken
    assert content.startswith(begun)
    device = open_device(variant)
    with contextlib.closing(device.open_queue(4)) as queue:
        for algorithm, data in with_checks(stream, content).items():
            for source in (data, [data[:9], data[9:]]):
                (done,) = run(queue, [Decompress(source, algorithm)])
                if decoder_of(variant) == taken_by:
                    assert (done.status, done.output) == (Status.SUCCESS, content)
                else:
                    assert (done.status, done.detail.cause) == (Status.DATA_ERROR, CORRUPT)
                    assert words_ in done.detail.message
            session = device.open_session(StreamSpec(Direction.DECOMPRESS, algorithm))
            (done,) = run(queue, [DecompressChunk(session, data)])
            assert (done.status, done.detail.cause) == (Status.DATA_ERROR, CORRUPT)
        (done,) = run(queue, [Decompress(stream, "deflate")])
        assert (done.status, done.detail.cause) == (Status.DATA_ERROR, CORRUPT)


@pytest.mark.parametrize("variant", VARIANTS)
def test_single_bits(variant: str) -> None:
    """Each bit of a unit changed by itself. Streams agree with zlib; whole units differ in what is above, if at all."""
    device, who = open_device(variant), decoder_of(variant)
    known = {row.words for row in LENIENT.values() if row.taken_by == who}
    overlooked = 0
    with contextlib.closing(device.open_queue(64)) as queue:
        for content, strategy in (
            (bytes(1000), zlib.Z_DEFAULT_STRATEGY),
            (b"ab" * 600, zlib.Z_FIXED),
            (b"a", zlib.Z_DEFAULT_STRATEGY),
            (words(150), zlib.Z_DEFAULT_STRATEGY),
            (bytes(300) + words(40), zlib.Z_RLE),
        ):
            encoder = zlib.compressobj(9, zlib.DEFLATED, 31, 8, strategy)
            packed = encoder.compress(content) + encoder.flush()
            changed = [
                packed[: bit // 8] + bytes([packed[bit // 8] ^ 1 << bit % 8]) + packed[bit // 8 + 1 :]
                for bit in range(len(packed) * 8)
            ]
            whole = run(queue, [Decompress(data, "gzip") for data in changed])
            listed = run(queue, [Decompress([data[:50], data[50:]], "gzip") for data in changed])
            for data, one, two in zip(changed, whole, listed, strict=True):
                assert (one.status, one.output) == (two.status, two.output)
                session = device.open_session(StreamSpec(Direction.DECOMPRESS, "gzip"))
                (step,) = run(queue, [DecompressChunk(session, data)])
                expected, taken = by_zlib(data, 31)
                assert taken == (step.status is Status.SUCCESS and step.detail.final)
                if taken:
                    assert one.output == step.output == expected
                elif one.status is Status.SUCCESS:
                    found = binding.explain(codecs.Format.GZIP, data, 0, False, None)
                    assert one.output == content
                    assert found is not None
                    assert any(words_ in found[2] for words_ in known), found
                    overlooked += 1
    if who in ("zlib", "zlib-module"):
        assert not overlooked
    if who == "libdeflate":
        assert overlooked >= 3


def test_changed_bits(queue: CpuQueue) -> None:
    """Some bits in each of many copies: the content is right or there is an error, and nothing falls over it."""
    chance = random.Random(1)
    content = words(2000)
    for algorithm in ("gzip", "zlib", "deflate"):
        packed = pack(content, algorithm)
        changed = []
        for _ in range(300):
            copy = bytearray(packed)
            copy[chance.randrange(len(copy))] ^= 1 << chance.randrange(8)
            changed.append(bytes(copy))
        for data, done in zip(
            changed, run(queue, [Decompress(each, algorithm) for each in changed]), strict=True
        ):
            if done.status is Status.SUCCESS:
                expected, taken = by_zlib(data, WBITS[algorithm])
                assert done.output == (expected if taken else content)
            else:
                assert done.status in (Status.DATA_ERROR, Status.CHECKSUM_FAILED)
                assert done.detail.message
                assert done.detail.cause is not None


def zlibs_verdict(data: bytes) -> str:
    decoder = zlib.decompressobj(-15)
    try:
        decoder.decompress(data)
    except zlib.error:
        return "wrong"
    return "good" if decoder.eof else "truncated"


def test_the_explanation_agrees_with_zlib() -> None:
    """What zlib takes, nothing is found wrong with; what it refuses, something is; and it knows the end when it comes."""
    chance, verdicts = random.Random(2), {"good": 0, "wrong": 0, "truncated": 0}
    for seed in range(2000):
        content = words(chance.randrange(1, 800), seed) if seed % 3 else noise(seed % 50, seed)
        strategy = chance.choice([zlib.Z_DEFAULT_STRATEGY, zlib.Z_FIXED, zlib.Z_RLE, zlib.Z_HUFFMAN_ONLY])
        encoder = zlib.compressobj(6, zlib.DEFLATED, -15, 8, strategy)
        changed = bytearray(encoder.compress(content) + encoder.flush())
        for _ in range(chance.randrange(3)):
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        data = bytes(changed[: chance.randrange(len(changed) + 1)] if chance.randrange(5) == 0 else changed)
        found = binding.explain(codecs.Format.DEFLATE, data, 0, False, None)
        cause = binding.CAUSES[found[1]] if found else None
        verdict = {None: "good", TRUNCATED: "truncated"}.get(cause, "wrong")
        assert verdict == zlibs_verdict(data), (seed, found)
        verdicts[verdict] += 1
    assert min(verdicts.values()) > 100, verdicts


def test_noise(queue: CpuQueue, device: CpuDevice) -> None:
    """Whatever comes, a worker answers and lives."""
    for algorithm in (row.algorithm for row in device.capabilities if row.kind is Kind.DECOMPRESS):
        inputs = [noise(size, size) for size in (1, 2, 3, 10, 50, 400, 20_000)] * 3 + [
            b"\xff" * 50_000,
            bytes(50_000),
        ]
        done = run(queue, [Decompress(data, algorithm, max_length=1 << 20) for data in inputs])
        bad = {Status.DATA_ERROR, Status.CHECKSUM_FAILED, Status.OUT_OF_SPACE_TERMINATED, Status.SUCCESS}
        assert {each.status for each in done} <= bad
        (done_after,) = run(queue, [Decompress(pack(b"fine", algorithm), algorithm)])
        assert done_after.output == b"fine"
