"""Queues that cannot be used: the event loop refuses their descriptor, or they do not say how deep they are."""

import errno
import gzip
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

import wdasync
from wdasync import Priority
from wdasync.dispatch import LaneState
from wdasync.testing.mock import MockDevice, MockQueue, Program

from .conftest import Opener
from .test_lane import SHORT, Bench, status

pytestmark = pytest.mark.anyio

PAGE = b"page " * 100

#: What was lost is tried again soon.
SOON = {"reopen_delay": 0.005, "reopen_limit": 0.02, "safety_interval": 0.02}


@pytest.fixture
def page_file(tmp_path: Path) -> Iterator[int]:
    """A descriptor that epoll refuses."""
    path = tmp_path / "file"
    path.touch()
    descriptor = os.open(path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def broken(*_: object) -> Any:
    raise OSError(errno.EIO, "a bug in the model")


#: What is wrong -> attribute of the queue, its value or ``None``: the descriptor of a file; what the error says.
BAD: dict[str, tuple[str, Any, str]] = {
    "fileno raises": ("fileno", broken, "a bug in the model"),
    "no descriptor": ("fileno", lambda _: 9999, "Bad file descriptor"),
    "below 0": ("fileno", lambda _: -1, ""),
    "a file": ("fileno", None, "Operation not permitted"),
    "depth raises": ("depth", property(broken, lambda *_: None), "a bug in the model"),
    "depth 0": (
        "depth",
        property(lambda _: 0, lambda *_: None),
        "expected a whole number of slots, .* got 0",
    ),
    "depth -1": ("depth", property(lambda _: -1, lambda *_: None), "expected a whole number .* got -1"),
    "no depth": ("depth", property(lambda _: None, lambda *_: None), "expected a whole number .* got None"),
}


@pytest.fixture(params=BAD)
def bad(request: pytest.FixtureRequest, page_file: int) -> tuple[str, Any, str]:
    name, value, told = BAD[request.param]
    return name, (lambda _: page_file) if value is None else value, told


def spoil(patch: pytest.MonkeyPatch, bad: tuple[str, Any, str]) -> None:
    """All queues that are opened from now on."""
    open_queue = MockDevice.open_queue

    def open_bad(self: MockDevice, *arguments: Any) -> Any:
        queue = open_queue(self, *arguments)
        queue.__class__ = type("Bad", (MockQueue,), {bad[0]: bad[1]})
        return queue

    patch.setattr(MockDevice, "open_queue", open_bad)


async def until(condition: Callable[[], object]) -> None:
    with anyio.fail_after(20):
        while not condition():
            await anyio.sleep(0.002)


async def test_at_open(program: Program, monkeypatch: pytest.MonkeyPatch, bad: tuple[str, Any, str]) -> None:
    """The device is named, and what the event loop has against it."""
    spoil(monkeypatch, bad)
    told = f"mock/mock-0: its queue cannot be used: .*{bad[2]}.*; report it"
    with anyio.fail_after(20), pytest.raises(wdasync.BackendUnavailable, match=told) as caught:
        await wdasync.open_accelerator("mock", fallback=False)
    assert caught.value.__cause__ is not None
    assert not program.devices


async def test_at_open_another_backend_is_there(
    program: Program,
    monkeypatch: pytest.MonkeyPatch,
    bad: tuple[str, Any, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nobody asked for this one."""
    spoil(monkeypatch, bad)
    monkeypatch.setattr("wdasync.testing.mock.MockBackend.automatic", 1000)
    async with wdasync.open_accelerator() as acc:
        result = await acc.execute(wdasync.Compress(PAGE, "gzip"))
    assert result.backend == "cpu"
    assert "mock/mock-0: goes without a queue" in caplog.text


async def test_one_of_two(program: Program, caplog: pytest.LogCaptureFixture) -> None:
    """The other one is used, and this one closed."""
    opened: list[MockQueue] = []
    open_queue = MockDevice.open_queue

    def once_bad(self: MockDevice, *arguments: Any) -> Any:
        queue = open_queue(self, *arguments)
        if not opened:
            queue.fileno = lambda: 9999  # type: ignore[method-assign]
        opened.append(queue)
        return queue

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MockDevice, "open_queue", once_bad)
        async with wdasync.open_accelerator("mock", fallback=False, open_queues=2) as acc:
            assert program.devices[0].queues == opened[1:]
            assert gzip.decompress(await acc.compress(PAGE)) == PAGE
            assert [lane.name for lane in acc.statistics().lanes] == ["mock/mock-0"]
    assert "1 of 2 queues; no more: mock/mock-0: its queue cannot be used" in caplog.text


async def test_of_a_priority(opener: Opener, program: Program, bad: tuple[str, Any, str]) -> None:
    """It goes to the queue of other work."""
    async with opener() as acc:
        with pytest.MonkeyPatch.context() as patch:
            spoil(patch, bad)
            assert gzip.decompress(await acc.compress(PAGE, priority=Priority.HIGH)) == PAGE
        assert len(program.devices[0].queues) == 1


@pytest.mark.parametrize("fallback", [False, True])
async def test_after_a_reset(
    opener: Opener, program: Program, bad: tuple[str, Any, str], fallback: bool
) -> None:
    """Its place is lost, and tried again; what was in flight has failed, what waited goes elsewhere."""
    async with opener(deadline=0.05, fallback=fallback, inline=False, **SOON) as acc:
        await acc.compress(PAGE)
        with pytest.MonkeyPatch.context() as patch, anyio.fail_after(20):
            program.stick(count=4)
            spoil(patch, bad)
            ends: list[object] = []

            async def run() -> None:
                try:
                    ends.append(gzip.decompress(await acc.compress(PAGE)))
                except wdasync.DeviceError as error:
                    ends.append(error)

            async with anyio.create_task_group() as group:
                for _ in range(6):
                    group.start_soon(run)
            assert acc.statistics().lanes[0].state == "lost"
            if fallback:
                assert ends == [PAGE] * 6
            else:
                assert {type(end) for end in ends} == {wdasync.DeviceError}
            await until(lambda: acc.statistics().places[0].attempts >= 2)
            assert acc.statistics().lanes[0].state == "lost"
        await until(lambda: acc.statistics().lanes[0].state == "open")
        assert gzip.decompress(await acc.compress(PAGE)) == PAGE
        assert len(program.devices[0].queues) == 1


async def test_after_a_loss(opener: Opener, program: Program, bad: tuple[str, Any, str]) -> None:
    async with opener(inline=False, **SOON) as acc:
        with pytest.MonkeyPatch.context() as patch:
            program.lose_device("unplugged")
            with pytest.raises(wdasync.DeviceError, match="unplugged"):
                await acc.compress(PAGE)
            spoil(patch, bad)
            program.return_device()
            await until(lambda: acc.statistics().places[0].attempts >= 3)
            assert acc.statistics().places[0].returns == 0
            with pytest.raises(wdasync.DeviceError):
                await acc.compress(PAGE)
        await until(lambda: acc.statistics().places[0].returns == 1)
        assert gzip.decompress(await acc.compress(PAGE)) == PAGE
        assert len(program.devices[0].queues) == 1


@pytest.mark.parametrize("loss", ["a reset", "a loss"])
async def test_closing_with_one_that_cannot_be_used(
    program: Program, bad: tuple[str, Any, str], loss: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It ends."""
    caplog.set_level(logging.CRITICAL)
    with pytest.MonkeyPatch.context() as patch, anyio.fail_after(20):
        async with wdasync.open_accelerator("mock", fallback=False, deadline=0.05, **SOON) as acc:
            await acc.compress(PAGE)
            spoil(patch, bad)
            program.stick(count=1)
            if loss == "a loss":
                program.lose_device("unplugged")
            with pytest.raises(wdasync.DeviceError):
                await acc.compress(PAGE)
            program.return_device()
            await anyio.sleep(0.02)


async def test_a_queue_that_was_missing(program: Program, bad: tuple[str, Any, str]) -> None:
    """It is there now, and no use: it is still missing."""
    program.change(queues=1)
    async with wdasync.open_accelerator("mock", fallback=False, **SOON) as acc:
        await acc.compress(PAGE, priority=Priority.HIGH)
        assert acc.statistics().places[0].missing == 1
        with pytest.MonkeyPatch.context() as patch:
            spoil(patch, bad)
            program.change(queues=2)
            await until(lambda: acc.statistics().places[0].attempts >= 3)
            assert acc.statistics().places[0].missing == 1
            assert gzip.decompress(await acc.compress(PAGE, priority=Priority.HIGH)) == PAGE
        await until(lambda: acc.statistics().places[0].missing == 0)


async def test_two_queues_with_one_descriptor(program: Program, caplog: pytest.LogCaptureFixture) -> None:
    """Each event is told once: one of them would never hear of its completions."""
    with pytest.MonkeyPatch.context() as patch:
        first: list[int] = []
        fileno = MockQueue.fileno

        def one(self: MockQueue) -> int:
            first.append(fileno(self))
            return first[0]

        patch.setattr(MockQueue, "fileno", one)
        async with wdasync.open_accelerator("mock", fallback=False, open_queues=2) as acc:
            assert len(acc.statistics().lanes) == 1
            assert gzip.decompress(await acc.compress(PAGE)) == PAGE
    assert "is watched already" in caplog.text


async def test_a_queue_that_does_not_know_its_descriptor_any_more(program: Program) -> None:
    """Nobody asks it again."""
    with pytest.MonkeyPatch.context() as patch:
        async with wdasync.open_accelerator("mock", fallback=False) as acc:
            await acc.compress(PAGE)
            patch.setattr(MockQueue, "fileno", broken)


async def test_a_lane_is_as_it_was_if_its_new_queue_is_refused() -> None:
    bench = Bench()
    bench.lane.lose("unplugged")
    bench.loop.pass_time(SHORT)
    bench.loop.work()
    bench.reopened.depth = 0
    with pytest.raises(ValueError, match="got 0"):
        bench.reaper.revive(bench.lane, bench.reopened)
    assert (bench.lane.state, bench.lane.queue) == (LaneState.LOST, bench.queue)
    assert not bench.loop.watched
    (flight,) = bench.submit()
    assert status(flight) is wdasync.Status.DEVICE_ERROR
