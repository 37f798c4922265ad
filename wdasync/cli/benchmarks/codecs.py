"""The codecs that the peers use: the one that our side used, and what the standard library has."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from typing import Any, Final, NamedTuple

__all__ = ["CODECS", "ZLIB", "Codec", "Likeness", "Pairs", "likeness", "same_as"]

#: Input and output of some operations.
Pairs = Sequence[tuple[bytes, bytes]]


class Codec(NamedTuple):
    """Makes gzip members.

    :ivar name: library and level; behind a comma, how it is called
    :ivar compress: data -> a gzip member
    :ivar same: our side makes the same bytes
    """

    name: str
    compress: Callable[[bytes], bytes]
    same: bool = False

    @property
    def family(self) -> str:
        """Library and level."""
        return self.name.partition(",")[0]


def _zlib() -> Callable[[bytes], bytes]:
    compress = zlib.compress
    return lambda data: compress(data, 1, 31)


def _isal() -> Callable[[bytes], bytes]:
    compress: Callable[..., bytes] = import_module("isal.isal_zlib").compress
    return lambda data: compress(data, 1, 31)


def _isal_stream() -> Callable[[bytes], bytes]:
    """It is not told with the data that nothing follows, so that it looks at the last bytes again."""
    compressobj: Callable[..., Any] = import_module("isal.isal_zlib").compressobj

    def compress(data: bytes) -> bytes:
        stream = compressobj(1, zlib.DEFLATED, 31)
        return bytes(stream.compress(data) + stream.flush())

    return compress


def _libdeflate() -> Callable[[bytes], bytes]:
    compress: Callable[..., bytes] = import_module("deflate").gzip_compress
    return lambda data: bytes(compress(data, 1))


#: What programs use today, without another package.
ZLIB: Final = Codec("zlib 1", _zlib())

#: Name -> what makes its function. The first is taken if our side uses none of them.
CODECS: Final[dict[str, Callable[[], Callable[[bytes], bytes]]]] = {
    "isal 1": _isal,
    "isal 1, stream": _isal_stream,
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


class Likeness(NamedTuple):
    """How much the work of another backend is like ours.

    :ivar codec: the one of the other backend; not marked as the same if it was not recognised
    :ivar same: it makes the same bytes as ours
    :ivar related: its codec is ours, library and level, whatever bytes it makes
    :ivar size: bytes that it makes by bytes that ours makes
    """

    codec: Codec
    same: bool
    related: bool
    size: float


def likeness(ours: Pairs, theirs: Pairs) -> Likeness:
    """Compare what came of the same inputs.

    :param ours: of our side
    :param theirs: of the other
    """
    mine, found = same_as(ours), same_as(theirs)
    streams = {data: _stream(output) for data, output in ours}
    same = all(streams[data] == _stream(output) for data, output in theirs)
    related = same or (mine.same and found.same and mine.family == found.family)
    sizes = [sum(len(_stream(output)) for _, output in pairs) for pairs in (theirs, ours)]
    return Likeness(found, same, related, sizes[0] / sizes[1])


def _stream(member: bytes) -> bytes:
    return member[_HEADER:-_TRAILER]
