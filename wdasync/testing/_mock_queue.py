"""The queue of the mock backend. It pumps its device whenever its owner calls it, and has no thread."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from ..backend import Completion, Detail, QueueStatistics
from ..errors import Status
from ..operations import Kind, Operation, Priority
from ._codecs import Outcome
from ._digests import MockDigest
from ._wake import Wake
from ._work import MockSession, maps_level, work
from .program import Effect, Order, Rule

if TYPE_CHECKING:
    from .mock import MockDevice

__all__ = ["Flight", "MockQueue"]

#: Sessions of which one operation at a time is in flight.
STATEFUL: Final = (MockSession, MockDigest)

_ABORTED: Final = Outcome(Status.ABORTED, detail=Detail("the queue was stopped"))


class Flight:
    """An accepted operation until its completion is posted.

    :ivar outcome: known before it completes: the work was done early, or refused
    :ivar holds_session: its stream has this operation in flight, and no other
    :ivar parked: it waits for the answer to a page fault
    :ivar faults: page faults that were answered
    :ivar step: the queue's step from which it may complete; meaningless before the device has seen it
    :ivar time: and the time, of :func:`time.monotonic`
    """

    __slots__ = (
        "effects",
        "faults",
        "holds_session",
        "operation",
        "outcome",
        "parked",
        "step",
        "tag",
        "time",
    )

    def __init__(self, tag: int, operation: Operation, effects: dict[Effect, Rule]) -> None:
        self.tag = tag
        self.operation = operation
        self.effects = effects
        self.outcome: Outcome | None = None
        self.holds_session = False
        self.parked = False
        self.faults = 0
        self.step = 0
        self.time = 0.0

    @property
    def able(self) -> bool:
        """Whether it can complete by itself."""
        return not self.parked and Effect.STICK not in self.effects


class MockQueue:
    """A queue pair of a mock device.

    An operation goes from ``waiting`` (the device has not seen it) through ``working`` to ``done``
    (a completion). Each of these is in the order in which the operations came there.

    :ivar priority: among the queues of its device
    """

    def __init__(self, device: MockDevice, depth: int, queue_class: str) -> None:
        self.device = device
        self.depth = depth
        self.priority = Priority.NORMAL
        self.wake = Wake(device.program.options.readiness)
        self._queue_class = queue_class
        self._program = device.program
        self._waiting: deque[Flight] = deque()
        self._working: list[Flight] = []
        self._vanished: list[Flight] = []
        self._lingering: list[Operation] = []
        self._done: deque[Completion] = deque()
        self._tags: dict[int, Operation] = {}
        self._step = 0
        self._stopped = False
        self._closed = False
        self._owner: int | None = None
        self._enqueued = self._dequeued = self._withdrawn = self._rejected = self._mapped = 0

    # What the owner calls

    def enqueue_burst(self, entries: Sequence[tuple[int, Operation]]) -> int:
        self._enter("enqueue_burst")
        count = self._room(len(entries))
        for tag, operation in entries[:count]:
            self._accept(tag, operation)
        self._rejected += len(entries) - count
        self._pump()
        if self.wake.armed:
            self._run_on()
        return count

    def dequeue_burst(self, limit: int) -> Sequence[Completion]:
        self._enter("dequeue_burst")
        self._pump()
        taken = [self._done.popleft() for _ in range(min(limit, len(self._done)))]
        for completion in taken:
            self._tags.pop(completion.tag, None)
        self._dequeued += len(taken)
        if taken:  # A look in vain after arm() must not take away the wake that arm() ordered.
            self.wake.touched(empty=not self._done)
        return taken

    def fileno(self) -> int:
        return self.wake.fileno()

    def arm(self) -> bool:
        self._enter("arm")
        self._pump(0)
        if self._done:
            return False
        self.wake.touched(empty=True)
        self.wake.arm()
        self._run_on()
        return True

    def withdraw(self, tag: int) -> bool:
        self._enter("withdraw")
        for flight in self._waiting:
            if flight.tag == tag:
                self._waiting.remove(flight)
                self._forget(flight)
                del self._tags[tag]
                self._withdrawn += 1
                return True
        return False

    def stop(self) -> None:
        self._enter("stop")
        self._stopped = True
        self._end_all(_ABORTED)
        self.wake.ring()

    def close(self) -> None:
        if self._closed:
            return
        self._program.gate.wait()
        if self._program.close_failures:
            self._program.close_failures -= 1
            raise OSError("close: failed, as the test asked")
        self._closed = self._stopped = True
        for operation in self._lingering:  # The device was still at it.
            self._deliver(operation, self._do(operation))
        self._lingering.clear()
        self._end_all(_ABORTED)
        self._done.clear()
        self._tags.clear()
        self.wake.close()
        self.device.forget(self)

    def statistics(self) -> QueueStatistics:
        return QueueStatistics(
            depth=self.depth,
            in_flight=len(self._tags),
            enqueued=self._enqueued,
            dequeued=self._dequeued,
            withdrawn=self._withdrawn,
            rejected=self._rejected,
            wakes=self.wake.count,
            levels_mapped=self._mapped,
            extra={"wakes_eaten": self.wake.eaten},
        )

    # What the device does

    def ready(self) -> bool:
        """Whether an operation of it could complete now."""
        now = time.monotonic()
        return any(
            flight.able and flight.step <= self._step and flight.time <= now for flight in self._working
        )

    def post_spurious(self, tag: int) -> None:
        """A completion that answers nothing."""
        self._done.append(Completion(tag, Status.SUCCESS, b"", 0, 0, Detail("spurious")))
        self.wake.ring()

    def _room(self, wanted: int) -> int:
        options = self._program.options
        if self._stopped:
            return 0
        if self._program.refusals:
            self._program.refusals -= 1
            return 0
        room = min(wanted, self.depth - len(self._tags))
        return min(room, options.accept) if options.accept else room

    def _accept(self, tag: int, operation: Operation) -> None:
        if type(tag) is not int or not 0 <= tag < 1 << 32 or tag in self._tags:
            self._program.complain(
                f"enqueue_burst: expected a tag below 2**32 that is not in flight, got {tag!r}"
            )
        if (
            operation.paged is not None
            and operation.nbytes
            and not operation.source
            and not self._pages(operation)
        ):
            self._program.complain(
                f"enqueue_burst: {operation!r} has pages to fetch; this device does not take them"
            )
        self._enqueued += 1
        self._tags[tag] = operation
        self._mapped += maps_level(operation, self.device.capabilities)
        flight = Flight(tag, operation, self._program.effects(operation))
        session = operation.session
        if isinstance(session, STATEFUL) and not session.busy:
            session.busy = flight.holds_session = True
        elif not operation.stateless:
            flight.outcome = Outcome(Status.INVALID_STATE, detail=Detail("its stream is in flight already"))
        self._waiting.append(flight)

    def _pages(self, operation: Operation) -> bool:
        """Whether the device fetches pages of such an operation."""
        row = self.device.capabilities.find(operation.kind, operation.algorithm)
        return row is None or row.paged

    def _pump(self, steps: int = 1) -> None:
        """Let the device run for some steps."""
        self._step += steps
        self._start()
        while self.device.lost is None and (ripe := self._ripe()):
            for flight in ripe:
                if self.device.lost is None:
                    self._working.remove(flight)
                    self._complete(flight)
            self._start()
        if self.device.lost is not None:
            self._end_all(Outcome(Status.DEVICE_ERROR, detail=Detail(self.device.lost)))
        if self._done:
            self.wake.ring()

    def _start(self) -> None:
        """Let the device see what waits, as far as it has engines."""
        options, chance = self._program.options, self._program.random
        while self._waiting and (not options.engines or len(self._working) < options.engines):
            flight = self._waiting.popleft()
            flight.step = self._step + options.steps
            delay = options.latency + (chance.uniform(0, options.jitter) if options.jitter else 0)
            flight.time = time.monotonic() + delay if delay else 0.0
            if (rule := flight.effects.get(Effect.FAULT)) is not None:
                self.device.faults.take(flight, rule, self.wake.ring)
            paged = flight.operation.paged
            if paged is not None and not flight.operation.source:
                self.device.faults.fetch(flight, paged, self.wake.ring)
            if not options.late and flight.able and flight.outcome is None:
                flight.outcome = self._do(flight.operation)
                self._deliver(flight.operation, flight.outcome)
            self._working.append(flight)

    def _ripe(self) -> list[Flight]:
        """Those that complete now, in the order in which they do."""
        now = time.monotonic() if self._program.options.latency or self._program.options.jitter else 0.0
        order = self._program.options.order
        ripe: list[Flight] = []
        for flight in self._working:
            due = flight.step <= self._step and flight.time <= now
            if due and flight.able and self._program.may_complete(self):
                ripe.append(flight)
            elif order is Order.STRICT:
                break
        if order is Order.LIFO:
            ripe.reverse()
        elif order is Order.SHUFFLED:
            self._program.random.shuffle(ripe)
        return ripe

    def _run_on(self) -> None:
        """The device goes on while its owner sleeps: see to it that somebody wakes him."""
        candidates = self._working[:1] if self._program.options.order is Order.STRICT else self._working
        able = [flight for flight in candidates if flight.able]
        if not able or self._program.allowance == 0:
            return
        first = min(able, key=lambda flight: (flight.time, flight.step))
        self._step = max(self._step, first.step)
        if first.time:
            self._program.alarm.at(first.time, self.wake.ring)
        else:
            self.wake.ring()

    def _complete(self, flight: Flight) -> None:
        rule = flight.effects.get(Effect.FAIL)
        if rule is not None:
            outcome = Outcome(rule.status, detail=Detail(rule.message, cause=rule.cause))
        elif flight.outcome is not None:
            outcome = flight.outcome
        else:
            outcome = self._do(flight.operation)
        if Effect.CORRUPT in flight.effects and outcome.output:
            outcome = outcome._replace(output=bytes([outcome.output[0] ^ 0xFF]) + outcome.output[1:])
        if flight.faults:
            told = outcome.detail
            outcome = outcome._replace(
                detail=Detail(told.message, cause=told.cause, faults=flight.faults, final=told.final)
            )
        if Effect.LOSE in flight.effects:
            self._vanished.append(flight)
            return
        self._post(flight, outcome)
        if Effect.DUPLICATE in flight.effects:
            self._done.append(self._done[-1])
        self.device.completed()

    def _post(self, flight: Flight, outcome: Outcome) -> None:
        operation = flight.operation
        produced = self._deliver(operation, outcome)
        succeeded = outcome.status is Status.SUCCESS
        owned = operation.destination is None and operation.kind is not Kind.NOP
        own = outcome.output if succeeded and owned else None
        if not succeeded and isinstance(operation.session, STATEFUL) and flight.holds_session:
            operation.session.poison()
        self._forget(flight)
        self._done.append(
            Completion(flight.tag, outcome.status, own, outcome.consumed, produced, outcome.detail)
        )

    def _do(self, operation: Operation) -> Outcome:
        return work(operation, self.device, self._queue_class)

    def _deliver(self, operation: Operation, outcome: Outcome) -> int:
        """Write the output where the caller wants it; how many bytes."""
        destination = operation.destination
        if destination is None or outcome.status not in (Status.SUCCESS, Status.OUT_OF_SPACE_TERMINATED):
            return len(outcome.output)
        room = min(len(outcome.output), len(destination))
        destination[:room] = outcome.output[:room]
        return room

    def _end_all(self, outcome: Outcome) -> None:
        """Complete everything that the device has or waits for, with the same outcome."""
        ending = sorted([*self._vanished, *self._working, *self._waiting], key=lambda flight: flight.step)
        if self._program.options.lingering and outcome is _ABORTED and not self._closed:
            self._lingering += [flight.operation for flight in self._working]
        for unfinished in (self._vanished, self._working, self._waiting):
            unfinished.clear()
        for flight in ending:
            self._post(flight, outcome)

    def _forget(self, flight: Flight) -> None:
        """The session, if it has one, has nothing in flight any more."""
        if isinstance(flight.operation.session, STATEFUL) and flight.holds_session:
            flight.operation.session.busy = False

    def _enter(self, what: str) -> None:
        """Refuse a second thread, and a queue that was closed."""
        here = threading.get_ident()
        if self._owner is None:
            self._owner = here
        if self._owner != here:
            self._program.complain(f"{what}: one thread owns a queue; expected {self._owner}, got {here}")
        if self._closed:
            self._program.complain(f"{what}: the queue is closed; drop it when close() was called")
