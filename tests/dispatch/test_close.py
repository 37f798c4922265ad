"""Closing: what is on the device may finish, the rest ends with an error, nothing is left."""

import gzip

import anyio
import pytest

import wdasync
from wdasync.testing.mock import Program

from .conftest import Opener

pytestmark = pytest.mark.anyio

PAGE = b"page " * 100


async def test_what_is_on_the_device_may_finish(program: Program) -> None:
    acc = await wdasync.open_accelerator("mock", fallback=False)
    program.hold()
    good: list[bytes] = []
    refused: list[Exception] = []

    async def run() -> None:
        try:
            good.append(await acc.compress(PAGE))
        except wdasync.ClosedResourceError as error:
            refused.append(error)

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(run)
        await anyio.sleep(0.01)
        group.start_soon(acc.aclose)
        await anyio.sleep(0.01)
        assert len(refused) == 6, "those that wait for a slot are told at once"
        program.release()
    assert [gzip.decompress(result) for result in good] == [PAGE] * 4
    assert not acc.is_open


async def test_what_does_not_finish_is_aborted(program: Program) -> None:
    acc = await wdasync.open_accelerator("mock", fallback=False, close_timeout=0.02)
    program.stick(count=None)
    async with anyio.create_task_group() as group:

        async def run() -> None:
            with pytest.raises(wdasync.ClosedResourceError):
                await acc.compress_into(PAGE, bytearray(4096))

        for _ in range(10):
            group.start_soon(run)
        await anyio.sleep(0.01)
        await acc.aclose()
    assert acc.statistics().in_flight == 0


async def test_closing_twice_and_at_once(program: Program) -> None:
    acc = await wdasync.open_accelerator("mock", fallback=False)
    async with anyio.create_task_group() as group:
        group.start_soon(acc.aclose)
        group.start_soon(acc.aclose)
    await acc.aclose()
    assert not program.devices


async def test_a_cancelled_close_still_closes(program: Program) -> None:
    acc = await wdasync.open_accelerator("mock", fallback=False)
    program.stick(count=1)
    async with anyio.create_task_group() as group:

        async def run() -> None:
            with pytest.raises(wdasync.ClosedResourceError):
                await acc.compress(PAGE)

        group.start_soon(run)
        await anyio.sleep(0.01)
        with anyio.move_on_after(0.01) as scope:
            await acc.aclose()
        assert scope.cancelled_caught
    assert not program.devices


async def test_entering_and_leaving_in_different_tasks(program: Program) -> None:
    opening = wdasync.open_accelerator("mock", fallback=False)
    acc: wdasync.Accelerator | None = None

    async def enter() -> None:
        nonlocal acc
        acc = await opening.__aenter__()

    async def leave() -> None:
        await opening.__aexit__(None, None, None)

    async with anyio.create_task_group() as group:
        group.start_soon(enter)
    assert acc is not None
    assert gzip.decompress(await acc.compress(PAGE)) == PAGE
    async with anyio.create_task_group() as group:
        group.start_soon(leave)
    assert not program.devices


async def test_the_user_s_exception_is_not_wrapped(opener: Opener) -> None:
    async def fail() -> None:
        async with opener() as acc:
            await acc.compress(PAGE)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await fail()


async def test_a_closed_accelerator_says_so(opener: Opener) -> None:
    async with opener() as acc:
        stream = acc.compressor()
    for attempt in (
        acc.compress(PAGE),
        acc.compress_many([PAGE]),
        acc.nop(),
        acc.compress(PAGE, timeout=1),
        stream.compress(PAGE),
    ):
        with pytest.raises(wdasync.ClosedResourceError):
            await attempt
    with pytest.raises(wdasync.ClosedResourceError):
        acc.compressor()
    await stream.aclose()


async def test_a_queue_that_cannot_be_closed(program: Program, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged; nobody hangs, and its operations are never taken for finished."""
    acc = await wdasync.open_accelerator("mock", fallback=False, close_timeout=0.02)
    program.stick(count=1)
    program.fail_close(1)
    async with anyio.create_task_group() as group:

        async def run() -> None:
            with pytest.raises(wdasync.ClosedResourceError):
                await acc.compress(PAGE)

        group.start_soon(run)
        await anyio.sleep(0.01)
        await acc.aclose()
    assert "close raised" in caplog.text
    assert not acc.is_open
    for device in list(program.devices):
        for queue in list(device.queues):
            queue.close()
        device.close()


async def test_close_during_a_reset(program: Program) -> None:
    acc = await wdasync.open_accelerator("mock", fallback=False, deadline=0.03, safety_interval=0.01)
    program.stick(count=1)
    program.block_close()
    async with anyio.create_task_group() as group:

        async def run() -> None:
            with pytest.raises(wdasync.WdasyncError):
                await acc.compress(PAGE)

        group.start_soon(run)
        with anyio.fail_after(5):
            while acc.statistics().lanes[0].state != "resetting":
                await anyio.sleep(0.005)
        group.start_soon(acc.aclose)
        await anyio.sleep(0.02)
        program.unblock_close()
    assert not program.devices


async def test_memory_of_a_queue_that_cannot_be_closed_stays_pinned(program: Program) -> None:
    """Nobody knows whether the device still writes: the caller may go on, his memory may not."""
    acc = await wdasync.open_accelerator("mock", fallback=False, close_timeout=0.02)
    program.stick(count=None)
    program.fail_close(1)
    given, wanted = bytearray(PAGE), bytearray(4096)
    async with anyio.create_task_group() as group:

        async def run() -> None:
            with pytest.raises(wdasync.ClosedResourceError):
                await acc.compress_into(given, wanted)

        group.start_soon(run)
        await anyio.sleep(0.01)
        await acc.aclose()
    for memory in (given, wanted):
        with pytest.raises(BufferError):
            memory.extend(b"resized under the device")
    for device in list(program.devices):
        for queue in list(device.queues):
            queue.close()
        device.close()


async def test_a_second_cancellation_does_not_hurry_the_closing(
    program: Program, anyio_backend_name: str
) -> None:
    """asyncio delivers each cancellation; queues are closed before their devices all the same."""
    import asyncio

    if anyio_backend_name != "asyncio":
        return
    acc = await wdasync.open_accelerator("mock", fallback=False, close_timeout=10)
    program.stick(count=1)
    program.block_close()
    operation = asyncio.create_task(acc.compress(PAGE))
    await asyncio.sleep(0.01)
    closing = asyncio.create_task(acc.aclose())
    for _ in range(4):
        await asyncio.sleep(0.03)
        closing.cancel()
    program.unblock_close()
    with pytest.raises(asyncio.CancelledError):
        await closing
    with pytest.raises(wdasync.ClosedResourceError):
        await operation
    assert not acc.is_open
    assert not program.devices
    await acc.aclose()
