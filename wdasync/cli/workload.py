"""A load to try an accelerator with: requests cut from real data, many clients, and what the loop felt of it."""

from __future__ import annotations

import random
import sysconfig
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import anyio

from .commands import Failure

__all__ = ["Handler", "Outcome", "StallMeter", "cut", "drive", "read_input"]

SMALLEST, LARGEST = 1 << 10, 256 << 10

#: Bytes of input that are read, at most.
BOUND: Final = 12 << 20

#: Seconds between two ticks of the stall meter.
TICK: Final = 0.001


def read_input(path: str | None) -> tuple[str, bytes]:
    """What to work on, and its name: a file, or the sources of the standard library.

    :raises Failure: if there is too little of it
    """
    if path is not None:
        with Path(path).open("rb") as file:
            data = file.read(BOUND)
        name = path
    else:
        data, name = _standard_library(), "the standard library's sources"
    if len(data) < SMALLEST:
        raise Failure(f"{name}: expected at least {SMALLEST} bytes, got {len(data)}; name a larger file")
    return name, data


def _standard_library() -> bytes:
    pieces, total = [], 0
    for file in sorted(Path(sysconfig.get_path("stdlib")).glob("**/*.py")):
        if "site-packages" in file.parts or "dist-packages" in file.parts:
            continue
        pieces.append(file.read_bytes())
        total += len(pieces[-1])
        if total >= BOUND:
            break
    return b"".join(pieces)[:BOUND]


def cut(data: bytes, count: int, seed: int = 1) -> list[bytes]:
    """Requests of mixed sizes, cut from anywhere in the data; the same for the same seed.

    The sizes are spread evenly over the powers of two, as those of web pages are: half of the requests are smaller
    than 16 KiB, and the others hold nine tenths of the bytes.
    """
    chance = random.Random(seed)  # noqa: S311  not for secrets
    requests = []
    for _ in range(count):
        length = min(len(data), int(SMALLEST * (LARGEST / SMALLEST) ** chance.random()))
        start = chance.randrange(len(data) - length + 1)
        requests.append(data[start : start + length])
    return requests


class StallMeter:
    """How long the event loop was away: it asks to be woken every millisecond, and notes how late that was.

    :ivar longest: seconds
    """

    def __init__(self) -> None:
        self.longest = 0.0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            asked = time.perf_counter()
            await anyio.sleep(TICK)
            self.longest = max(self.longest, time.perf_counter() - asked - TICK)


@asynccontextmanager
async def _meter() -> AsyncIterator[StallMeter]:
    meter = StallMeter()
    async with anyio.create_task_group() as group:
        group.start_soon(meter.run)
        await anyio.sleep(5 * TICK)
        meter.longest = 0.0  # What starting took is nobody's stall.
        yield meter
        await anyio.sleep(5 * TICK)  # A stall at the very end is seen by the tick after it.
        group.cancel_scope.cancel()


@dataclass(slots=True)
class Outcome:
    """What came of a load.

    :ivar requests: the requests
    :ivar seconds: from the first request to the last answer
    :ivar answers: index of each request that was done, and its answer
    :ivar latencies: seconds, in no order
    :ivar stall: seconds; the longest time that the loop was away
    """

    requests: Sequence[bytes]
    seconds: float = 0.0
    answers: list[tuple[int, bytes]] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    stall: float = 0.0

    def percentile(self, percent: float) -> float:
        """Latency that so many percent of the requests did not exceed, in seconds."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]

    @property
    def bytes_in(self) -> int:
        """Of the requests that were done."""
        return sum(len(self.requests[index]) for index, _ in self.answers)

    @property
    def bytes_out(self) -> int:
        """Of the answers."""
        return sum(len(answer) for _, answer in self.answers)

    def wrong(self, wbits: int) -> int:
        """How many answers the standard library does not turn back into their requests.

        :param wbits: format and window, as :func:`zlib.decompress` takes them
        """
        return sum(not _right(answer, self.requests[index], wbits) for index, answer in self.answers)


def _right(answer: bytes, request: bytes, wbits: int) -> bool:
    try:
        return zlib.decompress(answer, wbits) == request
    except zlib.error:
        return False


#: Index of a request, and the request -> its answer.
Handler = Callable[[int, bytes], Awaitable[bytes]]


async def drive(
    requests: Sequence[bytes],
    handle: Handler,
    *,
    clients: int,
    seconds: float,
    advance: Callable[[int], None],
) -> Outcome:
    """Let many clients send requests, each its next one as soon as its last one was answered.

    :param handle: answers one request
    :param clients: requests that wait at the same time
    :param seconds: nobody begins another request after that
    :param advance: is told the bytes of each answered request
    """
    outcome = Outcome(requests)
    waiting = iter(enumerate(requests))
    async with _meter() as meter:
        started = time.perf_counter()

        async def client() -> None:
            for index, request in waiting:
                sent = time.perf_counter()
                answer = await handle(index, request)
                answered = time.perf_counter()
                outcome.latencies.append(answered - sent)
                outcome.answers.append((index, answer))
                advance(len(request))
                if answered - started > seconds:
                    return

        async with anyio.create_task_group() as group:
            for _ in range(min(clients, len(requests))):
                group.start_soon(client)
        outcome.seconds = time.perf_counter() - started
    outcome.stall = meter.longest
    return outcome
