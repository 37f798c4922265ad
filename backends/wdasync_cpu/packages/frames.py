"""Frames, of Zstandard and of LZ4: how one begins, how it is decoded, and what is wrong with it."""

from __future__ import annotations

import enum
from typing import Any, Final

from wdasync.buffers import Segment
from wdasync.errors import DataCause, Status

from .. import codecs
from ..binding import Outcome
from ..codecs import Format
from ..plans import Plan
from .outcomes import failed

__all__ = ["FORMATS", "FrameDecoder", "FrameKind", "explain_frame", "frame_kind", "most_window"]

_MAGIC: Final = {Format.ZSTD: b"\x28\xb5\x2f\xfd", Format.LZ4: b"\x04\x22\x4d\x18"}
_SKIPPABLE: Final = b"\x2a\x4d\x18"

#: Formats whose units are frames.
FORMATS: Final = frozenset(_MAGIC)

#: Words in the packages' messages -> what is wrong.
_FRAME_CAUSES: Final = {
    "unknown frame descriptor": DataCause.WRONG_FORMAT,
    "version not supported": DataCause.WRONG_FORMAT,
    "frametype_unknown": DataCause.WRONG_FORMAT,
    "checksum": DataCause.CHECKSUM,
    "dictionary mismatch": DataCause.DICTIONARY,
}


class FrameKind(enum.Enum):
    """What begins where a frame may begin. MAYBE: there are too few bytes to tell."""

    NONE = enum.auto()
    MAYBE = enum.auto()
    DATA = enum.auto()
    SKIPPABLE = enum.auto()


def frame_kind(kind: Format, data: bytes | memoryview) -> FrameKind:
    """What begins with ``data``, of which four bytes tell."""
    begin = bytes(data[:4])
    full = FrameKind.MAYBE if len(begin) < 4 else None
    if _MAGIC[kind].startswith(begin):
        return full or FrameKind.DATA
    if begin[0] & 0xF0 == 0x50 and _SKIPPABLE.startswith(begin[1:]):
        return full or FrameKind.SKIPPABLE
    return FrameKind.NONE


class FrameDecoder:
    """The packages keep input that they cannot use yet, and do not say how much. So they are given little at a time, and all
    that it becomes is taken.

    :param little: bytes of input at a time
    :param room: bytes of output that this may become; -1: the package finds out. The one for LZ4 does not, and holds back
        what has no room at first
    """

    def __init__(self, state: Any, little: int, room: int) -> None:
        self._state = state
        self._little = little
        self._room = room
        self._kept = bytearray()

    @property
    def ended(self) -> bool:
        return bool(self._state.eof) and not self._kept

    def step(self, data: Segment, limit: int) -> tuple[bytes, int]:
        view, used = memoryview(data), 0
        while len(self._kept) < limit and used < len(view) and not self._state.eof:
            piece = view[used : used + self._little]
            self._kept += self._state.decompress(piece, self._room)
            used += len(piece) - len(self._state.unused_data or b"")
        output = bytes(self._kept[:limit])
        del self._kept[:limit]
        return output, used


def most_window(plan: Plan) -> int:
    """Bits of the largest history that a frame of Zstandard may claim."""
    return plan.window or codecs.ALGORITHMS["zstd"].windows[1]


def explain_frame(error: Exception, plan: Plan, *, later: bool) -> Outcome:
    """What is wrong with a frame, by the package's words.

    :param later: another frame has ended before
    """
    text = str(error)
    if "too much memory" in text:
        most = f"window: expected a frame with a history of at most 2**{most_window(plan)} bytes, got one that wants more"
        return failed(Status.INVALID_ARGS, most)
    cause = next(
        (cause for words, cause in _FRAME_CAUSES.items() if words in text.lower()), DataCause.CORRUPT
    )
    if cause is DataCause.WRONG_FORMAT and later:
        cause = DataCause.TRAILING_DATA
    status = Status.CHECKSUM_FAILED if cause is DataCause.CHECKSUM else Status.DATA_ERROR
    return failed(status, text, cause)
