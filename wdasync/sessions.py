"""State on a device that outlives an operation, as the framework holds it.

A session is pinned to the device where it was opened. One operation of it is in flight at a time. When that operation
is cancelled while the device works on it, nobody knows how far the state went: the session is *poisoned*, and says so
until it is reset.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, cast

from .backend import (
    Capability,
    Completion,
    Detail,
    Device,
    Digesting,
    DigestSpec,
    Session,
    Status,
    StreamSpec,
)
from .buffers import Segment
from .dispatch import FLIGHTS, Flight
from .errors import (
    BackendUnavailable,
    BusyResourceError,
    ClosedResourceError,
    DeviceError,
    InvalidState,
    UnsupportedOperation,
    WdasyncError,
)
from .eventloop.threads import compute, join
from .execution import within
from .operations import Operation, Priority
from .scheduling import Reason

if TYPE_CHECKING:
    from .execution import Execution
    from .scheduling import Place

__all__ = ["PinnedSession", "open_session"]

logger = logging.getLogger("wdasync")

#: After these the state on the device is what it was, or the caller is told how to go on.
_HARMLESS = frozenset({Status.SUCCESS, Status.OUT_OF_SPACE_RECOVERABLE})


class _Probe(Operation):
    """Stands for the steps of a stream when the schedule is asked where to open it."""

    __slots__ = ("kind",)  # the kind differs from probe to probe

    def __init__(self, spec: StreamSpec | DigestSpec) -> None:
        self.kind = spec.kind  # type: ignore[misc]  # see above
        stream = spec if isinstance(spec, StreamSpec) else None
        self.window = stream.window if stream else None
        self.algorithm = spec.algorithm
        self.dictionary = stream.dictionary if stream else None
        self.level = stream.level if stream else "fast"
        self.nbytes = 0


def open_session(
    execution: Execution, spec: StreamSpec | DigestSpec, priority: Priority, avoid: Sequence[Place] = ()
) -> tuple[Place, Capability, Session]:
    """Open a stream where the schedule says.

    :param avoid: devices where it must not be
    :raises UnsupportedOperation: if no other device has such a stream
    :raises DeviceError: if those that have are lost
    """
    tried, refusal = list(avoid), None
    while True:
        try:
            place, row, _ = execution.schedule.choose(_Probe(spec), priority, avoid=tried)
        except UnsupportedOperation:
            if refusal is None:
                raise
            raise refusal from None  # Its device says what is wrong with it.
        try:
            return place, row, _open_on(place.device, spec)
        except UnsupportedOperation as error:
            tried.append(place)
            refusal = refusal or error


def _open_on(device: Device, spec: StreamSpec | DigestSpec) -> Session:
    """A stream's session, or a digest's, which is held and used as one."""
    if isinstance(spec, StreamSpec):
        return device.open_session(spec)
    if not isinstance(device, Digesting):
        raise UnsupportedOperation(f"{device.info.name} has no digests in pieces")
    return cast("Session", device.open_digest(spec))


class PinnedSession:
    """A session, where it lives, and whether its state can be trusted.

    :ivar spec: what was asked for; on the device it may have become another stream, that goes on with it
    :ivar place: the device
    :ivar session: the device's side
    :ivar poisoned: why the state cannot be trusted; empty: it can
    :ivar finished: it has come to its good end
    """

    def __init__(
        self, execution: Execution, place: Place, row: Capability, priority: Priority, session: Session
    ) -> None:
        self.spec = session.spec
        self.place = place
        self.session = session
        self.poisoned = ""
        self.finished = False
        self._execution = execution
        self._row = row
        self._priority = priority
        self._losses = place.losses
        self._left: Flight | None = None
        self._busy = False
        self._closed = False

    def __repr__(self) -> str:
        spec = self.spec
        usable = "finished" if self.finished else f"poisoned: {self.poisoned}" if self.poisoned else "open"
        state = "closed" if self._closed else usable
        what = spec.kind.name.lower().removesuffix("_chunk")
        return f"<{what} {spec.algorithm} on {self.place.name}, {state}>"

    @property
    def window(self) -> int:
        """Base-2 logarithm of the history that the device uses for what was asked for."""
        return self.spec.window or self._row.window

    @contextmanager
    def use(self, timeout: float | None = None) -> Iterator[None]:
        """Nobody else may use it meanwhile. Nothing of what is to be done has begun if this raises at once.

        :param timeout: seconds for everything that is awaited inside
        :raises ClosedResourceError: if it is closed
        :raises BusyResourceError: if another task uses it
        :raises InvalidState: if it is finished or poisoned
        :raises OperationTimeout: if the time is over; it is poisoned then
        """
        self._check()
        if self.finished:
            raise InvalidState(f"{self!r}: expected an unfinished stream; call reset() to begin another")
        if self.poisoned:
            raise InvalidState(f"{self!r}: expected a usable stream; call reset(), or open a new one")
        self._execution.check(timeout)
        self._busy = True
        try:
            with within(timeout, self):
                yield
        finally:
            self._busy = False

    def _check(self) -> None:
        self._execution.check_loop()
        if self._closed:
            raise ClosedResourceError
        if self._busy:
            raise BusyResourceError("using")

    async def run(self, operation: Operation) -> Completion:
        """Run one step, inside of :meth:`use`.

        :raises WdasyncError: as the device says; the session is then poisoned
        """
        status, produced, started = None, 0, time.perf_counter()
        self.poisoned = "an operation of it was cancelled"
        try:
            self._check_device(operation)
            lane = await self._execution.lane(self.place, self._row, self._priority)
            flight = self._left = FLIGHTS[self._priority](operation, lane)
            completion = await self._execution.travel(flight)
            self._left = None
            status, produced = completion.status, completion.produced
            self.poisoned = ""
            if status not in _HARMLESS:
                self.poisoned = f"an operation of it ended as {status.name}"
                raise self._execution.error(completion, operation, self.place)
        except WdasyncError as error:
            status = error.status
            operation.release()
            raise
        except BaseException:
            operation.release()
            raise
        finally:
            self._execution.tell(operation, self.place.name, Reason.STREAM, status, produced, started)
        return completion

    def can_become(self, spec: StreamSpec) -> bool:
        """Whether there is another device where the schedule would open this stream, now or later."""
        able = self._execution.schedule.able(_Probe(spec), self._priority)
        return any(place is not self.place for place in able)

    def move(self, specs: Sequence[StreamSpec]) -> bool:
        """The device failed: become the first of these streams that another has, or this one if it is back; whether one
        has. What the stream was here is gone.
        """
        reason = Reason.DEVICE_LOST if self.place.lost else Reason.RETRY
        anew = [()] if self.place.lost is None else []
        moved = any(self._become_one_of(specs, avoid) for avoid in ((self.place,), *anew))
        self._execution.retries += moved
        self._execution.reasons[reason] += moved
        return moved

    def follow_policy(self, specs: Sequence[StreamSpec]) -> bool:
        """Become the first of these streams that the backend has where the schedule would open it now, if that is
        another one; whether it has one.
        """
        schedule = self._execution.schedule
        try:
            place, _, reason = schedule.choose(_Probe(self.spec), self._priority)
        except WdasyncError:
            return False
        if place.backend == self.place.backend:
            return False
        others = [other for other in schedule.places if other.backend != place.backend]
        moved = self._become_one_of(specs, others)
        self._execution.reasons[reason] += moved
        return moved

    def _become_one_of(self, specs: Sequence[StreamSpec], avoid: Sequence[Place]) -> bool:
        for spec in specs:
            with suppress(BackendUnavailable, UnsupportedOperation, DeviceError):
                self._become(spec, avoid)
                return True
        return False

    def _become(self, spec: StreamSpec, avoid: Sequence[Place] = ()) -> None:
        """Go on as another stream, or as this one anew. Raises as :func:`open_session` does."""
        place, row, session = open_session(self._execution, spec, self._priority, avoid)
        logger.info("stream %r goes on, on %s", self, place.name)
        with suppress(WdasyncError):  # it may not be in a state in which it can be given back
            self.session.close()
        self.place, self._row, self.session = place, row, session
        self._losses = place.losses
        self.poisoned = ""

    def _check_device(self, operation: Operation) -> None:
        """A device that was lost and is back knows nothing of it any more."""
        if self.place.losses != self._losses and self.place.lost is None:
            self.poisoned = "its device was lost, and its state with it"
            gone = Completion(
                0, Status.DEVICE_ERROR, detail=Detail("the device was lost, and is back without it")
            )
            raise self._execution.error(gone, operation, self.place)

    async def compute(self, nbytes: int, function: Callable[[], bytes]) -> bytes:
        """What a function makes of so many bytes; in a thread where it would hold up the event loop."""
        return await compute(self._execution.loop, nbytes, function)

    async def join(self, pieces: Sequence[Segment]) -> bytes:
        """One piece of all; in a thread where copying them would hold up the event loop."""
        return await join(self._execution.loop, pieces)

    async def reset(self) -> None:
        """Go back to the beginning, once the device has finished with what was cancelled.

        What is not there any more, as its device was lost or it has become another stream, is opened anew.

        :raises ClosedResourceError: if it is closed
        :raises BusyResourceError: if another task uses it
        :raises WdasyncError: if it cannot be opened anew, see :func:`open_session`; it is poisoned then
        """
        self._check()
        self._execution.check()
        self._busy = True
        try:
            left = self._left
            if left is not None and left.completion is None:
                await self._execution.rejoin(left)
            self._left = None
            if self.place.losses != self._losses or self.session.spec != self.spec:
                self.poisoned = "it could not begin anew"
                self._become(self.spec)
            else:
                self.session.reset()
                self.poisoned = ""
            self.finished = False
        finally:
            self._busy = False

    def close(self) -> None:
        """Give it back; at once, or when the device has finished with what was cancelled."""
        self._execution.check_loop()
        if self._closed:
            return
        self._closed = True
        left, self._left = self._left, None
        if left is not None and left.completion is None:
            left.on_done = lambda _: self.session.close()
        else:
            self.session.close()
