"""Traffic of all kinds against a server: clients that behave, that are slow, that leave, that lie."""

import asyncio
import gzip
import json
import os
import random
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import cache

import brotli

from tests.integrations.servers.apps import PAGE

#: Clients at a time.
CLIENTS = 24

DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "br": brotli.decompress,
    "identity": bytes,
}


@cache
def packed(kind: str) -> bytes:
    """Bodies for requests."""
    match kind:
        case "good":
            return gzip.compress(PAGE)
        case "bomb":
            return gzip.compress(bytes(8 << 20))
        case "members":
            return gzip.compress(b"") * 2000
        case "truncated":
            return gzip.compress(PAGE)[:-9]
        case _:
            return os.urandom(20_000)


class Answer:
    """A response, read to its end."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """The next response of a connection."""
    status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
    }
    if "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    elif headers.get("transfer-encoding") == "chunked":
        pieces = []
        while size := int(await reader.readline(), 16):
            pieces.append(await reader.readexactly(size))
            await reader.readline()
        await reader.readline()
        body = b"".join(pieces)
    else:
        body = await reader.read()
    return Answer(int(status.split()[1]), headers, body)


class Traffic:
    """So many requests to a server, of kinds drawn by lot.

    :ivar ended: kind and outcome -> how many
    """

    def __init__(self, port: int, count: int, *, seed: int) -> None:
        self.port = port
        self.left = count
        self.ended: Counter[str] = Counter()
        self._chance = random.Random(seed)
        self._kinds: list[tuple[Callable[[], Awaitable[str]], int]] = [
            (self.page, 50), (self.pipelined, 5), (self.upload, 12), (self.bomb, 4), (self.lies, 4), (self.slow, 3),
            (self.reset, 8), (self.reset_upload, 5), (self.half_closed, 5), (self.oversized, 2), (self.smuggled, 2),
        ]  # fmt: skip

    async def run(self) -> None:
        """All of them."""
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(self._client())

    async def _client(self) -> None:
        functions, weights = zip(*self._kinds, strict=True)
        while self.left > 0:
            self.left -= 1
            (function,) = self._chance.choices(functions, weights)
            async with asyncio.timeout(100):
                outcome = await function()
            self.ended[f"{function.__name__} {outcome}"] += 1

    async def _open(self, buffer: int = 0) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        raw = socket.socket()
        raw.setblocking(False)
        if buffer:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", self.port))
        return await asyncio.open_connection(sock=raw, limit=buffer or 1 << 16)

    def _head(self, path: str, accept: str = "gzip", method: str = "GET", *lines: str) -> bytes:
        words = [f"{method} {path} HTTP/1.1", "Host: x", f"Accept-Encoding: {accept}", *lines, "", ""]
        return "\r\n".join(words).encode()

    def _upload(self, kind: str) -> bytes:
        length = f"Content-Length: {len(packed(kind))}"
        return self._head("/plain/length", "gzip", "POST", "Content-Encoding: gzip", length) + packed(kind)

    async def _exchange(self, request: bytes, count: int = 1) -> list[Answer]:
        reader, writer = await self._open()
        try:
            writer.write(request)
            return [await read_answer(reader) for _ in range(count)]
        finally:
            writer.close()

    # -- those who behave ---------------------------------------------------------------------------------------

    async def page(self) -> str:
        accept = self._chance.choice(list(DECODERS))
        (answer,) = await self._exchange(self._head("/plain/page", accept))
        assert answer.headers.get("content-encoding", "identity") == accept
        assert DECODERS[accept](answer.body) == PAGE
        return str(answer.status)

    async def pipelined(self) -> str:
        answers = await self._exchange(self._head("/plain/page") * 3, 3)
        assert [gzip.decompress(answer.body) for answer in answers] == [PAGE] * 3
        return "all"

    async def upload(self) -> str:
        (answer,) = await self._exchange(self._upload("good"))
        assert answer.body == str(len(PAGE)).encode()
        return str(answer.status)

    async def slow(self) -> str:
        """A client with a small buffer, which reads a little at a time."""
        reader, writer = await self._open(4096)
        try:
            writer.write(self._head("/starlette/endless"))
            await reader.readuntil(b"\r\n\r\n")
            for _ in range(20):
                assert await reader.read(2000)
                await asyncio.sleep(0.005)
        finally:
            writer.transport.abort()
        return "left"

    # -- those who leave ----------------------------------------------------------------------------------------

    async def _leave(self, request: bytes, wait: int) -> str:
        reader, writer = await self._open()
        writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        writer.write(request)
        await writer.drain()
        if wait:
            await reader.read(wait)
        writer.transport.abort()
        return "left"

    async def reset(self) -> str:
        path = self._chance.choice(
            ["/plain/page", "/starlette/endless", "/quart/endless", "/litestar/endless"]
        )
        return await self._leave(self._head(path), self._chance.choice([0, 1, 5000]))

    async def reset_upload(self) -> str:
        request = self._upload("good")
        return await self._leave(request[: self._chance.randrange(100, len(request))], 0)

    async def half_closed(self) -> str:
        """A client that says that it will say no more, and waits for what it asked for; not every server gives it that."""
        reader, writer = await self._open()
        try:
            writer.write(self._head("/plain/page"))
            writer.write_eof()
            answer = await read_answer(reader)
            assert gzip.decompress(answer.body) == PAGE
        except (asyncio.IncompleteReadError, ConnectionError):
            return "nothing"
        finally:
            writer.close()
        return "answer"

    # -- those who lie ------------------------------------------------------------------------------------------

    async def _refused(self, request: bytes) -> str:
        """A server may close the connection while we still write, which can take its answer away."""
        try:
            (answer,) = await self._exchange(request)
        except (asyncio.IncompleteReadError, ConnectionError):
            return "nothing"
        return str(answer.status)

    async def bomb(self) -> str:
        return await self._refused(self._upload(self._chance.choice(["bomb", "members"])))

    async def lies(self) -> str:
        return await self._refused(self._upload(self._chance.choice(["truncated", "noise"])))

    async def oversized(self) -> str:
        return await self._refused(self._head("/plain/page", "gzip", "GET", "X-Large: " + "x" * 300_000))

    async def smuggled(self) -> str:
        """A length and chunks at the same time (RFC 9112 section 6.1); what is inside of it must not be answered."""
        inner = self._head("/plain/page")
        lines = ("Content-Length: 5", "Transfer-Encoding: chunked", "Connection: close")
        request = self._head("/plain/length", "identity", "POST", *lines) + b"0\r\n\r\n" + inner
        reader, writer = await self._open()
        try:
            writer.write(request)
            received = await reader.read()
        except ConnectionError:
            return "nothing"
        finally:
            writer.close()
        assert received.count(b"HTTP/1.1 ") <= 1
        return received[9:12].decode() or "nothing"


async def status(port: int) -> dict[str, int]:
    """What the server says of itself."""
    traffic = Traffic(port, 0, seed=0)
    (answer,) = await traffic._exchange(traffic._head("/status/", "identity", "GET", "Connection: close"))
    found: dict[str, int] = json.loads(answer.body)
    return found
