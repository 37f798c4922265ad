"""What is left of a page fault whose page never comes: the words of the program, and a service that goes on."""

import asyncio
import gzip
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import wdasync
from wdasync import FaultResponse, PagedBuffer, PageFault

pytestmark = pytest.mark.anyio
PAGE = 4096
TEXT = b"".join(f"line {number} of a text that shrinks.\n".encode() for number in range(2000))


def open_chip(**options: Any) -> Any:
    return wdasync.open_accelerator("hip08", fallback=False, **options)


class Uncommon(BaseException):
    """Not an Exception."""


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (OSError("the disk is on fire"), "OSError.*the disk is on fire"),
        (Uncommon("who catches this?"), "Uncommon.*who catches this"),
        (b"short", "expected 4096 bytes at 0 from the pager, got 5"),
        (None, "got None"),
    ],
)
@pytest.mark.parametrize("operation", [wdasync.Compress, wdasync.Decompress])
async def test_the_words_of_a_pager(operation: Any, answer: Any, words: str) -> None:
    async def pager(offset: int, length: int) -> bytes:
        if isinstance(answer, BaseException):
            raise answer
        wrong: bytes = answer
        return wrong

    async with open_chip() as acc:
        with pytest.raises(wdasync.PageFaultError, match=words) as caught:
            await acc.execute(operation(PagedBuffer(10 * PAGE, pager), "gzip"))
        assert caught.value.__cause__ is (answer if isinstance(answer, BaseException) else None)
        assert gzip.decompress(await acc.compress(TEXT)) == TEXT


@pytest.mark.parametrize("kind", [RuntimeError, Uncommon, GeneratorExit, SystemExit, KeyboardInterrupt])
async def test_a_handler_that_raises_whatever_it_wants(kind: type[BaseException]) -> None:
    raising = True

    async def handler(fault: PageFault) -> FaultResponse:
        await anyio.lowlevel.checkpoint()
        if raising:
            raise kind("no such page")
        return FaultResponse.SUCCESS

    async with open_chip(residency="cold", on_fault=handler) as acc:
        words = f"the handler raised {kind.__name__}: no such page"
        with pytest.raises(wdasync.PageFaultError, match=words) as caught:
            await acc.compress(TEXT)
        assert isinstance(caught.value.__cause__, kind)
        raising = False
        assert gzip.decompress(await acc.compress(TEXT)) == TEXT
        assert acc.is_open


@pytest.mark.parametrize("what", ["handler", "pager"])
async def test_what_a_program_waits_for_is_cancelled_by_somebody(anyio_backend: Any, what: str) -> None:
    """A cancellation of something else than its own task is one more exception."""
    if anyio_backend[0] == "trio":
        pytest.skip("there a cancellation is always of a scope that one is in")
    first = True

    async def think() -> None:
        nonlocal first
        task = asyncio.ensure_future(asyncio.sleep(60))
        if first:
            first = False
            asyncio.get_running_loop().call_soon(task.cancel)
            await task
        task.cancel()

    async def handler(fault: PageFault) -> FaultResponse:
        await think()
        return FaultResponse.SUCCESS

    async def pager(offset: int, length: int) -> bytes:
        await think()
        return TEXT[offset : offset + length]

    def source() -> Any:
        return PagedBuffer(len(TEXT), pager) if what == "pager" else TEXT

    options = {"on_fault": handler} if what == "handler" else {}
    async with open_chip(residency="cold", chip="private", fault_deadline=60, **options) as acc:
        with anyio.fail_after(30):
            with pytest.raises(wdasync.PageFaultError, match="the handler raised CancelledError; ") as caught:
                await acc.compress(source())
            assert isinstance(caught.value.__cause__, asyncio.CancelledError)
            for _ in range(2):
                assert gzip.decompress(await acc.compress(source())) == TEXT


async def test_the_deadline_is_named() -> None:
    async def pager(offset: int, length: int) -> bytes:
        await anyio.sleep_forever()
        raise AssertionError

    async with open_chip(fault_deadline=0.2) as acc:
        with pytest.raises(wdasync.PageFaultError, match=r"within 0\.2 s") as caught:
            await acc.compress(PagedBuffer(10 * PAGE, pager))
        assert caught.value.__cause__ is None


async def test_nobody_is_asked_for_pages_of_an_operation_that_was_cancelled() -> None:
    asked: list[int] = []
    begun, let_go = anyio.Event(), anyio.Event()

    async def pager(offset: int, length: int) -> bytes:
        asked.append(offset // PAGE)
        if len(asked) == 3:
            begun.set()
            await let_go.wait()
        return TEXT[offset : offset + length]

    async with open_chip() as acc:
        async with anyio.create_task_group() as group:
            group.start_soon(acc.compress, PagedBuffer(len(TEXT), pager))
            await begun.wait()
            group.cancel_scope.cancel()
        with anyio.fail_after(20):  # The queue is free, although the pager never answers.
            assert gzip.decompress(await acc.compress(TEXT)) == TEXT
        let_go.set()
        assert gzip.decompress(await acc.compress(TEXT)) == TEXT
    assert asked == [0, 1, 2]
