"""None is lost: 10⁵ operations of random sizes with random cancellations; a longer one is in tests/stress."""

import threading

import pytest

import wdasync
from tests.storm import DEPTH, descriptors, weather

pytestmark = pytest.mark.anyio

#: Bytes by which the process may grow from the second tenth of a storm to its end.
GROWTH = 24 << 20


@pytest.mark.slow
@pytest.mark.parametrize("inline", [True, False], ids=["inline", "no inline"])
async def test_cpu(inline: bool) -> None:
    async with wdasync.open_accelerator("cpu", depth=DEPTH, inline=inline) as acc:
        files, threads = descriptors(), threading.active_count()
        storm = await weather(acc, 50_000, seed=7)
        assert descriptors() == files
        assert threading.active_count() <= threads
        assert storm.memory[-1] - storm.memory[1] < GROWTH
        assert sum(lane.withdrawn + lane.detached + lane.outstayed for lane in acc.statistics().lanes) > 1000


async def test_mock() -> None:
    async with wdasync.open_accelerator("mock", depth=DEPTH, fallback=False, engines=3) as acc:
        await weather(acc, 5000, seed=8, largest=4000)


@pytest.mark.parametrize("consuming", [False, True])
async def test_hip08(consuming: bool) -> None:
    async with wdasync.open_accelerator("hip08", depth=DEPTH, fallback=False, consuming=consuming) as acc:
        await weather(acc, 3000, seed=9)
