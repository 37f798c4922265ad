"""A service on trio: it sends back what it is sent, compressed, while it still comes.

    pip install 'wdasync[trio]'
    python examples/trio_service.py --port 9000 &
    ncat 127.0.0.1 9000 < access.log > access.log.gz

Each client has a stream of its own on the accelerator. A client that reads slowly is read slowly, and one that goes away takes its
stream with it; nobody else notices.
"""

from __future__ import annotations

import argparse
import signal
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

import trio

import wdasync

LONGEST = 60.0  # seconds that a client may keep us waiting


class Service:
    """What all clients share."""

    def __init__(self, acc: wdasync.Accelerator, algorithm: str) -> None:
        self.acc = acc
        self.algorithm = algorithm
        self.clients = 0
        self.served = 0

    async def serve(self, client: trio.SocketStream) -> None:
        """One client, in a task of its own."""
        self.clients += 1
        try:
            async with aclosing(received(client)) as source, aclosing(self.compressed(source)) as pieces:
                async for piece in pieces:
                    with trio.fail_after(LONGEST):
                        await client.send_all(piece)
            await client.send_eof()
            self.served += 1
        except (trio.BrokenResourceError, trio.TooSlowError):
            pass  # nobody is there to be told
        finally:
            self.clients -= 1

    def compressed(self, source: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """What comes from a client, compressed. What a pause ends can be read at once."""
        return self.acc.compress_stream(source, self.algorithm, flush=True)


async def received(client: trio.SocketStream) -> AsyncGenerator[bytes, None]:
    """What the client sends, until it says that this was all."""
    while True:
        with trio.fail_after(LONGEST):
            data = await client.receive_some(65536)
        if not data:
            return
        yield data


async def stop_at_signal(scope: trio.CancelScope) -> None:
    """Cancel the scope when the process is told to end."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()
            return


async def main(port: int, algorithm: str) -> None:
    """Serve until told to stop."""
    async with wdasync.open_accelerator() as acc:
        service = Service(acc, algorithm)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop_at_signal, nursery.cancel_scope)
            listen = partial(trio.serve_tcp, service.serve, port, host="127.0.0.1")
            (listener, *_) = await nursery.start(listen)
            print(f"listening on port {listener.socket.getsockname()[1]}", flush=True)
        in_flight = acc.statistics().in_flight
        print(f"{service.served} served, {service.clients} clients and {in_flight} operations left")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Compress what comes over a connection.")
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--algorithm", default="gzip", choices=["gzip", "zlib", "br", "zstd"])
    arguments = parser.parse_args()
    trio.run(main, arguments.port, arguments.algorithm)
