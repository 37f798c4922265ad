"""Backends and devices: names, tables, options, queues of every class, several devices."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import threading
import time
from pathlib import Path

from ...backend import Capabilities, Check, Device, DeviceInfo, Direction, PageFaults, StreamSpec
from ...errors import BackendUnavailable, Status, WdasyncError
from ...operations import Compress, CompressChunk, Decompress, Kind, Nop, Operation, Priority
from ...paged import PagedBuffer
from .._bench import Bench, NotApplicable, Violation, require
from .._checks import check
from .._reference import reference, samples, text
from .bursts import plain, same_content, succeed

OPEN_FILES = Path("/proc/self/fd")


@check(
    "A plug-in: entry-point group ``wdasync.backends``, an object of this shape.",
    "as users write it",
    "rank in the choice when the user names no backend, higher first; ``None``: only by name",
    "may take over what other backends cannot do",
)
def backend_has_its_shape(bench: Bench) -> None:
    """name, automatic, fallback and Options are what the contract says."""
    backend = bench.backend
    require(type(backend.name) is str and backend.name != "", f"name is {backend.name!r}")
    require(backend.name == backend.name.lower() and " " not in backend.name, f"name is {backend.name!r}")
    require(
        backend.automatic is None or type(backend.automatic) is int, f"automatic is {backend.automatic!r}"
    )
    require(type(backend.fallback) is bool, f"fallback is {backend.fallback!r}")


@check(
    "a frozen dataclass; its fields are the settings that users may give, with their defaults.",
    'A field\'s ``metadata["help"]`` is one line for people',
)
def options_are_a_table(bench: Bench) -> None:
    """Options is a frozen dataclass whose fields have defaults and help."""
    options = bench.backend.Options
    require(dataclasses.is_dataclass(options), f"Options is {options!r}")
    made = options()
    for field in dataclasses.fields(options):
        text_for_people = field.metadata.get("help")
        good = isinstance(text_for_people, str) and text_for_people != "" and "\n" not in text_for_people
        require(good, f'Options.{field.name}: metadata["help"] is {text_for_people!r}')
        try:
            setattr(made, field.name, getattr(made, field.name))
        except dataclasses.FrozenInstanceError:
            continue
        raise Violation("Options is not frozen")


@check(
    "The devices of this machine, without opening them.",
    "Quick, never raises.",
    "Who a device is; known without opening it.",
    "name of the backend",
    "name of the device, unique within the backend, such as ``hisi_zip-0``",
    "one line for people",
    "where it sits; ``None``: everywhere",
)
def devices_can_be_listed(bench: Bench) -> None:
    """devices() is quick, gives the same twice, and each has a name of its own."""
    with bench.prompt("devices"):
        found = list(bench.backend.devices())
    require(bool(found), "no device")
    require(all(isinstance(info, DeviceInfo) for info in found), f"expected DeviceInfo, got {found}")
    names = [info.name for info in found]
    require(len(set(names)) == len(names), f"names are not unique: {names}")
    require(list(bench.backend.devices()) == found, "devices() is different each time")
    for info in found:
        require(info.backend == bench.backend.name, f"{info.name} says that its backend is {info.backend!r}")
        require("\n" not in info.description, f"{info.name}: description has several lines")
        node = info.numa_node
        require(node is None or type(node) is int, f"{info.name}: numa_node is {node!r}")


@check("if it cannot be opened, with the reason and what to do")
def foreign_device_is_refused(bench: Bench) -> None:
    """open() of a device that is not there raises BackendUnavailable."""
    nobody = DeviceInfo(bench.backend.name, "no-such-device")
    try:
        device = bench.backend.open(nobody, bench.options)
    except BackendUnavailable:
        return
    device.close()
    raise Violation(f"open({nobody.name!r}): expected BackendUnavailable, got {device!r}")


@check("Health checks for ``python -m wdasync doctor``, in the order in which they make sense.")
def doctor_gets_answers(bench: Bench) -> None:
    """diagnose() gives Checks; what did not pass comes with advice."""
    for line in bench.backend.diagnose(bench.options):
        require(isinstance(line, Check), f"expected a Check, got {line!r}")
        require(line.name != "", "a check has no name")
        require(line.passed in (True, False, None), f"{line.name}: passed is {line.passed!r}")
        require(line.passed is not False or line.advice != "", f"{line.name} failed, and there is no advice")


@check(
    "An opened device.",
    "who it is",
    "what it can do, a table",
    "it works with the pointers of this process as they are",
    "who supplies absent pages",
    "Why the device is gone; ``None`` while it is there.",
    "a coroutine function that must run while the device is used (timers, fault handlers, pagers), until cancelled; "
    "``None``: nothing has to run",
)
def device_has_its_shape(bench: Bench) -> None:
    """The attributes of an opened device are what the contract says."""
    device = bench.device
    require(isinstance(device, Device), f"{device!r} lacks something of a Device")
    require(device.info == bench.backend.devices()[0], f"info is {device.info}")
    require(isinstance(device.capabilities, Capabilities), f"capabilities is {type(device.capabilities)}")
    require(type(device.sva) is bool, f"sva is {device.sva!r}")
    require(isinstance(device.page_faults, PageFaults), f"page_faults is {device.page_faults!r}")
    require(device.lost is None, f"lost is {device.lost!r}")
    serve = device.serve
    require(serve is None or inspect.iscoroutinefunction(serve), f"serve is {serve!r}")


@check(
    "its name, lower case",
    "kind of operation",
    "lowest and highest level of the algorithm's own scale",
    "One row of a capability table",
)
def table_makes_sense(bench: Bench) -> None:
    """No two rows for the same, names in lower case, levels inside their scale."""
    rows = list(bench.device.capabilities)
    require(bool(rows), "the table is empty")
    keys = [(row.kind, row.algorithm) for row in rows]
    require(len(set(keys)) == len(keys), "two rows for the same kind and algorithm")
    for row in rows:
        where = f"{row.kind.name} {row.algorithm}"
        require(isinstance(row.kind, Kind), f"{where}: kind is {row.kind!r}")
        require(row.algorithm == row.algorithm.lower() and row.algorithm != "", f"{where}: name")
        low, high = row.scale
        require(
            low <= row.levels[0] <= row.levels[1] <= high,
            f"{where}: levels {row.levels} of scale {row.scale}",
        )
        for name in ("default", "balanced", "best"):
            level = getattr(row, name)
            require(low <= level <= high, f"{where}: {name} is {level}, the scale {row.scale}")
        require(
            row.default <= row.balanced <= row.best, f"{where}: fast, balanced and best are not in this order"
        )


@check(
    "Open a queue.",
    "one of ``capabilities.queue_classes``",
    "a device with separate queues for compression and decompression has two",
)
def every_queue_class_opens(bench: Bench) -> None:
    """A queue of each class can be opened, at each priority; operations go to the queue of their class."""
    for row in bench.device.capabilities:
        queue = bench.queue(row, depth=4)
        operation = one_of(row.kind, row.algorithm)
        if operation is not None:
            succeed(bench, queue, [operation])
        queue.finish()
    for priority in Priority:
        queue_class = bench.row().queue_class
        idle = bench.device.open_queue(4, priority, queue_class)
        idle.stop()
        idle.close()


def one_of(kind: Kind, algorithm: str) -> Operation | None:
    """An operation of this kind; ``None`` if it needs a session or a library."""
    known = reference(algorithm)
    match kind:
        case Kind.NOP:
            return Nop()
        case Kind.COMPRESS:
            return Compress(text(500), algorithm)
        case Kind.DECOMPRESS if known is not None:
            return Decompress(known.compress(text(500)), algorithm)
        case _:
            return None


@check("operations in flight wished for; the queue may have fewer", "How many operations may be in flight.")
def depth_is_a_wish(bench: Bench) -> None:
    """A queue has at most the depth that was wished for, and works with one of 1."""
    for wish in (1, 2, 7, 1000):
        queue = bench.queue(depth=wish)
        require(1 <= queue.depth <= wish, f"wished for a depth of {wish}, got {queue.depth}")
        succeed(bench, queue, plain(bench, 3))
        queue.finish()


@check("Give it back.", "Bring the device back after a failure.", "All its queues must be closed.")
def device_can_be_reset(bench: Bench) -> None:
    """reset() of a device whose queues are closed leaves one that works; close() may be called twice."""
    queue = bench.queue()
    succeed(bench, queue, plain(bench, 5))
    queue.finish()
    bench.device.reset()
    require(bench.device.lost is None, f"after reset() lost is {bench.device.lost!r}")
    queue = bench.queue()
    succeed(bench, queue, plain(bench, 5))
    queue.finish()
    if not bench.serving:
        bench.device.close()
        bench.device.close()


@check("Memory that the device can reach, where its own is needed; ``None``: any memory will do.")
def own_memory_is_usable(bench: Bench) -> None:
    """Memory of the device is as long as was asked for, writable, and good for input and output."""
    row = bench.row(Kind.COMPRESS)
    memory, output = bench.device.allocate(10_000), bench.device.allocate(20_000)
    if memory is None or output is None:
        raise NotApplicable("any memory will do")
    require(memory.nbytes >= 10_000 and not memory.readonly, f"asked for 10000 bytes, got {memory!r}")
    memory[:10_000] = text(10_000)
    (done,) = bench.run(bench.queue(row), [Compress(memory[:10_000], row.algorithm, into=output)])
    require(done.status is Status.SUCCESS, f"completed {done.status.name}")
    same_content(row.algorithm, Compress(text(10_000), row.algorithm), bytes(output[: done.produced]))


class Pages:
    """An input in pages, which counts how often it was asked."""

    def __init__(self, content: bytes, broken: int = -1) -> None:
        self.asked: list[int] = []
        self.buffer = PagedBuffer(len(content), self._supply)
        self._content = content
        self._broken = broken

    async def _supply(self, offset: int, length: int) -> bytes:
        self.asked.append(offset)
        if offset // self.buffer.page_size == self._broken:
            raise OSError("there is no such page")
        return self._content[offset : offset + length]


@check(
    "an operation whose ``paged`` is set is taken as it is, and its pages fetched as the device touches them; the "
    "completion's ``detail.faults`` counts them.",
    "page faults that were taken for it",
    "is told of each fault after it was answered; called in the owner's thread",
    "The device touched memory that nobody supplied.",
)
def pages_come_when_touched(bench: Bench) -> None:
    """Pages of an input are asked for once, while the device works; one that is not to be had is PAGE_FAULT."""
    row = bench.row(Kind.COMPRESS)
    if not row.paged:
        raise NotApplicable("the framework fetches all pages before it submits")
    queue, content = bench.queue(row), text(20_000)
    pages, before = Pages(content), len(bench.faults)
    for expected in (5, 0):
        (done,) = bench.run(queue, [Compress(pages.buffer, row.algorithm)])
        require(done.status is Status.SUCCESS, f"completed {done.status.name}: {done.detail.message}")
        same_content(row.algorithm, Compress(content, row.algorithm), done.output)
        require(len(pages.asked) == 5, f"5 pages, and the pager was asked for {pages.asked}")
        require(
            done.detail.faults == expected, f"{expected} pages were absent, faults is {done.detail.faults}"
        )
    reported = bench.faults[before:]
    require(len(reported) >= 5, f"5 pages were absent, and {len(reported)} faults reported")
    for fault, thread in reported:
        require(fault.response is not None, f"reported before it was answered: {fault}")
        require(
            thread == threading.get_ident(), "a fault was reported in a thread that does not own the device"
        )
    (done,) = bench.run(queue, [Compress(Pages(content, broken=2).buffer, row.algorithm)])
    require(done.status is Status.PAGE_FAULT, f"a page that nobody supplies completed {done.status.name}")


@check("an operation whose ``paged`` is set is taken as it is")
def pages_of_a_unit_come_when_touched(bench: Bench) -> None:
    """A unit in pages is decompressed, its header included."""
    row = bench.row(Kind.DECOMPRESS)
    known = reference(row.algorithm)
    if not row.paged or known is None:
        raise NotApplicable("the framework fetches all pages before it submits")
    content = samples()["random"]
    pages = Pages(known.compress(content))
    (done,) = bench.run(bench.queue(row), [Decompress(pages.buffer, row.algorithm)])
    require(done.status is Status.SUCCESS, f"completed {done.status.name}: {done.detail.message}")
    require(done.output == content, "other data came out")
    require(len(pages.asked) == pages.buffer.pages, f"the pager was asked for {pages.asked}")


@check(
    "how to run small work without a hop; ``None``: never",
    "Do it now, in this thread.",
    "The completion's tag is 0.",
    "Estimated nanoseconds of the operation when run inline; a large number if it must not be.",
)
def inline_does_the_same(bench: Bench) -> None:
    """Work that runs inline has the same outcome as work through a queue."""
    inline = bench.device.inline
    if inline is None:
        raise NotApplicable("the device has no inline way")
    work = [*plain(bench, 5, 300), Compress(b"x", "no-such-algorithm")]
    row = bench.row()
    if row.kind is Kind.COMPRESS:
        work += [
            Compress(samples()["text of 4096"], row.algorithm, into=bytearray(size)) for size in (10, 9000)
        ]
    through = bench.run(bench.queue(), work)
    for operation, expected in zip(work, through, strict=True):
        cost = inline.cost(operation)
        require(type(cost) is int and cost >= 0, f"{operation!r}: cost is {cost!r}")
        done = inline.run(operation)
        require(done.tag == 0, f"tag is {done.tag}")
        require(
            done.status is expected.status,
            f"{operation!r}: {expected.status.name} through a queue, {done.status.name} inline",
        )
        require((done.output is None) == (expected.output is None), f"{operation!r}: output")
        if done.status is Status.SUCCESS:
            same_content(row.algorithm, operation, done.output)


@check(
    "One thread owns it",
    "A queue pair: requests in, completions out.",
    "It runs in one thread; queues may be used in others",
)
def queues_in_two_threads(bench: Bench) -> None:
    """Two queues of one device, each owned by a thread, work at the same time; what the device serves runs in a third."""
    device = bench.device
    problems: list[BaseException] = []
    work = plain(bench, 60)
    both_ready = threading.Barrier(
        2, timeout=bench.patience
    )  # else one may have ended before the other begins

    def own() -> None:
        try:
            mine = Bench(bench.backend, bench.options, patience=bench.patience)
            mine.borrow(device)
            with mine:
                queue = mine.queue()
                both_ready.wait()
                succeed(mine, queue, work, sleep=True)
        except BaseException as problem:  # noqa: BLE001  it is raised in the other thread
            both_ready.abort()
            problems.append(problem)

    threads = [threading.Thread(target=own, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 4 * bench.patience
    while any(thread.is_alive() for thread in threads):
        require(time.monotonic() < deadline, f"a thread did not finish within {4 * bench.patience} s")
        bench.pause()
    if problems:  # if one could not open its queue, the other's barrier is broken; the first one says why
        raise min(problems, key=lambda problem: isinstance(problem, threading.BrokenBarrierError))


def _peer(bench: Bench) -> Device:
    """Another device for the same plain work.

    :raises NotApplicable: if there is none
    """
    row = bench.row()
    devices = (bench.device_at(index) for index in itertools.count(1))
    return next(device for device in devices if device.capabilities.find(row.kind, row.algorithm))


@check("one of ``devices()``", "State on a device that outlives an operation.")
def two_devices(bench: Bench) -> None:
    """Devices work side by side, and a stream of one is INVALID_ARGS on the other."""
    first, second = bench.device, _peer(bench)
    for device in (first, second):
        succeed(bench, bench.queue(device=device), plain(bench, 10))
    rows = [row for row in first.capabilities if row.kind is Kind.COMPRESS_CHUNK]
    if rows:
        session = bench.session(StreamSpec(Direction.COMPRESS, rows[0].algorithm), first)
        (done,) = bench.run(bench.queue(rows[0], device=second), [CompressChunk(session, b"x")])
        require(
            done.status is Status.INVALID_ARGS, f"a stream of another device completed {done.status.name}"
        )


@check("if there is no queue to be had", "An opened device.")
def unknown_queue_class_is_refused(bench: Bench) -> None:
    """A queue of a class that the table does not have cannot be opened."""
    try:
        queue = bench.device.open_queue(4, Priority.NORMAL, "no-such-class")
    except (WdasyncError, ValueError):
        return
    queue.close()
    raise Violation("a queue of class 'no-such-class' was opened")


@check("without opening them")
def listing_opens_nothing(bench: Bench) -> None:
    """devices() leaves no descriptor open."""
    bench.backend.devices()
    before = len(list(OPEN_FILES.iterdir()))
    for _ in range(5):
        bench.backend.devices()
    after = len(list(OPEN_FILES.iterdir()))
    require(after <= before, f"{before} descriptors were open, and after devices() {after}")
