"""An HTTP server on bare asyncio streams, whose answers are compressed without stalling the loop.

No framework and no middleware: h11 parses, ``wdasync.integrations`` knows the rules of negotiation, the accelerator compresses::

    pip install wdasync h11
    python examples/raw_asyncio_server.py --port 8000
    curl --compressed http://127.0.0.1:8000/

"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal

import h11

import wdasync
from wdasync.integrations.codings import ALGORITHMS, PREFERENCE, offers
from wdasync.integrations.decisions import Exchange, decide
from wdasync.integrations.negotiation import choose, parse_accept_encoding

PAGE = "".join(f"<p>Paragraph {number} of a page.</p>\n" for number in range(1500)).encode()
IDLE = 30.0  # seconds that a client may say nothing, or take nothing

Headers = list[tuple[str, str]]


class Connection:
    """One client: requests in, responses out, one after the other."""

    def __init__(
        self, acc: wdasync.Accelerator, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.acc = acc
        self.reader = reader
        self.writer = writer
        self.http = h11.Connection(h11.SERVER)

    async def serve(self) -> None:
        """Until the client has no more requests, breaks the rules, falls asleep, or has gone."""
        try:
            await self.exchange()
        except h11.RemoteProtocolError as error:
            if self.http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                text = f"{error}\n".encode()
                with contextlib.suppress(ConnectionError, TimeoutError):
                    await self.send(error.error_status_hint, [("content-length", str(len(text)))], text)
        except (ConnectionError, TimeoutError):
            self.writer.transport.abort()  # what it has not taken is dropped
        with contextlib.suppress(ConnectionError):
            self.writer.close()
            await self.writer.wait_closed()

    async def exchange(self) -> None:
        """Requests and responses, as long as both sides keep the connection."""
        while request := await self.request():
            await self.respond(request)
            if self.http.our_state is not h11.DONE or self.http.their_state is not h11.DONE:
                break
            self.http.start_next_cycle()

    async def request(self) -> h11.Request | None:
        """The next one, its body read and dropped; ``None``: there is none."""
        request = None
        while True:
            event = self.http.next_event()
            if event is h11.NEED_DATA:
                if self.http.they_are_waiting_for_100_continue:
                    go_on = h11.InformationalResponse(status_code=100, headers=[], reason="Continue")
                    self.writer.write(self.http.send(go_on))
                self.http.receive_data(await asyncio.wait_for(self.reader.read(65536), IDLE))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.EndOfMessage):
                return request
            elif isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
                return None

    async def respond(self, request: h11.Request) -> None:
        """Answer, in the coding that the client wants most."""
        status, body = (200, PAGE) if request.target == b"/" else (404, b"There is nothing here.\n")
        headers = {"content-type": "text/html; charset=utf-8"}
        accepted = parse_accept_encoding(
            value for name, value in request.headers if name == b"accept-encoding"
        )
        offered = offers(self.acc, wdasync.Kind.COMPRESS)
        coding = choose(accepted, [name for name in PREFERENCE if name in offered])
        row, coding = decide(Exchange(request.method.decode(), status, headers, len(body), coding))
        if row.varies:
            headers["vary"] = "accept-encoding"
        if coding is not None and (packed := await self.compressed(body, coding)) is not None:
            body = packed
            headers["content-encoding"] = coding
        if not row.unseen:  # else only compression tells
            headers["content-length"] = str(len(body))
        await self.send(status, list(headers.items()), b"" if request.method == b"HEAD" else body)

    async def compressed(self, body: bytes, coding: str) -> bytes | None:
        """Others are served meanwhile. ``None``: no device can do it now, and the plain body is as good."""
        try:
            return await self.acc.compress(body, ALGORITHMS[coding], timeout=5.0)
        except wdasync.WdasyncError as error:
            print(f"not compressed: {error}", flush=True)
            return None

    async def send(self, status: int, headers: Headers, body: bytes) -> None:
        """One whole response."""
        events: list[h11.Event] = [h11.Response(status_code=status, headers=headers), h11.EndOfMessage()]
        if body:
            events.insert(1, h11.Data(data=body))
        for event in events:
            self.writer.write(self.http.send(event) or b"")
        await asyncio.wait_for(self.writer.drain(), IDLE)


async def main(port: int) -> None:
    """Serve until told to stop."""
    stop = asyncio.Event()
    writers: set[asyncio.StreamWriter] = set()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with wdasync.open_accelerator() as acc:

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.add(writer)
            await Connection(acc, reader, writer).serve()
            writers.discard(writer)

        async with await asyncio.start_server(serve, "127.0.0.1", port) as server:
            print(f"listening on port {server.sockets[0].getsockname()[1]}", flush=True)
            await stop.wait()
            for writer in writers:
                writer.close()
        statistics = acc.statistics()
        print(
            f"{statistics.completed + statistics.inline} compressed, {statistics.inline} of them in the loop"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Serve a page.")
    parser.add_argument("--port", type=int, default=8000)
    asyncio.run(main(parser.parse_args().port))
