"""The end of a turn on trio: nobody sleeps on what a callback made ready, and trio is not woken for nothing."""

from __future__ import annotations

import gzip
import math
import signal
from collections import deque
from functools import partial
from typing import Any

import pytest

trio = pytest.importorskip("trio")

import wdasync  # noqa: E402
from wdasync.eventloop import _trio  # noqa: E402  without trio it cannot be imported
from wdasync.eventloop._trio import TrioLoop, ready_tasks  # noqa: E402
from wdasync.testing.mock import MockQueue, backend  # noqa: E402


class Parked:
    """What a task parks on."""

    waiter: Any = None
    raise_cancel: Any = None
    completion: Any = None

    def abandon(self) -> bool:
        return True


class Bell:
    """In place of a token: counts how often trio was woken, and wakes it."""

    def __init__(self, token: Any) -> None:
        self.token = token
        self.rings = 0

    def run_sync_soon(self, *arguments: Any, **settings: Any) -> None:
        self.rings += 1
        self.token.run_sync_soon(*arguments, **settings)


async def started() -> tuple[TrioLoop, Bell]:
    loop = TrioLoop()
    await loop.start(None, lambda _: None)
    bell = loop._turn_end._token = Bell(trio.lowlevel.current_trio_token())  # type: ignore[assignment]  # as one
    await trio.testing.wait_all_tasks_blocked()
    bell.rings = 0
    return loop, bell


async def sleep() -> None:
    """The turn ends with a time-out: that is when trio may have to be woken."""
    await trio.sleep(0.01)


def test_the_ready_tasks_of_this_trio_are_seen() -> None:
    async def main() -> None:
        ready = ready_tasks()
        assert isinstance(ready, deque)
        async with trio.open_nursery() as nursery:
            before = len(ready)
            nursery.start_soon(trio.sleep, 0)
            assert len(ready) == before + 1

    trio.run(main)


@pytest.mark.parametrize("change", ["no such name", "another type"])
def test_a_trio_where_they_cannot_be_seen(monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    """It is woken at each end of a turn then."""

    class Runner:
        runq = None if change == "another type" else deque[None]()

    class Context:
        runner = Runner

    if change == "no such name":
        del Runner.runq

    async def main() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(trio._core._run, "GLOBAL_RUN_CONTEXT", Context)
            assert ready_tasks() is _trio.UNSEEN
            patched.undo()
        loop, bell = await started()
        loop._turn_end._ready = _trio.UNSEEN
        loop.at_turn_end(lambda: None)
        await sleep()
        assert bell.rings == 1
        await loop.stop()

    trio.run(main)


def test_it_is_not_woken_for_nothing() -> None:
    async def main() -> None:
        loop, bell = await started()
        called: list[int] = []
        for number in range(3):
            loop.at_turn_end(lambda number=number: called.append(number))  # type: ignore[misc]  # bound at once
        await sleep()
        assert called == [0, 1, 2]
        assert bell.rings == 0
        await loop.stop()

    trio.run(main)


@pytest.mark.parametrize("what", ["a task", "another call", "a timer", "an event"])
def test_nobody_sleeps_on_what_a_callback_made_ready(what: str) -> None:
    """All of trio sleeps without a deadline of its own, so it would be for ever."""

    async def main() -> None:
        loop, bell = await started()
        parked, done = Parked(), trio.Event()

        def callback() -> None:
            if what == "a task":
                loop.wake(parked, None)
            elif what == "another call":
                loop.at_turn_end(done.set)
            elif what == "a timer":
                loop.call_later(0.001, done.set)
            else:
                done.set()

        async def park() -> None:
            await loop.park(parked)
            done.set()

        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(park)
                await sleep()
                loop.at_turn_end(callback)
                await done.wait()
                nursery.cancel_scope.cancel()
        assert bell.rings >= 1
        await loop.stop()

    trio.run(main)


def test_a_loop_that_is_busy_is_not_woken() -> None:
    """A task was ready before: the time-out is 0, and nobody sleeps."""

    async def main() -> None:
        loop, bell = await started()
        loop._turn_end._callbacks.append(lambda: None)
        loop._turn_end.before_io_wait(0)
        assert bell.rings == 0
        loop._turn_end._ready = _trio.UNSEEN
        loop._turn_end._callbacks.append(lambda: None)
        loop._turn_end.before_io_wait(math.inf)
        assert bell.rings == 1
        await loop.stop()

    trio.run(main)


@pytest.mark.parametrize("memory", [bytes, bytearray], ids=["the framework's", "the caller's"])
def test_an_interrupt_just_before_the_sleep(monkeypatch: pytest.MonkeyPatch, memory: type) -> None:
    """It comes as a cancellation does: nobody is woken who does not sleep, and a device that works is waited for."""
    page = b"page " * 100

    def interrupted(function: Any, *arguments: Any) -> Any:
        if function is _trio._abort and interrupts.pop():
            signal.raise_signal(signal.SIGINT)
        return partial(function, *arguments)

    interrupts = [False, True]

    async def main() -> None:
        async with wdasync.open_accelerator("mock", fallback=False, inline=False) as acc:
            await acc.compress(page)  # from now on, what is submitted is sent at once
            program.hold()
            monkeypatch.setattr(MockQueue, "withdraw", lambda *_: False)  # the device has begun
            monkeypatch.setattr(_trio, "partial", interrupted)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(release_later)
                with pytest.raises(KeyboardInterrupt):
                    await acc.compress(memory(page))
            monkeypatch.undo()
            assert gzip.decompress(await acc.compress(page)) == page
            (lane,) = acc.statistics().lanes
            assert (lane.withdrawn, lane.detached, lane.outstayed) == (
                (0, 1, 0) if memory is bytes else (0, 0, 1)
            )
            assert (lane.in_flight, lane.spurious, lane.state) == (0, 0, "open")

    async def release_later() -> None:
        await trio.sleep(0.02)
        program.release()

    with backend.programmed(depth=4) as program:
        trio.run(main)
        assert not program.complaints
