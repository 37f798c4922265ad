"""A storm: many operations of random sizes, of all kinds, with cancellations at random moments."""

from __future__ import annotations

import os
import random
import zlib
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import anyio
import anyio.lowlevel

from wdasync import Accelerator, Compress, OutOfSpace

#: Clients at a time: more than the queue has slots, so that some always wait for one.
CLIENTS = 96
DEPTH = 64

#: How many of a hundred operations are cancelled, if they have not ended by then.
CANCELLED = 30

#: Bytes before and after each output in memory of the caller's.
GUARD = bytes(range(64))

#: Buffers whose operation was cancelled are watched for so many operations: nothing may change in them any more.
WATCHED = 32

_text = random.Random(1).choices([b"what", b" ", b"the", b"\n", b"storm", b"brings", b"\x00\xff"], k=60_000)
TEXT = b"".join(_text)

FORMATS = {"gzip": 31, "zlib": 15}


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors() -> int:
    """Open files of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


class Storm:
    """What goes on in one.

    :param count: operations
    :param largest: bytes of the largest input
    :ivar ended: how they ended -> how many
    :ivar memory: bytes of the process in memory, at each tenth of the way
    """

    def __init__(self, acc: Accelerator, count: int, *, seed: int, largest: int = 1 << 15) -> None:
        self.ended: Counter[str] = Counter()
        self.memory: list[int] = []
        self._acc = acc
        self._left = self._count = count
        self._chance = random.Random(seed)
        self._largest = largest
        self._victims: dict[anyio.CancelScope, None] = {}
        self._watched: deque[tuple[bytearray, bytes]] = deque()
        self._kinds: list[Callable[[bytes, str], Awaitable[None]]] = [
            self._compress, self._compress, self._decompress, self._into, self._back_into, self._execute, self._many,
        ]  # fmt: skip

    async def run(self) -> None:
        """All of them; what is wrong raises."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._cancel)
            async with anyio.create_task_group() as clients:
                for _ in range(CLIENTS):
                    clients.start_soon(self._client)
            group.cancel_scope.cancel()
        while self._watched:
            self._look_at_oldest()

    async def _client(self) -> None:
        while self._left > 0:
            self._left -= 1
            if self._left % (self._count // 10) == 0:
                self.memory.append(resident())
            await self._one()

    async def _one(self) -> None:
        kind, algorithm = self._chance.choice(self._kinds), self._chance.choice(list(FORMATS))
        size = int(self._largest ** self._chance.random())
        start = self._chance.randrange(len(TEXT) - self._largest)
        with anyio.CancelScope() as scope:
            if self._chance.randrange(100) < CANCELLED:
                self._victims[scope] = None
            await kind(TEXT[start : start + size], algorithm)
        self._victims.pop(scope, None)
        self.ended["cancelled" if scope.cancelled_caught else "done"] += 1

    async def _cancel(self) -> None:
        """Cancels in each turn of the loop some of those that were chosen."""
        while True:
            await anyio.lowlevel.checkpoint()
            for scope in list(self._victims):
                if self._chance.random() < 0.5:
                    del self._victims[scope]
                    scope.cancel()

    async def _compress(self, data: bytes, algorithm: str) -> None:
        output = await self._acc.compress(data, algorithm)
        assert zlib.decompress(output, FORMATS[algorithm]) == data

    async def _decompress(self, data: bytes, algorithm: str) -> None:
        encoder = zlib.compressobj(1, zlib.DEFLATED, FORMATS[algorithm])
        assert await self._acc.decompress(encoder.compress(data) + encoder.flush(), algorithm) == data

    async def _into(self, data: bytes, algorithm: str) -> None:
        content = await self._output(
            len(data) + 64, partial(self._acc.compress_into, data), algorithm, len(data)
        )
        assert content is None or zlib.decompress(content, FORMATS[algorithm]) == data

    async def _back_into(self, data: bytes, algorithm: str) -> None:
        encoder = zlib.compressobj(1, zlib.DEFLATED, FORMATS[algorithm])
        packed = bytearray(encoder.compress(data) + encoder.flush())
        content = await self._output(
            len(data), partial(self._acc.decompress_into, packed), algorithm, len(data)
        )
        assert content is None or content == data
        packed.append(0)  # nobody holds it any more

    async def _output(
        self, enough: int, fill: Callable[[memoryview, str], Awaitable[int]], algorithm: str, size: int
    ) -> bytes | None:
        """What an operation put into memory of the caller's; ``None``: there was too little room, as there is sometimes.

        A buffer may not change once the await has ended, however it ended.
        """
        room = enough if self._chance.random() < 0.8 else size // 8
        memory = bytearray(GUARD + bytes(room) + GUARD)
        try:
            with memoryview(memory)[len(GUARD) : -len(GUARD)] as buffer:
                produced = await fill(buffer, algorithm)
            return bytes(memory[len(GUARD) : len(GUARD) + produced])
        except OutOfSpace:
            assert room < size
            return None
        finally:
            assert memory.startswith(GUARD)
            assert memory.endswith(GUARD)
            self._watched.append((memory, bytes(memory)))
            if len(self._watched) > WATCHED:
                self._look_at_oldest()

    def _look_at_oldest(self) -> None:
        memory, before = self._watched.popleft()
        assert memory == before, "somebody wrote into a buffer after its await had ended"
        memory.extend(b"nobody holds it any more")

    async def _execute(self, data: bytes, algorithm: str) -> None:
        result = await self._acc.execute(Compress([data, data[:10]], algorithm))
        assert result.output is not None
        assert result.produced == len(result.output)
        assert zlib.decompress(result.output, FORMATS[algorithm]) == data + data[:10]

    async def _many(self, data: bytes, algorithm: str) -> None:
        parts = [data[:100], data[100:300], b""]
        outputs = await self._acc.compress_many(parts, algorithm)
        assert [zlib.decompress(output, FORMATS[algorithm]) for output in outputs] == parts


async def settle(acc: Accelerator) -> None:
    """Until the device has given back what cancelled callers left to it."""
    with anyio.fail_after(30):
        while acc.statistics().in_flight:
            await anyio.sleep(0.001)


async def weather(acc: Accelerator, count: int, *, seed: int, largest: int = 1 << 15) -> Storm:
    """A storm, and what has to hold afterwards."""
    storm = Storm(acc, count, seed=seed, largest=largest)
    await storm.run()
    await settle(acc)
    statistics = acc.statistics()
    assert storm.ended.total() == count, "an operation was lost"
    assert storm.ended["cancelled"] > count * CANCELLED / 1000, "hardly any was cancelled"
    assert statistics.rescues == 0
    for lane in statistics.lanes:
        assert (lane.in_flight, lane.parked, lane.spurious, lane.resets) == (0, 0, 0, 0)
        assert lane.queue.in_flight == 0
        assert lane.queue.enqueued == lane.queue.dequeued + lane.queue.withdrawn
        assert lane.state == "open"
    assert zlib.decompress(await acc.compress(TEXT, "zlib")) == TEXT
    return storm
