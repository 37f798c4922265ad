"""TLS whose private key is on the accelerator, for the plain version: asyncio's streams, with an engine between them and the program.

Python's ``ssl``, which asyncio has in its streams, signs inside of the handshake, in the event loop's thread. Here the signature is awaited,
and others are served meanwhile. The rest is what asyncio's streams have, as far as this proxy uses it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import wdasync
from examples import offloaded_tls
from examples.offloaded_tls import OffloadedTls, Settings, Signing

from .tls import BrokenTls

__all__ = ["Secured", "Wrap", "wrapping"]

#: Makes a signature.
Sign = Callable[[Signing], Awaitable[bytes]]

#: Makes a client's streams those of clear text, after the handshake.
Wrap = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable["Secured"]]

#: Bytes that are read at once.
SIZE = 1 << 16


class Secured:
    """Both streams of a client. Made by :func:`wrapping`."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, settings: Settings
    ) -> None:
        self._reader, self._writer = reader, writer
        self._engine = OffloadedTls(settings)
        self._clear, self._over = b"", False

    @property
    def transport(self) -> asyncio.WriteTransport:
        """The one below."""
        return self._writer.transport

    async def shake(self, sign: Sign) -> None:
        """Shake hands.

        :raises BrokenTls: if the peer does not speak TLS as we do
        :raises EOFError: if it leaves
        :raises OSError: if it resets the connection
        :raises WdasyncError: if there is no signature
        """
        data = b""
        while True:
            self._received(data)
            if self._engine.shaken:
                return
            data = b""
            if (asked := self._engine.signing) is not None:
                self._engine.answer(await sign(asked))
            elif not (data := await self._reader.read(SIZE)):
                raise EOFError("the peer left in the handshake")

    def _received(self, data: bytes) -> None:
        try:
            clear, self._over = self._engine.received(data)
            self._clear += clear
        finally:  # also what tells the peer that it was wrong
            self._flush()

    def _flush(self) -> None:
        if data := self._engine.outgoing():
            self._writer.write(data)

    async def read(self, size: int) -> bytes:
        """Some clear text; empty: no more comes.

        :raises OSError: if the connection is broken
        """
        while not self._clear and not self._over:
            data = await self._reader.read(SIZE)
            if not data:
                self._over = True
            else:
                try:
                    self._received(data)
                except offloaded_tls.BrokenTls as error:
                    raise ConnectionError(str(error)) from error
        clear, self._clear = self._clear[:size], self._clear[size:]
        return clear

    def write(self, data: bytes) -> None:
        self._engine.send(data)
        self._flush()

    async def drain(self) -> None:
        await self._writer.drain()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """Tell the peer that no more comes; it may go on sending."""
        self._engine.end()
        self._flush()
        self._writer.write_eof()

    def close(self) -> None:
        self._engine.close()
        self._writer.close()

    async def wait_closed(self) -> None:
        await self._writer.wait_closed()


def wrapping(acc: wdasync.Accelerator, certificate: str, key: str) -> Wrap:
    """TLS for all connections.

    :param certificate: file of the chain, PEM
    :param key: file of the private key, PEM
    :raises OSError: if a file cannot be read
    :raises examples.offloaded_tls.BrokenTls: if there is no certificate in it
    """
    settings, private = Settings(certificate), acc.private_key(Path(key).read_bytes())

    async def sign(asked: Signing) -> bytes:
        return await private.sign(*asked)

    async def wrap(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Secured:
        streams = Secured(reader, writer, settings)
        try:
            await streams.shake(sign)
        except offloaded_tls.BrokenTls as error:
            streams.close()
            raise BrokenTls(str(error)) from error
        except BaseException:
            streams.close()
            raise
        return streams

    return wrap
