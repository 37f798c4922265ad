"""The emulated chip is taken out of the machine under load, and comes back: no request is lost, and later ones run on it."""

import gzip
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import wdasync
from wdasync import Compress, Reason
from wdasync_hip08.backend import Hip08Backend

pytestmark = pytest.mark.anyio

PAGE = b"<p>a page that is worth compressing</p>" * 60


async def until(condition: Any) -> None:
    with anyio.fail_after(60):
        while not condition():
            await anyio.sleep(0.005)


def chip(acc: wdasync.Accelerator) -> wdasync.DeviceStatistics:
    return acc.statistics().places[0]


async def test_it_comes_back_under_load() -> None:
    ended: list[bytes] = []
    async with wdasync.open_accelerator(
        "hip08", inline=False, reopen_delay=0.02, reopen_limit=0.1, open_queues=2
    ) as acc:

        async def client(lost: anyio.Event) -> None:
            """There is work all the time until then, and some more."""
            more = 5
            while more:
                more -= lost.is_set()
                packed = await acc.compress(PAGE)
                ended.append(gzip.decompress(packed))

        device = acc._places[0].device
        for losses in range(1, 4):
            lost = anyio.Event()
            async with anyio.create_task_group() as tasks:
                for _ in range(6):
                    tasks.start_soon(client, lost)
                await until(lambda: chip(acc).in_flight)
                Hip08Backend.provoker.lose(device)
                lost.set()
            assert chip(acc).losses == losses
            await until(lambda losses=losses: chip(acc).returns == losses)
            result = await acc.execute(Compress(PAGE, "gzip"))
            assert (result.backend, result.reason) == ("hip08", Reason.PREFERRED)
            assert chip(acc).queues == 4, "two for each direction"
        statistics = acc.statistics()
    assert len(ended) >= 3 * 6 * 5
    assert set(ended) == {PAGE}
    assert statistics.reasons["device_lost"] > 0
    assert statistics.rescues == 0
    assert {place.name: place.state for place in statistics.places} == {
        "hip08/hisi_zip-0": "open",
        "hip08/hisi_hpre-0": "open",
        "hip08/hisi_sec2-0": "open",
        "cpu/cpu0": "open",
    }


async def test_work_with_faults_after_the_return() -> None:
    """Its spaces are bound anew: pages are looked for and found as before."""
    async with wdasync.open_accelerator(
        "hip08", fallback=False, residency="cold", reopen_delay=0.02, reopen_limit=0.1
    ) as acc:
        before = await acc.execute(Compress(PAGE, "gzip"))
        Hip08Backend.provoker.lose(acc._places[0].device)
        with pytest.raises(wdasync.DeviceError):
            await acc.compress(PAGE)
        await until(lambda: chip(acc).returns == 1)
        after = await acc.execute(Compress(PAGE, "gzip"))
        assert gzip.decompress(after.output or b"") == PAGE
        assert before.faults > 0
        assert after.faults > 0
