"""What came of an operation, as the ring takes it."""

from __future__ import annotations

from wdasync.backend import Detail
from wdasync.errors import DataCause, Status

from ..binding import Outcome
from ..guarded import put

__all__ = ["deliver", "failed"]


def failed(status: Status, message: str, cause: DataCause | None = None) -> Outcome:
    """What came of an operation that failed."""
    return status, None, 0, 0, False, Detail(message, cause=cause)


def deliver(output: bytes, consumed: int, destination: memoryview | None) -> Outcome:
    """The output of an operation, or its place if the caller gave one.

    :raises Gone: that is not there
    """
    size = len(output)
    if destination is None:
        return Status.SUCCESS, output, consumed, size, False, None
    if size > len(destination):
        return failed(
            Status.OUT_OF_SPACE_TERMINATED, f"the output does not fit into {len(destination)} bytes"
        )
    put(output, destination)
    return Status.SUCCESS, None, consumed, size, False, None
