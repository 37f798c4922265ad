"""The execution of operations: from the schedule through a lane to a completion, and again if it failed innocently.

Everything on the way of one await that is not a lane's is here, and the plain case is kept short: no clock is read,
nothing is formatted, and no object is made that nobody asked for.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, cast
from weakref import WeakSet

import anyio

from . import forks
from .backend import Capability, Completion, Detail, Status
from .config import Config
from .dispatch import FLIGHTS, Flight, Group, Lane, LaneState, check_failure
from .errors import (
    BackendUnavailable,
    ClosedResourceError,
    DeviceError,
    ForeignLoopError,
    InvalidArgument,
    InvalidSignature,
    InvalidState,
    InvalidTag,
    LimitExceeded,
    OperationTimeout,
    UnsupportedOperation,
    WdasyncError,
    error_for,
)
from .eventloop import EventLoop, whereabouts
from .eventloop.threads import in_thread
from .faults import serving_fault
from .opener import Opener, used_up, words
from .operations import Decompress, Key, Kind, Operation, Priority
from .operations import Sequence as Steps
from .paged import PagedBuffer
from .recovery import Recovery
from .results import Observation, Observer, Paging
from .scheduling import Chosen, LaneKey, Place, Reason, Route, Schedule
from .tinywork import TinyWork

__all__ = [
    "Execution",
    "Trip",
    "close_devices",
    "close_devices_here",
    "within",
]

logger = logging.getLogger("wdasync")

# On Python 3.11 a member of an enumeration takes ten times as long to get as a name of a module.
_OPEN: Final = LaneState.OPEN
_NOP: Final = Kind.NOP

#: How often an operation is sent again to the same device after its queue was reset under it.
RETRIES = 2

#: After these the same device would say the same again.
_ELSEWHERE = frozenset({Status.DEVICE_ERROR, Status.INVALID_ARGS})


#: What a status means for some kinds. A capability table says of work with keys all that a device can do, so what is refused
#: nevertheless is an argument: a padding, a nonce, a peer. They are what a caller of `cryptography` expects to catch.
_MEANINGS: Final[dict[tuple[Status, Kind], type[WdasyncError]]] = {
    (Status.CHECKSUM_FAILED, Kind.OPEN): InvalidTag,
    (Status.CHECKSUM_FAILED, Kind.VERIFY): InvalidSignature,
    **{(Status.INVALID_ARGS, kind): InvalidArgument for kind in Kind if Kind.MAC <= kind <= Kind.GENERATE},
}


class _KeyRefused(Detail):
    """A device does not take a key."""

    __slots__ = ()


class Trip:
    """Where an operation went; only made when somebody asks."""

    __slots__ = ("paging", "place", "queue", "reason", "retries")

    def __init__(self) -> None:
        self.place: Place | None = None
        self.queue = ""
        self.reason = Reason.PREFERRED
        self.retries = 0
        self.paging: Paging | None = None

    @property
    def name(self) -> str:
        """Backend and device; empty before it went anywhere."""
        return self.place.name if self.place else ""

    def take(self, place: Place, queue: str, reason: Reason) -> None:
        """Note where it goes now."""
        self.place, self.queue, self.reason = place, queue, reason


class Execution:
    """How the operations of one accelerator are run.

    :ivar open: new operations are taken
    :ivar loop: the event loop
    :ivar schedule: the policy
    :ivar reasons: how often each reason decided; of ``INLINE`` lanes know
    :ivar retries: operations that were sent again
    :ivar recovery: brings devices back
    :ivar keys: which devices may have been told of
    :ivar generation: how many forks lie between the first process and the one where it was opened
    :ivar inline_left: nanoseconds of this turn's budget for work in the loop's thread; below 0: overspent
    :ivar inline_counting: it will be renewed when the turn ends
    :ivar tiny: what is done there without an operation
    """

    def __init__(
        self,
        config: Config,
        schedule: Schedule,
        opener: Opener,
        recovery: Recovery,
        observer: Observer | None,
    ) -> None:
        self.open = True
        self.loop = opener.loop
        self._running, self._own = self.loop.running, self.loop.own
        self.recovery = recovery
        self.schedule = schedule
        self.reasons = [0] * len(Reason)
        self.retries = 0
        self._config = config
        self._opener = opener
        self._observer = observer
        self.generation = forks.generation
        self._opening_lane = anyio.Lock()
        self._fetching: set[anyio.CancelScope] = set()
        self.keys: WeakSet[Key] = WeakSet()
        self.inline_left = config.inline_budget
        self.inline_counting = False
        usual = observer is None and config.inline  # else each operation is looked at
        self.tiny = TinyWork(self.loop, schedule, config.inline_tiny if usual else 0)

    # -- the way of one await -----------------------------------------------------------------------------------

    async def run(self, operation: Operation, timeout: float | None, priority: Priority) -> Completion:
        """Run a stateless operation where the schedule says; recover from what is not its fault.

        The operation is the framework's: it is released if it fails.
        """
        key: Key | None = operation.key
        if key is not None:
            try:
                _use(key, operation)
            except InvalidState:  # nobody needs its buffers any more
                operation.release()
                raise
        try:
            if timeout is not None or self._observer is not None or operation.paged is not None:
                return await self.run_traced(operation, timeout, priority, Trip())
            if not self.open or self._running() is not self._own or self.generation != forks.generation:
                self.check()
            route = self.schedule.route(operation, priority)
            lane = route.lane
            if lane is None or lane.state is not _OPEN or serving_fault.get():
                lane = None if serving_fault.get() else route.quick(operation.nbytes)
                if lane is None:
                    return await self._run_unsettled(operation, priority, route)
            if lane.inline is not None and lane.load <= self._config.inline_in_flight:
                completion = self._try_inline(operation, lane)
                if completion is not None:
                    await self.loop.checkpoint_if_cancelled()
                    if completion[1]:
                        return await self._recover(
                            operation, completion, priority, self.schedule.place_of(lane)
                        )
                    return completion
            self.reasons[route.reason] += 1
            flight = Flight(operation, lane)
            if key is not None:
                if (refused := self._bind(operation, key, lane)) is not None:
                    return await self._recover(operation, refused, priority, self.schedule.place_of(lane))
                key.begin()
                flight.on_done = _done_with_key
            lane.submit(flight)
            completion = flight.completion
            if completion is None:
                completion = await self.loop.park(flight)
            if completion[1]:
                return await self._recover(operation, completion, priority, self.schedule.place_of(lane))
            return completion
        except BaseException:
            operation.release()
            raise
        finally:
            if key is not None:
                key.end()

    async def _run_unsettled(self, operation: Operation, priority: Priority, route: Route) -> Completion:
        """Where there is something to choose, or a lane to open; the lane is remembered, if there is only one."""
        completion = await self._attempt(operation, None, priority, Trip())
        route.settle()
        return completion

    async def run_traced(
        self, operation: Operation, timeout: float | None, priority: Priority, trip: Trip
    ) -> Completion:
        """As :meth:`run`, off the fast way: with a time-out, an observer, or somebody who asks where it went."""
        status, produced, started = None, 0, time.perf_counter()
        key: Key | None = operation.key
        if key is not None:
            _use(key, operation)
        try:
            completion = await self._run_within(operation, timeout, priority, trip)
            status, produced = completion.status, completion.produced
        except WdasyncError as error:
            status = error.status
            raise
        finally:
            if key is not None:
                key.end()
            self.tell(operation, trip.name, trip.reason, status, produced, started)
        return completion

    def tell(
        self,
        operation: Operation,
        name: str,
        reason: Reason,
        status: Status | None,
        produced: int,
        started: float,
    ) -> None:
        """Tell the observer, if there is one, that an operation has ended. One that raises breaks nothing: only what is to end the
        program is let through.

        :param name: backend and device
        :param status: ``None``: the caller was cancelled, or ran out of time
        :param started: when, by :func:`time.perf_counter`
        """
        if self._observer is not None:
            latency = time.perf_counter() - started
            kind, algorithm, nbytes = operation.kind, operation.algorithm, operation.nbytes
            seen = Observation(kind, algorithm, name, reason, nbytes, produced, status, latency)
            try:
                self._observer(seen)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException:  # a cancellation, too: it would be nobody's
                logger.exception("observer %r raised", self._observer)

    async def _run_within(
        self, operation: Operation, timeout: float | None, priority: Priority, trip: Trip
    ) -> Completion:
        self.check(timeout)
        with within(timeout, operation):
            return await self._attempt(operation, timeout, priority, trip)

    async def _attempt(
        self, operation: Operation, timeout: float | None, priority: Priority, trip: Trip
    ) -> Completion:
        chosen = place, row, _ = self.schedule.choose(operation, priority, timeout)
        lanes = place.lanes.get((row.queue_class, Priority.NORMAL, ""))
        completion = self._try_inline(operation, lanes[0]) if lanes else None
        if completion is None:
            completion = await self._fly(operation, chosen, priority, trip)
        else:
            trip.take(place, "inline", Reason.INLINE)
            await self.loop.checkpoint_if_cancelled()
        if completion.status:
            return await self._recover(operation, completion, priority, cast("Place", trip.place), trip)
        return completion

    async def _fly(
        self,
        operation: Operation,
        chosen: Chosen,
        priority: Priority,
        trip: Trip,
        avoid: tuple[Place, ...] = (),
    ) -> Completion:
        lane = await self._board(operation, chosen, priority, trip, avoid)
        return await self.travel(FLIGHTS[priority](operation, lane))

    async def _board(
        self,
        operation: Operation,
        chosen: Chosen,
        priority: Priority,
        trip: Trip,
        avoid: tuple[Place, ...] = (),
    ) -> Lane:
        """The lane for an operation, its pages seen to; elsewhere, if no queue is to be had where it was to go.

        :param avoid: devices where it was tried already
        """
        place, row, reason = chosen
        while True:
            if operation.paged is not None:
                await self._page(operation, operation.paged, row, trip)
            operation.resident = serving_fault.get()
            try:
                lane = await self.lane(place, row, priority, operation.paged is not None)
            except BackendUnavailable:
                avoid = (*avoid, place)
                other = self._other(operation, priority, avoid)
                if other is None:
                    raise
                place, row, _ = other
                reason = Reason.NO_QUEUE
            else:
                self.reasons[reason] += 1
                trip.take(place, lane.name, reason)
                return lane

    def _other(self, operation: Operation, priority: Priority, avoid: tuple[Place, ...]) -> Chosen | None:
        """Where else an operation can go; ``None``: nowhere."""
        try:
            return self.schedule.choose(operation, priority, None, avoid)
        except (BackendUnavailable, DeviceError, UnsupportedOperation):
            return None

    async def _page(self, operation: Operation, buffer: PagedBuffer, row: Capability, trip: Trip) -> None:
        """Leave the pages to a device that can fetch them as it goes; else fetch them now.

        Work that a page fault waits for must not wait for a page fault: a device serves so many of them at a time.
        """
        if row.paged and not serving_fault.get():
            trip.paging = Paging.ON_FAULT
            return
        trip.paging = Paging.BEFORE
        with anyio.CancelScope() as scope:
            self._fetching.add(scope)
            try:
                await buffer.fetch_all(each=self._config.deadline)
            finally:
                self._fetching.discard(scope)
        if scope.cancelled_caught:
            raise ClosedResourceError
        operation.source, operation.paged = buffer.view(), None

    def stop_fetching(self) -> None:
        """The accelerator is being closed: who waits for pages before a device begins waits no more."""
        for scope in list(self._fetching):
            scope.cancel()

    async def _recover(
        self,
        operation: Operation,
        completion: Completion,
        priority: Priority,
        place: Place,
        trip: Trip | None = None,
    ) -> Completion:
        """After a failure: send the operation again, elsewhere or here, or raise the error that it deserves.

        Elsewhere if the device failed or cannot do it; here if only the queue was reset under it. Never if the device may have
        written over the input: what is encrypted twice is not encrypted.
        """
        avoid: tuple[Place, ...] = ()
        trip = trip or Trip()
        try:
            check_failure(completion)  # of what was done inline nobody has looked at it
        except Exception as error:  # noqa: BLE001  whatever it is, it is no completion
            completion = Completion(0, Status.DEVICE_ERROR, None, 0, 0, Detail(str(error)))
        # An error that is also in a variable of the frame that raises it is a cycle, which keeps the input alive.
        while completion.status:
            status = completion.status
            if not self.open and (status is Status.ABORTED or _lacks_pages(status, operation)):
                raise ClosedResourceError
            if status in _ELSEWHERE:
                avoid = (*avoid, place)
            elif status is not Status.ABORTED or trip.retries >= RETRIES:
                raise self.error(completion, operation, place)
            if status is not Status.INVALID_ARGS and operation.in_place:
                raise self.error(completion, operation, place)
            trip.retries += 1
            chosen = self._other(operation, priority, avoid)
            if chosen is None:
                raise self.error(completion, operation, place)
            self.retries += 1
            chosen = (*chosen[:2], _reason_to_move(status, place))
            completion = await self._fly(operation, chosen, priority, trip, avoid)
            place = cast("Place", trip.place)
        return completion

    async def run_many(
        self, operations: Sequence[Operation], timeout: float | None, priority: Priority
    ) -> list[Completion | WdasyncError]:
        """Many operations, one wait. Errors are returned in the place of their operation.

        :param operations: that differ in nothing but their input
        :param timeout: only for the schedule: whoever calls this keeps the time
        """
        started = time.perf_counter()
        try:
            self.check()
            lane = None if timeout is not None else self._plain_lane(operations, priority)
            if lane is not None:
                return await self._run_alike(operations, lane, priority)
            boarded = await self._board_all(operations, timeout, priority, started)
            self.check()
            flights = [each[0] for each in boarded if not isinstance(each, WdasyncError)]
            group = Group(flights, self.loop.wake)
            for flight in flights:
                flight.lane.submit(flight)
            await (self.loop.park(group) if flights and group.completion is None else self.loop.checkpoint())
            return [
                each if isinstance(each, WdasyncError) else await self._outcome(*each, priority, started)
                for each in boarded
            ]
        except BaseException:
            for operation in operations:
                operation.release()
            raise

    def _plain_lane(self, operations: Sequence[Operation], priority: Priority) -> Lane | None:
        """The lane for all of them, where there is nothing to choose and nobody looks on."""
        if self._observer is not None or not operations or serving_fault.get():
            return None
        try:
            route = self.schedule.route(operations[0], priority)
        except WdasyncError:
            return None  # Each of them will have this error.
        if route.lane is None:
            route.settle()  # what was opened since
        lane = route.lane
        if lane is None or lane.state is not _OPEN or any(one.paged is not None for one in operations):
            return None
        self.reasons[route.reason] += len(operations)
        return lane

    async def _run_alike(
        self, operations: Sequence[Operation], lane: Lane, priority: Priority
    ) -> list[Completion | WdasyncError]:
        """Where there is nothing to choose."""
        flights = [Flight(operation, lane) for operation in operations]
        group = Group(flights, self.loop.wake)
        lane.submit_burst(flights)
        await (self.loop.checkpoint() if group.completion else self.loop.park(group))
        ended: list[Completion | WdasyncError] = []
        for flight in flights:
            completion = flight.completion
            if completion is None or completion[1]:
                trip = Trip()
                trip.take(self.schedule.place_of(lane), lane.name, Reason.PREFERRED)
                ended.append(await self._outcome(flight, trip, priority, 0.0))
            else:
                ended.append(completion)
        return ended

    async def _board_all(
        self, operations: Sequence[Operation], timeout: float | None, priority: Priority, started: float
    ) -> list[tuple[Flight, Trip] | WdasyncError]:
        """A lane for each operation of a burst, or its error. None is submitted; but each choice counts those before it."""
        boarded: list[tuple[Flight, Trip] | WdasyncError] = []
        lanes: list[Lane] = []
        try:
            for operation in operations:
                trip = Trip()
                try:
                    chosen = self.schedule.choose(operation, priority, timeout)
                    lane = await self._board(operation, chosen, priority, trip)
                except WdasyncError as error:
                    operation.release()
                    boarded.append(error.bare())
                    self.tell(operation, trip.name, trip.reason, error.status, 0, started)
                    continue
                lane.boarded += 1
                lanes.append(lane)
                boarded.append((FLIGHTS[priority](operation, lane), trip))
        finally:
            for lane in lanes:
                lane.boarded -= 1
        return boarded

    async def _outcome(
        self, flight: Flight, trip: Trip, priority: Priority, started: float
    ) -> Completion | WdasyncError:
        operation, completion = flight.operation, _ended(flight)
        status, produced = completion.status, completion.produced
        try:
            if status:
                completion = await self._recover(
                    operation, completion, priority, cast("Place", trip.place), trip
                )
                status, produced = completion.status, completion.produced
            return completion
        except WdasyncError as error:
            operation.release()
            if error.status is not None:
                status = error.status
            return error.bare()
        finally:
            self.tell(operation, trip.name, trip.reason, status, produced, started)

    async def travel(self, flight: Flight) -> Completion:
        """Submit a flight and wait for its completion, whatever it says."""
        self.check()
        key: Key | None = flight.operation.key
        if key is not None:
            if (refused := self._bind(flight.operation, key, flight.lane)) is not None:
                return refused
            key.begin()
            flight.on_done = _done_with_key
        flight.lane.submit(flight)
        if flight.completion is None:
            await self.loop.park(flight)
        completion = _ended(flight)
        if completion.status is Status.ABORTED and not self.open:
            raise ClosedResourceError
        return completion

    # -- keys -------------------------------------------------------------------------------------------------

    def _bind(self, operation: Operation, key: Key, lane: Lane) -> Completion | None:
        """Put the key's session on a device into an operation. A completion, if the device will not have it."""
        place = self.schedule.place_of(lane)
        if key.bind(operation, place.device, place.losses):
            return None
        self.keys.update(key.parts)
        try:
            key.session(place.device, operation.algorithm, place.losses)
        except UnsupportedOperation as error:
            return Completion(0, Status.INVALID_ARGS, detail=_KeyRefused(str(error)))
        except DeviceError as error:
            return Completion(0, Status.DEVICE_ERROR, detail=Detail(str(error)))
        key.bind(operation, place.device, place.losses)
        return None

    def forget_keys(self) -> None:
        """The queues are closed: no device needs to know a key any more."""
        for key in list(self.keys):
            for place in self.schedule.places:
                key.forget(place.device)

    async def rejoin(self, flight: Flight) -> None:
        """Wait for a flight that was left to the device."""
        self.check()
        flight.detached = False
        await self.loop.park(flight)

    # -- lanes ------------------------------------------------------------------------------------------------

    async def lane(self, place: Place, row: Capability, priority: Priority, paged: bool = False) -> Lane:
        """The lane for an operation, opened if it is the first of its kind.

        :raises BackendUnavailable: if there is none, and no other may be shared
        """
        key = (row.queue_class, priority, "faults" if serving_fault.get() else "paged" if paged else "")
        lanes = place.lanes.get(key)
        if lanes is None and key not in place.sharing:
            await self._open_lanes(place, key)
        return place.pick(place.lanes_of(key))

    async def _open_lanes(self, place: Place, key: LaneKey) -> None:
        """Open a queue that is needed for the first time: another priority, or a fault handler's."""
        async with self._opening_lane:
            self.check()
            if key not in place.lanes and key not in place.sharing:
                error = await self._opener.open(place, key)
                if error is not None:
                    self._share(place, key, error)
        self.check()

    def _share(self, place: Place, key: LaneKey, error: BackendUnavailable) -> None:
        """No queue is to be had for a special case: let it use the usual one.

        What a fault handler waits for may not wait behind what waits for the handler.

        :raises BackendUnavailable: as the error says, if that is no way. It is another one: frames of the thread that
            opened hold the first, whose traceback would keep what waits for the lane
        """
        usual = place.lanes.get((key[0], Priority.NORMAL, ""))
        if not usual or key[2] == "faults":
            raise BackendUnavailable(str(error)) from error.__cause__
        logger.warning(
            "%s: no queue of its own for %s; it shares that of other work: %s",
            place.name,
            " ".join(words(key)),
            error,
        )
        place.sharing.add(key)
        if used_up(error):
            place.missing[key] = 1
            self.recovery.watch(place)

    async def stop_opening(self) -> None:
        """Wait for what is being opened; nothing else will be."""
        async with self._opening_lane:
            pass
        await self.recovery.stop()

    def forget(self) -> None:
        """Nobody uses it any more, and nobody waits."""
        self.open = False
        self.recovery.forget()

    # -- inline -----------------------------------------------------------------------------------------------

    def _try_inline(self, operation: Operation, lane: Lane) -> Completion | None:
        """Run it here and now if that is shorter than a hop, and little of it has run in this loop turn.

        :param lane: where it would go; while much is in flight there, workers are awake and a hop is cheap
        """
        inline, config = lane.inline, self._config
        if inline is None or self.inline_left <= 0 or lane.load > config.inline_in_flight:
            return None
        if operation.kind is _NOP or operation.paged is not None or not config.inline:
            return None
        try:
            cost = inline.cost(operation)
        except Exception as error:
            logger.exception("%s: cost raised; nothing is done inline any more", lane.name)
            return self._no_more_inline(lane, f"cost raised {type(error).__name__}: {error}")
        if cost > config.inline_cost or cost > self.inline_left:
            return None
        if operation.key is not None and (refused := self._bind(operation, operation.key, lane)) is not None:
            return refused
        self.inline_left -= cost
        if not self.inline_counting:
            self.count_inline()
        try:
            completion = inline.run(operation)
        except Exception as error:
            logger.exception("%s: run raised; nothing is done inline any more", lane.name)
            return self._no_more_inline(lane, f"run raised {type(error).__name__}: {error}")
        lane.ran_inline += 1
        return completion

    def _no_more_inline(self, lane: Lane, reason: str) -> Completion:
        """A bug in a model, in the caller's thread: this operation has failed, later ones go to the queues of the device."""
        for each in self.schedule.place_of(lane).every:
            each.inline = None
        return Completion(0, Status.DEVICE_ERROR, None, 0, 0, Detail(reason))

    def count_inline(self) -> None:
        """Something of the budget is used up: renew it when the turn ends."""
        self.inline_counting = True
        self.loop.at_turn_end(self._renew_budget)

    def _renew_budget(self) -> None:
        self.inline_counting = False
        self.inline_left = self._config.inline_budget

    # -- checks and errors --------------------------------------------------------------------------------------

    def check(self, timeout: float | None = None) -> None:
        """Whether this process, this thread and this loop may use it, and it is open.

        :raises ForeignLoopError: if not these
        :raises ClosedResourceError: if it is closed
        :raises InvalidArgument: if ``timeout`` is none
        """
        if self.generation != forks.generation:
            raise ForeignLoopError(
                "this accelerator was opened by the parent process, and its queues are the parent's; open one in this process"
            )
        self.check_loop()
        if not self.open:
            raise ClosedResourceError
        if timeout is not None:
            _check_timeout(timeout)

    def check_loop(self) -> None:
        """Whether this thread and this loop may use it.

        :raises ForeignLoopError: if not
        """
        if not self.loop.is_current():
            raise ForeignLoopError(
                f"expected to be used in {self.loop!r}, where it was opened, got {whereabouts()}; "
                "open one accelerator for each loop"
            )

    def error(self, completion: Completion, operation: Operation, place: Place) -> WdasyncError:
        """The error that a completion deserves."""
        detail = completion.detail
        prefix = ""
        if isinstance(operation, Steps) and detail.step is not None:
            prefix = f"step {detail.step + 1} of {len(operation.steps)}: "
            operation = operation.steps[detail.step]
        kind = operation.kind.name.lower().removesuffix("_chunk")
        where = f"{prefix}{kind} {operation.algorithm} on {place.name}"
        if (
            completion.status is Status.OUT_OF_SPACE_TERMINATED
            and isinstance(operation, Decompress)
            and (operation.destination is None or operation.max_length < len(operation.destination))
        ):
            bound = f"max_length {operation.max_length}, max_members {operation.max_members}"
            error = LimitExceeded(
                f"{where}: {detail.message or 'the output passes its bound'}; "
                f"the bounds are {bound}: raise them if you trust the input, or take it in pieces with a stream"
            )
            error.status = completion.status
            return error
        failure = error_for(
            completion.status,
            where,
            detail.message,
            cause=detail.cause,
            consumed=completion.consumed,
            produced=completion.produced,
            error_class=_meaning(completion, operation, place),
        )
        failure.__cause__ = detail.raised
        return failure


def _meaning(completion: Completion, operation: Operation, place: Place) -> type[WdasyncError] | None:
    """What the status means for this operation; ``None``: the usual."""
    unable = (operation.kind, operation.algorithm) not in place.rows
    if completion.status is Status.INVALID_ARGS and (unable or isinstance(completion.detail, _KeyRefused)):
        return None
    return _MEANINGS.get((completion.status, operation.kind))


def close_devices_here(places: Sequence[Place]) -> None:
    """Close devices whose queues are closed. May block. What goes wrong is logged."""
    for place in places:
        try:
            place.device.close()
        except WdasyncError as error:
            logger.error("%s: close: %s", place.name, error)  # noqa: TRY400  it says what to do, and is no bug
        except Exception:
            logger.exception("%s: close raised", place.name)


async def close_devices(loop: EventLoop, places: Sequence[Place]) -> None:
    """Close devices whose queues are closed. What goes wrong is logged."""
    await in_thread(loop, lambda: close_devices_here(places))


def _check_timeout(timeout: float) -> float:
    try:
        if type(timeout) in (int, float) and timeout > 0:
            return float(timeout)
    except OverflowError:
        pass
    raise InvalidArgument(f"timeout: expected seconds above 0, got {timeout!r}; None means no limit")


@contextmanager
def within(timeout: float | None, what: object) -> Iterator[None]:
    """Cancel what is awaited inside after ``timeout`` seconds; ``None``: never.

    :param what: for the error
    :raises OperationTimeout: if that happened
    """
    if timeout is None:
        yield
        return
    with anyio.move_on_after(_check_timeout(timeout)) as scope:
        yield
    if scope.cancelled_caught:
        raise OperationTimeout(
            f"{what}: expected an end within {timeout:g} s, got none; raise the timeout, or see statistics() for what "
            "fills the queue"
        )


def _use(key: Key, operation: Operation) -> None:
    """A caller begins to use a key. For a step of what uses it already it is not too late, whoever has revoked it."""
    if operation.chain is None:
        key.use()
    else:
        key.begin()


def _done_with_key(flight: Flight) -> None:
    """The device has done with a flight whose operation has a key."""
    flight.on_done = None
    if flight.operation.key is not None:
        flight.operation.key.end()


def _ended(flight: Flight) -> Completion:
    if flight.completion is None:
        raise RuntimeError(f"{flight!r}: woken without a completion")
    return flight.completion


def _lacks_pages(status: Status, operation: Operation) -> bool:
    """Whether it failed because nobody is asked for pages any more."""
    return status is Status.PAGE_FAULT and operation.paged is not None


def _reason_to_move(status: Status, failed: Place) -> Reason:
    """Why an operation is sent again."""
    if status is Status.INVALID_ARGS:
        return Reason.UNSUPPORTED
    return Reason.DEVICE_LOST if failed.lost else Reason.RETRY
