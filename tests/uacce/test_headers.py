"""Headers: those that are written, all those that can be read, and what is wrong with the rest."""

import gzip
import struct
import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wdasync.backend import DataCause, Status
from wdasync_uacce.zip_descriptor import WINDOWS, Format
from wdasync_uacce.zip_headers import EMPTY_UNIT, HEADERS, HeaderError, header_length, peek

WBITS = {Format.DEFLATE: -15, Format.ZLIB: 15, Format.GZIP: 31}


def gzip_header(
    *,
    extra: bytes | None = None,
    name: bytes | None = None,
    comment: bytes | None = None,
    check: bool = False,
) -> bytes:
    flags = 2 * check | 4 * (extra is not None) | 8 * (name is not None) | 16 * (comment is not None)
    header = struct.pack("<BBBBIBB", 0x1F, 0x8B, 8, flags, 12345, 0, 255)
    if extra is not None:
        header += struct.pack("<H", len(extra)) + extra
    header += b"".join(text + b"\0" for text in (name, comment) if text is not None)
    if check:
        header += struct.pack("<H", zlib.crc32(header) & 0xFFFF)
    return header


def test_the_fixed_headers_are_those_of_other_drivers() -> None:
    assert HEADERS[Format.ZLIB, 15] == b"\x78\x9c"
    assert HEADERS[Format.GZIP, 15] == bytes.fromhex("1f8b0800000000000003")
    assert HEADERS[Format.DEFLATE, 15] == b""


@pytest.mark.parametrize("unit", Format)
@pytest.mark.parametrize("window", WINDOWS)
def test_headers_are_accepted_by_another_decoder(unit: Format, window: int) -> None:
    worker = zlib.compressobj(1, zlib.DEFLATED, -window)
    body = worker.compress(b"x" * 5000) + worker.flush()
    data = b"x" * 5000
    trailer = {
        1: b"",
        2: struct.pack(">I", zlib.adler32(data)),
        3: struct.pack("<II", zlib.crc32(data), 5000),
    }[unit]
    decoder = zlib.decompressobj(WBITS[unit])
    assert decoder.decompress(HEADERS[unit, window] + body + trailer) == data
    assert decoder.eof
    if unit is Format.ZLIB:
        assert HEADERS[unit, window][0] >> 4 == window - 8


@pytest.mark.parametrize("unit", Format)
def test_the_empty_unit_is_one(unit: Format) -> None:
    decoder = zlib.decompressobj(WBITS[unit])
    assert decoder.decompress(EMPTY_UNIT[unit]) == b""
    assert decoder.eof
    assert decoder.unused_data == b""


texts = st.none() | st.binary(max_size=2000).map(lambda text: text.replace(b"\0", b"\1"))


@given(
    extra=st.none() | st.binary(max_size=3000), name=texts, comment=texts, check=st.booleans(),
    before=st.binary(max_size=20), cuts=st.lists(st.integers(0, 6000), max_size=5),
)  # fmt: skip
def test_any_gzip_header_is_skipped(
    extra: bytes | None,
    name: bytes | None,
    comment: bytes | None,
    check: bool,
    before: bytes,
    cuts: list[int],
) -> None:
    header = gzip_header(extra=extra, name=name, comment=comment, check=check)
    data = before + header + b"body"
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    segments = [data[first:last] for first, last in pairwise(edges)]
    assert header_length(Format.GZIP, segments, len(before)) == len(header)


def test_what_gzip_itself_writes_is_skipped() -> None:
    assert header_length(Format.GZIP, [gzip.compress(b"data")], 0) == 10


@pytest.mark.parametrize("length", range(len(gzip_header(extra=b"ab", name=b"n", comment=b"c", check=True))))
def test_a_header_that_ends_too_early(length: int) -> None:
    header = gzip_header(extra=b"ab", name=b"n", comment=b"c", check=True)
    with pytest.raises(HeaderError, match="ends within the gzip header") as caught:
        header_length(Format.GZIP, [header[:length]], 0)
    assert (caught.value.cause, caught.value.status) == (DataCause.TRUNCATED, Status.DATA_ERROR)


CORRUPT, WRONG, CHECKSUM = DataCause.CORRUPT, DataCause.WRONG_FORMAT, DataCause.CHECKSUM
BAD_CHECK = bytearray(gzip_header(name=b"name", check=True))
BAD_CHECK[-1] ^= 1


@pytest.mark.parametrize(
    ("unit", "data", "cause"),
    [
        (Format.GZIP, b"\x78\x9c" + bytes(20), WRONG),
        (Format.GZIP, b"\x1f\x8c" + bytes(20), WRONG),
        (Format.GZIP, b"\x1f\x8b\x07" + bytes(20), CORRUPT),
        (Format.GZIP, b"\x1f\x8b\x08\x20" + bytes(20), CORRUPT),
        (Format.GZIP, bytes(BAD_CHECK) + bytes(20), CHECKSUM),
        (Format.ZLIB, b"\x1f\x8b\x08", WRONG),
        (Format.ZLIB, b"\x78\x9d", WRONG),
        (Format.ZLIB, b"\x79\x9c", WRONG),
        (Format.ZLIB, b"\x88\x1c", WRONG),
        (Format.ZLIB, b"\x78\xbb", DataCause.DICTIONARY),
        (Format.ZLIB, b"\x78", DataCause.TRUNCATED),
        (Format.ZLIB, b"", DataCause.TRUNCATED),
    ],
)
def test_what_is_wrong_with_a_header(unit: Format, data: bytes, cause: DataCause) -> None:
    with pytest.raises(HeaderError) as caught:
        header_length(unit, [data], 0)
    assert caught.value.cause is cause
    assert caught.value.status is (Status.CHECKSUM_FAILED if cause is CHECKSUM else Status.DATA_ERROR)


def test_raw_deflate_has_none() -> None:
    assert header_length(Format.DEFLATE, [b"anything"], 3) == 0


@given(st.lists(st.binary(max_size=8), max_size=8), st.integers(0, 70), st.integers(0, 70))
def test_peek_is_a_slice(segments: list[bytes], offset: int, nbytes: int) -> None:
    assert peek(segments, offset, nbytes) == b"".join(segments)[offset : offset + nbytes]
