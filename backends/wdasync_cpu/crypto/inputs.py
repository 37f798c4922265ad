"""Inputs in pieces, and outputs in their place."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from wdasync.backend import Detail
from wdasync.buffers import Segment, listed
from wdasync.errors import Status
from wdasync.operations import Operation

from ..binding import Outcome
from ..guarded import held, put
from ..packages import Stopped

__all__ = ["Refused", "delivered", "pieces"]

#: Bytes between two looks at whether to stop.
PIECE = 1 << 20

#: Says whether to give up.
Stop = Callable[[], bool]


class Refused(Exception):
    """Raised when an operation cannot be done as it was asked for. Its text says why, and nothing of a secret."""


def pieces(source: Segment | tuple[Segment, ...], stop: Stop) -> Iterator[Segment]:
    """An input, in pieces of at most 1 MiB.

    :raises Stopped: the queue is being stopped
    :raises Gone: it is not there
    """
    position = 0
    for segment in listed(source):
        if len(segment) <= PIECE:
            yield held(segment, position)
        else:
            view = memoryview(segment)
            for start in range(0, len(view), PIECE):
                if stop():
                    raise Stopped
                yield held(view[start : start + PIECE], position + start)
        position += len(segment)


def delivered(operation: Operation, output: bytes) -> Outcome:
    """The outcome of an operation that succeeded; its output goes where the caller wants it.

    :raises Gone: that is not there
    """
    destination = operation.destination
    if destination is None:
        return Status.SUCCESS, output, operation.nbytes, len(output), False, None
    if len(output) > len(destination):
        detail = Detail(f"needs {len(output)} bytes")
        return Status.OUT_OF_SPACE_TERMINATED, None, 0, 0, False, detail
    put(output, destination)
    return Status.SUCCESS, None, operation.nbytes, len(output), False, None
