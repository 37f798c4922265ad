"""Who waits for a slot where several priorities share a lane: whose turn it is, and that nobody starves."""

from collections.abc import Iterable

import anyio
import anyio.lowlevel
import pytest

import wdasync
from wdasync import Priority
from wdasync.backend import Status
from wdasync.dispatch import FLIGHTS, Flight, LaneState
from wdasync.dispatch.parking import LOW_TURN, NORMAL_TURN, Parking
from wdasync.operations import Compress
from wdasync.testing.mock import Program

from .conftest import Opener
from .test_lane import Bench, status

pytestmark = pytest.mark.anyio

LOW, NORMAL, HIGH = Priority


def flights(bench: Bench, *ranks: Priority) -> list[Flight]:
    return [FLIGHTS[rank](Compress(b"x", "gzip"), bench.lane) for rank in ranks]


def order(parking: Parking, count: int) -> list[Priority]:
    return [parking.take().rank for _ in range(count)]


async def test_the_higher_first_and_the_older_first() -> None:
    bench, parking = Bench(), Parking()
    waiting = flights(bench, LOW, HIGH, NORMAL, LOW, HIGH, NORMAL)
    for flight in waiting:
        parking.add(flight)
    assert [waiting.index(parking.take()) for _ in waiting] == [1, 4, 2, 5, 0, 3]


async def test_leaving_and_coming_back() -> None:
    bench, parking = Bench(), Parking()
    first, second, third, low = flights(bench, NORMAL, NORMAL, NORMAL, LOW)
    for flight in (first, second, third, low):
        parking.add(flight)
    assert parking.take() is first
    parking.remove(second)
    parking.put_back(first)
    assert [parking.take() for _ in range(3)] == [first, third, low]


@pytest.mark.parametrize(
    ("lower", "turn"), [((NORMAL,), NORMAL_TURN), ((LOW,), LOW_TURN)], ids=["normal", "low"]
)
async def test_nobody_starves(lower: Iterable[Priority], turn: int) -> None:
    """However much of a higher priority comes, a lower one has its turns."""
    bench, parking = Bench(), Parking()
    for flight in flights(bench, *(list(lower) * 3), *([HIGH] * 4 * turn)):
        parking.add(flight)
    turns = [number for number, rank in enumerate(order(parking, 4 * turn), 1) if rank is not HIGH]
    assert turns == [turn, 2 * turn, 3 * turn]


async def test_each_has_its_share() -> None:
    bench, parking = Bench(), Parking()
    for flight in flights(bench, *([LOW, NORMAL, HIGH] * 640)):
        parking.add(flight)
    served = order(parking, 640)
    assert [served.count(rank) for rank in (LOW, NORMAL, HIGH)] == [10, 30, 600]


async def test_a_shared_lane() -> None:
    """What waits in it goes in the order of priorities, may leave, and is refused in the end."""
    bench = Bench(depth=2)
    waiting = flights(bench, LOW, LOW, LOW, LOW, HIGH, NORMAL, HIGH)
    for flight in waiting:
        flight.waiter = "somebody"
        bench.lane.submit(flight)
    assert (bench.lane.in_flight, bench.lane.parked, bench.lane.load) == (2, 5, 7)
    bench.loop.turn()
    assert waiting[6].abandon()
    assert bench.lane.parked == 4
    begun: list[int] = []
    for _ in range(2):
        bench.queue.complete()
        bench.lane.readable()
        bench.loop.turn()
        begun += [
            number for number, flight in enumerate(waiting) if flight.tag >= 0 and flight.completion is None
        ]
    assert begun == [4, 5, 2, 3]
    assert bench.lane.parked == 0
    bench.lane.stop(LaneState.CLOSED, "it is over")
    (late,) = flights(bench, HIGH)
    bench.lane.submit(late)
    assert status(late) is Status.ABORTED


# -- on a device, with time that a test lets pass: one release is one completion ---------------------------------------


async def flood(acc: wdasync.Accelerator, program: Program, low: int, high: int) -> list[str]:
    """So much low work, then so much high work, with the device halted; the order in which it ends."""
    ends: list[str] = []

    async def one(name: str, priority: Priority) -> None:
        await acc.compress(b"page " * 10, priority=priority)
        ends.append(name)

    async def begun(count: int) -> None:
        with anyio.fail_after(10):
            while sum(lane.in_flight + lane.parked for lane in acc.statistics().lanes) < count:
                await anyio.sleep(0.001)

    program.hold()
    async with anyio.create_task_group() as tasks:
        for _ in range(low):
            tasks.start_soon(one, "low", Priority.LOW)
        await begun(low)
        for _ in range(high):
            tasks.start_soon(one, "high", Priority.HIGH)
        await begun(low + high)
        for count in range(1, low + high + 1):
            program.release(1)
            with anyio.fail_after(10):
                while len(ends) < count:
                    await anyio.lowlevel.checkpoint()
        program.release()
    return ends


@pytest.mark.parametrize("queues", [1, 0], ids=["one queue for all", "a queue of its own"])
async def test_high_work_waits_only_for_what_the_device_has(
    opener: Opener, program: Program, queues: int
) -> None:
    """Four slots: at most these are before it, however long the line of low work is."""
    program.change(queues=queues)
    async with opener() as acc:
        await acc.nop()
        ends = await flood(acc, program, low=60, high=3)
        assert max(number for number, name in enumerate(ends) if name == "high") < 4 + 3
        assert ends.count("low") == 60
        assert len(acc.statistics().lanes) == (1 if queues else 3)


async def test_low_work_gets_through_a_line_of_high_work(opener: Opener, program: Program) -> None:
    program.change(queues=1)
    async with opener() as acc:
        await acc.nop()
        ends = await flood(acc, program, low=6, high=150)
        assert ends[:4] == ["low"] * 4, "these were on the device"
        rest = [number for number, name in enumerate(ends, 1) if name == "low"][4:]
        assert all(number <= 4 + LOW_TURN * turn for turn, number in enumerate(rest, 1)), rest


async def test_streams_have_their_priority_too(opener: Opener, program: Program) -> None:
    program.change(queues=1)
    ends: list[str] = []
    async with opener() as acc:
        await acc.nop()
        program.hold()

        async def low() -> None:
            await acc.compress_many([b"page"] * 20, priority=Priority.LOW)
            ends.append("low")

        async def high() -> None:
            async with acc.compressor(priority=Priority.HIGH) as stream:
                await stream.finish(b"page")
            ends.append("high")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(low)
            await anyio.sleep(0.01)
            tasks.start_soon(high)
            with anyio.fail_after(10):
                while acc.statistics().lanes[0].parked < 17:
                    await anyio.sleep(0.001)
            for _ in range(5):
                program.release(1)
                await anyio.sleep(0.005)
            with anyio.fail_after(10):
                while not ends:
                    await anyio.sleep(0.001)
            program.release()
    assert ends == ["high", "low"]
