"""The accelerator in poll mode, without sockets: what becomes of work whose device, buffer, session or client is not there."""

import gzip
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace

import pytest

import wdasync
from examples.reverse_proxy import places
from examples.reverse_proxy.connection import Connection
from examples.reverse_proxy.figures import Figures
from examples.reverse_proxy.flow import Flow
from examples.reverse_proxy.lcore import Lcore
from examples.reverse_proxy.mempool import Mbuf
from examples.reverse_proxy.offload import Done, Offload
from examples.reverse_proxy.options import Options
from examples.reverse_proxy.places import Place
from examples.reverse_proxy.policy import Policy
from examples.reverse_proxy.relay import Relay
from examples.reverse_proxy.work import Stream, Work
from tests.examples.reverse_proxy.origin import eventually, text
from wdasync import Flush, PolledDevice
from wdasync.testing._mock_queue import MockQueue
from wdasync.testing.mock import MockDevice

OPTIONS = Options(("127.0.0.1", 1), ring=4, mbufs=2, burst=4)


@pytest.fixture
def polled() -> Iterator[PolledDevice]:
    with wdasync.open_device("mock", close_timeout=0.1) as it:
        yield it


@pytest.fixture
def offload(polled: PolledDevice) -> Iterator[Offload]:
    it = Offload([polled], OPTIONS, Figures(quiet=True))
    yield it
    it.lanes.close()


@pytest.fixture
def both(polled: PolledDevice) -> Iterator[Offload]:
    """With another device behind it."""
    with wdasync.open_device("cpu") as other:
        it = Offload([polled, other], OPTIONS, Figures(quiet=True))
        yield it
        it.lanes.close()


def device(polled: PolledDevice) -> MockDevice:
    assert isinstance(polled.device, MockDevice)
    return polled.device


def client() -> Connection:
    return Connection(Relay(Policy(), "127.0.0.1", b"there"), None)


def whole(size: int = 5000) -> Work:
    return Work("gzip", [text(size)])


def reap(offload: Offload, count: int) -> list[Done]:
    found: list[Done] = []
    deadline = time.monotonic() + 30
    while len(found) < count:
        offload.submit(OPTIONS.burst)
        found += offload.reap(OPTIONS.burst)
        assert time.monotonic() < deadline
    assert len(found) == count
    return found


def test_output_behind_headroom(offload: Offload) -> None:
    connection, work = client(), whole()
    offload.put(connection, work)
    (done,) = reap(offload, 1)
    assert done.connection is connection
    assert isinstance(done.output, Mbuf)
    assert done.output.headroom == 1024
    assert gzip.decompress(done.output.data()) == text(5000)
    assert connection.work is None
    assert offload.pool.in_use == 1
    done.output.free()
    assert offload.pool.in_use == 0


def test_more_than_the_ring_has_room_for(offload: Offload) -> None:
    clients = [client() for _ in range(20)]
    for it in clients:
        offload.put(it, whole(100))
    assert offload.ring.free_count == 0
    assert offload.waiting
    found: list[Connection] = []
    while len(found) < 20:
        for done in reap(offload, 1) if len(found) == 19 else offload.reap(1):
            found.append(done.connection)
            if isinstance(done.output, Mbuf):
                done.output.free()
        offload.submit(1)
    assert found == clients, "in their order"


def test_no_buffer(offload: Offload) -> None:
    clients = [client() for _ in range(3)]
    for it in clients:
        offload.put(it, whole())
    done = {it.connection: it.output for it in reap(offload, 3)}
    assert done[clients[2]] is None, "there are two buffers, and nobody waits for one"
    assert offload.pool.exhausted == 1
    assert offload._figures.bypassed == 1


def test_a_client_that_has_gone(offload: Offload) -> None:
    clients = [client() for _ in range(2)]
    for it in clients:
        offload.put(it, whole())
    offload.forget(clients[0])  # it is still in the ring
    (done,) = reap(offload, 1)
    assert done.connection is clients[1]
    assert offload.pool.in_use == 1
    assert isinstance(done.output, Mbuf)
    done.output.free()
    offload.put(clients[1], whole())
    offload.submit(4)
    offload.forget(clients[1])  # the device has it, or had it
    for _ in range(10):
        assert offload.reap(4) == []
    assert (offload.lanes.flying, offload.pool.in_use) == (0, 0)


def test_a_buffer_is_held_for_as_long_as_the_device_has_it(
    polled: PolledDevice, offload: Offload, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MockQueue, "withdraw", lambda *_: False)  # as silicon says it
    device(polled).program.hold()
    connection = client()
    offload.put(connection, whole())
    offload.submit(4)
    offload.forget(connection)
    assert offload.reap(4) == []
    assert (offload.lanes.flying, offload.pool.in_use) == (1, 1)
    device(polled).program.release()
    deadline = time.monotonic() + 30
    while offload.lanes.flying and time.monotonic() < deadline:
        assert offload.reap(4) == []
    assert (offload.lanes.flying, offload.pool.in_use) == (0, 0)


def test_what_a_device_does_not_do(polled: PolledDevice, offload: Offload) -> None:
    device(polled).program.fail()
    offload.put(client(), whole())
    (done,) = reap(offload, 1)
    assert done.output is None
    assert offload.pool.in_use == 0


def test_a_device_without_a_queue(polled: PolledDevice, caplog: pytest.LogCaptureFixture) -> None:
    """Others may use all of them."""
    with wdasync.open_device("cpu") as other:
        device(polled).program.queue_failures = 1
        it = Offload([polled, other], OPTIONS, Figures(quiet=True))
        assert [found.backend for found in it.lanes.devices] == ["cpu"]
        assert "goes without a queue" in caplog.text
        it.lanes.close()
    device(polled).program.queue_failures = 1
    with pytest.raises(wdasync.BackendUnavailable, match="no queue to be had"):
        Offload([polled], OPTIONS, Figures(quiet=True))


def test_the_only_device_is_lost(polled: PolledDevice, offload: Offload) -> None:
    device(polled).program.stick(count=1)
    first, second = client(), client()
    offload.put(first, whole())
    offload.submit(4)
    device(polled).program.lose_device("pulled out")
    offload.put(second, whole())
    assert {it.connection: it.output for it in reap(offload, 2)} == {first: None, second: None}
    assert offload.lanes.devices == []
    assert offload.offers == ((), ())
    assert (offload.lanes.flying, offload.pool.in_use) == (0, 0)
    assert not offload.waiting


def outputs(offload: Offload, clients: list[Connection]) -> list[bytes]:
    """The decoded bodies of all, in their order; the buffers are given back."""
    found = {}
    for it in reap(offload, len(clients)):
        assert isinstance(it.output, Mbuf)
        found[it.connection] = gzip.decompress(it.output.data())
        it.output.free()
    return [found[it] for it in clients]


def test_a_device_that_fails_leaves_its_work_to_the_next(polled: PolledDevice, both: Offload) -> None:
    device(polled).program.fail()
    clients = [client(), client()]
    for it in clients:
        both.put(it, whole())
    assert outputs(both, clients) == [text(5000)] * 2
    assert (both.lanes.moved, both.pool.in_use) == (1, 0)


def test_a_device_that_is_lost_leaves_its_work_to_the_next(polled: PolledDevice, both: Offload) -> None:
    program = device(polled).program
    program.stick(count=1)
    clients = [client(), client()]
    both.put(clients[0], whole())
    both.submit(4)
    program.lose_device("pulled out")
    both.put(clients[1], whole())
    assert outputs(both, clients) == [text(5000)] * 2
    assert [it.backend for it in both.lanes.devices] == ["cpu"]
    assert (both.lanes.moved, both.lanes.flying, both.pool.in_use) == (1, 0, 0)
    assert program.complaints == []


def test_a_device_that_says_nothing_leaves_its_work_to_the_next(polled: PolledDevice, both: Offload) -> None:
    program = device(polled).program
    program.stick(count=None)
    clients = [client(), client()]
    for it in clients:
        both.put(it, whole())
    both.submit(4)
    both.lanes.tick(time.monotonic() + 4)
    assert both.lanes.devices[0] is polled
    both.lanes.tick(time.monotonic() + 6)
    assert outputs(both, clients) == [text(5000)] * 2
    assert [it.backend for it in both.lanes.devices] == ["cpu"]
    assert program.complaints == []


def test_a_buffer_is_not_used_while_a_device_that_is_lost_may_write_to_it(
    polled: PolledDevice, both: Offload
) -> None:
    program = device(polled).program
    program.stick(count=None)
    program.block_close()
    it = client()
    both.put(it, whole())
    both.submit(4)
    program.lose_device("pulled out")
    for _ in range(100):
        both.submit(4)
        assert both.reap(4) == []
    assert (both.lanes.flying, both.pool.in_use, both.waiting) == (1, 1, True)
    program.unblock_close()
    assert outputs(both, [it]) == [text(5000)]


def test_queues_that_are_closed_just_while_somebody_looks(
    polled: PolledDevice, both: Offload, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked twice in one look, the thread that closes them answered differently, and the work was lost."""
    answers = iter([True])
    monkeypatch.setattr(Place, "winding", property(lambda _: next(answers, False)))
    device(polled).program.stick(count=1)
    it = client()
    both.put(it, whole())
    both.submit(4)
    device(polled).program.lose_device("pulled out")
    assert outputs(both, [it]) == [text(5000)]


def test_a_device_that_comes_back(
    polled: PolledDevice, both: Offload, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "PAUSE", 0.001)
    device(polled).lose("reset by somebody")
    both.submit(4)
    assert [it.backend for it in both.lanes.devices] == ["cpu"]
    eventually(lambda: both.lanes.tick(time.monotonic()))
    assert [it.backend for it in both.lanes.devices] == ["mock", "cpu"]
    it = client()
    served = device(polled).served
    device(polled).program.release(100)  # and count
    both.put(it, whole())
    assert outputs(both, [it]) == [text(5000)]
    assert polled.resets == 1
    assert device(polled).served == served + 1


@pytest.mark.parametrize("when", ["before a piece", "during a piece", "by a failure"])
@pytest.mark.parametrize("at", [0, 1, 2, 3])
def test_a_stream_goes_on_on_the_next_device(polled: PolledDevice, both: Offload, when: str, at: int) -> None:
    connection, stream, body, program = client(), Stream("gzip"), b"", device(polled).program
    unzip = zlib.decompressobj(31)
    pieces = [text(20_000 + number) for number in range(4)]
    for number, piece in enumerate(pieces):
        if number == at and when == "before a piece":
            program.lose_device("pulled out")
        if number == at and when != "before a piece":
            program.fail() if when == "by a failure" else program.stick(count=1)
        flush = Flush.FINISH if number == 3 else Flush.SYNC
        both.put(connection, Work("gzip", [piece[:1], piece[1:]], stream, flush))
        both.submit(4)
        if number == at and when == "during a piece":
            program.lose_device("pulled out")
        (done,) = reap(both, 1)
        assert isinstance(done.output, bytes)
        assert unzip.decompress(done.output) == piece, "each can be read at once"
        body += done.output
    assert unzip.eof
    assert gzip.decompress(body) == b"".join(pieces)
    assert stream.handle is None


@pytest.mark.parametrize("reset", ["has not begun", "is under way"])
def test_a_stream_goes_on_though_its_device_never_said_that_it_is_lost(
    polled: PolledDevice, both: Offload, monkeypatch: pytest.MonkeyPatch, reset: str
) -> None:
    """It was silent, and nothing of this stream was there at that time. Or it is just being reset: it says that it is there again before
    anybody counts that."""
    begun, go_on = threading.Event(), threading.Event()

    def slowly() -> None:
        begun.set()
        go_on.wait()

    monkeypatch.setattr(places, "PAUSE", 0.001 if reset == "is under way" else 60)
    monkeypatch.setattr(polled, "reset", slowly)
    connection, stream = client(), Stream("gzip")
    both.put(connection, Work("gzip", [text(5000)], stream, Flush.SYNC))
    (first,) = reap(both, 1)
    device(polled).program.stick(count=1)
    other = client()
    both.put(other, whole())
    both.submit(4)
    both.lanes.tick(time.monotonic() + 6)
    assert outputs(both, [other]) == [text(5000)]
    if reset == "is under way":
        assert begun.wait(30)
    both.put(connection, Work("gzip", [text(300)], stream, Flush.FINISH))
    (second,) = reap(both, 1)
    go_on.set()
    assert isinstance(first.output, bytes)
    assert isinstance(second.output, bytes)
    assert gzip.decompress(first.output + second.output) == text(5000) + text(300)
    assert device(polled).lost is None


def test_nobody_goes_on_with_brotli() -> None:
    with wdasync.open_device("cpu") as one, wdasync.open_device("cpu") as other:
        for algorithm in ("br", "gzip"):
            flow = Flow(algorithm, "fast", movable=True)
            flow.take([text(9000)], Flush.SYNC)
            assert flow.offer(one, moving=False) is not None
            assert flow.offer(other, moving=False) is None
            onward = flow.offer(other, moving=True)  # the first has failed
            assert (onward is None) == (algorithm == "br")
            flow.close()


def test_a_stream(offload: Offload) -> None:
    connection, stream, body = client(), Stream("gzip"), b""
    for number, flush in enumerate([Flush.SYNC, Flush.SYNC, Flush.FINISH]):
        offload.put(connection, Work("gzip", [b"piece %d, " % number], stream, flush))
        (done,) = reap(offload, 1)
        assert isinstance(done.output, bytes)
        body += done.output
        assert (connection.stream is None) == (stream.handle is None) == (flush is Flush.FINISH)
    assert gzip.decompress(body) == b"piece 0, piece 1, piece 2, "


def test_a_stream_whose_client_has_gone(offload: Offload) -> None:
    for flying in (False, True):
        connection, stream = client(), Stream("gzip")
        offload.put(connection, Work("gzip", [b"piece"], stream, Flush.SYNC))
        if flying:
            offload.submit(4)
        else:
            reap(offload, 1)
        offload.forget(connection)
        assert offload.reap(4) == []
        assert stream.handle is None, "its session is given back"


def test_output_for_which_its_connection_has_not_waited(offload: Offload) -> None:
    """The body has gone as it is, for the device took too long: the buffer is given back all the same."""
    lcore = Lcore(replace(OPTIONS, port=0), offload, Figures(quiet=True), None)
    connection = client()
    offload.put(connection, whole())
    (done,) = reap(offload, 1)
    lcore.complete(done)
    assert offload.pool.in_use == 0
    lcore._listener.close()


def test_a_policy_without_codings() -> None:
    assert replace(OPTIONS).offering(("gzip",), ()).policy.whole == ("gzip",)
    assert OPTIONS.offering((), ()).policy.streams == ()
