"""What ``execute()`` returns and what an observer is told: the outcome of one operation, with where and why."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from .errors import Status
from .operations import Kind
from .scheduling import Reason

__all__ = ["Observation", "Observer", "Paging", "Result"]


class Paging(enum.Enum):
    """How the pages of a :class:`~wdasync.PagedBuffer` were fetched."""

    #: Each when the device touched it.
    ON_FAULT = "on fault"
    #: All, before the device began.
    BEFORE = "before"


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of :meth:`Accelerator.execute`: the output and where it came from.

    :ivar output: the output; ``None`` if it went into the caller's buffer, or there is none
    :ivar produced: bytes of output
    :ivar consumed: bytes of input used
    :ivar backend: who ran it
    :ivar device: which of its devices
    :ivar queue: which queue; ``inline`` if it ran in the loop's thread
    :ivar where: the part of the device that did it, such as ``worker 0``
    :ivar reason: why there
    :ivar latency: seconds from the call to the result
    :ivar faults: page faults taken for it
    :ivar paging: how its pages were fetched, if the input was a :class:`~wdasync.PagedBuffer`
    """

    output: bytes | None
    produced: int
    consumed: int
    backend: str
    device: str
    queue: str
    where: str
    reason: Reason
    latency: float
    faults: int
    paging: Paging | None = None


class Observation(NamedTuple):
    """What an observer is told of each operation.

    :ivar kind: kind of operation
    :ivar algorithm: its algorithm
    :ivar backend: backend and device
    :ivar reason: why there
    :ivar nbytes: bytes of input
    :ivar produced: bytes of output
    :ivar status: how it ended; ``None``: the caller was cancelled, or ran out of time, or no device was there for it
    :ivar latency: seconds
    """

    kind: Kind
    algorithm: str
    backend: str
    reason: Reason
    nbytes: int
    produced: int
    status: Status | None
    latency: float


#: Is told of every operation, in the loop's thread, right after it ended. It must be quick, and must not raise.
Observer = Callable[[Observation], None]
