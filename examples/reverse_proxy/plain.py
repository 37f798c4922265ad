"""The same proxy as an asyncio program: streams, tasks, and ``await acc.compress(…)``. Nothing polls here."""

from __future__ import annotations

import asyncio
import signal
import ssl
from typing import TYPE_CHECKING

import wdasync
from wdasync import Kind

from .figures import Figures
from .options import Options
from .policy import able
from .relay import Relay
from .session import Session
from .tls import BrokenTls, server_context

if TYPE_CHECKING:
    from .secured import Secured, Wrap

__all__ = ["serve"]


class Server:
    """Whoever comes is served, until told to stop.

    :ivar sessions: those that are open
    """

    def __init__(self, acc: wdasync.Accelerator, options: Options, figures: Figures) -> None:
        self._acc, self._options, self._figures = acc, options, figures
        self._wrap: Wrap | None = None
        self._context: ssl.SSLContext | None = None
        self.sessions: dict[asyncio.Task[None], Session] = {}
        if options.tls == "plain":
            self._context = server_context(options.cert, options.key)
        elif options.tls == "offloaded":
            from .secured import (
                wrapping,
            )  # builds its C the first time, so only who wants it needs a compiler

            self._wrap = wrapping(acc, options.cert, options.key)
        self._places = options.connections

    async def start(self) -> asyncio.Server:
        return await asyncio.start_server(
            self._connected,
            self._options.host,
            self._options.port,
            ssl=self._context,
            backlog=1024,
            ssl_handshake_timeout=self._options.policy.limits.head if self._context else None,
        )

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._places:
            self._figures.refused += 1
            writer.transport.abort()
            return
        self._places -= 1
        try:
            if self._wrap is None:
                await self._serve((reader, writer), writer)
            elif (secured := await self._secure(self._wrap, reader, writer)) is not None:
                await self._serve((secured, secured), writer)
        finally:
            self._places += 1

    async def _secure(
        self, wrap: Wrap, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Secured | None:
        """A handshake; ``None``: it came to nothing."""
        try:
            async with asyncio.timeout(self._options.policy.limits.head):
                return await wrap(reader, writer)
        except (BrokenTls, EOFError, OSError, TimeoutError, wdasync.WdasyncError):
            writer.close()
            return None

    async def _serve(
        self,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | tuple[Secured, Secured],
        writer: asyncio.StreamWriter,
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        options = self._options
        peer = (writer.get_extra_info("peername") or ("",))[0]
        scheme = "http" if options.tls == "none" else "https"
        relay = Relay(options.policy, peer, options.authority, scheme)
        session = self.sessions[task] = Session(self._acc, relay, options, self._figures, streams)
        try:
            await session.run()
        finally:
            del self.sessions[task]

    async def stop(self) -> None:
        """The last request of each connection; in the end they are cut."""
        for session in self.sessions.values():
            session.relay.drain()
            session.tell()
        if self.sessions:
            await asyncio.wait(self.sessions, timeout=self._options.grace)
        for session in self.sessions.values():
            session.cut()
        if self.sessions:
            await asyncio.wait(self.sessions)


async def serve(options: Options) -> None:
    """Serve until told to stop."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    figures = Figures(options.quiet)
    async with wdasync.open_accelerator(options.backend) as acc:
        tables = acc.capabilities().values()
        options = options.offering(able(tables, Kind.COMPRESS), able(tables, Kind.COMPRESS_CHUNK))
        server = Server(acc, options, figures)
        async with await server.start() as listening:
            port = listening.sockets[0].getsockname()[1]
            print(
                f"listening on port {port}: asyncio streams, {', then '.join(acc.capabilities())}", flush=True
            )
            ticker = asyncio.create_task(_report(figures, server.sessions))
            await stop.wait()
            ticker.cancel()
            await server.stop()
        figures.total()


async def _report(figures: Figures, sessions: dict[asyncio.Task[None], Session]) -> None:
    while True:
        await asyncio.sleep(1.0)
        figures.line(connections=len(sessions))
