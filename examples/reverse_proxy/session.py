"""One client connection of the asyncio version: a few tasks, each of which does one thing and waits for the next.

They read the client, write to the client, have a connection to the upstream, ask the accelerator, and look at the clock. What they share is
the relay; who changes it tells the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import wdasync
from wdasync import Flush
from wdasync.integrations.codings import ALGORITHMS

from .figures import Figures
from .options import Options
from .relay import Relay
from .work import Work

if TYPE_CHECKING:
    from .secured import Secured

__all__ = ["Session"]

#: Bytes that are read at once.
SIZE = 1 << 16

#: Seconds between two looks at the clock.
TICK = 0.1


class Session:
    """One client connection."""

    def __init__(
        self,
        acc: wdasync.Accelerator,
        relay: Relay,
        options: Options,
        figures: Figures,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | tuple[Secured, Secured],
    ) -> None:
        self.acc, self.relay, self.options, self.figures = acc, relay, options, figures
        self.reader: asyncio.StreamReader | Secured = streams[0]
        self.writer: asyncio.StreamWriter | Secured = streams[1]
        self.changed = asyncio.Event()
        self.streaming: wdasync.Compressor | None = None

    def tell(self) -> None:
        """The relay has changed."""
        self.changed.set()
        self.changed = asyncio.Event()

    def cut(self) -> None:
        """End at once."""
        self.relay.abort()
        self.writer.transport.abort()
        self.tell()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for the relay to be like that."""
        while not condition():
            await self.changed.wait()

    async def run(self) -> None:
        """Until the connection has ended."""
        others = [self.read_client(), self.have_upstream(), self.accelerate(), self.tick()]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(other) for other in others]
            await self.write_client()
            for task in tasks:
                task.cancel()
        if self.streaming is not None:
            await self.streaming.aclose()
        self.figures.requests(self.relay.latencies)
        await self.close()

    async def close(self) -> None:
        """In order, so that what was sent arrives: no more from here, and the client may say a little longer what it says."""
        if self.relay.aborted:
            self.writer.transport.abort()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(self.options.policy.limits.linger):
                if not self.relay.client_over and self.writer.can_write_eof():
                    self.writer.write_eof()
                    while await self.reader.read(SIZE):
                        pass
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    # -- the client ---------------------------------------------------------------------------------------------

    async def read_client(self) -> None:
        """What the client sends goes into the relay."""
        while not self.relay.closing:
            await self.until(lambda: self.relay.wants_client or self.relay.closing)
            try:
                data = await self.reader.read(SIZE)
            except OSError:
                self.relay.abort()
            else:
                self.figures.received += len(data)
                self.relay.client_sent(data)
            self.tell()

    async def write_client(self) -> None:
        """What the relay has for the client goes out, no faster than the client takes it."""
        relay, told = self.relay, False
        while not relay.aborted:
            if pieces := relay.to_client.clear():
                await self.send(b"".join(pieces))  # type: ignore[arg-type]  # pieces are bytes here
            elif relay.finished:
                return
            elif relay.half_closed[0] and not told:
                if not self.writer.can_write_eof():
                    return  # Python's TLS ends in both directions at once
                told = True
                self.writer.write_eof()
            else:
                over = relay.half_closed[0]
                await self.until(partial(self._has_news, over))

    def _has_news(self, over: bool) -> bool:
        """Whether there is something to do for the client: to send, to say that nothing more comes, or to end."""
        relay = self.relay
        return len(relay.to_client) > 0 or relay.closing or relay.half_closed[0] is not over

    async def send(self, data: bytes) -> None:
        """All that there is now, to the client."""
        try:
            self.writer.write(data)
            self.figures.sent += len(data)
            self.relay.behind = True
            await self.writer.drain()
            self.relay.behind = False
            self.relay.client_took()
        except OSError:
            self.relay.abort()
        self.relay.pump()
        self.figures.requests(self.relay.latencies)
        self.tell()

    # -- the upstream -------------------------------------------------------------------------------------------

    async def have_upstream(self) -> None:
        """The connection that the relay wants, one after the other."""
        relay = self.relay
        while True:
            await self.until(lambda: relay.connection)
            number = relay.connection
            try:
                reader, writer = await asyncio.open_connection(*self.options.upstream)
            except OSError as error:
                if relay.connection == number:
                    relay.upstream_failed(f"the upstream cannot be reached: {error.strerror or error}")
                self.tell()
                continue
            try:
                relay.upstream_opened()
                self.tell()
                async with asyncio.TaskGroup() as group:
                    tasks = [
                        group.create_task(self.read_upstream(number, reader)),
                        group.create_task(self.write_upstream(number, writer)),
                    ]
                    await self.until(lambda: relay.connection != number)  # noqa: B023  (it ends before the next)
                    for task in tasks:
                        task.cancel()
            finally:
                writer.close()

    async def read_upstream(self, number: int, reader: asyncio.StreamReader) -> None:
        """What the upstream sends goes into the relay."""
        relay, over = self.relay, False
        while relay.connection == number and not over:
            await self.until(lambda: relay.wants_upstream or relay.connection != number)
            try:
                data = await reader.read(SIZE)
            except OSError as error:
                relay.upstream_failed(f"the upstream is gone: {error.strerror or error}")
                over = True
            else:
                over = not data
                relay.upstream_sent(data)
            self.tell()

    async def write_upstream(self, number: int, writer: asyncio.StreamWriter) -> None:
        """What the relay has for the upstream goes out. That it fails, who reads will find out."""
        relay = self.relay
        with contextlib.suppress(OSError):
            while relay.connection == number:
                piece = relay.to_upstream.take()
                if piece is not None:
                    writer.write(piece)  # type: ignore[arg-type]
                    await writer.drain()
                    relay.pump()
                    self.tell()
                elif relay.half_closed[1]:
                    writer.write_eof()
                    return
                else:
                    await self.until(
                        lambda: len(relay.to_upstream) or relay.connection != number or relay.half_closed[1]
                    )

    # -- the accelerator and the clock --------------------------------------------------------------------------

    async def accelerate(self) -> None:
        """What the relay wants compressed. Others are served meanwhile."""
        while True:
            await self.until(lambda: self.relay.work)
            work = self.relay.work
            assert work is not None
            self.figures.operations += 1
            try:
                output = await (self.whole(work) if work.stream is None else self.piece(work))
            except wdasync.WdasyncError:
                output = None
            self.figures.plain += output is None
            self.relay.compressed(work, output)
            self.tell()

    async def whole(self, work: Work) -> bytes | None:
        """A body in one operation; ``None``: it does not get smaller."""
        output = await self.acc.compress(
            work.pieces, ALGORITHMS[work.coding], level=self.options.policy.level
        )
        return output if len(output) < work.nbytes else None

    async def piece(self, work: Work) -> bytes:
        """The next step of a stream."""
        assert work.stream is not None
        if work.stream.handle is None:
            level = self.options.policy.level
            work.stream.handle = self.acc.compressor(ALGORITHMS[work.coding], level=level)
            self.streaming = work.stream.handle
        compressor: wdasync.Compressor = work.stream.handle
        output = await compressor.compress(b"".join(work.pieces))
        if work.flush is not Flush.FINISH:
            return output + await compressor.flush()
        output += await compressor.finish()
        await compressor.aclose()
        self.streaming = None
        return output

    async def tick(self) -> None:
        """The clock; and whether the client has gone, which who does not read from it would not notice."""
        while True:
            await asyncio.sleep(TICK)
            if self.writer.transport.is_closing() and not self.relay.aborted:
                self.relay.abort()
                self.tell()
            if self.relay.tick(time.monotonic()):
                self.tell()
            if self.relay.aborted:
                self.writer.transport.abort()
