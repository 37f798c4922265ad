"""Whatever clients and servers say, in whatever pieces: the relay goes on, and what it says to a server has one meaning."""

import random
import zlib

import h11
import pytest

from examples.reverse_proxy.heads import check_head
from examples.reverse_proxy.policy import Policy
from examples.reverse_proxy.relay import Relay
from tests.traffic import SMUGGLING

GOOD = [
    b"GET / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
    b"HEAD / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n",
    b"GET http://there/a?b HTTP/1.0\r\nAccept-Encoding: br\r\nConnection: keep-alive\r\n\r\n",
    b"GET /u HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: shout\r\n\r\nabc",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\nMax-Forwards: 3\r\n\r\n",
    b"GET http://[::1]:80/a HTTP/1.1\r\nHost: x\r\n\r\n",
]
BAD = [b"POST /e HTTP/1.1\r\n" + rest for rest in SMUGGLING.values()]
BAD += [
    b"GET http://" + host + b"/ HTTP/1.1\r\nHost: a\r\n\r\n"
    for host in (b"[x", b"[::1", b"[abc]", b"a]", b"a\\b", b"a:9x")
]

ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 600\r\n\r\n" + b"a" * 600,
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n" + b"b" * 1000 + b"\r\n0\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\nuntil the end",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: shout\r\n\r\nxyz",
    b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nContent-Length: 77\r\n\r\n',
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/5\r\nContent-Length: 2\r\n\r\nab",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n6\r\nabcdef\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n6\r\nabcdef\r\n0\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 426 Upgrade Required\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nno",
]  # fmt: skip

INSERTED = [
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b":",
    b"\0",
    b";",
    b",",
    b"[",
    b"://",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
]


def changed(chance: random.Random, data: bytes) -> bytes:
    """The same with a few bytes more, less, or other."""
    found = bytearray(data)
    for _ in range(chance.choice([0, 0, 0, 1, 3])):
        at = chance.randrange(len(found) + 1)
        kind = chance.randrange(3)
        if kind == 0:
            found[at : at + 1] = chance.randbytes(1)
        elif kind == 1:
            del found[at : at + chance.randrange(1, 9)]
        else:
            found[at:at] = chance.choice(INSERTED)
    return bytes(found)


class Life:
    """A relay and all that happens to it."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.now = 0.0
        policy = Policy(whole=("gzip", "br"), streams=("gzip",), room=800, minimum=100)
        self.relay = Relay(policy, "192.0.2.1", b"there", "http", lambda: self.now)
        requests = [
            self.chance.choice(GOOD if self.chance.random() < 0.8 else BAD)
            for _ in range(self.chance.randrange(1, 5))
        ]
        self.client = b"".join(changed(self.chance, request) for request in requests)
        self.upstream, self.opened = b"", 0
        self.to_client = b""
        self.to_upstream: dict[int, bytes] = {}

    def live(self) -> None:
        steps = (
            [self.hear_client] * 6
            + [self.hear_upstream] * 6
            + [self.read_client] * 4
            + [self.read_upstream] * 6
        )
        steps += [self.work] * 3 + [self.misfortune]
        for _ in range(300):
            if self.relay.connection and self.relay.connection != self.opened:
                self.connect()
            else:
                self.chance.choice(steps)()
            if self.relay.aborted or (self.relay.finished and not len(self.relay.to_client)):
                return

    def connect(self) -> None:
        self.opened, self.upstream = self.relay.connection, b""
        if self.chance.random() < 0.95:
            self.relay.upstream_opened()
        else:
            self.relay.upstream_failed("nobody is there")
        self.relay.pump()

    def hear_client(self) -> None:
        if self.relay.wants_client and self.client:
            size = self.chance.choice([1, 3, 10, len(self.client)])
            data, self.client = self.client[:size], self.client[size:]
            self.relay.client_sent(data)
        elif self.relay.wants_client and self.chance.random() < 0.2:
            self.relay.client_sent(b"")

    def hear_upstream(self) -> None:
        if not (self.relay.connected and self.relay.wants_upstream):
            return
        if self.upstream:
            size = self.chance.choice([1, 5, len(self.upstream)])
            data, self.upstream = self.upstream[:size], self.upstream[size:]
            self.relay.upstream_sent(data)
        elif self.chance.random() < 0.1:
            self.relay.upstream_sent(b"")

    def read_client(self) -> None:
        while (piece := self.relay.to_client.take()) is not None:
            self.to_client += bytes(piece)  # type: ignore[call-overload]  # pieces are bytes here
        self.relay.client_took()
        self.relay.pump()

    def read_upstream(self) -> None:
        while self.relay.connected and (piece := self.relay.to_upstream.take()) is not None:
            before = self.to_upstream.get(self.opened, b"")
            self.to_upstream[self.opened] = before + bytes(piece)  # type: ignore[call-overload]
            if not self.upstream:
                answers = [self.chance.choice(ANSWERS) for _ in range(self.chance.randrange(1, 3))]
                self.upstream = b"".join(changed(self.chance, answer) for answer in answers)
        self.relay.pump()

    def work(self) -> None:
        if (work := self.relay.work) is not None:
            data = b"".join(work.pieces)
            self.relay.compressed(work, self.chance.choice([None, zlib.compress(data)]))

    def misfortune(self) -> None:
        kind = self.chance.randrange(8)
        if kind == 0:
            self.now += self.chance.choice([1.0, 40.0, 100.0])
            self.relay.tick(self.now)
        elif kind == 1:
            self.relay.drain()
        elif kind == 2 and self.relay.connected:
            self.relay.upstream_failed("it was reset")
        elif kind == 3:
            self.relay.policy = Policy()


def check_requests(data: bytes) -> None:
    """Requests, one after the other, in each of which no two parsers see different things; the last one may have been broken off."""
    while data:
        head, end, _ = data.partition(b"\r\n\r\n")
        if not end:
            return
        check_head(head + end)
        server = h11.Connection(h11.SERVER)
        server.receive_data(data)
        request = server.next_event()
        assert isinstance(request, h11.Request)
        while isinstance(event := server.next_event(), h11.Data):
            pass
        if not isinstance(event, h11.EndOfMessage):
            assert event in (h11.NEED_DATA, h11.PAUSED)
            return
        if any(name == b"upgrade" for name, _ in request.headers):
            return  # a tunnel, perhaps
        data = server.trailing_data[0]


@pytest.mark.parametrize("part", range(4))
def test_any_bytes(part: int) -> None:
    seen = set()
    for seed in range(500 * part, 500 * part + 500):
        life = Life(seed)
        try:
            life.live()
            assert life.to_client.startswith(b"HTTP/1.1 ") or not life.to_client
            for data in life.to_upstream.values():
                check_requests(data)
        except Exception as error:
            error.add_note(f"seed {seed}")
            raise
        seen.add(life.to_client[9:12])
    assert {b"200", b"400", b"502", b"304", b"103"} <= seen, "all of it happens"
