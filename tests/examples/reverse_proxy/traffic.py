"""Traffic of all kinds through the proxy, to a server of which some answers are as bad as the clients."""

from __future__ import annotations

import asyncio
import hashlib
import random
from typing import ClassVar

from tests.examples.reverse_proxy.origin import text
from tests.traffic import BOMB, DECODERS, ENCODERS, SMUGGLING, Answer, Traffic, bomb, members, read_answer

#: Bytes of bodies: none, too small to be compressed, in one operation, in pieces.
SIZES = [0, 1, 400, 600, 5000, 30_000, 60_000, 65_536, 65_537, 150_000]

PATHS = ["text", "chunked", "until-close"]

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


class Weather(Traffic):
    """All that can happen to the proxy."""

    kinds: ClassVar[dict[str, int]] = {
        "page": 26, "kept": 16, "pipelined": 6, "upload": 12, "bomb": 4, "large": 1, "slow": 2, "patient": 3,
        "reset": 7, "reset_upload": 5, "half_closed": 5, "oversized": 2, "smuggled": 8, "misled": 6, "tunnel": 2,
    }  # fmt: skip

    # -- those who behave ---------------------------------------------------------------------------------------

    @staticmethod
    def check(answer: Answer, size: int, accept: str) -> None:
        """The body is right, and in a coding that was asked for; one of some size is compressed."""
        assert answer.status == 200
        assert answer.decoded() == text(size)
        assert answer.coding in (accept, "identity")
        if size >= 600:
            assert answer.coding == accept, f"{size} bytes were not compressed"

    async def page(self, chance: random.Random) -> str:
        path, size, accept = chance.choice(PATHS), chance.choice(SIZES), chance.choice(list(DECODERS))
        (answer,) = await self.exchange(self.head(f"/{path}/{size}", accept))
        self.check(answer, size, accept)
        return str(answer.status)

    async def kept(self, chance: random.Random) -> str:
        """Several requests on one connection, one after the other."""
        async with self.connected() as (reader, writer):
            for _ in range(chance.randint(2, 6)):
                path, size, accept = (
                    chance.choice(PATHS[:2]),
                    chance.choice(SIZES),
                    chance.choice(list(DECODERS)),
                )
                method = chance.choice(["GET", "GET", "HEAD"])
                writer.write(self.head(f"/{path}/{size}", accept, method))
                answer = await read_answer(reader, head=method == "HEAD")
                assert answer.status == 200
                if method == "GET":
                    self.check(answer, size, accept)
        return "all"

    async def pipelined(self, chance: random.Random) -> str:
        asked = [(chance.choice(PATHS[:2]), chance.choice(SIZES)) for _ in range(chance.randint(2, 5))]
        request = b"".join(self.head(f"/{path}/{size}") for path, size in asked)
        for (_, size), answer in zip(asked, await self.exchange(request, len(asked)), strict=True):
            self.check(answer, size, "gzip")
        return "all"

    async def upload(self, chance: random.Random) -> str:
        """It arrives as it was sent, compressed or not."""
        body, coding = text(chance.choice(SIZES)), chance.choice([*ENCODERS, "identity"])
        body = body if coding == "identity" else ENCODERS[coding](body)
        request = self.upload_of(body, coding, chunked=chance.random() < 0.5, waits=chance.random() < 0.2)
        (answer,) = await self.exchange(request)
        assert answer.body == hashlib.sha256(body).hexdigest().encode()
        return str(answer.status)

    def upload_of(self, body: bytes, coding: str, *, chunked: bool = False, waits: bool = False) -> bytes:
        request = super().upload("/digest", body, coding, chunked)
        return (
            request.replace(b"Host: x\r\n", b"Host: x\r\nExpect: 100-continue\r\n", 1) if waits else request
        )

    async def bomb(self, chance: random.Random) -> str:
        """They are for the server, and for the client, and go through as they are, either way."""
        coding = chance.choice([*ENCODERS, "members"])
        if coding == "members" or chance.random() < 0.5:
            body = members() if coding == "members" else bomb(coding)
            (answer,) = await self.exchange(self.upload_of(body, "gzip" if coding == "members" else coding))
            assert answer.body == hashlib.sha256(body).hexdigest().encode()
        else:
            (answer,) = await self.exchange(self.head(f"/packed/{coding}", coding))
            assert (answer.coding, answer.body) == (coding, bomb(coding))
        return str(answer.status)

    async def large(self, chance: random.Random) -> str:
        """Bodies that get much smaller."""
        accept = chance.choice(list(DECODERS))
        (answer,) = await self.exchange(self.head(f"/zeros/{BOMB // 4}", accept))
        assert (answer.coding, answer.decoded()) == (accept, bytes(BOMB // 4))
        return str(answer.status)

    async def slow(self, chance: random.Random) -> str:
        """A client with a small buffer, which reads a little at a time, and goes."""
        async with self.connected(4096) as (reader, writer):
            writer.write(self.head("/endless", chance.choice(["gzip", "identity"])))
            await reader.readuntil(b"\r\n\r\n")
            for _ in range(20):
                assert await reader.read(2000)
                await asyncio.sleep(0.005)
            writer.transport.abort()
        return "left"

    async def patient(self, chance: random.Random) -> str:
        """One that is as slow, and reads it all."""
        size, accept = chance.choice(SIZES), chance.choice(["gzip", "identity"])
        self.check(
            await self.slowly(self.head(f"/text/{size}", accept, "GET", "Connection: close")), size, accept
        )
        return "200"

    async def tunnel(self, chance: random.Random) -> str:
        async with self.connected() as (reader, writer):
            writer.write(self.head("/upgrade", "gzip", "GET", "Connection: Upgrade", "Upgrade: shout"))
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
            assert await reader.readline() == b"WELCOME\n"
            for _ in range(chance.randrange(4)):
                writer.write(b"word\n")
                assert await reader.readline() == b"WORD\n"
            if chance.random() < 0.3:
                writer.transport.abort()
                return "left"
            writer.write_eof()
            assert await reader.read() == b"GOODBYE\n"
        return "ended"

    # -- those who leave ----------------------------------------------------------------------------------------

    async def reset(self, chance: random.Random) -> str:
        path = chance.choice(
            ["/text/60000", "/text/150000", "/chunked/150000", "/endless", "/hang", f"/zeros/{BOMB}"]
        )
        return await self.leave(self.head(path), chance.choice([0, 1, 5000]) if path != "/hang" else 0)

    async def reset_upload(self, chance: random.Random) -> str:
        request = self.upload_of(text(150_000), "identity", chunked=chance.random() < 0.5)
        return await self.leave(request[: chance.randrange(1, len(request))], 0)

    async def half_closed(self, chance: random.Random) -> str:
        """A client that says that it will say no more, and waits for what it asked for."""
        size = chance.choice(SIZES)
        async with self.connected() as (reader, writer):
            writer.write(self.head(f"/chunked/{size}"))
            writer.write_eof()
            self.check(await read_answer(reader), size, "gzip")
        return "answer"

    # -- those who lie ------------------------------------------------------------------------------------------

    async def oversized(self, chance: random.Random) -> str:
        large = "x" * chance.choice([17_000, 300_000])
        lines = chance.choice([["X-Large: " + large], [f"X-{number}: y" for number in range(200)]])
        return await self.refused(self.head("/text/9", "gzip", "GET", *lines))

    async def smuggled(self, chance: random.Random) -> str:
        """One answer, which is a refusal, and the end."""
        name = chance.choice(list(SMUGGLING))
        async with self.connected() as (reader, writer):
            try:
                writer.write(b"POST /echo HTTP/1.1\r\n" + SMUGGLING[name] + SMUGGLED)
                received = await reader.read()
            except ConnectionError:
                return "nothing"
        assert received.count(b"HTTP/1.1 ") == 1, name
        return received[9:12].decode()

    # -- servers that lie ---------------------------------------------------------------------------------------

    async def misled(self, chance: random.Random) -> str:
        """An error, or an answer that does not look complete."""
        quick = [
            "truncated",
            "truncated-chunks",
            "garbage",
            "vanish",
            "reset",
            "two-lengths",
            "die/again",
            "unasked",
        ]
        path = chance.choice(["hang", "stall"]) if chance.random() < 0.01 else chance.choice(quick)
        async with self.connected() as (reader, writer):
            writer.write(self.head(f"/{path}", chance.choice(["gzip", "identity"])))
            try:
                answer = await read_answer(reader)
            except (asyncio.IncompleteReadError, ConnectionError, ValueError):
                assert path in ("truncated", "truncated-chunks", "reset", "stall")
                return "cut"
        if path in ("die/again", "unasked"):
            assert answer.body in (b"alive", b"asked")
        else:
            assert answer.status in (502, 504), path
        return str(answer.status)
