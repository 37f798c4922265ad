"""The public methods: what goes in, what comes out, what they say of themselves."""

import asyncio
import gzip
import logging
import zlib
from array import array
from collections.abc import Iterator
from typing import Any

import anyio
import pytest

import wdasync
from wdasync import Capabilities, Capability, Compress, Decompress, Kind, Observation, Reason, Status
from wdasync.testing.mock import Program, backend

pytestmark = pytest.mark.anyio

PAGE = b"the page, " * 500


@pytest.fixture
def program() -> Iterator[Program]:
    with backend.programmed() as program:
        yield program
        assert not program.complaints
        assert not program.devices


def opened(**settings: Any) -> wdasync.lifecycle.Opening:
    return wdasync.open_accelerator("mock", fallback=False, **settings)


@pytest.mark.parametrize(
    "data",
    [
        PAGE,
        bytearray(PAGE),
        memoryview(PAGE),
        [PAGE[:7], bytearray(PAGE[7:])],
        (PAGE,),
        b"",
        [],
        memoryview(b""),
        memoryview(bytearray())[::2],
        [memoryview(b"x" * 9)[4:4:3], memoryview(array("I"))[::2]],
    ],
    ids=[
        "bytes",
        "bytearray",
        "memoryview",
        "list",
        "tuple",
        "empty",
        "empty list",
        "empty view",
        "no steps",
        "several",
    ],
)
async def test_every_kind_of_input(program: Program, data: Any) -> None:
    whole = b"".join(map(bytes, data)) if isinstance(data, list | tuple) else bytes(data)
    async with opened() as acc:
        assert gzip.decompress(await acc.compress(data)) == whole
        packed = zlib.compress(whole)
        halves: Any = [packed[:4], bytearray(packed[4:])] if isinstance(data, list) else packed
        assert await acc.decompress(halves, "zlib") == whole


async def test_output_into_no_memory(program: Program) -> None:
    """Of any shape: it does not fit."""
    async with opened() as acc:
        for room in (bytearray(), memoryview(bytearray())[::2], memoryview(bytearray(9))[5:5:2]):
            with pytest.raises(wdasync.OutOfSpace):
                await acc.compress_into(PAGE, room)


async def test_output_into_the_caller_s_memory(program: Program) -> None:
    guarded = bytearray(b"\xaa" * 3000)
    async with opened() as acc:
        room = memoryview(guarded)[500:2500]
        produced = await acc.compress_into(PAGE, room, "zlib")
        assert zlib.decompress(room[:produced]) == PAGE
        assert await acc.decompress_into(zlib.compress(b"x" * 2000), room, "zlib") == 2000
        assert bytes(room) == b"x" * 2000
        assert guarded[:500] == guarded[2500:] == b"\xaa" * 500


async def test_an_output_buffer_that_is_too_small(program: Program) -> None:
    guarded = bytearray(b"\xaa" * 100)
    async with opened() as acc:
        with pytest.raises(wdasync.OutOfSpace, match="larger output buffer"):
            await acc.compress_into(PAGE, memoryview(guarded)[40:60])
        assert guarded[:40] == guarded[60:] == b"\xaa" * 40
        program.fail(Status.OUT_OF_SPACE_RECOVERABLE)
        with pytest.raises(wdasync.OutOfSpace, match="go on") as caught:
            await acc.compress_into(PAGE, bytearray(20))
        assert caught.value.recoverable


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("text", r"data: expected a bytes-like object or a list of them, got str; encode text"),
        (7, r"data: expected a bytes-like object or a list of them, got int"),
        (None, r"data: expected a bytes-like object or a list of them, got NoneType"),
        ([b"a", "b"], r"data\[1\]: expected a bytes-like object"),
        (memoryview(bytes(10))[::2], r"data: expected contiguous memory, got a strided view"),
        ([b""] * 70_000, r"data: expected at most 65280 segments, got 70000"),
    ],
)
async def test_inputs_that_are_none(program: Program, data: Any, message: str) -> None:
    async with opened() as acc:
        for attempt in (acc.compress, acc.decompress, lambda data: acc.compress_into(data, bytearray(9))):
            with pytest.raises(wdasync.InvalidArgument, match=message):
                await attempt(data)
        assert acc.statistics().completed == 0


@pytest.mark.parametrize(
    ("buffer", "message"),
    [
        (b"immutable", "expected a writable buffer, got a read-only bytes"),
        (memoryview(b"immutable"), "expected a writable buffer, got a read-only memoryview"),
        (memoryview(bytearray(10))[::2], "expected contiguous memory, got a strided view"),
        ("text", "expected a writable bytes-like object, got str"),
    ],
)
async def test_outputs_that_are_none(program: Program, buffer: Any, message: str) -> None:
    async with opened() as acc:
        for method in (acc.compress_into, acc.decompress_into):
            with pytest.raises(wdasync.InvalidArgument, match=message):
                await method(PAGE, buffer)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"algorithm": "gzpi"}, wdasync.UnsupportedOperation, "got 'gzpi' .did you mean 'gzip'"),
        ({"algorithm": 5}, wdasync.InvalidArgument, "algorithm: expected a str such as 'gzip', got 5"),
        ({"algorithm": ["gzip"]}, wdasync.InvalidArgument, "algorithm: expected a str"),
        ({"level": 10}, wdasync.InvalidArgument, r"level: expected 0..9, .* for gzip, got 10"),
        ({"level": -1}, wdasync.InvalidArgument, r"level: expected 0..9"),
        ({"level": "quick"}, wdasync.InvalidArgument, 'level: expected "fast", "balanced", "best" or an int'),
        ({"level": 1.5}, wdasync.InvalidArgument, "level: expected"),
        ({"level": True}, wdasync.InvalidArgument, "level: expected"),
        ({"window": 16}, wdasync.UnsupportedOperation, r"window of 2\*\*16"),
        ({"timeout": 0}, wdasync.InvalidArgument, "timeout: expected seconds above 0, got 0"),
        ({"timeout": "1"}, wdasync.InvalidArgument, "timeout: expected seconds above 0, got '1'"),
        ({"timeout": float("nan")}, wdasync.InvalidArgument, "timeout: expected seconds above 0"),
        ({"priority": 7}, wdasync.InvalidArgument, "priority: expected one of LOW, NORMAL, HIGH, got 7"),
    ],
)
async def test_arguments_that_cannot_be_right(
    program: Program, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    async with opened() as acc:
        with pytest.raises(error, match=message):
            await acc.compress(PAGE, **arguments)
        assert acc.statistics().completed == 0


async def test_bounds_of_decompression(program: Program) -> None:
    packed = gzip.compress(bytes(10_000))
    async with opened(max_length=20_000) as acc:
        assert len(await acc.decompress(packed, max_length=10_000)) == 10_000
        with pytest.raises(wdasync.LimitExceeded, match="max_length 9999"):
            await acc.decompress(packed, max_length=9_999)
        with pytest.raises(wdasync.LimitExceeded, match="max_length 20000"):
            await acc.decompress(packed * 3)
        assert await acc.decompress(packed * 2, max_members=2) == bytes(20_000)
        with pytest.raises(wdasync.LimitExceeded, match="max_members 1"):
            await acc.decompress(packed * 2, max_members=1)
        for bad in ({"max_length": -1}, {"max_length": 1.5}, {"max_members": 0}):
            with pytest.raises(wdasync.InvalidArgument, match="expected an int of at least"):
                await acc.decompress(packed, **bad)


async def test_an_item_that_nobody_takes_is_an_error_in_its_place(program: Program) -> None:
    """The others are done; also where it is the schedule that refuses it."""
    program.capabilities = Capabilities([Capability(Kind.COMPRESS, "gzip", max_input=100)])
    seen: list[Observation] = []
    large = bytearray(101)
    async with opened(observer=seen.append) as acc:
        items = [b"small", large, b"small too"]
        first, refused, last = await acc.compress_many(items, return_exceptions=True)
        assert isinstance(refused, wdasync.UnsupportedOperation)
        assert "no backend takes 101 bytes" in str(refused)
        assert [gzip.decompress(first), gzip.decompress(last)] == [b"small", b"small too"]  # type: ignore[arg-type]
        large.append(0)  # nobody holds it
        assert sorted(told.nbytes for told in seen if told.status is None) == [101]
        with pytest.raises(wdasync.UnsupportedOperation, match="no backend takes 102 bytes"):
            await acc.compress_many(items)
        assert len(seen) == 6, "those that can be done are, before it is raised"
        refusals = await acc.compress_many([large] * 3, level=99, return_exceptions=True)
        assert {type(error) for error in refusals} == {wdasync.InvalidArgument}


async def test_many_keep_their_order_and_their_errors(program: Program) -> None:
    async with opened(depth=8) as acc:
        items = [b"%d" % number * 20 for number in range(300)]
        results = await acc.compress_many(items)
        assert [gzip.decompress(result) for result in results] == items
        assert await acc.compress_many([]) == []
        program.fail(Status.DATA_ERROR, count=1)
        with pytest.raises(wdasync.DataError):
            await acc.compress_many(items)
        program.fail(Status.DATA_ERROR, count=2)
        mixed = await acc.compress_many(items, return_exceptions=True)
        errors = [result for result in mixed if isinstance(result, wdasync.DataError)]
        assert len(errors) == 2
        assert len(mixed) == 300


async def test_a_result_tells_where_and_why(program: Program) -> None:
    async with opened() as acc:
        result = await acc.execute(Compress(PAGE, "zlib", level=9))
        assert result.output is not None
        assert zlib.decompress(result.output) == PAGE
        assert (result.backend, result.device, result.queue) == ("mock", "mock-0", "mock/mock-0")
        assert (result.reason, result.consumed, result.produced) == (
            Reason.PREFERRED,
            len(PAGE),
            len(result.output),
        )
        assert result.latency > 0
        buffer = bytearray(5000)
        result = await acc.execute(Decompress(zlib.compress(PAGE), "zlib", into=buffer))
        assert (result.output, result.produced) == (None, 5000)
        assert bytes(buffer) == PAGE


async def test_an_operation_object_can_be_run_again(program: Program) -> None:
    async with opened() as acc:
        operation = Compress(bytearray(PAGE), "gzip")
        program.fail(Status.DATA_ERROR)
        with pytest.raises(wdasync.DataError):
            await acc.execute(operation)
        result = await acc.execute(operation)
        assert result.output is not None
        assert gzip.decompress(result.output) == PAGE


async def test_a_step_of_a_stream_is_not_for_execute(program: Program) -> None:
    from wdasync.operations import CompressChunk

    async with opened() as acc, acc.compressor() as stream:
        with pytest.raises(wdasync.InvalidArgument, match="expected a stateless one"):
            await acc.execute(CompressChunk(stream._session.session, PAGE))


async def test_small_work_runs_inline_within_its_budget(program: Program) -> None:
    program.change(inline_cost=20_000)
    async with opened(inline_budget=50_000) as acc:
        result = await acc.execute(Compress(PAGE, "gzip"))
        assert (result.queue, result.reason) == ("inline", Reason.INLINE)
        await anyio.lowlevel.checkpoint()
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(acc.compress, PAGE)
        statistics = acc.statistics()
        assert statistics.inline == 3, "two of one turn fit into the budget, and the one before"
        assert statistics.reasons["inline"] == 3
        assert statistics.completed == 6
        buffer = bytearray(9000)
        await anyio.sleep(0.01)
        produced = await acc.compress_into(PAGE, buffer)
        assert gzip.decompress(buffer[:produced]) == PAGE
        with pytest.raises(wdasync.DataError):
            await acc.decompress(b"no gzip at all")
        assert acc.statistics().inline == 5


@pytest.mark.parametrize(
    "settings", [{"inline": False}, {"inline_cost": 19_999}, {"inline_budget": 19_999}], ids=repr
)
async def test_what_keeps_work_from_running_inline(program: Program, settings: dict[str, Any]) -> None:
    program.change(inline_cost=20_000)
    async with opened(**settings) as acc:
        assert (await acc.execute(Compress(PAGE, "gzip"))).reason is Reason.PREFERRED
        await acc.nop()
        assert acc.statistics().inline == 0


async def test_nothing_runs_inline_while_much_is_in_flight(program: Program) -> None:
    async with opened(inline_in_flight=2) as acc, anyio.create_task_group() as group:
        program.hold()
        for _ in range(3):
            group.start_soon(acc.nop)
        while acc.statistics().in_flight < 3:
            await anyio.lowlevel.checkpoint()
        program.change(inline_cost=1000)
        group.start_soon(acc.compress, PAGE)
        await anyio.sleep(0.01)
        assert acc.statistics().in_flight == 4
        program.release()


async def test_an_inline_operation_notices_a_cancellation_on_trio(
    program: Program, anyio_backend_name: str
) -> None:
    program.change(inline_cost=1)
    async with opened() as acc:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await acc.compress(PAGE)
            if anyio_backend_name == "asyncio":
                await anyio.lowlevel.checkpoint()
        assert scope.cancelled_caught


async def test_an_observer_is_told_of_everything(program: Program) -> None:
    seen: list[Observation] = []
    async with opened(observer=seen.append) as acc:
        packed = await acc.compress(PAGE)
        program.fail(Status.CHECKSUM_FAILED)
        with pytest.raises(wdasync.DataError):
            await acc.decompress(packed)
        program.stick()
        with anyio.move_on_after(0.01):
            await acc.compress(PAGE)
        program.stick()
        with pytest.raises(wdasync.OperationTimeout):
            await acc.compress(PAGE, timeout=0.01)
        await acc.aclose()
    first, second, third, fourth = seen
    assert first.kind is Kind.COMPRESS
    assert (first.algorithm, first.backend, first.reason) == ("gzip", "mock/mock-0", Reason.PREFERRED)
    assert (first.nbytes, first.produced, first.status) == (len(PAGE), len(packed), Status.SUCCESS)
    assert first.latency > 0
    assert second.status is Status.CHECKSUM_FAILED
    assert third.status is None, "the caller was cancelled"
    assert fourth.status is None, "it ran out of time"


async def test_of_many_those_that_fail_are_sent_again(program: Program) -> None:
    """Also where there was nothing to choose; and where they went is counted."""
    async with wdasync.open_accelerator(policy=[{"backend": "mock"}, {"backend": "cpu"}]) as acc:
        items = [b"%d" % number * 20 for number in range(40)]
        await acc.compress_many(items)
        assert acc.statistics().reasons["preferred"] == 40
        program.fail(Status.DEVICE_ERROR, count=3)
        assert [gzip.decompress(result) for result in await acc.compress_many(items)] == items
        reasons = acc.statistics().reasons
        assert (reasons["preferred"], reasons["retry"]) == (80, 3)
        program.fail(Status.DATA_ERROR, count=3)
        results = await acc.compress_many(items, return_exceptions=True)
        assert sum(isinstance(result, wdasync.DataError) for result in results) == 3


async def test_an_observer_hears_of_many_and_of_steps_and_the_right_status(program: Program) -> None:
    seen: list[Observation] = []
    async with opened(observer=seen.append) as acc:
        await acc.compress_many([PAGE, PAGE])
        program.fail(Status.OUT_OF_SPACE_RECOVERABLE, count=1)
        with pytest.raises(wdasync.OutOfSpace):
            await acc.compress_into(PAGE, bytearray(5000))
        with pytest.raises(wdasync.DataError) as caught:
            await acc.decompress(b"not gzip at all")
        assert caught.value.status is Status.DATA_ERROR
        with pytest.raises(wdasync.LimitExceeded):
            await acc.decompress(gzip.compress(PAGE), max_length=10)
        async with acc.compressor() as stream:
            await stream.finish(PAGE)
    told = [(observation.kind, observation.status) for observation in seen]
    assert told == [
        (Kind.COMPRESS, Status.SUCCESS),
        (Kind.COMPRESS, Status.SUCCESS),
        (Kind.COMPRESS, Status.OUT_OF_SPACE_RECOVERABLE),
        (Kind.DECOMPRESS, Status.DATA_ERROR),
        (Kind.DECOMPRESS, Status.OUT_OF_SPACE_TERMINATED),
        (Kind.COMPRESS_CHUNK, Status.SUCCESS),
    ]
    assert seen[-1].reason is Reason.STREAM
    assert {observation.backend for observation in seen} == {"mock/mock-0"}


async def test_many_that_come_too_late_are_not_counted(program: Program) -> None:
    acc = await opened()
    await acc.compress(PAGE)  # there is a plain way now
    before = acc.statistics().reasons
    await acc.aclose()
    with pytest.raises(wdasync.ClosedResourceError):
        await acc._execution.run_many([Compress(PAGE, "gzip")], None, wdasync.Priority.NORMAL)
    assert acc.statistics().reasons == before


@pytest.mark.parametrize("kind", [ValueError, GeneratorExit, BaseException, asyncio.CancelledError])
async def test_an_observer_that_raises_breaks_nothing(
    kind: type[BaseException], program: Program, caplog: pytest.LogCaptureFixture
) -> None:
    def observer(observation: Observation) -> None:
        raise kind("the observer's own")

    async with opened(observer=observer) as acc:
        assert gzip.decompress(await acc.compress(PAGE)) == PAGE
        with pytest.raises(wdasync.DataError):
            await acc.decompress(PAGE)
        assert [gzip.decompress(page) for page in await acc.compress_many([PAGE, PAGE])] == [PAGE, PAGE]
    assert "the observer's own" in caplog.text


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
async def test_an_observer_may_end_the_program(kind: type[BaseException], program: Program) -> None:
    def observer(observation: Observation) -> None:
        raise kind

    async with opened(observer=observer) as acc:
        with pytest.raises(kind):
            await acc.compress(PAGE)


@pytest.mark.parametrize("kind", [ValueError, GeneratorExit, BaseException, asyncio.CancelledError])
async def test_a_fault_handler_that_raises_refuses_its_page(kind: type[BaseException]) -> None:
    """Whatever it is; and the next fault is answered."""
    answers = iter([kind("the handler's own"), wdasync.FaultResponse.SUCCESS])

    async def handler(fault: wdasync.PageFault) -> wdasync.FaultResponse:
        answer = next(answers)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    with backend.programmed() as program:
        program.change(page_faults=wdasync.backend.PageFaults.HANDLER)
        async with opened(on_fault=handler) as acc:
            program.page_fault()
            with pytest.raises(wdasync.PageFaultError):
                await acc.compress(PAGE)
            program.page_fault()
            assert gzip.decompress(await acc.compress(PAGE)) == PAGE


@pytest.mark.parametrize("kind", [GeneratorExit, BaseException, asyncio.CancelledError])
async def test_a_pager_that_raises_refuses_its_page(kind: type[BaseException], program: Program) -> None:
    pages = iter([kind("the pager's own"), bytes(4096)])

    async def pager(offset: int, length: int) -> bytes:
        page = next(pages)
        if isinstance(page, BaseException):
            raise page
        return page

    paged = wdasync.PagedBuffer(4096, pager)
    program.change(page_faults=wdasync.backend.PageFaults.HANDLER)
    async with opened() as acc:
        with pytest.raises(wdasync.PageFaultError):
            await acc.compress(paged)
        assert gzip.decompress(await acc.compress(paged)) == bytes(4096)


async def test_what_it_says_of_itself(program: Program, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "wdasync"):
        async with opened() as acc:
            assert "open on" in repr(acc)
            assert "mock/mock-0" in repr(acc)
            (table,) = acc.capabilities().values()
            assert table.find(Kind.COMPRESS, "gzip") is not None
            assert table.find(Kind.COMPRESS, "none") is None
            await acc.compress(PAGE)
            statistics = acc.statistics()
            assert statistics.reasons["preferred"] == 1
            (lane,) = statistics.lanes
            assert (lane.bytes_in, lane.statuses) == (len(PAGE), {Status.SUCCESS: 1})
            assert lane.queue.enqueued == lane.queue.dequeued == 1
            assert acc.effective.config.backend == "mock"
    assert "closed on" in repr(acc)
    assert "opened <Accelerator" in caplog.text


async def test_faults_reach_their_observers_and_are_lost_by_slow_ones(program: Program) -> None:
    fault = wdasync.PageFault("mock-0", 0x1000, wdasync.Access.READ, 1, 7)
    async with opened() as acc:
        async with acc.faults() as faults, acc.faults() as others:
            report = acc._report_fault
            for _ in range(1500):
                report(fault)
            assert await anext(faults) == fault
            assert faults.dropped == others.dropped == 1500 - 1024
        assert acc.statistics().faults == 1500
        report(fault)
        with pytest.raises(StopAsyncIteration):
            await anext(faults)
