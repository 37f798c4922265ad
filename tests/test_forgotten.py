"""Accelerators that nobody closed, or whose opening was cancelled: noticed, and nothing of them stays behind."""

import asyncio
import gc
import os
import random
import threading
import warnings
from pathlib import Path
from typing import Any

import anyio
import pytest

import wdasync

PAGE = b"page " * 20_000
BACKENDS = ["mock", "cpu", "hip08"]


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def forget_one(name: str, *, used: bool) -> None:
    acc = await wdasync.open_accelerator(name, fallback=False)
    if used:
        await acc.compress(PAGE)
    del acc


async def settled(before: int) -> int:
    """Descriptors, once what goes on in the background has ended."""
    for _ in range(200):
        if descriptors() <= before:
            break
        await anyio.sleep(0.01)
    return descriptors()


@pytest.mark.anyio
@pytest.mark.parametrize("used", [False, True], ids=["unused", "used"])
@pytest.mark.parametrize("name", BACKENDS)
async def test_a_forgotten_one_leaves_nothing(name: str, used: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        await forget_one(name, used=True)  # what a first use opens for good is open
        gc.collect()
        await anyio.sleep(0.1)
        before, threads = descriptors(), threading.active_count()
        for _ in range(5):
            await forget_one(name, used=used)
            gc.collect()
        assert await settled(before) == before
        assert threading.active_count() < threads + 5  # trio keeps some of its own for a while
    async with wdasync.open_accelerator(name, fallback=False) as acc:
        assert await acc.compress(PAGE)


@pytest.mark.parametrize("uvloop", [False, True], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("name", BACKENDS)
def test_a_loop_that_is_closed_under_it(name: str, uvloop: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told at once, though what serves a device keeps the loop from being collected."""
    monkeypatch.setenv("WDASYNC_BACKEND", name)
    loop = new_loop(uvloop)
    loop.run_until_complete(wdasync.compress(PAGE))
    loop.run_until_complete(asyncio.sleep(0.01))  # it serves
    acc = loop.run_until_complete(wdasync.default_accelerator())
    loop.set_exception_handler(lambda loop, context: None)  # "Task was destroyed but it is pending": it was
    before = descriptors()
    with pytest.warns(ResourceWarning, match="unclosed <Accelerator open on"):
        loop.close()
    assert descriptors() < before
    assert not acc.is_open
    assert all(lane.state == "closed" for lane in acc.statistics().lanes)


@pytest.mark.parametrize("uvloop", [False, True], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("name", BACKENDS)
def test_a_loop_that_is_closed_under_it_leaves_no_descriptor(
    name: str, uvloop: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What serves its devices lets go of them, though it never runs again."""
    monkeypatch.setenv("WDASYNC_BACKEND", name)

    def open_and_close() -> None:
        loop = new_loop(uvloop)
        loop.run_until_complete(wdasync.compress(PAGE))
        loop.run_until_complete(asyncio.sleep(0.01))  # it serves
        loop.set_exception_handler(
            lambda loop, context: None
        )  # "Task was destroyed but it is pending": it was
        with pytest.warns(ResourceWarning, match="unclosed <Accelerator open on"):
            loop.close()

    open_and_close()  # what a first use opens for good is open
    before = descriptors()
    for _ in range(5):
        open_and_close()
    assert descriptors() == before


def new_loop(uvloop: bool) -> asyncio.AbstractEventLoop:
    if not uvloop:
        return asyncio.new_event_loop()
    from uvloop import new_event_loop

    return new_event_loop()


@pytest.mark.parametrize("uvloop", [False, True], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("name", BACKENDS)
def test_one_that_was_closed_in_time_is_not_told(
    name: str, uvloop: bool, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setenv("WDASYNC_BACKEND", name)
    anyio.run(wdasync.compress, PAGE, backend_options={"use_uvloop": uvloop})
    gc.collect()
    assert not recwarn.list


@pytest.mark.parametrize("uvloop", [False, True], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("name", BACKENDS)
def test_opening_that_is_cancelled_again_and_again(name: str, uvloop: bool) -> None:
    """asyncio delivers each cancellation, also to what cleans up after the one before."""
    chance = random.Random(3)

    async def main() -> tuple[int, int, int, int]:
        async with wdasync.open_accelerator(name, fallback=False):
            pass
        await asyncio.sleep(0.05)
        before, tasks = descriptors(), len(asyncio.all_tasks())
        for _ in range(40):
            opening: asyncio.Task[Any] = asyncio.ensure_future(open_it(name))
            for _ in range(chance.randrange(1, 5)):
                await asyncio.sleep(chance.random() * 0.003)
                opening.cancel()
            try:
                await (await opening).aclose()
            except asyncio.CancelledError:
                pass
        return before, await settled(before), tasks, len(asyncio.all_tasks())

    before, after, tasks, tasks_after = anyio.run(main, backend_options={"use_uvloop": uvloop})
    assert after == before
    assert tasks_after == tasks


async def open_it(name: str) -> wdasync.Accelerator:
    return await wdasync.open_accelerator(name, fallback=False)


def test_a_trio_run_survives_one_that_is_dropped_at_once() -> None:
    import trio

    async def main() -> None:
        await forget_one("cpu", used=False)
        await trio.sleep(0.1)

    with pytest.warns(ResourceWarning, match="unclosed"):
        trio.run(main)


def test_a_trio_run_survives_one_that_is_dropped_and_not_collected() -> None:
    import trio

    async def main() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            await forget_one("cpu", used=True)
            gc.collect()
            await trio.sleep(0.05)

    trio.run(main)


def test_trio_as_a_guest_leaves_asyncio_alone() -> None:
    """Tasks of the host are asyncio's, though trio runs in the same thread."""
    import trio

    async def guest() -> bytes:
        async with wdasync.open_accelerator("mock") as acc:
            await trio.sleep(0.05)
            return await acc.compress(PAGE)

    async def host() -> tuple[Any, bytes]:
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        outcomes: list[Any] = []

        def ended(outcome: Any) -> None:
            outcomes.append(outcome)
            done.set()

        trio.lowlevel.start_guest_run(
            guest, run_sync_soon_threadsafe=loop.call_soon_threadsafe, done_callback=ended
        )
        await asyncio.sleep(0.01)
        async with wdasync.open_accelerator("mock") as acc:
            mine = await acc.compress(PAGE)
        await done.wait()
        return outcomes[0].unwrap(), mine

    theirs, mine = asyncio.run(host())
    assert theirs == mine


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"on_fault": 5}, "on_fault: expected an async function"),
        ({"observer": 5}, "observer: expected a function"),
        ({"observer": open_it}, "observer: expected a function of an Observation that is not async"),
    ],
)
async def test_callables_are_checked_when_it_is_opened(how: dict[str, Any], message: str) -> None:
    with pytest.raises(wdasync.InvalidArgument, match=message):
        await wdasync.open_accelerator("hip08", **how)


@pytest.mark.anyio
@pytest.mark.parametrize("backend", [5, b"cpu", {"cpu": 1}])
async def test_a_backend_is_a_name_or_several(backend: Any) -> None:
    with pytest.raises(wdasync.ConfigError, match="backend: expected"):
        await wdasync.open_accelerator(backend)


@pytest.mark.anyio
async def test_rules_of_a_program_are_checked_as_those_of_a_file() -> None:
    with pytest.raises(wdasync.ConfigError, match=r"policy\.min_size: expected"):
        await wdasync.open_accelerator("mock", policy=[wdasync.Rule("mock", min_size="5")])  # type: ignore[arg-type]


@pytest.mark.anyio
async def test_what_equals_a_level_is_none() -> None:
    async with wdasync.open_accelerator("mock", fallback=False) as acc:
        await acc.compress(PAGE, level=1, window=15, priority=wdasync.Priority.HIGH)
        for wrong in ({"level": True}, {"level": 1.0}, {"window": 15.0}, {"priority": 2}):
            given: dict[str, Any] = {"level": 1, "window": 15, "priority": wdasync.Priority.HIGH, **wrong}
            with pytest.raises(wdasync.InvalidArgument):
                await acc.compress(PAGE, **given)
        assert await acc.compress(PAGE)


@pytest.mark.anyio
async def test_pages_that_come_slowly_are_no_stuck_device() -> None:
    """Each in its time, all of them far beyond what a device may hold an operation."""

    async def pager(offset: int, length: int) -> bytes:
        await anyio.sleep(0.1)
        return bytes(length)

    for name in ("cpu", "hip08"):
        async with wdasync.open_accelerator(name, fallback=False, deadline=0.3, safety_interval=0.02) as acc:
            await acc.compress(wdasync.PagedBuffer(10 * 4096, pager))
            assert sum(lane.resets for lane in acc.statistics().lanes) == 0


@pytest.mark.anyio
async def test_faults_that_are_answered_slowly_are_no_stuck_device() -> None:
    answers = 0

    async def handler(fault: wdasync.PageFault) -> wdasync.FaultResponse:
        nonlocal answers
        await anyio.sleep(0.1)
        answers += 1
        return wdasync.FaultResponse.SUCCESS

    async with wdasync.open_accelerator(
        "hip08", fallback=False, residency="cold", on_fault=handler, deadline=0.5, safety_interval=0.02
    ) as acc:
        await acc.compress(random.Random(1).randbytes(40_000))
        assert sum(lane.resets for lane in acc.statistics().lanes) == 0
    assert answers * 0.1 > 0.5


def test_a_directory_that_is_gone_has_no_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert anyio.run(wdasync.compress, PAGE)
    os.chdir(tmp_path)
