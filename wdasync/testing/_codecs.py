"""The work of the mock backend, done by the standard library: deflate in its three wrappers.

An encoder and a decoder are states of a stream; a whole unit is one step of a fresh one. All functions are
pure in the sense that counts: they touch no queue, and what they return is an :class:`Outcome`.
"""

from __future__ import annotations

import sys
import zlib
from typing import Final, NamedTuple, Protocol

from ..backend import NO_DETAIL, Detail
from ..errors import DataCause, Status
from ..operations import Flush

__all__ = ["CODECS", "Codec", "Decoder", "Encoder", "Outcome", "begins_a_member", "later_member"]


class Outcome(NamedTuple):
    """What came of some work: the fields of a completion that do not depend on the queue."""

    status: Status
    output: bytes = b""
    consumed: int = 0
    detail: Detail = NO_DETAIL


class Encoder(Protocol):
    """A compressing stream."""

    def step(self, data: bytes, flush: Flush) -> bytes: ...


class Decoder(Protocol):
    """A decompressing stream of one member."""

    @property
    def ended(self) -> bool:
        """Whether the member's end was seen."""

    def step(self, data: bytes, limit: int) -> Outcome:
        """Decode; at most ``limit`` bytes come out, and ``consumed`` says how much of ``data`` was used."""


class Codec(NamedTuple):
    """One algorithm.

    :ivar levels: lowest and highest level
    :ivar windows: smallest and largest base-2 logarithm of the history
    :ivar members: concatenated units are one whole
    :ivar offset: what zlib adds to the window to choose the wrapper
    :ivar sign: -1 for raw deflate, as zlib wants it
    """

    levels: tuple[int, int]
    windows: tuple[int, int]
    members: bool
    offset: int = 0
    sign: int = 1

    def encoder(self, level: int, window: int) -> Encoder:
        return _DeflateEncoder(level, self.sign * (self.offset + window))

    def decoder(self, window: int) -> Decoder:
        return _DeflateDecoder(self.sign * (self.offset + window))

    def compress(self, data: bytes, level: int, window: int) -> bytes:
        return self.encoder(level, window).step(data, Flush.FINISH)

    def decompress(self, data: bytes, window: int, limit: int, max_members: int) -> Outcome:
        """Decode one whole unit, concatenated members included, into at most ``limit`` bytes."""
        parts: list[bytes] = []
        produced = position = members = 0
        while True:
            if members == max_members:
                return _bound(f"more than {max_members} members")
            decoder = self.decoder(window)
            step = decoder.step(data[position:], min(limit, sys.maxsize - 1) - produced + 1)
            if step.status is not Status.SUCCESS:
                return later_member(step) if members else step
            parts.append(step.output)
            produced += len(step.output)
            position += step.consumed
            members += 1
            if produced > limit:
                return _bound(f"more than {limit} bytes")
            if not decoder.ended:
                return _bad(DataCause.TRUNCATED, "the input ends before its format does")
            if self.members:  # zeros after one are padding, as gzip(1) has it
                position = len(data) - len(data[position:].lstrip(b"\0"))
            if position == len(data):
                return Outcome(Status.SUCCESS, b"".join(parts), position)
            if not self.members or not begins_a_member(data[position:]):
                return _bad(DataCause.TRAILING_DATA, f"{len(data) - position} bytes after the end")


#: Algorithm -> how. The rows of the mock's capability table are made from it.
CODECS: Final[dict[str, Codec]] = {
    "gzip": Codec((0, 9), (9, 15), members=True, offset=16),
    "zlib": Codec((0, 9), (9, 15), members=False),
    "deflate": Codec((0, 9), (9, 15), members=False, sign=-1),
}

#: Words in zlib's messages -> what is wrong.
CAUSES: Final = {
    "incorrect data check": DataCause.CHECKSUM,
    "incorrect length check": DataCause.CHECKSUM,
    "incorrect header check": DataCause.WRONG_FORMAT,
    "unknown compression method": DataCause.WRONG_FORMAT,
    "invalid window size": DataCause.WRONG_FORMAT,
    "unknown header flags": DataCause.WRONG_FORMAT,
    "Error 2 ": DataCause.DICTIONARY,  # Z_NEED_DICT
}

_FLUSHES: Final = {
    Flush.NONE: zlib.Z_NO_FLUSH,
    Flush.SYNC: zlib.Z_SYNC_FLUSH,
    Flush.FULL: zlib.Z_FULL_FLUSH,
    Flush.FINISH: zlib.Z_FINISH,
}


class _DeflateEncoder:
    def __init__(self, level: int, wbits: int) -> None:
        self._state = zlib.compressobj(level, zlib.DEFLATED, wbits)

    def step(self, data: bytes, flush: Flush) -> bytes:
        return self._state.compress(data) + (self._state.flush(_FLUSHES[flush]) if flush else b"")


class _DeflateDecoder:
    def __init__(self, wbits: int) -> None:
        self._state = zlib.decompressobj(wbits)

    @property
    def ended(self) -> bool:
        return self._state.eof

    def step(self, data: bytes, limit: int) -> Outcome:
        try:
            output = self._state.decompress(data, limit)
        except zlib.error as error:
            return _explain(str(error))
        # At the end of a stream that was bounded before, what is behind it may be in both.
        left = len(self._state.unused_data if self._state.eof else self._state.unconsumed_tail)
        return Outcome(Status.SUCCESS, output, len(data) - left)


def _explain(message: str) -> Outcome:
    cause = next((cause for words, cause in CAUSES.items() if words in message), DataCause.CORRUPT)
    return _bad(cause, message)


def begins_a_member(data: bytes) -> bool:
    """Whether gzip's magic number stands there, or as much of it as has come."""
    return bool(data) and b"\x1f\x8b".startswith(data[:2])


def later_member(step: Outcome) -> Outcome:
    """What is wrong after a whole member: something that is no member at all is trailing data."""
    if step.detail.cause is DataCause.WRONG_FORMAT:
        return _bad(DataCause.TRAILING_DATA, "what follows the last member is not another one")
    return step


def _bad(cause: DataCause, message: str) -> Outcome:
    status = Status.CHECKSUM_FAILED if cause is DataCause.CHECKSUM else Status.DATA_ERROR
    return Outcome(status, detail=Detail(message, cause=cause))


def _bound(message: str) -> Outcome:
    return Outcome(Status.OUT_OF_SPACE_TERMINATED, detail=Detail(message))
