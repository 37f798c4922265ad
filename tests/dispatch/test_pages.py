"""Closing while operations wait for pages of the program: they end, and others may finish."""

import pytest

from wdasync import PagedBuffer
from wdasync.backend import Status
from wdasync.dispatch import Flight, LaneState
from wdasync.operations import Compress

from .test_lane import Bench, status

pytestmark = pytest.mark.anyio


async def pager(offset: int, length: int) -> bytes:
    raise AssertionError("nobody asks")


def submit(bench: Bench, data: object) -> Flight:
    flight = Flight(Compress(data, "gzip"), bench.lane)
    flight.waiter = "somebody"
    bench.lane.submit(flight)
    return flight


async def test_what_may_want_pages_is_given_up() -> None:
    bench = Bench()
    paged, plain = submit(bench, PagedBuffer(10, pager)), submit(bench, b"x")
    bench.loop.turn()
    bench.lane.drain()
    assert status(paged) is Status.ABORTED
    assert plain.completion is None
    assert bench.lane.state is LaneState.DRAINING
    bench.queue.complete()
    bench.lane.readable()
    assert status(plain) is Status.SUCCESS
    assert bench.reaper.drained.is_set()


async def test_what_the_device_will_not_give_back_is_waited_for() -> None:
    bench = Bench()
    paged = submit(bench, PagedBuffer(10, pager))
    bench.loop.turn()
    tag, _ = bench.queue.taken.pop()  # begun
    bench.lane.drain()
    assert paged.completion is None
    bench.queue.taken.append((tag, paged.operation))
    bench.queue.complete(Status.PAGE_FAULT)
    bench.lane.readable()
    assert status(paged) is Status.PAGE_FAULT


async def test_a_queue_that_raises_then_is_lost() -> None:
    bench = Bench()
    flights = [submit(bench, PagedBuffer(10, pager)) for _ in range(3)]
    bench.loop.turn()
    bench.queue.raising.add("withdraw")
    bench.lane.drain()
    assert bench.lane.state is LaneState.LOST
    bench.loop.pass_time(0.1)
    bench.loop.work()
    assert {status(flight) for flight in flights} == {Status.DEVICE_ERROR}
    assert bench.queue.calls.count("withdraw") == 1
