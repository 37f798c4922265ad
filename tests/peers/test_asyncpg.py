"""asyncpg, and others with a pool: who gives up waiting takes nothing along."""

import gzip
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

import wdasync
from wdasync import Accelerator
from wdasync.testing.mock import Program

from .conftest import TEXT, turns

pytestmark = pytest.mark.anyio

DEPTH = 4

START: dict[str, Callable[[Accelerator], Awaitable[Any]]] = {
    "bytes": lambda acc: acc.compress(TEXT, timeout=200),
    "caller's memory": lambda acc: acc.compress_into(TEXT, bytearray(len(TEXT)), timeout=200),
    "burst": lambda acc: acc.compress_many([TEXT] * 3, timeout=200),
}


async def all_slots_work(acc: Accelerator, program: Program) -> None:
    """As many operations as there are slots are on the device at once."""
    program.hold()
    async with anyio.create_task_group() as group:
        for _ in range(DEPTH):
            group.start_soon(acc.compress, b"one of the last")
        with anyio.fail_after(30):
            while acc.statistics().in_flight < DEPTH:
                await anyio.lowlevel.checkpoint()
        program.release()
    (lane,) = acc.statistics().lanes
    assert (lane.in_flight, lane.parked, lane.rescues) == (0, 0, 0)


@pytest.mark.parametrize("start", START.values(), ids=START.keys())
@pytest.mark.parametrize("between", range(5))
@pytest.mark.parametrize("first", ["cancellation", "slot"])
async def test_467_a_slot_that_comes_with_the_cancellation(
    program: Program, start: Callable[[Accelerator], Awaitable[Any]], between: int, first: str
) -> None:
    """asyncpg#467 (and #1052, sqlalchemy#12099): a pool gave out a connection in the moment in which its waiter was
    cancelled by a timeout; nobody had it then, and the pool ran dry.

    A slot is given and a waiter cancelled so many loop turns apart, in either order: no slot is missing afterwards.
    """
    async with wdasync.open_accelerator("mock", fallback=False) as acc:
        program.hold()
        async with anyio.create_task_group() as group:
            for _ in range(DEPTH):
                group.start_soon(acc.compress, b"in the way")
            await turns(4)
            scope = anyio.CancelScope()

            async def wait() -> None:
                with scope:
                    await start(acc)

            group.start_soon(wait)
            await turns(4)
            one, other = (scope.cancel, program.release)[:: 1 if first == "cancellation" else -1]
            one()
            await turns(between)
            other()
        await all_slots_work(acc, program)


async def test_467_many_short_timeouts(program: Program) -> None:
    """asyncpg#467: acquire with a timeout that often strikes, over and over."""
    async with wdasync.open_accelerator("mock", fallback=False) as acc:
        program.hold()
        async with anyio.create_task_group() as group:
            for number in range(60):

                async def attempt(number: int) -> None:
                    try:
                        await acc.compress(b"%d" % number, timeout=0.0001 * (number % 7 + 1))
                    except wdasync.OperationTimeout:
                        pass

                group.start_soon(attempt, number)
                if number % 5 == 0:
                    program.release(3)
                    await anyio.sleep(0.0001)
            program.release()
        await all_slots_work(acc, program)


@pytest.mark.parametrize("name", ["mock", "cpu", "hip08"])
@pytest.mark.parametrize("after", range(5))
async def test_547_closing_after_a_wait_with_a_timeout_was_cancelled(name: str, after: int) -> None:
    """asyncpg#547: a task that had begun to acquire with a timeout was cancelled; then close() waited for ever."""
    acc = await wdasync.open_accelerator(name, fallback=False, inline=False)
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: acc.compress(TEXT, timeout=200))
        await turns(after)
        group.cancel_scope.cancel()
    with anyio.fail_after(30):
        await acc.aclose()
    assert acc.statistics().in_flight == 0


async def test_547_closing_while_somebody_waits_for_a_slot(program: Program) -> None:
    """asyncpg#547: those who wait are told, and the close ends as soon as the device is through."""
    acc = await wdasync.open_accelerator("mock", fallback=False)
    program.hold()
    ended: list[str] = []

    async def use(number: int) -> None:
        try:
            assert gzip.decompress(await acc.compress(b"%d" % number, timeout=200)) == b"%d" % number
            ended.append("done")
        except wdasync.ClosedResourceError:
            ended.append("refused")

    async with anyio.create_task_group() as group:
        for number in range(DEPTH + 3):
            group.start_soon(use, number)
        await turns(4)
        group.start_soon(acc.aclose)
        await turns(4)
        program.release()
    assert sorted(ended) == ["done"] * DEPTH + ["refused"] * 3
