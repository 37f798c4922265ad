"""Our package on the kernel's uacce, with nothing in it replaced: what it does when something is wrong."""

import errno
import gzip
import mmap
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

import wdasync
from tests.guest.inside.device import Zip, insmod, rmmod, wait_for
from tests.guest.inside.support import ALONE, TEXT, comes_back, doctor, part, restore, well
from wdasync_uacce import LinuxFiles, RegionKind, backend
from wdasync_uacce.errnos import AccessDenied, MappedTwice

BOARD = Path("/sys/module/wdasync_board/parameters")


# ---- doctor, before and after each fault


@pytest.fixture(scope="module", autouse=True)
def doctor_is_content(one_device: None) -> None:
    """Before the first fault. After one is before the next."""
    well()


@pytest.fixture(autouse=True)
def doctor_is_content_again(request: pytest.FixtureRequest, device: Zip) -> Iterator[None]:
    """After each, on one of the event loops."""
    yield
    restore(device)
    if (
        "anyio_backend" not in request.fixturenames
        or request.node.callspec.params["anyio_backend"] == "asyncio"
    ):
        well()


# ---- Under load


async def fly(acc: wdasync.Accelerator, count: int, meanwhile: Callable[[], None]) -> list[bytes | Exception]:
    """Operations in flight while something happens, and what came of each."""
    results: list[bytes | Exception] = []

    async def one(number: int) -> None:
        try:
            results.append(gzip.decompress(await acc.compress(part(number), "gzip")))
        except wdasync.WdasyncError as error:
            results.append(error)

    async with anyio.create_task_group() as group:
        for number in range(count):
            group.start_soon(one, number)
        while acc.statistics().in_flight < count:
            await anyio.lowlevel.checkpoint()
        meanwhile()
    return results


FAULTS: dict[str, Callable[[Zip], None]] = {
    "removed": lambda device: device.unbind(),
    "module removed": lambda device: rmmod("wdasync_zip"),
    "reset": lambda device: device.__setitem__("reset", 200),
    "isolated": lambda device: device.__setitem__("isolate", 1),
}


@pytest.mark.anyio
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_device_that_fails_under_load(device: Zip, fault: str) -> None:
    """Operations end with an error, and the process goes on."""
    async with wdasync.open_accelerator("uacce", safety_interval=0.05, reopen_delay=0.05, **ALONE) as acc:
        await acc.compress(b"warm " * 50, "gzip")
        device["delay_us"] = 2_000_000
        results = await fly(acc, 10, lambda: FAULTS[fault](device))
        assert [type(result) for result in results] == [wdasync.DeviceError] * 10, results
        assert acc.statistics().rescues == 0
        restore(device)
        await comes_back(acc)


@pytest.mark.anyio
@pytest.mark.parametrize("fault", FAULTS)
async def test_work_moves_to_the_next_backend(device: Zip, fault: str) -> None:
    async with wdasync.open_accelerator(
        "uacce", safety_interval=0.05, reopen_delay=0.05, inline=False
    ) as acc:
        await acc.compress(b"warm " * 50, "gzip")
        device["delay_us"] = 2_000_000
        results = await fly(acc, 10, lambda: FAULTS[fault](device))
        assert sorted(map(str, results)) == sorted(str(part(number)) for number in range(10))
        assert acc.statistics().retries == 10
        restore(device)
        await comes_back(acc)


@pytest.mark.anyio
async def test_a_completion_that_never_comes(device: Zip) -> None:
    """Who waits no longer goes on; at the deadline another queue takes the place of the one that has it."""
    async with wdasync.open_accelerator("uacce", safety_interval=0.05, deadline=0.5, **ALONE) as acc:
        device["drop"] = 1
        with pytest.raises(wdasync.OperationTimeout):
            await acc.compress(b"nobody waits " * 50, "gzip", timeout=0.1)
        while not acc.statistics().lanes[0].resets:
            await anyio.sleep(0.01)
        device["drop"] = 1
        with pytest.raises(wdasync.DeviceError, match=r"no completion within the deadline of 0\.5 s"):
            await acc.compress(b"somebody waits " * 50, "gzip")
        while acc.statistics().lanes[0].state != "open":
            await anyio.sleep(0.01)
        assert gzip.decompress(await acc.compress(TEXT, "gzip")) == TEXT
        statistics = acc.statistics()
    assert statistics.lanes[0].resets == 2
    assert statistics.rescues == 0


@pytest.mark.anyio
async def test_wakes_that_are_lost_are_counted(device: Zip) -> None:
    """Here the count is to be seen working: everywhere else it has to be 0."""
    async with wdasync.open_accelerator("uacce", safety_interval=0.05, reopen_delay=0.05, **ALONE) as acc:
        await acc.compress(b"warm " * 50, "gzip")
        device["delay_us"] = 50_000
        device["lose_wake"] = 1
        assert gzip.decompress(await acc.compress(TEXT, "gzip")) == TEXT
        assert acc.statistics().rescues == 1
        device["wake"] = 1
        assert gzip.decompress(await acc.compress(TEXT, "gzip")) == TEXT
        assert acc.statistics().rescues == 1


@pytest.mark.anyio
async def test_a_status_that_nobody_knows(device: Zip) -> None:
    async with wdasync.open_accelerator("uacce", **ALONE) as acc:
        device.fail(0x55, 1)
        with pytest.raises(wdasync.DeviceError, match="0x55"):
            await acc.compress(TEXT, "gzip")
        assert gzip.decompress(await acc.compress(TEXT, "gzip")) == TEXT


@pytest.mark.anyio
async def test_a_file_that_shrinks_while_it_is_mapped(device: Zip, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(TEXT)
    async with wdasync.open_accelerator("uacce", **ALONE) as acc:
        with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 0) as memory:
            assert gzip.decompress(await acc.compress(memory, "gzip")) == TEXT
            os.truncate(file, 0)
            with pytest.raises(wdasync.PageFaultError):
                await acc.compress(memory, "gzip")
        assert gzip.decompress(await acc.compress(TEXT, "gzip")) == TEXT
    assert device["memory_errors"] >= 1


@pytest.mark.anyio
async def test_queues_are_used_up(device: Zip) -> None:
    device["limit"] = 0
    with pytest.raises(wdasync.BackendUnavailable, match="EBUSY"):
        async with wdasync.open_accelerator("uacce", **ALONE):
            pass


# ---- Refusals


@pytest.mark.parametrize("number", [errno.ENODEV, errno.EOPNOTSUPP])
def test_shared_addresses_are_refused(device: Zip, number: int) -> None:
    (BOARD / "refuse_bind").write_text(str(number))
    try:
        with pytest.raises(wdasync.BackendUnavailable, match="CONFIG_IOMMU_SVA"):
            backend.open(backend.devices()[0], None)
    finally:
        (BOARD / "refuse_bind").write_text("0")


def test_a_region_is_mapped_once(device: Zip) -> None:
    file = LinuxFiles().open(device.name)
    file.map(RegionKind.DUS)
    with pytest.raises(MappedTwice):
        file.map(RegionKind.DUS)
    file.close()


def test_a_user_who_may_not_open_the_node(device: Zip) -> None:
    os.seteuid(65534)
    try:
        with pytest.raises(AccessDenied, match="udev"):
            LinuxFiles().open(device.name)
        with pytest.raises(wdasync.BackendUnavailable, match="EACCES"):
            backend.open(backend.devices()[0], None)
    finally:
        os.seteuid(0)


# ---- doctor, during a fault


def refuse(number: int) -> None:
    (BOARD / "refuse_bind").write_text(str(number))


def load_anew(*parameters: str) -> None:
    rmmod("wdasync_zip")
    insmod("wdasync_zip", "devices=1", *parameters)


def lose_wakes(device: Zip) -> None:
    """Of entries that take long enough for somebody to wait for them."""
    device["delay_us"] = 20_000
    device["lose_wake"] = 1 << 30


def end_reset(device: Zip) -> None:
    device["reset"] = 0
    wait_for(device.opens)


#: What is wrong -> how it comes, how it goes, which check of doctor's fails, and what it says.
WRONG: dict[str, tuple[Callable[[Zip], object], Callable[[Zip], object], str, str]] = {
    "removed": (lambda device: device.unbind(), restore, "accelerators", "none on the PCI bus"),
    "no module": (lambda device: rmmod("wdasync_zip"), restore, "accelerators", "none on the PCI bus"),
    "isolated": (
        lambda device: device.__setitem__("isolate", 1),
        restore,
        "hisi_zip-0 isolation",
        "out of use",
    ),
    "in reset": (
        lambda device: device.__setitem__("reset", 600_000),
        end_reset,
        "hisi_zip-0 open",
        "EPERM: .* the device is stopping",
    ),
    "taken": (lambda device: device.__setitem__("limit", 0), restore, "hisi_zip-0 open", "EBUSY"),
    "refused": (
        lambda device: refuse(errno.ENODEV),
        lambda device: refuse(0),
        "hisi_zip-0 open",
        "ENODEV: shared addresses are refused",
    ),
    # uacce of this kernel knows two regions: none can be reserved.
    "no shared addresses": (
        lambda device: load_anew("sva=0"),
        lambda device: load_anew(),
        "hisi_zip-0 compress",
        "EINVAL: .* reserves no memory .*CONFIG_IOMMU_SVA",
    ),
    "a completion is lost": (
        lambda device: device.__setitem__("drop", 1),
        restore,
        "hisi_zip-0 compress zlib",
        "no answer within 2 s",
    ),
    "wakes are lost": (
        lose_wakes,
        restore,
        "wake-ups",
        "only the safety timer found them",
    ),
    "a status that nobody knows": (
        lambda device: device.fail(0x55, 1),
        restore,
        "hisi_zip-0 compress zlib",
        "0x55",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_doctor(device: Zip, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WDASYNC_SAFETY_INTERVAL", "0.05")
    come, go, name, words = WRONG[what]
    come(device)
    try:
        status, checks = doctor()
    finally:
        go(device)
    failed = [check for check in checks.values() if check["passed"] is False]
    assert status == 1
    assert all(check["advice"] for check in failed)
    assert checks[name] in failed
    assert re.search(words, checks[name]["found"])
