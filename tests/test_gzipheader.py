"""Headers of gzip members, made by hand and by the standard library."""

from __future__ import annotations

import gzip
import io
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wdasync.errors import DataCause, DataError, InvalidArgument
from wdasync.gzipheader import GzipFlag, GzipHeader, read_gzip_header


def header(flags: int = 0, mtime: int = 0, hint: int = 0, system: int = 255, fields: bytes = b"") -> bytes:
    return b"\x1f\x8b\x08" + bytes([flags]) + mtime.to_bytes(4, "little") + bytes([hint, system]) + fields


def with_crc(data: bytes) -> bytes:
    return data + (zlib.crc32(data) & 0xFFFF).to_bytes(2, "little")


def test_the_least_that_a_header_can_be() -> None:
    assert read_gzip_header(header()) == GzipHeader(0, None, None, None, False, 0, 255, False, 10)


def test_all_fields() -> None:
    flags = GzipFlag.TEXT | GzipFlag.EXTRA | GzipFlag.NAME | GzipFlag.COMMENT | GzipFlag.HEADER_CRC
    data = with_crc(header(flags, 1_234_567_890, 2, 3, b"\x03\x00xyz" + b"caf\xe9.txt\x00" + b"\x00"))
    expected = GzipHeader(1_234_567_890, "café.txt", "", b"xyz", True, 2, 3, True, len(data))
    assert read_gzip_header(data + b"anything") == expected


def test_what_the_standard_library_writes() -> None:
    target = io.BytesIO()
    with gzip.GzipFile("page.html", "wb", fileobj=target, mtime=99) as file:
        file.write(b"content")
    found = read_gzip_header(target.getvalue())
    assert (found.filename, found.mtime) == ("page.html", 99)
    assert zlib.decompress(target.getvalue()[found.length : -8], -15) == b"content"


def test_any_bytes_like() -> None:
    data = header(GzipFlag.NAME, fields=b"name\x00")
    for source in (bytearray(data), memoryview(data), [data[:4], data[4:]], (data,)):
        assert read_gzip_header(source).filename == "name"
    with pytest.raises(InvalidArgument):
        read_gzip_header("text")  # type: ignore[arg-type]  # that is the test


@pytest.mark.parametrize(
    ("data", "cause", "words"),
    [
        (b"PK\x03\x04", DataCause.WRONG_FORMAT, "1f 8b, got 50 4b"),
        (b"\x1f\x8c", DataCause.WRONG_FORMAT, "1f 8b, got 1f 8c"),
        (b"\x1f\x8b\x07" + bytes(7), DataCause.WRONG_FORMAT, "method 8"),
        (b"\x1f\x8b\x08\x40" + bytes(6), DataCause.WRONG_FORMAT, "flags up to 31"),
        (header(GzipFlag.HEADER_CRC, fields=b"\x00\x00"), DataCause.CHECKSUM, "CRC"),
    ],
)
def test_what_is_no_header(data: bytes, cause: DataCause, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        read_gzip_header(data)
    assert caught.value.cause is cause


def test_every_truncation() -> None:
    flags = GzipFlag.EXTRA | GzipFlag.NAME | GzipFlag.COMMENT | GzipFlag.HEADER_CRC
    data = with_crc(header(flags, fields=b"\x02\x00ab" + b"name\x00" + b"comment\x00"))
    for length in range(len(data)):
        with pytest.raises(DataError, match="got the end of the data") as caught:
            read_gzip_header(data[:length])
        assert caught.value.cause is DataCause.TRUNCATED


@given(st.binary(max_size=60))
def test_whatever_comes(data: bytes) -> None:
    for source in (data, b"\x1f\x8b\x08" + data):
        try:
            found = read_gzip_header(source)
        except DataError:
            continue
        assert 10 <= found.length <= len(source)
