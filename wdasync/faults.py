"""Page faults of a device, as events of the program.

A device that shares the address space of a process can touch a page that is not there. The access is parked,
a record of it reaches a :data:`FaultHandler`, and its answer lets the access go on or ends the operation.
"""

from __future__ import annotations

import contextvars
import enum
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

import anyio

__all__ = [
    "Access",
    "FaultHandler",
    "FaultReporter",
    "FaultResponse",
    "FaultStream",
    "PageFault",
    "serving_fault",
]

#: Faults that an observer may be behind by before it loses some.
FAULT_BACKLOG = 1024

#: True in fault handlers and pagers. What they await has lanes of its own: a stalled operation holds back all later
#: completions of its queue, and one of those may be what the handler waits for.
serving_fault: contextvars.ContextVar[bool] = contextvars.ContextVar("wdasync_serving_fault", default=False)


class Access(enum.Flag):
    """What the device wanted to do with the page."""

    READ = 1
    WRITE = 2
    EXECUTE = 4


class FaultResponse(enum.IntEnum):
    """The answer to a page fault; values as in Linux's io-pgfault (``enum iommu_page_response_code``)."""

    #: The page is there now: try again.
    SUCCESS = 0
    #: There is no such page: end the operation with PAGE_FAULT.
    INVALID = 1
    #: As INVALID; an endpoint that asks by PRI also stops asking.
    FAILURE = 2


class PageFault(NamedTuple):
    """One access that found no page.

    :ivar device: name of the device
    :ivar address: byte address as the device used it
    :ivar access: what it wanted to do
    :ivar pasid: address space; ``None``: the device's own
    :ivar tag: identifies the parked access (STAG, or page request group)
    :ivar page_size: bytes that one answer should cover
    :ivar response: the answer, once there is one
    :ivar latency: seconds from the record to the answer, once there is one
    """

    device: str
    address: int
    access: Access
    pasid: int | None
    tag: int
    page_size: int = 4096
    response: FaultResponse | None = None
    latency: float | None = None


#: Answers page faults. An exception, a deadline or a cancellation means ``INVALID``.
FaultHandler = Callable[[PageFault], Awaitable[FaultResponse]]

#: Is told of answered faults.
FaultReporter = Callable[[PageFault], None]


class FaultStream(AsyncIterator[PageFault]):
    """Page faults as they are answered, for one observer. It may lag: what does not fit is counted and dropped.

    :ivar dropped: faults that were lost to this observer
    """

    def __init__(self) -> None:
        self._send, self._receive = anyio.create_memory_object_stream[PageFault](FAULT_BACKLOG)
        self.dropped = 0

    def report(self, fault: PageFault) -> None:
        """Take one fault, if there is room."""
        try:
            self._send.send_nowait(fault)
        except anyio.WouldBlock:
            self.dropped += 1

    async def __anext__(self) -> PageFault:
        try:
            return await self._receive.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            raise StopAsyncIteration from None

    def close(self) -> None:
        """End the iteration, after what it has not read yet."""
        self._send.close()

    def discard(self) -> None:
        """Forget what was not read. Nobody reads any more."""
        self._receive.close()
