"""QAT_Engine and the asynchronous nginx above it: when completions are looked for, and for whom."""

import gc
import gzip
import sys

import anyio
import pytest

import wdasync
from wdasync.testing.mock import Program

from .conftest import TEXT, run_program, turns

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("name", ["cpu", "mock", "hip08"])
async def test_181_one_operation_completes_though_the_loop_never_rests(name: str) -> None:
    """QAT_Engine#181 (#211, #239, asynch_mode_nginx#38): completions were polled for only when enough were in flight, and
    a busy loop went on for ever beside one that nobody looked for.

    One operation, far below any threshold, and tasks that are ready in every turn: it completes, and no timer saves it.
    """
    done = anyio.Event()

    async def spin() -> None:
        while not done.is_set():
            await anyio.lowlevel.checkpoint()

    async with wdasync.open_accelerator(name, fallback=False, inline=False) as acc:
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(spin)
            with anyio.fail_after(60):
                for _ in range(3):
                    assert gzip.decompress(await acc.compress(TEXT)) == TEXT
            done.set()
        assert acc.statistics().rescues == 0


@pytest.mark.parametrize("name", ["cpu", "hip08"])
async def test_181_all_wait_and_nothing_else_happens(name: str) -> None:
    """QAT_Engine#181, the other half: everybody waits, so nobody would call a poll function. The descriptor wakes the loop."""
    async with wdasync.open_accelerator(name, fallback=False, inline=False) as acc:
        with anyio.fail_after(60):
            woken = 0
            while not woken:  # on a busy machine the worker may be done before the loop has gone to sleep
                await acc.compress(TEXT * (1 + (2 << 20) // len(TEXT)))
                woken = sum(lane.wakes for lane in acc.statistics().lanes)
        assert acc.statistics().rescues == 0


@pytest.mark.parametrize("name", ["mock", "hip08"])
def test_201_a_worker_that_waits_for_a_completion_can_be_shut_down(name: str) -> None:
    """QAT_Engine#201: on reload, a worker process that waited for a completion that never came did not end.

    The operation ends with an error when the accelerator is closed, and the process ends.
    """
    printed = run_program(
        f"""
        import asyncio, importlib.metadata, wdasync
        (entry,) = importlib.metadata.entry_points(group="wdasync.backends", name={name!r})

        async def main():
            acc = await wdasync.open_accelerator({name!r}, fallback=False, close_timeout=0.1)
            with entry.load().provoker.stick(acc._places[0].device):
                waiting = asyncio.create_task(acc.compress(b"never done"))
                while not acc.statistics().in_flight:
                    await asyncio.sleep(0)
                await asyncio.sleep(0.01)
                await acc.aclose()
            try:
                await waiting
            except wdasync.ClosedResourceError:
                print("told")

        asyncio.run(main())
        """
    )
    assert printed == "told\n"


def test_308_a_program_that_is_interrupted_ends_with_work_in_flight() -> None:
    """QAT_Engine#308: rings stayed behind at exit. An interrupt in the middle closes everything, in a short time."""
    printed = run_program(
        """
        import asyncio, os, signal, threading, wdasync
        before = len(os.listdir("/proc/self/fd"))

        async def main():
            async with wdasync.open_accelerator("hip08", fallback=False) as acc:
                async with asyncio.TaskGroup() as group:
                    for _ in range(100):
                        group.create_task(acc.compress(b"work " * 10_000))
                    await asyncio.sleep(0)
                    os.kill(os.getpid(), signal.SIGINT)

        try:
            asyncio.run(main())
        except KeyboardInterrupt:
            print("interrupted", len(os.listdir("/proc/self/fd")) - before)
        """
    )
    assert printed == "interrupted 0\n"


async def test_143_a_completion_that_comes_when_the_caller_is_gone(program: Program) -> None:
    """QAT_Engine#143: the job was freed while the device worked; its completion woke what was no longer there.

    The caller is cancelled and all of his is dropped, then the completion comes: it ends the operation and nobody else's,
    and only then the buffers go.
    """

    async with wdasync.open_accelerator("mock", fallback=False) as acc:
        program.hold()
        source = bytes(bytearray(TEXT))
        ours = sys.getrefcount(source)
        async with anyio.create_task_group() as group:
            group.start_soon(acc.compress, source)
            await turns(5)
            group.cancel_scope.cancel()
        del group
        gc.collect()
        assert sys.getrefcount(source) > ours, "the device may still read it"
        others: list[bytes] = []

        async def other(number: int) -> None:
            others.append(gzip.decompress(await acc.compress(b"%d" % number)))

        async with anyio.create_task_group() as group:
            for number in range(6):
                group.start_soon(other, number)
            await turns(5)
            program.release()
        assert sorted(others) == [b"%d" % number for number in range(6)]
        (lane,) = acc.statistics().lanes
        assert (lane.in_flight, lane.detached, lane.spurious) == (0, 1, 0)
        del group
        gc.collect()
        assert sys.getrefcount(source) == ours


async def test_143_the_accelerator_is_gone_too(program: Program) -> None:
    """QAT_Engine#143: closing comes between the cancellation and the completion."""
    acc = await wdasync.open_accelerator("mock", fallback=False, close_timeout=0.05)
    program.hold()
    async with anyio.create_task_group() as group:
        group.start_soon(acc.compress, TEXT)
        await turns(5)
        group.cancel_scope.cancel()
    await acc.aclose()
    program.release()
    await turns(5)
    assert acc.statistics().in_flight == 0
