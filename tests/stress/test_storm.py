"""10⁶ operations on each event loop, with random cancellations: none lost, no wake-up lost, memory flat."""

import os
import platform
import threading
import time

import pytest

import wdasync
from tests.storm import DEPTH, descriptors, weather

pytestmark = pytest.mark.anyio

#: So many on each loop.
COUNT = int(os.environ.get("STRESS_OPERATIONS", "1000000"))

#: What decides sizes, kinds and moments; another one is another storm.
SEED = int(os.environ.get("STRESS_SEED", "1"))

#: Bytes by which the process may grow from the second tenth of a storm to its end.
GROWTH = 24 << 20


@pytest.mark.parametrize(("name", "part"), [("cpu", 1), ("mock", 20), ("hip08", 100)])
async def test_storm(name: str, part: int, capsys: pytest.CaptureFixture[str]) -> None:
    """The models do a part of it, for they are slower."""
    async with wdasync.open_accelerator(name, depth=DEPTH, fallback=False) as acc:
        await weather(acc, 1000, seed=SEED)  # threads that work starts are there
        files, threads, began = descriptors(), threading.active_count(), time.perf_counter()
        storm = await weather(acc, COUNT // part, seed=SEED)
        seconds = time.perf_counter() - began
        assert descriptors() == files
        assert threading.active_count() <= threads
        assert storm.memory[-1] - storm.memory[1] < GROWTH
        statistics = acc.statistics()
    lanes = statistics.lanes
    with capsys.disabled():
        print(
            f"\n{name} on {acc!r}: {COUNT // part} operations, seed {SEED}, {platform.machine()}, "
            f"{os.cpu_count()} cores, {seconds:.0f} s: {dict(storm.ended)}, inline {statistics.inline}, "
            f"withdrawn {sum(lane.withdrawn for lane in lanes)}, detached {sum(lane.detached for lane in lanes)}, "
            f"outstayed {sum(lane.outstayed for lane in lanes)}, rescues {statistics.rescues}, "
            f"memory {storm.memory[1] >> 20} → {storm.memory[-1] >> 20} MiB"
        )
