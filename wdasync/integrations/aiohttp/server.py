"""A middleware for ``aiohttp.web``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeGuard

from aiohttp import web

from ...errors import WdasyncError
from ...lifecycle import default_accelerator
from ...operations import Kind, Level
from .. import headers as fields
from .. import media
from ..codings import PREFERENCE, offers
from ..decisions import Exchange, decide, fields_of_plain
from ..encoder import Encoder
from ..negotiation import choose, parse_accept_encoding
from ..options import Options

if TYPE_CHECKING:
    from ...accelerator import Accelerator

__all__ = ["compression"]

Handler = Callable[[web.Request], Any]


def compression(
    accelerator: Accelerator | None = None,
    *,
    codings: Iterable[str] = PREFERENCE,
    level: Level | Mapping[str, Level] | None = None,
    minimum_size: int = 500,
    compressible: Callable[[str], bool] = media.compressible,
    timeout: float | None = None,
) -> Any:
    """A middleware for ``web.Application(middlewares=[…])`` that compresses whole bodies on an accelerator.

    It decides by :data:`wdasync.integrations.decisions.ROWS`. Streamed responses, files, and what the handler has given to
    ``enable_compression`` are aiohttp's to send: see :class:`AcceleratedZlib` for those.

    :param accelerator: ``None``: the default one of the event loop
    :param codings: ``gzip``, ``zstd``, ``br``, ``deflate``: what may be used, best first
    :param level: for all codings, or a mapping of codings to levels; ``None``: the accelerator's
    :param minimum_size: bytes of a body below which it is left alone
    :param compressible: says of the value of ``Content-Type`` whether such bodies get smaller
    :param timeout: seconds that one operation may take
    :raises InvalidArgument: if one of them cannot be right
    """
    options = Options(
        codings=codings, level=level, minimum_size=minimum_size, compressible=compressible, timeout=timeout
    )

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        response: web.StreamResponse = await handler(request)
        if _is_ours(response):
            await _compress(accelerator or await default_accelerator(), request, response, options)
        return response

    return middleware


def _is_ours(response: web.StreamResponse) -> TypeGuard[web.Response]:
    """Whether all of its body is here, and nobody has begun to send it."""
    return (
        isinstance(response, web.Response)
        and (response.body is None or isinstance(response.body, bytes))
        and not (response.prepared or response.compression or response.chunked)
    )


async def _compress(
    accelerator: Accelerator, request: web.Request, response: web.Response, options: Options
) -> None:
    body = response.body or b""
    assert isinstance(body, bytes)
    accepted = parse_accept_encoding(request.headers.getall("Accept-Encoding", []))
    able = offers(accelerator, Kind.COMPRESS)
    chosen = choose(accepted, [name for name in options.codings if name in able])
    lines = [(name.encode("latin-1"), text.encode("utf-8")) for name, text in response.headers.items()]
    head = request.method == "HEAD"
    exchange = Exchange(
        request.method,
        response.status,
        fields.folded(lines),
        response.content_length if head else len(body),
        chosen,
        options.minimum_size,
        accepted.identity == 0,
        options.compressible,
    )
    row, coding = decide(exchange)
    packed = await _attempt(accelerator, coding, options, body) if coding is not None else None
    if coding is not None and packed is not None and (len(packed) < len(body) or accepted.identity == 0):
        lines = [*fields.of_encoded(lines), (b"content-encoding", coding.encode())]
        response.body = packed
    else:
        tags = [tag.encode("latin-1") for tag in request.headers.getall("If-None-Match", [])]
        lines = fields_of_plain(row, response.status, lines, tags)
    if row.unseen:
        response.body = None  # else aiohttp announces its length
    response.headers.clear()
    response.headers.extend([(name.decode("latin-1"), text.decode("utf-8")) for name, text in lines])


async def _attempt(accelerator: Accelerator, coding: str, options: Options, body: bytes) -> bytes | None:
    """The body, compressed; ``None``: it stays as it is, for the device has failed or takes too long."""
    try:
        return b"".join(await Encoder(accelerator, coding, options).whole(body))
    except WdasyncError:
        return None
