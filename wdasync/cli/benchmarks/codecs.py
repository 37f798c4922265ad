"""The codecs that the peers use: the one that our side used, and what the standard library has."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Final, NamedTuple

__all__ = ["CODECS", "ZLIB", "Codec", "same_as"]


class Codec(NamedTuple):
    """Makes gzip members.

    :ivar name: library and level
    :ivar compress: data -> a gzip member
    :ivar same: our side makes the same bytes
    """

    name: str
    compress: Callable[[bytes], bytes]
    same: bool = False


def _zlib() -> Callable[[bytes], bytes]:
    compress = zlib.compress
    return lambda data: compress(data, 1, 31)


def _isal() -> Callable[[bytes], bytes]:
    compress: Callable[..., bytes] = import_module("isal.isal_zlib").compress
    return lambda data: compress(data, 1, 31)


def _libdeflate() -> Callable[[bytes], bytes]:
    compress: Callable[..., bytes] = import_module("deflate").gzip_compress
    return lambda data: bytes(compress(data, 1))


#: What programs use today, without another package.
ZLIB: Final = Codec("zlib 1", _zlib())

#: Name -> what makes its function. The first is taken if our side uses none of them.
CODECS: Final[dict[str, Callable[[], Callable[[bytes], bytes]]]] = {
    "isal 1": _isal,
    "libdeflate 1": _libdeflate,
    "zlib 1": _zlib,
}

#: Bytes before and after the deflate stream in a gzip member without optional fields (RFC 1952 section 2.3).
_HEADER: Final = 10
_TRAILER: Final = 8


def same_as(outputs: Iterable[tuple[bytes, bytes]]) -> Codec:
    """The codec whose deflate streams are, byte for byte, those of our side: it does the same work.

    :param outputs: (input, output) pairs of our side
    :returns: that codec; if there is none, the first of the table, not marked as the same
    """
    pairs = list(outputs)
    for name, make in CODECS.items():
        compress = make()
        if all(_stream(compress(data)) == _stream(output) for data, output in pairs):
            return Codec(name, compress, same=True)
    first = next(iter(CODECS))
    return Codec(first, CODECS[first]())


def _stream(member: bytes) -> bytes:
    return member[_HEADER:-_TRAILER]
