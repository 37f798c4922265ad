"""The whole way from ``await`` to the chip and back, on three event loops."""

import gzip
import hashlib
import os
import zlib
from collections import Counter
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import wdasync
from wdasync import FaultResponse, PagedBuffer, PageFault
from wdasync_uacce.zip_queue import ZipQueue

pytestmark = pytest.mark.anyio
PAGE = 4096
TEXT = b"".join(f"line {number} of a text that shrinks.\n".encode() for number in range(2000))


def open_chip(**options: Any) -> Any:
    return wdasync.open_accelerator("hip08", fallback=False, **options)


async def test_there_and_back() -> None:
    async with open_chip() as acc:
        for algorithm, decode in (("gzip", gzip.decompress), ("zlib", zlib.decompress)):
            for data in (b"", b"x", TEXT, os.urandom(70_000)):
                packed = await acc.compress(data, algorithm)
                assert decode(packed) == data
                assert await acc.decompress(packed, algorithm) == data
        many = await acc.compress_many([TEXT[:1000]] * 200, "gzip")
        assert {gzip.decompress(each) for each in many} == {TEXT[:1000]}
        into = bytearray(len(TEXT))
        count = await acc.compress_into([TEXT[:100], TEXT[100:]], into, "gzip")
        assert gzip.decompress(into[:count]) == TEXT
        assert acc.statistics().rescues == 0


async def test_a_list_of_queues_is_for_the_engine_that_compresses() -> None:
    async with open_chip(open_queues="sync-comp:2@0,sync-decomp:1@0") as acc:
        names = Counter(lane.name.partition("#")[0].strip() for lane in acc.statistics().lanes)
        others = {name for name in names if "hisi_zip" not in name}
        assert {name.split("/")[1].split()[0] for name in others} == {"hisi_hpre-0", "hisi_sec2-0"}
        assert names == dict.fromkeys(others, 1) | {
            "hip08/hisi_zip-0 compress": 2,
            "hip08/hisi_zip-0 decompress": 1,
        }
        assert await acc.decompress(await acc.compress(TEXT)) == TEXT
        assert await acc.digest(TEXT, "sha256") == hashlib.sha256(TEXT).digest()


async def test_bad_data_has_its_cause() -> None:
    good = gzip.compress(TEXT)
    async with open_chip() as acc:
        for bad, cause in (
            (good[:-20], wdasync.DataCause.TRUNCATED),
            (good[:-8] + bytes(8), wdasync.DataCause.CHECKSUM),
            (good[:10] + b"\xff" * 100, wdasync.DataCause.CORRUPT),
        ):
            with pytest.raises(wdasync.DataError) as caught:
                await acc.decompress(bad, "gzip")
            assert caught.value.cause is cause
        with pytest.raises(wdasync.LimitExceeded):
            await acc.decompress(good, "gzip", max_length=100)


async def test_faults_reach_the_handler_and_the_observer() -> None:
    seen: list[PageFault] = []

    async def handler(fault: PageFault) -> FaultResponse:
        seen.append(fault)
        await anyio.lowlevel.checkpoint()
        return FaultResponse.SUCCESS

    async with open_chip(on_fault=handler, residency="cold") as acc, acc.faults() as faults:
        result = await acc.execute(wdasync.Compress(TEXT, "gzip"))
        assert gzip.decompress(result.output) == TEXT
        assert result.faults == len(seen) > len(TEXT) // PAGE
        observed = [await anext(faults) for _ in seen]
    assert {fault.address for fault in observed} == {fault.address for fault in seen}
    assert {fault.response for fault in observed} == {FaultResponse.SUCCESS}


@pytest.mark.parametrize("answer", [FaultResponse.INVALID, RuntimeError("no such page")])
async def test_a_refused_page_is_an_error_and_the_queue_goes_on(answer: Any) -> None:
    refuse = True

    async def handler(fault: PageFault) -> FaultResponse:
        if refuse and isinstance(answer, Exception):
            raise answer
        return answer if refuse else FaultResponse.SUCCESS

    async with open_chip(on_fault=handler, residency="cold") as acc:
        with pytest.raises(wdasync.PageFaultError, match="refused"):
            await acc.compress(TEXT, "gzip")
        refuse = False
        assert gzip.decompress(await acc.compress(TEXT, "gzip")) == TEXT


class Book:
    """Pages that can be asked for, with a note of each call."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.asked: list[int] = []
        self.bad: set[int] = set()

    async def pager(self, offset: int, length: int) -> bytes:
        self.asked.append(offset // PAGE)
        await anyio.sleep(0.001)
        if offset // PAGE in self.bad:
            raise OSError(f"page {offset // PAGE} cannot be read")
        return self.data[offset : offset + length]

    def buffer(self) -> PagedBuffer:
        return PagedBuffer(len(self.data), self.pager)


async def test_nobody_is_woken_while_nothing_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the event loop would never sleep again after the first operation."""
    looks = 0
    dequeue = ZipQueue.dequeue_burst

    def counted(self: ZipQueue, limit: int) -> Any:
        nonlocal looks
        looks += 1
        return dequeue(self, limit)

    async with open_chip() as acc:
        assert gzip.decompress(await acc.compress(TEXT, "gzip")) == TEXT
        monkeypatch.setattr(ZipQueue, "dequeue_burst", counted)
        for _ in range(100):
            await anyio.lowlevel.checkpoint()
        assert looks < 10


class TestPagedBuffers:
    async def test_each_page_is_asked_for_once(self) -> None:
        book = Book(TEXT)
        async with open_chip() as acc:
            buffer = book.buffer()
            result = await acc.execute(wdasync.Compress(buffer, "gzip"))
            assert gzip.decompress(result.output) == TEXT
            assert book.asked == list(range(-(-len(TEXT) // PAGE)))
            assert result.faults == len(book.asked)
            assert result.paging is wdasync.Paging.ON_FAULT
            assert gzip.decompress(await acc.compress(buffer, "gzip")) == TEXT
            assert len(book.asked) == buffer.pages

    async def test_only_touched_pages_are_asked_for(self) -> None:
        packed = gzip.compress(os.urandom(3 * PAGE))
        book = Book(packed + b"\x01" * 60 * PAGE)
        async with open_chip() as acc:
            with pytest.raises(wdasync.DataError):
                await acc.decompress(book.buffer(), "gzip")
        assert max(book.asked) < 20

    async def test_decompressing_one(self) -> None:
        content = os.urandom(5 * PAGE)
        book = Book(gzip.compress(content))
        async with open_chip() as acc:
            result = await acc.execute(wdasync.Decompress(book.buffer(), "gzip"))
        assert result.output == content
        assert result.paging is wdasync.Paging.ON_FAULT
        assert sorted(book.asked) == list(range(-(-len(book.data) // PAGE)))
        assert result.faults == len(book.asked)

    @pytest.mark.parametrize("residency", ["mirror", "cold"])
    @pytest.mark.parametrize("page_size", [PAGE, 4 * PAGE, 16 * PAGE])
    async def test_a_fault_is_a_call_of_the_pager(self, page_size: int, residency: str) -> None:
        """Whatever the length of the output and of the pages; the device writes to memory that is there."""
        content = os.urandom(70 * PAGE + 10)
        packed = gzip.compress(content, 1)
        async with open_chip(residency=residency) as acc:
            for operation, data in ((wdasync.Compress, content), (wdasync.Decompress, packed)):
                book = Book(data)
                buffer = PagedBuffer(len(data), book.pager, page_size=page_size)
                result = await acc.execute(operation(buffer, "gzip"))
                assert result.faults == len(book.asked) == buffer.pages
            into, book = bytearray(len(content)), Book(packed)
            result = await acc.execute(wdasync.Decompress(book.buffer(), "gzip", into=into))
            assert into == content
            assert result.faults == len(book.asked)

    async def test_pinned_pages_come_before(self) -> None:
        book = Book(TEXT)
        async with open_chip(residency="pinned") as acc:
            result = await acc.execute(wdasync.Compress(book.buffer(), "gzip"))
        assert gzip.decompress(result.output) == TEXT
        assert sorted(book.asked) == list(range(-(-len(TEXT) // PAGE)))
        assert (result.paging, result.faults) == (wdasync.Paging.BEFORE, 0)

    async def test_a_header_in_pages_that_have_not_come(self) -> None:
        """Of a file with a long name, and of a second member that begins at the end of a page."""
        name = b"x" * 3 * PAGE + b"\0"
        plain = gzip.compress(TEXT, 1)
        named = plain[:3] + b"\x08" + plain[4:10] + name + plain[10:]
        first = gzip.compress(os.urandom(PAGE), 0)
        border = gzip.compress(os.urandom(2 * PAGE - len(first) - 28), 0)
        assert PAGE * 2 - 10 <= len(first + border) < PAGE * 2
        async with open_chip() as acc:
            for packed in (named, first + border + named):
                book = Book(packed)
                result = await acc.execute(wdasync.Decompress(book.buffer(), "gzip"))
                assert result.output == gzip.decompress(packed)
                assert result.faults == len(book.asked) == -(-len(packed) // PAGE)
            cut = Book(named[: 2 * PAGE])
            with pytest.raises(wdasync.DataError) as caught:
                await acc.decompress(cut.buffer(), "gzip")
            assert caught.value.cause is wdasync.DataCause.TRUNCATED

    async def test_an_error_on_page_3_means_page_10_is_never_asked_for(self) -> None:
        book = Book(TEXT)
        book.bad = {3}
        async with open_chip() as acc:
            with pytest.raises(wdasync.PageFaultError):
                await acc.compress(book.buffer(), "gzip")
        assert book.asked == [0, 1, 2, 3]

    async def test_one_buffer_in_many_operations(self) -> None:
        book = Book(TEXT)
        async with open_chip() as acc:
            buffer = book.buffer()
            results: list[bytes] = []

            async def one() -> None:
                results.append(await acc.compress(buffer, "gzip"))

            async with anyio.create_task_group() as group:
                for _ in range(10):
                    group.start_soon(one)
        assert {gzip.decompress(result) for result in results} == {TEXT}
        assert sorted(book.asked) == list(range(buffer.pages))

    async def test_another_buffer_at_the_same_address(self) -> None:
        """A buffer is gone, and the next one gets its memory at once: nothing of the first one may be left."""
        old, new = Book(TEXT), Book(TEXT[::-1])
        async with open_chip() as acc:
            first, second = old.buffer(), new.buffer()
            second.memory = first.memory
            assert gzip.decompress(await acc.compress(first, "gzip")) == TEXT
            result = await acc.execute(wdasync.Compress(second, "gzip"))
        assert gzip.decompress(result.output) == TEXT[::-1]
        assert new.asked == list(range(second.pages))
        assert result.faults == second.pages

    async def test_a_pager_that_uses_the_accelerator(self) -> None:
        async with open_chip() as acc:
            packed = [await acc.compress(TEXT[at : at + PAGE], "zlib") for at in range(0, len(TEXT), PAGE)]

            async def pager(offset: int, length: int) -> bytes:
                page: bytes = await acc.decompress(packed[offset // PAGE], "zlib")
                return page

            with anyio.fail_after(20):
                result = await acc.compress(PagedBuffer(len(TEXT), pager), "gzip")
        assert gzip.decompress(result) == TEXT

    async def test_closing_while_a_pager_thinks(self) -> None:
        begun = anyio.Event()

        async def pager(offset: int, length: int) -> bytes:
            begun.set()
            await anyio.sleep(60)
            raise AssertionError

        failures: list[Exception] = []

        async def use(acc: Any) -> None:
            try:
                await acc.compress(PagedBuffer(10 * PAGE, pager), "gzip")
            except (wdasync.WdasyncError, wdasync.ClosedResourceError) as error:
                failures.append(error)

        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                async with open_chip(fault_deadline=0.5) as acc:
                    group.start_soon(use, acc)
                    await begun.wait()
        assert len(failures) == 1
