"""Devices for programs that poll."""

import errno
import gzip
import logging
import select
import threading
import time
from contextlib import ExitStack

import pytest

import wdasync
from wdasync import registry
from wdasync.backend import Completion, Direction, Queue, QueueStatistics, StreamSpec
from wdasync.errors import Status
from wdasync.pollmode import PolledDevice
from wdasync.testing.mock import MockDevice, backend

PAGE = b"<p>Hello, world.</p>" * 5000
BACKENDS = ["cpu", "hip08", "mock"]


def reap(queue: Queue, count: int) -> list[Completion]:
    """So many completions, by polling alone."""
    found: list[Completion] = []
    deadline = time.monotonic() + 60
    while len(found) < count:
        found += queue.dequeue_burst(32)
        assert time.monotonic() < deadline, f"{len(found)} of {count} completions"
    return found


@pytest.mark.parametrize("name", BACKENDS)
def test_bursts_by_polling_alone(name: str) -> None:
    before = threading.active_count()
    with wdasync.open_device(name) as polled:
        assert polled.backend == name
        queue = polled.open_queue(64)
        entries = [(tag, wdasync.Compress(PAGE[: 1000 * tag + 1], "gzip")) for tag in range(8)]
        assert queue.enqueue_burst(entries) == 8
        for done in reap(queue, 8):
            assert done.status is Status.SUCCESS
            assert done.output is not None
            assert gzip.decompress(done.output) == PAGE[: 1000 * done.tag + 1]
        assert queue.statistics().wakes == 0, "nobody has armed"
    if name != "cpu":  # whose workers are the process's
        assert threading.active_count() == before


@pytest.mark.parametrize("name", BACKENDS)
def test_sleep_on_the_descriptor(name: str) -> None:
    with wdasync.open_device(name) as polled, select.epoll() as epoll:
        queue = polled.open_queue()
        epoll.register(queue.fileno(), select.EPOLLIN)
        for tag in range(20):
            assert queue.enqueue_burst([(tag, wdasync.Compress(PAGE, "gzip"))]) == 1
            found: list[Completion] = []
            for _ in range(100):
                found += queue.dequeue_burst(32)
                if found:
                    break
                if queue.arm() and not (found := list(queue.dequeue_burst(32))):
                    assert epoll.poll(30), "nobody woke it"
            assert [done.tag for done in found] == [tag]


def test_a_stream_on_a_queue() -> None:
    with wdasync.open_device("cpu") as polled:
        row = polled.device.capabilities.find(wdasync.Kind.COMPRESS_CHUNK, "gzip")
        assert row is not None
        queue = polled.open_queue(queue_class=row.queue_class)
        session = polled.device.open_session(StreamSpec(Direction.COMPRESS, "gzip"))
        body = b""
        for piece, flush in ((PAGE, wdasync.Flush.SYNC), (b"the end", wdasync.Flush.FINISH)):
            queue.enqueue_burst([(1, wdasync.operations.CompressChunk(session, piece, flush))])
            body += reap(queue, 1)[0].output or b""
        session.close()
    assert gzip.decompress(body) == PAGE + b"the end"


def test_close_with_work_in_flight() -> None:
    buffer = bytearray(len(PAGE))
    polled = wdasync.open_device("cpu")
    queue = polled.open_queue()
    assert queue.enqueue_burst([(0, wdasync.Compress(PAGE, "gzip", into=buffer))]) == 1
    assert queue.enqueue_burst([(tag, wdasync.Compress(PAGE, "gzip", level=9)) for tag in range(1, 50)]) == 49
    polled.close()
    polled.close()
    assert queue.statistics().in_flight == 0
    buffer.extend(b"nobody holds it any more")
    assert "closed" in repr(polled)
    with pytest.raises(wdasync.ClosedResourceError):
        polled.open_queue()


class Stuck:
    """A queue that never finishes what it has."""

    depth = 1
    closed = False

    def stop(self) -> None:
        pass

    def dequeue_burst(self, limit: int) -> list[Completion]:
        return []

    def statistics(self) -> QueueStatistics:
        return QueueStatistics(1, in_flight=1)

    def close(self) -> None:
        self.closed = True


def test_a_device_that_does_not_finish_is_closed_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MockDevice, "open_queue", lambda *_: Stuck())
    polled = wdasync.open_device("mock", close_timeout=0.05)
    queue = polled.open_queue()
    polled.close()
    assert isinstance(queue, Stuck)
    assert queue.closed


@pytest.mark.parametrize("name", ["hip08", "mock"])
def test_a_device_that_was_lost_is_brought_back(name: str) -> None:
    with wdasync.open_device(name) as polled:
        queue = polled.open_queue()
        assert queue.enqueue_burst([(tag, wdasync.Compress(PAGE, "gzip")) for tag in range(4)]) == 4
        registry.get_backend(name).provoker.lose(polled.device)  # type: ignore[attr-defined]  # for those who examine backends
        assert {done.status for done in reap(queue, 4)} <= {Status.DEVICE_ERROR, Status.SUCCESS}
        assert polled.device.lost is not None
        polled.reset()
        assert (polled.device.lost, polled.resets) == (None, 1)
        queue = polled.open_queue()
        assert queue.enqueue_burst([(1, wdasync.Compress(PAGE, "gzip"))]) == 1
        assert gzip.decompress(reap(queue, 1)[0].output or b"") == PAGE
    with pytest.raises(wdasync.ClosedResourceError):
        polled.reset()


def test_a_device_that_does_not_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    with wdasync.open_device("mock") as polled:
        assert isinstance(polled.device, MockDevice)
        polled.device.absent = True
        polled.device.lose("pulled out")
        with pytest.raises(
            wdasync.BackendUnavailable, match="expected it back after a reset, got: pulled out"
        ):
            polled.reset()

        def reset(self: MockDevice) -> None:
            raise OSError(errno.EBUSY, "somebody has it")

        monkeypatch.setattr(MockDevice, "reset", reset)
        with pytest.raises(wdasync.BackendUnavailable, match=r"mock-0: .*somebody has it"):
            polled.reset()
        assert polled.resets == 0


def test_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    with wdasync.open_device("mock", depth=5) as polled:
        assert polled.open_queue().depth == 5
        assert polled.open_queue(7).depth == 7
        assert repr(polled) == "<PolledDevice mock/mock-0, 2 queues>"
    monkeypatch.setenv("WDASYNC_BACKEND", "mock")
    with wdasync.open_device() as polled:
        assert polled.backend == "mock"


def test_a_device_that_nobody_closes() -> None:
    polled = wdasync.open_device("mock")
    device, queue = polled.device, polled.open_queue()
    with pytest.warns(ResourceWarning, match="unclosed <PolledDevice mock/mock-0, 1 queues>; use `with`"):
        del polled
    queue.close()
    device.close()


def test_errors() -> None:
    with pytest.raises(wdasync.BackendUnavailable, match="did you mean 'hip08'"):
        wdasync.open_device("hip80")
    with pytest.raises(wdasync.ConfigError, match="depht"):
        wdasync.open_device("cpu", depht=7)
    with pytest.raises(wdasync.BackendUnavailable, match="expected a device"):
        wdasync.open_device("uacce")
    with wdasync.open_device("cpu") as polled:
        with pytest.raises(wdasync.InvalidArgument, match=r"queue_class: expected one of '.*', got 'ocr'"):
            polled.open_queue(queue_class="ocr")


def test_what_is_needed() -> None:
    with wdasync.open_device("hip08", needs=[(wdasync.Kind.COMPRESS, "gzip")]) as polled:
        assert polled.backend == "hip08"
    with wdasync.open_device("hip08", needs=[(wdasync.Kind.COMPRESS, "br")]) as polled:
        assert polled.backend == "cpu", "who takes over from others has it"
    needs = [(wdasync.Kind.COMPRESS, "gzip"), (wdasync.Kind.SIGN, "by hand")]
    with pytest.raises(
        wdasync.BackendUnavailable, match="COMPRESS gzip, SIGN by hand, got mock/mock-0, cpu/cpu0"
    ):
        wdasync.open_device("mock", needs=needs)
    with pytest.raises(wdasync.BackendUnavailable, match="expected a device with COMPRESS br"):
        wdasync.open_device("hip08", needs=[(wdasync.Kind.COMPRESS, "br")], fallback=False)


GZIP, BR = (wdasync.Kind.COMPRESS, "gzip"), (wdasync.Kind.COMPRESS, "br")


def names(found: list[PolledDevice]) -> list[str]:
    """Of those devices, which are closed."""
    with ExitStack() as stack:
        return [stack.enter_context(polled).device.info.name for polled in found]


def test_all_devices_that_have_something_of_it() -> None:
    assert names(wdasync.open_devices("hip08", needs=[GZIP, BR])) == ["hisi_zip-0", "cpu0"]
    assert names(wdasync.open_devices("hip08", needs=[BR])) == ["cpu0"]
    assert names(wdasync.open_devices("hip08", needs=[GZIP, BR], fallback=False)) == ["hisi_zip-0"]
    assert names(wdasync.open_devices("mock")) == ["mock-0", "cpu0"]
    with backend.programmed(devices=2):
        assert names(wdasync.open_devices("mock")) == ["mock-0", "mock-1", "cpu0"]
    with pytest.raises(
        wdasync.BackendUnavailable, match="expected a device with COMPRESS br or SIGN by hand, got hip"
    ):
        wdasync.open_devices("hip08", needs=[BR, (wdasync.Kind.SIGN, "by hand")], fallback=False)


def test_of_several_devices_all_are_closed_if_one_that_was_asked_for_cannot_be_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed: list[str] = []
    close = PolledDevice.close
    monkeypatch.setattr(PolledDevice, "close", lambda it: (closed.append(it.backend), close(it)))
    with backend.programmed() as program:
        program.fail_open("somebody sat on it")
        with pytest.raises(wdasync.BackendUnavailable, match="somebody sat on it"):
            wdasync.open_devices(["cpu", "mock"])
    assert closed == ["cpu"]


def test_a_backend_that_was_asked_for_and_cannot_be_opened() -> None:
    with backend.programmed() as program:
        program.fail_open("somebody sat on it")
        with pytest.raises(wdasync.BackendUnavailable, match="somebody sat on it"):
            wdasync.open_device("mock")


def test_a_device_whose_coroutine_raises(caplog: pytest.LogCaptureFixture) -> None:
    logged = threading.Event()

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logged.set()

    async def serve() -> None:
        raise ZeroDivisionError("a bug")

    with wdasync.open_device("mock") as polled:
        polled.device.serve = serve
        ear = Ear()
        logging.getLogger("wdasync").addHandler(ear)
        with PolledDevice("mock", polled.device, 8, 0.1):
            assert logged.wait(30)
        logging.getLogger("wdasync").removeHandler(ear)
    assert "serve raised; the device's timers" in caplog.text
    assert "ZeroDivisionError: a bug" in caplog.text
