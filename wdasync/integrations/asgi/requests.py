"""The way in: request bodies that come compressed, decompressed within bounds."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Final, NamedTuple

from ...accelerator import Accelerator
from ...errors import DataError
from ...operations import Kind, check_bound
from ...streams import Decompressor
from ..codings import ALGORITHMS, check_codings, offers
from ..negotiation import ALIASES, IDENTITY
from .bodies import BODY
from .headers import values, without
from .options import Provider, check_timeout, provided
from .replies import reply
from .types import App, Headers, Message, Receive, Scope, Send

__all__ = ["DecompressionMiddleware"]

logger = logging.getLogger("wdasync.asgi")

#: Bytes of a body that the application gets at once, at most.
STEP: Final = 1 << 18

#: Bytes of output below which no ratio is looked at: a few bytes of input may well become thousands.
FREE: Final = 1 << 20

#: Codings on top of each other, at most. Nobody has use for more than one; each multiplies what a bomb can do.
LAYERS: Final = 2


class Bounds(NamedTuple):
    """What a decompressed body may be.

    :ivar length: bytes
    :ivar ratio: bytes of output for each byte of input
    :ivar members: concatenated gzip members or zstd frames
    """

    length: int
    ratio: int
    members: int


class Refusal(Exception):
    """Raised when a body cannot be taken: the status to answer with, and why."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class DecompressionMiddleware:
    """Decompresses the bodies of requests that have a ``Content-Encoding``; the application sees neither that nor its length.

    The body is decompressed as the application receives it, in pieces of at most 256 KiB, so that a slow application slows the client
    down, and nobody holds all of it. What cannot be taken is answered here: 400 for a body that is not what its coding says, 413 for
    one that passes a bound, 415 for a coding that is not offered, with an ``Accept-Encoding`` that says which are (RFC 9110 sections
    12.5.3, 15.5.16). The application then sees the client leave.

    :param app: the application
    :param accelerator: as of :class:`CompressionMiddleware`
    :param codings: what is taken, best first; ``None``: everything that the accelerator offers
    :param max_length: bytes that a body may have after decompression
    :param max_ratio: bytes of output for one byte of input, once a body passes 1 MiB
    :param max_members: concatenated members of gzip, or frames of zstd
    :param timeout: seconds that one operation may take
    :raises InvalidArgument: if one of them cannot be right
    """

    def __init__(
        self,
        app: App,
        *,
        accelerator: Provider = None,
        codings: Iterable[str] | None = None,
        max_length: int = 16 << 20,
        max_ratio: int = 200,
        max_members: int = 1024,
        timeout: float | None = None,
    ) -> None:
        self.app = app
        self._provider = accelerator
        self._codings = tuple(ALGORITHMS) if codings is None else check_codings(codings)
        self._bounds = Bounds(
            check_bound(max_length, "max_length", 1),
            check_bound(max_ratio, "max_ratio", 1),
            check_bound(max_members, "max_members", 1),
        )
        self._timeout = check_timeout(timeout)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI has it."""
        named = layers(scope["headers"]) if scope["type"] == "http" else []
        if not named:
            return await self.app(scope, receive, send)
        accelerator = await provided(self._provider, scope)
        able = offers(accelerator, Kind.DECOMPRESS_CHUNK)
        taken = [coding for coding in self._codings if coding in able]
        if len(named) > LAYERS or not set(named) <= set(taken):
            text = f"Content-Encoding: expected at most {LAYERS} of {', '.join(taken) or IDENTITY}, got {', '.join(named)}\n"
            return await reply(
                send, 415, text, [(b"accept-encoding", ", ".join(taken or [IDENTITY]).encode())]
            )
        version = scope.get("http_version", "1.1")
        request = Request(accelerator, named, self._bounds, self._timeout, receive, send, version)
        try:
            await self.app(bare(scope), request.receive, request.send)
        except Exception as error:
            if not request.refused:
                raise
            logger.debug("the application ended after its request was refused: %r", error)
        finally:
            await request.aclose()
        return None


def layers(headers: Headers) -> list[str]:
    """The codings of a request's body, in the order in which they were applied."""
    found = [
        name.strip().lower() for value in values(headers, b"content-encoding") for name in value.split(b",")
    ]
    names = [name.decode("latin-1") for name in found if name]
    return [ALIASES.get(name, name) for name in names if name != IDENTITY]


def bare(scope: Scope) -> Scope:
    """The scope as it would be without the coding."""
    headers = without(scope["headers"], (b"content-encoding", b"content-length"))
    if not values(headers, b"transfer-encoding"):
        headers.append((b"transfer-encoding", b"chunked"))  # a body follows, and nobody knows its length
    return {**scope, "headers": headers}


class Request:
    """One request. :meth:`receive` and :meth:`send` are what the application gets.

    :ivar refused: it was answered here
    """

    def __init__(
        self,
        accelerator: Accelerator,
        named: list[str],
        bounds: Bounds,
        timeout: float | None,
        receive: Receive,
        send: Send,
        version: str,
    ) -> None:
        self.refused = False
        self._receive = receive
        self._send = send
        self._started = False
        # What is left of the body will not be read. HTTP/2 has other ways to say so.
        self._last_words = [(b"connection", b"close")] if version.startswith("1") else []
        self._left: Message | None = None
        self._body: AsyncGenerator[bytes, None] = self._wire()
        self._streams = [accelerator.decompressor(ALGORITHMS[coding]) for coding in reversed(named)]
        for stream in self._streams:
            self._body = decoded(stream, self._body, bounds, timeout)
        self._ended = False

    async def receive(self) -> Message:
        """The next message: a piece of the body as it was before it was compressed."""
        if self.refused:
            return {"type": "http.disconnect"}
        if self._ended:
            return await self._receive()
        piece = None
        try:
            piece = await anext(self._body, None)
        except Refusal as refusal:
            if self._left is None:
                return await self._refuse(refusal)
        if self._left is not None:
            return self._left
        self._ended = piece is None
        return {"type": "http.request", "body": piece or b"", "more_body": not self._ended}

    async def _wire(self) -> AsyncGenerator[bytes, None]:
        """The body as it comes from the client."""
        more = True
        while more:
            message = await self._receive()
            if message["type"] != "http.request":
                self._left = message
                return
            more = message.get("more_body", False)
            if body := message.get("body", b""):
                yield body

    async def _refuse(self, refusal: Refusal) -> Message:
        """Answer, if nobody has; to the application the client is gone."""
        self.refused = True
        if not self._started:
            await reply(self._send, refusal.status, f"{refusal}\n", self._last_words)
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Take a message from the application. After a refusal nobody wants it."""
        if not self.refused:
            self._started = self._started or message["type"] in ("http.response.start", BODY)
            await self._send(message)

    async def aclose(self) -> None:
        """Give back what is held on a device; a body that nobody has asked for closes nothing by itself."""
        await self._body.aclose()
        for stream in self._streams:
            await stream.aclose()


async def decoded(
    stream: Decompressor, source: AsyncGenerator[bytes, None], bounds: Bounds, timeout: float | None
) -> AsyncGenerator[bytes, None]:
    """What the stream makes of the source, in pieces of at most :data:`STEP` bytes. An empty source is an empty body.

    :raises Refusal: if it cannot be taken
    """
    taken = made = 0
    async with aclosing(source):
        async for data in source:
            taken += len(data)
            more = True
            while more:
                piece = await _step(stream, data, bounds, timeout)
                made += len(piece)
                _check(bounds, taken, made, stream.members)
                if piece:
                    yield piece
                data, more = b"", not stream.needs_input
            if rest := stream.unused_data:
                raise Refusal(
                    400, f"Content-Encoding: expected {stream.algorithm}, got {len(rest)} bytes after its end"
                )
        if taken and not stream.eof:
            raise Refusal(
                400,
                f"Content-Encoding: expected {stream.algorithm}, got the end of the body in the middle of it",
            )


async def _step(stream: Decompressor, data: bytes, bounds: Bounds, timeout: float | None) -> bytes:
    try:
        return await stream.decompress(data, max_length=min(STEP, bounds.length + 1), timeout=timeout)
    except DataError as error:
        raise Refusal(
            400, f"Content-Encoding: expected {stream.algorithm}, got {error.cause.value}"
        ) from error


def _check(bounds: Bounds, taken: int, made: int, members: int) -> None:
    """Nothing is taken that passes a bound.

    :raises Refusal: if it does
    """
    if made > bounds.length:
        raise Refusal(413, f"expected a body of at most {bounds.length} bytes after decompression, got more")
    if made > FREE and made > taken * bounds.ratio:
        raise Refusal(413, f"expected at most {bounds.ratio} bytes out of one, got {made} out of {taken}")
    if members > bounds.members:
        raise Refusal(413, f"expected at most {bounds.members} members, got more")
