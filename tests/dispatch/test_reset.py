"""Devices that fail: stuck operations, lost devices, queues that raise."""

import gzip
import logging
from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel
import pytest
import trio

import wdasync
from wdasync import Status
from wdasync.dispatch import Lane, LaneState, Reaper
from wdasync.testing.mock import MockQueue, Program

from .conftest import Opener
from .test_backpressure import compress_numbered
from .test_lane import SHORT, Bench, status

pytestmark = pytest.mark.anyio

PAGE = b"page " * 100


async def test_a_stuck_operation_ends_at_the_deadline(opener: Opener, program: Program) -> None:
    async with opener(deadline=0.05) as acc:
        program.stick(count=1)
        with pytest.raises(wdasync.DeviceError, match=r"deadline of 0\.05 s"):
            await acc.compress(PAGE)
        assert gzip.decompress(await acc.compress(PAGE)) == PAGE
        (lane,) = acc.statistics().lanes
        assert (lane.resets, lane.in_flight, lane.state) == (1, 0, "open")


async def test_the_innocent_are_sent_again(opener: Opener, program: Program) -> None:
    async with opener(deadline=0.2) as acc:
        program.stick(count=1)
        errors: list[wdasync.DeviceError] = []
        good: list[bytes] = []

        async def run() -> None:
            try:
                good.append(await acc.compress(PAGE))
            except wdasync.DeviceError as error:
                errors.append(error)

        async with anyio.create_task_group() as group:
            group.start_soon(run)
            await anyio.sleep(0.06)
            program.hold()  # those that follow are in flight when the queue is reset
            for _ in range(5):
                group.start_soon(run)
            with anyio.fail_after(5):
                while acc.statistics().lanes[0].resets == 0:
                    await anyio.sleep(0.005)
            program.release()
        assert len(errors) == 1
        assert [gzip.decompress(result) for result in good] == [PAGE] * 5
        assert acc.statistics().reasons["retry"] > 0


async def test_a_detached_operation_that_never_ends_resets_its_queue(
    opener: Opener, program: Program
) -> None:
    async with opener(deadline=0.05) as acc:
        program.stick(count=1)
        with pytest.raises(wdasync.OperationTimeout):
            await acc.compress(PAGE, timeout=0.01)
        assert acc.statistics().in_flight == 1
        with anyio.fail_after(5):
            while acc.statistics().lanes[0].resets == 0:
                await anyio.sleep(0.01)
        assert acc.statistics().in_flight == 0


async def test_memory_of_the_caller_is_held_until_close_returned(opener: Opener, program: Program) -> None:
    """stop() aborts at once, but the device may still write: only close() ends that."""
    program.change(lingering=True)
    program.block_close()
    buffer = bytearray(4096)
    ended: list[BaseException] = []
    async with opener(deadline=0.05) as acc, anyio.create_task_group() as group:
        program.stick(count=1)

        async def run() -> None:
            try:
                await acc.compress_into(PAGE, buffer)
            except wdasync.WdasyncError as error:
                ended.append(error)

        group.start_soon(run)
        await anyio.sleep(0.2)
        assert not ended, "close() has not returned"
        program.unblock_close()
        with anyio.fail_after(5):
            while not ended:
                await anyio.sleep(0.005)
        after = bytes(buffer)
        await acc.compress(PAGE)
        assert bytes(buffer) == after


async def test_a_lost_device_without_fallback(opener: Opener, program: Program) -> None:
    async with opener() as acc:
        program.hold()
        async with anyio.create_task_group() as group:

            async def run() -> None:
                with pytest.raises(wdasync.DeviceError):
                    await acc.compress(PAGE)

            for _ in range(10):
                group.start_soon(run)
            await anyio.sleep(0.01)
            program.lose_device("unplugged")
            program.release()
        with pytest.raises(wdasync.DeviceError, match=r"every device .* is lost .mock/mock-0: unplugged"):
            await acc.compress(PAGE)
        assert acc.statistics().lanes[0].state == "lost"


async def test_another_device_takes_over(opener: Opener, program: Program) -> None:
    program.change(devices=2)
    async with opener() as acc:
        program.hold()
        async with anyio.create_task_group() as group:
            group.start_soon(compress_numbered, acc, 10)
            await anyio.sleep(0.01)
            program.lose_device("unplugged", device=0)
            program.release()
        result = await acc.execute(wdasync.Compress(PAGE, "gzip"))
        assert result.device == "mock-1"
        assert acc.statistics().retries > 0


async def test_a_failure_that_a_fallback_may_mend(opener: Opener, program: Program) -> None:
    async with opener(fallback=True) as acc:
        program.fail(Status.DEVICE_ERROR, count=1)
        result = await acc.execute(wdasync.Compress(PAGE, "gzip"))
        assert result.output is not None
        assert gzip.decompress(result.output) == PAGE
        assert (result.backend, result.reason) == ("cpu", wdasync.Reason.RETRY)


async def test_a_device_that_is_lost_with_the_work_on_it(opener: Opener, program: Program) -> None:
    program.hold()
    async with opener(fallback=True) as acc, anyio.create_task_group() as group:

        async def caller() -> None:
            result = await acc.execute(wdasync.Compress(PAGE, "gzip"))
            assert (result.backend, result.reason) == ("cpu", wdasync.Reason.DEVICE_LOST)

        group.start_soon(caller)
        while not acc.statistics().lanes[0].in_flight:
            await anyio.lowlevel.checkpoint()
        program.lose_device("unplugged")


@pytest.mark.parametrize("method", ["enqueue_burst", "dequeue_burst", "arm", "withdraw"])
async def test_a_queue_that_raises_is_taken_out_of_use(
    opener: Opener, program: Program, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    """None of them may raise. The device cannot be trusted any more; nobody hangs."""

    def broken(self: MockQueue, *arguments: object) -> object:
        raise ValueError("a bug in the model")

    async with opener() as acc:
        await acc.compress(PAGE)
        program.hold()
        with pytest.MonkeyPatch.context() as patch, caplog.at_level(logging.CRITICAL):
            async with anyio.create_task_group() as group:

                async def run() -> None:
                    with pytest.raises(
                        wdasync.DeviceError, match=f"{method} raised ValueError: a bug in the"
                    ):
                        await acc.compress(PAGE)

                patch.setattr(MockQueue, method, broken)
                group.start_soon(run)
                if method == "withdraw":
                    with anyio.move_on_after(0.01):
                        await acc.compress(PAGE)
                await anyio.sleep(0.01)
                program.wake()
        assert acc.statistics().lanes[0].state == "lost"


async def test_a_queue_that_cannot_be_opened_again(opener: Opener, program: Program) -> None:
    async with opener(deadline=0.05) as acc:
        program.stick(count=None)
        program.fail_open_queue(1)
        async with anyio.create_task_group() as group:

            async def run() -> None:
                with pytest.raises(wdasync.DeviceError):
                    await acc.compress(PAGE)

            for _ in range(6):
                group.start_soon(run)
        assert acc.statistics().lanes[0].state == "lost"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (Status.INVALID_ARGS, wdasync.UnsupportedOperation),
        (Status.INVALID_STATE, wdasync.InvalidState),
        (Status.OUT_OF_SPACE_TERMINATED, wdasync.OutOfSpace),
        (Status.OUT_OF_SPACE_RECOVERABLE, wdasync.OutOfSpace),
        (Status.CHECKSUM_FAILED, wdasync.DataError),
        (Status.DATA_ERROR, wdasync.DataError),
        (Status.PAGE_FAULT, wdasync.PageFaultError),
        (Status.DEVICE_ERROR, wdasync.DeviceError),
    ],
)
async def test_each_status_is_one_error(
    opener: Opener, program: Program, status: Status, error: type[wdasync.WdasyncError]
) -> None:
    async with opener() as acc:
        program.fail(status, count=None, message="the device's own words")
        with pytest.raises(
            error, match=r"compress gzip on mock/mock-0: the device's own words; \w+"
        ) as caught:
            await acc.compress(PAGE)
        assert type(caught.value) is error
        assert acc.statistics().lanes[0].statuses == {status: 1}


class FinishesWhenStopped(MockQueue):
    """What is on the device ends well when the queue is stopped; taking something back is broken."""

    def withdraw(self, tag: int) -> bool:
        self._program.release()
        raise ValueError("a bug in the model")


@pytest.mark.parametrize(
    "start",
    [
        lambda acc: acc.compress(PAGE),
        lambda acc: acc.compress_into(PAGE, bytearray(4096)),
        lambda acc: acc.compress_many([PAGE, bytearray(PAGE)]),
        lambda acc: acc.compress_many([bytearray(PAGE), PAGE]),
    ],
    ids=["one", "memory of the caller's", "many", "many, the first of the caller's"],
)
async def test_completions_come_while_it_is_cancelled(
    opener: Opener,
    program: Program,
    start: Callable[[wdasync.Accelerator], Awaitable[object]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A queue that raises in the middle of a cancellation is wound up at once, and what it then hands out may belong to
    him who is being cancelled: he is not woken twice, and not forgotten.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MockQueue, "withdraw", FinishesWhenStopped.withdraw)
        patch.setattr(MockQueue, "stop", lambda self: self._pump(100))
        async with opener() as acc:
            program.hold()
            with anyio.fail_after(5), anyio.move_on_after(0.02) as scope, caplog.at_level(logging.CRITICAL):
                await start(acc)
            assert scope.cancelled_caught
            assert acc.statistics().lanes[0].state == "lost"


async def test_completions_come_while_the_rest_of_a_group_is_cancelled(
    opener: Opener, program: Program, caplog: pytest.LogCaptureFixture
) -> None:
    """One has to be waited for, the next one breaks the queue, and then all have ended: nobody waits any more."""
    asked: list[int] = []

    def withdraw(self: MockQueue, tag: int) -> bool:
        asked.append(tag)
        return False if len(asked) == 1 else FinishesWhenStopped.withdraw(self, tag)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MockQueue, "withdraw", withdraw)
        patch.setattr(MockQueue, "stop", lambda self: self._pump(100))
        async with opener() as acc:
            program.hold()
            (sending,) = acc._reaper.lanes
            scope = anyio.CancelScope()

            async def cancel_once_sent() -> None:
                while sending.in_flight < 2 or sending._burst:
                    await anyio.sleep(0.001)
                scope.cancel()

            with anyio.fail_after(30), caplog.at_level(logging.CRITICAL):
                async with anyio.create_task_group() as group:
                    group.start_soon(cancel_once_sent)
                    with scope:
                        await acc.compress_many([PAGE, bytearray(PAGE)])
            assert scope.cancelled_caught
            assert len(asked) == 2
            (lane,) = acc.statistics().lanes
            assert (lane.state, lane.outstayed) == ("lost", 1)


async def test_a_completion_that_makes_no_sense(
    opener: Opener, program: Program, caplog: pytest.LogCaptureFixture
) -> None:
    """The rest of its batch would be lost: the device is taken out of use, and nobody hangs."""
    with pytest.MonkeyPatch.context() as patch:
        async with opener() as acc:
            program.hold()
            errors: list[wdasync.DeviceError] = []
            async with anyio.create_task_group() as group:

                async def run() -> None:
                    with pytest.raises(wdasync.DeviceError, match="dequeue_burst") as caught:
                        await acc.compress(PAGE)
                    errors.append(caught.value)

                for _ in range(3):
                    group.start_soon(run)
                await anyio.sleep(0.01)
                with caplog.at_level(logging.CRITICAL):
                    patch.setattr(MockQueue, "dequeue_burst", lambda self, limit: [("no tag",)])
                    program.wake()
                    with anyio.fail_after(10):
                        while len(errors) < 3:
                            program.wake()  # once it is armed
                            await anyio.sleep(0.005)
            assert acc.statistics().in_flight == 0


async def test_a_stream_lives_through_a_reset_of_its_queue(opener: Opener, program: Program) -> None:
    """The state of an idle stream is not the queue's."""
    async with opener(deadline=0.05) as acc, acc.compressor() as stream:
        output = await stream.compress(b"before, ")
        program.stick(count=1)
        with pytest.raises(wdasync.DeviceError):
            await acc.compress(PAGE)
        output += await stream.finish(b"after")
        assert acc.statistics().lanes[0].resets == 1
        assert gzip.decompress(output) == b"before, after"


async def test_a_stream_whose_queue_is_reset_under_it(opener: Opener, program: Program) -> None:
    async with opener(deadline=0.05) as acc, acc.compressor() as stream:
        await stream.compress(b"before, ")
        program.stick(count=1)
        with pytest.raises(wdasync.DeviceError, match="deadline"):
            await stream.compress(b"stuck")
        with pytest.raises(wdasync.InvalidState, match="DEVICE_ERROR"):
            await stream.compress(b"after")
        await stream.reset()
        assert gzip.decompress(await stream.finish(b"anew")) == b"anew"


async def test_a_refusal_is_the_reason_why_another_took_it(opener: Opener, program: Program) -> None:
    async with opener(fallback=True) as acc:
        program.fail(Status.INVALID_ARGS, count=1)
        result = await acc.execute(wdasync.Compress(PAGE, "gzip"))
        assert (result.backend, result.reason) == ("cpu", wdasync.Reason.UNSUPPORTED)


async def test_what_failed_has_no_output(opener: Opener, program: Program) -> None:
    """What a device says of a failed operation's output has no meaning and is not counted."""
    async with opener() as acc:
        with pytest.raises(wdasync.OutOfSpace):
            await acc.compress_into(bytes(range(256)), bytearray(20))
        assert acc.statistics().lanes[0].bytes_out == 0


async def test_a_lane_that_was_lost_goes_on_with_another_queue() -> None:
    """Whoever brings devices back is told of the loss, and when the old queue is closed; then it is as new."""
    bench = Bench()
    told: list[Lane] = []
    bench.reaper.on_lost = told.append
    (lost,) = bench.submit()
    bench.loop.turn()
    bench.lane.lose("unplugged")
    assert told == [bench.lane]
    assert bench.reaper.is_winding_up(bench.lane)
    bench.loop.pass_time(SHORT)
    bench.loop.work()
    assert not bench.reaper.is_winding_up(bench.lane)
    assert status(lost) is Status.DEVICE_ERROR
    queue = bench.reaper.opener_of(bench.lane)()
    bench.reaper.revive(bench.lane, queue)
    assert (bench.lane.state, bench.lane.returns, bench.lane.resets) == (LaneState.OPEN, 1, 0)
    bench.loop.turn()
    bench.loop.turn()
    (flight,) = bench.submit()
    bench.loop.turn()
    bench.reopened.complete()
    bench.lane.readable()
    assert status(flight) is Status.SUCCESS


async def test_a_lane_whose_queue_cannot_be_opened_again_is_told_of() -> None:
    bench = Bench()
    told: list[str] = []
    bench.reaper.on_lost = lambda lane: told.append(lane.reason)
    bench.reopened.raising.add("open")
    bench.submit()
    bench.loop.turn()
    for _ in range(4):
        bench.tick()
    bench.loop.pass_time(SHORT)
    bench.loop.work()
    bench.loop.work()
    assert (bench.lane.state, bench.lane.broken) == (LaneState.LOST, False)
    assert told == ["its queue cannot be opened again: open is broken"]


@pytest.mark.parametrize("after", ["its loss", "a reset"])
async def test_a_lane_that_is_forgotten_while_its_queue_is_wound_up(after: str) -> None:
    """Its queue is closed once, and no other one is opened."""
    bench = Bench()
    bench.submit()
    bench.loop.turn()
    if after == "its loss":
        bench.lane.lose("unplugged")
    else:
        for _ in range(4):
            bench.tick()
    bench.reaper.forget()
    assert bench.lane.state is LaneState.CLOSED
    assert bench.queue.calls.count("stop") == 1
    assert bench.queue.calls[-1] == "close"
    bench.queue.calls.clear()
    bench.loop.pass_time(SHORT)
    bench.loop.work()
    bench.reaper.forget()
    assert bench.queue.calls == []
    assert bench.reopened.calls == []


async def test_a_lane_that_is_forgotten_while_its_queue_is_closed() -> None:
    bench = Bench()
    for _ in bench.submit():
        bench.loop.turn()
    for _ in range(4):
        bench.tick()
    bench.loop.pass_time(SHORT)
    bench.reaper.forget()
    assert bench.queue.calls[-1] != "close", "a thread does it"
    bench.loop.work()
    assert bench.queue.calls.count("close") == 1
    assert bench.reopened.calls in ([], ["open", "close"])


def test_a_loss_that_a_task_finds_is_not_broken_off(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On trio a KeyboardInterrupt comes in the user's task: not between the stop of a queue and its winding up."""
    protected: list[bool] = []
    wind_up = Reaper.wind_up

    def look(self: Reaper, lane: Lane) -> None:
        protected.append(trio.lowlevel.currently_ki_protected())
        wind_up(self, lane)

    async def main() -> None:
        async with wdasync.open_accelerator("mock", fallback=False) as acc:
            program.lose_device()
            monkeypatch.setattr(Reaper, "wind_up", look)
            assert not trio.lowlevel.currently_ki_protected()
            with pytest.raises(wdasync.DeviceError):
                await acc.execute(wdasync.Compress(PAGE, "gzip"))

    trio.run(main)
    assert protected == [True]


async def test_memory_of_the_caller_on_a_lost_device(opener: Opener, program: Program) -> None:
    """Whoever gave it is told when the queue holds it no more; whoever gave none goes elsewhere at once."""
    program.block_close()
    ended: list[str] = []
    buffer = bytearray(4096)

    async def own() -> None:
        await acc.compress_into(PAGE, buffer)
        ended.append("own")
        buffer.append(0)  # nobody holds it

    async def theirs() -> None:
        await acc.compress(PAGE)
        ended.append("theirs")

    async with opener(fallback=True, inline=False) as acc:
        program.hold()
        async with anyio.create_task_group() as group:
            group.start_soon(own)
            group.start_soon(theirs)
            while acc.statistics().lanes[0].in_flight < 2:
                await anyio.lowlevel.checkpoint()
            program.lose_device("unplugged")
            with anyio.fail_after(10):
                while not ended:
                    await anyio.sleep(0.001)
            await anyio.sleep(0.1)
            assert ended == ["theirs"], "close() has not returned"
            program.unblock_close()
        assert ended == ["theirs", "own"]
        assert acc.statistics().reasons["device_lost"] == 2
