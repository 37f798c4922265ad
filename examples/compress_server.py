"""A web application that compresses its answers without stalling the event loop.

Run it with any ASGI server::

    pip install 'wdasync[asgi]'
    uvicorn --app-dir examples compress_server:app
    curl --compressed http://127.0.0.1:8000/

``/`` is a text page of some 50 kB, ``/status`` says what the accelerator did so far. Which backend does the work is
configuration: try it with ``WDASYNC_BACKEND=hip08``.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import wdasync

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PAGE = "".join(
    f"<p>Paragraph {number} of a page that has many of them.</p>\n" for number in range(900)
).encode()


async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    """The application: one function, as the ASGI specification has it."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["path"] == "/status":
        await answer(send, await status(), b"application/json")
    else:
        await page(scope, send)


async def page(scope: MutableMapping[str, Any], send: Send) -> None:
    """The page, compressed for those who want it."""
    headers = [(b"vary", b"accept-encoding")]
    body = PAGE
    if accepts_gzip(scope["headers"]):
        body = await wdasync.compress(PAGE, "gzip")  # the loop serves others meanwhile
        headers.append((b"content-encoding", b"gzip"))
    await answer(send, body, b"text/html; charset=utf-8", headers)


def accepts_gzip(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether the client named gzip and did not refuse it (RFC 9110 section 12.5.3, as far as this page needs it)."""
    offers = b",".join(value for name, value in headers if name == b"accept-encoding").split(b",")
    for offer in offers:
        coding, _, quality = offer.strip().partition(b";")
        if coding.strip().lower() == b"gzip":
            return quality.strip() not in (b"q=0", b"q=0.0", b"q=0.00", b"q=0.000")
    return False


async def status() -> bytes:
    """What the accelerator of this event loop did so far, as JSON."""
    statistics = (await wdasync.default_accelerator()).statistics()
    reasons = {reason: count for reason, count in statistics.reasons.items() if count}
    lanes = {lane.name: lane.completed for lane in statistics.lanes}
    return json.dumps({"completed": statistics.completed, "reasons": reasons, "lanes": lanes}).encode()


async def answer(
    send: Send, body: bytes, content_type: bytes, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    """One whole response."""
    length = str(len(body)).encode()
    fields = [(b"content-type", content_type), (b"content-length", length), *(headers or [])]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": body})


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
