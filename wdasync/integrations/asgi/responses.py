"""The way back: holds the start of a response until the first of its body is there, decides, and encodes."""

from __future__ import annotations

import enum
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import Any, TypeVar

from ...accelerator import Accelerator
from ...errors import WdasyncError
from ...operations import Kind
from .. import headers as fields
from ..codings import offers
from ..decisions import ROWS, Exchange, decide, fields_of_plain
from ..encoder import Encoder
from ..media import essence
from ..negotiation import Preferences, choose
from ..options import Options
from .bodies import BODIES, BODY, chunks
from .inbox import Inbox
from .types import Message, Scope, Send

__all__ = ["Responder"]

logger = logging.getLogger("wdasync.asgi")

T = TypeVar("T")

#: Bytes of a whole body from which on its compression ends when the client leaves; below it takes no time worth saving.
WATCHED = 128 * 1024


class _State(enum.Enum):
    #: There is no start of a response yet.
    WAITING = "waiting"
    #: The start is held back until the first of the body is there.
    HELD = "held"
    #: What the application sends goes to the server as it is.
    PASSING = "passing"
    #: The body is encoded piece by piece.
    ENCODING = "encoding"


class Responder:
    """One response. :meth:`send` is what the application gets.

    :param flush: after each piece of a streamed body
    """

    def __init__(
        self,
        scope: Scope,
        inbox: Inbox,
        send: Send,
        accelerator: Accelerator,
        preferences: Preferences,
        options: Options,
        *,
        flush: bool,
    ) -> None:
        self._scope = scope
        self._inbox = inbox
        self._send = send
        self._accelerator = accelerator
        self._preferences = preferences
        self._options = options
        self._state = _State.WAITING
        self._start: Message = {}
        self._encoder: Encoder | None = None
        self._flush = flush
        self._row = ROWS[-1]

    async def send(self, message: Message) -> None:
        """Take a message from the application."""
        kind = message["type"]
        if kind == "http.response.start" and self._state is _State.WAITING:
            self._start, self._state = dict(message), _State.HELD  # the application may use its own again
        elif kind not in BODIES or self._state in (_State.PASSING, _State.WAITING):
            await self._send(message)
        elif self._state is _State.HELD:
            await self._begin(message)
        else:
            await self._stream(message)

    async def end(self) -> None:
        """The application has returned. A start without a body is the server's to complain about."""
        if self._state is _State.HELD:
            self._state = _State.PASSING
            await self._send(self._start)

    async def aclose(self) -> None:
        """Give back what is held on a device."""
        await self._inbox.aclose()
        if self._encoder is not None:
            await self._encoder.aclose()

    # -- the decision -------------------------------------------------------------------------------------------

    async def _begin(self, message: Message) -> None:
        """The first of the body: decide, and go one of three ways."""
        method, named = self._scope["method"], fields.folded(self._start.get("headers", ()))
        declared = fields.length_of(named)
        is_bytes, more = message["type"] == BODY, message.get("more_body", False)
        body = message.get("body", b"") if is_bytes else b""
        whole = is_bytes and (not more or (bool(body) and len(body) == declared))
        kind = Kind.COMPRESS if whole else Kind.COMPRESS_CHUNK
        able = offers(self._accelerator, kind)
        coding = choose(self._preferences, [name for name in self._options.codings if name in able])
        row, coding = decide(
            Exchange(
                method,
                self._start["status"],
                named,
                len(body) if whole and method != "HEAD" else declared,
                coding,
                self._options.minimum_size,
                self._preferences.identity == 0,
                self._options.compressible,
            )
        )
        self._row = row
        if coding is None:
            return await self._pass(message)
        self._encoder = Encoder(self._accelerator, coding, self._options)
        if whole:
            return await self._whole(message, body)
        events = essence(named.get("content-type", "")) == "text/event-stream"
        self._flush = is_bytes and (self._flush or events)
        self._inbox.watch()
        return await self._stream(message)

    async def _pass(self, message: Message) -> None:
        """The body stays as it is."""
        self._state = _State.PASSING
        self._start["headers"] = self._plain_headers()
        await self._send(self._start)
        await self._send(message)

    def _plain_headers(self) -> list[tuple[bytes, bytes]]:
        tags = fields.values(self._scope["headers"], b"if-none-match")
        return fields_of_plain(self._row, self._start["status"], self._start.get("headers", ()), tags)

    def _encoded_headers(self, length: int | None) -> list[tuple[bytes, bytes]]:
        assert self._encoder is not None
        lines = fields.of_encoded(self._start.get("headers", ()))
        lines.append((b"content-encoding", self._encoder.coding.encode()))
        if length is not None:
            lines.append((b"content-length", str(length).encode()))
        return lines

    # -- a whole body -------------------------------------------------------------------------------------------

    async def _whole(self, message: Message, body: Any) -> None:
        encoder = self._encoder
        assert encoder is not None
        brief = len(body) < WATCHED
        if not brief:
            self._inbox.watch()
        pieces = await self._attempt(lambda: encoder.whole(body), brief=brief)
        self._inbox.stop()
        length = sum(map(len, pieces)) if pieces else 0
        if not pieces or (
            length >= len(body) and self._preferences.identity != 0 and not self._options.padding
        ):
            return await self._pass(message)
        self._state = _State.PASSING
        self._start["headers"] = self._encoded_headers(length)
        await self._send(self._start)
        for number, piece in enumerate(pieces, 1):
            more = number < len(pieces) or message.get("more_body", False)
            await self._send({"type": BODY, "body": piece, "more_body": more})
        return None

    async def _attempt(self, work: Callable[[], Awaitable[T]], *, brief: bool = False) -> T | None:
        """Work before the response has begun; ``None`` if it failed, or the client has left: then the plain body is sent."""
        try:
            return await self._inbox.unless_gone(work, brief=brief)
        except WdasyncError as error:
            logger.warning("%s is sent as it is: %s", self._scope.get("path"), error)
            return None

    # -- a body in pieces ---------------------------------------------------------------------------------------

    async def _stream(self, message: Message) -> None:
        """Encode what a message brings. Before the response has begun, a failure only means that the body stays as it is."""
        async with aclosing(chunks(message)) as parts:
            async for data, more in parts:
                work = partial(self._encode, data, more)
                if self._state is _State.HELD:
                    output = await self._attempt(work)
                    if output is None:
                        return await self._pass(message)
                    self._state = _State.ENCODING
                    self._start["headers"] = self._encoded_headers(None)
                    await self._send(self._start)
                else:
                    output = await self._inbox.unless_gone(work)
                if output is None:
                    # The client has left. What becomes of a message to nobody is the server's affair.
                    more = message.get("more_body", False)
                    return await self._send({"type": BODY, "body": b"", "more_body": more})
                await self._deliver(output, more)
        return None

    async def _encode(self, data: bytes, more: bool) -> bytes:
        assert self._encoder is not None
        return await (self._encoder.piece(data, flush=self._flush) if more else self._encoder.last(data))

    async def _deliver(self, output: bytes, more: bool) -> None:
        """To the server; what the compressor holds back is no message."""
        if output or not more:
            await self._send({"type": BODY, "body": output, "more_body": more})
        if not more:
            self._state = _State.PASSING
            await self.aclose()
