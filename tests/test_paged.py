"""Memory whose pages an async function supplies: fetched once, only if touched, with errors that say so."""

import gzip
import zlib
from typing import Any

import anyio
import pytest

import wdasync
from wdasync import PagedBuffer, Paging, Result
from wdasync.backend import Kind

pytestmark = pytest.mark.anyio

#: Backends that fetch all pages before they begin.
BEFORE = ["mock"]
#: Those that fetch as they go; the CPU backend where the kernel lets it.
ON_FAULT = ["cpu", "hip08"]
CONTENT = b"".join(b"%08d" % number for number in range(6000))


class Store:
    """A pager over ``CONTENT`` that notes what it is asked for."""

    def __init__(self, content: bytes = CONTENT, fails_at: int = -1) -> None:
        self.content = content
        self.fails_at = fails_at
        self.asked: list[tuple[int, int]] = []

    async def __call__(self, offset: int, length: int) -> bytes:
        self.asked.append((offset, length))
        await anyio.lowlevel.checkpoint()
        if offset == self.fails_at * 4096:
            raise OSError("the disk is on fire")
        return self.content[offset : offset + length]


def paged(store: Store, **how: Any) -> PagedBuffer:
    return PagedBuffer(len(store.content), store, **how)


async def execute(acc: wdasync.Accelerator, buffer: PagedBuffer) -> Result:
    return await acc.execute(wdasync.Compress(buffer, "gzip"))


@pytest.mark.parametrize("name", BEFORE)
async def test_all_pages_before_the_device_begins(name: str) -> None:
    store = Store()
    buffer = paged(store)
    async with wdasync.open_accelerator(name, fallback=False) as acc:
        result = await execute(acc, buffer)
        assert result.output is not None
        assert gzip.decompress(result.output) == CONTENT
        assert result.paging is Paging.BEFORE
        assert sorted(store.asked) == [
            (offset, min(4096, len(CONTENT) - offset)) for offset in range(0, len(CONTENT), 4096)
        ]
        assert buffer.fetched == buffer.pages == 12
        assert zlib.decompress(await acc.compress(buffer, "zlib")) == CONTENT
        assert len(store.asked) == 12, "a page is fetched once"
        many = await acc.compress_many([paged(Store()), b"and bytes"])
        assert [gzip.decompress(output) for output in many] == [CONTENT, b"and bytes"]
        assert (await acc.execute(wdasync.Compress(b"x", "gzip"))).paging is None


@pytest.mark.parametrize("name", ON_FAULT)
async def test_pages_when_the_device_comes_to_them(name: str) -> None:
    store = Store()
    buffer = paged(store)
    async with wdasync.open_accelerator(name, fallback=False) as acc:
        table = next(iter(acc.capabilities().values()))
        if not all(row.paged for row in table if row.kind is Kind.COMPRESS):
            pytest.skip("the kernel refuses userfaultfd, or a codec's C library is not here")
        result = await execute(acc, buffer)
        assert result.output is not None
        assert gzip.decompress(result.output) == CONTENT
        assert result.paging is Paging.ON_FAULT
        assert result.faults == len(store.asked) == buffer.fetched == 12
        assert [offset for offset, _ in store.asked] == list(range(0, len(CONTENT), 4096))
        assert zlib.decompress(await acc.compress(buffer, "zlib")) == CONTENT
        assert len(store.asked) == 12, "a page is fetched once"
        many = await acc.compress_many([paged(Store()), b"and bytes"])
        assert [gzip.decompress(output) for output in many] == [CONTENT, b"and bytes"]


async def test_many_ask_at_once_and_the_pager_is_called_once() -> None:
    store = Store()
    buffer = paged(store)
    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(buffer.fetch, 3)
    assert store.asked == [(3 * 4096, 4096)]
    assert buffer.is_present(3)
    assert not buffer.is_present(4)
    assert "1 of 12 pages present" in repr(buffer)
    with pytest.raises(wdasync.PageFaultError, match="page 0 is absent"):
        buffer.view()


async def test_after_an_error_no_later_page_is_asked_for() -> None:
    store = Store(bytes(100 * 4096), fails_at=3)
    buffer = paged(store)
    async with wdasync.open_accelerator("mock", fallback=False) as acc:
        (refused, other) = await acc.compress_many([buffer, b"other"], return_exceptions=True)
        assert isinstance(refused, wdasync.PageFaultError)
        assert isinstance(other, bytes)
        store.asked.clear()
        with pytest.raises(wdasync.PageFaultError, match=r"the pager raised OSError .* the disk is on fire"):
            await acc.compress(buffer)
        assert len(store.asked) < 20
        store.fails_at = -1
        assert gzip.decompress(await acc.compress(buffer)) == bytes(100 * 4096)
        assert set(store.asked) <= {(page * 4096, 4096) for page in range(100)}
        assert buffer.fetched == 100


@pytest.mark.parametrize("data", [b"short", bytes(5000), memoryview(bytes(8))])
async def test_a_pager_that_gives_another_number_of_bytes(data: bytes) -> None:
    async def pager(offset: int, length: int) -> bytes:
        return data

    with pytest.raises(
        wdasync.PageFaultError, match=rf"expected 4096 bytes at \d+ from the pager, got {len(data)}"
    ):
        await PagedBuffer(8192, pager).fetch_all()


async def test_a_pager_that_gives_no_bytes() -> None:
    async def pager(offset: int, length: int) -> bytes:
        return None  # type: ignore[return-value]

    with pytest.raises(wdasync.PageFaultError, match=r"expected 4096 bytes at \d+ from the pager, got None"):
        await PagedBuffer(8192, pager).fetch_all()


async def test_a_cancelled_fetch_is_asked_again() -> None:
    store = Store()
    buffer = paged(store)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await buffer.fetch(0)
    assert not buffer.is_present(0)
    await buffer.fetch(0)
    assert buffer.is_present(0)


async def test_larger_pages() -> None:
    store = Store()
    buffer = paged(store, page_size=16384)
    await buffer.fetch_all()
    assert sorted(store.asked) == [(0, 16384), (16384, 16384), (32768, 15232)]
    assert buffer.view() == CONTENT


async def test_no_bytes_at_all() -> None:
    store = Store(b"")
    async with wdasync.open_accelerator("mock", fallback=False) as acc:
        assert gzip.decompress(await acc.compress(paged(store))) == b""
    assert store.asked == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, Store()), "length: expected bytes, an int of at least 0, got -1"),
        (("5", Store()), "length: expected bytes"),
        ((5, None), "pager: expected an async function"),
        ((5, Store(), 5000), "page_size: expected a power of two, at least 4096, got 5000"),
        ((5, Store(), 2048), "page_size: expected a power of two"),
    ],
)
async def test_arguments_that_cannot_be_right(arguments: tuple[Any, ...], message: str) -> None:
    length, pager, *rest = arguments
    with pytest.raises(wdasync.InvalidArgument, match=message):
        PagedBuffer(length, pager, page_size=rest[0] if rest else 4096)


async def test_it_is_no_bytes_like_object() -> None:
    with pytest.raises(TypeError):
        memoryview(paged(Store()))  # type: ignore[arg-type]
    async with wdasync.open_accelerator("mock") as acc, acc.compressor() as stream:
        with pytest.raises(wdasync.InvalidArgument, match="got PagedBuffer"):
            await stream.compress(paged(Store()))  # type: ignore[arg-type]


async def test_another_thread_does_not_wait_for_a_page() -> None:
    """A lock of one event loop cannot wake a task of another."""
    asked, go = anyio.Event(), anyio.Event()

    async def pager(offset: int, length: int) -> bytes:
        asked.set()
        await go.wait()
        return bytes(length)

    buffer = wdasync.PagedBuffer(100, pager)

    def elsewhere() -> None:
        with pytest.raises(wdasync.PageFaultError, match="one event loop at a time"):
            anyio.run(buffer.fetch, 0)

    async with anyio.create_task_group() as group:
        group.start_soon(buffer.fetch, 0)
        await asked.wait()
        await anyio.to_thread.run_sync(elsewhere)
        go.set()
    await anyio.to_thread.run_sync(anyio.run, buffer.fetch, 0)
    assert buffer.fetched == 1
