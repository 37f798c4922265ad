"""The applications under measurement: one answer, compressed in different ways.

An ASGI server takes ``tests.bench_servers.applications:NAME``; ``python -m tests.bench_servers.applications NAME PORT`` serves
one of aiohttp.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from aiohttp import web
from isal import igzip
from starlette.applications import Starlette
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette_compress import CompressMiddleware

from wdasync.integrations.aiohttp import compression
from wdasync.integrations.asgi import CompressionMiddleware

from .bodies import LARGE, PAGE, SMALL

Message = MutableMapping[str, Any]
Application = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]

JSON: Final = "application/json"


async def page(request: Request) -> Response:
    return Response(PAGE, media_type=JSON)


async def large(request: Request) -> Response:
    return Response(LARGE, media_type=JSON)


async def small(request: Request) -> Response:
    return Response(SMALL, media_type=JSON)


def application() -> Starlette:
    return Starlette(routes=[Route("/", page), Route("/large", large), Route("/small", small)])


class ThreadedIsal:
    """What a careful programmer writes by hand: ISA-L's level 1 in ``asyncio.to_thread``, for bodies that are sent whole."""

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        start: Message = {}

        async def compressed(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            body = message.get("body", b"")
            if len(body) >= 500:
                body = await asyncio.to_thread(igzip.compress, body, 1)
                headers = [item for item in start["headers"] if item[0].lower() != b"content-length"]
                headers += [
                    (b"content-length", b"%d" % len(body)),
                    (b"content-encoding", b"gzip"),
                    (b"vary", b"accept-encoding"),
                ]
                start["headers"] = headers
            await send(start)
            await send({**message, "body": body})

        await self._app(scope, receive, compressed if scope["type"] == "http" else send)


plain = application()
wdasync = CompressionMiddleware(application())
isal_thread = ThreadedIsal(application())
starlette_9 = GZipMiddleware(application(), compresslevel=9)
starlette_6 = GZipMiddleware(application(), compresslevel=6)
starlette_1 = GZipMiddleware(application(), compresslevel=1)
starlette_compress = CompressMiddleware(application())


def aiohttp_application(name: str) -> web.Application:
    """``aiohttp`` compresses by itself, ``aiohttp_wdasync`` by our middleware."""
    own = name == "aiohttp"

    def answering(body: bytes) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handler(request: web.Request) -> web.Response:
            response = web.Response(body=body, content_type=JSON)
            if own and len(body) >= 500:
                response.enable_compression()
            return response

        return handler

    app = web.Application(middlewares=[] if own else [compression()])
    for path, body in (("/", PAGE), ("/large", LARGE), ("/small", SMALL)):
        app.router.add_get(path, answering(body))
    return app


if __name__ == "__main__":
    import uvloop

    web.run_app(
        aiohttp_application(sys.argv[1]),
        host="127.0.0.1",
        port=int(sys.argv[2]),
        print=None,
        loop=uvloop.new_event_loop(),
    )
