"""10⁶ operations on each event loop, with random cancellations: none lost, no wake-up lost, memory flat."""

import os
import threading
import time

import pytest

import wdasync
from tests.storm import DEPTH, descriptors, weather

from .conftest import Teller

pytestmark = pytest.mark.anyio

#: So many on each loop.
COUNT = int(os.environ.get("STRESS_OPERATIONS", "1000000"))

#: What decides sizes, kinds and moments; another one is another storm.
SEED = int(os.environ.get("STRESS_SEED", "1"))

#: Bytes by which the process may grow from the second tenth of a storm to its end.
GROWTH = 24 << 20


@pytest.mark.parametrize("name", ["cpu", "mock", "hip08"])
async def test_storm(name: str, anyio_backend: tuple[str, dict[str, object]], tell: Teller) -> None:
    async with wdasync.open_accelerator(name, depth=DEPTH, fallback=False) as acc:
        await weather(acc, 1000, seed=SEED)  # threads that work starts are there
        files, threads, began = descriptors(), threading.active_count(), time.perf_counter()
        storm = await weather(acc, COUNT, seed=SEED)
        seconds = time.perf_counter() - began
        assert descriptors() == files
        assert threading.active_count() <= threads
        assert storm.memory[-1] - storm.memory[1] < GROWTH
        statistics = acc.statistics()
    lanes, loop = statistics.lanes, "uvloop" if anyio_backend[1].get("use_uvloop") else anyio_backend[0]
    tell(
        f"storm, {name}, {loop}",
        f"{COUNT} operations in {seconds:.0f} s: {storm.ended['done']} done, {storm.ended['cancelled']} cancelled; "
        f"inline {statistics.inline}, withdrawn {sum(lane.withdrawn for lane in lanes)}, "
        f"detached {sum(lane.detached for lane in lanes)}, outstayed {sum(lane.outstayed for lane in lanes)}, "
        f"rescues {statistics.rescues}; memory {storm.memory[1] >> 20} → {storm.memory[-1] >> 20} MiB, "
        f"{files} descriptors and {threads} threads before and after",
        SEED,
    )
