"""Traffic of all kinds for a server: clients that behave, that are slow, that leave, that lie. What request number so and so is, says the seed."""

from __future__ import annotations

import asyncio
import gzip
import os
import random
import socket
import statistics
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import ClassVar, NamedTuple

import brotli

try:
    from compression import zstd
except ImportError:  # before Python 3.14
    from backports import zstd

#: Clients at a time.
CLIENTS = 24

#: Seconds for one of them; it only ends what hangs.
PATIENCE = 100

DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "br": brotli.decompress,
    "zstd": zstd.decompress,
    "identity": bytes,
}

ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "br": lambda data: brotli.compress(data, quality=3),
    "zstd": zstd.compress,
}

#: Bytes of a bomb when it has gone off.
BOMB = 8 << 20


@cache
def bomb(coding: str) -> bytes:
    """A few bytes that become many."""
    return ENCODERS[coding](bytes(BOMB))


@cache
def members() -> bytes:
    """Thousands of members of gzip in which nothing is."""
    return gzip.compress(b"") * 2000


CHUNKED = b"Transfer-Encoding: chunked\r\n"

#: Bodies that two parsers might see end in different places: what is behind ``POST {path} HTTP/1.1``, with an empty line or without,
#: so that a second request can be hidden in the first.
SMUGGLING = {
    "length and coding": b"Host: x\r\nContent-Length: 4\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
    "coding and length": b"Host: x\r\n" + CHUNKED + b"Content-Length: 4\r\n\r\n0\r\n\r\n",
    "two lengths": b"Host: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "a list of lengths": b"Host: x\r\nContent-Length: 5, 5\r\n\r\nhello",
    "a length with a sign": b"Host: x\r\nContent-Length: +5\r\n\r\nhello",
    "a negative length": b"Host: x\r\nContent-Length: -5\r\n\r\nhello",
    "bare LF": b"Host: x\nContent-Length: 5\n\nhello",
    "bare LF after one field": b"Host: x\r\nX: y\nContent-Length: 5\r\n\r\nhello",
    "bare CR": b"Host: x\r\nX: a\rContent-Length: 5\r\n\r\nhello",
    "a folded field": b"Host: x\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": b"Host: x\r\nContent-Length : 5\r\n\r\nhello",
    "a space before the coding's colon": b"Host: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "an unknown coding": b"Host: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a coding before chunked": b"Host: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a coding after chunked": b"Host: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "a tab in the coding": b"Host: x\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "a chunk size that is none": b"Host: x\r\n" + CHUNKED + b"\r\nzz\r\nhello\r\n0\r\n\r\n",
    "a chunk size with a sign": b"Host: x\r\n" + CHUNKED + b"\r\n+5\r\nhello\r\n0\r\n\r\n",
    "a chunk size with 0x": b"Host: x\r\n" + CHUNKED + b"\r\n0x5\r\nhello\r\n0\r\n\r\n",
    "a chunk size beyond all bounds": b"Host: x\r\n" + CHUNKED + b"\r\n" + b"f" * 30 + b"\r\nhello\r\n0\r\n\r\n",
    "a chunk longer than its size": b"Host: x\r\n" + CHUNKED + b"\r\n3\r\nhello\r\n0\r\n\r\n",
    "a chunk without its end": b"Host: x\r\n" + CHUNKED + b"\r\n5\r\nhello0\r\n\r\n",
    "bare LF after a chunk size": b"Host: x\r\n" + CHUNKED + b"\r\n5\nhello\r\n0\r\n\r\n",
    "bare LF in an extension": b"Host: x\r\n" + CHUNKED + b"\r\n5;\nxx\r\nhello\r\n0\r\n\r\n",
    "two Hosts": b"Host: x\r\nHost: y\r\nContent-Length: 5\r\n\r\nhello",
    "no Host": b"Content-Length: 5\r\n\r\nhello",
}  # fmt: skip


class Answer(NamedTuple):
    """A response, read to its end."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def coding(self) -> str:
        return self.headers.get("content-encoding", "identity")

    def decoded(self) -> bytes:
        return DECODERS[self.coding](self.body)


async def read_answer(reader: asyncio.StreamReader, *, head: bool = False) -> Answer:
    """The next response of a connection.

    :param head: it answers ``HEAD``
    """
    while True:
        status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        if status.split()[1] not in ("100", "103"):
            break
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
    }
    if head:
        body = b""
    elif "content-length" in headers:
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
    """So many requests to a server.

    :cvar kinds: names of methods, and how often each is drawn
    :ivar done: requests so far
    :ivar ended: kind and outcome -> how many
    """

    kinds: ClassVar[dict[str, int]]

    def __init__(self, port: int, count: int, *, seed: int) -> None:
        self.port = port
        self.count = count
        self.done = 0
        self.ended: Counter[str] = Counter()
        self._seed = seed
        self._numbers = iter(range(count))

    async def run(self) -> None:
        """All of them."""
        async with asyncio.TaskGroup() as group:
            for _ in range(min(CLIENTS, self.count)):
                group.create_task(self._client())

    async def _client(self) -> None:
        for number in self._numbers:
            chance = random.Random(f"{self._seed}, {number}")
            (kind,) = chance.choices(list(self.kinds), list(self.kinds.values()))
            try:
                async with asyncio.timeout(PATIENCE):
                    outcome = await getattr(self, kind)(chance)
            except Exception as error:
                error.add_note(f"{kind}, number {number} of seed {self._seed}")
                raise
            self.ended[f"{kind} {outcome}"] += 1
            self.done += 1

    def answered(self, *kinds: str) -> set[str]:
        """What came of these kinds."""
        return {outcome for outcome in self.ended if outcome.partition(" ")[0] in kinds}

    # -- what clients are made of -------------------------------------------------------------------------------

    @asynccontextmanager
    async def connected(
        self, buffer: int = 0
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A connection.

        :param buffer: bytes that the kernel receives ahead; 0: as usual
        """
        raw = socket.socket()
        raw.setblocking(False)
        if buffer:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        try:
            await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", self.port))
            reader, writer = await asyncio.open_connection(sock=raw, limit=buffer or 1 << 16)
        except BaseException:
            raw.close()
            raise
        try:
            yield reader, writer
        finally:
            writer.close()

    @staticmethod
    def head(path: str, accept: str = "gzip", method: str = "GET", *lines: str) -> bytes:
        """A request's head."""
        words = [f"{method} {path} HTTP/1.1", "Host: x", f"Accept-Encoding: {accept}", *lines, "", ""]
        return "\r\n".join(words).encode()

    def upload(self, path: str, body: bytes, coding: str, chunked: bool = False) -> bytes:
        """A request with a body."""
        named = [] if coding == "identity" else [f"Content-Encoding: {coding}"]
        if not chunked:
            return self.head(path, "gzip", "POST", *named, f"Content-Length: {len(body)}") + body
        pieces = [body[start : start + 7000] for start in range(0, len(body), 7000)]
        framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        return self.head(path, "gzip", "POST", *named, "Transfer-Encoding: chunked") + framed + b"0\r\n\r\n"

    async def exchange(self, request: bytes, count: int = 1) -> list[Answer]:
        """Requests on a connection of their own, and the answers to them."""
        async with self.connected() as (reader, writer):
            writer.write(request)
            return [await read_answer(reader) for _ in range(count)]

    async def refused(self, request: bytes) -> str:
        """A server may close the connection while we still write, which can take its answer away."""
        try:
            (answer,) = await self.exchange(request)
        except (asyncio.IncompleteReadError, ConnectionError):
            return "nothing"
        return str(answer.status)

    async def leave(self, request: bytes, wait: int) -> str:
        """Ask, read a little, and go with a reset."""
        async with self.connected() as (reader, writer):
            raw = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.write(request)
            try:
                await writer.drain()
                if wait:
                    await reader.read(wait)
            except ConnectionError:
                pass  # so does the other side
            writer.transport.abort()
        return "left"

    async def slowly(self, request: bytes) -> Answer:
        """A client with a small buffer, which reads a little at a time."""
        async with self.connected(4096) as (reader, writer):
            writer.write(request)
            found = asyncio.StreamReader()
            while data := await reader.read(3000):
                found.feed_data(data)
                await asyncio.sleep(0.001)
            found.feed_eof()
            return await read_answer(found)


class Process:
    """What a server's process has, as the kernel sees it."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")

    @property
    def memory(self) -> int:
        """Bytes that are resident."""
        return int((self._folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    @property
    def descriptors(self) -> int:
        return len(list((self._folder / "fd").iterdir()))

    @property
    def threads(self) -> int:
        return len(list((self._folder / "task").iterdir()))


class Memory:
    """Readings of a process's memory in the course of a soak: flat if the middle of the last is that of the first.

    :param process: whose
    :param traffic: how far it is
    :param readings: how many
    """

    def __init__(self, process: Process, traffic: Traffic, readings: int = 30) -> None:
        self._process, self._traffic, self._count = process, traffic, readings
        self.readings: list[int] = []

    async def watch(self) -> None:
        """Until all is done: one reading for each part of it."""
        while len(self.readings) < self._count:
            if self._traffic.done >= self._traffic.count * (len(self.readings) + 1) / self._count:
                self.readings.append(self._process.memory)
            else:
                await asyncio.sleep(0.05)

    @property
    def medians(self) -> list[int]:
        """Of each sixth, so that a single reading says nothing. The first is the warm-up's."""
        part = self._count // 6
        return [int(statistics.median(self.readings[at : at + part])) for at in range(0, 6 * part, part)]

    @property
    def growth(self) -> int:
        """Bytes, from the second median to the last."""
        return self.medians[-1] - self.medians[1]


async def soaked(traffic: Traffic, process: Process) -> Memory:
    """All of the traffic; how much memory it took meanwhile."""
    memory = Memory(process, traffic)
    async with asyncio.TaskGroup() as group:
        group.create_task(memory.watch())
        group.create_task(traffic.run())
    return memory
