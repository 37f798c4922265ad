"""A lane: one queue of a device, its slots, and those who wait for a slot.

All changes to this state happen in the synchronous methods below, in the thread that owns the queue. The way of a
flight::

    parked ──slot free──▶ in the burst ──enqueue_burst──▶ on the device ──completion──▶ done
       │                       │                               │
       └────── cancelled ──────┴─── cancelled: withdrawn ──────┴── cancelled: withdrawn, detached or waited for

*Bursts.* The first operation of a loop turn goes to the device at once: it may be the only one, and somebody waits
for it. The rest of the turn is collected and goes in one burst when the turn ends.

*Tags* are slot numbers with a generation above them, so that a completion that comes twice, or for an operation that
was given up long ago, meets no other flight: it is counted and dropped.

*Winding up.* A device may write into a buffer until its completion was seen, or its queue is closed. So when a queue
is stopped, those of its operations that end as ABORTED are told only after ``close()`` returned. And if its device is
lost, so are those that work in memory of the caller's.
"""

from __future__ import annotations

import enum
import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from ..backend import Completion, Detail, Inline, Queue
from ..errors import Status
from ..operations import Operation
from .flight import NO_TAG, Flight
from .parking import Parking

if TYPE_CHECKING:
    from .reaper import Reaper

__all__ = ["Lane", "LaneState", "check_failure", "depth_of"]

logger = logging.getLogger("wdasync.dispatch")

#: Completions taken from the queue between two looks at the clock.
REAP_LIMIT = 64

#: Tags have this many bits: the tag field of a HiSilicon descriptor.
_TAG_MASK = 0xFFFFFFFF

#: Memory that a device may still write to, because its queue could not be closed; and the queues.
_buried: list[object] = []


class LaneState(enum.Enum):
    """Whether a lane takes work, and what becomes of the work it has."""

    OPEN = "open"
    #: Closing: new work is refused, what is on the device is waited for.
    DRAINING = "draining"
    #: The queue is being replaced; work waits.
    RESETTING = "resetting"
    #: The device is gone, or the queue; work is refused with DEVICE_ERROR. It may come back.
    LOST = "lost"
    #: The queue is closed; work is refused with ABORTED.
    CLOSED = "closed"


# On Python 3.11 a member of an enumeration takes ten times as long to get as a name of a module.
_OPEN: Final = LaneState.OPEN
_DRAINING: Final = LaneState.DRAINING
_RESETTING: Final = LaneState.RESETTING

#: What may follow what.
TRANSITIONS: dict[LaneState, frozenset[LaneState]] = {
    LaneState.OPEN: frozenset({LaneState.DRAINING, LaneState.RESETTING, LaneState.LOST, LaneState.CLOSED}),
    LaneState.DRAINING: frozenset({LaneState.LOST, LaneState.CLOSED}),
    LaneState.RESETTING: frozenset({LaneState.OPEN, LaneState.LOST, LaneState.CLOSED}),
    LaneState.LOST: frozenset({LaneState.OPEN, LaneState.CLOSED}),
    LaneState.CLOSED: frozenset(),
}


class Lane:
    """One queue and its slots.

    :ivar name: for people, such as ``cpu0 NORMAL``
    :ivar inline: how to do small work in this thread instead; ``None``: not at all
    :ivar state: a :class:`LaneState`
    :ivar reason: why it is not open
    :ivar parked: how many flights wait for a slot
    :ivar boarded: how many will be submitted here, as soon as all of their burst have a lane
    :ivar withdrawn: cancelled before the device saw them
    :ivar detached: cancelled while the device worked on them, and left to it
    :ivar outstayed: cancelled, and waited for because the memory was the caller's
    :ivar spurious: completions that belonged to no flight
    :ivar rescues: times that only the safety timer found completions; must stay 0. A device that went away wakes nobody,
        so to find that out is none
    :ivar ran_inline: operations that would have come here, and ran in this thread instead
    :ivar returns: times that it came back after it was lost
    :ivar closing: the queue is closed, or somebody does it
    :ivar broken: the queue did what no queue may; it does not come back
    """

    def __init__(
        self,
        name: str,
        queue: Queue,
        reaper: Reaper,
        is_lost: Callable[[], str | None],
        inline: Inline | None = None,
    ) -> None:
        self.name = name
        self.reaper = reaper
        self.inline = inline
        self.state = LaneState.OPEN
        self.reason = ""
        self.parked = self.boarded = 0
        self._parking = Parking()
        self.submitted = self.succeeded = self.bytes_in = self.bytes_out = self.bursts = self.wakes = 0
        self.withdrawn = self.detached = self.outstayed = self.spurious = self.rescues = self.resets = 0
        self.ran_inline = self.returns = 0
        self.broken = False
        self.failures = [0] * len(Status)
        self._is_lost = is_lost
        self._wake = reaper.loop.wake
        self.adopt(queue, depth_of(queue))

    def adopt(self, queue: Queue, depth: int) -> None:
        """Take a queue: the first one, or the one after a reset. No flight holds a slot.

        :param depth: as :func:`depth_of` has it
        """
        self.queue = queue
        self.depth = depth
        self._stride = 1 << max(self.depth - 1, 1).bit_length()
        self._index = self._stride - 1
        self._table: list[Flight | None] = [None] * self._stride
        self._free = list(range(self.depth - 1, -1, -1))
        self._burst: list[tuple[int, Operation]] = []
        self._collecting = False
        self._armed = False
        self._taking = True
        self._spent = False  # it stopped handing out what it should
        self.closing = False
        self._retrying = False
        self._suspected_at = -1
        self._progress = -1

    def __repr__(self) -> str:
        return (
            f"<Lane {self.name} {self.state.value} {self.in_flight}/{self.depth} in flight, "
            f"{self.parked} parked{', armed' if self._armed else ''}>"
        )

    @property
    def in_flight(self) -> int:
        """How many slots are taken."""
        return self.depth - len(self._free)

    @property
    def load(self) -> int:
        """Slots taken, and those who wait for one or are about to."""
        return self.depth - len(self._free) + self.parked + self.boarded

    @property
    def completed(self) -> int:
        """Flights that have ended, in whatever way."""
        return self.succeeded + sum(self.failures)

    @property
    def statuses(self) -> dict[Status, int]:
        """How they ended: status -> how many; without those that are 0."""
        counts = [self.succeeded, *self.failures[1:]]
        return {status: count for status, count in zip(Status, counts, strict=True) if count}

    def _become(self, state: LaneState, reason: str = "") -> None:
        if state not in TRANSITIONS[self.state]:
            raise RuntimeError(f"lane {self.name}: {self.state.value} cannot become {state.value}")
        self.state = state
        self.reason = reason

    # -- a flight begins ------------------------------------------------------------------------------------

    def submit(self, flight: Flight) -> None:
        """Start a flight, or park it until a slot is free."""
        if self.state is _OPEN:
            if self._free and not self.parked:
                self._start(flight)
            else:
                self._park(flight)
        elif self.state is _RESETTING:
            self._park(flight)
        else:
            self._refuse(flight)

    def submit_burst(self, flights: Sequence[Flight]) -> None:
        """Start many flights, in one burst as far as there are slots."""
        sends = self.state is _OPEN and not self._collecting
        if sends:
            self._collecting = True
            self.reaper.loop.at_turn_end(self.turn_ends)
        for flight in flights:
            self.submit(flight)
        if sends and self._burst:
            self._send()

    def _park(self, flight: Flight) -> None:
        self._parking.add(flight)
        self.parked += 1

    def _next_parked(self) -> Flight:
        self.parked -= 1
        return self._parking.take()

    def _start(self, flight: Flight) -> None:
        tag = flight.tag = self._free.pop()
        self._table[tag & self._index] = flight
        flight.tick = self.reaper.ticks
        self.submitted += 1
        self.bytes_in += flight.operation.nbytes
        self._burst.append((tag, flight.operation))
        if not self._collecting:
            self._collecting = True
            self.reaper.loop.at_turn_end(self.turn_ends)
            self._send()

    def _start_parked(self) -> None:
        while self.parked and self._free and self.state is _OPEN:
            self._start(self._next_parked())

    def _send(self) -> None:
        """Give the burst to the queue. What does not fit stays, in order."""
        burst = self._burst
        try:
            accepted = self.queue.enqueue_burst(burst)
        except Exception as error:  # noqa: BLE001  whatever it is, none was allowed
            self._broken("enqueue_burst", error)
            return
        self.bursts += 1
        if accepted == len(burst):
            self._burst = []
        elif _is_count(accepted, len(burst)):
            del burst[:accepted]
        else:
            self._burst = []  # any of them may be on the device, so none can be sent elsewhere before it is closed
            self._broken("enqueue_burst", _no_count(len(burst), accepted))

    def turn_ends(self) -> None:
        """The tasks of this turn have run: send what they left, and ask to be woken."""
        self._collecting = False
        if not self._taking:
            return
        if self._burst:
            self._send()
        if self.in_flight:
            self.reaper.keep_watch()
            if not self._armed:
                self._settle()

    def retry(self) -> None:
        """Ask a queue again that had no room although nothing of ours was in it."""
        self._retrying = False
        if self._burst and not self._collecting:
            self.turn_ends()

    def _refuse(self, flight: Flight) -> None:
        """End a flight that holds no slot, because its lane takes no work."""
        status = Status.DEVICE_ERROR if self.state is LaneState.LOST else Status.ABORTED
        self._deliver(flight, Completion(NO_TAG, status, None, 0, 0, Detail(self.reason)))

    # -- a flight ends --------------------------------------------------------------------------------------

    def readable(self) -> None:
        """The event loop saw the queue's descriptor readable."""
        if self._taking:
            idle = not self.in_flight
            self._armed = False
            self.wakes += 1
            self.reap()
            if idle and (reason := self._is_lost()):
                # Nobody asks it for anything that could fail, and its queue may be in the way of others.
                self.lose(reason)

    def look_again(self) -> None:
        """The event loop has registered the descriptor, and may have eaten a wake by that."""
        if self._taking and self.in_flight:
            self._armed = False
            self.reap()

    def reap(self) -> None:
        """Take completions until there are none and a wake is ordered, or this turn's time is used up."""
        deadline = 0.0
        while self._taking:
            count = self._reap_some()
            if count < REAP_LIMIT:
                self._settle()
                return
            now = time.perf_counter()
            if deadline and now > deadline:
                self.reaper.loop.at_turn_end(self._reap_on)
                return
            deadline = deadline or now + self.reaper.budget

    def _reap_on(self) -> None:
        if self._taking and not self._armed:
            self.reap()

    def _reap_some(self) -> int:
        try:
            return self._take(self.queue.dequeue_burst(REAP_LIMIT))
        except Exception as error:  # noqa: BLE001  it raised, or gave what is no completion: none is allowed
            self._broken("dequeue_burst", error)
            return 0

    def _take(self, batch: Sequence[Completion]) -> int:
        # The plain case of _finish(), without calls: this loop runs once for each operation.
        count = len(batch)
        table, index, stride, free, wake = self._table, self._index, self._stride, self._free, self._wake
        for completion in batch:
            tag = completion[0]
            flight = table[tag & index]
            if flight is None or flight.tag != tag or completion[1]:
                self._finish(completion)
                continue
            # First of all: if that is no number, the flight is still there to be told.
            self.bytes_out += completion[4]
            table[tag & index] = None
            free.append((tag + stride) & _TAG_MASK)
            flight.tag = NO_TAG
            flight.completion = completion
            self.succeeded += 1
            if flight.waiter is not None:
                wake(flight, completion)
            if flight.on_done is not None:
                flight.on_done(flight)
        if self.parked:
            self._start_parked()
        return count

    def _settle(self) -> None:
        """The queue is empty for now: order a wake, or see to it that somebody looks again."""
        if self._collecting or not self._taking:
            return  # the turn's end settles
        if self._burst:
            self._send()
        waiting_for = self.in_flight - len(self._burst)
        if self._burst and not waiting_for:
            # Full with nothing of ours in it: the queue's hardware is shared, and no completion will tell.
            if not self._retrying:
                self._retrying = True
                self.reaper.retry_later(self)
        elif waiting_for and not self._arm():
            self.reaper.loop.at_turn_end(self._reap_on)
        elif not self.in_flight and self.state is _DRAINING:
            self.reaper.drained.set()

    def _arm(self) -> bool:
        try:
            self._armed = self.queue.arm()
        except Exception as error:  # noqa: BLE001  whatever it is, none was allowed
            self._broken("arm", error)
            return True
        return self._armed

    def _finish(self, completion: Completion) -> None:
        """One completion: free its slot, wake its caller."""
        tag = completion[0]
        index = tag & self._index
        flight = self._table[index]
        if flight is None or flight.tag != tag:
            self.spurious += 1
            logger.warning("%s: completion for tag %#x, which is not in flight", self.name, tag)
            return
        status = completion[1]
        if status:
            check_failure(completion)
            if not self._taking and status is Status.ABORTED:
                return  # told by sweep(), once the queue is closed
            if status is Status.DEVICE_ERROR and (reason := self._is_lost()):
                self.lose(reason)
                if not flight.operation.detachable:
                    return  # told by sweep(), too: until then the queue may hold memory of the caller's
        if status is Status.SUCCESS or status is Status.OUT_OF_SPACE_RECOVERABLE:
            self.bytes_out += completion[4]
        self._table[index] = None
        self._free.append((tag + self._stride) & _TAG_MASK)
        flight.tag = NO_TAG
        self._deliver(flight, completion)

    def _deliver(self, flight: Flight, completion: Completion) -> None:
        flight.completion = completion
        if completion[1]:
            self.failures[completion[1]] += 1
        else:
            self.succeeded += 1
        if flight.waiter is not None:
            self._wake(flight, completion)
        if flight.on_done is not None:
            flight.on_done(flight)

    # -- a flight is given up -------------------------------------------------------------------------------

    def cancel(self, flight: Flight) -> bool:
        """Withdraw or detach a flight whose caller was cancelled. False: the caller has to wait for the device.

        Only a flight whose memory belongs to nobody else may be left to the device.
        """
        if flight.tag == NO_TAG:
            self._parking.remove(flight)
            self.parked -= 1
            self._give_up(flight)
            return True
        if self._drop_from_burst(flight.tag) or (self._taking and self._ask_back(flight.tag)):
            self._vacate(flight)
            self._give_up(flight)
            self._start_parked()
            if not self.in_flight and self.state is _DRAINING:
                self.reaper.drained.set()
            return True
        if flight.completion is not None:
            return True  # the queue raised, and what it had finished was taken from it
        if not flight.operation.detachable:
            self.outstayed += 1
            return False
        flight.detached = True
        self.detached += 1
        return True

    def _drop_from_burst(self, tag: int) -> bool:
        for position, (other, _) in enumerate(self._burst):
            if other == tag:
                del self._burst[position]
                return True
        return False

    def _ask_back(self, tag: int) -> bool:
        try:
            return self.queue.withdraw(tag)
        except Exception as error:  # noqa: BLE001  whatever it is, none was allowed
            self._broken("withdraw", error)
            return False

    def _vacate(self, flight: Flight) -> None:
        """Give back the slot of a flight of which the device knows nothing."""
        self._table[flight.tag & self._index] = None
        self._free.append((flight.tag + self._stride) & _TAG_MASK)
        flight.tag = NO_TAG

    def _give_up(self, flight: Flight) -> None:
        self.withdrawn += 1
        flight.detached = True
        self._deliver(flight, Completion(NO_TAG, Status.ABORTED))

    # -- the safety timer -----------------------------------------------------------------------------------

    def overdue(self, tick: int) -> bool:
        """Whether a flight has been on the device since before ``tick``, and nothing has gone on here since then."""
        if not self._taking or self._progress >= tick:
            return False
        return any(flight is not None and flight.tick < tick for flight in self._table)

    def goes_on(self) -> None:
        """A page fault was answered: the device works, and may have waited for the program until now."""
        self._progress = self.reaper.ticks

    def check_wake(self) -> None:
        """Is something finished that nobody was told of?

        A worker may be put to sleep between its completion and its wake. So a suspicion is looked into at the next tick
        only; and since timers may run before the poll, when the event loop has polled once more.
        """
        if not (self._armed and self._taking) or self._arm():
            self._suspected_at = -1
        else:
            self._armed = True  # the wake that was ordered is still owed
            if self._suspected_at == self.wakes:
                loop = self.reaper.loop
                loop.at_turn_end(lambda: loop.at_turn_end(self._confirm_rescue))
            self._suspected_at = self.wakes

    def _confirm_rescue(self) -> None:
        if self._taking and self._armed and self._suspected_at == self.wakes:
            self._armed = False
            self._suspected_at = -1
            before = self.completed
            self.reap()
            if self.completed != before and self.state is not LaneState.LOST:
                self.rescues += 1
                logger.warning("%s: completions without a wake-up, found by the safety timer", self.name)

    # -- the end of a queue ---------------------------------------------------------------------------------

    def _broken(self, method: str, error: Exception) -> None:
        """A queue raised, which none may: the device is not to be trusted any more."""
        logger.error("%s: %s raised; the device is taken out of use", self.name, method, exc_info=error)
        self.broken = True
        self.lose(f"{method} raised {type(error).__name__}: {error}")

    def lose(self, reason: str) -> None:
        """The device is gone. Those who wait for a slot may go elsewhere; the queue is wound up."""
        if LaneState.LOST in TRANSITIONS[self.state]:
            logger.info("%s: lost: %s", self.name, reason)
            self.stop(LaneState.LOST, reason)
            self.reaper.wind_up(self)
            self.reaper.on_lost(self)

    def drain(self) -> None:
        """Take no more work; go on taking completions. ``reaper.drained`` is set when there are none to come."""
        if self.state is _OPEN:
            self._become(LaneState.DRAINING, "the accelerator is being closed")
            self._unsend()
            self._refuse_parked()
            self._collecting = False
            self._ask_for_no_pages()
            self._settle()

    def _ask_for_no_pages(self) -> None:
        """Give up what may want further pages of the program, which is about to end."""
        flights = [flight for flight in self._table if flight is not None]
        for flight in flights:
            if not self._taking:
                return  # the queue raised: it is stopped, and some of these have ended
            if flight.operation.paged is not None and self._ask_back(flight.tag):
                self._vacate(flight)
                self._deliver(flight, Completion(NO_TAG, Status.ABORTED))

    def stop(self, state: LaneState, reason: str) -> None:
        """Stop the queue. Finished operations are delivered; the rest is told by :meth:`sweep`."""
        self._become(state, reason)
        if self._taking:
            self._taking = False
            self._unsend()
            try:
                self.queue.stop()
            except Exception:
                logger.exception("%s: stop raised", self.name)
        if state is not LaneState.RESETTING:
            self._refuse_parked()

    def collect(self) -> None:
        """Take what a stopped queue still hands out. One that does not come to an end is broken, as one that raises."""
        if self._spent:
            return
        left = 2 * self.depth + REAP_LIMIT  # each may come twice, for which nobody is taken out of use
        try:
            while count := len(batch := self.queue.dequeue_burst(REAP_LIMIT)):
                left -= count
                if left < 0:
                    raise _endless(self.depth)
                for completion in batch:
                    self._finish(completion)
        except Exception as error:  # noqa: BLE001  whatever it is, none was allowed
            self._spent = True
            lost = self.state is LaneState.LOST
            self._broken("dequeue_burst", error)
            if lost:
                self.reaper.on_lost(self)  # who was told of the loss did not know that it is for good

    def sweep(self, overdue_tick: int = 0) -> None:
        """The queue is closed and the device touches nothing any more: end what never completed.

        :param overdue_tick: flights from before it are the cause, and end as DEVICE_ERROR
        """
        for flight in self._table:
            if flight is not None:
                late = flight.tick < overdue_tick or self.state is LaneState.LOST
                self._vacate(flight)
                status = Status.DEVICE_ERROR if late else Status.ABORTED
                self._deliver(flight, Completion(NO_TAG, status, None, 0, 0, Detail(self.reason)))

    def bury(self) -> None:
        """The queue could not be closed: keep it and the memory of its operations for as long as the process lives.

        The operations themselves will not do: whoever waited for one lets go of its buffers when it ends.
        """
        self.broken = True
        operations = [flight.operation for flight in self._table if flight is not None]
        _buried.append(self.queue)
        _buried.extend((operation.source, operation.destination, operation.paged) for operation in operations)

    def forget(self) -> None:
        """Stop and close the queue here and now, unless somebody does. Nobody waits for what is on the device."""
        if LaneState.CLOSED in TRANSITIONS[self.state]:
            self._become(LaneState.CLOSED, "the accelerator was forgotten")
        if self.closing:
            return
        self.closing = True
        running, self._taking = self._taking, False
        try:
            if running:
                self.queue.stop()
            self.queue.close()
        except Exception:
            logger.exception("%s: cannot be closed", self.name)
            self.bury()

    def hold(self) -> None:
        """Send nothing before the next :meth:`turn_ends`."""
        self._collecting = True

    def resume(self) -> None:
        """Go on with the new queue, after a reset or a loss."""
        if self.state is LaneState.LOST:
            self.returns += 1
        else:
            self.resets += 1
        self._become(LaneState.OPEN)
        self._start_parked()

    def _unsend(self) -> None:
        """What the queue has not been given yet goes back to the head of those who wait."""
        for tag, _ in reversed(self._burst):
            flight = self._table[tag & self._index]
            if flight is not None:
                self._vacate(flight)
                self.submitted -= 1
                self.bytes_in -= flight.operation.nbytes
                self._parking.put_back(flight)
                self.parked += 1
        self._burst = []

    def _refuse_parked(self) -> None:
        while self.parked:
            self._refuse(self._next_parked())


def depth_of(queue: Queue) -> int:
    """How many operations fit into a queue.

    :raises ValueError: if it cannot be used
    """
    depth: object = queue.depth
    if not isinstance(depth, int) or depth < 1:
        raise ValueError(f"depth: expected a whole number of slots, 1 or more, got {depth!r}")
    return depth


def _is_count(accepted: object, most: int) -> bool:
    return isinstance(accepted, int) and 0 <= accepted < most


def _no_count(most: int, got: object) -> Exception:
    return ValueError(f"expected how many it accepted, of {most}, got {got!r}")


def _endless(depth: int) -> Exception:
    return RuntimeError(f"a stopped queue of depth {depth} hands out completions without end")


def check_failure(completion: Completion) -> None:
    """A completion that is no success must say what it is. What it does not say of itself nobody can be told.

    :raises TypeError: if it does not
    """
    if not isinstance(completion[1], Status):
        raise TypeError(f"completion: expected a Status, got {completion[1]!r}")
    if not isinstance(completion[5], Detail):
        raise TypeError(f"completion: expected a Detail, got {completion[5]!r}")
