"""TLS around an anyio byte stream."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import anyio
from anyio.abc import ByteStream

from .engine import BrokenTls, OffloadedTls, Settings, Signing

__all__ = ["Sign", "TlsStream"]

#: Makes a signature, such as ``lambda asked: key.sign(*asked)`` with a key of an accelerator.
Sign = Callable[[Signing], Awaitable[bytes]]


class TlsStream(ByteStream):
    """A server's side of TLS around another stream. Made by :meth:`wrap`."""

    def __init__(self, transport: ByteStream, engine: OffloadedTls) -> None:
        self._transport, self._engine = transport, engine
        self._clear = b""
        self._ended = False

    @classmethod
    async def wrap(cls, transport: ByteStream, settings: Settings, sign: Sign) -> TlsStream:
        """Shake hands; other connections go on while the signature is made.

        :raises BrokenTls: if the peer does not speak TLS as we do
        :raises EndOfStream: if it leaves
        """
        stream = cls(transport, OffloadedTls(settings))
        try:
            await stream._shake(sign)
        except BaseException:
            stream._engine.close()
            raise
        return stream

    async def _shake(self, sign: Sign) -> None:
        data = b""
        while not self._engine.shaken:
            await self._advance(data)
            data = b""
            if (asked := self._engine.signing) is not None:
                try:
                    self._engine.answer(await sign(asked))
                except Exception:
                    self._engine.answer(None)
                    with suppress(BrokenTls):
                        await self._advance()  # tells the peer
                    raise
            elif not self._engine.shaken:
                data = await self._transport.receive()

    async def _advance(self, data: bytes = b"") -> None:
        try:
            self._clear, self._ended = self._engine.received(data)
        finally:
            await self._flush()

    async def _flush(self) -> None:
        if data := self._engine.outgoing():
            await self._transport.send(data)

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Some clear text.

        :raises EndOfStream: if the peer has said that no more will come, or left
        :raises BrokenTls: if what it sends makes no sense
        """
        while not self._clear:
            if self._ended:
                raise anyio.EndOfStream
            self._clear, self._ended = self._engine.received(await self._transport.receive())
        data, self._clear = self._clear[:max_bytes], self._clear[max_bytes:]
        return data

    async def send(self, item: bytes) -> None:
        """Send clear text."""
        self._engine.send(item)
        await self._flush()

    async def send_eof(self) -> None:
        """TLS ends in one direction only with an alert; the other direction goes on."""
        self._engine.end()
        await self._flush()

    async def aclose(self) -> None:
        """Say farewell, without waiting for the peer's, and close."""
        try:
            self._engine.end()
            await self._flush()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass  # nobody hears it
        finally:
            self._engine.close()
            await self._transport.aclose()

    @property
    def extra_attributes(self) -> Any:
        """Those of the stream below."""
        return self._transport.extra_attributes
