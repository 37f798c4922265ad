"""Hours of use in minutes: accelerators that come and go, streams, errors, cancellations. Memory, files and threads stay."""

from __future__ import annotations

import ctypes
import gc
import gzip
import os
import random
import threading
import time

import anyio
import pytest

import wdasync
from tests.storm import TEXT, descriptors, resident, settle

from .conftest import Teller

pytestmark = pytest.mark.anyio

ROUNDS = int(os.environ.get("STRESS_ROUNDS", "600"))
SEED = int(os.environ.get("STRESS_SEED", "1"))

#: Bytes by which the process may grow from a third of the way to its end.
GROWTH = 8 << 20


async def one_round(name: str, chance: random.Random) -> int:
    """An accelerator from its opening to its closing; how many operations it did."""
    async with wdasync.open_accelerator(
        name, depth=chance.choice([4, 64]), inline=chance.random() < 0.5
    ) as acc:
        for _ in range(3):
            await several(acc, chance)
        await errors(acc)
        await stream(acc, chance)
        with anyio.move_on_after(chance.random() * 0.002):
            await acc.compress_many([TEXT[:20_000]] * 8)
        await settle(acc)
        statistics = acc.statistics()
        assert statistics.rescues == 0
        return statistics.completed


async def several(acc: wdasync.Accelerator, chance: random.Random) -> None:
    async def one(size: int) -> None:
        packed = await acc.compress(TEXT[:size])
        assert await acc.decompress(bytearray(packed)) == TEXT[:size]

    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(one, chance.randrange(30_000))


async def errors(acc: wdasync.Accelerator) -> None:
    for data in (b"", b"no unit at all", gzip.compress(TEXT[:500])[:-3], gzip.compress(TEXT[:500]) + b"rest"):
        with pytest.raises(wdasync.DataError):
            await acc.decompress(data)
    with pytest.raises(wdasync.LimitExceeded):
        await acc.decompress(gzip.compress(bytes(10_000)), max_length=100)
    with pytest.raises(wdasync.OutOfSpace):
        await acc.compress_into(TEXT[:5000], bytearray(10))


async def stream(acc: wdasync.Accelerator, chance: random.Random) -> None:
    async with acc.compressor() as one, acc.decompressor() as other:
        packed = await one.compress(TEXT[:9000]) + await one.flush()
        assert await other.decompress(packed) == TEXT[:9000]
        if chance.random() < 0.5:
            await one.reset()
            await one.compress(b"never finished")


def held() -> int:
    """Bytes of this process that are in memory, without what its allocator only keeps: that of threads that come and go."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return resident()


@pytest.mark.parametrize("name", ["cpu", "mock", "hip08"])
async def test_lives(name: str, anyio_backend: tuple[str, dict[str, object]], tell: Teller) -> None:
    chance, done, memory = random.Random(SEED), 0, list[int]()
    rounds = ROUNDS if name == "cpu" else ROUNDS // 3
    began, files, threads = time.perf_counter(), 0, 0
    for number in range(rounds):
        done += await one_round(name, chance)
        if number % (rounds // 3) == 0:
            memory.append(held())
        if number == rounds // 3:
            files, threads = descriptors(), threading.active_count()
    memory.append(held())
    assert descriptors() == files
    assert threading.active_count() <= threads
    assert memory[-1] - memory[1] < GROWTH, f"memory grew: {[size >> 20 for size in memory]} MiB"
    loop = "uvloop" if anyio_backend[1].get("use_uvloop") else anyio_backend[0]
    tell(
        f"lives, {name}, {loop}",
        f"{rounds} accelerators, {done} operations in {time.perf_counter() - began:.0f} s; memory "
        f"{' → '.join(str(size >> 20) for size in memory)} MiB, {files} descriptors and {threads} threads throughout",
        SEED,
    )
