"""More work than slots: callers wait in order, and what a queue refuses is offered again."""

import gzip

import anyio
import pytest

from wdasync import Accelerator
from wdasync.testing.mock import Program

from .conftest import Opener

pytestmark = pytest.mark.anyio

PAGE = b"page " * 100


async def compress_numbered(acc: Accelerator, count: int) -> list[int]:
    """Compress ``count`` different inputs at once; returns them in the order in which they ended."""
    ended: list[int] = []

    async def run(number: int) -> None:
        data = b"%d" % number * 50
        assert gzip.decompress(await acc.compress(data)) == data
        ended.append(number)

    async with anyio.create_task_group() as group:
        for number in range(count):
            group.start_soon(run, number)
    return ended


async def test_callers_wait_for_a_slot(opener: Opener, program: Program) -> None:
    program.hold()
    async with opener() as acc, anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(acc.compress, PAGE)
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
        (lane,) = acc.statistics().lanes
        assert (lane.in_flight, lane.parked) == (4, 6)
        program.release()
    (lane,) = acc.statistics().lanes
    assert (lane.submitted, lane.completed) == (10, 10)


async def test_the_first_of_a_turn_goes_at_once_and_the_rest_in_one_burst(
    opener: Opener, program: Program
) -> None:
    program.change(depth=64)
    async with opener() as acc:
        await acc.nop()
        before = acc.statistics().lanes[0].bursts
        await compress_numbered(acc, 33)
        (lane,) = acc.statistics().lanes
        assert lane.submitted == 34
        assert lane.bursts - before == 2


async def test_a_burst_keeps_its_order(opener: Opener, program: Program) -> None:
    program.change(depth=64, order="fifo")
    async with opener() as acc:
        results = await acc.compress_many([b"%d" % number for number in range(200)])
        assert [gzip.decompress(result) for result in results] == [b"%d" % number for number in range(200)]


@pytest.mark.parametrize("accept", [1, 2, 3])
async def test_a_queue_that_takes_only_part_of_a_burst(opener: Opener, program: Program, accept: int) -> None:
    program.change(accept=accept)
    async with opener() as acc:
        assert sorted(await compress_numbered(acc, 50)) == list(range(50))
        assert acc.statistics().rescues == 0


async def test_a_shared_queue_that_is_full_with_nothing_of_ours(opener: Opener, program: Program) -> None:
    """No completion of ours will tell when there is room, so it is asked again on a timer."""
    program.refuse(25)
    async with opener() as acc:
        assert sorted(await compress_numbered(acc, 20)) == list(range(20))
        (lane,) = acc.statistics().lanes
        assert lane.rescues == 0


@pytest.mark.parametrize("order", ["fifo", "lifo", "shuffled", "strict"])
@pytest.mark.parametrize("engines", [0, 1, 3])
async def test_completions_in_any_order_reach_their_caller(
    opener: Opener, program: Program, order: str, engines: int
) -> None:
    from wdasync.testing.mock import Order

    program.change(order=Order(order), engines=engines, steps=1)
    async with opener() as acc:
        assert sorted(await compress_numbered(acc, 100)) == list(range(100))


async def test_priorities_have_lanes_of_their_own(opener: Opener, program: Program) -> None:
    from wdasync import Priority

    program.hold()
    async with opener() as acc, anyio.create_task_group() as group:
        for _ in range(6):
            group.start_soon(acc.compress, PAGE)
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
        program.release(0)
        group.start_soon(lambda: acc.compress(PAGE, priority=Priority.HIGH))
        while len(acc.statistics().lanes) < 2:
            await anyio.sleep(0.001)
        names = [lane.name for lane in acc.statistics().lanes]
        assert names == ["mock/mock-0", "mock/mock-0 high"]
        program.release()
