"""A web application whose answers are compressed without stalling the event loop.

Run it with any ASGI server::

    pip install 'wdasync[asgi]'
    uvicorn --app-dir examples compress_server:app
    curl --compressed http://127.0.0.1:8000/

``/`` is a text page of some 50 kB, ``/events`` a stream of server-sent events, ``/status`` says what the accelerator did so far.
``POST /length`` tells the length of a body, which may come compressed. Which backend does the work is configuration: try it with
``WDASYNC_BACKEND=hip08``.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import anyio

import wdasync
from wdasync.integrations.asgi import CompressionMiddleware, DecompressionMiddleware

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PAGE = "".join(
    f"<p>Paragraph {number} of a page that has many of them.</p>\n" for number in range(900)
).encode()


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """The application: one function, as the ASGI specification has it. It knows nothing of compression."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["path"] == "/":
        await answer(send, PAGE, "text/html; charset=utf-8")
    elif scope["path"] == "/events":
        await events(send)
    elif scope["path"] == "/length" and scope["method"] == "POST":
        await answer(send, b"%d\n" % await length(receive), "text/plain")
    elif scope["path"] == "/status":
        await answer(send, await status(), "application/json")
    else:
        await answer(send, b"There is nothing here.\n", "text/plain", 404)


#: Requests may come compressed, and responses go out as the client asked for them.
app = CompressionMiddleware(DecompressionMiddleware(application, max_length=16 << 20))


async def events(send: Send) -> None:
    """A stream of events: each can be read as soon as it was sent."""
    await start(send, 200, "text/event-stream")
    for number in range(5):
        await send({"type": "http.response.body", "body": b"data: event %d\n\n" % number, "more_body": True})
        await anyio.sleep(0.1)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def length(receive: Receive) -> int:
    """How long the body of the request is; nobody holds all of it."""
    total, more = 0, True
    while more:
        message = await receive()
        total += len(message.get("body", b""))
        more = message.get("more_body", False)
    return total


async def status() -> bytes:
    """What the accelerator of this event loop did so far, as JSON."""
    statistics = (await wdasync.default_accelerator()).statistics()
    reasons = {reason: count for reason, count in statistics.reasons.items() if count}
    lanes = {lane.name: lane.completed for lane in statistics.lanes}
    return json.dumps({"completed": statistics.completed, "reasons": reasons, "lanes": lanes}).encode()


async def answer(send: Send, body: bytes, content_type: str, code: int = 200) -> None:
    """One whole response."""
    await start(send, code, content_type, [(b"content-length", str(len(body)).encode())])
    await send({"type": "http.response.body", "body": body})


async def start(
    send: Send, code: int, content_type: str, more: list[tuple[bytes, bytes]] | None = None
) -> None:
    """The beginning of a response."""
    headers = [(b"content-type", content_type.encode()), *(more or [])]
    await send({"type": "http.response.start", "status": code, "headers": headers})


async def lifespan(receive: Receive, send: Send) -> None:
    """Open the accelerator with the server, so that the first request does not pay for it."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await wdasync.default_accelerator()
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await (await wdasync.default_accelerator()).aclose()
            return await send({"type": "lifespan.shutdown.complete"})
