"""Headers of zlib and gzip units: the engine makes and checks trailers, headers are the driver's.

The device sees the raw deflate data and what follows it. So a header of any length and with any optional field can be
read, which the fixed 2 and 10 bytes of other drivers do not allow. Sources: RFC 1950 section 2.2, RFC 1952
section 2.3.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Final

from wdasync.backend import DataCause, Status
from wdasync.buffers import Segment

from .zip_descriptor import WINDOWS, Format

__all__ = ["EMPTY_UNIT", "HEADERS", "HeaderError", "gzip_trailer", "header_length", "peek"]

_GZIP_MAGIC: Final = b"\x1f\x8b"
_GZIP_FIXED: Final = 10
_FHCRC, _FEXTRA, _FNAME, _FCOMMENT, _RESERVED = 0x02, 0x04, 0x08, 0x10, 0xE0


def _zlib_header(window: int) -> bytes:
    first, second = (window - 8) << 4 | 8, 2 << 6  # method deflate; level "default"
    return bytes((first, second + 31 - (first << 8 | second) % 31))


#: (format, base-2 logarithm of the window) -> what the driver writes before the device's output. gzip: no time, no
#: name, system Unix.
HEADERS: Final = {
    **{(Format.DEFLATE, window): b"" for window in WINDOWS},
    **{(Format.ZLIB, window): _zlib_header(window) for window in WINDOWS},
    **{(Format.GZIP, window): b"\x1f\x8b\x08\0\0\0\0\0\0\x03" for window in WINDOWS},
}

#: A whole unit with nothing in it, which needs no device: an empty final block and the trailer.
_EMPTY_BLOCK: Final = b"\x03\0"
EMPTY_UNIT: Final = {
    Format.DEFLATE: _EMPTY_BLOCK,
    Format.ZLIB: HEADERS[Format.ZLIB, 15] + _EMPTY_BLOCK + b"\0\0\0\x01",
    Format.GZIP: HEADERS[Format.GZIP, 15] + _EMPTY_BLOCK + bytes(8),
}


class HeaderError(Exception):
    """Raised when an input does not begin with a header of its format.

    :ivar status: for the queue contract
    :ivar cause: what is wrong
    """

    def __init__(self, message: str, cause: DataCause, status: Status = Status.DATA_ERROR) -> None:
        super().__init__(message)
        self.cause = cause
        self.status = status


#: Joins pieces of memory; for memory that is not surely there, it is the caller's.
Copy = Callable[[Sequence[Segment]], bytes]


def peek(segments: Sequence[Segment], offset: int, nbytes: int, copy: Copy = b"".join) -> bytes:
    """Up to ``nbytes`` of an input that lies in pieces, from ``offset`` on."""
    found: list[Segment] = []
    for segment in segments:
        if offset < len(segment):
            found.append(segment[offset : offset + nbytes])
            nbytes -= len(found[-1])
            if not nbytes:
                break
        offset = max(offset - len(segment), 0)
    return copy(found)


def gzip_trailer(checksum: int, isize: int) -> bytes:
    """The trailer of a gzip member, from the engine's fields.

    :param checksum: the CRC-32 as the engine keeps it: bits reversed, then complemented
    :param isize: bytes of output
    """
    crc = int(f"{checksum ^ 0xFFFFFFFF:032b}"[::-1], 2)
    return crc.to_bytes(4, "little") + isize.to_bytes(4, "little")


def header_length(unit: Format, segments: Sequence[Segment], offset: int, copy: Copy = b"".join) -> int:
    """Bytes of the header of the unit that begins at ``offset``.

    :param copy: as for :func:`peek`
    :raises HeaderError: there is none, it is damaged, or the input ends in it
    """
    if unit is Format.DEFLATE:
        return 0
    if unit is Format.ZLIB:
        return _zlib_length(peek(segments, offset, 2, copy))
    nbytes = 512
    while True:
        data = peek(segments, offset, nbytes, copy)
        length = _gzip_length(data)
        if length is not None:
            return length
        if len(data) < nbytes:
            raise _truncated("gzip")
        nbytes *= 4


def _truncated(name: str) -> HeaderError:
    return HeaderError(f"the input ends within the {name} header", DataCause.TRUNCATED)


def _zlib_length(data: bytes) -> int:
    if len(data) < 2:
        raise _truncated("zlib")
    if data[0] & 15 != 8 or data[0] >> 4 > 7 or int.from_bytes(data, "big") % 31:
        raise HeaderError(f"not a zlib header: {data.hex(' ')}", DataCause.WRONG_FORMAT)
    if data[1] & 0x20:
        raise HeaderError("the zlib unit wants a preset dictionary, and there is none", DataCause.DICTIONARY)
    return 2


def _gzip_length(data: bytes) -> int | None:
    """Length of the header; ``None`` if it ends behind ``data``."""
    if data[:2] != _GZIP_MAGIC[: len(data)]:
        raise HeaderError(f"not a gzip header: {data[:2].hex(' ')}", DataCause.WRONG_FORMAT)
    if len(data) < _GZIP_FIXED:
        return None
    method, flags = data[2], data[3]
    if method != 8 or flags & _RESERVED:
        raise HeaderError(f"gzip method {method} with flags {flags:#x} is not defined", DataCause.CORRUPT)
    end = _optional_fields(data, flags)
    if end is None or end > len(data):
        return None
    if flags & _FHCRC:
        wanted = int.from_bytes(data[end - 2 : end], "little")
        if zlib.crc32(data[: end - 2]) & 0xFFFF != wanted:
            message = "the check value of the gzip header is another"
            raise HeaderError(message, DataCause.CHECKSUM, Status.CHECKSUM_FAILED)
    return end


def _optional_fields(data: bytes, flags: int) -> int | None:
    """Where the header ends, which may be behind ``data``; ``None`` if that cannot be told yet."""
    end = _GZIP_FIXED
    if flags & _FEXTRA:
        if len(data) < end + 2:
            return None
        end += 2 + int.from_bytes(data[end : end + 2], "little")
    for _ in range(bool(flags & _FNAME) + bool(flags & _FCOMMENT)):
        end = data.find(b"\0", end) + 1
        if not end:
            return None
    return end + 2 * bool(flags & _FHCRC)
