"""The header of a gzip member (RFC 1952, section 2.3), read without decompressing anything.

::

    +---+---+---+---+---+---+---+---+---+---+
    |1f |8b | 8 |FLG|     MTIME     |XFL|OS |   then, as FLG says:
    +---+---+---+---+---+---+---+---+---+---+
    |XLEN, extra|  |name, 0|  |comment, 0|  |CRC16|
"""

from __future__ import annotations

import enum
import struct
import zlib
from typing import TYPE_CHECKING, Final, NamedTuple

from .buffers import join, pin_source
from .errors import DataCause, DataError

if TYPE_CHECKING:
    from .buffers import Source

__all__ = ["GzipFlag", "GzipHeader", "read_gzip_header"]

_FIXED: Final = struct.Struct("<2sBBIBB")
_MAGIC: Final = b"\x1f\x8b"
_DEFLATE: Final = 8


class GzipFlag(enum.IntFlag):
    """What the flags of a header may say; the three highest bits are reserved."""

    TEXT = 1
    HEADER_CRC = 2
    EXTRA = 4
    NAME = 8
    COMMENT = 16


class GzipHeader(NamedTuple):
    """What a member says of itself. Nothing of it is checked by what follows: anybody can write anything here.

    :ivar mtime: when the file was last changed, in seconds since 1970; 0: not known
    :ivar filename: its name, without a directory; ``None``: there is none. Latin-1, as the format says
    :ivar comment: for people; ``None``: there is none
    :ivar extra: subfields; ``None``: there are none
    :ivar text: the file is probably text
    :ivar level_hint: 2: made as small as could be, 4: as fast as could be, 0: neither is said
    :ivar os: kind of file system: 0 FAT, 3 Unix, 255 unknown, …
    :ivar header_crc: the header has a check value of its own, and it is right
    :ivar length: bytes of the header; the compressed data begins there
    """

    mtime: int
    filename: str | None
    comment: str | None
    extra: bytes | None
    text: bool
    level_hint: int
    os: int
    header_crc: bool
    length: int


def read_gzip_header(data: Source) -> GzipHeader:
    """The header of the first member of ``data``, of which only the beginning need be there.

    :param data: bytes-like, or a list of them
    :raises InvalidArgument: if it is not bytes-like
    :raises DataError: if there is no gzip header, or only a part of one (cause TRUNCATED)
    """
    return _Reader(bytes(join(pin_source(data)[0]))).read()


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def read(self) -> GzipHeader:
        if not _MAGIC.startswith(self.data[:2]):
            raise _wrong(
                f"1f 8b, got {self.data[:2].hex(' ')}", "this is no gzip data", DataCause.WRONG_FORMAT
            )
        _, method, bits, mtime, level_hint, system = _FIXED.unpack(
            self.take(_FIXED.size, "its first 10 bytes")
        )
        if method != _DEFLATE:
            raise _wrong(f"method 8 (deflate), got {method}", "nothing reads others", DataCause.WRONG_FORMAT)
        if bits & ~sum(GzipFlag):
            raise _wrong(f"flags up to 31, got {bits}", "the rest is reserved", DataCause.WRONG_FORMAT)
        extra = self.take_extra() if bits & GzipFlag.EXTRA else None
        filename = self.take_text("file name") if bits & GzipFlag.NAME else None
        comment = self.take_text("comment") if bits & GzipFlag.COMMENT else None
        header_crc = bool(bits & GzipFlag.HEADER_CRC)
        if header_crc:
            self.check_crc()
        text = bool(bits & GzipFlag.TEXT)
        return GzipHeader(
            mtime, filename, comment, extra, text, level_hint, system, header_crc, self.position
        )

    def take(self, count: int, what: str) -> bytes:
        taken = self.data[self.position : self.position + count]
        if len(taken) < count:
            raise _truncated(what, len(self.data))
        self.position += count
        return taken

    def take_extra(self) -> bytes:
        length = int.from_bytes(self.take(2, "the length of its extra field"), "little")
        return self.take(length, f"its extra field of {length} bytes")

    def take_text(self, what: str) -> str:
        end = self.data.find(0, self.position)
        if end < 0:
            raise _truncated(f"the zero that ends its {what}", len(self.data))
        text = self.data[self.position : end].decode("latin-1")
        self.position = end + 1
        return text

    def check_crc(self) -> None:
        real = zlib.crc32(self.data[: self.position]) & 0xFFFF
        stored = int.from_bytes(self.take(2, "its CRC"), "little")
        if stored != real:
            raise _wrong(
                f"CRC {real:#06x}, got {stored:#06x}", "it was damaged on its way here", DataCause.CHECKSUM
            )


def _wrong(text: str, advice: str, cause: DataCause) -> DataError:
    return DataError(f"gzip header: expected {text}; {advice}", cause=cause)


def _truncated(what: str, length: int) -> DataError:
    return _wrong(
        f"{what}, got the end of the data after {length} bytes", "give more of it", DataCause.TRUNCATED
    )
