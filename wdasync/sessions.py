"""State on a device that outlives an operation, as the framework holds it.

A session is pinned to the lane of the device where it was opened. One operation of it is in flight at a time. When
that operation is cancelled while the device works on it, nobody knows how far the state went: the session is
*poisoned*, and says so until it is reset.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .backend import Completion, Session, Status, StreamSpec
from .dispatch import Flight, Lane
from .errors import BusyResourceError, ClosedResourceError, InvalidState
from .operations import Operation

if TYPE_CHECKING:
    from .execution import Execution
    from .scheduling import Place

__all__ = ["PinnedSession"]

#: After these the state on the device is what it was, or the caller is told how to go on.
_HARMLESS = frozenset({Status.SUCCESS, Status.OUT_OF_SPACE_RECOVERABLE})


class PinnedSession:
    """A session, the lane it lives on, and whether its state can be trusted.

    :ivar place: the device
    :ivar session: the device's side
    :ivar poisoned: why the state cannot be trusted; empty: it can
    """

    def __init__(self, execution: Execution, place: Place, lane: Lane, session: Session) -> None:
        self.place = place
        self.session = session
        self.poisoned = ""
        self._execution = execution
        self._lane = lane
        self._flight: Flight | None = None
        self._busy = False
        self._closed = False

    def __repr__(self) -> str:
        spec = self.session.spec
        state = "closed" if self._closed else f"poisoned: {self.poisoned}" if self.poisoned else "open"
        return f"<{spec.direction.value} {spec.algorithm} on {self._lane.name}, {state}>"

    @property
    def spec(self) -> StreamSpec:
        """What was asked for."""
        return self.session.spec

    @property
    def closed(self) -> bool:
        """Whether it was given back."""
        return self._closed

    async def run(self, operation: Operation, timeout: float | None = None) -> Completion:
        """Run one step.

        :raises ClosedResourceError: if it is closed
        :raises BusyResourceError: if another task runs a step
        :raises InvalidState: if it is poisoned
        :raises WdasyncError: as the device says; the session is then poisoned
        """
        if self._closed:
            raise ClosedResourceError
        if self._busy:
            raise BusyResourceError("using")
        if self.poisoned:
            raise InvalidState(f"{self!r}: expected a usable stream; call reset(), or open a new one")
        self._execution.check(timeout)
        self._busy = True
        self.poisoned = "an operation of it was cancelled"
        try:
            flight = self._flight = Flight(operation, self._lane)
            completion = await self._execution.travel(flight, timeout)
            self.poisoned = ""
            if completion.status not in _HARMLESS:
                self.poisoned = f"an operation of it ended as {completion.status.name}"
                raise self._execution.error(completion, operation, self.place)
        except BaseException:
            operation.release()
            raise
        finally:
            self._busy = False
        return completion

    async def reset(self) -> None:
        """Go back to the beginning, once the device has finished with what was cancelled.

        :raises ClosedResourceError: if it is closed
        :raises BusyResourceError: if another task runs a step
        """
        if self._closed:
            raise ClosedResourceError
        if self._busy:
            raise BusyResourceError("using")
        self._busy = True
        try:
            flight = self._flight
            if flight is not None and flight.completion is None:
                await self._execution.rejoin(flight)
            self.session.reset()
            self.poisoned = ""
        finally:
            self._busy = False

    def close(self) -> None:
        """Give it back; at once, or when the device has finished with what was cancelled."""
        if self._closed:
            return
        self._closed = True
        flight = self._flight
        if flight is not None and flight.completion is None:
            flight.on_done = lambda _: self.session.close()
        else:
            self.session.close()
