"""Ship a program's log to a collector, in compressed batches.

    program 2>&1 | python examples/log_shipper.py http://collector:8080/logs

Lines are collected until there are enough, or until the oldest has waited long enough. A batch is compressed at low priority, since
nobody waits for it, and posted with its number, so that the collector can drop what it gets twice. A collector that is away is asked again,
later and later. Meanwhile nothing is read: the program's pipe is the buffer, and memory stays bounded. A line that is longer than a batch is
shipped in parts. At the end of the input, or when told to stop, everything that was read is shipped.
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


class CollectorGone(Exception):
    """Raised when the collector did not take a batch."""


class Shipper:
    """Where batches go."""

    def __init__(self, acc: wdasync.Accelerator, url: str, algorithm: str, tries: int) -> None:
        self.acc = acc
        self.tries = tries
        self.url = urlsplit(url)
        self.algorithm = algorithm
        self.source = uuid.uuid4().hex
        self.batches = self.lines = self.bytes_in = self.bytes_out = 0

    async def ship(self, lines: list[bytes]) -> None:
        """Compress and post one batch."""
        body = await self.acc.compress(lines, self.algorithm, priority=wdasync.Priority.LOW)
        for number in range(self.tries):
            if number:
                await anyio.sleep(0.05 * 2**number)
            if await anyio.to_thread.run_sync(partial(self.post, body)):
                break
        else:
            raise CollectorGone(
                f"the collector did not take batch {self.batches} in {self.tries} tries; its {len(lines)} lines are lost"
            )
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


async def readable(source: int, stop: anyio.Event) -> bool:
    """Wait for input, or its end; false: stop came first."""
    if stop.is_set() or stat.S_ISREG(os.fstat(source).st_mode):
        return not stop.is_set()
    async with anyio.create_task_group() as group:

        async def wait() -> None:
            await stop.wait()
            group.cancel_scope.cancel()

        group.start_soon(wait)
        await anyio.wait_readable(source)
        group.cancel_scope.cancel()
    return not stop.is_set()


async def read(source: int, lines: MemoryObjectSendStream[list[bytes]], stop: anyio.Event) -> None:
    """Lines of the input, as many as there are at once; a full queue stops the reading. What was read goes on, whatever comes."""
    rest = b""
    async with lines:
        while await readable(source, stop) and (
            data := await anyio.to_thread.run_sync(os.read, source, 65536)
        ):
            *whole, rest = (rest + data).split(b"\n")
            batch = [line + b"\n" for line in whole]
            if len(rest) >= BATCH:
                batch, rest = [*batch, rest], b""
            if batch:
                await lines.send(batch)
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


async def stop_at_signal(stop: anyio.Event) -> None:
    """Stop the reading when the process is told to end."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            stop.set()


async def main(url: str, algorithm: str, tries: int) -> str | None:
    """Ship until the input ends; what went wrong."""
    started = time.monotonic()
    send, receive = anyio.create_memory_object_stream[list[bytes]](16)
    wrong = None
    async with wdasync.open_accelerator() as acc:
        shipper, stop = Shipper(acc, url, algorithm, tries), anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(stop_at_signal, stop)
            group.start_soon(read, sys.stdin.fileno(), send, stop)
            try:
                while batch := await collect(receive):
                    await shipper.ship(batch)
            except CollectorGone as error:
                wrong = str(error)
            group.cancel_scope.cancel()
        print(
            f"{shipper.lines} lines in {shipper.batches} batches, {shipper.bytes_in:,} -> {shipper.bytes_out:,} bytes, "
            f"{time.monotonic() - started:.1f} s",
            file=sys.stderr,
        )
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Ship lines in compressed batches.")
    parser.add_argument("url")
    parser.add_argument("--algorithm", default="gzip", choices=["gzip", "br", "zstd"])
    parser.add_argument("--tries", type=int, default=8)
    arguments = parser.parse_args()
    sys.exit(anyio.run(main, arguments.url, arguments.algorithm, arguments.tries))
