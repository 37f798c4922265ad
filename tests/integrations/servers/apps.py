"""The same small application in five frameworks and in none, each under its own path, for one server to run.

Each has ``/page``, ``/stream`` (three pieces, the next one when the client asks on ``/go``) and ``/length`` (of a posted body).
"""

import gc
import hashlib
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel

import wdasync
from wdasync import registry
from wdasync.integrations.asgi import CompressionMiddleware, DecompressionMiddleware
from wdasync.integrations.asgi.types import App, Receive, Scope, Send

PAGE = "".join(f"<p>Paragraph {number} of a page.</p>\n" for number in range(1500)).encode()

#: Streams that are being sent now.
running = 0
#: Lets one piece of a stream go.
gates: dict[str, anyio.Semaphore] = {}


class Pieces:
    """Three pieces, each when it is asked for; or, if its name is that, noise without end.

    No generator: frameworks do not close those, and trio warns of it.
    """

    def __init__(self, name: str) -> None:
        global running
        running += 1
        self.name = name
        self.sent = 0

    def __del__(self) -> None:
        global running
        running -= 1

    def __aiter__(self) -> "Pieces":
        return self

    async def __anext__(self) -> bytes:
        await anyio.lowlevel.checkpoint()
        if self.name == "endless":
            return os.urandom(30_000)
        if self.sent == 3:
            raise StopAsyncIteration
        await gates.setdefault(self.name, anyio.Semaphore(0)).acquire()
        self.sent += 1
        return b"piece %d\n" % (self.sent - 1)


async def read(receive: Receive) -> int:
    total, more = 0, True
    while more:
        message = await receive()
        total += len(message.get("body", b""))
        more = message.get("more_body", False)
    return total


async def digest(receive: Receive) -> str:
    found, more = hashlib.sha256(), True
    while more:
        message = await receive()
        found.update(message.get("body", b""))
        more = message.get("more_body", False)
    return found.hexdigest()


async def answer(send: Send, body: bytes, status: int = 200, kind: bytes = b"text/html") -> None:
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def plain(scope: Scope, receive: Receive, send: Send) -> None:
    """No framework."""
    path = scope["path"].rpartition("/")[2]
    if path == "page":
        await answer(send, PAGE)
    elif path == "length":
        await answer(send, b"%d" % await read(receive))
    elif path == "digest":
        await answer(send, (await digest(receive)).encode())
    else:
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
        )
        async for piece in Pieces(path):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def starlette() -> App:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import FileResponse, Response, StreamingResponse
    from starlette.routing import Route

    async def page(request: Request) -> Response:
        return Response(PAGE, media_type="text/html")

    async def length(request: Request) -> Response:
        return Response(str(len(await request.body())))

    async def stream(request: Request) -> Response:
        return StreamingResponse(Pieces(request.path_params["name"]), media_type="text/plain")

    async def file(request: Request) -> Response:
        return FileResponse(json.__file__, media_type="text/plain")

    routes = [
        Route("/starlette/page", page),
        Route("/starlette/length", length, methods=["POST"]),
        Route("/starlette/file", file),
        Route("/starlette/{name}", stream),
    ]
    return Starlette(routes=routes)


def fastapi() -> App:
    from fastapi import FastAPI, Request
    from fastapi.responses import HTMLResponse, StreamingResponse

    app = FastAPI()

    @app.get("/fastapi/page")
    async def page() -> HTMLResponse:
        return HTMLResponse(PAGE)

    @app.post("/fastapi/length")
    async def length(request: Request) -> int:
        return len(await request.body())

    @app.get("/fastapi/{name}")
    async def stream(name: str) -> StreamingResponse:
        return StreamingResponse(Pieces(name), media_type="text/plain")

    return app


def litestar() -> App:
    from litestar import Litestar, MediaType, Request, get, post
    from litestar.response import Stream

    @get("/litestar/page", media_type=MediaType.HTML)
    async def page() -> bytes:
        return PAGE

    @post("/litestar/length", status_code=200)
    async def length(request: Request[Any, Any, Any]) -> int:
        return len(await request.body())

    @get("/litestar/{name:str}", media_type=MediaType.TEXT)
    async def stream(name: str) -> Stream:
        return Stream(Pieces(name))

    return Litestar([page, length, stream], openapi_config=None)


def django() -> App:
    from django.conf import settings
    from django.core.asgi import get_asgi_application
    from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
    from django.urls import path

    async def page(request: HttpRequest) -> HttpResponse:
        return HttpResponse(PAGE)

    async def length(request: HttpRequest) -> HttpResponse:
        return HttpResponse(str(len(request.body)))

    async def stream(request: HttpRequest, name: str) -> StreamingHttpResponse:
        return StreamingHttpResponse(Pieces(name), content_type="text/plain")

    routes = [
        path("django/page", page),
        path("django/length", length),
        path("django/<str:name>", stream),
    ]
    urls = type(sys)("urls")
    urls.__dict__["urlpatterns"] = routes
    settings.configure(ROOT_URLCONF=urls, ALLOWED_HOSTS=["*"], SECRET_KEY="a test's", LOGGING_CONFIG=None)
    return get_asgi_application()


def quart() -> App:
    from quart import Quart, Response, request

    app = Quart(__name__)

    @app.get("/quart/page")
    async def page() -> Response:
        return Response(PAGE, mimetype="text/html")

    @app.post("/quart/length")
    async def length() -> str:
        return str(len(await request.get_data()))

    @app.get("/quart/<name>")
    async def stream(name: str) -> Response:
        return Response(Pieces(name), mimetype="text/plain")

    return app


MAKERS = {"starlette": starlette, "fastapi": fastapi, "litestar": litestar, "django": django, "quart": quart}
APPS: dict[str, App] = {"plain": plain}


def made(name: str) -> App:
    """The application of a framework, in both middleware; made when it is first asked for."""
    if name not in APPS or not isinstance(APPS[name], CompressionMiddleware):
        inner = APPS[name] if name in APPS else MAKERS[name]()
        APPS[name] = CompressionMiddleware(DecompressionMiddleware(inner, max_length=1 << 20))
    return APPS[name]


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def status(send: Send) -> None:
    """What is going on here."""
    statistics = (await wdasync.default_accelerator()).statistics()
    parked = sum(lane.parked for lane in statistics.lanes)
    gc.collect()
    streams = sum(isinstance(thing, wdasync.Compressor | wdasync.Decompressor) for thing in gc.get_objects())
    told = {
        "running": running,
        "completed": statistics.completed + statistics.inline,
        "busy": statistics.in_flight + parked,
        "rescues": statistics.rescues,
        "losses": sum(place.losses for place in statistics.places),
        "pid": os.getpid(),
        "streams": streams,
        "threads": threading.active_count(),
        "memory": resident(),
        "fds": len(os.listdir("/proc/self/fd")),  # noqa: PTH208  it does not block
    }
    await answer(send, json.dumps(told).encode(), kind=b"application/json")


async def lose(send: Send) -> None:
    """The best device goes away, if it can, and is not just on its way back."""
    place = (await wdasync.default_accelerator())._places[0]
    provoker: Any = registry.get_backend(place.backend)
    lost = place.device.lost is None and not place.away
    if lost:
        provoker.provoker.lose(place.device)
    await answer(send, json.dumps({"lost": lost}).encode(), kind=b"application/json")


async def lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await wdasync.default_accelerator()
            await send({"type": "lifespan.startup.complete"})
        else:
            await (await wdasync.default_accelerator()).aclose()
            return await send({"type": "lifespan.shutdown.complete"})


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Which application a path belongs to."""
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    _, name, path = scope["path"].split("/", 2)
    if name == "status":
        await status(send)
    elif name == "lose":
        await lose(send)
    elif name == "go":
        gates.setdefault(path, anyio.Semaphore(0)).release()
        await answer(send, b"", 204)
    else:
        await made(name)(scope, receive, send)
    return None
