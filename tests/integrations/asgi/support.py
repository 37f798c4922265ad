"""A server that is no server: it calls an ASGI application, and keeps what comes out."""

import gzip
import zlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import anyio
import brotli

from wdasync.integrations.asgi.types import App, Message, Receive, Scope, Send

PAGE = "".join(f"<p>Paragraph {number} of a page.</p>\n" for number in range(400)).encode()


def unzstd(data: bytes) -> bytes:
    """Frames of zstd, decoded by a library that is not ours."""
    import pytest

    zstd = pytest.importorskip("backports.zstd")
    return bytes(zstd.decompress(data))


DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "br": brotli.decompress,
    "zstd": unzstd,
    "deflate": zlib.decompress,
    "identity": bytes,
}


class Answer:
    """What an application sent."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self.messages = list(messages)

    @property
    def start(self) -> Message:
        (start,) = [message for message in self.messages if message["type"] == "http.response.start"]
        return start

    @property
    def status(self) -> int:
        return int(self.start["status"])

    @property
    def headers(self) -> dict[str, str]:
        """By name; a name that comes twice is an error."""
        lines = [(name.decode().lower(), value.decode()) for name, value in self.start["headers"]]
        assert len(dict(lines)) == len(lines), lines
        return dict(lines)

    @property
    def pieces(self) -> list[bytes]:
        """Of the body, on the wire."""
        return [
            message.get("body", b"") for message in self.messages if message["type"] == "http.response.body"
        ]

    @property
    def complete(self) -> bool:
        return not self.messages[-1].get("more_body", False)

    @property
    def coding(self) -> str:
        return self.headers.get("content-encoding", "identity")

    @property
    def body(self) -> bytes:
        """Decoded."""
        wire = b"".join(self.pieces)
        if "content-length" in self.headers:
            assert self.headers["content-length"] == str(len(wire))
        return DECODERS[self.coding](wire)


class Server:
    """One request to an application. It can be told what the client does.

    :ivar messages: what the application sent so far
    :ivar leave: set, the client leaves
    """

    def __init__(self, body: Iterable[bytes] = (b"",)) -> None:
        pieces = list(body)
        self.messages: list[Message] = []
        self.leave = anyio.Event()
        self.received = 0
        self._requests = [
            {"type": "http.request", "body": piece, "more_body": number < len(pieces)}
            for number, piece in enumerate(pieces, 1)
        ]

    async def receive(self) -> Message:
        await anyio.lowlevel.checkpoint()
        if self.leave.is_set():
            return {"type": "http.disconnect"}
        if self.received < len(self._requests):
            self.received += 1
            return dict(self._requests[self.received - 1])
        await self.leave.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        await anyio.lowlevel.checkpoint()
        self.messages.append(dict(message))

    async def run(self, app: App, scope: Scope) -> Answer:
        await app(scope, self.receive, self.send)
        return Answer(self.messages)


def scope_of(
    method: str = "GET", path: str = "/", headers: Sequence[tuple[str, str]] = (), **more: Any
) -> Scope:
    lines = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    return {"type": "http", "http_version": "1.1", "method": method, "path": path, "headers": lines, **more}


async def ask(app: App, accept: str | None = "gzip", method: str = "GET", **headers: str) -> Answer:
    """One request, without a body."""
    lines = [(name.replace("_", "-"), value) for name, value in headers.items()]
    if accept is not None:
        lines.append(("accept-encoding", accept))
    return await Server().run(app, scope_of(method, headers=lines))


async def post(app: App, body: Iterable[bytes], **headers: str) -> Answer:
    """One request with a body."""
    lines = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return await Server(body).run(app, scope_of("POST", headers=lines))


def answering(
    body: bytes | Sequence[bytes] = PAGE,
    status: int = 200,
    content_type: str | None = "text/html",
    **headers: str,
) -> App:
    """An application that always says the same; a list of pieces is streamed."""
    lines = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    if content_type is not None:
        lines.append((b"content-type", content_type.encode()))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": list(lines)})
        if isinstance(body, bytes):
            await send({"type": "http.response.body", "body": body})
            return
        for piece in body:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return app


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that answers what it was sent."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        more = message["more_body"]
    lines = [
        (name, value) for name, value in scope["headers"] if name in (b"content-encoding", b"content-length")
    ]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-seen", repr(lines).encode())]})
    await send({"type": "http.response.body", "body": body})


Work = Callable[[], Awaitable[None]]
