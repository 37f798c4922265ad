"""The mock does what its program says, and repeats it exactly."""

import select
import threading
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest

import wdasync
from wdasync.backend import Direction, PageFaults, StreamSpec
from wdasync.errors import BackendUnavailable, DataCause, InvalidState, Status
from wdasync.faults import FaultResponse, PageFault
from wdasync.operations import Compress, CompressChunk, Decompress, Kind, Nop
from wdasync.testing.mock import (
    Effect,
    MockBackend,
    MockDevice,
    MockQueue,
    MockSession,
    Options,
    Order,
    Program,
)
from wdasync.testing.mock import backend as mock

TEXT = b"what a page says, " * 300
Opener = Callable[..., MockQueue]


@pytest.fixture
def opened() -> Iterator[Opener]:
    """Opens a device with options, and a queue on it; closes all."""
    queues: list[MockQueue] = []

    def opener(wish: int = 64, **options: Any) -> MockQueue:
        program = Program(Options(**options))
        backend = MockBackend(program)
        queue = backend.open(backend.devices()[0], program.options).open_queue(wish)
        assert isinstance(queue, MockQueue)
        queues.append(queue)
        return queue

    yield opener
    for queue in queues:
        queue.device.program.unblock_close()
        queue.device.program.close_failures = 0
        queue.close()
        queue.device.close()


def program_of(queue: MockQueue) -> Program:
    return queue.device.program


def fill(queue: MockQueue, count: int) -> None:
    assert queue.enqueue_burst([(tag, Compress(TEXT, "gzip")) for tag in range(count)]) == count


def tags(queue: MockQueue, limit: int = 1000) -> list[int]:
    return [done.tag for done in queue.dequeue_burst(limit)]


def statuses(queue: MockQueue) -> dict[int, Status]:
    return {done.tag: done.status for done in queue.dequeue_burst(1000)}


# Time and order


def test_steps_pass_with_calls(opened: Opener) -> None:
    queue = opened(steps=3)
    fill(queue, 1)
    assert [tags(queue) for _ in range(4)] == [[], [], [0], []]


def test_steps_pass_by_themselves_while_armed(opened: Opener) -> None:
    queue = opened(steps=1000)
    fill(queue, 2)
    assert queue.arm()
    with select.epoll() as epoll:
        epoll.register(queue.fileno(), select.EPOLLIN)
        assert epoll.poll(0)
    assert tags(queue) == [0, 1]


def test_latency_wakes_the_sleeper(opened: Opener) -> None:
    queue = opened(latency=0.02)
    fill(queue, 2)
    assert tags(queue) == []
    assert queue.arm()
    with select.epoll() as epoll:
        epoll.register(queue.fileno(), select.EPOLLIN)
        assert epoll.poll(10)
    assert tags(queue) == [0, 1]


@pytest.mark.parametrize(("order", "expected"), [(Order.FIFO, [0, 1, 2, 3]), (Order.LIFO, [3, 2, 1, 0])])
def test_order(opened: Opener, order: Order, expected: list[int]) -> None:
    queue = opened(order=order)
    fill(queue, 4)
    assert tags(queue) == expected


def test_chance_repeats_exactly(opened: Opener) -> None:
    def shuffled(seed: int) -> list[int]:
        queue = opened(order=Order.SHUFFLED, seed=seed)
        fill(queue, 20)
        return tags(queue)

    assert shuffled(1) == shuffled(1)
    assert shuffled(1) != shuffled(2)
    assert sorted(shuffled(1)) == list(range(20))


def test_strict_order_waits_for_the_stuck(opened: Opener) -> None:
    for order, expected in ((Order.FIFO, [1, 2]), (Order.STRICT, [])):
        queue = opened(order=order)
        program_of(queue).stick()
        fill(queue, 3)
        assert tags(queue) == expected


def test_held_operations_are_released_one_by_one(opened: Opener) -> None:
    queue = opened()
    program = program_of(queue)
    program.hold()
    fill(queue, 4)
    assert tags(queue) == []
    program.release(1)
    assert tags(queue) == [0]
    program.release(2)
    assert tags(queue) == [1, 2]
    program.release()
    assert tags(queue) == [3]


def test_release_by_another_thread_while_one_is_counted(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = opened()
    program, next_queue = program_of(queue), queue.device.next_queue
    program.hold()
    fill(queue, 3)
    others: list[threading.Thread] = []

    def meanwhile() -> MockQueue | None:
        others.append(threading.Thread(target=program.release))
        others[-1].start()
        others[-1].join(0.05)
        return next_queue()

    program.release(1)
    monkeypatch.setattr(queue.device, "next_queue", meanwhile)
    found = list(queue.dequeue_burst(64))
    others[0].join()
    found += queue.dequeue_burst(64)
    assert [done.tag for done in found] == [0, 1, 2]
    assert program.allowance is None


def test_release_wakes_the_sleeper(opened: Opener) -> None:
    queue = opened()
    program_of(queue).hold()
    fill(queue, 1)
    assert queue.arm()
    with select.epoll() as epoll:
        epoll.register(queue.fileno(), select.EPOLLIN)
        assert not epoll.poll(0)
        program_of(queue).release()
        assert epoll.poll(0)


def test_wake_without_a_reason(opened: Opener) -> None:
    queue = opened()
    assert queue.arm()
    program_of(queue).wake()
    with select.epoll() as epoll:
        epoll.register(queue.fileno(), select.EPOLLIN)
        assert epoll.poll(0)
    assert tags(queue) == []


def test_engines_bound_what_the_device_sees(opened: Opener) -> None:
    queue = opened(engines=2, steps=1)
    fill(queue, 5)
    assert not queue.withdraw(0)
    assert not queue.withdraw(1)
    assert queue.withdraw(4)
    assert queue.withdraw(2)
    assert [tags(queue) for _ in range(3)] == [[0, 1], [3], []]
    assert queue.statistics().withdrawn == 2


def test_work_is_done_late_or_early(opened: Opener) -> None:
    for late in (True, False):
        buffer = bytearray(1000)
        queue = opened(late=late)
        program_of(queue).hold()
        queue.enqueue_burst([(0, Compress(TEXT, "gzip", into=buffer))])
        assert any(buffer) is not late
        program_of(queue).release()
        (done,) = queue.dequeue_burst(1)
        assert zlib.decompress(buffer[: done.produced], 31) == TEXT


# Room


def test_a_full_queue_rejects(opened: Opener) -> None:
    queue = opened(3, steps=1)
    assert queue.enqueue_burst([(tag, Nop()) for tag in range(5)]) == 3
    assert queue.enqueue_burst([(9, Nop())]) == 0
    assert queue.statistics().rejected == 3


def test_the_option_bounds_the_depth(opened: Opener) -> None:
    assert opened(64, depth=5).depth == 5


def test_refusals_come_with_nothing_in_flight(opened: Opener) -> None:
    queue = opened(refuse=1)
    program_of(queue).refuse(1)
    assert [queue.enqueue_burst([(tag, Nop())]) for tag in range(3)] == [0, 0, 1]


def test_bursts_are_taken_in_part(opened: Opener) -> None:
    queue = opened(accept=2)
    assert queue.enqueue_burst([(tag, Nop()) for tag in range(5)]) == 2
    assert tags(queue) == [0, 1]


# Misfortune


def test_rules_strike_by_kind_count_and_interval(opened: Opener) -> None:
    queue = opened()
    program_of(queue).fail(
        Status.DATA_ERROR, kind=Kind.COMPRESS, interval=2, count=2, cause=DataCause.CORRUPT
    )
    queue.enqueue_burst([(tag, Nop() if tag % 2 else Compress(TEXT, "gzip")) for tag in range(12)])
    found = queue.dequeue_burst(100)
    assert [done.tag for done in found if done.status is not Status.SUCCESS] == [2, 6]
    assert {done.detail.cause for done in found if done.tag in (2, 6)} == {DataCause.CORRUPT}


def test_options_injure_without_a_handle(opened: Opener) -> None:
    queue = opened(fail_interval=3, fail=Status.ABORTED, duplicate_interval=5, lose_interval=4)
    fill(queue, 6)
    assert [(done.tag, done.status.name) for done in queue.dequeue_burst(100)] == [
        (0, "SUCCESS"),
        (1, "SUCCESS"),
        (2, "ABORTED"),
        (4, "SUCCESS"),
        (4, "SUCCESS"),
        (5, "ABORTED"),
    ]


def test_corrupt_output_is_wrong(opened: Opener) -> None:
    queue = opened()
    program_of(queue).corrupt()
    fill(queue, 1)
    (done,) = queue.dequeue_burst(1)
    assert done.status is Status.SUCCESS
    with pytest.raises(zlib.error):
        zlib.decompress(done.output or b"", 31)


def test_lost_completions_end_with_the_queue(opened: Opener) -> None:
    queue = opened()
    program_of(queue).lose()
    fill(queue, 2)
    assert tags(queue) == [1]
    assert queue.statistics().in_flight == 1
    queue.stop()
    assert statuses(queue) == {0: Status.ABORTED}


def test_a_spurious_completion_comes_out(opened: Opener) -> None:
    queue = opened()
    program_of(queue).spurious(77)
    assert tags(queue) == [77]


def test_a_rule_can_be_taken_back(opened: Opener) -> None:
    queue = opened()
    rule = program_of(queue).inject(Effect.STICK, count=None)
    fill(queue, 1)
    program_of(queue).rules.remove(rule)
    queue.enqueue_burst([(5, Nop())])
    assert tags(queue) == [5]


def test_a_lost_device_fails_everything(opened: Opener) -> None:
    queue = opened()
    program_of(queue).hold()
    fill(queue, 3)
    program_of(queue).lose_device("pulled out")
    assert statuses(queue) == dict.fromkeys(range(3), Status.DEVICE_ERROR)
    assert queue.device.lost == "pulled out"
    assert queue.enqueue_burst([(9, Nop())]) == 1
    assert statuses(queue) == {9: Status.DEVICE_ERROR}
    with pytest.raises(BackendUnavailable, match="pulled out"):
        queue.device.open_queue(1)
    queue.stop()
    queue.close()
    queue.device.reset()
    assert queue.device.lost == "pulled out", "it is still away"
    program_of(queue).return_device()
    assert queue.device.lost == "pulled out", "nobody has reset it"
    queue.device.reset()
    assert queue.device.lost is None


def test_a_device_is_lost_after_so_many_completions(opened: Opener) -> None:
    queue = opened()
    program_of(queue).lose_device(after=2)
    fill(queue, 4)
    assert [status.name for status in statuses(queue).values()] == ["SUCCESS"] * 2 + ["DEVICE_ERROR"] * 2


# Ends


def test_lingering_operations_write_until_close(opened: Opener) -> None:
    queue = opened(lingering=True)
    program_of(queue).hold()
    buffer = bytearray(1000)
    queue.enqueue_burst([(0, Compress(TEXT, "gzip", into=buffer))])
    queue.stop()
    assert statuses(queue) == {0: Status.ABORTED}
    assert not any(buffer)
    queue.close()
    assert any(buffer)


def test_closing_can_fail_and_be_tried_again(opened: Opener) -> None:
    queue = opened()
    program_of(queue).fail_close(1)
    with pytest.raises(OSError, match="as the test asked"):
        queue.close()
    queue.close()
    assert queue.device.queues == []


def test_closing_can_block(opened: Opener) -> None:
    queue = opened()
    program_of(queue).block_close()
    thread = threading.Thread(target=queue.close)
    thread.start()
    thread.join(0.05)
    assert thread.is_alive()
    program_of(queue).unblock_close()
    thread.join(10)
    assert not thread.is_alive()


def test_a_device_with_open_queues_is_not_closed(opened: Opener) -> None:
    queue = opened()
    for act in (queue.device.close, queue.device.reset):
        with pytest.raises(InvalidState, match="1 queues of mock-0 are open"):
            act()


# Use against the contract


def complaint(queue: MockQueue) -> str:
    (text,) = program_of(queue).complaints
    return text


@pytest.mark.parametrize("tag", [-1, 2**32, "one", True, 5])
def test_bad_tags_are_complained_of(opened: Opener, tag: Any) -> None:
    queue = opened(steps=1)
    queue.enqueue_burst([(5, Nop())])
    with pytest.raises(RuntimeError, match="expected a tag below"):
        queue.enqueue_burst([(tag, Nop())])
    assert repr(tag) in complaint(queue)


def test_a_second_thread_is_complained_of(opened: Opener) -> None:
    queue = opened()
    queue.dequeue_burst(1)
    errors: list[Exception] = []

    def call() -> None:
        try:
            queue.arm()
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert "one thread owns a queue" in str(errors[0])
    assert "arm" in complaint(queue)


def test_use_after_close_is_complained_of(opened: Opener) -> None:
    queue = opened()
    queue.close()
    with pytest.raises(RuntimeError, match="closed"):
        queue.dequeue_burst(1)
    assert "dequeue_burst" in complaint(queue)


def test_a_busy_stream_is_neither_reset_nor_closed(opened: Opener) -> None:
    queue = opened()
    session = queue.device.open_session(StreamSpec(Direction.COMPRESS, "gzip"))
    assert isinstance(session, MockSession)
    program_of(queue).hold()
    queue.enqueue_burst([(0, CompressChunk(session, TEXT))])
    for act in (session.reset, session.close):
        with pytest.raises(InvalidState, match="in flight"):
            act()
    program_of(queue).release()
    queue.dequeue_burst(1)
    session.reset()


# Opening


def test_a_program_holds_for_a_while() -> None:
    backend = MockBackend()
    with backend.programmed(devices=2, depth=7) as program:
        assert [info.name for info in backend.devices()] == ["mock-0", "mock-1"]
        device = backend.open(backend.devices()[1], Options())
        assert device.program is program
        assert program.devices == [device]
        assert device.open_queue(100).depth == 7
        device.queues[0].close()
        device.close()
        assert program.devices == []
    assert [info.name for info in backend.devices()] == ["mock-0"]


def test_options_beat_the_program_if_they_say_something() -> None:
    backend = MockBackend()
    with backend.programmed(depth=7):
        assert backend.open(backend.devices()[0], Options()).program.options.depth == 7
        assert backend.open(backend.devices()[0], Options(depth=3)).program.options.depth == 3


def test_devices_that_nobody_listed_are_refused() -> None:
    backend = MockBackend()
    with pytest.raises(BackendUnavailable, match=r"with backend\.programmed\(devices=2\)"):
        backend.open(backend.devices()[0], Options(devices=2))
    with pytest.raises(BackendUnavailable, match=r"expected mock\.Options, got None"):
        backend.open(backend.devices()[0], None)


def test_opening_can_fail() -> None:
    backend = MockBackend()
    with backend.programmed() as program:
        program.fail_open("in use")
        with pytest.raises(BackendUnavailable, match="mock-0: in use"):
            backend.open(backend.devices()[0], Options())
        program.fail_open(None)
        device = backend.open(backend.devices()[0], Options())
        program.fail_open_queue(1)
        with pytest.raises(BackendUnavailable, match="no queue to be had"):
            device.open_queue(1)
        device.open_queue(1).close()


def test_classes_of_queues(opened: Opener) -> None:
    program = Program(Options(split=True))
    device = MockBackend(program).open(MockBackend(program).devices()[0], program.options)
    assert device.capabilities.queue_classes == ("compress", "decompress")
    queue = device.open_queue(4, queue_class="decompress")
    queue.enqueue_burst([(0, Compress(TEXT, "gzip")), (1, Decompress(zlib.compress(TEXT), "zlib"))])
    assert [done.status for done in queue.dequeue_burst(2)] == [Status.INVALID_ARGS, Status.SUCCESS]
    queue.close()
    device.close()


def test_the_inline_way(opened: Opener) -> None:
    assert opened().device.inline is None
    inline = opened(inline_cost=7).device.inline
    assert inline is not None
    assert inline.cost(Nop()) == 7
    buffer = bytearray(500)
    done = inline.run(Compress(TEXT, "zlib", into=buffer))
    assert (done.tag, done.output) == (0, None)
    assert zlib.decompress(buffer[: done.produced]) == TEXT


# Page faults


def test_a_device_without_page_faults_fails_the_operation(opened: Opener) -> None:
    queue = opened()
    program_of(queue).page_fault(address=0xBAD000)
    fill(queue, 2)
    found = queue.dequeue_burst(2)
    assert [done.status for done in found] == [Status.PAGE_FAULT, Status.SUCCESS]
    assert found[0].detail.message == "no page at 0xbad000"


def test_the_kernel_answers_and_reports() -> None:
    seen: list[PageFault] = []
    program = Program(Options(page_faults=PageFaults.KERNEL))
    backend = MockBackend(program)
    device = backend.open(backend.devices()[0], program.options, report=seen.append)
    program.page_fault()
    queue = device.open_queue(4)
    queue.enqueue_burst([(0, Nop())])
    (done,) = queue.dequeue_burst(1)
    assert (done.status, done.detail.faults) == (Status.SUCCESS, 1)
    assert [(fault.device, fault.address, fault.response) for fault in seen] == [
        ("mock-0", 0x1000, FaultResponse.SUCCESS)
    ]
    queue.close()


async def faulting(
    handler: Callable[[PageFault], Any] | None, count: int = 1
) -> tuple[list[tuple[int, Status]], list[PageFault]]:
    """What comes of so many faulting operations, answered by this handler."""
    seen: list[PageFault] = []
    program = Program(Options(page_faults=PageFaults.HANDLER, fault_deadline=0.05))
    backend = MockBackend(program)
    device = backend.open(backend.devices()[0], program.options, on_fault=handler, report=seen.append)
    program.page_fault(count=count)
    queue = device.open_queue(16)
    found: list[tuple[int, Status]] = []
    async with anyio.create_task_group() as group:
        group.start_soon(device.faults.serve)
        fill_with_nops(queue, 4)
        while len(found) < 4:
            assert queue.statistics().in_flight
            found += [(done.tag, done.status) for done in queue.dequeue_burst(16)]
            await anyio.sleep(0.001)
        group.cancel_scope.cancel()
    queue.close()
    return found, seen


def fill_with_nops(queue: Any, count: int) -> None:
    assert queue.enqueue_burst([(tag, Nop()) for tag in range(count)]) == count


@pytest.mark.anyio
async def test_a_handler_lets_operations_go_on() -> None:
    asked: list[PageFault] = []

    async def handler(fault: PageFault) -> FaultResponse:
        asked.append(fault)
        while len(asked) < 2:  # Several are asked about at a time.
            await anyio.sleep(0.001)
        return FaultResponse.SUCCESS

    found, seen = await faulting(handler, 2)
    assert [tag for tag, _ in found][:2] == [2, 3]
    assert {status for _, status in found} == {Status.SUCCESS}
    assert [fault.response for fault in seen] == [FaultResponse.SUCCESS] * 2
    assert all(fault.latency is not None for fault in seen)


async def _refuses(fault: PageFault) -> FaultResponse:
    return FaultResponse.INVALID


async def _raises(fault: PageFault) -> FaultResponse:
    raise LookupError(fault)


async def _sleeps(fault: PageFault) -> FaultResponse:
    await anyio.sleep(60)
    return FaultResponse.SUCCESS


@pytest.mark.anyio
@pytest.mark.parametrize("handler", [_refuses, _raises, _sleeps])
async def test_a_handler_that_does_not_help(handler: Callable[[PageFault], Any]) -> None:
    found, seen = await faulting(handler)
    assert dict(found) == {0: Status.PAGE_FAULT, 1: Status.SUCCESS, 2: Status.SUCCESS, 3: Status.SUCCESS}
    assert [fault.response for fault in seen] == [FaultResponse.INVALID]


@pytest.mark.anyio
async def test_without_a_handler_pages_are_supplied() -> None:
    found, _ = await faulting(None)
    assert {status for _, status in found} == {Status.SUCCESS}


@pytest.mark.anyio
async def test_the_coroutine_of_a_device_can_crash() -> None:
    program = Program(Options(page_faults=PageFaults.HANDLER))
    backend = MockBackend(program)
    device = backend.open(backend.devices()[0], program.options)
    assert isinstance(device, MockDevice)
    assert device.serve is not None

    async def crash() -> None:
        await anyio.sleep(0.001)
        program.crash(ZeroDivisionError("a bug in the model"))

    async def serve() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(device.faults.serve)
            group.start_soon(crash)

    with pytest.raises(ExceptionGroup) as caught:
        await serve()
    assert caught.group_contains(ZeroDivisionError, match="a bug in the model")


@pytest.mark.anyio
async def test_pages_are_fetched_while_it_works() -> None:
    async def pager(offset: int, length: int) -> bytes:
        return (TEXT * 3)[offset : offset + length]

    with mock.programmed(page_faults=PageFaults.HANDLER):
        async with wdasync.open_accelerator("mock") as acc:
            result = await acc.execute(Compress(wdasync.PagedBuffer(len(TEXT) * 3, pager), "zlib"))
    assert result.output is not None
    assert zlib.decompress(result.output) == TEXT * 3
    assert (result.paging, result.faults) == (wdasync.Paging.ON_FAULT, 4)


def test_unfetched_pages_are_complained_of(opened: Opener) -> None:
    async def pager(offset: int, length: int) -> bytes:
        raise NotImplementedError

    queue = opened()
    with pytest.raises(RuntimeError, match="has pages to fetch"):
        queue.enqueue_burst([(0, Compress(wdasync.PagedBuffer(10, pager), "gzip"))])
