"""Traffic of all kinds against a server with both middleware."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import random
from functools import cache
from typing import ClassVar

from tests.integrations.servers.apps import PAGE
from tests.traffic import DECODERS, ENCODERS, SMUGGLING, Traffic, bomb, members, read_answer

#: What a server may answer to bytes that are no request, beside closing the connection; and to those that it took for one.
UNREADABLE = {"200", "400", "411", "413", "431", "501", "nothing"}


@cache
def packed(coding: str) -> bytes:
    """A page, for an upload."""
    return bytes(PAGE) if coding == "identity" else ENCODERS[coding](PAGE)


DIGEST = hashlib.sha256(PAGE).hexdigest().encode()


class Weather(Traffic):
    """All that can happen to the middleware."""

    kinds: ClassVar[dict[str, int]] = {
        "page": 30, "kept": 16, "pipelined": 6, "upload": 14, "bomb": 5, "lies": 4, "slow": 3, "patient": 3,
        "reset": 6, "reset_upload": 5, "half_closed": 4, "oversized": 2, "smuggled": 8,
    }  # fmt: skip

    # -- those who behave ---------------------------------------------------------------------------------------

    async def page(self, chance: random.Random) -> str:
        accept = chance.choice(list(DECODERS))
        (answer,) = await self.exchange(self.head("/plain/page", accept))
        assert (answer.coding, answer.decoded()) == (accept, PAGE)
        return str(answer.status)

    async def kept(self, chance: random.Random) -> str:
        """Several requests on one connection, one after the other."""
        async with self.connected() as (reader, writer):
            for _ in range(chance.randint(2, 6)):
                accept, method = chance.choice(list(DECODERS)), chance.choice(["GET", "GET", "HEAD"])
                writer.write(self.head("/plain/page", accept, method))
                answer = await read_answer(reader, head=method == "HEAD")
                assert answer.status == 200
                if method == "GET":
                    assert (answer.coding, answer.decoded()) == (accept, PAGE)
        return "all"

    async def pipelined(self, chance: random.Random) -> str:
        count = chance.randint(2, 5)
        answers = await self.exchange(self.head("/plain/page") * count, count)
        assert [gzip.decompress(answer.body) for answer in answers] == [PAGE] * count
        return "all"

    async def upload(self, chance: random.Random) -> str:
        coding, chunked = chance.choice([*ENCODERS, "identity"]), chance.random() < 0.5
        (answer,) = await self.exchange(self.upload_of(packed(coding), coding, chunked=chunked))
        assert answer.body == DIGEST
        return str(answer.status)

    def upload_of(self, body: bytes, coding: str, *, chunked: bool = False) -> bytes:
        return super().upload("/plain/digest", body, coding, chunked)

    async def slow(self, chance: random.Random) -> str:
        """A client with a small buffer, which reads a little at a time, and goes."""
        async with self.connected(4096) as (reader, writer):
            writer.write(self.head("/starlette/endless"))
            await reader.readuntil(b"\r\n\r\n")
            for _ in range(20):
                assert await reader.read(2000)
                await asyncio.sleep(0.005)
            writer.transport.abort()
        return "left"

    async def patient(self, chance: random.Random) -> str:
        """One that is as slow, and reads it all."""
        accept = chance.choice(["gzip", "identity"])
        request = self.head("/plain/page", accept, "GET", "Connection: close")
        answer = await self.slowly(request)
        assert (answer.coding, answer.decoded()) == (accept, PAGE)
        return str(answer.status)

    # -- those who leave ----------------------------------------------------------------------------------------

    async def reset(self, chance: random.Random) -> str:
        path = chance.choice(["/plain/page", "/starlette/endless", "/quart/endless", "/litestar/endless"])
        return await self.leave(self.head(path), chance.choice([0, 1, 5000]))

    async def reset_upload(self, chance: random.Random) -> str:
        request = self.upload_of(packed("gzip"), "gzip", chunked=chance.random() < 0.5)
        return await self.leave(request[: chance.randrange(100, len(request))], 0)

    async def half_closed(self, chance: random.Random) -> str:
        """A client that says that it will say no more, and waits for what it asked for; not every server gives it that."""
        async with self.connected() as (reader, writer):
            try:
                writer.write(self.head("/plain/page"))
                writer.write_eof()
                answer = await read_answer(reader)
                assert answer.decoded() == PAGE
            except (asyncio.IncompleteReadError, ConnectionError):
                return "nothing"
        return "answer"

    # -- those who lie ------------------------------------------------------------------------------------------

    async def bomb(self, chance: random.Random) -> str:
        coding = chance.choice([*ENCODERS, "members"])
        body = members() if coding == "members" else bomb(coding)
        named = "gzip" if coding == "members" else coding
        return await self.refused(self.upload_of(body, named, chunked=chance.random() < 0.5))

    async def lies(self, chance: random.Random) -> str:
        coding = chance.choice(list(ENCODERS))
        body = chance.choice([packed(coding)[:-9], b"\xff" + chance.randbytes(20_000)])
        return await self.refused(self.upload_of(body, coding))

    async def oversized(self, chance: random.Random) -> str:
        return await self.refused(self.head("/plain/page", "gzip", "GET", "X-Large: " + "x" * 300_000))

    async def smuggled(self, chance: random.Random) -> str:
        """Whatever a server makes of it, it makes at most two answers, and ends."""
        rest = SMUGGLING[chance.choice(list(SMUGGLING))]
        request = b"POST /plain/digest HTTP/1.1\r\nConnection: close\r\n" + rest + self.head("/plain/page")
        async with self.connected() as (reader, writer):
            try:
                writer.write(request)
                writer.write_eof()
                received = await reader.read()
            except ConnectionError:
                return "nothing"
        assert received.count(b"HTTP/1.1 ") <= 1, received[:2000]
        return received[9:12].decode() or "nothing"


async def status(port: int, path: str = "/status/") -> dict[str, int]:
    """What the server says of itself."""
    traffic = Weather(port, 0, seed=0)
    (answer,) = await traffic.exchange(traffic.head(path, "identity", "GET", "Connection: close"))
    found: dict[str, int] = json.loads(answer.body)
    return found
