"""An opened node: every call in every state, every error number, regions, fork, and a device that goes away."""

import errno
import faulthandler
import fcntl
import gc
import itertools
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from wdasync.errors import BackendUnavailable
from wdasync_uacce import QueueInfo, RegionKind, UacceBackend, mapping
from wdasync_uacce.errnos import (
    ROWS,
    AccessDenied,
    Call,
    CallRefused,
    DeviceFailed,
    DeviceGone,
    DeviceIsolated,
    ForeignQueue,
    MappedTwice,
    NoSuchNode,
    OutOfFiles,
    OutOfMemory,
    QueuesTaken,
    Row,
    SharingRefused,
    UacceError,
    name_of,
    row_of,
)
from wdasync_uacce.queue_file import LinuxQueueFile
from wdasync_uacce.states import CALLS, TRANSITIONS, QueueState
from wdasync_uacce.system import Linux

from .kernel import INFO, PUT, SET_TYPE, SLICE, START, Kernel

VECTORS = json.loads((Path(__file__).parent / "vectors.json").read_text())


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    kernel = Kernel(tmp_path)
    kernel.add()
    return kernel


@pytest.fixture
def file(kernel: Kernel) -> LinuxQueueFile:
    return kernel.files().open("hisi_zip-0")


# -- calls ----------------------------------------------------------------------------------------------------------


def test_the_way_of_a_queue(kernel: Kernel, file: LinuxQueueFile) -> None:
    dus, mmio = file.map(RegionKind.DUS), file.map(RegionKind.MMIO)
    assert (dus.size, mmio.size, file.set_queue_type(1)) == (151552, 8192, 21)
    assert file.queue_info() == QueueInfo(128, 1024, 1024)
    file.start()
    mmio.store64(0x1000, 7)
    assert mmio.load64(0x1000) == 7
    assert file.state is QueueState.STARTED
    file.put()
    file.unmap(dus)
    file.unmap(mmio)
    file.close()
    file.close()
    assert kernel.calls == ["open", "map", "map", hex(SET_TYPE), hex(INFO), hex(START), hex(PUT), "unmap", "unmap", "close"]  # fmt: skip
    assert not kernel.queues
    assert not kernel.mapped


def test_closing_gives_back_what_is_mapped(kernel: Kernel, file: LinuxQueueFile) -> None:
    region = file.map(RegionKind.DUS)
    file.close()
    assert not kernel.mapped
    with pytest.raises(ValueError, match="not mapped any more"):
        region.load32(0)


CALLERS: dict[Call, Callable[[LinuxQueueFile], object]] = {
    Call.SET_TYPE: lambda file: file.set_queue_type(0),
    Call.QUEUE_INFO: LinuxQueueFile.queue_info,
    Call.MAP: lambda file: file.map(RegionKind.DUS),
    Call.START: LinuxQueueFile.start,
    Call.PUT: LinuxQueueFile.put,
}


def bring(kernel: Kernel, file: LinuxQueueFile, state: QueueState) -> None:
    if state is QueueState.STARTED:
        file.start()
    elif state is QueueState.ZOMBIE:
        kernel.remove()
        with pytest.raises(DeviceGone):
            file.put()
    elif state is QueueState.CLOSED:
        file.close()
    elif state is QueueState.FOREIGN:
        file.disown()
    assert file.state is state


@pytest.mark.parametrize(("call", "state"), list(itertools.product(CALLERS, QueueState)), ids=str)
def test_each_call_in_each_state(kernel: Kernel, file: LinuxQueueFile, call: Call, state: QueueState) -> None:
    bring(kernel, file, state)
    if state in CALLS[call]:
        CALLERS[call](file)
        return
    before = len(kernel.calls)
    with pytest.raises(UacceError) as caught:
        CALLERS[call](file)
    expected = {
        QueueState.STARTED: (errno.EINVAL, CallRefused),
        QueueState.ZOMBIE: (errno.ENXIO, DeviceGone),
        QueueState.CLOSED: (errno.EBADF, UacceError),
        QueueState.FOREIGN: (errno.ENXIO, ForeignQueue),
    }
    assert (caught.value.errno, type(caught.value)) == expected[state]
    assert call.value in str(caught.value)
    assert len(kernel.calls) == before, "the kernel was asked"


def test_what_may_follow_what() -> None:
    assert set(TRANSITIONS) == set(QueueState)
    assert all(after <= set(QueueState) for after in TRANSITIONS.values())


def test_a_state_that_cannot_follow(file: LinuxQueueFile) -> None:
    file.close()
    with pytest.raises(RuntimeError, match="expected another state to follow, got started"):
        file._to(QueueState.STARTED)


#: Nobody but the event loop polls; no such call of the file layer.
ABSENT = {"poll", "mremap of a region"}


@pytest.mark.parametrize(
    "row", [row for row in VECTORS["uacce_states"] if row["action"] not in ABSENT], ids=lambda row: row["id"]
)
def test_the_table_of_states_of_an_older_kernel(
    kernel: Kernel, file: LinuxQueueFile, row: dict[str, str]
) -> None:
    """The same rows hold the emulated chip's part of the kernel."""
    kernel.final_put = True
    if row["state"] == "STARTED":
        file.start()
    elif row["state"] == "ZOMBIE":
        file.put()
    actions: dict[str, Callable[[], object]] = {
        "START_Q": file.start,
        "PUT_Q": file.put,
        "mmap": lambda: file.map(RegionKind.DUS),
        "mmap region 0 (MMIO)": lambda: file.map(RegionKind.MMIO),
        "mmap region 0": lambda: file.map(RegionKind.MMIO),
        "mmap region 7": lambda: file.map(7),  # type: ignore[arg-type]  # no region
    }
    action = actions.get(row["action"].removesuffix(" again"), kernel.remove)
    if row["action"].endswith("again"):
        action()
    if row["result"].startswith("mappings withdrawn"):
        region = file.map(RegionKind.DUS)
        action()
        with pytest.raises(DeviceGone):
            region.load32(0)
    elif row["result"].startswith("E"):
        with pytest.raises(UacceError) as caught:
            action()
        assert name_of(caught.value.errno or 0) == row["result"]
    else:
        action()
    if row["next"] == "ZOMBIE":
        with pytest.raises(DeviceGone):
            file.start()
    assert file.state.name == row["next"]


def test_put_and_start_again_on_a_newer_kernel(file: LinuxQueueFile) -> None:
    file.start()
    file.put()
    file.start()
    assert file.state is QueueState.STARTED


def test_put_is_the_end_on_an_older_kernel(kernel: Kernel, file: LinuxQueueFile) -> None:
    kernel.final_put = True
    file.start()
    file.put()
    with pytest.raises(DeviceGone, match="final"):
        file.start()
    assert file.state is QueueState.ZOMBIE
    file.close()


# -- every number ---------------------------------------------------------------------------------------------------


def live(kernel: Kernel) -> None:
    """A whole life, so that any call may fail."""
    file = kernel.files().open("hisi_zip-0")
    file.map(RegionKind.DUS)
    file.set_queue_type(0)
    file.queue_info()
    file.start()
    file.put()


@pytest.mark.parametrize(
    ("call", "number", "error"),
    [
        ("open", errno.EBUSY, QueuesTaken),
        ("open", errno.EAGAIN, QueuesTaken),
        ("open", errno.EACCES, AccessDenied),
        ("open", errno.EPERM, AccessDenied),
        ("open", errno.ENOENT, NoSuchNode),
        ("open", errno.ENODEV, SharingRefused),
        ("open", errno.EOPNOTSUPP, SharingRefused),
        ("open", errno.ENOSPC, SharingRefused),
        ("open", errno.EOVERFLOW, SharingRefused),
        ("open", errno.EINVAL, DeviceGone),
        ("open", errno.ENXIO, DeviceGone),
        ("open", errno.EMFILE, OutOfFiles),
        ("open", errno.ENFILE, OutOfFiles),
        ("open", errno.ENOMEM, OutOfMemory),
        ("open", errno.EDOM, UacceError),
        ("map", errno.EEXIST, MappedTwice),
        ("map", errno.EINVAL, CallRefused),
        ("map", errno.EACCES, AccessDenied),
        ("map", errno.ENXIO, DeviceGone),
        ("map", errno.EPERM, AccessDenied),
        (hex(SET_TYPE), errno.EPERM, AccessDenied),
        ("map", errno.ENOMEM, OutOfMemory),
        (hex(SET_TYPE), errno.EINVAL, CallRefused),
        (hex(SET_TYPE), errno.ENXIO, DeviceGone),
        (hex(INFO), errno.EINVAL, CallRefused),
        (hex(INFO), errno.ENOTTY, CallRefused),
        (hex(START), errno.EINVAL, CallRefused),
        (hex(START), errno.EIO, DeviceFailed),
        (hex(START), errno.ETIMEDOUT, DeviceFailed),
        (hex(START), errno.ENOMEM, OutOfMemory),
        (hex(START), errno.ENXIO, DeviceGone),
        (hex(PUT), errno.ENXIO, DeviceGone),
    ],
    ids=str,
)
def test_every_number_has_its_error(kernel: Kernel, call: str, number: int, error: type[UacceError]) -> None:
    kernel.errors[call] = number
    with pytest.raises(UacceError) as caught:
        live(kernel)
    assert type(caught.value) is error
    assert caught.value.errno == number
    assert caught.value.__cause__ is None
    assert str(caught.value).startswith(f"[Errno {number}] hisi_zip-0: ")
    assert caught.value.cause
    assert caught.value.advice


#: What the kernel is asked for each call, as its stand-in names it.
ASKED = {
    Call.OPEN: "open",
    Call.SET_TYPE: hex(SET_TYPE),
    Call.QUEUE_INFO: hex(INFO),
    Call.MAP: "map",
    Call.RESERVE: "map",
    Call.SLICE: hex(SLICE),
    Call.START: hex(START),
    Call.PUT: hex(PUT),
}


@pytest.mark.parametrize(
    ("call", "row"), [(call, row) for row in ROWS for call in row.calls], ids=lambda each: str(each)[:40]
)
def test_every_row_of_the_table(reserved: Kernel, call: Call, row: Row) -> None:
    """Whatever the table says of a call, that call gives."""
    if call in (Call.RESERVE, Call.SLICE):
        file = reserved.files().open("hisi_zip-0")
        file.start()
        reserved.errors[ASKED[call]] = row.number
        with pytest.raises(UacceError) as caught:
            _ = file.space
    else:
        reserved.errors[ASKED[call]] = row.number
        with pytest.raises(UacceError) as caught:
            live(reserved)
    told = caught.value
    assert (type(told), told.errno, told.call, told.cause, told.advice) == (
        row.error, row.number, call, row.cause, row.advice,
    )  # fmt: skip


def test_those_who_know_only_python_s_errors_understand_some(kernel: Kernel) -> None:
    kernel.errors["open"] = errno.EACCES
    with pytest.raises(PermissionError):
        kernel.files().open("hisi_zip-0")
    with pytest.raises(
        FileNotFoundError, match=r"hisi_zip-9: open: there is no .*class/uacce/hisi_zip-9 any more"
    ):
        kernel.files().open("hisi_zip-9")


def test_sharing_refused_names_what_to_check(kernel: Kernel) -> None:
    kernel.errors["open"] = errno.ENODEV
    with pytest.raises(
        SharingRefused, match=r"SMMU .* CONFIG_IOMMU_SVA .* CONFIG_ARM_SMMU_V3_SVA.* uacce_mode=1"
    ):
        kernel.files().open("hisi_zip-0")


def test_rows_are_told_apart() -> None:
    keys = [(row.number, call) for row in ROWS for call in row.calls]
    assert len(keys) == len(set(keys))
    assert row_of(errno.EINVAL, Call.START) is not row_of(errno.EINVAL, Call.MAP)
    assert name_of(errno.EBUSY) == "EBUSY"
    assert name_of(5000).startswith("errno 5000")


def test_queues_are_used_up(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, limit=2)
    kernel.add()
    files = [kernel.files().open("hisi_zip-0") for _ in range(2)]
    with pytest.raises(QueuesTaken, match=r"all its hardware queues are taken; .*available_instances"):
        kernel.files().open("hisi_zip-0")
    files[0].close()
    kernel.files().open("hisi_zip-0").close()


def test_an_isolated_device_is_not_opened(kernel: Kernel) -> None:
    kernel.add(isolate="1")
    with pytest.raises(DeviceIsolated, match=r"hisi_zip-0: open: the kernel has isolated it.*isolate is 0"):
        kernel.files().open("hisi_zip-0")
    assert kernel.calls == []


# -- regions ----------------------------------------------------------------------------------------------------------


def test_a_region_is_mapped_once(file: LinuxQueueFile) -> None:
    region = file.map(RegionKind.DUS)
    with pytest.raises(MappedTwice):
        file.map(RegionKind.DUS)
    file.unmap(region)
    with pytest.raises(ValueError, match="expected a mapped region"):
        file.unmap(region)


def test_the_reserved_region_is_none_with_shared_addresses(file: LinuxQueueFile) -> None:
    with pytest.raises(CallRefused, match=r"map the reserved region: .* reserves no memory"):
        file.map(RegionKind.STATIC_SHARE)


def test_a_device_that_goes_away_while_it_is_mapped(kernel: Kernel, file: LinuxQueueFile) -> None:
    dus, mmio = file.map(RegionKind.DUS), file.map(RegionKind.MMIO)
    dus.store64(64, 2**64 - 1)
    assert dus.load64(64) == 2**64 - 1, "all ones may also be what is there"
    assert not dus.gone
    kernel.remove()
    touches: list[Callable[[], object]] = [
        lambda: dus.load32(0), lambda: dus.load64(8), lambda: dus.store32(0, 1), lambda: dus.store64(8, 1),
        lambda: dus.read(0, 100), lambda: dus.write(0, b"abc"), lambda: mmio.store64(0x1000, 1),
    ]  # fmt: skip
    for touch in touches:
        with pytest.raises(DeviceGone, match="touch a region: the device was removed") as caught:
            touch()
        assert caught.value.errno == errno.ENXIO
    assert dus.gone
    assert mmio.gone
    file.close()
    with pytest.raises(ValueError, match="not mapped any more"):
        dus.load32(0)


def test_a_page_of_a_region_goes_away(kernel: Kernel, file: LinuxQueueFile) -> None:
    region = file.map(RegionKind.DUS)
    (memory,) = kernel.queues[file.fileno()].regions.values()
    os.ftruncate(memory, 8192)
    assert region.read(0, 8192) == bytes(8192)
    with pytest.raises(DeviceGone):
        region.read(4096, 4097)
    with pytest.raises(DeviceGone):
        region.load32(0)  # gone is gone


# -- without shared addresses -----------------------------------------------------------------------------------------


@pytest.fixture
def reserved(tmp_path: Path) -> Kernel:
    kernel = Kernel(tmp_path)
    kernel.add(flags="128")
    kernel.reserved = 256 << 10
    return kernel


def test_the_reserved_region_is_mapped_when_it_is_asked_for(reserved: Kernel) -> None:
    file = reserved.files().open("hisi_zip-0")
    with pytest.raises(CallRefused, match=r"map the reserved region: .* reserves no memory"):
        _ = file.space  # not before start
    file.start()
    space = file.space
    assert file.space is space
    assert not space.direct
    first, second = space.allocate(100 << 10), space.allocate(100 << 10)
    assert first is not None
    assert second is not None
    assert (space.grant(first, True), space.grant(second, True)) == (1 << 40, 1 << 41)
    file.close()
    assert reserved.calls[-2:] == ["vacate", "close"]
    first[:3] = b"abc"
    assert bytes(first[:4]) == b"abc\0", "its address is nobody else's as long as there is a view"
    del first, second, space, file
    gc.collect()
    assert not reserved.mapped


def test_a_kernel_without_reserved_regions(tmp_path: Path) -> None:
    """As Linux itself is: its uacce has two regions. Nothing can be given to a device that shares no addresses then."""
    kernel = Kernel(tmp_path)
    kernel.add(flags="0")
    layer = kernel.files()
    backend = UacceBackend(layer)
    device = backend.open(backend.devices()[0], backend.Options())
    with pytest.raises(
        BackendUnavailable, match=r"EINVAL: this kernel's driver reserves no memory .*CONFIG_IOMMU_SVA"
    ):
        device.open_queue(16)
    assert not kernel.queues
    assert not kernel.mapped


def test_a_kernel_that_tells_no_slices(reserved: Kernel) -> None:
    file = reserved.files().open("hisi_zip-0")
    file.start()
    reserved.slices.clear()
    with pytest.raises(CallRefused, match="get a slice of the reserved region"):
        _ = file.space
    file.close()


def test_the_reserved_region_goes_away_and_nobody_dies(reserved: Kernel) -> None:
    """Python touches its views itself, so that there is no call that could fail."""
    file = reserved.files().open("hisi_zip-0")
    file.start()
    memory = file.space.allocate(1000)
    assert memory is not None
    memory[:] = b"x" * 1000
    reserved.remove()
    assert bytes(memory) == bytes(1000)
    memory[:] = b"y" * 1000
    assert bytes(memory) == b"y" * 1000
    file.close()


def test_a_reserved_region_is_not_a_child_s(reserved: Kernel) -> None:
    file = reserved.files().open("hisi_zip-0")
    file.start()
    _ = file.space

    def child() -> None:
        file.close()
        with pytest.raises(ForeignQueue):
            file.start()

    assert in_a_child(child) == 0
    assert not reserved.calls.count("vacate")
    file.close()


def test_too_many_reserved_regions(reserved: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        mapping, "lib", SimpleNamespace(wdu_guard_keep=lambda _: errno.ENOSPC, wdu_guard_drop=id)
    )
    file = reserved.files().open("hisi_zip-0")
    file.start()
    with pytest.raises(UacceError) as caught:
        _ = file.space
    assert caught.value.errno == errno.ENOSPC
    del caught  # its frames refer to the region
    file.close()
    gc.collect()
    assert not reserved.mapped


# -- fork, exec ---------------------------------------------------------------------------------------------------------


def in_a_child(function: Callable[[], object]) -> int:
    """Run it in a forked child; 0 if it returns, the number of the signal that ended it, or 99 if it raised."""
    child = os.fork()
    if not child:
        try:
            function()
            os._exit(0)
        except BaseException as error:  # noqa: BLE001  nothing may leave the child
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
            os._exit(99)
    _, status = os.waitpid(child, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def test_a_child_is_told_that_the_queue_is_its_parent_s(kernel: Kernel, file: LinuxQueueFile) -> None:
    dus, mmio = file.map(RegionKind.DUS), file.map(RegionKind.MMIO)
    descriptor = file.fileno()

    def child() -> None:
        for touch in (lambda: dus.load32(0), lambda: mmio.store64(0, 1), lambda: dus.read(0, 8), file.start):
            with pytest.raises(ForeignQueue, match="before a fork"):
                touch()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)
        file.unmap(dus)
        file.close()
        kernel.files().open("hisi_zip-0").close()

    assert in_a_child(child) == 0
    dus.store32(0, 5)
    file.start()
    assert dus.load32(0) == 5
    file.close()


def test_a_mapping_does_not_come_along_in_a_fork(file: LinuxQueueFile) -> None:
    region = file.map(RegionKind.DUS)
    view = region.view
    assert view is not None

    def child() -> None:
        faulthandler.disable()
        _ = view[0]

    assert in_a_child(child) == signal.SIGSEGV


def test_no_program_that_is_started_gets_the_descriptor(tmp_path: Path) -> None:
    node = tmp_path / "node"
    node.touch()
    descriptor = Linux().open(node)
    try:
        assert fcntl.fcntl(descriptor, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
        assert fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR
    finally:
        Linux().close(descriptor)


def test_the_real_calls_pass_on_the_kernel_s_numbers(tmp_path: Path) -> None:
    linux = Linux()
    with pytest.raises(FileNotFoundError):
        linux.open(tmp_path / "none")
    descriptor = os.memfd_create("none")
    for call, number in [
        (lambda: linux.ioctl(descriptor, START), errno.ENOTTY),
        (lambda: linux.ioctl(descriptor, SET_TYPE, bytearray(4)), errno.ENOTTY),
        (lambda: linux.map(descriptor, 0, 0), errno.EINVAL),
        (lambda: linux.map(descriptor, 4096, 1), errno.EINVAL),
        (lambda: linux.map(-1, 4096, 0), errno.EBADF),
        (lambda: linux.unmap(1, 4096), errno.EINVAL),
    ]:
        with pytest.raises(OSError, match=r"\[Errno") as caught:
            call()
        assert caught.value.errno == number
    os.close(descriptor)


# -- the descriptor -----------------------------------------------------------------------------------------------------


def test_the_file_polls_nothing_and_reads_nothing(
    kernel: Kernel, file: LinuxQueueFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each poll takes the readiness away: nobody but the event loop's one registration may do it."""
    for module, name in [(select, "poll"), (select, "select"), (select, "epoll"), (os, "read")]:
        monkeypatch.setattr(module, name, lambda *_: pytest.fail("it polls"))
    file.start()
    file.acknowledge()
    file.pump()
    file.give_up(3)
    assert (file.faults(3), file.refusal(3)) == (0, None)
    file.put()
    file.close()


def test_but_for_once_when_the_kernel_has_to_catch_up(kernel: Kernel, file: LinuxQueueFile) -> None:
    file.catch_up()
    assert kernel.calls[-1] == "poll"


def test_a_poll_takes_nothing_from_a_file_that_does_not_mind() -> None:
    descriptor = os.eventfd(1)
    Linux().poll(descriptor)
    assert os.eventfd_read(descriptor) == 1
    os.close(descriptor)


# -- signals --------------------------------------------------------------------------------------------------------------


PROGRAM = """
import faulthandler, mmap, os, sys
from wdasync_uacce import MemoryRegion, RegionKind
from wdasync_uacce.errnos import DeviceGone
from wdasync_uacce.memory import address_of

def region():
    memory = os.memfd_create("region")
    os.ftruncate(memory, 4096)
    mapped = mmap.mmap(memory, 4096)
    return MemoryRegion(RegionKind.DUS, address_of(mapped), 4096, mapped), memory, mapped

if "before" in sys.argv:
    faulthandler.enable()
first, memory, mapped = region()
if "after" in sys.argv:
    faulthandler.enable()
for _ in range(3):
    second, memory, mapped = region()
    os.ftruncate(memory, 0)
    try:
        second.load32(0)
    except DeviceGone as error:
        print("survived", flush=True)
first.store32(0, 1)
assert first.load32(0) == 1
if "foreign" in sys.argv:
    mapped[0]
if "sent" in sys.argv:
    os.kill(os.getpid(), 7)
print("end")
"""


@pytest.mark.parametrize("handler", ["none", "before", "after"])
@pytest.mark.parametrize("then", ["", "foreign", "sent"])
def test_the_process_survives_and_other_handlers_work(handler: str, then: str) -> None:
    """Ours takes what is ours, before or after Python's faulthandler was enabled; what is not ends the process as ever."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, handler, then], capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("survived\nsurvived\nsurvived\n"), done.stderr
    if not then:
        assert (done.returncode, done.stdout[-4:]) == (0, "end\n")
        return
    assert done.returncode == -signal.SIGBUS
    if handler == "none":
        assert not done.stderr
    else:
        assert "Fatal Python error: Bus error" in done.stderr
        assert "<module>" in done.stderr


TWO_GUARDS = """
import asyncio, mmap, os, sys
import wdasync
from wdasync_uacce import MemoryRegion, RegionKind
from wdasync_uacce.errnos import DeviceGone
from wdasync_uacce.memory import address_of

def cut():
    file = os.memfd_create("file")
    os.ftruncate(file, 65536)
    mapped = mmap.mmap(file, 65536)
    os.ftruncate(file, 0)
    return mapped

async def ours():
    mapped = cut()
    try:
        MemoryRegion(RegionKind.DUS, address_of(mapped), 65536, mapped).load32(0)
    except DeviceGone:
        print("region", end=" ")

async def theirs():
    async with wdasync.open_accelerator("cpu", inline=False) as acc:
        for _ in range(150):
            try:
                await acc.compress(memoryview(cut()), "gzip")
            except wdasync.PageFaultError:
                continue
            print("no fault?")
    print("worker", end=" ")

async def main():
    for what in sys.argv[1:]:
        await {"ours": ours, "theirs": theirs}[what]()

asyncio.run(main())
"""


@pytest.mark.parametrize("order", [("ours", "theirs", "ours"), ("theirs", "ours", "theirs")])
def test_the_guard_of_another_backend_works_beside_ours(order: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TWO_GUARDS, *order], capture_output=True, text=True, check=False
    )
    words = {"ours": "region", "theirs": "worker"}
    assert done.stdout.split() == [words[each] for each in order], done.stderr
    assert done.returncode == 0
