"""The way in: request bodies that come compressed, decompressed within bounds."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

import anyio

from ...accelerator import Accelerator
from ...errors import InvalidArgument
from ...operations import Kind, check_bound
from ...streams import Decompressor
from ..codings import ALGORITHMS, WINDOWS, check_codings, check_layers, layers, offers
from ..headers import values, without
from ..negotiation import IDENTITY
from ..options import check_timeout
from .bodies import BODY
from .decoder import Bounds, Departure, Layer, Refusal, Source, Wire
from .provider import Provider, provided
from .replies import reply
from .types import App, Message, Receive, Scope, Send

__all__ = ["DecompressionMiddleware"]

logger = logging.getLogger("wdasync.asgi")


class DecompressionMiddleware:
    """Decompresses the bodies of requests that have a ``Content-Encoding``; the application sees neither that nor its length.

    The body is decompressed as the application receives it, in pieces of at most 256 KiB, so that a slow application slows the client
    down, and nobody holds all of it: the first 256 KiB of input are kept where there are several devices, for another one to begin
    anew if the first is lost. What cannot be taken is answered here: 400 for a body that is not what its coding says, or that
    wants more history than its coding may have (RFC 9659), 413 for one that passes a bound, 415 for a coding that is not offered, with an ``Accept-Encoding`` that says which are (RFC 9110 sections
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
        named = layers(values(scope["headers"], b"content-encoding")) if scope["type"] == "http" else ()
        if not named:
            return await self.app(scope, receive, send)
        accelerator = await provided(self._provider, scope)
        able = offers(accelerator, Kind.DECOMPRESS_CHUNK)
        taken = [coding for coding in self._codings if coding in able]
        try:
            check_layers(named, taken)
        except InvalidArgument as error:
            known = [(b"accept-encoding", ", ".join(taken or [IDENTITY]).encode())]
            return await reply(send, 415, f"{error}\n", known)
        version = scope.get("http_version", "1.1")
        request = Request(receive, send, version)
        try:
            request.open(accelerator, named, self._bounds, self._timeout)
            await self.app(bare(scope), request.receive, request.send)
        except Exception as error:
            if not request.refused:
                raise
            logger.debug("the application ended after its request was refused: %r", error)
        finally:
            await request.aclose()
        return None


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

    def __init__(self, receive: Receive, send: Send, version: str) -> None:
        self.refused = False
        self._receive = receive
        self._send = send
        self._started = False
        # What is left of the body will not be read. HTTP/2 has other ways to say so.
        self._last_words = [(b"connection", b"close")] if version.startswith("1") else []
        self._body: Source = Wire(receive)
        self._streams: list[Decompressor] = []
        self._ended = False
        self._lock = anyio.Lock(fast_acquire=True)

    def open(
        self, accelerator: Accelerator, named: Sequence[str], bounds: Bounds, timeout: float | None
    ) -> None:
        """Hold a stream for each coding, in the order in which they were applied; :meth:`aclose` gives them back."""
        others = len(accelerator.capabilities()) > 1
        for coding in reversed(named):
            stream = accelerator.decompressor(ALGORITHMS[coding], window=WINDOWS.get(coding))
            self._streams.append(stream)
            self._body = Layer(stream, self._body, bounds, timeout, others=others)

    async def receive(self) -> Message:
        """The next message: a piece of the body as it was before it was compressed.

        :raises InvalidState: if an earlier call was broken off while a device worked
        """
        async with self._lock:
            if self.refused:
                return {"type": "http.disconnect"}
            if not self._ended:
                return await self._next()
        return await self._receive()

    async def _next(self) -> Message:
        try:
            piece = await self._body.piece()
        except Departure as departure:
            return departure.message
        except Refusal as refusal:
            return await self._refuse(refusal)
        self._ended = piece is None
        return {"type": "http.request", "body": piece or b"", "more_body": not self._ended}

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
        for stream in self._streams:
            await stream.aclose()
