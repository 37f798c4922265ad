"""Ship a program's log to a collector, in compressed batches.

    program 2>&1 | python examples/log_shipper.py http://collector:8080/logs

Lines are collected until there are enough, or until the oldest has waited long enough. A batch is compressed at low priority, since
nobody waits for it, and posted with its number, so that the collector can drop what it gets twice. A collector that is away is asked again,
later and later. Meanwhile nothing is read: the program's pipe is the buffer, and memory stays bounded. At the end of the input, or when told
to stop, the rest is shipped.
"""

from __future__ import annotations

import argparse
import http.client
import os
import signal
import stat
import sys
import time
import uuid
from functools import partial
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

import wdasync

BATCH = 256 * 1024  # bytes of lines
AGE = 1.0  # seconds that a line may wait
TRIES = 8


class Shipper:
    """Where batches go."""

    def __init__(self, acc: wdasync.Accelerator, url: str, algorithm: str) -> None:
        self.acc = acc
        self.url = urlsplit(url)
        self.algorithm = algorithm
        self.source = uuid.uuid4().hex
        self.batches = self.lines = self.bytes_in = self.bytes_out = 0

    async def ship(self, lines: list[bytes]) -> None:
        """Compress and post one batch."""
        body = await self.acc.compress(lines, self.algorithm, priority=wdasync.Priority.LOW)
        for number in range(TRIES):
            if number:
                await anyio.sleep(0.05 * 2**number)
            if await anyio.to_thread.run_sync(partial(self.post, body)):
                break
        else:
            raise SystemExit(f"the collector did not take batch {self.batches} in {TRIES} tries")
        self.batches += 1
        self.lines += len(lines)
        self.bytes_in += sum(map(len, lines))
        self.bytes_out += len(body)

    def post(self, body: bytes) -> bool:
        """Whether the collector took it. It blocks, so it is done in a thread."""
        headers = {
            "Content-Type": "text/plain",
            "Content-Encoding": self.algorithm,
            "Idempotency-Key": f'"{self.source}-{self.batches}"',
        }
        connection = http.client.HTTPConnection(self.url.netloc, timeout=10)
        try:
            connection.request("POST", self.url.path or "/", body, headers)
            return 200 <= connection.getresponse().status < 300
        except (OSError, http.client.HTTPException) as error:
            print(f"collector: {error}", file=sys.stderr)
            return False
        finally:
            connection.close()


async def read(source: int, lines: MemoryObjectSendStream[list[bytes]]) -> None:
    """Lines of the input, as many as there are at once; a full queue stops the reading."""
    is_file, rest = stat.S_ISREG(os.fstat(source).st_mode), b""
    async with lines:
        while True:
            if not is_file:
                await anyio.wait_readable(source)
            data = await anyio.to_thread.run_sync(os.read, source, 65536)
            if not data:
                break
            *whole, rest = (rest + data).split(b"\n")
            if whole:
                await lines.send([line + b"\n" for line in whole])
        if rest:
            await lines.send([rest])


async def collect(lines: MemoryObjectReceiveStream[list[bytes]]) -> list[bytes]:
    """The next batch; empty: there is nothing more."""
    batch: list[bytes] = []
    size, deadline = 0, float("inf")
    while size < BATCH:
        more: list[bytes] = []
        with anyio.move_on_at(deadline) as scope:
            try:
                more = await lines.receive()
            except anyio.EndOfStream:
                break
        if scope.cancelled_caught:
            break
        if not size:
            deadline = anyio.current_time() + AGE
        batch += more
        size += sum(map(len, more))
    return batch


async def stop_at_signal(scope: anyio.CancelScope) -> None:
    """Stop the reading when the process is told to end."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            scope.cancel()


async def main(url: str, algorithm: str) -> None:
    """Ship until the input ends."""
    started = time.monotonic()
    send, receive = anyio.create_memory_object_stream[list[bytes]](16)
    async with wdasync.open_accelerator() as acc:
        shipper, reading = Shipper(acc, url, algorithm), anyio.CancelScope()
        async with anyio.create_task_group() as group:
            group.start_soon(stop_at_signal, reading)

            async def read_until_stopped() -> None:
                with reading:
                    await read(sys.stdin.fileno(), send)

            group.start_soon(read_until_stopped)
            while batch := await collect(receive):
                await shipper.ship(batch)
            group.cancel_scope.cancel()
        print(
            f"{shipper.lines} lines in {shipper.batches} batches, {shipper.bytes_in:,} -> {shipper.bytes_out:,} bytes, "
            f"{time.monotonic() - started:.1f} s",
            file=sys.stderr,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Ship lines in compressed batches.")
    parser.add_argument("url")
    parser.add_argument("--algorithm", default="gzip", choices=["gzip", "br", "zstd"])
    arguments = parser.parse_args()
    anyio.run(main, arguments.url, arguments.algorithm)
