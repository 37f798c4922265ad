"""aiohttp: a compressor that outlives a message, shared by tasks."""

import gzip
import zlib

import anyio
import anyio.lowlevel
import pytest

import wdasync
from wdasync.testing.mock import Program

from .conftest import TEXT, turns

pytestmark = pytest.mark.anyio


def message(number: int) -> bytes:
    return b"%d:" % number + TEXT[number * 100 : number * 100 + 40_000]


@pytest.mark.parametrize("name", ["mock", "cpu"])
async def test_7859_tasks_that_share_a_compressor_do_not_mix_their_messages(name: str) -> None:
    """aiohttp#7859: one compressor for a connection; tasks that sent at once got each other's output in their frames.

    Whoever comes while a step is under way is refused, and nothing of his data is in the stream.
    """
    frames: list[tuple[int, bytes]] = []
    refused = 0

    async def send(number: int) -> None:
        nonlocal refused
        while True:
            try:
                output = await stream.compress(message(number))
            except wdasync.BusyResourceError:
                refused += 1
                await anyio.lowlevel.checkpoint()
                continue
            frames.append((number, output))
            return

    async with wdasync.open_accelerator(name, fallback=False, inline=False) as acc:
        async with acc.compressor("deflate") as stream:
            async with anyio.create_task_group() as group:
                for number in range(12):
                    group.start_soon(send, number)
            rest = await stream.finish()
    assert refused, "no two of them met"
    assert sorted(number for number, _ in frames) == list(range(12))
    decoder = zlib.decompressobj(-15)
    content = b"".join(decoder.decompress(output) for _, output in frames) + decoder.decompress(rest)
    assert decoder.eof
    assert content == b"".join(message(number) for number, _ in frames)


@pytest.mark.parametrize("name", ["mock", "cpu"])
async def test_7859_with_a_lock_each_frame_is_one_message(name: str) -> None:
    """aiohttp#7859, mended as aiohttp mended it: compress and flush under one lock."""
    lock, frames = anyio.Lock(), list[tuple[int, bytes]]()

    async def send(number: int) -> None:
        async with lock:
            frames.append((number, await stream.compress(message(number)) + await stream.flush()))

    async with wdasync.open_accelerator(name, fallback=False, inline=False) as acc:
        async with acc.compressor("deflate") as stream, anyio.create_task_group() as group:
            for number in range(12):
                group.start_soon(send, number)
    decoder = zlib.decompressobj(-15)
    assert all(decoder.decompress(frame) == message(number) for number, frame in frames)
    assert len(frames) == 12


async def test_11725_a_cancelled_send_leaves_nothing_in_the_next(program: Program) -> None:
    """aiohttp#11725: a send was cancelled while an executor compressed; the next frame held both messages.

    The stream refuses to go on until it is reset, and then begins anew.
    """
    async with wdasync.open_accelerator("mock", fallback=False) as acc, acc.compressor() as stream:
        program.hold()
        async with anyio.create_task_group() as group:
            scope = anyio.CancelScope()

            async def send() -> None:
                with scope:
                    await stream.compress(b"the message that was cancelled")

            group.start_soon(send)
            await turns(5)
            scope.cancel()
        program.release()
        with pytest.raises(wdasync.InvalidState, match="cancelled"):
            await stream.compress(b"the next one")
        await stream.reset()
        assert gzip.decompress(await stream.finish(b"the next one")) == b"the next one"


@pytest.mark.parametrize("delay", range(8))
async def test_11725_at_any_moment_on_real_workers(delay: int) -> None:
    """aiohttp#11725: whenever the cancellation comes, what is decoded later holds nothing of it."""
    async with (
        wdasync.open_accelerator("cpu", inline=False) as acc,
        acc.compressor("zlib", level=9) as stream,
    ):
        made = await stream.compress(b"first, ") + await stream.flush()
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:

                async def cancel() -> None:
                    await turns(delay)
                    scope.cancel()

                group.start_soon(cancel)
                made += await stream.compress(TEXT * 5)
        try:
            made += await stream.finish(b" last")
        except wdasync.InvalidState:
            await stream.reset()
            assert zlib.decompress(await stream.finish(b" last")) == b" last"
        else:
            taken = b"" if scope.cancelled_caught else TEXT * 5
            assert zlib.decompress(made) == b"first, " + taken + b" last"
    assert acc.statistics().in_flight == 0


async def test_members_after_the_first_are_not_dropped() -> None:
    """aiohttp once ended at the first gzip member and dropped the others without a word (its change log says so)."""
    packed = b"".join(gzip.compress(b"%d " % number) for number in range(20))
    wanted = b"".join(b"%d " % number for number in range(20))
    for name in ("cpu", "hip08", "mock"):
        async with wdasync.open_accelerator(name, fallback=False) as acc:
            assert await acc.decompress(packed) == wanted
            with pytest.raises(wdasync.LimitExceeded, match="members"):
                await acc.decompress(packed, max_members=19)
