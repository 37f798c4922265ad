"""A lane on its own, with a queue and an event loop that a test moves by hand: what no real device does on request."""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from wdasync.backend import Completion, QueueStatistics, Status
from wdasync.dispatch import Flight, Group, Lane, LaneState, Reaper
from wdasync.dispatch.reaper import STOP_GRACE
from wdasync.operations import Compress, Operation
from wdasync.paged import PagedBuffer
from wdasync.testing.mock import Program

from .conftest import Opener

pytestmark = pytest.mark.anyio


#: Seconds between two looks of the safety timer; other timers are much shorter.
INTERVAL = 1.0
SHORT = 0.1


class HandLoop:
    """Does nothing by itself."""

    name = "hand"

    def __init__(self) -> None:
        self.here = True
        self.at_end: list[Callable[[], None]] = []
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.background: list[tuple[Callable[[], Any], Callable[[Any, BaseException | None], None]]] = []
        self.woken: list[Any] = []
        self.watched: set[int] = set()
        self.cancelled = 0

    def turn(self) -> None:
        """The end of one turn."""
        callbacks, self.at_end = self.at_end, []
        for callback in callbacks:
            callback()

    def work(self) -> None:
        """What was put into threads is done."""
        while self.background:
            function, then = self.background.pop(0)
            try:
                result, error = function(), None
            except RuntimeError as raised:
                result, error = None, raised
            then(result, error)

    def is_current(self) -> bool:
        return self.here

    def at_turn_end(self, callback: Callable[[], None]) -> None:
        self.at_end.append(callback)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> HandLoop:
        self.later.append((seconds, callback))
        return self

    def pass_time(self, seconds: float) -> None:
        """Timers that are due after so long."""
        due = [timer for timer in self.later if timer[0] <= seconds]
        self.later = [timer for timer in self.later if timer[0] > seconds]
        for _, callback in due:
            callback()

    def cancel(self) -> None:
        self.cancelled += 1

    def in_background(self, function: Callable[[], Any], then: Callable[..., None]) -> None:
        self.background.append((function, then))

    def watch(self, fd: int, callback: Callable[[], None], look_again: Callable[[], None]) -> None:
        self.watched.add(fd)

    def unwatch(self, fd: int) -> None:
        self.watched.discard(fd)

    def wake(self, parkable: Any, value: Any) -> None:
        self.woken.append(parkable)

    def protect(self, function: Callable[..., Any]) -> None:
        pass


class HandQueue:
    """Takes and gives what a test says, and raises what it is told to."""

    def __init__(self, depth: int = 4) -> None:
        self.depth = depth
        self.accept = depth
        self.taken: list[tuple[int, Operation]] = []
        self.ready: list[Completion] = []
        self.armable = True
        self.calls: list[str] = []
        self.raising: set[str] = set()

    def _note(self, name: str) -> None:
        self.calls.append(name)
        if name in self.raising:
            raise RuntimeError(f"{name} is broken")

    def enqueue_burst(self, entries: Sequence[tuple[int, Operation]]) -> int:
        self._note("enqueue_burst")
        taken = entries[: self.accept]
        self.taken += taken
        return len(taken)

    def dequeue_burst(self, limit: int) -> list[Completion]:
        self._note("dequeue_burst")
        given, self.ready = self.ready[:limit], self.ready[limit:]
        return given

    def complete(self, status: Status = Status.SUCCESS) -> None:
        """All that it has taken."""
        self.ready += [Completion(tag, status, b"", 0, 0) for tag, _ in self.taken]
        self.taken = []

    def fileno(self) -> int:
        return 7

    def arm(self) -> bool:
        self._note("arm")
        return self.armable

    def withdraw(self, tag: int) -> bool:
        self._note("withdraw")
        before = len(self.taken)
        self.taken = [entry for entry in self.taken if entry[0] != tag]
        return len(self.taken) < before

    def stop(self) -> None:
        self._note("stop")

    def close(self) -> None:
        self._note("close")

    def statistics(self) -> QueueStatistics:
        return QueueStatistics(self.depth)


class Bench:
    """A lane and what is around it."""

    def __init__(self, depth: int = 4, budget: float = 1.0, *, watched: bool = True) -> None:
        self.loop = HandLoop()
        self.queue = HandQueue(depth)
        self.reaper = Reaper(self.loop, budget=budget, interval=INTERVAL, deadline=2 * INTERVAL)  # type: ignore[arg-type]
        self.lane = Lane("by hand", self.queue, self.reaper, lambda: self.lost)
        self.lost: str | None = None
        self.reopened = HandQueue(depth)
        self.reaper.add(self.lane, self._reopen)
        if watched:
            self.loop.turn()
            self.loop.turn()

    def _reopen(self) -> HandQueue:
        self.reopened._note("open")
        return self.reopened

    def submit(self, count: int = 1) -> list[Flight]:
        flights = [Flight(Compress(b"x", "gzip"), self.lane) for _ in range(count)]
        for flight in flights:
            flight.waiter = "somebody"
            self.lane.submit(flight)
        return flights

    def submit_of(self, memory: bytearray) -> None:
        """A flight that nobody holds."""
        self.lane.submit(Flight(Compress(memory, "gzip"), self.lane))

    def forget_queue(self) -> None:
        """What keeps memory from now on is the lane, or that it was buried."""
        self.queue.taken.clear()
        gc.collect()

    def tick(self) -> None:
        """The safety timer looks."""
        timers = [callback for seconds, callback in self.loop.later if seconds == INTERVAL]
        self.loop.later = [timer for timer in self.loop.later if timer[0] < INTERVAL]
        for callback in timers:
            callback()


def status(flight: Flight) -> Status:
    assert flight.completion is not None
    return flight.completion.status


async def test_it_says_how_it_is() -> None:
    bench = Bench(depth=1)
    first, second = bench.submit(2)
    assert repr(bench.lane) == "<Lane by hand open 1/1 in flight, 1 parked>"
    assert repr(first) == "<Flight <Compress gzip 1 bytes> tag 0x0>"
    assert repr(second) == "<Flight <Compress gzip 1 bytes> parked>"
    bench.loop.turn()
    assert repr(bench.lane).endswith("1 parked, armed>")
    first.detached = True
    bench.queue.complete()
    bench.lane.readable()
    assert repr(first) == "<Flight <Compress gzip 1 bytes> done detached>"


async def test_what_may_not_follow_does_not() -> None:
    with pytest.raises(RuntimeError, match="by hand: open cannot become open"):
        Bench().lane.resume()


@pytest.mark.parametrize(
    ("state", "expected"), [(LaneState.CLOSED, Status.ABORTED), (LaneState.LOST, Status.DEVICE_ERROR)]
)
async def test_a_lane_that_has_ended_takes_nothing(state: LaneState, expected: Status) -> None:
    bench = Bench()
    bench.lane.stop(state, "it is over")
    (flight,) = bench.submit()
    assert status(flight) is expected
    assert flight.completion is not None
    assert flight.completion.detail.message == "it is over"
    assert bench.loop.woken == [flight]
    assert bench.queue.calls == ["stop"]


async def test_nothing_is_taken_from_a_queue_that_was_stopped() -> None:
    bench = Bench()
    bench.submit()
    bench.loop.turn()
    bench.lane.stop(LaneState.CLOSED, "it is over")
    bench.queue.calls.clear()
    bench.queue.complete()
    bench.lane.readable()
    bench.lane.look_again()
    bench.lane.reap()
    bench.lane.turn_ends()
    bench.lane.check_wake()
    assert bench.queue.calls == []
    assert bench.lane.wakes == 0


async def test_a_full_shared_queue_is_not_asked_for_what_was_cancelled() -> None:
    bench = Bench()
    bench.queue.accept = 0
    (flight,) = bench.submit()
    bench.loop.turn()
    assert len(bench.loop.later) == 2, "the safety timer, and the one that asks again"
    assert flight.abandon()
    bench.queue.calls.clear()
    bench.loop.pass_time(SHORT)
    assert bench.queue.calls == []
    (another,) = bench.submit()
    bench.lane.retry()  # the turn's end does it
    assert bench.queue.calls == ["enqueue_burst"]
    bench.queue.accept = 4
    bench.loop.turn()
    bench.queue.complete()
    bench.lane.readable()
    assert status(another) is Status.SUCCESS


async def test_more_completions_than_one_turn_has_time_for() -> None:
    bench = Bench(depth=256, budget=0.0)
    flights = bench.submit(256)
    bench.loop.turn()
    bench.queue.complete()
    bench.lane.readable()
    done = sum(flight.completion is not None for flight in flights)
    assert 64 <= done < 256
    for _ in range(4):
        bench.loop.turn()
    assert all(status(flight) is Status.SUCCESS for flight in flights)
    assert bench.lane.in_flight == 0


async def test_nothing_is_sent_before_the_descriptor_is_registered() -> None:
    """uvloop registers at its next poll: a wake that was ordered before that may be lost."""
    bench = Bench(watched=False)
    (flight,) = bench.submit()
    bench.loop.turn()
    assert bench.queue.calls == []
    bench.loop.turn()
    assert bench.queue.calls == ["enqueue_burst", "arm"]
    bench.queue.complete()
    bench.lane.readable()
    assert status(flight) is Status.SUCCESS


async def test_one_alone_is_one_burst() -> None:
    bench = Bench()
    bench.submit()
    bench.loop.turn()
    assert bench.queue.calls == ["enqueue_burst", "arm"]


async def test_many_are_one_burst_as_far_as_there_are_slots() -> None:
    bench = Bench()
    flights = [Flight(Compress(b"x", "gzip"), bench.lane) for _ in range(6)]
    bench.lane.submit_burst(flights)
    assert len(bench.queue.taken) == 4
    assert (bench.lane.in_flight, bench.lane.parked) == (4, 2)
    bench.lane.submit_burst([Flight(Compress(b"x", "gzip"), bench.lane)])  # the turn's end sends
    bench.loop.turn()
    assert bench.queue.calls == ["enqueue_burst", "arm"]
    bench.lane.submit_burst([Flight(Compress(b"x", "gzip"), bench.lane)])  # there is no slot for it
    bench.loop.turn()
    assert bench.queue.calls == ["enqueue_burst", "arm"]
    assert bench.lane.parked == 4


async def test_a_burst_in_the_middle_of_a_turn_waits_for_its_end() -> None:
    bench = Bench()
    bench.submit()
    bench.lane.submit_burst([Flight(Compress(b"x", "gzip"), bench.lane) for _ in range(3)])
    assert len(bench.queue.taken) == 1
    bench.loop.turn()
    assert len(bench.queue.taken) == 4


async def test_a_lane_that_has_ended_takes_no_burst() -> None:
    bench = Bench()
    bench.lane.stop(LaneState.LOST, "it is over")
    flights = [Flight(Compress(b"x", "gzip"), bench.lane) for _ in range(3)]
    bench.lane.submit_burst(flights)
    assert [status(flight) for flight in flights] == [Status.DEVICE_ERROR] * 3
    assert bench.queue.calls == ["stop"]


async def test_the_rest_of_a_turn_goes_although_a_wake_is_ordered() -> None:
    bench = Bench()
    bench.submit()
    bench.loop.turn()
    bench.submit(3)
    bench.loop.turn()
    assert len(bench.queue.taken) == 4
    assert bench.queue.calls == ["enqueue_burst", "arm", "enqueue_burst", "enqueue_burst"]


async def test_in_the_middle_of_a_turn_nothing_is_sent_nor_armed() -> None:
    bench = Bench()
    bench.submit(3)
    bench.queue.calls.clear()
    bench.queue.complete()
    bench.lane.readable()
    assert bench.queue.calls == ["dequeue_burst"]
    bench.loop.turn()
    assert bench.queue.calls == ["dequeue_burst", "enqueue_burst", "arm"]


async def test_a_queue_with_something_of_ours_in_it_is_not_asked_on_a_timer() -> None:
    """Its completion will tell that there is room."""
    bench = Bench()
    bench.queue.accept = 1
    flights = bench.submit(4)
    bench.loop.turn()
    assert len(bench.queue.taken) == 3
    assert [seconds for seconds, _ in bench.loop.later] == [INTERVAL]
    assert bench.queue.calls[-1] == "arm"
    while bench.queue.taken:
        bench.queue.complete()
        bench.lane.readable()
    assert [status(flight) for flight in flights] == [Status.SUCCESS] * 4


async def test_an_idle_lane_asks_nothing_of_anybody() -> None:
    bench = Bench()
    bench.submit()
    bench.loop.turn()
    bench.queue.complete()
    bench.queue.calls.clear()
    bench.lane.readable()
    bench.loop.turn()
    assert bench.queue.calls == ["dequeue_burst"]
    assert [seconds for seconds, _ in bench.loop.later] == [INTERVAL]
    bench.tick()
    assert bench.loop.later == []
    bench.lane.look_again()
    assert bench.queue.calls == ["dequeue_burst"]


async def test_there_is_one_safety_timer() -> None:
    bench = Bench()
    for _ in range(3):
        bench.submit()
        bench.loop.turn()
    assert len(bench.loop.later) == 1
    bench.tick()
    assert len(bench.loop.later) == 1


async def test_a_wake_that_the_registration_ate() -> None:
    bench = Bench()
    (flight,) = bench.submit()
    bench.loop.turn()
    bench.queue.complete()
    bench.lane.look_again()
    assert status(flight) is Status.SUCCESS
    assert (bench.lane.wakes, bench.lane.rescues) == (0, 0)


async def test_nothing_is_asked_of_a_queue_that_raised(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    bench = Bench()
    bench.submit()
    bench.loop.turn()
    bench.queue.calls.clear()
    bench.queue.raising.add("dequeue_burst")
    bench.lane.readable()
    bench.loop.turn()
    assert bench.queue.calls == ["dequeue_burst", "stop", "dequeue_burst"], "the last is to collect the rest"


@pytest.mark.parametrize("ending", [Status.SUCCESS, Status.DATA_ERROR])
async def test_a_completion_that_comes_again_is_not_the_next_flight_s(
    ending: Status, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    bench = Bench(depth=1)
    (first,) = bench.submit()
    again = Completion(first.tag, ending, b"first", 0, 5)
    bench.queue.complete()
    bench.loop.turn()
    bench.lane.readable()
    (second,) = bench.submit()
    bench.loop.turn()
    bench.queue.ready = [again]
    bench.lane.readable()
    assert second.completion is None
    assert (bench.lane.spurious, bench.lane.in_flight) == (1, 1)
    bench.queue.complete()
    bench.lane.readable()
    assert status(second) is Status.SUCCESS


#: What is wrong -> a completion that has it.
BAD_COMPLETIONS: dict[str, Callable[[int], Any]] = {
    "no number of bytes": lambda tag: Completion(tag, Status.SUCCESS, b"", 0, None),  # type: ignore[arg-type]
    "bytes of what may go on": lambda tag: Completion(
        tag,
        Status.OUT_OF_SPACE_RECOVERABLE,
        b"",
        0,
        None,  # type: ignore[arg-type]
    ),
    "an unknown status": lambda tag: Completion(tag, 99),  # type: ignore[arg-type]
    "a status that is text": lambda tag: Completion(tag, "x"),  # type: ignore[arg-type]
    "a failure without a detail": lambda tag: Completion(
        tag,
        Status.DATA_ERROR,
        detail=None,  # type: ignore[arg-type]
    ),
    "too short": lambda tag: (tag, Status.SUCCESS),
    "too short a failure": lambda tag: (tag, Status.DATA_ERROR),
}


@pytest.mark.parametrize("what", BAD_COMPLETIONS)
@pytest.mark.parametrize("stopped", [False, True], ids=["open", "when it is stopped"])
async def test_whom_a_bad_completion_belongs_to_is_told(
    what: str, stopped: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The queue is not to be trusted any more, and the operation has failed with it, as all others."""
    caplog.set_level(logging.CRITICAL)
    bench = Bench()
    told: list[Lane] = []
    bench.reaper.on_lost = told.append
    bad, other = bench.submit(2)
    bench.loop.turn()
    bench.queue.ready = [BAD_COMPLETIONS[what](bad.tag)]
    if stopped:
        for _ in range(4):
            bench.tick()  # until the deadline
    else:
        bench.lane.readable()
    assert (bench.lane.state, bench.lane.broken) == (LaneState.LOST, True)
    assert set(told) == {bench.lane}
    bench.loop.pass_time(SHORT)
    bench.loop.work()
    assert [status(flight) for flight in (bad, other)] == [Status.DEVICE_ERROR] * 2
    assert bench.loop.woken == [bad, other]
    assert bench.lane.in_flight == 0
    assert bad.completion is not None
    assert bad.completion.detail.message.startswith("dequeue_burst raised")


@pytest.mark.parametrize("accepted", ["two", None, 3, -1, 0.5, 1 << 70])
async def test_a_queue_that_does_not_say_how_many_it_took(
    accepted: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """It may have taken any of them: they have failed, and not before the queue is closed. Those in line go elsewhere."""
    caplog.set_level(logging.CRITICAL)
    bench = Bench()
    bench.queue.enqueue_burst = lambda _: accepted  # type: ignore[method-assign]
    flights = [Flight(Compress(b"x", "gzip"), bench.lane) for _ in range(6)]
    bench.lane.submit_burst(flights[:2])
    bench.lane.submit_burst(flights[2:])
    assert (bench.lane.state, bench.lane.broken) == (LaneState.LOST, True)
    assert [flight.completion for flight in flights[:2]] == [None] * 2
    assert [status(flight) for flight in flights[2:]] == [Status.DEVICE_ERROR] * 4
    bench.loop.pass_time(SHORT)
    bench.loop.work()
    assert [status(flight) for flight in flights] == [Status.DEVICE_ERROR] * 6
    assert bench.lane.in_flight == 0
    first = flights[0].completion
    assert first is not None
    assert f"expected how many it accepted, of 2, got {accepted!r}" in first.detail.message


@pytest.mark.parametrize("how", ["the last again and again", "many at a time", "a generator"])
@pytest.mark.parametrize("ending", ["its loss", "a reset", "close"])
async def test_a_stopped_queue_that_does_not_come_to_an_end(
    how: str, ending: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody waits for its end: it is broken."""
    caplog.set_level(logging.CRITICAL)
    bench = Bench()
    told: list[bool] = []
    bench.reaper.on_lost = lambda lane: told.append(lane.broken)
    flights = bench.submit(2)
    bench.loop.turn()
    one = Completion(flights[0].tag, Status.SUCCESS, b"", 0, 0)
    asked: list[int] = []

    def dequeue_burst(limit: int) -> Any:
        asked.append(limit)
        assert len(asked) < 100, "without end"
        if how == "a generator":
            return (one for _ in range(1))
        return [one] * (limit if how == "many at a time" else 1)

    bench.queue.dequeue_burst = dequeue_burst  # type: ignore[method-assign]
    if ending == "its loss":
        bench.lane.lose("unplugged")
    elif ending == "a reset":
        for _ in range(4):
            bench.tick()
    else:
        bench.lane.stop(LaneState.CLOSED, "it is over")
        bench.reaper.wind_up(bench.lane)
    assert bench.lane.broken
    assert told[-1:] == [True] * (ending != "close")
    asked.clear()
    bench.loop.pass_time(SHORT)
    bench.loop.work()
    assert not asked, "it is not asked again"
    assert bench.queue.calls[-1] == "close"
    assert status(flights[0]) is Status.SUCCESS or how == "a generator"
    assert status(flights[1]) is (Status.ABORTED if ending == "close" else Status.DEVICE_ERROR)
    assert bench.lane.in_flight == 0


async def test_what_comes_twice_is_no_end_that_never_comes(caplog: pytest.LogCaptureFixture) -> None:
    """Of a stopped queue, too: it is counted and dropped."""
    caplog.set_level(logging.CRITICAL)
    bench = Bench()
    flights = bench.submit(4)
    bench.loop.turn()
    bench.queue.complete()
    bench.queue.ready *= 2
    bench.lane.lose("unplugged")
    assert [status(flight) for flight in flights] == [Status.SUCCESS] * 4
    assert (bench.lane.spurious, bench.lane.broken) == (4, False)


async def test_output_is_counted_where_there_is_some() -> None:
    """Of a flight on its own and of one in a group; of what ended well, or may go on in a larger buffer."""
    bench = Bench(depth=16)
    endings = [
        Status.SUCCESS,
        Status.OUT_OF_SPACE_RECOVERABLE,
        Status.OUT_OF_SPACE_TERMINATED,
        Status.DATA_ERROR,
    ]
    flights = bench.submit(2 * len(endings))
    Group(flights[: len(endings)], bench.loop.wake)
    bench.loop.turn()
    bench.queue.ready = [
        Completion(flight.tag, status, b"", 0, 1 << 2 * number)
        for number, (flight, status) in enumerate(zip(flights, 2 * endings, strict=True))
    ]
    bench.lane.readable()
    assert bench.lane.bytes_out == 0b_0000_0101_0000_0101


async def test_a_lost_lane_needs_no_safety_timer() -> None:
    bench = Bench()
    bench.submit()
    bench.lane.lose("it is over")
    bench.loop.turn()
    assert [seconds for seconds, _ in bench.loop.later] == [STOP_GRACE]


async def test_a_stopped_queue_is_given_time_to_hand_out_the_rest() -> None:
    bench = Bench()
    (flight,) = bench.submit()
    bench.loop.turn()
    bench.lane.lose("it is over")
    bench.queue.complete()
    bench.loop.pass_time(STOP_GRACE)
    assert status(flight) is Status.SUCCESS


async def test_an_idle_lane_hears_that_its_device_is_lost() -> None:
    """Nothing of it will fail, and others may wait for its queue to be closed."""
    bench = Bench()
    bench.lane.readable()
    assert bench.lane.state is LaneState.OPEN
    bench.submit()
    bench.loop.turn()
    bench.lost = "pulled out"
    bench.lane.readable()
    assert bench.lane.state is LaneState.OPEN, "its operations will tell"
    bench.queue.complete()
    bench.lane.readable()
    assert bench.lane.state is LaneState.OPEN
    bench.lane.readable()
    assert bench.lane.state is LaneState.LOST
    bench.lane.readable()


async def test_a_lane_that_is_lost_is_not_waited_for() -> None:
    bench = Bench()
    bench.submit()
    bench.loop.turn()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(bench.reaper.drain, 60)
            while bench.lane.state is LaneState.OPEN:
                await anyio.lowlevel.checkpoint()
            bench.lane.lose("it is over")


async def test_what_had_finished_is_delivered_before_the_queue_is_closed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench()
    finished, unfinished = bench.submit(2)
    bench.loop.turn()
    bench.queue.ready = [Completion(finished.tag, Status.SUCCESS, b"", 0, 0)]
    bench.lane.lose("it is over")
    assert status(finished) is Status.SUCCESS
    assert unfinished.completion is None
    bench.loop.pass_time(SHORT)
    assert unfinished.completion is None, "close() has not returned"
    bench.loop.work()
    assert status(unfinished) is Status.DEVICE_ERROR
    assert caplog.text == ""


@pytest.mark.parametrize("closes", [True, False], ids=["closed", "not to be closed"])
async def test_memory_of_a_lost_lane(closes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Free when its queue was closed; else pinned for good, as the device may still read it."""
    monkeypatch.setattr(logging.getLogger("wdasync.dispatch"), "disabled", True)  # tracebacks hold frames
    bench = Bench()
    memory = bytearray(b"x")
    bench.submit_of(memory)
    bench.loop.turn()
    if not closes:
        bench.queue.raising.add("close")
    bench.lane.lose("it is over")
    bench.loop.pass_time(SHORT)
    bench.loop.work()
    assert bench.lane.in_flight == 0
    bench.forget_queue()
    if closes:
        memory.extend(b"nobody reads it")
    else:
        with pytest.raises(BufferError):
            memory.extend(b"somebody may")


async def test_a_queue_that_raises_when_pages_are_refused_is_asked_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is stopped by that, and what had finished is taken from it: those are no flights of the device any more."""
    caplog.set_level(logging.CRITICAL)

    async def pager(offset: int, length: int) -> bytes:
        return bytes(length)

    bench = Bench()
    flights = [Flight(Compress(PagedBuffer(1, pager), "gzip"), bench.lane) for _ in range(2)]
    for flight in flights:
        bench.lane.submit(flight)
    bench.loop.turn()
    bench.queue.complete()
    bench.queue.calls.clear()
    bench.queue.raising.add("withdraw")
    bench.lane.drain()
    assert bench.queue.calls[:2] == ["withdraw", "stop"]
    assert bench.queue.calls.count("withdraw") == 1
    assert [status(flight) for flight in flights] == [Status.SUCCESS] * 2


async def test_the_safety_timer_ends_with_the_accelerator() -> None:
    bench = Bench()
    bench.submit()
    bench.loop.turn()
    bench.queue.complete()
    bench.lane.readable()
    async with anyio.create_task_group() as group:
        group.start_soon(bench.reaper.close)
        while not bench.loop.background:
            await anyio.lowlevel.checkpoint()
        bench.loop.work()
    assert bench.loop.cancelled == 1
    assert bench.lane.state is LaneState.CLOSED


async def test_as_many_completions_as_there_is_time_for() -> None:
    bench = Bench(depth=256, budget=1000.0)
    bench.submit(256)
    bench.loop.turn()
    bench.queue.complete()
    bench.lane.readable()
    assert bench.lane.completed == 256


async def test_a_second_look_that_somebody_else_had() -> None:
    bench = Bench()
    bench.submit()
    bench.queue.armable = False  # so somebody has to look again at the end of the next turn
    bench.loop.turn()
    bench.queue.armable = True
    bench.lane.readable()
    bench.queue.calls.clear()
    bench.loop.turn()
    assert bench.queue.calls == []


async def test_a_queue_that_is_stopped_before_the_rest_is_taken() -> None:
    bench = Bench(depth=256, budget=0.0)
    bench.submit(256)
    bench.loop.turn()
    bench.queue.complete()
    bench.lane.readable()
    bench.lane.stop(LaneState.CLOSED, "it is over")
    bench.queue.calls.clear()
    bench.loop.turn()
    assert bench.queue.calls == []


async def test_the_last_cancelled_one_ends_the_draining() -> None:
    bench = Bench()
    first, second = bench.submit(2)
    bench.loop.turn()
    bench.lane.drain()
    assert first.abandon()
    assert not bench.reaper.drained.is_set()
    assert second.abandon()
    assert bench.reaper.drained.is_set()
    assert (bench.lane.withdrawn, bench.lane.statuses) == (2, {Status.ABORTED: 2})
    assert [status(first), status(second)] == [Status.ABORTED] * 2


async def test_an_open_lane_that_becomes_empty_ends_no_draining() -> None:
    """Of another lane, that is."""
    bench = Bench()
    (flight,) = bench.submit()
    bench.loop.turn()
    assert flight.abandon()
    assert not bench.reaper.drained.is_set()


async def test_nothing_is_asked_back_from_a_queue_that_was_stopped() -> None:
    bench = Bench()
    (flight,) = bench.submit()
    bench.loop.turn()
    bench.lane.lose("it is over")
    bench.queue.calls.clear()
    assert flight.abandon()
    assert bench.queue.calls == []
    assert bench.lane.detached == 1


@pytest.mark.parametrize("which", [0, 1, 2, 3])
async def test_of_a_burst_only_the_cancelled_one_is_dropped(which: int) -> None:
    bench = Bench()
    flights = bench.submit(4)  # the first has gone, three wait for the end of the turn
    assert flights[which].abandon()
    bench.loop.turn()
    left = [flight for flight in flights if flight is not flights[which]]
    assert [operation for _, operation in bench.queue.taken] == [flight.operation for flight in left]
    bench.queue.complete()
    bench.lane.readable()
    assert [status(flight) for flight in left] == [Status.SUCCESS] * 3


async def test_those_who_wait_begin_when_another_is_withdrawn() -> None:
    bench = Bench(depth=1)
    first, second = bench.submit(2)
    bench.loop.turn()
    assert first.abandon()
    bench.loop.turn()
    assert [operation for _, operation in bench.queue.taken] == [second.operation]


@pytest.mark.parametrize("how", ["woken", "looked again"])
async def test_a_wake_between_suspicion_and_certainty(how: str) -> None:
    """What ends after it has a wake of its own to come, and is not for the safety timer to find."""
    bench = Bench()
    (first,) = bench.submit()
    bench.loop.turn()
    bench.queue.armable = False
    bench.queue.complete()
    bench.tick()
    bench.tick()  # nobody was told of it for two ticks
    bench.queue.armable = True
    if how == "woken":
        bench.lane.readable()
        (second,) = bench.submit()
        bench.loop.turn()
    else:
        bench.lane.look_again()
        bench.loop.turn()
        (second,) = bench.submit()
    assert status(first) is Status.SUCCESS
    bench.queue.complete()
    bench.loop.turn()
    assert second.completion is None
    assert bench.lane.rescues == 0
    bench.lane.readable()
    assert status(second) is Status.SUCCESS


async def test_a_device_that_went_away_wakes_nobody() -> None:
    """The safety timer is who finds out, and that is no lost wake."""
    bench = Bench()
    (flight,) = bench.submit()
    bench.loop.turn()
    bench.lost = "unplugged"
    bench.queue.armable = False
    bench.queue.complete(status=Status.DEVICE_ERROR)
    bench.tick()
    bench.tick()
    bench.loop.turn()
    bench.loop.turn()
    assert status(flight) is Status.DEVICE_ERROR
    assert (bench.lane.state, bench.lane.rescues) == (LaneState.LOST, 0)


async def test_a_wake_that_is_late_by_less_than_a_tick() -> None:
    bench = Bench()
    (flight,) = bench.submit()
    bench.loop.turn()
    bench.queue.armable = False
    bench.queue.complete()
    bench.tick()
    bench.loop.turn()
    bench.loop.turn()
    assert flight.completion is None
    bench.lane.readable()
    assert bench.lane.rescues == 0


async def test_of_a_quiet_queue_nothing_is_suspected() -> None:
    bench = Bench()
    bench.submit()
    bench.loop.turn()
    bench.queue.calls.clear()
    for _ in range(2):
        bench.tick()
        bench.loop.turn()
        bench.loop.turn()
    assert bench.queue.calls == ["arm", "arm"]


async def test_a_queue_that_pretends_to_have_something() -> None:
    """It would be a lost wake if anything were there."""
    bench = Bench()
    bench.submit()
    bench.loop.turn()
    bench.queue.armable = False
    bench.tick()
    bench.tick()
    bench.loop.turn()
    bench.queue.armable = True
    bench.loop.turn()
    assert bench.lane.rescues == 0
    bench.queue.complete()
    bench.lane.readable()
    assert bench.lane.completed == 1


async def test_a_completion_of_what_was_never_accepted() -> None:
    """A device out of its mind: the tag is right, and the operation was not given to it. Stopping still works."""
    bench = Bench()
    bench.queue.accept = 0
    (flight,) = bench.submit()
    bench.queue.ready = [Completion(flight.tag, Status.SUCCESS, b"", 0, 0)]
    bench.lane.readable()
    assert status(flight) is Status.SUCCESS
    bench.lane.stop(LaneState.CLOSED, "it is over")
    assert bench.lane.in_flight == 0
    assert not bench.lane.parked


async def test_a_queue_that_cannot_be_stopped(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    (flight,) = bench.submit()
    bench.loop.turn()
    bench.queue.raising.add("stop")
    bench.lane.lose("it is over")
    assert "stop raised" in caplog.text
    bench.loop.pass_time(SHORT)
    bench.loop.work()
    assert status(flight) is Status.DEVICE_ERROR
    assert bench.queue.calls[-1] == "close"


async def test_a_lane_that_is_closing_is_not_reset() -> None:
    bench = Bench()
    bench.submit()
    bench.loop.turn()
    bench.lane.drain()
    for _ in range(5):
        bench.tick()
    assert bench.lane.state is LaneState.DRAINING


async def test_a_device_that_goes_on_is_not_reset() -> None:
    """Page faults of a long operation were answered: the deadline begins again with each."""
    bench = Bench()
    bench.submit()
    bench.loop.turn()
    for _ in range(10):
        bench.tick()
        bench.lane.goes_on()
    assert bench.lane.state is LaneState.OPEN
    for _ in range(4):
        bench.tick()
    assert bench.lane.state is LaneState.RESETTING


async def test_a_queue_after_a_reset_is_watched_before_it_is_used() -> None:
    bench = Bench(depth=2)
    _, _, before = bench.submit(3)
    bench.loop.turn()
    for _ in range(4):
        bench.tick()
    (meanwhile,) = bench.submit()
    bench.loop.pass_time(STOP_GRACE)
    assert bench.loop.watched == set()
    bench.loop.work()
    assert bench.loop.watched == {7}
    bench.loop.turn()
    assert bench.reopened.calls == ["open"]
    bench.loop.turn()
    assert bench.reopened.calls == ["open", "enqueue_burst", "arm"], "those that waited for a slot, too"
    bench.reopened.complete()
    bench.lane.readable()
    assert [status(before), status(meanwhile)] == [Status.SUCCESS] * 2


async def test_a_device_that_is_lost_while_its_queue_is_reset() -> None:
    bench = Bench()
    (flight,) = bench.submit()
    bench.loop.turn()
    for _ in range(4):
        bench.tick()
    assert bench.lane.state is LaneState.RESETTING
    bench.lane.lose("and now it is gone")
    bench.loop.pass_time(SHORT)
    bench.loop.work()
    assert bench.lane.state is LaneState.LOST
    assert status(flight) is Status.DEVICE_ERROR
    assert bench.reopened.calls == []


@pytest.mark.parametrize("fails", [False, True])
async def test_a_lane_that_is_closed_while_its_queue_is_opened_again(
    fails: bool, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench()
    bench.submit()
    bench.loop.turn()
    for _ in range(4):
        bench.tick()
    bench.loop.pass_time(SHORT)
    function, then = bench.loop.background.pop(0)
    then(function(), None)  # closed; the next one is about to be opened
    if fails:
        bench.reopened.raising.add("open")
    bench.lane.stop(LaneState.CLOSED, "it is over")
    bench.loop.work()
    assert bench.lane.state is LaneState.CLOSED
    assert bench.reopened.calls == (["open"] if fails else ["open", "close"])
    assert ("cannot open its queue again" in caplog.text) is fails


@pytest.mark.parametrize("here", [True, False], ids=["in its loop", "without a loop"])
async def test_a_forgotten_lane(here: bool) -> None:
    bench = Bench()
    bench.submit()
    bench.loop.turn()
    bench.loop.here = here
    bench.reaper.forget()
    assert bench.queue.calls[-2:] == ["stop", "close"]
    assert bench.lane.state is LaneState.CLOSED
    assert (bench.loop.cancelled, bench.loop.watched) == ((1, set()) if here else (0, {7}))
    bench.queue.calls.clear()
    bench.reaper.forget()
    assert bench.queue.calls == []


async def test_a_forgotten_lane_that_was_idle() -> None:
    bench = Bench()
    bench.reaper.forget()
    assert bench.loop.cancelled == 0
    assert bench.queue.calls == ["stop", "close"]


async def test_a_forgotten_lane_whose_queue_cannot_be_closed(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.queue.raising.add("close")
    bench.reaper.forget()
    assert "cannot be closed" in caplog.text


@pytest.mark.parametrize("closes", [True, False], ids=["closed", "not to be closed"])
async def test_memory_of_a_forgotten_lane(closes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("wdasync.dispatch"), "disabled", True)  # tracebacks hold frames
    bench = Bench()
    queue = weakref.ref(bench.queue)
    memory = bytearray(b"x")
    bench.submit_of(memory)
    bench.loop.turn()
    if not closes:
        bench.queue.raising.add("close")
    bench.reaper.forget()
    bench.forget_queue()
    del bench
    gc.collect()
    assert (queue() is None) is closes
    if closes:
        memory.extend(b"nobody reads it")
    else:
        with pytest.raises(BufferError):
            memory.extend(b"the device may still read it")


async def test_many_that_hold_memory_of_the_caller_are_waited_for(opener: Opener, program: Program) -> None:
    program.hold()
    items = [bytearray(b"mine"), b"anybody's", bytearray(b"mine too")]
    ended: list[bool] = []
    async with opener() as acc, anyio.create_task_group() as group:
        scope = anyio.CancelScope()

        async def run() -> None:
            with scope:
                await acc.compress_many(items)
            ended.append(scope.cancelled_caught)

        group.start_soon(run)
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        scope.cancel()
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        assert not ended
        with pytest.raises(BufferError):
            items[0].extend(b"in flight")  # type: ignore[union-attr]
        program.release()
    assert ended == [True]
