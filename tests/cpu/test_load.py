"""Accelerators of the CPU backend that are closed, forked, and shared among threads while they are busy."""

from __future__ import annotations

import random
import threading
import zlib
from collections import Counter
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import wdasync
from tests.conftest import EVENT_LOOPS
from tests.cpu.support import PATIENCE, WBITS, pack, python
from tests.storm import DEPTH, GUARD, TEXT, descriptors, weather

CLIENTS = 40

#: Where the work is done: by whoever is best, by workers, by threads.
OPTIONS: dict[str, dict[str, Any]] = {
    "anywhere": {},
    "no inline": {"inline": False},
    "Python codecs": {"inline": False, "native_codecs": False},
}


class Crowd:
    """Clients that use an accelerator until it is closed under them.

    :ivar ended: how operations ended -> how many
    """

    def __init__(self, acc: wdasync.Accelerator) -> None:
        self.ended: Counter[str] = Counter()
        self._acc = acc
        self._buffers: list[tuple[bytearray, bytes]] = []

    async def client(self, seed: int) -> None:
        chance = random.Random(seed)
        kinds = (self._compress, self._into, self._back_into, self._stream)
        while not self.ended[f"refused {seed}"]:
            start, size = chance.randrange(30_000), chance.choice([1, 500, 9000, 150_000])
            try:
                await chance.choice(kinds)(TEXT[start : start + size], chance.choice(["gzip", "zlib"]))
                self.ended["done"] += 1
            except wdasync.ClosedResourceError:
                self.ended[f"refused {seed}"] += 1

    async def reach(self, count: int) -> None:
        """So many have ended, and more are under way."""
        while self.ended["done"] < count or not self._acc.statistics().in_flight:
            await anyio.lowlevel.checkpoint()

    def check_buffers(self) -> None:
        """Nobody has written into a buffer, or holds it, after its await had ended."""
        for memory, before in self._buffers:
            assert memory == before
            memory.append(0)
            assert before.startswith(GUARD)
            assert before.endswith(GUARD)

    async def _compress(self, data: bytes, algorithm: str) -> None:
        output = await self._acc.compress(bytearray(data), algorithm, level="balanced")
        assert zlib.decompress(output, WBITS[algorithm]) == data

    async def _into(self, data: bytes, algorithm: str) -> None:
        room = len(data) + 5000
        memory = bytearray(GUARD + bytes(room) + GUARD)
        try:
            with memoryview(memory)[len(GUARD) : -len(GUARD)] as buffer:
                size = await self._acc.compress_into([data[:9], bytearray(data[9:])], buffer, algorithm)
                assert zlib.decompress(buffer[:size], WBITS[algorithm]) == data
        finally:
            self._buffers.append((memory, bytes(memory)))

    async def _back_into(self, data: bytes, algorithm: str) -> None:
        memory = bytearray(GUARD + bytes(len(data)) + GUARD)
        try:
            with memoryview(memory)[len(GUARD) : -len(GUARD)] as buffer:
                packed = bytearray(pack(data, algorithm))
                assert await self._acc.decompress_into(packed, buffer, algorithm) == len(data)
                assert buffer == data
        finally:
            self._buffers.append((memory, bytes(memory)))

    async def _stream(self, data: bytes, algorithm: str) -> None:
        async with self._acc.compressor(algorithm) as stream:
            output = await stream.compress(data) + await stream.flush() + await stream.finish(data)
            assert zlib.decompress(output, WBITS[algorithm]) == data * 2


@pytest.mark.anyio
@pytest.mark.parametrize("cancelled", [False, True], ids=["", "cancelled"])
@pytest.mark.parametrize("done", [0, 60])
@pytest.mark.parametrize("options", OPTIONS)
async def test_closed_under_load(options: str, done: int, cancelled: bool) -> None:
    files = 0
    for turn in range(4):
        acc = await wdasync.open_accelerator("cpu", depth=16, fallback=False, **OPTIONS[options])
        crowd = Crowd(acc)
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as group:
                for seed in range(CLIENTS):
                    group.start_soon(crowd.client, turn * CLIENTS + seed)
                await crowd.reach(done)
                with anyio.CancelScope() as scope:
                    if cancelled:
                        scope.cancel()
                    await acc.aclose()
        assert sum(count for name, count in crowd.ended.items() if name != "done") == CLIENTS
        assert not acc.is_open
        statistics = acc.statistics()
        assert (statistics.in_flight, statistics.rescues) == (0, 0)
        crowd.check_buffers()
        if turn == 0:
            files = descriptors()
    assert descriptors() <= files


def test_loops_in_threads_under_load() -> None:
    """An accelerator for each, workers for all."""
    problems: list[BaseException] = []
    begin = threading.Barrier(len(EVENT_LOOPS))

    async def work(seed: int) -> None:
        async with wdasync.open_accelerator("cpu", depth=DEPTH, inline=False) as acc:
            begin.wait(PATIENCE)
            await weather(acc, 3000, seed=seed)

    def run(seed: int, name: str, options: dict[str, Any]) -> None:
        try:
            anyio.run(work, seed, backend=name, backend_options=options)
        except BaseException as problem:  # noqa: BLE001  it is raised in the other thread
            problems.append(problem)

    threads = [
        threading.Thread(target=run, args=(seed, *loop)) for seed, loop in enumerate(EVENT_LOOPS.values())
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]


FORK = """
import os, threading, traceback, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads, which is what this is about
import anyio, anyio.lowlevel, anyio.to_thread
import wdasync
from tests.conftest import EVENT_LOOPS
from tests.storm import DEPTH, weather

backend, options = EVENT_LOOPS[{loop!r}]

async def in_child(parents):
    try:
        await parents.compress(b"x")
    except wdasync.ForeignLoopError as error:
        assert "parent process" in str(error)
    else:
        raise AssertionError("a child used its parent's accelerator")
    async with wdasync.open_accelerator("cpu", depth=DEPTH, {options}) as acc:
        await weather(acc, 500, seed=2)

def child(parents):
    try:
        anyio.run(in_child, parents, backend=backend, backend_options=options)
    except BaseException:
        traceback.print_exc()
    else:
        os._exit(7)

async def busy(acc, children):
    while len(children) < 3:
        await weather(acc, 500, seed=len(children))

async def main():
    children = []
    async with wdasync.open_accelerator("cpu", depth=DEPTH, {options}) as acc:
        async with anyio.create_task_group() as group:
            group.start_soon(busy, acc, children)
            while len(children) < 3:
                while not acc.statistics().in_flight:
                    await anyio.lowlevel.checkpoint()
                pid = os.fork()
                if not pid:
                    thread = threading.Thread(target=child, args=(acc,))  # this one still runs the parent's loop
                    thread.start()
                    thread.join()
                    os._exit(1)
                _, status = await anyio.to_thread.run_sync(os.waitpid, pid, 0)
                children.append(os.waitstatus_to_exitcode(status))
    print(children)

anyio.run(main, backend=backend, backend_options=options)
"""


@pytest.mark.parametrize("loop", EVENT_LOOPS)
@pytest.mark.parametrize("options", ["inline=False", "inline=False, native_codecs=False"])
def test_forked_under_load(loop: str, options: str) -> None:
    """The parent's work goes on; a child refuses its accelerator, and works with one of its own."""
    assert python(FORK.format(loop=loop, options=options)) == "[7, 7, 7]\n"
