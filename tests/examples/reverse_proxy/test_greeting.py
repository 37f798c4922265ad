"""Handshakes come in crowds, and each step takes long: those who are through theirs are served in between."""

import select
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from examples.reverse_proxy.lcore import STEPS, Lcore
from examples.reverse_proxy.poller import Poller
from examples.reverse_proxy.port import Port


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def is_readable(poller: Poller) -> bool:
    return bool(select.select(poller.descriptors, [], [], 0)[0])


def test_a_port_is_in_one_of_two_crowds(pair: tuple[socket.socket, socket.socket]) -> None:
    poller, (ours, theirs) = Poller(), pair
    connection: Any = None
    port = poller.add(Port(ours, connection, upstream=False, greeting=True))
    poller.watch(port, select.EPOLLIN)
    assert not is_readable(poller)
    theirs.send(b"hello")
    assert is_readable(poller)
    assert poller.ready(8) == []
    assert poller.greetings(0) == []
    assert poller.greetings(8) == [(port, select.EPOLLIN)]
    poller.greeted(port)
    assert poller.greetings(8) == []
    assert poller.ready(8) == [(port, select.EPOLLIN)]
    poller.leave(port)
    assert poller.ready(8) == []
    assert not is_readable(poller)


def test_a_port_that_is_watched_for_nothing_stays_so(pair: tuple[socket.socket, socket.socket]) -> None:
    poller, (ours, theirs) = Poller(), pair
    connection: Any = None
    port = poller.add(Port(ours, connection, upstream=False, greeting=True))
    theirs.send(b"hello")
    poller.greeted(port)
    assert (poller.ready(8), port.mask, port.greeting) == ([], None, False)


@pytest.mark.parametrize("clear", [True, False])
def test_the_listener_is_where_its_clients_will_be(clear: bool) -> None:
    poller = Poller(clear=clear)
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        poller.listen(listener)
        client.connect(listener.getsockname())
        crowds = poller.ready(8), poller.greetings(8)
        assert crowds == (([(None, select.EPOLLIN)], []) if clear else ([], [(None, select.EPOLLIN)]))
        poller.listen(None)
        assert (poller.ready(8), poller.greetings(8)) == ([], [])


class TestSteps:
    """In which order a burst of them is done."""

    @pytest.fixture
    def lcore(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        """Without sockets: what it does is in ``calls``."""
        it: Any = Lcore.__new__(Lcore)
        it.calls = []
        monkeypatch.setattr(it, "handle", lambda item: item, raising=False)
        monkeypatch.setattr(it, "advance", it.calls.append, raising=False)
        it._receiver = SimpleNamespace(greetings=lambda burst: iter(range(burst)))
        it._signer = None
        return it

    def test_of_clients(self, lcore: Any) -> None:
        assert lcore.greet(2 * STEPS + 1, lambda: lcore.calls.append("others") or 1) == 2 * STEPS + 1
        steps = list(range(2 * STEPS + 1))
        assert lcore.calls == [*steps[:STEPS], "others", *steps[STEPS:-1], "others", steps[-1]]

    def test_of_signatures(self, lcore: Any) -> None:
        """Those of clients that have gone are steps, too."""
        gone = SimpleNamespace(engine=None, closed=True)
        lcore._signer = SimpleNamespace(reap=lambda burst: [(gone, b"")] * burst, submit=lambda burst: 7)
        count = 2 * STEPS + 1
        assert lcore.sign(count, lambda: lcore.calls.append("others") or 1) == count + 7
        assert lcore.calls == ["others", "others"]
        assert lcore.sign(count) == count + 7
