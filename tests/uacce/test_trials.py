"""The self-test of a device: each way in which it can fail shows as that, and the queue is given back."""

import errno

import pytest

from wdasync.backend import Check
from wdasync_uacce import NodeFlag, ZipDevice
from wdasync_uacce.trials import try_device

from .stand_in import Mishap, StandIn


def trials(layer: StandIn, patience: float = 5.0) -> dict[str, Check]:
    found = {check.name: check for check in try_device(ZipDevice(layer, layer.node()), patience)}
    assert {file.state for file in layer.files} <= {"CLOSED"}
    assert not layer.space.grants
    return found


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("sva", [True, False])
def test_a_device_that_works(version: int, sva: bool) -> None:
    found = trials(StandIn(version=version, sva=sva))
    algorithms = ["zlib", "gzip", "deflate"][: version + 0]
    assert list(found) == [
        f"hisi_zip-0 {way} {algorithm}" for way in ("compress", "decompress") for algorithm in algorithms
    ]
    assert all(check.passed and "as expected" in check.found and not check.advice for check in found.values())


def test_a_device_that_does_not_answer() -> None:
    layer = StandIn()
    layer.stuck = True
    found = trials(layer, patience=0.01)
    assert {check.found for check in found.values()} == {"no answer within 0.01 s"}
    assert all("WDASYNC_BACKEND=cpu" in check.advice for check in found.values())


@pytest.mark.parametrize(
    ("mishap", "told"),
    [
        (Mishap(status=1), "DATA_ERROR: invalid deflate data"),
        (Mishap(produced=20), "the answer is wrong"),
        (Mishap(tag=5), "DEVICE_ERROR: the device returned another tag"),
    ],
)
def test_a_device_that_fails_once(mishap: Mishap, told: str) -> None:
    layer = StandIn()
    layer.script.append(mishap)
    first, *others = trials(layer).values()
    assert not first.passed
    assert first.found.startswith(told)
    assert all(check.passed for check in others)


def test_a_device_that_gives_no_queue() -> None:
    layer = StandIn()
    layer.errors["start"] = errno.EIO
    found = trials(layer)
    assert list(found) == ["hisi_zip-0 compress", "hisi_zip-0 decompress"]
    assert all("the queue manager did not answer" in check.found for check in found.values())


def test_a_queue_that_is_full_of_others() -> None:
    layer = StandIn(auto=True)
    device = ZipDevice(layer, layer.node())
    opened = device.open_queue

    def busy_at_first(*args: object, **keywords: object) -> object:
        queue = opened(*args, **keywords)  # type: ignore[arg-type]
        submit, turns = queue.enqueue_burst, iter(range(2))
        queue.enqueue_burst = lambda entries: 0 if next(turns, None) is not None else submit(entries)  # type: ignore[method-assign]
        return queue

    device.open_queue = busy_at_first  # type: ignore[method-assign, assignment]
    assert all(check.passed for check in try_device(device))


def test_an_engine_for_something_else() -> None:
    layer = StandIn()
    layer.attributes |= {"algorithms": ("lz77_zstd",), "flags": NodeFlag.SVA}
    assert trials(layer) == {}
