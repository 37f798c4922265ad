"""The whole way: an accelerator, its dispatch and three event loops over the drivers and a stand-in in a thread."""

import gzip
import random

import anyio
import pytest

import wdasync

from .stand_in import Provoker, StandIn
from .support import layer_named_uacce, sample

__all__ = ["layer_named_uacce"]

pytestmark = pytest.mark.anyio


@pytest.fixture
def layer(layer_named_uacce: StandIn) -> StandIn:
    return layer_named_uacce


async def test_many_requests_at_once(layer: StandIn) -> None:
    rng = random.Random(7)
    sizes = [rng.choice([0, 1, 100, 5000, 70_000, 270_000]) for _ in range(100)]

    async def there_and_back(size: int) -> None:
        data = sample(size, size)
        packed = await acc.compress(data, "gzip")
        assert gzip.decompress(packed) == data
        assert await acc.decompress(packed + packed, "gzip") == data + data

    async with wdasync.open_accelerator("uacce", fallback=False) as acc:
        async with anyio.create_task_group() as group:
            for size in sizes:
                group.start_soon(there_and_back, size)
        result = await acc.execute(wdasync.Compress(b"data", "zlib"))
        statistics = acc.statistics()
    assert (result.backend, result.device) == ("uacce", "hisi_zip-0")
    assert statistics.rescues == 0
    assert statistics.in_flight == 0


async def test_cancelled_requests_leave_nothing_behind(layer: StandIn) -> None:
    memory = [bytearray(200_000) for _ in range(40)]

    async def into(number: int) -> None:
        await acc.compress_into(sample(150_000, number), memory[number], "gzip")

    async with wdasync.open_accelerator("uacce", fallback=False) as acc:
        for patience in (0, 0.001, 0.01):
            with anyio.move_on_after(patience):
                async with anyio.create_task_group() as group:
                    for number in range(40):
                        group.start_soon(into, number)
            before = [bytes(output) for output in memory]
            await acc.compress(sample(1000), "gzip")
            assert [bytes(output) for output in memory] == before, "written to after its await had ended"
        assert acc.statistics().rescues == 0


async def test_a_bad_input_names_its_cause(layer: StandIn) -> None:
    async with wdasync.open_accelerator("uacce", fallback=False) as acc:
        good = gzip.compress(sample(5000))
        for bad, cause in [
            (good[:-9], wdasync.DataCause.TRUNCATED),
            (good[:-8] + bytes(8), wdasync.DataCause.CHECKSUM),
            (good + b"more", wdasync.DataCause.TRAILING_DATA),
            (b"nothing of the sort", wdasync.DataCause.WRONG_FORMAT),
        ]:
            with pytest.raises(wdasync.DataError) as caught:
                await acc.decompress(bad, "gzip")
            assert caught.value.cause is cause
        with pytest.raises(wdasync.LimitExceeded, match="max_length 4999"):
            await acc.decompress(good, "gzip", max_length=4999)


async def test_a_device_that_is_reset_ends_what_it_had(layer: StandIn) -> None:
    async with wdasync.open_accelerator("uacce", fallback=False) as acc:
        await acc.compress(b"warm", "gzip")
        layer.stuck = True
        errors: list[wdasync.WdasyncError] = []

        async def one() -> None:
            try:
                await acc.compress(sample(5000), "gzip")
            except wdasync.WdasyncError as error:
                errors.append(error)

        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(one)
            while acc.statistics().in_flight < 10:
                await anyio.lowlevel.checkpoint()
            Provoker(layer).lose(None)  # type: ignore[arg-type]  # the stand-in has one device
        layer.stuck = False
    assert len(errors) == 10
    assert all(isinstance(error, wdasync.DeviceError) for error in errors)
    assert any("in reset" in str(error) for error in errors)
