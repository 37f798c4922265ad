"""Short answers of our own."""

from __future__ import annotations

from ..headers import Headers
from .bodies import BODY
from .types import Send

__all__ = ["reply"]


async def reply(send: Send, status: int, text: str, headers: Headers = ()) -> None:
    """One whole response of plain text."""
    body = text.encode()
    length = str(len(body)).encode()
    lines = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", length), *headers]
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": BODY, "body": body})
