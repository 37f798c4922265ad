"""What the client sends, with an ear for its leaving.

ASGI tells that a client has left only to those who receive. While a response is compressed, the application does not, so
somebody else has to; what comes meanwhile is kept for the application.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import anyio

from ...companions import Companion
from .types import Message, Receive, Scope

__all__ = ["Inbox"]

T = TypeVar("T")

#: Methods whose requests have a body only if a header says so, in any version of HTTP.
_BODILESS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


class Inbox:
    """The messages of one request. :meth:`receive` is what the application gets.

    No part of a request's body is received that the application did not ask for: it might be large, and asking for it is what
    sends ``100 Continue``. So the client's leaving is noticed once the request is complete.

    :ivar gone: the client has left
    """

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.gone = False
        self._complete = scope["method"] in _BODILESS and not _announces_body(scope["headers"])
        self._receive = receive
        self._ahead: deque[Message] = deque()
        self._failure: Exception | None = None
        self._lock: anyio.Lock | None = None  # made by who is the first to receive
        self._work: anyio.CancelScope | None = None
        self._ear: Companion | None = None

    def _alone(self) -> anyio.Lock:
        """Held by who receives: the server hears one at a time."""
        if self._lock is None:
            self._lock = anyio.Lock(fast_acquire=True)
        return self._lock

    async def receive(self) -> Message:
        """The next message."""
        async with self._alone():
            if self._ahead:
                return self._ahead.popleft()
            if self.gone:
                return {"type": "http.disconnect"}
            if self._failure is not None:
                raise self._failure
            return await self._next()

    async def _next(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.gone = True
            if self._work is not None:
                self._work.cancel()
        elif message["type"] == "http.request":
            self._complete = not message.get("more_body", False)
        return message

    async def unless_gone(self, work: Callable[[], Awaitable[T]], *, brief: bool = False) -> T | None:
        """Await some work, which is cancelled when the client leaves; ``None`` if it was, or the client has left before.

        :param brief: it takes no time worth saving: it is not cancelled
        """
        if self.gone:
            return None
        if brief:
            return await work()
        with anyio.CancelScope() as self._work:
            try:
                return await work()
            finally:
                self._work = None
        return None

    def watch(self) -> None:
        """Begin to listen. Idempotent."""
        if self._ear is None and self._complete and not self.gone:
            self._ear = Companion(self._listen)

    def stop(self) -> None:
        """Listen no more. Idempotent."""
        if self._ear is not None:
            self._ear.stop()

    async def aclose(self) -> None:
        """Listen no more, and wait until nobody does. Idempotent."""
        if self._ear is not None:
            await self._ear.aclose()

    async def _listen(self) -> None:
        # The end of the request, then the leaving: a server that has more to say would keep us busy for ever.
        for _ in range(2):
            async with self._alone():
                if self._hears():
                    await self._look_ahead()

    def _hears(self) -> bool:
        """Whether there is still something to listen for."""
        return self._complete and not self.gone and self._failure is None

    async def _look_ahead(self) -> None:
        try:
            self._ahead.append(await self._next())
        except Exception as error:  # noqa: BLE001  the application gets it, when it asks
            self._failure = error


def _announces_body(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    return any(key.lower() in (b"content-length", b"transfer-encoding") for key, _ in headers)
