"""A closed loop: so many tasks, each of which begins its next operation when its last one has ended."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Protocol

import anyio
import anyio.to_thread

from ..workload import TICK, StallMeter

__all__ = ["Act", "Sample", "Turn", "measure", "measure_threads", "percentile"]

#: Does one operation.
Act = Callable[[], Awaitable[object]]


class Turn(Protocol):
    """Measures one side for one slice of time."""

    def __call__(self, in_flight: int, seconds: float, *, timed: int = 1) -> Awaitable[Sample]:
        """See :func:`measure`."""


#: Where operations are short, one task in so many reads the clock; the others only await.
TIMED: Final = 8

#: Ticks of the stall meter before and after a slice.
MARGIN: Final = 2


@dataclass(frozen=True, slots=True)
class Sample:
    """What one slice of time showed.

    :ivar operations: that ended
    :ivar seconds: from the first operation's begin to the last one's end
    :ivar cpu: seconds of CPU time of the whole process
    :ivar p50: seconds; half of the timed operations were done in that
    :ivar p99: seconds
    :ivar stall: seconds; the longest time for which the event loop did nothing else
    """

    operations: int
    seconds: float
    cpu: float
    p50: float
    p99: float
    stall: float

    @property
    def rate(self) -> float:
        """Operations a second."""
        return self.operations / self.seconds

    @property
    def cpu_per_operation(self) -> float:
        """Seconds of CPU time."""
        return self.cpu / self.operations


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that so many percent do not exceed; of at least one value."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


class _Slice:
    """What the tasks of one slice share.

    :ivar going: another operation may begin
    :ivar operations: that ended, of tasks that have left
    """

    __slots__ = ("act", "begun", "deadline", "ended", "going", "latencies", "operations", "seconds")

    def __init__(self, act: Act, seconds: float) -> None:
        self.act = act
        self.seconds = seconds
        self.going = True
        self.operations = 0
        self.latencies: list[float] = []
        self.deadline = 0.0
        self.begun = self.ended = (0.0, 0.0)  # clock, CPU time

    def _enter(self) -> None:
        """All tasks exist when the first one runs: creating them is not measured."""
        if not self.deadline:
            self.begun = time.perf_counter(), time.process_time()
            self.deadline = self.begun[0] + self.seconds

    def _leave(self, operations: int) -> None:
        self.operations += operations
        self.ended = time.perf_counter(), time.process_time()

    async def await_only(self) -> None:
        """A task that does nothing beside the operations."""
        self._enter()
        act, operations = self.act, 0
        while True:
            await act()
            operations += 1
            if not self.going:
                return self._leave(operations)

    async def time_each(self) -> None:
        """A task that takes the time of each operation, and ends the slice."""
        self._enter()
        act, operations, clock, note = self.act, 0, time.perf_counter, self.latencies.append
        while True:
            begun = clock()
            await act()
            ended = clock()
            note(ended - begun)
            operations += 1
            if ended > self.deadline:
                self.going = False
            if not self.going:
                return self._leave(operations)

    def sample(self, stall: float) -> Sample:
        """What it showed, after all tasks have left."""
        seconds, cpu = (ended - begun for begun, ended in zip(self.begun, self.ended, strict=True))
        p50, p99 = percentile(self.latencies, 50), percentile(self.latencies, 99)
        return Sample(self.operations, seconds, cpu, p50, p99, stall)


async def measure(act: Act, in_flight: int, seconds: float, *, timed: int = 1) -> Sample:
    """Run a closed loop for a while.

    :param act: begins an operation, and is awaited until it has ended
    :param in_flight: tasks
    :param seconds: afterwards no operation begins; each task has ended at least one
    :param timed: one task in so many takes times; the first one always does
    """
    slice_ = _Slice(act, seconds)
    async with _stalls() as meter, anyio.create_task_group() as group:
        for number in range(in_flight):
            group.start_soon(slice_.await_only if number % timed else slice_.time_each)
    return slice_.sample(meter.longest)


@asynccontextmanager
async def _stalls() -> AsyncIterator[StallMeter]:
    """Around what is measured."""
    meter = StallMeter()
    async with anyio.create_task_group() as watch:
        watch.start_soon(meter.run)
        await anyio.sleep(MARGIN * TICK)
        meter.longest = 0.0  # What came before is not ours.
        yield meter
        await anyio.sleep(MARGIN * TICK)  # A stall at the very end is seen by the tick after it.
        watch.cancel_scope.cancel()


async def measure_threads(
    function: Callable[[], object], threads: int, in_flight: int, seconds: float, *, timed: int = 1
) -> Sample:
    """Threads that call a function, each again and again, while the loop has nothing to do.

    :param threads: so many
    :param in_flight: as :func:`measure` has it; a thread has one at a time
    """
    del in_flight, timed
    crew = _Crew(function, threads, seconds)
    async with _stalls() as meter:
        await anyio.to_thread.run_sync(crew.run)
    return crew.sample(meter.longest)


class _Crew:
    """The threads of one slice."""

    def __init__(self, function: Callable[[], object], threads: int, seconds: float) -> None:
        self._function = function
        self._seconds = seconds
        self._latencies: list[list[float]] = [[] for _ in range(threads)]
        self._all = threading.Barrier(threads + 1)
        self._begun = self._ended = (0.0, 0.0)  # clock, CPU time
        self._error: Exception | None = None

    def run(self) -> None:
        """Until all have ended.

        :raises Exception: what the function raised
        """
        threads = [threading.Thread(target=self._serve, args=(found,)) for found in self._latencies]
        for thread in threads:
            thread.start()
        self._begun = time.perf_counter(), time.process_time()
        self._all.wait()
        for thread in threads:
            thread.join()
        self._ended = time.perf_counter(), time.process_time()
        if self._error is not None:
            raise self._error

    def _serve(self, found: list[float]) -> None:
        try:
            self._call(found)
        except Exception as error:  # noqa: BLE001  raised where somebody looks
            self._error = error

    def _call(self, found: list[float]) -> None:
        function, clock, note = self._function, time.perf_counter, found.append
        self._all.wait()
        ended = clock()
        deadline = ended + self._seconds
        while ended < deadline or not found:
            begun = ended
            function()
            ended = clock()
            note(ended - begun)

    def sample(self, stall: float) -> Sample:
        """What it showed."""
        latencies = [latency for found in self._latencies for latency in found]
        seconds, cpu = (ended - begun for begun, ended in zip(self._begun, self._ended, strict=True))
        p50, p99 = percentile(latencies, 50), percentile(latencies, 99)
        return Sample(len(latencies), seconds, cpu, p50, p99, stall)
