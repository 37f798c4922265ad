"""Companions: tasks beside the one that starts them, in no task group."""

import asyncio
from contextvars import ContextVar

import anyio
import anyio.lowlevel
import pytest

from wdasync.companions import Companion
from wdasync.errors import ForeignLoopError
from wdasync.eventloop import begin

pytestmark = pytest.mark.anyio

variable: ContextVar[str] = ContextVar("variable", default="")


async def test_it_runs_beside_and_ends_when_told() -> None:
    said: list[str] = []

    async def work() -> None:
        said.append("began")
        try:
            await anyio.sleep_forever()
        finally:
            said.append("ended")

    companion = Companion(work)
    assert not said, "nothing runs before its starter waits for something"
    while not said:
        await anyio.lowlevel.checkpoint()
    companion.stop()
    companion.stop()
    assert said == ["began"]
    await companion.aclose()
    await companion.aclose()
    assert said == ["began", "ended"]


async def test_one_that_returns_by_itself() -> None:
    said: list[str] = []

    async def work() -> None:
        said.append(variable.get())

    token = variable.set("its starter's")
    companion = Companion(work)
    variable.reset(token)
    while not said:
        await anyio.lowlevel.checkpoint()
    await companion.aclose()
    assert said == ["its starter's"]


async def test_one_that_is_told_to_end_before_it_began() -> None:
    async def work() -> None:
        await anyio.sleep_forever()

    companion = Companion(work)
    await companion.aclose()


async def test_who_is_cancelled_waits_for_its_end() -> None:
    ended = False

    async def work() -> None:
        nonlocal ended
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            ended = True

    companion = Companion(work)
    await anyio.lowlevel.checkpoint()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await companion.aclose()
    assert ended


def test_a_loop_that_ends_before_it_began() -> None:
    """``asyncio.run`` cancels all tasks; one that was not begun runs no line of its own."""

    async def work() -> None:
        await anyio.sleep_forever()

    async def request() -> None:
        companion = Companion(work)
        try:
            await asyncio.sleep(60)
        finally:
            await companion.aclose()

    async def main() -> None:
        task = asyncio.create_task(request())
        await asyncio.sleep(0)  # it has made its companion, which has not begun
        for other in asyncio.all_tasks() - {asyncio.current_task()}:
            other.cancel()
        done, _ = await asyncio.wait({task}, timeout=30)
        assert done

    asyncio.run(main())


def test_without_an_event_loop() -> None:
    async def work() -> None: ...

    with pytest.raises(ForeignLoopError, match="running asyncio or trio event loop"):
        begin(work, lambda: None)
