"""Inputs whose pages come when a native worker touches them: which, when, what if not, and the end of everything."""

from __future__ import annotations

import asyncio
import contextvars
import errno
import gzip
import os
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

import wdasync
from tests.cpu.support import drain, open_device, python, unpack, words
from wdasync import FaultResponse, PagedBuffer, Paging
from wdasync.backend import Kind, Status
from wdasync.operations import Compress, Nop
from wdasync_cpu import paging
from wdasync_cpu.queues import CpuQueue

PAGE = 4096
TEXT = words(100 * PAGE)

needs_userfaultfd = pytest.mark.skipif(paging.problem() is not None, reason="userfaultfd is refused here")
needs_native_codecs = pytest.mark.skipif(
    not all(
        row.paged
        for row in open_device().capabilities
        if (row.kind, row.algorithm) == (Kind.COMPRESS, "gzip")
    ),
    reason="codecs that are Python packages read no pages as they go",
)
pytestmark = [pytest.mark.anyio, needs_userfaultfd, needs_native_codecs]


def open_cpu(**options: Any) -> Any:
    return wdasync.open_accelerator("cpu", fallback=False, **options)


class Book:
    """A pager that notes what it is asked for, by page.

    :ivar bad: pages that cannot be read
    """

    def __init__(self, content: bytes, *, page_size: int = PAGE) -> None:
        self.content = content
        self.page_size = page_size
        self.asked: list[int] = []
        self.bad: set[int] = set()

    async def __call__(self, offset: int, length: int) -> bytes:
        page = offset // self.page_size
        self.asked.append(page)
        await anyio.lowlevel.checkpoint()
        if page in self.bad:
            raise OSError(f"sector {page} is gone, für immer")
        return self.content[offset : offset + length]

    def buffer(self) -> PagedBuffer:
        return PagedBuffer(len(self.content), self, page_size=self.page_size)


def paged_workers(worker: str = "wdasync-pg-") -> int:
    """Threads of the crew for pages."""
    names = [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]
    return sum(name.startswith(worker) for name in names)


# -- which pages, and when ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("algorithm", "level"), [("gzip", 1), ("gzip", 6), ("zlib", 9), ("deflate", 0), ("br", 1)]
)
async def test_each_page_is_asked_for_once_in_order(algorithm: str, level: int) -> None:
    book = Book(TEXT)
    async with open_cpu() as acc:
        row = acc.capabilities()["cpu/cpu0"].find(Kind.COMPRESS, algorithm)
        if not row.paged:
            pytest.skip("done in Python here")
        buffer = book.buffer()
        result = await acc.execute(Compress(buffer, algorithm, level=level))
        assert unpack(result.output, algorithm) == TEXT
        assert result.paging is Paging.ON_FAULT
        assert result.where.startswith("paged worker")
        assert result.faults == len(book.asked) == buffer.fetched == 100
        assert book.asked == list(range(100))
        again = await acc.execute(Compress(buffer, algorithm, level=level))
        assert unpack(again.output, algorithm) == TEXT
        assert (again.faults, len(book.asked)) == (0, 100)
        assert acc.statistics().faults == 100
        assert acc.statistics().rescues == 0


@pytest.mark.parametrize("algorithm", ["gzip", "zlib", "deflate"])
async def test_decompressing_asks_for_what_it_reads(algorithm: str) -> None:
    async with open_cpu() as acc:
        content = os.urandom(6 * PAGE)
        unit = await acc.compress(content, algorithm)
        book = Book(unit)
        result = await acc.execute(wdasync.Decompress(book.buffer(), algorithm))
        assert result.output == content
        assert book.asked == list(range(7))
        assert result.faults == 7
        # What follows a unit is looked at, and the first byte of it is enough.
        book = Book(unit + b"\x01" * 50 * PAGE)
        with pytest.raises(wdasync.DataError, match="follow the end") as caught:
            await acc.decompress(book.buffer(), algorithm)
        assert caught.value.cause is wdasync.DataCause.TRAILING_DATA
        assert max(book.asked) == 6


async def test_padding_is_read_to_its_end() -> None:
    content = os.urandom(3 * PAGE)
    book = Book(gzip.compress(content) + bytes(10 * PAGE))
    async with open_cpu() as acc:
        assert await acc.decompress(book.buffer(), "gzip") == content
    assert book.asked == list(range(14))


async def test_bad_data_ends_early() -> None:
    book = Book(gzip.compress(os.urandom(2 * PAGE))[: 2 * PAGE] + b"\xff" * 60 * PAGE)
    async with open_cpu() as acc:
        with pytest.raises(wdasync.DataError):
            await acc.decompress(book.buffer(), "gzip")
    assert max(book.asked) < 10


@pytest.mark.parametrize("page_size", [PAGE, 4 * PAGE, 1 << 20])
@pytest.mark.parametrize("length", [0, 1, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE, 65537, (1 << 20) + PAGE + 5])
async def test_lengths_and_page_sizes(length: int, page_size: int) -> None:
    book = Book(os.urandom(length), page_size=page_size)
    async with open_cpu() as acc:
        buffer = book.buffer()
        result = await acc.execute(Compress(buffer, "zlib"))
    assert zlib.decompress(result.output) == book.content
    assert book.asked == list(range(-(-length // page_size)))
    assert result.faults == len(book.asked)


async def test_pages_that_are_there_are_no_faults() -> None:
    book = Book(TEXT)
    async with open_cpu() as acc:
        buffer = book.buffer()
        for page in (0, 5, 6, 7, 50, 99):
            await buffer.fetch(page)
        result = await acc.execute(Compress(buffer, "gzip"))
    assert gzip.decompress(result.output) == TEXT
    assert result.faults == 94
    assert sorted(book.asked) == list(range(100))


async def test_observers_hear_of_each_fault() -> None:
    book = Book(TEXT[: 4 * PAGE])
    book.bad = {3}
    async with open_cpu() as acc, acc.faults() as faults:
        with pytest.raises(wdasync.PageFaultError):
            await acc.compress(book.buffer())
        heard = [await anext(faults) for _ in range(4)]
    assert [fault.address for fault in heard] == [0, PAGE, 2 * PAGE, 3 * PAGE]
    assert [fault.response for fault in heard] == [FaultResponse.SUCCESS] * 3 + [FaultResponse.INVALID]
    assert all(fault.device == "cpu0" and fault.latency is not None for fault in heard)
    assert len({fault.tag for fault in heard}) == 4


async def test_pagers_run_in_the_context_of_the_opening() -> None:
    who: contextvars.ContextVar[str] = contextvars.ContextVar("who")
    who.set("opener")
    seen = []

    async def pager(offset: int, length: int) -> bytes:
        seen.append(who.get())
        return bytes(length)

    async with open_cpu() as acc:
        who.set("caller")
        await acc.compress(PagedBuffer(2 * PAGE, pager))
    assert seen == ["opener", "opener"]


# -- pages that cannot be had --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [1, 6, 9])
async def test_after_an_error_no_later_page_is_asked_for(level: int) -> None:
    book = Book(TEXT)
    book.bad = {3}
    async with open_cpu() as acc:
        buffer = book.buffer()
        with pytest.raises(
            wdasync.PageFaultError, match=r"pager raised OSError .* sector 3 is gone, für immer"
        ):
            await acc.compress(buffer, "gzip", level=level)
        assert book.asked == [0, 1, 2, 3]
        book.bad = set()
        assert gzip.decompress(await acc.compress(buffer, "gzip", level=level)) == TEXT
        assert book.asked == [0, 1, 2, 3, *range(3, 100)]


@pytest.mark.parametrize("given", [b"short", bytes(PAGE + 1), None, 4096])
async def test_a_pager_that_gives_something_else(given: Any) -> None:
    async def pager(offset: int, length: int) -> bytes:
        return given  # type: ignore[no-any-return]

    async with open_cpu() as acc:
        with pytest.raises(wdasync.PageFaultError, match="expected 4096 bytes at 0 from the pager, got"):
            await acc.compress(PagedBuffer(2 * PAGE, pager))
        assert gzip.decompress(await acc.compress(b"and on")) == b"and on"


async def test_a_unit_with_a_missing_page() -> None:
    book = Book(gzip.compress(os.urandom(20 * PAGE)))
    book.bad = {4}
    async with open_cpu() as acc:
        into = bytearray(30 * PAGE)
        with pytest.raises(wdasync.PageFaultError):
            await acc.decompress_into(book.buffer(), into, "gzip")
    assert book.asked == [0, 1, 2, 3, 4]


class Worse(BaseException):
    """Nothing that a pager should raise."""


@pytest.mark.parametrize("how", ["cancelled", "worse"])
async def test_a_pager_that_ends_badly_is_the_end_of_nothing_else(
    how: str, anyio_backend: tuple[str, dict[str, Any]]
) -> None:
    """What it waits for is cancelled by somebody, or it raises something that no program should."""
    if how == "cancelled" and anyio_backend[0] == "trio":
        pytest.skip("there a cancellation is always of a scope that one is in")

    async def bad(offset: int, length: int) -> bytes:
        if how == "worse":
            raise Worse
        task = asyncio.create_task(asyncio.sleep(60))
        asyncio.get_running_loop().call_soon(task.cancel)
        await task
        raise AssertionError

    async with open_cpu() as acc:
        for _ in range(2):
            with anyio.fail_after(60):
                with pytest.raises(wdasync.PageFaultError):
                    await acc.compress(PagedBuffer(len(TEXT), bad), "gzip")
                assert gzip.decompress(await acc.compress(PagedBuffer(len(TEXT), Book(TEXT)), "gzip")) == TEXT


async def test_a_pager_that_takes_too_long() -> None:
    cancelled = []

    async def pager(offset: int, length: int) -> bytes:
        try:
            await anyio.sleep(60)
        except anyio.get_cancelled_exc_class():
            cancelled.append(offset)
            raise
        raise AssertionError

    async with open_cpu(fault_deadline=0.1) as acc:
        with (
            anyio.fail_after(20),
            pytest.raises(wdasync.PageFaultError, match=r"within 0.1 s.*fault_deadline"),
        ):
            await acc.compress(PagedBuffer(10 * PAGE, pager))
    assert cancelled == [0]


async def test_no_deadline() -> None:
    async def pager(offset: int, length: int) -> bytes:
        await anyio.sleep(0.05)
        return bytes(length)

    async with open_cpu(fault_deadline=0) as acc:
        assert gzip.decompress(await acc.compress(PagedBuffer(3 * PAGE, pager))) == bytes(3 * PAGE)


async def test_many_at_once_with_errors_in_their_places() -> None:
    good, bad = Book(TEXT), Book(TEXT)
    bad.bad = {2}
    async with open_cpu() as acc:
        many = await acc.compress_many(
            [b"bytes", good.buffer(), bad.buffer(), [b"in ", b"pieces"], good.buffer()],
            return_exceptions=True,
        )
    assert isinstance(many[2], wdasync.PageFaultError)
    assert bad.asked == [0, 1, 2]
    contents = [gzip.decompress(each) for each in many if isinstance(each, bytes)]
    assert contents == [b"bytes", TEXT, b"in pieces", TEXT]


# -- several at once -----------------------------------------------------------------------------------------------------


async def test_one_buffer_in_many_operations() -> None:
    book = Book(TEXT)
    async with open_cpu() as acc:
        buffer = book.buffer()
        results: list[bytes] = []

        async def one(algorithm: str, level: int) -> None:
            results.append(unpack(await acc.compress(buffer, algorithm, level=level), algorithm))

        async with anyio.create_task_group() as group:
            for number in range(12):
                group.start_soon(one, ("gzip", "zlib", "deflate")[number % 3], number % 4 * 3)
    assert results == [TEXT] * 12
    assert sorted(book.asked) == list(range(100))


async def test_more_operations_than_threads() -> None:
    books = [Book(words(5 * PAGE, seed)) for seed in range(64)]
    async with open_cpu(paged_workers=5) as acc:
        many = await acc.compress_many([book.buffer() for book in books])
        assert [gzip.decompress(each) for each in many] == [book.content for book in books]
        assert all(book.asked == list(range(5)) for book in books)
        assert acc.statistics().faults == 5 * 64


async def test_faults_wait_side_by_side() -> None:
    waiting = 0
    enough = anyio.Event()

    async def pager(offset: int, length: int) -> bytes:
        nonlocal waiting
        waiting += 1
        if waiting == 64:
            enough.set()
        await enough.wait()
        return bytes(length)

    async with open_cpu(paged_workers=64) as acc:
        with anyio.fail_after(30):
            many = await acc.compress_many([PagedBuffer(PAGE, pager) for _ in range(64)])
    assert {gzip.decompress(each) for each in many} == {bytes(PAGE)}


async def test_a_pager_that_uses_the_accelerator() -> None:
    async with open_cpu(workers=1, inline=False, paged_workers=1) as acc:
        packed = [await acc.compress(TEXT[at : at + PAGE], "zlib") for at in range(0, 20 * PAGE, PAGE)]

        async def pager(offset: int, length: int) -> bytes:
            return await acc.decompress(packed[offset // PAGE], "zlib")  # type: ignore[no-any-return]

        with anyio.fail_after(20):
            result = await acc.compress(PagedBuffer(20 * PAGE, pager), "gzip")
        assert gzip.decompress(result) == TEXT[: 20 * PAGE]


async def test_a_pager_that_compresses_pages() -> None:
    """Its pages are fetched before: otherwise those who wait for pages could wait for each other."""
    inner = Book(TEXT[: 3 * PAGE])
    seen: list[wdasync.Result] = []
    async with open_cpu(workers=1, inline=False, paged_workers=1) as acc:

        async def pager(offset: int, length: int) -> bytes:
            seen.append(await acc.execute(Compress(inner.buffer(), "gzip")))
            return bytes(length)

        with anyio.fail_after(20):
            await acc.compress(PagedBuffer(2 * PAGE, pager), "gzip")
    assert [(result.paging, result.faults) for result in seen] == [(Paging.BEFORE, 0)] * 2


async def test_others_go_on_while_pages_are_waited_for() -> None:
    async with open_cpu(workers=1, inline=False) as acc:
        begun, go = anyio.Event(), anyio.Event()

        async def pager(offset: int, length: int) -> bytes:
            begun.set()
            await go.wait()
            return bytes(length)

        async with anyio.create_task_group() as group:
            group.start_soon(acc.compress, PagedBuffer(PAGE, pager))
            with anyio.fail_after(20):
                await begun.wait()
                assert gzip.decompress(await acc.compress(TEXT, level=6)) == TEXT
                async with acc.compressor() as stream:
                    pieces = await stream.compress(TEXT) + await stream.compress(b"") + await stream.finish()
                assert gzip.decompress(pieces) == TEXT
            go.set()


# -- the end of an operation, and of everything ----------------------------------------------------------------------------


async def test_a_cancelled_caller_leaves_it_to_the_worker() -> None:
    begun, go = anyio.Event(), anyio.Event()

    async def pager(offset: int, length: int) -> bytes:
        begun.set()
        await go.wait()
        return bytes(length)

    async with open_cpu() as acc:
        buffer = PagedBuffer(3 * PAGE, pager)
        async with anyio.create_task_group() as group:
            group.start_soon(acc.compress, buffer)
            await begun.wait()
            group.cancel_scope.cancel()
        assert not buffer.is_present(0)
        go.set()
        assert gzip.decompress(await acc.compress(buffer)) == bytes(3 * PAGE)
        assert sum(lane.detached for lane in acc.statistics().lanes) == 1


async def test_a_cancelled_caller_waits_where_the_memory_is_his() -> None:
    begun = anyio.Event()
    into = bytearray(1 << 16)

    async def pager(offset: int, length: int) -> bytes:
        begun.set()
        await anyio.sleep(60)
        raise AssertionError

    async with open_cpu(fault_deadline=0.3) as acc:
        started = time.monotonic()
        async with anyio.create_task_group() as group:
            group.start_soon(acc.compress_into, PagedBuffer(3 * PAGE, pager), into)
            await begun.wait()
            group.cancel_scope.cancel()
        assert time.monotonic() - started > 0.2
    into += b"x"  # nobody holds it


async def test_a_timeout_is_the_callers() -> None:
    async def pager(offset: int, length: int) -> bytes:
        await anyio.sleep(0.3)
        return bytes(length)

    async with open_cpu() as acc:
        with pytest.raises(wdasync.OperationTimeout):
            await acc.compress(PagedBuffer(PAGE, pager), timeout=0.05)


@pytest.mark.parametrize("close_timeout", [0.0, 0.2])
async def test_closing_while_a_pager_thinks(close_timeout: float) -> None:
    begun = anyio.Event()
    failures: list[Exception] = []
    ended: list[bool] = []

    async def pager(offset: int, length: int) -> bytes:
        begun.set()
        try:
            await anyio.sleep(5)
        finally:
            ended.append(True)
        raise AssertionError

    async def use(acc: Any) -> None:
        try:
            await acc.compress(PagedBuffer(10 * PAGE, pager), "gzip")
        except (wdasync.WdasyncError, wdasync.ClosedResourceError) as error:
            failures.append(error)

    started = time.monotonic()
    async with anyio.create_task_group() as group:
        async with open_cpu(close_timeout=close_timeout) as acc:
            group.start_soon(use, acc)
            await begun.wait()
    assert time.monotonic() - started < 4
    assert len(failures) == 1
    assert isinstance(failures[0], wdasync.ClosedResourceError)
    assert ended == [True]


def files() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


async def test_the_descriptor_goes_with_the_accelerator() -> None:
    async with open_cpu() as acc:
        await acc.compress(Book(TEXT).buffer())
    before = files()
    async with open_cpu() as acc:
        await acc.compress(Book(TEXT).buffer())
        assert files() - before
    assert files() - before == set()


async def test_nobody_serves_the_device_any_more() -> None:
    """What has no answer is refused, and the descriptor lives as long as somebody waits for it."""
    begun = anyio.Event()

    async def pager(offset: int, length: int) -> bytes:
        begun.set()
        await anyio.sleep(60)
        raise AssertionError

    device = open_device()
    queue = device.open_queue(4)
    assert device.serve is not None
    for _ in range(2):  # it may be served again
        begun = anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(device.serve)
            queue.enqueue_burst([(0, Compress(PagedBuffer(3 * PAGE, pager), "gzip"))])
            await begun.wait()
            group.cancel_scope.cancel()
        (done,) = drain(queue, 1)
        assert done.status is Status.PAGE_FAULT
        assert "the pager was cancelled at page 0" in done.detail.message
    queue.close()
    before = files()
    async with anyio.create_task_group() as group:
        group.start_soon(device.serve)
        await anyio.wait_all_tasks_blocked()
        device.close()
        assert before <= files()
        group.cancel_scope.cancel()
    assert len(files() & before) < len(before)
    device.close()


def hanging() -> Compress:
    async def pager(offset: int, length: int) -> bytes:
        raise AssertionError

    return Compress(PagedBuffer(10 * PAGE, pager), "gzip", level=6)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_a_stopped_queue_lets_go_of_parked_workers(whole_queue: CpuQueue) -> None:
    """Nobody serves the device here, so each of them waits for ever."""
    assert whole_queue.enqueue_burst([(tag, hanging()) for tag in range(30)]) == 30
    assert whole_queue.enqueue_burst([(99, Nop())]) == 1
    (other,) = drain(whole_queue, 1)
    assert other.tag == 99
    time.sleep(0.05)
    started = time.monotonic()
    whole_queue.stop()
    assert time.monotonic() - started < 1
    done = drain(whole_queue, 30)
    assert {each.status for each in done} == {Status.ABORTED}
    assert {each.detail.message for each in done} <= {"", "the queue was stopped"}
    whole_queue.close()


def test_what_no_worker_has_can_be_withdrawn() -> None:
    device = open_device(paged_workers=1)
    queue = device.open_queue(300)
    queue.enqueue_burst([(tag, hanging()) for tag in range(300)])
    until(lambda: paged_workers() > 0)
    time.sleep(0.02)
    withdrawn = [tag for tag in range(300) if queue.withdraw(tag)]
    assert len(withdrawn) == 300 - queue.statistics().in_flight
    assert len(withdrawn) >= 300 - paged_workers()
    queue.stop()
    drain(queue, 300 - len(withdrawn))
    queue.close()
    device.close()


def test_pages_that_nobody_can_fetch_are_refused() -> None:
    """By the contract only rows that say ``paged`` take such an operation."""
    device = open_device("standard library")
    assert not any(row.paged for row in device.capabilities)
    queue = device.open_queue(4)
    assert device.inline is not None
    whole = hanging()
    assert whole.paged is not None
    whole.paged._present[:] = b"\1" * 10
    for operation in (hanging(), whole):
        queue.enqueue_burst([(0, operation)])
        (done,) = drain(queue, 1)
        assert (done.status, "fetch all" in done.detail.message) == (Status.INVALID_ARGS, True)
        assert device.inline.run(operation).status is Status.INVALID_ARGS
    queue.close()
    device.close()
    device = open_device()
    assert device.inline is not None
    assert device.inline.run(hanging()).status is Status.INVALID_ARGS
    device.close()


@pytest.mark.parametrize("variant", ["packages", "only zlib"])
def test_rows_of_python_codecs_are_not_paged(variant: str) -> None:
    device = open_device(variant)
    paged = {(row.kind, row.algorithm) for row in device.capabilities if row.paged}
    native = {"gzip", "zlib", "deflate"} if variant == "only zlib" else set()
    assert paged == {(kind, name) for kind in (Kind.COMPRESS, Kind.DECOMPRESS) for name in native}
    device.close()


# -- processes -----------------------------------------------------------------------------------------------------------

USE = """
import anyio, gzip, os, sys, warnings
import wdasync
from wdasync import PagedBuffer

async def pager(offset, length):
    await anyio.sleep(0)
    return bytes(length)

async def use(report=False):
    async with wdasync.open_accelerator("cpu", fallback=False) as acc:
        result = await acc.execute(wdasync.Compress(PagedBuffer(20000, pager), "gzip"))
    assert gzip.decompress(result.output) == bytes(20000)
    return result.paging.value, result.faults
"""

REFUSE = """
import ctypes, platform
libc = ctypes.CDLL(None, use_errno=True)
NUMBER = {"x86_64": 323, "aarch64": 282, "riscv64": 282}[platform.machine()]
class Instruction(ctypes.Structure):
    _fields_ = [("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint)]
class Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.POINTER(Instruction))]
load, equal, give = 0x20, 0x15, 0x06
def install(*code):
    assert libc.prctl(38, 1, 0, 0, 0) == 0, "no_new_privs"
    assert libc.prctl(22, 2, ctypes.byref(Program(len(code), (Instruction * len(code))(*code))), 0, 0) == 0, "seccomp"
def refuse(error):
    install((load, 0, 0, 0), (equal, 0, 1, NUMBER), (give, 0, 0, 0x00050000 | error), (give, 0, 0, 0x7FFF0000))
def refuse_copies(error):
    command = 24  # where seccomp(2) has the second argument; its low half, on machines that put that first
    install((load, 0, 0, command), (equal, 0, 1, 0xC028AA03), (give, 0, 0, 0x00050000 | error), (give, 0, 0, 0x7FFF0000))
"""


@pytest.mark.parametrize("error", ["EPERM", "ENOSYS", "EINVAL"])
def test_where_the_kernel_refuses_pages_are_fetched_before(error: str) -> None:
    number = getattr(errno, error)
    code = f"""{USE}{REFUSE}
refuse({number})
print(*anyio.run(use))
import wdasync_cpu
for check in wdasync_cpu.backend.diagnose(wdasync_cpu.Options()):
    if check.name == "userfaultfd":
        print(check.passed, check.found, "|", check.advice)
"""
    result, check = python(code).splitlines()
    assert result == "before 0"
    assert check == f"None {os.strerror(number)}; pages are fetched before | {paging.ADVICE[number]}"


def test_a_page_that_the_kernel_cannot_copy_in_is_refused() -> None:
    """First when its pager was asked for it, and then when it is there, which is no fault."""
    code = f"""{USE}{REFUSE}
async def main():
    buffer = PagedBuffer(20000, pager)
    async with wdasync.open_accelerator("cpu", fallback=False, paged_workers=1) as acc, acc.faults() as faults:
        for _ in range(2):
            try:
                with anyio.fail_after(60):
                    await acc.compress(buffer, "gzip")
            except wdasync.PageFaultError as error:
                print(error)
        fault = await anext(faults)
        print(buffer.fetched, fault.response.name, fault.address, acc.statistics().faults)
refuse_copies({errno.ENOMEM})
anyio.run(main)
"""
    first, second, heard = python(code).splitlines()
    assert first == second
    assert "page 0 has come, but the kernel gives the worker no memory for it; raise its limit" in first
    assert heard == "1 INVALID 0 1"


def test_the_interpreter_ends_while_workers_wait_for_pages() -> None:
    python("""
import time
from tests.cpu.test_paged import hanging, open_device
queue = open_device().open_queue(8)
queue.enqueue_burst([(tag, hanging()) for tag in range(8)])
time.sleep(0.1)
queue._closed = True
""")


def test_a_program_that_uses_no_pages_has_no_threads_for_them() -> None:
    code = f"""{USE}
from tests.cpu.test_paged import paged_workers
async def plain():
    async with wdasync.open_accelerator("cpu", inline=False) as acc:
        await acc.compress_many([bytes(10000)] * 50)
anyio.run(plain)
print(paged_workers())
anyio.run(use)
print(paged_workers())
"""
    assert python(code).split() == ["0", "1"]


def test_no_thread_can_be_started() -> None:
    """The first is needed; more would only be faster."""
    code = """
import resource
from pathlib import Path
from tests.cpu.support import open_device, drain
from tests.cpu.test_paged import hanging
device = open_device(workers=1)
queue = device.open_queue(4)
soft, hard = resource.getrlimit(resource.RLIMIT_AS)
size = int(Path("/proc/self/statm").read_text().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (size + (1 << 20), hard))
assert queue.enqueue_burst([(0, hanging())]) == 1
(done,) = drain(queue, 1)
resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
print(done.status.name, done.detail.message)
queue.close()
device.close()
"""
    assert python(code).startswith("DEVICE_ERROR no thread could be started to wait for pages: ")


def test_a_forked_child_has_faults_of_its_own() -> None:
    code = f"""{USE}
warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads
from tests.cpu.support import open_device
device = open_device()
descriptor = device._line._descriptor
print(*anyio.run(use), flush=True)
child = os.fork()
if not child:
    print(os.path.exists(f"/proc/self/fd/{{descriptor}}"), flush=True)
    print(*anyio.run(use), flush=True)
    device.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert os.path.exists(f"/proc/self/fd/{{descriptor}}")
print(*anyio.run(use))
device.close()
"""
    assert python(code).splitlines() == ["on fault 5", "False", "on fault 5", "on fault 5"]


def test_forking_while_workers_wait_for_pages() -> None:
    code = """
import os, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads
from tests.cpu.support import open_device, drain
from tests.cpu.test_paged import hanging
device = open_device()
queue = device.open_queue(4)
queue.enqueue_burst([(tag, hanging()) for tag in range(4)])
time.sleep(0.1)
child = os.fork()
if not child:
    assert queue.enqueue_burst([(9, hanging())]) == 0
    queue.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
queue.stop()
assert len(drain(queue, 4)) == 4
queue.close()
device.close()
"""
    python(code)
