"""One operation on its way: from the caller's await to the device and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Final

from ..backend import Completion
from ..operations import Operation, Priority

if TYPE_CHECKING:
    from .lane import Lane

__all__ = ["FLIGHTS", "NO_TAG", "Flight", "Group"]

#: The tag of a flight that holds no slot.
NO_TAG = -1


class Flight:
    """One operation in flight, or waiting for a slot.

    :cvar rank: its place among those that wait for a slot of the same lane
    :ivar operation: what is to be done; keeps its buffers alive
    :ivar lane: whose slot it holds or waits for
    :ivar tag: the slot's tag; ``NO_TAG`` while it waits for one, and after it gave it back
    :ivar tick: the reaper's tick when it was started; for deadlines without reading a clock
    :ivar waiter: who sleeps on it, in the event loop's terms; ``None``: nobody
    :ivar raise_cancel: trio's cancellation, kept until the device is done
    :ivar completion: how it ended
    :ivar detached: the caller has gone; the completion only frees the slot
    :ivar on_done: called with the flight when it is done, for a group or a stream that was left
    """

    __slots__ = (
        "completion",
        "detached",
        "lane",
        "on_done",
        "operation",
        "raise_cancel",
        "tag",
        "tick",
        "waiter",
    )

    rank: ClassVar[Priority] = Priority.NORMAL
    completion: Completion | None
    on_done: Callable[[Flight], None] | None

    def __init__(self, operation: Operation, lane: Lane) -> None:
        self.operation = operation
        self.lane = lane
        self.tag = NO_TAG
        self.tick = 0
        self.waiter: Any = None
        self.raise_cancel: Any = None
        self.completion = None
        self.detached = False
        self.on_done = None

    def __repr__(self) -> str:
        state = "done" if self.completion else "parked" if self.tag == NO_TAG else f"tag {self.tag:#x}"
        return f"<Flight {self.operation!r} {state}{' detached' if self.detached else ''}>"

    def abandon(self) -> bool:
        """The caller was cancelled. True: it may go at once; False: the device still writes to its memory."""
        # Should it end right here, it must not wake who is being cancelled.
        waiter, self.waiter = self.waiter, None
        if self.completion is not None or self.lane.cancel(self):
            return True
        self.waiter = waiter
        return False


class UrgentFlight(Flight):
    """One that goes before others."""

    __slots__ = ()
    rank = Priority.HIGH


class PatientFlight(Flight):
    """One that others go before."""

    __slots__ = ()
    rank = Priority.LOW


#: Priority -> class of its flights, where lanes may be shared.
FLIGHTS: Final[dict[Priority, type[Flight]]] = {
    kind.rank: kind for kind in (PatientFlight, Flight, UrgentFlight)
}


class Group:
    """Several flights that one caller waits for together.

    :ivar completion: true once all have ended
    """

    __slots__ = ("_left", "_wake", "completion", "flights", "raise_cancel", "waiter")

    def __init__(self, flights: list[Flight], wake: Callable[[Group, Any], None]) -> None:
        self.flights = flights
        self.completion: Any = None
        self.waiter: Any = None
        self.raise_cancel: Any = None
        self._left = len(flights)
        self._wake = wake
        for flight in flights:
            flight.on_done = self._one_done

    def _one_done(self, flight: Flight) -> None:
        flight.on_done = None  # else group and flights would hold each other, and all buffers with them
        self._left -= 1
        if self._left == 0:
            self.completion = True
            if self.waiter is not None:
                self._wake(self, None)

    def abandon(self) -> bool:
        """Cancel all, those that wait for a slot first. True if none of them needs the caller to wait."""
        # Those that end right here must not wake who is being cancelled.
        waiter, self.waiter = self.waiter, None
        free = [flight.abandon() for flight in reversed(self.flights)]
        if all(free) or self.completion is not None:
            return True
        self.waiter = waiter
        return False
