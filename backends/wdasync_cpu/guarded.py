"""Memory of the caller's as Python threads read and write it: it may go away, and then an operation ends, and not the process.

A library that is called from Python cannot be guarded: it would be left in the middle, with what it holds. So it gets a copy, made in
C under the guard, of whatever is not the process's own memory.
"""

from __future__ import annotations

from typing import Final

from wdasync.buffers import Segment, join, listed

from . import binding

__all__ = ["Gone", "held", "put", "whole"]

#: Whose memory is the process's own.
_STAYING: Final = (bytes, bytearray)


class Gone(Exception):
    """Raised when memory of the caller's is not there. Its text says where."""

    def __init__(self, position: int, what: str) -> None:
        super().__init__(f"no memory at byte {position} of the {what}: {binding.LOST_MEMORY}")


def held(segment: Segment, position: int = 0) -> Segment:
    """A segment that stays: itself, or a copy.

    :param position: of its first byte in the input
    :raises Gone: if it is not there
    """
    if type(segment) is bytes or type(memoryview(segment).obj) in _STAYING:
        return segment
    copy = bytearray(len(segment))
    _copy(copy, segment, position, "input")
    return memoryview(copy)


def whole(source: Segment | tuple[Segment, ...]) -> Segment:
    """An input in one piece that stays.

    :raises Gone: if it is not there
    """
    parts, position = [], 0
    for segment in listed(source):
        parts.append(held(segment, position))
        position += len(segment)
    return join(tuple(parts))


def put(output: bytes, destination: memoryview) -> None:
    """An output in its place.

    :raises Gone: if that is not there
    """
    if type(destination.obj) in _STAYING:
        destination[: len(output)] = output
    else:
        _copy(destination, output, 0, "output")


def _copy(to: bytearray | memoryview, source: Segment, position: int, what: str) -> None:
    """In C, without the interpreter's lock."""
    if (at := binding.guarded_copy(to, source)) < len(source):
        raise Gone(position + at, what)
