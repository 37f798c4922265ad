"""Wake-ups: none is lost with any kind of descriptor, and one that a backend loses is found and counted."""

import contextvars
import gzip

import anyio
import pytest

import wdasync
from wdasync.dispatch import Lane
from wdasync.testing._wake import Wake
from wdasync.testing.mock import MockQueue, Program, Readiness

from .conftest import Opener
from .test_backpressure import compress_numbered

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("readiness", [Readiness.LEVEL, Readiness.EDGE, Readiness.CONSUMING])
@pytest.mark.parametrize("latency", [0.0, 0.0005], ids=["no latency", "latency"])
async def test_no_wake_is_lost(
    opener: Opener, program: Program, readiness: Readiness, latency: float
) -> None:
    """With a consuming descriptor each poll eats the readiness, as Linux's uacce driver does."""
    program.change(readiness=readiness, latency=latency, jitter=latency, depth=16)
    async with opener(safety_interval=0.5) as acc:
        for _ in range(10):
            assert len(await compress_numbered(acc, 40)) == 40
        for _ in range(30):
            await acc.compress(b"one alone")
        assert acc.statistics().rescues == 0


async def test_a_lost_wake_is_found_and_counted(opener: Opener, program: Program) -> None:
    program.change(readiness=Readiness.NEVER, latency=0.05)
    async with opener(safety_interval=0.01) as acc:
        assert gzip.decompress(await acc.compress(b"found by the timer")) == b"found by the timer"
        assert acc.statistics().rescues == 1


async def test_a_completion_for_nothing_is_counted_and_dropped(opener: Opener, program: Program) -> None:
    async with opener() as acc:
        await acc.compress(b"a")
        program.spurious(77)
        program.wake()
        assert gzip.decompress(await acc.compress(b"b")) == b"b"
        while not acc.statistics().lanes[0].spurious:
            await acc.compress(b"c")
        assert acc.statistics().lanes[0].spurious == 1


async def test_a_completion_that_comes_twice_reaches_nobody_else(opener: Opener, program: Program) -> None:
    """The slot has another operation by the time that the second copy comes: its tag differs."""
    program.change(depth=2)
    program.duplicate(count=None)
    async with opener() as acc:
        assert sorted(await compress_numbered(acc, 60)) == list(range(60))
        assert acc.statistics().lanes[0].spurious > 0


async def test_readers_run_in_no_request_s_context(opener: Opener, program: Program) -> None:
    """A context variable of the first caller must not be seen by the code that others' completions run in."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nobody's")
    seen: list[str] = []
    original = Lane.reap

    def spy(self: Lane) -> None:
        seen.append(variable.get())
        original(self)

    program.change(latency=0.001)
    variable.set("the opener's")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Lane, "reap", spy)
        async with opener() as acc:
            variable.set("the first caller's")
            await acc.compress(b"x")
            with anyio.move_on_after(0.05):
                await compress_numbered(acc, 20)
    assert set(seen) == {"nobody's"}


async def test_deadlines_hold_after_everything_was_withdrawn(opener: Opener, program: Program) -> None:
    """A wake that was ordered for what was then withdrawn stays ordered; the safety timer has stopped meanwhile."""
    async with opener(deadline=0.05, safety_interval=0.01, close_timeout=0.1) as acc:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(MockQueue, "_start", lambda self: None)  # it takes up nothing
            with anyio.move_on_after(0.02):
                await acc.compress(b"withdrawn")
            (lane,) = acc.statistics().lanes
            assert (lane.withdrawn, lane.in_flight) == (1, 0)
        await anyio.sleep(0.05)
        program.stick(count=1)
        with anyio.fail_after(5), pytest.raises(wdasync.DeviceError, match="deadline"):
            await acc.compress(b"stuck")


async def test_a_wake_that_is_late_is_not_taken_for_lost(opener: Opener, program: Program) -> None:
    """A worker may be put to sleep between its completion and its wake: that is no bug of the backend."""
    program.change(latency=0.02)
    late: list[Wake] = []
    ring, check_wake = Wake.ring, Lane.check_wake

    def fall_asleep(self: Wake) -> None:
        if self.armed:
            late.append(self)

    def wake_up_after(self: Lane) -> None:
        """The safety timer comes between the completion and its wake."""
        check_wake(self)
        while late:
            ring(late.pop())
            seen.append(self.in_flight)

    seen: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        async with opener(safety_interval=0.05) as acc:
            await acc.nop()
            patch.setattr(Wake, "ring", fall_asleep)
            patch.setattr(Lane, "check_wake", wake_up_after)
            for _ in range(4):
                await acc.nop()
            patch.undo()
            assert len(seen) >= 4
            assert set(seen) == {1}  # each nop was finished, and nobody told
            assert acc.statistics().rescues == 0
