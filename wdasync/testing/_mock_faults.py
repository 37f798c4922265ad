"""Page faults of the mock: an operation is parked until somebody answers for its page."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel

from ..backend import Detail, PageFaults
from ..errors import Status
from ..faults import Access, FaultHandler, FaultReporter, FaultResponse, PageFault
from ._codecs import Outcome

if TYPE_CHECKING:
    from ..paged import PagedBuffer
    from ._mock_queue import Flight
    from .program import Rule

__all__ = ["Faults"]


class Faults:
    """The page faults of one device.

    :ivar crash: what :meth:`serve` raises next, as a bug in a device's model would
    """

    def __init__(
        self,
        device: str,
        kind: PageFaults,
        deadline: float,
        on_fault: FaultHandler | None,
        report: FaultReporter | None,
    ) -> None:
        self._device = device
        self._kind = kind
        self._deadline = deadline
        self._on_fault = on_fault
        self._report = report
        self._tags = itertools.count(1)
        self._jobs: deque[Callable[[], Coroutine[Any, Any, None]]] = deque()
        self._bell: anyio.Event | None = None
        self.crash: BaseException | None = None

    def take(self, flight: Flight, rule: Rule, ring: Callable[[], None]) -> None:
        """The operation has touched a page that is absent.

        :param ring: to be called when it may go on
        """
        fault = PageFault(self._device, rule.address, rule.access, None, next(self._tags))
        match self._kind:
            case PageFaults.NONE:
                flight.outcome = _refused(fault)
            case PageFaults.KERNEL:
                self._answer(fault, flight, FaultResponse.SUCCESS, 0.0)
            case PageFaults.HANDLER:
                self._park(flight, partial(self._ask, fault, flight, ring))

    def fetch(self, flight: Flight, paged: PagedBuffer, ring: Callable[[], None]) -> None:
        """The operation has an input whose pages come when they are touched: it touches all, one after another."""
        self._park(flight, partial(self._fetch, flight, paged, ring))

    def _park(self, flight: Flight, job: Callable[[], Coroutine[Any, Any, None]]) -> None:
        flight.parked = True
        self._jobs.append(job)
        self.ring()

    def ring(self) -> None:
        """Let :meth:`serve` look. In the thread of the event loop."""
        if self._bell is not None:
            self._bell.set()

    async def serve(self) -> None:
        """Ask the handler, for several faults at a time."""
        async with anyio.create_task_group() as handlers:
            while self.crash is None:
                bell = self._bell = anyio.Event()
                while self._jobs:
                    handlers.start_soon(self._jobs.popleft())
                await bell.wait()
            raise self.crash

    async def _ask(self, fault: PageFault, flight: Flight, ring: Callable[[], None]) -> None:
        started = time.monotonic()
        response = FaultResponse.INVALID
        with anyio.move_on_after(self._deadline):
            response = await self._response(fault)
        self._answer(fault, flight, response, time.monotonic() - started)
        flight.parked = False
        ring()

    async def _fetch(self, flight: Flight, paged: PagedBuffer, ring: Callable[[], None]) -> None:
        for page in range(paged.pages):
            if paged.is_present(page):
                continue
            fault = PageFault(self._device, page * paged.page_size, Access.READ, None, next(self._tags))
            started = time.monotonic()
            response = await _answered(partial(_fetched, paged, page))
            self._answer(fault, flight, response, time.monotonic() - started)
            if response is FaultResponse.INVALID:
                break
        else:
            flight.operation.source = paged.view()
        flight.parked = False
        ring()

    async def _response(self, fault: PageFault) -> FaultResponse:
        if self._on_fault is None:
            return FaultResponse.SUCCESS
        return await _answered(partial(self._on_fault, fault))

    def _answer(self, fault: PageFault, flight: Flight, response: FaultResponse, seconds: float) -> None:
        flight.faults += 1
        if response is not FaultResponse.SUCCESS:
            flight.outcome = _refused(fault)
        if self._report is not None:
            self._report(fault._replace(response=response, latency=seconds))


async def _answered(ask: Callable[[], Awaitable[FaultResponse]]) -> FaultResponse:
    """An answer. Whatever is raised means INVALID: the caller sees a :exc:`PageFaultError`, and other faults are answered."""
    try:
        return await ask()
    except anyio.get_cancelled_exc_class():
        await anyio.lowlevel.checkpoint_if_cancelled()  # of this task, or of something that is waited for
        return FaultResponse.INVALID
    except BaseException:  # noqa: BLE001  see above
        return FaultResponse.INVALID


async def _fetched(paged: PagedBuffer, page: int) -> FaultResponse:
    await paged.fetch(page)
    return FaultResponse.SUCCESS


def _refused(fault: PageFault) -> Outcome:
    return Outcome(Status.PAGE_FAULT, detail=Detail(f"no page at {fault.address:#x}"))
