"""The server behind the proxy: what it does is in the path. It remembers what it was sent, byte for byte."""

import hashlib
import json
import random
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.traffic import bomb

WORDS = b"The quick brown fox jumps over the lazy dog, %d times.\n"


def text(size: int) -> bytes:
    """A text of so many bytes."""
    return b"".join(WORDS % number for number in range(size // 40 + 1))[:size]


class Handler(socketserver.StreamRequestHandler):
    """One connection."""

    server: "Origin"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.served = 0
        with self.server.lock:
            self.server.connections += 1

    def handle(self) -> None:
        try:
            while self.one():
                self.served += 1
        except OSError:
            pass

    def one(self) -> bool:
        line = self.rfile.readline()
        if not line:
            return False
        head = [line]
        while (line := self.rfile.readline()) not in (b"\r\n", b""):
            head.append(line)
        self.raw = raw = b"".join(head)
        if self.server.remembers:
            with self.server.lock:
                self.server.heads.append(raw)
        fields = [field.rstrip(b"\r\n").partition(b": ")[::2] for field in head[1:]]
        self.fields = {name.lower().decode("latin-1"): value.decode("latin-1") for name, value in fields}
        self.method, target, _ = head[0].decode("latin-1").split()
        name, _, self.argument = target.partition("?")[0][1:].partition("/")
        return bool(
            getattr(self, "do_" + (name or ("STAR" if target == "*" else "text")).replace("-", "_"))()
        )

    def body(self) -> bytes:
        """The body of the request."""
        if self.fields.get("transfer-encoding") == "chunked":
            found = b""
            while size := int(self.rfile.readline() or self.gone(), 16):
                found += self.rfile.read(size)
                assert (self.rfile.read(2) or self.gone()) == b"\r\n"
            assert (self.rfile.readline() or self.gone()) == b"\r\n", "the proxy sends no trailers"
            return found
        return self.rfile.read(int(self.fields.get("content-length", 0)))

    @staticmethod
    def gone() -> bytes:
        raise ConnectionError("the proxy is gone in the middle of a body")

    def send(self, *pieces: bytes) -> None:
        self.wfile.write(b"".join(pieces))
        self.wfile.flush()

    def reply(
        self, body: bytes, *fields: bytes, status: bytes = b"200 OK", kind: bytes = b"text/plain"
    ) -> bool:
        lines = [b"content-type: " + kind, b"content-length: %d" % len(body), *fields]
        self.send(
            b"HTTP/1.1 ",
            status,
            b"\r\n",
            b"\r\n".join(lines),
            b"\r\n\r\n",
            b"" if self.method == "HEAD" else body,
        )
        return True

    def head(self, *fields: bytes) -> None:
        self.send(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n",
            *(field + b"\r\n" for field in fields),
            b"\r\n",
        )

    # -- what there is ------------------------------------------------------------------------------------------

    def do_STAR(self) -> bool:
        """``OPTIONS *``"""
        return self.reply(b"")

    def do_text(self) -> bool:
        """So many bytes of text."""
        self.body()
        return self.reply(text(int(self.argument or 1000)), b'etag: "abc"', b"accept-ranges: bytes")

    def do_noise(self) -> bool:
        """Bytes that do not get smaller."""
        return self.reply(self.server.noise[: int(self.argument)], kind=b"application/octet-stream")

    def do_image(self) -> bool:
        return self.reply(text(5000), kind=b"image/png")

    def do_chunked(self) -> bool:
        """A text in chunks."""
        self.head(b"transfer-encoding: chunked")
        if self.method == "HEAD":
            return True
        body = text(int(self.argument))
        for start in range(0, len(body), 3000):
            piece = body[start : start + 3000]
            self.send(b"%x;extension=1\r\n" % len(piece), piece, b"\r\n")
        self.send(b"0\r\nx-trailer: there\r\n\r\n")
        return True

    def do_until_close(self) -> bool:
        """A text whose end is the end of the connection."""
        self.send(b"HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\n", text(int(self.argument)))
        return False

    def do_events(self) -> bool:
        """One event; the next when somebody has said ``/release``."""
        self.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        self.send(b"d\r\ndata: first\n\n\r\n")
        self.server.released.wait(30)
        self.send(b"e\r\ndata: second\n\n\r\n0\r\n\r\n")
        return True

    def do_wait(self) -> bool:
        """An answer when somebody has said ``/release``."""
        with self.server.lock:
            self.server.waiting += 1
        self.server.released.wait(30)
        return self.reply(b"released\n")

    def do_release(self) -> bool:
        self.server.released.set()
        return self.reply(b"now\n")

    def do_hang(self) -> bool:
        """Never."""
        self.server.over.wait(60)
        return False

    def do_stall(self) -> bool:
        """Half of it."""
        self.head(b"content-length: 200000")
        self.send(text(100_000))
        self.server.over.wait(60)
        return False

    def do_dated(self) -> bool:
        """An answer of long ago."""
        return self.reply(b"dated", b"date: Thu, 01 Jan 1970 00:00:00 GMT")

    def do_via(self) -> bool:
        """The lines of ``Via``."""
        lines = self.raw.decode("latin-1").split("\r\n")
        found = [line.partition(": ")[2] for line in lines if line.lower().startswith("via:")]
        return self.reply(", ".join(found).encode())

    def do_digest(self) -> bool:
        """SHA-256 of the request's body."""
        if self.fields.get("expect") == "100-continue":
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        return self.reply(hashlib.sha256(self.body()).hexdigest().encode())

    def do_packed(self) -> bool:
        """A body that is compressed already: a few bytes that become many."""
        return self.reply(bomb(self.argument), b"content-encoding: " + self.argument.encode())

    def do_zeros(self) -> bool:
        """Many bytes that become few."""
        size = int(self.argument)
        self.head(b"content-length: %d" % size)
        for _ in range(size // 100_000):
            self.send(bytes(100_000))
        self.send(bytes(size % 100_000))
        return True

    def do_endless(self) -> bool:
        """Until nobody wants more."""
        self.head(b"transfer-encoding: chunked")
        while not self.server.over.is_set():
            self.send(b"7530\r\n", self.server.noise[:30_000], b"\r\n")
        return False

    def do_reset(self) -> bool:
        """Half of it, and a reset."""
        self.head(b"content-length: 200000")
        self.send(text(100_000))
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False

    def do_smuggled(self) -> bool:
        """What nobody has asked for."""
        with self.server.lock:
            self.server.smuggled += 1
        return self.reply(b"smuggled")

    def do_echo(self) -> bool:
        """What the request was."""
        body = self.body()
        answer = {
            "method": self.method,
            "fields": self.fields,
            "length": len(body),
            "body": body[:100].decode("latin-1"),
        }
        return self.reply(json.dumps(answer).encode(), kind=b"application/json")

    def do_continue(self) -> bool:
        """100, then the body."""
        assert self.fields["expect"] == "100-continue"
        self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        return self.do_echo()

    def do_hints(self) -> bool:
        """103 before 200."""
        self.send(b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n")
        return self.reply(b"hinted")

    def do_refuse(self) -> bool:
        """An answer before the body was read, and the end; in order, since a reset could overtake the answer."""
        self.reply(b"too large", b"connection: close", status=b"413 Content Too Large")
        self.connection.shutdown(socket.SHUT_WR)
        while self.rfile.read1(1 << 16):
            pass
        return False

    def do_status(self) -> bool:
        """An answer without a body."""
        self.send(b'HTTP/1.1 %s Some\r\netag: "abc"\r\n\r\n' % self.argument.encode())
        return True

    def do_upgrade(self) -> bool:
        """Another protocol: everything comes back in capitals, until the client has said all, or ``bye``."""
        self.send(
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: shout\r\n\r\nWELCOME\n"
        )
        while data := self.rfile.readline():
            self.send(data.upper())
            if data == b"bye\n":
                break
        self.send(b"GOODBYE\n")
        return False

    def do_die(self) -> bool:
        """An answer that promises more, and then the end: at once, or when it is asked again."""
        if self.served and self.argument == "again":
            return False
        self.reply(b"alive")
        return self.argument == "again"

    def do_vanish(self) -> bool:
        return False

    def do_truncated(self) -> bool:
        self.head(b"content-length: 100000")
        self.send(text(50_000))
        return False

    def do_truncated_chunks(self) -> bool:
        self.head(b"transfer-encoding: chunked")
        self.send(b"5\r\nhello\r\n")
        return False

    def do_garbage(self) -> bool:
        self.send(b"This is no HTTP at all.\r\n\r\n")
        return False

    def do_unasked(self) -> bool:
        """An answer, and another one that nobody has asked for."""
        self.reply(b"asked")
        self.reply(b"NOBODY HAS ASKED")
        return True

    def do_both(self) -> bool:
        """Chunks, and a length that says something else."""
        self.head(b"transfer-encoding: chunked", b"content-length: " + self.argument.encode())
        self.send(b"" if self.method == "HEAD" else b"6\r\nabcdef\r\n0\r\n\r\n")
        return True

    def do_nothing(self) -> bool:
        """No content, and a length all the same."""
        self.send(b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n")
        return True

    def do_other_protocol(self) -> bool:
        """Only by another protocol."""
        self.reply(b"no", b"connection: upgrade", b"upgrade: shout", status=b"426 Upgrade Required")
        return True

    def do_two_lengths(self) -> bool:
        self.head(b"content-length: 5", b"content-length: 6")
        self.send(b"hello!")
        return False


class Origin(socketserver.ThreadingTCPServer):
    """The server.

    :ivar heads: all that it was asked
    :ivar connections: how often somebody connected
    :ivar waiting: requests that wait for their release, or have waited
    :ivar smuggled: requests for a path for which nobody asks openly
    :ivar remembers: heads are kept
    """

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.heads: list[bytes] = []
        self.connections = self.waiting = self.smuggled = 0
        self.remembers = True
        self.lock = threading.Lock()
        self.released, self.over = threading.Event(), threading.Event()
        self.noise = random.Random(7).randbytes(1 << 20)
        self.address = f"127.0.0.1:{self.server_address[1]}"


def eventually(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.005)


@contextmanager
def origin() -> Iterator[Origin]:
    server = Origin()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
