"""A device that goes away while its queues are mapped and full: the kernel wakes nobody, and every touch is a real SIGBUS."""

import gc
import gzip
import itertools
import os
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

import wdasync
from tests.storm import CANCELLED, Storm, descriptors, settle
from wdasync.backend import Status
from wdasync.operations import Compress, Nop
from wdasync_uacce import RegionKind, ZipDevice

from .kernel import Kernel
from .stand_in import Mishap, StandIn
from .support import layer_named_uacce, named_uacce, sample, take

__all__ = ["layer_named_uacce"]

GONE = "the device was removed while its DUS region was mapped"


# -- one queue ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("touch", ["dequeue", "arm", "enqueue", "stop"])
def test_whatever_touches_it_first_finds_out(touch: str) -> None:
    layer = StandIn(64, pumped=False)
    device = ZipDevice(layer, layer.node())
    queue = device.open_queue(16)
    queue.enqueue_burst([(number, Compress(b"data" * 100, "gzip")) for number in range(5)])
    layer.remove()
    if touch == "arm":
        assert not queue.arm(), "completions are there: nobody may sleep"
    elif touch == "enqueue":
        assert queue.enqueue_burst([(5, Nop())]) == 1
    elif touch == "stop":
        queue.stop()
    found = take(queue)
    tags = range(6 if touch == "enqueue" else 5)
    assert sorted(completion.tag for completion in found) == list(tags)
    expected = Status.ABORTED if touch == "stop" else Status.DEVICE_ERROR
    assert {completion.status for completion in found} == {expected}
    if touch != "stop":
        assert GONE in found[0].detail.message
        assert device.lost is not None
        assert GONE in device.lost
    queue.close()
    assert not layer.space.grants, "the device may still touch memory"


def test_what_was_finished_before_is_not_lost() -> None:
    """The entries are read before the doorbell tells the device, and only the doorbell is gone."""
    layer = StandIn(64, pumped=False)
    queue = ZipDevice(layer, layer.node()).open_queue(16)
    queue.enqueue_burst([(number, Nop()) for number in range(3)])
    file = layer.files[0]
    file.work(2)
    file.removed = True
    found = take(queue)
    assert [completion.status for completion in found] == [
        Status.SUCCESS,
        Status.SUCCESS,
        Status.DEVICE_ERROR,
    ]
    file.removed = False
    queue.close()


def test_an_idle_queue_is_closed_as_ever() -> None:
    layer = StandIn(64)
    device = ZipDevice(layer, layer.node())
    queue = device.open_queue(16)
    layer.remove()
    assert queue.dequeue_burst(10) == []
    queue.close()
    assert {file.state for file in layer.files} == {"CLOSED"}
    with pytest.raises(wdasync.BackendUnavailable, match="ENOENT"):
        device.open_queue(16)
    layer.present = True
    device.reset()
    assert device.lost is None
    device.open_queue(16).close()


# -- other ends -------------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_completion_that_never_comes_ends_at_the_deadline(layer_named_uacce: StandIn) -> None:
    """The queue is closed, so that the device touches nothing any more, and another one takes its place."""
    layer = layer_named_uacce
    async with wdasync.open_accelerator("uacce", fallback=False, safety_interval=0.01, deadline=0.1) as acc:
        layer.script.append(Mishap(completions=0))
        with pytest.raises(wdasync.DeviceError, match=r"no completion within the deadline of 0\.1 s"):
            await acc.compress(b"swallowed", "gzip")
        while acc.statistics().lanes[0].state != "open":
            await anyio.sleep(0.001)
        assert gzip.decompress(await acc.compress(b"the next", "gzip")) == b"the next"
        statistics = acc.statistics()
    assert statistics.lanes[0].resets == 1
    assert statistics.rescues == 0


def test_a_device_that_is_isolated_while_it_is_used_gives_no_other_queue(tmp_path: Path) -> None:
    """Isolation comes with a reset that failed: the queue sees its status words, and the node refuses the next one."""
    kernel = Kernel(tmp_path)
    kernel.add()
    device = ZipDevice(kernel.files(), kernel.files().discover()[0])
    queue = device.open_queue(16)
    (memory,) = (each.regions[RegionKind.DUS] for each in kernel.queues.values())
    os.pwrite(memory, b"\1\0\0\0\1\0\0\0", 151552 - 8)
    kernel.add(isolate="1")
    queue.enqueue_burst([(1, Nop())])
    (completion,) = take(queue)
    assert completion.status is Status.DEVICE_ERROR
    assert "in reset (send and receive side disabled)" in completion.detail.message
    queue.close()
    with pytest.raises(wdasync.BackendUnavailable, match="ENXIO: the kernel has isolated it"):
        device.open_queue(16)
    kernel.add(isolate="0")
    device.reset()
    device.open_queue(16).close()
    assert device.lost is None
    assert device.counters() == {"queues_opened": 2, "queues_lost": 1}
    assert not kernel.queues


@pytest.mark.parametrize("flags", ["1", "128"], ids=["shared addresses", "reserved region"])
def test_the_kernel_s_own_files_under_a_queue_that_is_removed(tmp_path: Path, flags: str) -> None:
    kernel = Kernel(tmp_path)
    kernel.add(flags=flags)
    kernel.reserved = 256 << 10
    device = ZipDevice(kernel.files(), kernel.files().discover()[0])
    queue = device.open_queue(16)
    queue.enqueue_burst([(number, Compress(b"data", "gzip")) for number in range(3)])
    kernel.remove()
    assert not queue.arm()
    assert [completion.status for completion in take(queue)] == [Status.DEVICE_ERROR] * 3
    queue.close()
    with pytest.raises(wdasync.BackendUnavailable, match="ENOENT"):
        device.open_queue(16)
    del queue
    gc.collect()
    assert not kernel.mapped


# -- an accelerator ---------------------------------------------------------------------------------------------------


async def fly(acc: wdasync.Accelerator, count: int, meanwhile: Callable[[], None]) -> list[bytes | Exception]:
    """Many operations that are in flight when something happens; their results."""
    results: list[bytes | Exception] = []

    async def one(number: int) -> None:
        try:
            results.append(gzip.decompress(await acc.compress(sample(5000, number), "gzip")))
        except wdasync.WdasyncError as error:
            results.append(error)

    async with anyio.create_task_group() as group:
        for number in range(count):
            group.start_soon(one, number)
        while acc.statistics().in_flight < count:
            await anyio.lowlevel.checkpoint()
        meanwhile()
    return results


@pytest.mark.anyio
async def test_operations_in_flight_end_and_the_process_does_not(layer_named_uacce: StandIn) -> None:
    layer = layer_named_uacce
    async with wdasync.open_accelerator("uacce", fallback=False, safety_interval=0.01) as acc:
        await acc.compress(b"warm", "gzip")
        layer.stuck = True
        results = await fly(acc, 10, layer.remove)
        statistics = acc.statistics()
        with pytest.raises(wdasync.DeviceError, match="is lost"):
            await acc.compress(b"more", "gzip")
    assert [type(result) for result in results] == [wdasync.DeviceError] * 10
    assert GONE in str(results[0])
    assert statistics.rescues == 0, "a device that went away wakes nobody: that is no lost wake"
    (lane,) = [lane for lane in statistics.lanes if lane.statuses.get(Status.DEVICE_ERROR)]
    assert (lane.state, lane.statuses[Status.DEVICE_ERROR]) == ("lost", 10)
    assert statistics.devices["uacce/hisi_zip-0"] == {"queues_opened": 2, "queues_lost": 1}


@pytest.mark.anyio
async def test_operations_move_to_the_next_backend(layer_named_uacce: StandIn) -> None:
    layer = layer_named_uacce
    async with wdasync.open_accelerator("uacce", safety_interval=0.01, inline=False) as acc:
        await acc.compress(b"warm", "gzip")
        layer.stuck = True
        results = await fly(acc, 10, layer.remove)
        result = await acc.execute(wdasync.Compress(b"later", "gzip"))
        statistics = acc.statistics()
    assert sorted(map(str, results)) == sorted(str(sample(5000, number)) for number in range(10))
    assert statistics.retries == 10
    assert (result.backend, result.reason) == ("cpu", wdasync.Reason.DEVICE_LOST)
    assert statistics.reasons["device_lost"] == 11
    assert statistics.rescues == 0


@pytest.mark.anyio
async def test_it_goes_away_again_and_again_under_load(layer_named_uacce: StandIn) -> None:
    """New accelerators find it back; what ran meanwhile was right, or ended as an error."""
    layer = layer_named_uacce
    for _ in range(5):
        layer.present = True
        async with wdasync.open_accelerator("uacce", safety_interval=0.01) as acc:
            result = await acc.execute(wdasync.Compress(b"there", "gzip"))
            assert result.backend == "uacce"

            async def work(number: int, acc: wdasync.Accelerator = acc) -> None:
                for turn in range(10):
                    data = sample(3000, number * 100 + turn)
                    assert gzip.decompress(await acc.compress(data, "gzip")) == data

            async with anyio.create_task_group() as group:
                for number in range(8):
                    group.start_soon(work, number)
                await anyio.lowlevel.checkpoint()
                layer.remove()


@pytest.mark.anyio
@pytest.mark.parametrize("fallback", [True, False])
async def test_it_comes_back_and_takes_work_again(layer_named_uacce: StandIn, fallback: bool) -> None:
    layer = layer_named_uacce
    async with wdasync.open_accelerator(
        "uacce", fallback=fallback, safety_interval=0.01, reopen_delay=0.01, reopen_limit=0.02, inline=False
    ) as acc:
        await acc.compress(b"warm", "gzip")
        for turn in range(3):
            layer.stuck = True
            results = await fly(acc, 10, layer.remove)
            layer.stuck = False
            kinds = {type(result) for result in results}
            assert kinds == {bytes if fallback else wdasync.DeviceError}
            layer.present = True
            while (place := acc.statistics().places[0]).returns <= turn:
                await anyio.sleep(0.001)
            assert (place.name, place.state, place.losses) == ("uacce/hisi_zip-0", "open", turn + 1)
            result = await acc.execute(wdasync.Compress(b"back", "gzip"))
            assert result.backend == "uacce"
        statistics = acc.statistics()
    assert statistics.rescues == 0
    assert statistics.devices["uacce/hisi_zip-0"] == {"queues_opened": 8, "queues_lost": 3}


@pytest.mark.anyio
async def test_a_storm_over_a_device_that_comes_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Operations of all kinds, cancelled at random, and a device that is removed again and again with work in its queues.

    The device works in the loop's own thread, so between a completion and its wake the safety timer cannot come: a rescue
    would be a wake that was lost, however busy the machine is.
    """
    files, count = descriptors(), 3000
    with named_uacce(StandIn(64, pumped=False), monkeypatch) as layer:
        async with wdasync.open_accelerator(
            "uacce", safety_interval=0.01, reopen_delay=0.002, reopen_limit=0.01, inline=False, depth=16
        ) as acc:
            storm = Storm(acc, count, seed=3, largest=4000)
            async with anyio.create_task_group() as engine:
                engine.start_soon(work_on, layer)
                async with anyio.create_task_group() as group:
                    group.start_soon(lightning, layer, acc, lambda: storm.ended.total() == count)
                    await storm.run()
                await settle(acc)
                engine.cancel_scope.cancel()
            statistics = acc.statistics()
    place = statistics.places[0]
    assert storm.ended.total() == count, "an operation was lost"
    assert storm.ended["cancelled"] > count * CANCELLED / 1000, "hardly any was cancelled"
    assert (place.losses, place.state) == (place.returns, "open")
    assert place.losses > 1
    assert all((lane.in_flight, lane.parked, lane.spurious) == (0, 0, 0) for lane in statistics.lanes)
    assert statistics.rescues == 0
    assert statistics.reasons["device_lost"] > 0
    assert descriptors() <= files


async def work_on(layer: StandIn) -> None:
    """The engine: a few entries of each queue now and then, so that the queues have to be woken."""
    while True:
        await anyio.sleep(0.0005)
        for file in layer.files:
            if file.state == "STARTED":
                file.work(3)


async def lightning(layer: StandIn, acc: wdasync.Accelerator, is_over: Callable[[], bool]) -> None:
    """Takes the device away while it has work, and gives it back when that was noticed; again and again."""
    for strike in itertools.count(1):
        done = sum(lane.completed for lane in acc.statistics().lanes)
        while sum(lane.completed for lane in acc.statistics().lanes) < done + 50 and not is_over():
            await anyio.sleep(0.001)
        layer.stuck = True
        while not any(file.pending for file in layer.files):
            if is_over():
                return
            await anyio.lowlevel.checkpoint()
        layer.remove()
        while acc.statistics().places[0].losses < strike:
            await anyio.sleep(0.001)
        layer.stuck = False
        layer.present = True
        while acc.statistics().places[0].returns < strike:
            await anyio.sleep(0.001)
