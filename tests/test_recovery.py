"""What was lost comes back: devices that return, queues that others gave up; after a while, and off the way of operations."""

import gzip
import logging
import threading
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import wdasync
from wdasync import Compress, Priority, Reason
from wdasync.dispatch import LaneState
from wdasync.testing.mock import MockDevice, backend

from .dispatch.test_lane import HandLoop, HandQueue

pytestmark = pytest.mark.anyio

PAGE = b"page " * 100

#: Short, since real time passes; a test that counts attempts has a clock of its own.
SOON = {"reopen_delay": 0.005, "reopen_limit": 0.02, "safety_interval": 0.02}


async def until(condition: Callable[[], object]) -> None:
    with anyio.fail_after(20):
        while not condition():
            await anyio.sleep(0.002)


def place(acc: wdasync.Accelerator, number: int = 0) -> wdasync.DeviceStatistics:
    return acc.statistics().places[number]


async def test_a_lost_device_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    with backend.programmed(devices=2, depth=4) as program, caplog.at_level(logging.INFO, "wdasync"):
        async with wdasync.open_accelerator("mock", fallback=False, open_queues=2, **SOON) as acc:
            for _ in range(4):
                await acc.compress(PAGE)
            program.lose_device("pulled out", device=0)
            for _ in range(8):
                assert gzip.decompress(await acc.compress(PAGE)) == PAGE
            assert (place(acc).state, place(acc).reason) == ("lost", "pulled out")
            assert (place(acc).queues, place(acc, 1).queues) == (0, 2)
            await until(lambda: place(acc).attempts >= 3)
            assert place(acc).state == "lost"
            program.return_device(0)
            await until(lambda: place(acc).state == "open")
            assert {(await acc.execute(Compress(PAGE, "gzip"))).device for _ in range(4)} == {
                "mock-0",
                "mock-1",
            }
            assert (place(acc).losses, place(acc).returns, place(acc).queues) == (1, 1, 2)
            assert [lane.returns for lane in acc.statistics().lanes] == [1, 1, 0, 0]
            assert acc.statistics().rescues == 0
    told = [record.getMessage() for record in caplog.records if record.name == "wdasync"]
    assert sum("mock/mock-0: lost: pulled out" in text for text in told) == 1
    assert sum("mock/mock-0: back, after" in text for text in told) == 1


async def test_work_in_flight_moves_and_later_work_returns() -> None:
    """Under load: no request fails, whatever the device does meanwhile."""
    ends: list[bytes] = []
    with backend.programmed(depth=4) as program:
        async with wdasync.open_accelerator("mock", inline=False, **SOON) as acc:

            async def client() -> None:
                for _ in range(30):
                    ends.append(gzip.decompress(await acc.compress(PAGE)))
                    await anyio.lowlevel.checkpoint()

            async with anyio.create_task_group() as tasks:
                for _ in range(8):
                    tasks.start_soon(client)
                for losses in range(1, 4):
                    await until(lambda: place(acc).in_flight)
                    program.lose_device("unplugged")
                    await until(lambda losses=losses: place(acc).losses == losses)
                    program.return_device()
                    await until(lambda losses=losses: place(acc).returns == losses)
                    for _ in range(20):
                        tasks.start_soon(client)
            assert ends == [PAGE] * len(ends)
            assert acc.statistics().reasons["device_lost"] > 0
            result = await acc.execute(Compress(PAGE, "gzip"))
            assert (result.backend, result.reason) == ("mock", Reason.PREFERRED)


async def test_a_device_that_is_lost_while_it_has_nothing_to_do() -> None:
    """Nothing fails on it; it is noticed all the same, by whoever would have gone there."""
    with backend.programmed(devices=2) as program:
        async with wdasync.open_accelerator("mock", fallback=False, **SOON) as acc:
            program.lose_device("unplugged", device=0)
            for _ in range(4):
                await acc.execute(Compress(PAGE, "gzip"))
            program.return_device(0)
            await until(lambda: place(acc).returns == 1)
            assert (place(acc).losses, acc.statistics().retries) == (1, 0)


async def test_a_stream_does_not_come_back() -> None:
    """Its state was the device's: an error, and a new beginning after reset()."""
    with backend.programmed() as program:
        async with wdasync.open_accelerator("mock", fallback=False, **SOON) as acc:
            idle, busy = acc.compressor(), acc.compressor()
            await idle.compress(b"before, ")
            program.hold()
            async with anyio.create_task_group() as tasks:

                async def step() -> None:
                    with pytest.raises(wdasync.DeviceError, match="unplugged"):
                        await busy.compress(b"in flight")

                tasks.start_soon(step)
                await until(lambda: place(acc).in_flight)
                program.lose_device("unplugged")
            program.release()
            program.return_device()
            await until(lambda: place(acc).state == "open")
            with pytest.raises(wdasync.DeviceError, match="lost, and is back without it"):
                await idle.compress(b"after")
            for stream in (idle, busy):
                with pytest.raises(wdasync.InvalidState):
                    await stream.compress(b"after")
                await stream.reset()
                assert gzip.decompress(await stream.finish(b"anew")) == b"anew"
                await stream.aclose()


async def test_a_queue_that_others_used(caplog: pytest.LogCaptureFixture) -> None:
    """From the beginning on there is none; the device is used once they are gone."""
    with backend.programmed(queues=2) as program:
        async with wdasync.open_accelerator("mock", fallback=False, open_queues=2) as other:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(backend, "open", sharing(program.devices[0]))
                async with wdasync.open_accelerator("mock", inline=False, open_queues=2, **SOON) as acc:
                    assert (place(acc).state, place(acc).missing) == ("no queue", 2)
                    assert (await acc.execute(Compress(PAGE, "gzip"))).reason is Reason.NO_QUEUE
                    await until(lambda: place(acc).attempts >= 2)
                    program.change(queues=3)
                    await until(lambda: place(acc).queues == 1)
                    program.change(queues=4)
                    await until(lambda: place(acc).queues == 2)
                    assert (place(acc).state, place(acc).missing, place(acc).losses) == ("open", 0, 0)
                    for _ in range(4):
                        result = await acc.execute(Compress(PAGE, "gzip"))
                        assert (result.backend, result.reason) == ("mock", Reason.PREFERRED)
                    used = [lane.submitted for lane in acc.statistics().lanes if lane.name.startswith("mock")]
                    assert used == [2, 2]
            await other.compress(PAGE)


def sharing(device: MockDevice) -> Callable[..., Any]:
    """Hands out a device that is open already, as several processes share one."""

    class Shared:
        def __getattr__(self, name: str) -> Any:
            return getattr(device, name)

        def close(self) -> None:
            """For its first owner."""

    return lambda *_, **__: Shared()


async def test_a_priority_gets_its_own_queue_later() -> None:
    with backend.programmed(queues=1) as program:
        async with wdasync.open_accelerator("mock", fallback=False, **SOON) as acc:
            await acc.compress(PAGE, priority=Priority.HIGH)
            assert place(acc).missing == 1
            program.change(queues=2)
            await until(lambda: place(acc).missing == 0)
            await acc.compress(PAGE, priority=Priority.HIGH)
            await acc.compress(PAGE)
            assert [(lane.name, lane.submitted) for lane in acc.statistics().lanes] == [
                ("mock/mock-0", 2),
                ("mock/mock-0 high", 1),
            ]


async def test_a_queue_that_could_not_be_opened_after_its_reset() -> None:
    """The other queue of the device works on; this one is tried again."""
    with backend.programmed() as program:
        async with wdasync.open_accelerator(
            "mock", fallback=False, open_queues=2, deadline=0.05, **SOON
        ) as acc:
            program.stick(count=1)
            program.fail_open_queue(3)
            with pytest.raises(wdasync.DeviceError):
                await acc.compress(PAGE)
            for _ in range(4):
                await acc.compress(PAGE)
            await until(lambda: sorted(lane.returns for lane in acc.statistics().lanes) == [0, 1])
            assert place(acc).queues == 2
            assert (place(acc).losses, program.resets) == (0, 0), "the device was there all the time"


async def test_what_is_broken_stays_away(caplog: pytest.LogCaptureFixture) -> None:
    with backend.programmed(devices=2) as program, caplog.at_level(logging.CRITICAL):
        async with wdasync.open_accelerator("mock", fallback=False, open_queues=2, **SOON) as acc:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(program.devices[0].queues[0], "enqueue_burst", None)
                for _ in range(6):
                    await acc.compress(PAGE)
            assert [lane.state for lane in acc.statistics().lanes] == ["lost", "lost", "open", "open"]
            assert place(acc).losses == 1
            await anyio.sleep(0.05)
            assert (place(acc).attempts, place(acc).state) == (0, "lost")


async def test_closing_waits_for_an_attempt() -> None:
    """No queue is opened on a device that is being closed."""
    begun, may_end = threading.Event(), threading.Event()

    def reset(self: MockDevice) -> None:
        begun.set()
        may_end.wait(10)

    with backend.programmed() as program:
        device = None
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(MockDevice, "reset", reset)
            async with wdasync.open_accelerator("mock", **SOON) as acc:
                device = program.devices[0]
                program.lose_device()
                await acc.compress(PAGE)
                await until(begun.is_set)
                device._lost = None
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(acc.aclose)
                    await anyio.sleep(0.02)
                    assert program.devices == [device], "not closed yet"
                    may_end.set()
        assert device.queues == []
        assert program.devices == []


async def test_a_reset_that_raises_is_another_vain_attempt() -> None:
    calls: list[int] = []

    def reset(self: MockDevice) -> None:
        calls.append(1)
        if len(calls) < 3:
            raise OSError("busy")
        self._lost = None

    with backend.programmed() as program, pytest.MonkeyPatch.context() as patch:
        patch.setattr(MockDevice, "reset", reset)
        async with wdasync.open_accelerator("mock", **SOON) as acc:
            program.lose_device()
            await acc.compress(PAGE)
            await until(lambda: place(acc).returns == 1)
            assert (len(calls), place(acc).attempts) == (3, 3)


@pytest.mark.parametrize("moment", ["before the attempt", "during it"])
async def test_a_forgotten_one_leaves_no_queue(moment: str) -> None:
    begun, may_end = threading.Event(), threading.Event()
    if moment == "before the attempt":
        may_end.set()

    def reset(self: MockDevice) -> None:
        begun.set()
        may_end.wait(10)
        self._lost = None

    with backend.programmed() as program, pytest.MonkeyPatch.context() as patch:
        patch.setattr(MockDevice, "reset", reset)
        acc = await wdasync.open_accelerator("mock", fallback=False, **SOON)
        device = program.devices[0]
        program.lose_device()
        with pytest.raises(wdasync.DeviceError):
            await acc.compress(PAGE)
        if moment == "during it":
            await until(begun.is_set)
        with pytest.warns(ResourceWarning, match="unclosed"):
            del acc
        may_end.set()
        await anyio.sleep(0.03)
        await until(lambda: not device.queues)


# -- with a clock that is moved by hand ------------------------------------------------------------------------------


class Slow:
    """A device that stays away for so many resets."""

    def __init__(self, resets: int) -> None:
        self.info = wdasync.backend.DeviceInfo("slow", "slow-0")
        self.capabilities = wdasync.Capabilities([wdasync.Capability(wdasync.Kind.COMPRESS, "gzip")])
        self.inline = None
        self.lost: str | None = None
        self.left = resets

    def reset(self) -> None:
        self.left -= 1
        if self.left < 0:
            self.lost = None

    def open_queue(self, *_: object) -> HandQueue:
        return HandQueue()


class Loop(HandLoop):
    """One whose threads may raise anything."""

    def work(self) -> None:
        while self.background:
            function, then = self.background.pop(0)
            try:
                result, error = function(), None
            except Exception as raised:  # noqa: BLE001  handed on
                result, error = None, raised
            then(result, error)


class Clock:
    """Time of a loop that is moved by hand."""

    def __init__(self, resets: int, queues: int = 1, **how: float) -> None:
        from wdasync.dispatch import Reaper
        from wdasync.opener import Opener
        from wdasync.recovery import Recovery
        from wdasync.scheduling import Place

        self.loop = Loop()
        self.now = 0.0
        self.device = Slow(resets)
        self.place = Place("slow", self.device)  # type: ignore[arg-type]
        reaper = Reaper(self.loop, budget=1, interval=1000, deadline=1000)  # type: ignore[arg-type]
        self.opener = Opener(self.loop, reaper, 4)  # type: ignore[arg-type]
        self.changes = 0
        self.recovery = Recovery(
            self.opener,
            [self.place],
            self._changed,
            clock=lambda: self.now,
            **{"delay": 1.0, "limit": 8.0, **how},
        )
        key = ("", Priority.NORMAL, "")
        self.place.put(key, [])
        self.opener.add(self.place, key, [HandQueue() for _ in range(queues)])

    def _changed(self) -> None:
        self.changes += 1

    def lose(self) -> None:
        self.device.lost = "away"
        self.place.every[0].lose("away")
        self.loop.work()  # its queue is closed

    def next_attempt(self) -> float:
        """Let time pass until the next attempt, and do it; how long that took."""
        ((delay, callback),) = [timer for timer in self.loop.later if timer[0] < 1000]
        self.loop.later = []
        self.now += delay
        callback()
        self.loop.work()
        return delay


async def test_attempts_become_rarer_up_to_a_limit() -> None:
    clock = Clock(resets=6)
    clock.lose()
    assert [clock.next_attempt() for _ in range(7)] == [1, 2, 4, 8, 8, 8, 8]
    assert (clock.place.returns, clock.place.attempts, clock.changes) == (1, 7, 1)
    assert not clock.loop.later, "nothing is tried any more"


async def test_who_is_lost_again_at_once_is_not_hurried() -> None:
    clock = Clock(resets=0)
    clock.lose()
    assert clock.next_attempt() == 1
    for expected in (2, 4, 8, 8):
        clock.now += 1
        clock.lose()
        assert clock.next_attempt() == expected
    clock.now += 8.5
    clock.lose()
    assert clock.next_attempt() == 1, "it has worked for a while"
    assert clock.place.losses == clock.place.returns == 6


async def test_an_attempt_waits_until_the_queues_are_closed() -> None:
    clock = Clock(resets=0)
    clock.device.lost = "away"
    clock.place.every[0].lose("away")
    assert clock.loop.background, "its queue is still being closed"
    work, clock.loop.background = clock.loop.background, []
    clock.next_attempt()
    assert clock.place.attempts == 0
    clock.loop.background = work
    clock.loop.work()
    clock.next_attempt()
    assert (clock.place.attempts, clock.place.returns) == (1, 1)


async def test_a_device_with_very_many_queues() -> None:
    """One loss, told of once: not one inside of another for each queue."""
    clock = Clock(resets=0, queues=2000)
    clock.lose()
    assert {lane.state for lane in clock.place.every} == {LaneState.LOST}
    assert clock.place.losses == 1
    clock.next_attempt()
    assert {lane.state for lane in clock.place.every} == {LaneState.OPEN}
    assert clock.place.returns == 1


async def test_a_queue_that_was_back_when_the_device_is_lost_again() -> None:
    """Before all were back: it ends with the others."""
    clock = Clock(resets=0, queues=3)
    clock.lose()
    opened = iter([HandQueue(), HandQueue()])

    def open_queue(*_: object) -> HandQueue:
        for queue in opened:
            return queue
        clock.device.lost = "away again"
        raise wdasync.BackendUnavailable("away again")

    clock.device.open_queue = open_queue  # type: ignore[method-assign]
    clock.next_attempt()
    lanes = clock.place.every
    assert [lane.state for lane in lanes] == [LaneState.OPEN, LaneState.OPEN, LaneState.LOST]
    assert clock.place.away
    lanes[1].lose("away again")
    clock.loop.work()
    assert {lane.state for lane in clock.place.every} == {LaneState.LOST}
    assert clock.place.losses == 1, "it was never back as a whole"


async def test_nothing_is_tried_after_it_was_forgotten() -> None:
    """By another thread, which cannot take back a timer of this loop: the devices are closed when it fires."""
    clock = Clock(resets=0)
    clock.lose()
    clock.loop.here = False
    clock.recovery.forget()
    assert clock.loop.cancelled == 0
    clock.device.reset = clock.device.open_queue = None  # type: ignore[assignment, method-assign]
    clock.next_attempt()
    assert clock.place.attempts == 0


async def test_the_end_waits_for_queues_that_nobody_needs_any_more() -> None:
    """Opened by a thread that had been told of no end yet: the device is not closed before they are."""
    clock = Clock(resets=0)
    key = ("", Priority.NORMAL, "")
    clock.place.missing[key] = 1
    clock.recovery.watch(clock.place)
    ((_, attempt),) = clock.loop.later
    attempt()
    ((bring_back, attempted),) = clock.loop.background
    clock.loop.background.clear()
    result = bring_back()
    ((_, queue),) = result[0]
    async with anyio.create_task_group() as tasks:
        ended = anyio.Event()

        async def stop() -> None:
            await clock.recovery.stop()
            ended.set()

        tasks.start_soon(stop)
        await anyio.wait_all_tasks_blocked()
        attempted(result, None)
        await anyio.wait_all_tasks_blocked()
        assert "close" not in queue.calls
        assert not ended.is_set()
        clock.loop.work()
        assert "close" in queue.calls
    assert ended.is_set()


async def test_nothing_is_tried_after_the_end() -> None:
    clock = Clock(resets=0)
    clock.lose()
    await clock.recovery.stop()
    assert clock.loop.cancelled == 1
    clock.recovery.watch(clock.place)
    assert len(clock.loop.later) == 1, "only the one that was cancelled"
