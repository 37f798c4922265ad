"""Python threads: codecs that raise, threads that die, the end of the interpreter, forks."""

from __future__ import annotations

import gzip
import logging
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest

from tests.cpu.support import PATIENCE, drain, good, open_device, python, run, words
from wdasync.backend import Direction, Status, StreamSpec
from wdasync.operations import Compress, CompressChunk, Decompress
from wdasync_cpu import Options, packages, threads
from wdasync_cpu.backend import CpuBackend
from wdasync_cpu.binding import Outcome
from wdasync_cpu.queues import CpuQueue


@pytest.fixture
def python_queue() -> Iterator[CpuQueue]:
    """A queue whose work is done by Python threads."""
    queue = open_device("standard library").open_queue(64)
    yield queue
    queue.close()


def raising(error: BaseException) -> object:
    def codec(*_: object) -> NoReturn:
        raise error

    return codec


@pytest.mark.parametrize(
    "error", [ValueError("no such thing"), ZeroDivisionError("by zero"), OSError(5, "input")]
)
def test_a_codec_that_raises(
    python_queue: CpuQueue,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    before = threads.failures()
    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR, "wdasync.cpu"):
        patch.setattr(packages, "compress", raising(error))
        done = run(python_queue, [Compress(b"x", "gzip") for _ in range(10)])
    assert {each.status for each in done} == {Status.DEVICE_ERROR}
    assert done[0].detail.message == f"the codec raised {type(error).__name__}: {error}"
    assert len(caplog.records) == 10
    assert threads.failures() == before
    assert gzip.decompress(good(run(python_queue, [Compress(b"fine", "gzip")])[0])) == b"fine"


def test_a_burst_is_shared_by_the_threads(python_queue: CpuQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of them takes one, sees that there are more, and wakes another. Here each waits for the other."""
    both = threading.Barrier(2, timeout=20)
    compress = packages.compress

    def together(*what: Any) -> Outcome:
        both.wait()
        return compress(*what)

    run(python_queue, [Compress(b"x", "gzip")] * 4)  # they are started
    monkeypatch.setattr(packages, "compress", together)
    for _ in range(10):
        time.sleep(0.01)  # they fall asleep
        assert (
            python_queue.enqueue_burst([(number, Compress(bytes(100_000), "gzip")) for number in (1, 2)]) == 2
        )
        done = drain(python_queue, 2)
        assert {each.status for each in done} == {Status.SUCCESS}
        assert len({each.detail.where for each in done}) == 2


def test_a_codec_without_memory(python_queue: CpuQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(packages, "decompress", raising(MemoryError()))
        (done,) = run(python_queue, [Decompress(b"x", "gzip")])
    assert (done.status, done.detail.message) == (Status.DEVICE_ERROR, "out of memory")


def test_a_thread_that_is_killed_is_counted_and_replaced(
    python_queue: CpuQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(python_queue, [Compress(b"x", "gzip")])
    before = threads.failures()
    with monkeypatch.context() as patch:
        patch.setattr(packages, "compress", raising(SystemExit("killed")))
        done = run(python_queue, [Compress(b"x", "gzip") for _ in range(5)])
    assert {each.status for each in done} == {Status.DEVICE_ERROR}
    assert "died" in done[0].detail.message
    assert gzip.decompress(good(run(python_queue, [Compress(b"fine", "gzip")])[0])) == b"fine"
    end = time.monotonic() + PATIENCE
    while threads.failures() < before + 5:
        assert time.monotonic() < end
    assert python_queue.statistics().extra["thread_failures"] == before + 5
    assert threads.running() >= 1


@pytest.mark.parametrize("outcome", [None, (), (99, b"", 0, 0, False, None), (0, "text", 0, 0, False, None)])
def test_a_codec_that_gives_nonsense(
    python_queue: CpuQueue, monkeypatch: pytest.MonkeyPatch, outcome: object
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(packages, "compress", lambda *_: outcome)
        (done,) = run(python_queue, [Compress(b"x", "gzip")])
    assert done.status is Status.DEVICE_ERROR
    assert "no outcome" in done.detail.message
    assert gzip.decompress(good(run(python_queue, [Compress(b"fine", "gzip")])[0])) == b"fine"


def test_a_stop_is_noticed_between_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = open_device("standard library").open_queue(4)
    reached, go_on = threading.Event(), threading.Event()
    compress = packages.compress

    def slow(operation: Compress, plan: object, stop: packages.Stop) -> object:
        reached.set()
        assert go_on.wait(PATIENCE)
        return compress(operation, plan, stop)  # type: ignore[arg-type]  # a plan

    monkeypatch.setattr(packages, "compress", slow)
    queue.enqueue_burst([(0, Compress(words(1000), "gzip"))])
    assert reached.wait(PATIENCE)
    queue.stop()
    go_on.set()
    assert drain(queue, 1)[0].status is Status.ABORTED
    queue.close()


def test_close_waits_for_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = open_device("standard library").open_queue(4)
    reached, go_on = threading.Event(), threading.Event()

    def slow(operation: Compress, *_: object) -> Outcome:
        reached.set()
        assert go_on.wait(PATIENCE)
        return packages.failed(Status.ABORTED, "so be it")

    monkeypatch.setattr(packages, "compress", slow)
    queue.enqueue_burst([(0, Compress(b"x", "gzip"))])
    assert reached.wait(PATIENCE)
    closer = threading.Thread(target=queue.close)
    closer.start()
    closer.join(0.1)
    assert closer.is_alive()
    go_on.set()
    closer.join(PATIENCE)
    assert not closer.is_alive()
    assert drain(queue, 1)[0].status is Status.ABORTED


def test_a_failed_step_breaks_its_stream(python_queue: CpuQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    device = open_device("standard library")
    queue = device.open_queue(4)
    session = device.open_session(StreamSpec(Direction.COMPRESS, "gzip"))
    with monkeypatch.context() as patch:
        patch.setattr(packages, "encoder", raising(ValueError("no")))
        (done,) = run(queue, [CompressChunk(session, b"x")])
        assert done.status is Status.DEVICE_ERROR
    assert run(queue, [CompressChunk(session, b"x")])[0].status is Status.INVALID_STATE
    session.reset()
    assert run(queue, [CompressChunk(session, b"x")])[0].status is Status.SUCCESS
    queue.close()


def test_no_thread_can_be_started() -> None:
    code = """
import threading
from tests.cpu.support import open_device, run
from wdasync.operations import Compress
queue = open_device("standard library").open_queue(4)
start = threading.Thread.start
def refuse(thread):
    raise RuntimeError("can't start new thread")
threading.Thread.start = refuse
(done,) = run(queue, [Compress(b"x", "gzip")])
print(done.status.name, done.detail.message)
threading.Thread.start = start
print(run(queue, [Compress(b"x", "gzip")])[0].status.name)
queue.close()
"""
    assert python(code).splitlines() == ["DEVICE_ERROR can't start new thread", "SUCCESS"]


def test_threads_start_with_the_first_work_for_them() -> None:
    code = """
import threading
from tests.cpu.support import open_device, run
from wdasync.operations import Compress
names = lambda: sorted(thread.name for thread in threading.enumerate())
queue = open_device("only zlib", threads=3).open_queue(4)
run(queue, [Compress(b"x", "gzip")])
print(names())
other = open_device("standard library", threads=3).open_queue(4)
print(names())
run(other, [Compress(b"x", "gzip")])
print(names())
queue.close(); other.close()
"""
    thread = "wdasync-cpu-thread"
    assert python(code).splitlines() == [str(["MainThread"])] * 2 + [str(["MainThread", *[thread] * 3])]


@pytest.mark.parametrize(
    ("cores", "asked", "count"),
    [(1, None, 2), (2, None, 2), (3, None, 2), (8, None, 7), (256, None, 64), (8, 1, 1)],
)
def test_as_many_threads_as_cores_allow(
    monkeypatch: pytest.MonkeyPatch, cores: int, asked: int | None, count: int
) -> None:
    """Signatures give the interpreter's lock up, and want all cores but the loop's; two on two cores."""
    wanted: list[int] = []
    module = sys.modules[CpuBackend.__module__]  # the package has an object of that name
    monkeypatch.setattr(module, "usable_cores", lambda: cores)
    monkeypatch.setattr(threads, "want", wanted.append)
    backend = CpuBackend()
    device = backend.open(backend.devices()[0], Options(workers=1, threads=asked))
    assert wanted == [count]
    device.close()


# -- the end of the interpreter --------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["all", "standard library"])
@pytest.mark.parametrize("ending", ["", "raise SystemExit(0)", "import os; os._exit(0)"])
def test_the_interpreter_ends_with_work_in_flight(variant: str, ending: str) -> None:
    code = f"""
import warnings
warnings.simplefilter("ignore", ResourceWarning)
from tests.cpu.support import open_device, words
from wdasync.operations import Compress
queue = open_device({variant!r}).open_queue(64)
data = words(1 << 20) * 8
queue.enqueue_burst([(tag, Compress(data, "gzip", level=9, window=14)) for tag in range(20)])
print("ends", flush=True)
{ending}
"""
    assert python(code) == "ends\n"


def test_after_the_end_nothing_is_accepted() -> None:
    code = """
import atexit
def late():
    print(queue.enqueue_burst([(0, Nop())]), queue.dequeue_burst(4))
    queue.close()
atexit.register(late)
from tests.cpu.support import open_device
from wdasync.operations import Nop
queue = open_device().open_queue(4)
"""
    assert python(code) == "0 []\n"


# -- forks -----------------------------------------------------------------------------------------------------------

FORK = """
import os, sys, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads, which is what this is about
from tests.cpu.support import open_device, run, good, drain, words
from wdasync.operations import Compress, Nop
import zlib
variant = {variant!r}
device = open_device(variant)
queue = device.open_queue(64)
run(queue, [Compress(b"x", "zlib")])
data = words(1 << 20) * 4
queue.enqueue_burst([(tag, Compress(data, "zlib", level=9, window=14)) for tag in range(3)])
assert queue.arm()
child = os.fork()
if not child:
    assert queue.enqueue_burst([(9, Nop())]) == 0
    assert list(queue.dequeue_burst(8)) == []
    assert queue.arm() and not queue.withdraw(2)
    queue.stop()
    queue.close()
    queue.statistics()
    for made in (open_device(variant), device):
        mine = made.open_queue(8)
        assert zlib.decompress(good(run(mine, [Compress(b"child", "zlib")])[0])) == b"child"
        mine.close()
    {ending}
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 7, status
assert all(zlib.decompress(good(done)) == data for done in drain(queue, 3))
assert zlib.decompress(good(run(queue, [Compress(b"parent", "zlib")])[0])) == b"parent"
queue.close()
print("both")
"""


@pytest.mark.parametrize("variant", ["all", "standard library"])
@pytest.mark.parametrize("ending", ["os._exit(7)", "sys.exit(7)", "del queue, device; sys.exit(7)"])
def test_a_forked_child_has_workers_of_its_own(variant: str, ending: str) -> None:
    assert python(FORK.format(variant=variant, ending=ending)).split() == ["both"]


def test_a_child_of_a_child() -> None:
    code = """
import os, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from tests.cpu.support import open_device, run
from wdasync.operations import Nop
for depth in range(4):
    queue = open_device().open_queue(4)
    run(queue, [Nop()] * 9)
    if os.fork():
        _, status = os.wait()
        assert not status, status
        queue.close()
        print(depth)
        break
    queue.close()
"""
    assert sorted(python(code).split()) == ["0", "1", "2", "3"]


COLLECTED = """
import gc, os, threading, warnings
warnings.simplefilter("ignore", ResourceWarning)
from tests.cpu.support import drain, open_device
from wdasync.operations import Key, KeySpec, Mac
from wdasync_cpu import binding
from wdasync_cpu.crypto.keys import CpuKey

gc.disable()
queue = open_device(threads=1).open_queue(8)
session = CpuKey(KeySpec("hmac-sha256", bytes(32)))

def one(tag):
    operation = Mac(Key(bytes(32), "key"), bytes(100_000), "hmac-sha256")
    operation.session = session
    queue.enqueue_burst([(tag, operation)])

one(0)
drain(queue, 1)
finish, go, came_back = binding.finish_task, threading.Event(), threading.Event()

def watched(hand, outcome):
    if {when!r} == "before":
        go.wait()
        gc.collect()
    finish(hand, outcome)
    if {when!r} == "after":
        go.wait()
        gc.collect()
    came_back.set()

binding.finish_task = watched
one(1)
if {when!r} == "after":
    drain(queue, 1)
if {closing!r}:
    class Closing:
        def __del__(self, queue=queue):
            queue.close()
    cycle = [Closing()]
else:
    cycle = [queue]
cycle.append(cycle)
del cycle, queue
go.set()
print(came_back.wait(20), flush=True)
os._exit(0)
"""


@pytest.mark.parametrize("closing", [False, True], ids=["collected", "closed by a finaliser"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_queue_that_ends_in_the_thread_that_works_for_it(when: str, closing: bool) -> None:
    """The garbage collector runs in any thread, and this one cannot wait for itself."""
    assert python(COLLECTED.format(when=when, closing=closing)).split() == ["True"]
