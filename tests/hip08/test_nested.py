"""Work that a page fault waits for: what pagers and handlers await on the same accelerator."""

import gzip
import os
import zlib
from typing import Any

import anyio
import pytest

import wdasync
from wdasync import FaultResponse, PagedBuffer, PageFault

pytestmark = pytest.mark.anyio
PAGE = 4096
TEXT = b"".join(f"line {number} of a text that shrinks.\n".encode() for number in range(2000))
#: Seconds: far above what it takes, and below the time after which a deadlock ends as an error.
PATIENCE = 60


def open_chip(**options: Any) -> Any:
    return wdasync.open_accelerator("hip08", fallback=False, fault_deadline=2 * PATIENCE, **options)


class Shelf:
    """Content, kept in packed pages: its pager unpacks them on an accelerator."""

    def __init__(self, acc: Any, content: bytes, page_size: int = PAGE) -> None:
        self.acc = acc
        self.content = content
        self.page_size = page_size
        self.packed = [
            zlib.compress(content[at : at + page_size], 1) for at in range(0, len(content), page_size)
        ]

    async def pager(self, offset: int, length: int) -> bytes:
        page: bytes = await self.acc.decompress(self.packed[offset // self.page_size], "zlib")
        return page

    def buffer(self) -> PagedBuffer:
        return PagedBuffer(len(self.content), self.pager, page_size=self.page_size)


@pytest.mark.parametrize("residency", ["cold", "mirror", "pinned"])
async def test_more_pagers_than_stall_tags(residency: str) -> None:
    """Faults hold all tags that this process may have, and wait for work that needs none."""
    async with open_chip(residency=residency) as acc:
        text, packed = Shelf(acc, TEXT), Shelf(acc, gzip.compress(TEXT, 0))

        async def compress() -> None:
            assert gzip.decompress(await acc.compress(text.buffer())) == TEXT

        async def decompress() -> None:
            assert await acc.decompress(packed.buffer()) == TEXT

        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as group:
                for _ in range(4):
                    group.start_soon(compress)
                    group.start_soon(decompress)


async def test_long_outputs_of_a_pager() -> None:
    """Outputs above 256 KiB are memory that nobody has touched."""
    size = 512 << 10
    async with open_chip(residency="cold") as acc:
        shelf = Shelf(acc, os.urandom(1024) * 1024, size)

        async def compress() -> None:
            assert gzip.decompress(await acc.compress(shelf.buffer())) == shelf.content

        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as group:
                for _ in range(10):
                    group.start_soon(compress)


async def test_a_handler_that_uses_the_accelerator() -> None:
    asked: list[PageFault] = []
    deepest = depth = 0
    packed = gzip.compress(TEXT)

    async def handler(fault: PageFault) -> FaultResponse:
        nonlocal depth, deepest
        asked.append(fault)
        depth += 1
        deepest = max(depth, deepest)
        assert await acc.decompress(packed) == TEXT
        assert [
            gzip.decompress(one) for one in await acc.compress_many([[TEXT[:30_000], TEXT[30_000:]]])
        ] == [TEXT]
        depth -= 1
        return FaultResponse.SUCCESS

    async with open_chip(residency="cold", on_fault=handler) as acc:
        with anyio.fail_after(PATIENCE):
            result = await acc.execute(wdasync.Compress(TEXT, "gzip"))
        assert gzip.decompress(result.output) == TEXT
        assert result.faults == len(asked) > len(TEXT) // PAGE
        assert deepest == 1, "what a handler awaits caused a fault that the handler was asked for"


async def test_plain_work_does_not_wait_for_a_page() -> None:
    """Completions of a queue are in order, so work that may wait for pages has queues of its own."""
    begun, let_go = anyio.Event(), anyio.Event()

    async def pager(offset: int, length: int) -> bytes:
        begun.set()
        await let_go.wait()
        return TEXT[offset : offset + length]

    async with open_chip() as acc:
        async with anyio.create_task_group() as group:
            group.start_soon(acc.compress, PagedBuffer(len(TEXT), pager))
            await begun.wait()
            with anyio.fail_after(PATIENCE):
                for _ in range(3):
                    assert gzip.decompress(await acc.compress(TEXT)) == TEXT
                    assert await acc.decompress(gzip.compress(TEXT)) == TEXT
            let_go.set()
        assert "hip08/hisi_zip-0 compress paged" in {lane.name for lane in acc.statistics().lanes}
