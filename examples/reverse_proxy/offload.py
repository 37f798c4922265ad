"""Compression in poll mode: work from a ring to the devices in bursts, and completions out of them in bursts.

The output of a whole body is written by the device into a pooled buffer, behind the headroom that the response's head will need. If there is
no buffer, the body goes as it is: that is counted, and nobody waits for those who read slowly. If a device fails, the next one does it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, cast

from wdasync import Compress, Flush, Kind, Operation, PolledDevice, Status
from wdasync.backend import Completion
from wdasync.integrations.codings import ALGORITHMS, PREFERENCE
from wdasync.operations import Level

from .connection import Connection
from .figures import Figures
from .flow import Flow
from .lanes import Lanes
from .mempool import Mbuf, Mempool
from .options import Options
from .policy import able
from .ring import Ring
from .work import Stream, Work

__all__ = ["NEEDS", "Done", "Offload"]

KINDS: Final = (Kind.COMPRESS, Kind.COMPRESS_CHUNK)

#: What a device may be good for here.
NEEDS: Final = tuple((kind, ALGORITHMS[coding]) for kind in KINDS for coding in PREFERENCE)


class Done(NamedTuple):
    """Work that has ended.

    :ivar output: what came out; ``None``: nothing, the body goes as it is
    """

    connection: Connection
    work: Work
    output: Mbuf | bytes | None


class _Whole:
    """A body that is compressed in one operation, into a buffer."""

    def __init__(self, connection: Connection, work: Work, mbuf: Mbuf, level: Level) -> None:
        self.connection, self.work = connection, work
        self.mbuf, self._level = mbuf, level

    def offer(self, polled: PolledDevice, *, moving: bool) -> Operation | None:
        del moving  # it belongs to none
        work, algorithm = self.work, ALGORITHMS[self.work.coding]
        if polled.device.capabilities.find(Kind.COMPRESS, algorithm) is None:
            return None
        # A body that does not get smaller is out of space, and goes as it is.
        into = self.mbuf.room()[: work.nbytes - 1]
        return Compress(work.pieces, algorithm, level=self._level, into=into)

    def output(self, completion: Completion | None) -> Mbuf | None:
        if completion is None or completion.status is not Status.SUCCESS:
            self.drop()
            return None
        self.mbuf.append(completion.produced)
        return self.mbuf

    def drop(self) -> None:
        self.mbuf.free()


class _Piece:
    """A step of a body that is compressed in pieces."""

    def __init__(self, connection: Connection, work: Work, flow: Flow) -> None:
        self.connection, self.work, self._flow = connection, work, flow
        flow.take(work.pieces, work.flush)

    def offer(self, polled: PolledDevice, *, moving: bool) -> Operation | None:
        return self._flow.offer(polled, moving=moving)

    def output(self, completion: Completion | None) -> bytes | None:
        if completion is None or completion.status is not Status.SUCCESS:
            return None
        return self._flow.made(completion.output or b"")

    def drop(self) -> None:
        pass  # its stream is closed with its connection


class Offload:
    """The way to the accelerators and back.

    :param devices: best first
    :ivar ring: work that waits
    :ivar pool: buffers for the output
    :ivar lanes: the devices' queues
    """

    def __init__(self, devices: Sequence[PolledDevice], options: Options, figures: Figures) -> None:
        self.ring: Ring[tuple[Connection, Work]] = Ring(options.ring)
        self.pool = Mempool(options.mbufs, options.policy.room)
        self.lanes: Lanes[_Whole | _Piece] = Lanes(devices, KINDS, options.policy.limits.device / 2)
        self._movable = len(devices) > 1
        self._level = options.policy.level
        self._figures = figures
        self._late: deque[tuple[Connection, Work]] = deque()
        self._done: list[Done] = []
        self._jobs: dict[Connection, _Whole | _Piece] = {}

    @property
    def waiting(self) -> bool:
        """Whether there is something to be done that nothing will wake us for."""
        return bool(self._done or self._late or len(self.ring) or self.lanes.waiting)

    @property
    def offers(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The codings that devices can do now: for bodies at once, and in pieces."""
        tables = [polled.device.capabilities for polled in self.lanes.devices]
        return able(tables, Kind.COMPRESS), able(tables, Kind.COMPRESS_CHUNK)

    def put(self, connection: Connection, work: Work) -> None:
        """Some work. What does not fit into the ring, at most one for each connection, waits before it."""
        connection.work = work
        if work.stream is not None:
            connection.stream = work.stream
        if self._late or not self.ring.enqueue_bulk([(connection, work)]):
            self._late.append((connection, work))

    def submit(self, burst: int) -> int:
        """Work from the ring into the queues; how much left the ring."""
        taken = self.ring.dequeue_burst(max(0, burst - self.lanes.held))
        for connection, work in taken:
            if connection.work is work:
                self._prepare(connection, work)
        while self._late and self.ring.free_count:
            self.ring.enqueue_bulk([self._late.popleft()])
        self.lanes.submit()
        return len(taken)

    def reap(self, limit: int) -> list[Done]:
        """What has ended, up to a limit."""
        done = self._done[:limit]
        del self._done[:limit]
        for job, completion in self.lanes.reap(limit - len(done)):
            if self._jobs.get(job.connection) is job:
                del self._jobs[job.connection]
            output = job.output(completion)
            done.append(Done(job.connection, job.work, output))
            self._figures.plain += output is None
        return list(self._current(done))

    def forget(self, connection: Connection) -> None:
        """Nobody waits for its work any more. What the device works on, it may finish; its buffer is held until then."""
        connection.work = None
        job = self._jobs.pop(connection, None)
        if job is not None:
            if not self.lanes.withdraw(job):
                return
            job.drop()
        if connection.stream is not None:
            _close(connection.stream)

    def _current(self, done: list[Done]) -> Iterator[Done]:
        """Those whose connection still waits for them. Of the others all is given back."""
        for it in done:
            if it.connection.work is it.work:
                it.connection.work = None
                if it.work.stream is not None and it.work.flush is Flush.FINISH:
                    _close(it.work.stream)
                    it.connection.stream = None
                yield it
                continue
            if isinstance(it.output, Mbuf):
                it.output.free()
            if it.work.stream is not None:
                _close(it.work.stream)

    def _prepare(self, connection: Connection, work: Work) -> None:
        """Make a job of it."""
        job: _Whole | _Piece
        if work.stream is None:
            mbuf = self.pool.get()
            if mbuf is None:
                self._figures.bypassed += 1
                self._done.append(Done(connection, work, None))
                return
            job = _Whole(connection, work, mbuf, self._level)
        else:
            job = _Piece(connection, work, self._flow(work.stream))
        self._jobs[connection] = job
        self.lanes.put(job)
        self._figures.operations += 1

    def _flow(self, stream: Stream) -> Flow:
        if stream.handle is None:
            stream.handle = Flow(ALGORITHMS[stream.coding], self._level, movable=self._movable)
        return cast("Flow", stream.handle)


def _close(stream: Stream) -> None:
    handle, stream.handle = stream.handle, None
    if handle is not None:
        handle.close()
