"""None is lost: 10⁵ operations of random sizes with random cancellations; a longer one is in tests/stress."""

import threading
from collections.abc import Callable

import anyio
import pytest

import wdasync
from tests.storm import CANCELLED, DEPTH, Storm, descriptors, settle, weather
from wdasync.testing import mock
from wdasync_hip08.backend import Hip08Backend

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


async def with_losses(
    acc: wdasync.Accelerator,
    count: int,
    seed: int,
    lose: Callable[[int], None],
    give_back: Callable[[], None],
) -> None:
    """A storm in which devices go away, one after another, and come back; every operation ends well all the same."""
    storm = Storm(acc, count, seed=seed, largest=4000)
    loss = 0
    calm = False

    async def trouble() -> None:
        nonlocal loss
        while not calm:
            before = storm.ended.total()
            while storm.ended.total() < before + count // 40 and not calm:
                await anyio.sleep(0.001)
            lose(loss)
            loss += 1
            before = storm.ended.total()
            while storm.ended.total() < before + count // 40 and not calm:
                await anyio.sleep(0.001)
            give_back()
            with anyio.fail_after(30):
                while any(place.state == "lost" for place in acc.statistics().places):
                    await acc.compress(b"who is idle does not notice that a device has gone")
                    await anyio.sleep(0.001)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(trouble)
        await storm.run()
        calm = True
    await settle(acc)
    statistics = acc.statistics()
    assert storm.ended.total() == count, "an operation was lost"
    assert storm.ended["cancelled"] > count * CANCELLED / 1000
    assert sum(place.losses for place in statistics.places) > 1
    assert all(place.losses == place.returns for place in statistics.places)
    assert all((lane.in_flight, lane.parked, lane.state) == (0, 0, "open") for lane in statistics.lanes)
    assert statistics.rescues == 0
    assert statistics.reasons["device_lost"] > 0


async def test_mock_devices_that_come_and_go() -> None:
    with mock.backend.programmed(devices=2, engines=3) as program:
        async with wdasync.open_accelerator(
            "mock", depth=16, open_queues=2, inline=False, reopen_delay=0.002, reopen_limit=0.01
        ) as acc:

            def lose(number: int) -> None:
                program.lose_device("unplugged", device=number % 2)

            def give_back() -> None:
                for number in range(2):
                    program.return_device(number)

            await with_losses(acc, 6000, 10, lose, give_back)
        assert not program.complaints


async def test_hip08_that_comes_and_goes() -> None:
    async with wdasync.open_accelerator(
        "hip08", depth=16, open_queues=2, inline=False, reopen_delay=0.002, reopen_limit=0.01
    ) as acc:
        device = acc._places[0].device
        await with_losses(acc, 3000, 11, lambda _: Hip08Backend.provoker.lose(device), lambda: None)
