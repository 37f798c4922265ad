"""Our package on the kernel's uacce, with nothing in it replaced: what it does when something is wrong."""

import errno
import gzip
import json
import mmap
import os
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

import wdasync
from tests.guest.inside.device import Zip, rmmod
from tests.guest.inside.support import ALONE, TEXT, comes_back, doctor, part, restore, well
from wdasync_uacce import LinuxFiles, RegionKind, backend
from wdasync_uacce.errnos import AccessDenied, MappedTwice

pytestmark = pytest.mark.usefixtures("one_device")

BOARD = Path("/sys/module/wdasync_board/parameters")


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
    async with wdasync.open_accelerator("uacce", **ALONE) as acc:
        device["drop"] = 1
        with pytest.raises(wdasync.OperationTimeout):
            await acc.compress(TEXT, "gzip", timeout=0.3)
        assert gzip.decompress(await acc.compress(TEXT, "gzip")) == TEXT


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
    device["status_code"] = 0x55
    async with wdasync.open_accelerator("uacce", **ALONE) as acc:
        device["status"] = 1
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


# ---- doctor, before and after


def refuse(number: int) -> None:
    (BOARD / "refuse_bind").write_text(str(number))


#: What is wrong -> how it comes, how it goes, and what doctor says of it.
WRONG: dict[str, tuple[Callable[[Zip], object], Callable[[Zip], object], str]] = {
    "removed": (lambda device: device.unbind(), restore, "none on the PCI bus"),
    "no module": (lambda device: rmmod("wdasync_zip"), restore, "none on the PCI bus"),
    "isolated": (lambda device: device.__setitem__("isolate", 1), restore, "out of use"),
    "taken": (lambda device: device.__setitem__("limit", 0), restore, "close other users"),
    "refused": (lambda device: refuse(errno.ENODEV), lambda device: refuse(0), "CONFIG_IOMMU_SVA"),
}


@pytest.mark.parametrize("what", WRONG)
def test_doctor(device: Zip, what: str) -> None:
    come, go, words = WRONG[what]
    well()
    come(device)
    try:
        status, checks = doctor()
        failed = [check for check in checks.values() if check["passed"] is False]
        assert status == 1
        assert failed
        assert all(check["advice"] for check in failed)
        assert words in json.dumps(failed)
    finally:
        go(device)
    well()


def test_doctor_of_a_device_that_fails(device: Zip) -> None:
    device["status_code"] = 0x55
    device["status"] = 1
    status, checks = doctor()
    assert status == 1
    assert "0x55" in json.dumps(checks)
    well()
