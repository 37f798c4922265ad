"""The middleware that compresses responses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from ...operations import Kind, Level
from .. import media
from ..codings import PREFERENCE, offers
from ..headers import values, varying
from ..negotiation import IDENTITY, choose, parse_accept_encoding
from ..options import Options
from .inbox import Inbox
from .provider import Provider, provided
from .replies import reply
from .responses import Responder
from .types import App, Receive, Scope, Send

__all__ = ["CompressionMiddleware"]


class CompressionMiddleware:
    """Compresses what an ASGI application answers, as the client asks for it, on an accelerator.

    Which responses it compresses says one table, :data:`wdasync.integrations.decisions.ROWS`; which coding they get says
    :func:`wdasync.integrations.negotiation.choose`, among those that the accelerator offers. A body that comes at once is compressed
    in one call; one that comes in pieces goes through a stream, which is flushed after each of them. Nothing but HTTP requests
    is touched. A failure of the accelerator before the response has begun means that the body is sent as it is.

    :param app: the application
    :param accelerator: the accelerator; or a function of the scope that gives it, async or not; ``None``: the default one of
        the event loop, opened at the first request
    :param codings: ``gzip``, ``zstd``, ``br``, ``deflate``: what may be used, best first
    :param level: for all codings, or a mapping of codings to levels; ``None``: the accelerator's
    :param minimum_size: bytes of a whole body below which it is left alone
    :param compressible: says of the value of ``Content-Type`` whether such bodies get smaller
    :param flush: after each piece of a streamed body, the client can decode everything so far. Server-sent events are
        always flushed
    :param padding: bytes by which the length of a compressed body is blurred, at most; 0: none. See
        :mod:`wdasync.integrations.padding`
    :param strict: a client that accepts no coding of ours and no plain body either gets 406 Not Acceptable. Otherwise it gets the
        plain body, as RFC 9110 section 12.5.3 allows
    :param timeout: seconds that one operation may take
    :raises InvalidArgument: if one of them cannot be right
    """

    def __init__(
        self,
        app: App,
        *,
        accelerator: Provider = None,
        codings: Iterable[str] = PREFERENCE,
        level: Level | Mapping[str, Level] | None = None,
        minimum_size: int = 500,
        compressible: Callable[[str], bool] = media.compressible,
        flush: bool = True,
        padding: int = 0,
        strict: bool = False,
        timeout: float | None = None,
    ) -> None:
        self.app = app
        self._provider = accelerator
        self._flush = flush
        self._strict = strict
        self._options = Options(
            codings=codings,
            level=level,
            minimum_size=minimum_size,
            compressible=compressible,
            padding=padding,
            timeout=timeout,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI has it."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        preferences = parse_accept_encoding(values(scope["headers"], b"accept-encoding"))
        accelerator = await provided(self._provider, scope)
        if self._strict:
            able = offers(accelerator, Kind.COMPRESS) | offers(accelerator, Kind.COMPRESS_CHUNK)
            offered = [coding for coding in self._options.codings if coding in able]
            if choose(preferences, offered) is None:
                text = f"expected an Accept-Encoding that allows one of {', '.join([*offered, IDENTITY])}\n"
                return await reply(send, 406, text, varying([]))
        inbox = Inbox(scope, receive)
        responder = Responder(scope, inbox, send, accelerator, preferences, self._options, flush=self._flush)
        try:
            await self.app(scope, inbox.receive, responder.send)
            await responder.end()
        finally:
            await responder.aclose()
        return None
