"""The accelerator in poll mode: work from a ring into a device's queue in bursts, and completions out of it in bursts.

The queue is wdasync's own contract, :class:`wdasync.backend.Queue`; there is no event loop and no await between it and the proxy. What a
queue does not take stays here, in order. The output of a whole body is written by the device into a pooled buffer, behind the headroom
that the response's head will need. If there is no buffer, the body goes as it is: that is counted, and nobody waits for those who read slowly.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from wdasync import Compress, Flush, Kind, Operation, PolledDevice, Status
from wdasync.backend import Completion, Direction, Queue, StreamSpec
from wdasync.errors import WdasyncError
from wdasync.integrations.codings import ALGORITHMS
from wdasync.operations import CompressChunk

from .connection import Connection
from .figures import Figures
from .mempool import Mbuf, Mempool
from .options import Options
from .ring import Ring
from .work import Stream, Work

__all__ = ["Done", "Offload"]


class Done(NamedTuple):
    """Work that has ended.

    :ivar output: what came out; ``None``: nothing, the body goes as it is
    """

    connection: Connection
    work: Work
    output: Mbuf | bytes | None


class _Flying(NamedTuple):
    """Work that the device has."""

    connection: Connection
    work: Work
    mbuf: Mbuf | None


class _Lane:
    """One queue of the device."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.held: list[tuple[int, Operation]] = []


class Offload:
    """The way to the accelerator and back.

    :ivar ring: work that waits
    :ivar pool: buffers for the output
    """

    def __init__(self, polled: PolledDevice, options: Options, figures: Figures) -> None:
        self.ring: Ring[tuple[Connection, Work]] = Ring(options.ring)
        self.pool = Mempool(options.mbufs, options.policy.room)
        self._polled = polled
        self._level = options.policy.level
        self._figures = figures
        self._late: deque[tuple[Connection, Work]] = deque()
        self._done: list[Done] = []
        self._flying: dict[int, _Flying] = {}
        self._tag = 0
        self._lanes: dict[str, _Lane] = {}
        for row in polled.device.capabilities:
            if row.kind in (Kind.COMPRESS, Kind.COMPRESS_CHUNK) and row.queue_class not in self._lanes:
                queue = polled.open_queue(queue_class=row.queue_class)
                self._lanes[row.queue_class] = _Lane(queue)

    @property
    def queues(self) -> list[Queue]:
        """The device's queues."""
        return [lane.queue for lane in self._lanes.values()]

    @property
    def flying(self) -> int:
        """Operations that the device has, or that wait until it takes them."""
        return len(self._flying)

    @property
    def waiting(self) -> bool:
        """Whether there is something to be done that nothing will wake us for, such as a queue that did not take everything."""
        return bool(self._done or self._late or len(self.ring)) or any(
            lane.held for lane in self._lanes.values()
        )

    @property
    def lost(self) -> bool:
        """Whether the device is gone."""
        return self._polled.device.lost is not None

    def put(self, connection: Connection, work: Work) -> None:
        """Some work. What does not fit into the ring, at most one for each connection, waits before it."""
        connection.work = work
        if work.stream is not None:
            connection.stream = work.stream
        if self._late or not self.ring.enqueue_bulk([(connection, work)]):
            self._late.append((connection, work))

    def submit(self, burst: int) -> int:
        """Work from the ring into the queues; how much left the ring."""
        held = sum(len(lane.held) for lane in self._lanes.values())
        taken = self.ring.dequeue_burst(max(0, burst - held))
        for connection, work in taken:
            if connection.work is work:
                self._prepare(connection, work)
        while self._late and self.ring.free_count:
            self.ring.enqueue_bulk([self._late.popleft()])
        for lane in self._lanes.values():
            if self.lost:
                self._give_up(lane)
            elif lane.held:
                del lane.held[: lane.queue.enqueue_burst(lane.held)]
        return len(taken)

    def reap(self, limit: int) -> list[Done]:
        """What has ended, up to a limit."""
        done = self._done[:limit]
        del self._done[:limit]
        for lane in self._lanes.values():
            for completion in lane.queue.dequeue_burst(limit - len(done)):
                flying = self._flying.pop(completion.tag)
                output = _output(completion, flying)
                done.append(Done(flying.connection, flying.work, output))
                self._figures.plain += output is None
        return list(self._current(done))

    def forget(self, connection: Connection) -> None:
        """Nobody waits for its work any more. What the device works on, it may finish; its buffer is held until then."""
        work, connection.work = connection.work, None
        for tag, flying in list(self._flying.items()) if work is not None else ():
            if flying.work is work and any(self._withdraw(lane, tag) for lane in self._lanes.values()):
                del self._flying[tag]
                if flying.mbuf is not None:
                    flying.mbuf.free()
                work = None
        if connection.stream is not None and all(flying.work is not work for flying in self._flying.values()):
            self._close(connection.stream)

    def _current(self, done: list[Done]) -> Iterator[Done]:
        """Those whose connection still waits for them. Of the others all is given back."""
        for it in done:
            if it.connection.work is it.work:
                it.connection.work = None
                if it.work.stream is not None and it.work.flush is Flush.FINISH:
                    self._close(it.work.stream)
                    it.connection.stream = None
                yield it
                continue
            if isinstance(it.output, Mbuf):
                it.output.free()
            if it.work.stream is not None:
                self._close(it.work.stream)

    def _prepare(self, connection: Connection, work: Work) -> None:
        """Make an operation of it, for the lane of its kind."""
        kind = Kind.COMPRESS if work.stream is None else Kind.COMPRESS_CHUNK
        row = self._polled.device.capabilities.find(kind, ALGORITHMS[work.coding])
        if row is None or self.lost:
            self._figures.plain += 1
            self._done.append(Done(connection, work, None))
            return
        mbuf = self.pool.get() if work.stream is None else None
        if mbuf is None and work.stream is None:
            self._figures.bypassed += 1
            self._done.append(Done(connection, work, None))
            return
        try:
            operation = self._operation(work, mbuf)
        except WdasyncError:  # there is no session to be had
            self._done.append(Done(connection, work, None))
            return
        self._tag = (self._tag + 1) & 0xFFFFFFFF
        self._flying[self._tag] = _Flying(connection, work, mbuf)
        self._lanes[row.queue_class].held.append((self._tag, operation))
        self._figures.operations += 1

    def _operation(self, work: Work, mbuf: Mbuf | None) -> Operation:
        algorithm = ALGORITHMS[work.coding]
        if mbuf is not None:
            # A body that does not get smaller is out of space, and goes as it is.
            return Compress(work.pieces, algorithm, level=self._level, into=mbuf.room()[: work.nbytes - 1])
        assert work.stream is not None
        if work.stream.handle is None:
            spec = StreamSpec(Direction.COMPRESS, algorithm, self._level)
            work.stream.handle = self._polled.device.open_session(spec)
        return CompressChunk(work.stream.handle, work.pieces, work.flush)

    def _give_up(self, lane: _Lane) -> None:
        """The device is gone: what it was not given yet goes as it is."""
        for tag, _ in lane.held:
            flying = self._flying.pop(tag)
            if flying.mbuf is not None:
                flying.mbuf.free()
            self._done.append(Done(flying.connection, flying.work, None))
        lane.held.clear()

    @staticmethod
    def _withdraw(lane: _Lane, tag: int) -> bool:
        before = len(lane.held)
        lane.held = [entry for entry in lane.held if entry[0] != tag]
        return len(lane.held) < before or lane.queue.withdraw(tag)

    @staticmethod
    def _close(stream: Stream) -> None:
        handle, stream.handle = stream.handle, None
        if handle is not None:
            handle.close()


def _output(completion: Completion, flying: _Flying) -> Mbuf | bytes | None:
    """What came out of an operation."""
    mbuf, good = flying.mbuf, completion.status is Status.SUCCESS
    if mbuf is None:
        return (completion.output or b"") if good else None
    if not good:
        mbuf.free()
        return None
    mbuf.append(completion.produced)
    return mbuf
