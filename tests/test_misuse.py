"""Arguments that cannot be right, at every entrance: a typed error that says so, and nothing kept, lost or pinned by it."""

import gzip
import mmap
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import fields
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import wdasync
from wdasync import Accelerator, Config, Decompressor, InvalidArgument, registry
from wdasync.errors import ConfigError
from wdasync.testing.mock import backend

pytestmark = pytest.mark.anyio

PAGE = b"the page, " * 500
Call = Callable[[Accelerator], Awaitable[object]]


def released() -> memoryview:
    view = memoryview(bytearray(PAGE))
    view.release()
    return view


def closed_map() -> mmap.mmap:
    memory = mmap.mmap(-1, 4096)
    memory.close()
    return memory


async def everything(acc: Accelerator, source: Any) -> None:
    async for _ in acc.compress_stream(source):
        pass


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda acc: acc.compress_into(PAGE, None), "buffer: expected a writable bytes-like object, got None"),
        (lambda acc: acc.decompress_into(PAGE, None), "buffer: expected a writable"),
        (lambda acc: acc.compress(released()), "data: expected memory that is there, got memoryview"),
        (lambda acc: acc.compress(closed_map()), "data: expected memory that is there, got mmap"),
        (lambda acc: acc.compress_into(PAGE, released()), "into: expected memory that is there"),
        (lambda acc: acc.execute(None), "operation: expected an object such as Compress"),
        (lambda acc: acc.execute(wdasync.Compress), "operation: expected an object such as Compress"),
        (lambda acc: acc.execute(wdasync.Operation()), "operation: expected an object such as Compress"),
        (lambda acc: acc.compress_many(None), "items: expected a list of inputs, got NoneType"),
        (lambda acc: acc.compress_many(PAGE), "items: expected a list of inputs, got bytes"),
        (lambda acc: acc.compress_many([PAGE, 5]), "data: expected a bytes-like object"),
        (lambda acc: acc.compress(PAGE, "zlib", dictionary=bytearray((256 << 10) + 1)), "dictionary: expected at most 262144 bytes, one `bytes` object, or a Dictionary, got 262145"),
        (lambda acc: acc.compress_many([PAGE], "zlib", dictionary=[bytes(200_000)] * 2), "dictionary: expected at most 262144 bytes"),
        (lambda acc: acc.compress(PAGE, "zlib", dictionary=7), "dictionary: "),
        (lambda acc: acc.compress(PAGE, timeout=10**400), "timeout: expected seconds above 0"),
        (lambda acc: acc.compress_many([PAGE], timeout=-1), "timeout: expected seconds above 0"),
        (lambda acc: acc.compressor().flush([]), 'mode: expected "sync" or "full"'),
        (lambda acc: everything(acc, PAGE), "source: expected an async iterable of bytes-like objects, got bytes"),
        (lambda acc: everything(acc, [PAGE]), "source: expected an async iterable"),
    ],
)  # fmt: skip
async def test_it_is_said(call: Call, message: str) -> None:
    async with wdasync.open_accelerator("mock", fallback=False) as acc:
        with pytest.raises(InvalidArgument) as caught:
            await call(acc)
        assert message in str(caught.value)
        assert gzip.decompress(await acc.compress(PAGE)) == PAGE


async def test_dictionaries_that_are_long() -> None:
    """They are copied once, or not at all."""
    content = PAGE * 100
    async with wdasync.open_accelerator("cpu") as acc:
        for known in (content, wdasync.Dictionary(bytearray(content)), bytearray(content)[: 256 << 10]):
            packed = await acc.compress(PAGE, "zlib", dictionary=known)
            assert await acc.decompress(packed, "zlib", dictionary=known) == PAGE


SECONDS = [
    *((None, name) for name in ("deadline", "reopen_delay", "reopen_limit", "close_timeout", "reap_budget", "safety_interval")),
    ("cpu", "fault_deadline"), ("hip08", "fault_deadline"), ("mock", "fault_deadline"), ("mock", "latency"), ("mock", "jitter"),
]  # fmt: skip


def test_each_number_that_is_no_fraction_is_one_of_seconds() -> None:
    tables = [
        (None, Config),
        *((name, registry.get_backend(name).Options) for name in ("cpu", "hip08", "mock", "uacce")),
    ]
    found = [
        (name, item.name)
        for name, table in tables
        for item in fields(table)
        if item.type in ("float", "float | None")
    ]
    assert sorted(found, key=str) == sorted(SECONDS, key=str)


@pytest.mark.parametrize(("backend_name", "name"), SECONDS)
async def test_seconds_have_a_bound(backend_name: str | None, name: str) -> None:
    """It is for ever, for all practical purposes, and no timer fails by it."""
    for value in (1e308, 10**400, 10**40, 1_000_000_001):
        with pytest.raises(
            ConfigError, match=rf"{name}: expected a number of at least .* at most 1000000000.0, got 1"
        ):
            await wdasync.open_accelerator(backend_name or "mock", **{name: value})
    async with wdasync.open_accelerator(backend_name or "mock", **{name: 10**9}) as acc:
        if name not in ("latency", "jitter"):
            assert gzip.decompress(await acc.compress(PAGE)) == PAGE


async def test_seconds_of_a_rule_have_a_bound() -> None:
    with pytest.raises(ConfigError, match=r"policy.min_deadline: expected a number .* at most 1000000000.0"):
        await wdasync.open_accelerator("mock", policy=[{"backend": "mock", "min_deadline": 1e10}])


@pytest.mark.parametrize(
    "call",
    [
        lambda acc, mine: acc.compress_into(mine, 5),
        lambda acc, mine: acc.compress(mine, level="fastest"),
        lambda acc, mine: acc.compress(mine, "gzipp"),
        lambda acc, mine: acc.decompress(mine, max_length=-1),
        lambda acc, mine: acc.compress(mine, timeout=0),
        lambda acc, mine: acc.compress_many([mine, 5]),
        lambda acc, mine: acc.decompress(mine),  # it is not gzip
    ],
)
async def test_an_error_that_is_kept_keeps_no_memory(call: Callable[[Accelerator, bytearray], Any]) -> None:
    mine = bytearray(PAGE)
    async with wdasync.open_accelerator("cpu", inline=False) as acc:
        with pytest.raises(wdasync.WdasyncError) as caught:
            await call(acc, mine)
        mine.extend(b"nobody holds it")
    assert caught.value


async def test_errors_of_many_stand_in_their_places_and_keep_no_memory() -> None:
    mine = [bytearray(PAGE), bytearray(PAGE)]
    async with wdasync.open_accelerator("mock", fallback=False) as acc:
        outcomes = await acc.compress_many([mine[0], 5, mine[1]], return_exceptions=True)  # type: ignore[list-item]
        assert [type(outcome) for outcome in outcomes] == [bytes, InvalidArgument, bytes]
        for memory in mine:
            memory.extend(b"nobody holds it")


async def test_a_refused_call_of_a_decompressor_keeps_nothing() -> None:
    first, second = zlib.compress(b"first")[:5], zlib.compress(b"first")[5:]
    async with wdasync.open_accelerator("cpu", inline=False) as acc, acc.decompressor("zlib") as stream:
        output = await stream.decompress(first)
        with pytest.raises(InvalidArgument):
            await stream.decompress(second, timeout=0)
        with pytest.raises(InvalidArgument):
            await stream.decompress(second, max_length=0)
        output += await stream.decompress(second)
        assert output == b"first"
        assert stream.unused_data == b""
        await stream.finish()
        with pytest.raises(wdasync.InvalidState, match="expected an unfinished stream"):
            await stream.decompress(b"more")


async def test_a_busy_decompressor_takes_nothing_from_another_task() -> None:
    packed = zlib.compress(bytes(4 << 20))
    with backend.programmed(latency=0.002) as program:
        async with (
            wdasync.open_accelerator("mock", fallback=False) as acc,
            acc.decompressor("zlib") as stream,
            anyio.create_task_group() as group,
        ):
            outputs: list[bytes] = []

            async def run() -> None:
                outputs.append(await stream.decompress(packed))

            group.start_soon(run)
            while not acc.statistics().in_flight:
                await anyio.lowlevel.checkpoint()
            for _ in range(5):  # between its steps, too
                with pytest.raises(wdasync.BusyResourceError):
                    await stream.decompress(b"not mine")
                await anyio.sleep(0.003)
        assert [len(output) for output in outputs] == [4 << 20]
        assert not program.complaints


async def test_a_stream_lets_go_of_what_it_was_given() -> None:
    mine = bytearray(PAGE)
    async with wdasync.open_accelerator("cpu", inline=False) as acc, acc.compressor() as stream:
        output = await stream.compress(mine)
        mine.extend(b"free")
        output += await stream.finish()
        assert gzip.decompress(output) == PAGE
    async with wdasync.open_accelerator("cpu", inline=False) as acc, acc.decompressor() as stream:
        packed = bytearray(gzip.compress(PAGE))
        assert await stream.decompress(packed, max_length=100) == PAGE[:100]
        packed.extend(b"free, and what is kept is a copy")
        assert await stream.decompress(max_length=1 << 20) == PAGE[100:]


async def test_the_time_of_a_call_is_that_of_all_its_steps() -> None:
    with backend.programmed(latency=0.02):
        async with wdasync.open_accelerator("mock", fallback=False) as acc, acc.decompressor() as stream:
            with pytest.raises(wdasync.OperationTimeout):
                await stream.decompress(gzip.compress(bytes(32 << 20)), timeout=0.1)
            with pytest.raises(wdasync.InvalidState):
                await stream.decompress()
            await stream.reset()
            assert await stream.decompress(gzip.compress(b"anew")) == b"anew"


async def test_a_stream_of_an_accelerator_that_was_closed() -> None:
    acc = await wdasync.open_accelerator("mock", fallback=False)
    stream = acc.compressor()
    await acc.aclose()
    with pytest.raises(wdasync.ClosedResourceError):
        await stream.reset()
    await stream.aclose()


STREAMS = ["compressor", "decompressor", "digester"]


async def ended(stream: Any) -> None:
    """Take a stream to its good end."""
    if isinstance(stream, Decompressor):
        await stream.decompress(gzip.compress(b"x"))
    await stream.finish()


def methods(stream: Any) -> list[Callable[[], Awaitable[object]]]:
    """What may be called of a stream while it is open."""
    names = ("compress", "flush", "decompress", "update", "finish")
    calls = [getattr(stream, name) for name in names if hasattr(stream, name)]
    return [partial(call, b"") if call.__name__ in ("compress", "update") else call for call in calls]


@pytest.mark.parametrize("finished", [False, True], ids=["unfinished", "finished"])
@pytest.mark.parametrize("kind", STREAMS)
async def test_a_stream_belongs_to_its_loop(kind: str, finished: bool) -> None:
    async with wdasync.open_accelerator("mock", fallback=False) as acc, getattr(acc, kind)() as stream:
        if finished:
            await ended(stream)

        def elsewhere() -> None:
            import asyncio

            async def use() -> None:
                for method in [*methods(stream), stream.reset, stream.aclose]:
                    with pytest.raises(wdasync.ForeignLoopError):
                        await method()

            asyncio.run(use())

        await anyio.to_thread.run_sync(elsewhere)
        await stream.reset()
        await ended(stream)


@pytest.mark.parametrize("finished", [False, True], ids=["unfinished", "finished"])
@pytest.mark.parametrize("kind", STREAMS)
async def test_what_a_stream_says_of_its_state(kind: str, finished: bool) -> None:
    """Closed before finished, finished before poisoned."""
    async with wdasync.open_accelerator("cpu", inline=False) as acc:
        stream = getattr(acc, kind)()
        if finished:
            await ended(stream)
            assert ", finished>" in repr(stream)
            for method in methods(stream):
                with pytest.raises(wdasync.InvalidState, match="expected an unfinished stream"):
                    await method()
            await stream.reset()
            await ended(stream)
        await stream.aclose()
        for method in [*methods(stream), stream.reset]:
            with pytest.raises(wdasync.ClosedResourceError):
                await method()
        await stream.aclose()


async def test_a_poisoned_decompressor_does_not_end_well() -> None:
    """Though a unit ended before, and the next one was broken."""
    with backend.programmed() as program:
        async with wdasync.open_accelerator("mock", fallback=False) as acc, acc.decompressor() as stream:
            assert await stream.decompress(gzip.compress(b"x")) == b"x"
            assert stream.eof
            program.hold()
            with pytest.raises(wdasync.OperationTimeout):
                await stream.decompress(gzip.compress(b"more"), timeout=0.01)
            program.release()
            with pytest.raises(wdasync.InvalidState, match="expected a usable stream"):
                await stream.finish()


async def test_a_decompressor_that_is_used_is_not_finished_by_another_task() -> None:
    with backend.programmed(latency=0.002):
        async with (
            wdasync.open_accelerator("mock", fallback=False) as acc,
            acc.decompressor("zlib") as stream,
            anyio.create_task_group() as group,
        ):
            group.start_soon(stream.decompress, zlib.compress(bytes(4 << 20)))
            while not acc.statistics().in_flight:
                await anyio.lowlevel.checkpoint()
            with pytest.raises(wdasync.BusyResourceError):
                await stream.finish()


@pytest.mark.parametrize("who", ["pager", "handler"])
async def test_closing_from_a_pager_is_refused(who: str) -> None:
    """It would wait for itself."""
    errors: list[Exception] = []

    async def close() -> None:
        try:
            await acc.aclose()
        except wdasync.InvalidState as error:
            errors.append(error)

    async def pager(offset: int, length: int) -> bytes:
        await close()
        return bytes(length)

    async def handler(fault: wdasync.PageFault) -> wdasync.FaultResponse:
        await close()
        return wdasync.FaultResponse.SUCCESS

    how: dict[str, Any] = {"on_fault": handler, "residency": "cold"} if who == "handler" else {}
    async with wdasync.open_accelerator("hip08", fallback=False, **how) as acc:
        data = PAGE if who == "handler" else wdasync.PagedBuffer(100, pager)
        assert gzip.decompress(await acc.compress(data))
    assert errors
    assert not acc.is_open


async def test_closing_ends_the_wait_for_pages_before_a_device_begins() -> None:
    begun = anyio.Event()

    async def pager(offset: int, length: int) -> bytes:
        begun.set()
        await anyio.sleep_forever()
        return b""

    async with anyio.create_task_group() as group:
        async with wdasync.open_accelerator("mock", fallback=False) as acc:

            async def run() -> None:
                with pytest.raises(wdasync.ClosedResourceError):
                    await acc.compress(wdasync.PagedBuffer(5000, pager))

            group.start_soon(run)
            await begun.wait()


async def test_a_page_that_does_not_come_before_a_device_begins() -> None:
    async def pager(offset: int, length: int) -> bytes:
        await anyio.sleep_forever()
        return b""

    async with wdasync.open_accelerator("mock", fallback=False, deadline=0.05) as acc:
        with pytest.raises(wdasync.PageFaultError, match=r"expected page \d within 0\.05 s"):
            await acc.compress(wdasync.PagedBuffer(5000, pager))


async def test_a_cancellation_while_output_is_put_together_poisons() -> None:
    """The steps have ended, and what they made is lost: going on would leave a hole."""
    packed = gzip.compress(bytes(1 << 20))
    async with wdasync.open_accelerator("cpu", inline=False) as acc, acc.decompressor() as stream:
        join = stream._session.join
        scope = anyio.CancelScope()

        async def slow(pieces: Any) -> bytes:
            scope.cancel()
            await anyio.lowlevel.checkpoint()
            return await join(pieces)

        with pytest.MonkeyPatch.context() as patch, scope:
            patch.setattr(stream._session, "join", slow)
            await stream.decompress(packed)
        assert scope.cancelled_caught
        with pytest.raises(wdasync.InvalidState, match="cancelled"):
            await stream.decompress()
        await stream.reset()
        assert await stream.decompress(packed) == bytes(1 << 20)
