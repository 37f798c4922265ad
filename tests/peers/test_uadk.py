"""UADK, the C library for the same chips, and the driver that DPDK has for it."""

import ctypes
import gzip
import mmap
import zlib
from collections.abc import Sequence
from typing import Any

import anyio
import pytest

import wdasync
from tests.hip08.conftest import new_machine, raw_driver
from tests.hip08.test_isolation import VA, Owner, no_tlbi
from wdasync.backend import Completion, Detail
from wdasync.operations import Compress, Operation
from wdasync.testing.conformance import Verdict, examine
from wdasync.testing.mock import MockBackend, MockDevice, MockQueue, Options, Order, Program
from wdasync_cpu import backend as cpu
from wdasync_hip08 import backend as hip08
from wdasync_hip08.backend import machines

from .conftest import TEXT, run_program

__all__ = ["new_machine", "raw_driver"]

HUGE = 2 << 20
MADV_COLLAPSE = 25

libc = ctypes.CDLL(None, use_errno=True)


@pytest.mark.parametrize("name", ["cpu", "hip08", "mock"])
def test_372_a_child_of_a_process_that_uses_it_can_use_it(name: str) -> None:
    """uadk#372 (#227, #281, #352, #384): nginx's master process initialised the library; its workers, forked from it, were
    told that it was initialised already, and had nothing.

    A child opens for itself, and so does its child; the parent goes on.
    """
    printed = run_program(
        """
        import asyncio, gzip, os, sys, warnings, wdasync
        warnings.simplefilter("ignore", DeprecationWarning)  # fork with threads: the point of this test

        async def use(word):
            assert gzip.decompress(await wdasync.compress(word)) == word
            async with wdasync.open_accelerator() as acc:
                assert gzip.decompress(await acc.compress(word * 5000)) == word * 5000

        def generation(left):
            asyncio.run(use(b"%d" % left))
            if left:
                pid = os.fork()
                if not pid:
                    try:
                        generation(left - 1)
                    except BaseException as error:
                        print(repr(error), file=sys.stderr)
                        os._exit(1)
                    os._exit(0)
                assert os.waitpid(pid, 0)[1] == 0, left
            asyncio.run(use(b"%d again" % left))

        generation(2)
        print("good")
        """,
        WDASYNC_BACKEND=name,
        WDASYNC_FALLBACK="no",
    )
    assert printed == "good\n"


def frames_change(address: int) -> None:
    """Let the kernel put a huge page in the place of small ones, or take them away."""
    where, size = ctypes.c_void_p(address), ctypes.c_size_t(HUGE)
    if libc.madvise(where, size, MADV_COLLAPSE):  # needs Linux 6.1
        libc.madvise(where, size, mmap.MADV_DONTNEED)


@pytest.mark.anyio
@pytest.mark.parametrize("residency", ["mirror", "cold", "pinned"])
async def test_215_memory_that_the_kernel_moves_is_read_where_it_is(residency: str) -> None:
    """uadk#215: the kernel joined small pages into a huge one under a device that shares the addresses; its translations
    were not forgotten, and RSA gave wrong numbers, without any fault.

    One buffer over and over, with the frames behind it changed, and its content: each output is of what is there now.
    """
    memory = mmap.mmap(-1, 2 * HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    offset = -start % HUGE
    async with wdasync.open_accelerator("hip08", fallback=False, residency=residency) as acc:
        for number in range(12):
            wanted = bytes([number]) * 20_000 + TEXT[number:30_000]
            memory[offset : offset + len(wanted)] = wanted
            if number % 3:
                frames_change(start + offset)
            now = memory[offset : offset + len(wanted)]
            with memoryview(memory)[offset : offset + len(wanted)] as part:
                assert zlib.decompress(await acc.compress(part, "zlib")) == now
            if number % 3 == 0:
                libc.madvise(ctypes.c_void_p(start + offset), ctypes.c_size_t(HUGE), mmap.MADV_DONTNEED)
        (machine,) = machines()
        assert machine.chip.frames.stale_access == 0
    memory.close()


def test_215_a_page_that_moves_is_invalidated(new_machine: Any, raw_driver: Any) -> None:
    """uadk#215, in the tables: the page's frame is another one after each piece of work."""
    machine = new_machine()
    owner = Owner(machine, 1, raw_driver)
    owner.bind()
    for number in range(50):
        owner.work([0, 1, 2])
        owner.move(number % 3)
    assert machine.chip.frames.stale_access == 0


def test_215_without_the_invalidation_the_model_says_so(
    new_machine: Any, raw_driver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uadk#215 as it was: the invalidation is left out. An access through the old translation is found, and aborts."""
    machine = new_machine()
    owner = Owner(machine, 1, raw_driver)
    owner.bind()
    owner.work([0])
    no_tlbi(monkeypatch)
    owner.move(0)
    (sqe,) = owner.driver.run(owner.driver.entry(VA, 100, VA + 6 * 4096, 4096))
    assert sqe[3] != 0
    assert machine.chip.frames.stale_access > 0


@pytest.mark.parametrize("backend", [cpu, hip08], ids=["cpu", "hip08"])
def test_374_polling_an_idle_queue_finds_nothing(backend: Any) -> None:
    """uadk#374: the number of messages that a poll received was not set when there were none."""
    device = backend.open(backend.devices()[0], backend.Options())
    queue = device.open_queue(64)
    assert [list(queue.dequeue_burst(limit)) for limit in (1, 64, 5000)] == [[], [], []]
    queue.close()
    device.close()


async def waiters(acc: wdasync.Accelerator, count: int) -> list[bytes]:
    """So many at once."""
    found: list[bytes] = []

    async def one(number: int) -> None:
        found.append(gzip.decompress(await acc.compress(b"%d" % number)))

    async with anyio.create_task_group() as group:
        for number in range(count):
            group.start_soon(one, number)
    return found


@pytest.mark.anyio
async def test_26_a_device_whose_queues_are_taken() -> None:
    """uadk#26: "all queues are busy" came as a bare -16. Here a priority shares a queue, and what has none is told why."""
    async with wdasync.open_accelerator("hip08", fallback=False, queues=1) as acc:
        packed = await acc.compress(b"wants a second", priority=wdasync.Priority.HIGH)
        with pytest.raises(wdasync.BackendUnavailable, match=r"decompress gzip: .* others use them all"):
            await acc.decompress(packed)
        assert sorted(await waiters(acc, 20)) == sorted(b"%d" % number for number in range(20))


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["cpu", "hip08", "mock"])
@pytest.mark.parametrize("algorithm", ["gzip", "zlib"])
async def test_nothing_can_be_compressed(name: str, algorithm: str) -> None:
    """UADK refuses an input of length zero. The ecosystem's answer is the empty unit."""
    wbits = {"gzip": 31, "zlib": 15}[algorithm]
    async with wdasync.open_accelerator(name, fallback=False) as acc:
        packed = await acc.compress(b"", algorithm)
        assert zlib.decompress(packed, wbits) == b""
        assert await acc.decompress(packed, algorithm) == b""


# -- what DPDK's driver for UADK does, read in its source; check_backend has to notice each ----------------------------


class CountsForResults(MockQueue):
    """Takes finished entries from the front of what was *accepted*, as many as have completed, whichever those are."""

    def dequeue_burst(self, limit: int) -> Sequence[Completion]:
        found = list(super().dequeue_burst(limit))
        tags = sorted(completion.tag for completion in found)
        return [done._replace(tag=tag) for done, tag in zip(found, tags, strict=True)]


class LooksOnlyAtTheLength(MockQueue):
    """Every completion is a success, whatever the status of the request says."""

    def dequeue_burst(self, limit: int) -> Sequence[Completion]:
        return [
            done._replace(status=wdasync.Status.SUCCESS, detail=Detail())
            for done in super().dequeue_burst(limit)
        ]


class HasOneLevel(MockQueue):
    """Ignores what the caller says about level and window, and does not count that it mapped them."""

    def enqueue_burst(self, entries: Sequence[tuple[int, Operation]]) -> int:
        for _, operation in entries:
            if isinstance(operation, Compress):
                operation.window = None
        return super().enqueue_burst(entries)


FOUND_OUT = [
    (CountsForResults, {"engines": 4, "order": Order.LIFO, "steps": 3}, "twins_on_one_device"),
    (LooksOnlyAtTheLength, {}, "impossible_operations_complete"),
    (HasOneLevel, {}, "every_window"),
]


@pytest.mark.parametrize(("queue", "options", "check"), FOUND_OUT)
def test_dpdk_s_driver_for_uadk_would_be_found_out(
    queue: type[MockQueue], options: dict[str, Any], check: str
) -> None:
    """DPDK, drivers/compress/uadk: results handed out by count, statuses not looked at, windows ignored."""

    def verdicts(queue: type[MockQueue]) -> set[Verdict]:
        device = type("Device", (MockDevice,), {"queue_type": queue})
        made = type("Backend", (MockBackend,), {"device_type": device})(Program(Options(**options)))
        report = examine(made, made.Options(**options), patience=0.4, only=[check])
        return {finding.verdict for finding in report.findings}

    assert Verdict.FAILED in verdicts(queue)
    assert verdicts(MockQueue) == {Verdict.PASSED}


@pytest.mark.anyio
@pytest.mark.parametrize("length", [0, 1, 100, 5000, 70_000])
async def test_44_of_qatzip_what_the_device_made_software_reads(length: int) -> None:
    """QATzip#44: output of the device that software refused to decode."""
    data = (TEXT * 2)[:length]
    async with (
        wdasync.open_accelerator("hip08", fallback=False) as chip,
        wdasync.open_accelerator("cpu") as software,
    ):
        for algorithm in ("gzip", "zlib"):
            for one, other in ((chip, software), (software, chip)):
                assert await other.decompress(await one.compress(data, algorithm), algorithm) == data
