"""Work in the caller's thread: what it costs, and that its outcome is that of a queue."""

from __future__ import annotations

import threading
import zlib

import pytest

from tests.cpu.support import good, pack, run, unpack, words
from wdasync.backend import Completion, DataCause, Direction, Inline, Status, StreamSpec
from wdasync.operations import Compress, CompressChunk, Decompress, Flush, Kind, Nop, Operation
from wdasync_cpu import calibration
from wdasync_cpu.devices import CpuDevice
from wdasync_cpu.queues import CpuQueue

NEVER = 10**9


def inline_of(device: CpuDevice) -> Inline:
    assert device.inline is not None
    return device.inline


def test_cost_follows_size_level_and_machine(device: CpuDevice) -> None:
    cost = inline_of(device).cost
    assert 0 < cost(Compress(bytes(100), "gzip")) < cost(Compress(bytes(10_000), "gzip"))
    assert cost(Compress(bytes(5000), "gzip", level=1)) < cost(Compress(bytes(5000), "gzip", level=9))
    assert cost(Compress([bytes(2500)] * 2, "gzip")) == cost(Compress(bytes(5000), "gzip"))


def test_what_never_runs_inline(device: CpuDevice) -> None:
    cost = inline_of(device).cost
    session = device.open_session(StreamSpec(Direction.COMPRESS, "gzip"))
    never = [
        Nop(),
        CompressChunk(session, b"x"),
        Compress(b"x", "lzw"),
        Compress(b"x", "gzip", level=99),
        Decompress(bytes(5000), "gzip"),  # It may expand to 5 MB.
        object(),
    ]
    assert all(cost(operation) > NEVER for operation in never)  # type: ignore[arg-type]  # one is none
    assert cost(Decompress(bytes(5000), "gzip", max_length=10_000)) < NEVER
    assert cost(Decompress(bytes(200), "gzip")) < NEVER


def test_the_outcome_is_that_of_a_queue(device: CpuDevice, queue: CpuQueue) -> None:
    work: list[Operation] = [
        Nop(),
        Compress(b"", "gzip"),
        Compress(words(3000), "zlib", level=6),
        Compress([words(50), words(3000)], "deflate"),
        Compress(words(3000), "gzip", into=bytearray(5)),
        Compress(words(3000), "gzip", into=bytearray(5000)),
        Compress(b"x", "none"),
        Decompress(pack(words(900), "gzip"), "gzip"),
        Decompress(pack(words(900_000), "gzip"), "gzip"),
        Decompress(pack(words(900), "gzip"), "gzip", max_length=3),
        Decompress(pack(words(900), "gzip")[:-3], "gzip"),
        Decompress(b"plain", "zlib"),
    ]
    for operation, expected in zip(work, run(queue, work), strict=True):
        done = inline_of(device).run(operation)
        assert done.tag == 0
        assert done.status is expected.status
        assert (done.consumed, done.produced) == (expected.consumed, expected.produced)
        assert done.output == expected.output
        assert done.detail.message == expected.detail.message
        assert done.detail.cause is expected.detail.cause
        if done.status is Status.SUCCESS and operation.kind is not Nop.kind:
            assert done.detail.where == "inline" or "standard" in repr(device)


def test_a_step_of_a_stream_can_run_inline(device: CpuDevice, queue: CpuQueue) -> None:
    session = device.open_session(StreamSpec(Direction.COMPRESS, "zlib"))
    packed = good(inline_of(device).run(CompressChunk(session, b"some ")))
    packed += good(run(queue, [CompressChunk(session, b"words")])[0])
    packed += good(inline_of(device).run(CompressChunk(session, b"", Flush.FINISH)))
    assert zlib.decompress(packed) == b"some words"


def test_broken_operations(device: CpuDevice) -> None:
    broken = Compress(b"x", "gzip")
    del broken.source
    for operation in (broken, object()):
        assert inline_of(device).run(operation).status is Status.INVALID_ARGS  # type: ignore[arg-type]  # one is none


def test_threads_have_state_of_their_own(whole_device: CpuDevice) -> None:
    problems: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            for size in range(1, 20_000, 531):
                content = words(size, seed)
                for algorithm in ("gzip", "br"):
                    packed = good(inline_of(whole_device).run(Compress(content, algorithm)))
                    assert unpack(packed, algorithm) == content
        except BaseException as problem:  # noqa: BLE001  it is raised in the other thread
            problems.append(problem)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]


def test_the_buffers_are_let_go(device: CpuDevice) -> None:
    source, output = bytearray(100), bytearray(200)
    inline_of(device).run(Compress(source, "gzip", into=output))
    source.append(0)
    output.append(0)


def test_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0.1 <= calibration.factor() <= 10
    assert calibration.factor() == calibration.factor()
    for nanoseconds, expected in ((7_100, 1.0), (14_200, 2.0), (1, 0.1), (10**9, 10.0)):
        monkeypatch.setattr(calibration, "_run", lambda value=nanoseconds: value)
        assert calibration.factor.__wrapped__() == pytest.approx(expected)
    assert len(calibration.SAMPLE) == 1024


def test_the_first_thing_that_a_thread_does_is_to_join_nothing(device: CpuDevice) -> None:
    """A list of empty buffers, for codec state that has never joined anything."""
    found: list[Completion] = []
    nothing: list[bytes | bytearray] = [b"", bytearray()]
    packing: list[Operation] = [
        Compress(nothing, row.algorithm, level=level)
        for row in device.capabilities
        if row.kind is Kind.COMPRESS
        for level in range(row.scale[0], row.scale[1] + 1)
    ]
    unpacking: list[Operation] = [
        Decompress(nothing, row.algorithm) for row in device.capabilities if row.kind is Kind.DECOMPRESS
    ]

    def first(operation: Operation) -> None:
        found.append(inline_of(device).run(operation))

    for operation in (*packing, *unpacking):
        thread = threading.Thread(target=first, args=(operation,))
        thread.start()
        thread.join()
    for operation, done in zip(packing, found, strict=False):
        assert unpack(good(done), operation.algorithm) == b""
    for done in found[len(packing) :]:
        assert (done.status, done.detail.cause) == (Status.DATA_ERROR, DataCause.TRUNCATED), done
