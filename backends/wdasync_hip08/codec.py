"""Deflating in the native workers of the CPU backend.

Who has opened the queue that the work is of has a queue of those workers too, and its event loop is woken by that: nobody
waits for the event loop of another.

They need no lock of the interpreter, so they work while the event loop's thread goes on with the chip. A Python thread
would contend with it: each time that it takes up work or has done some, one of the two waits for the other.
"""

from __future__ import annotations

from dataclasses import dataclass

from wdasync.backend import Completion, DeviceInfo
from wdasync.errors import BackendUnavailable, Status
from wdasync.operations import Operation
from wdasync_cpu.backend import available
from wdasync_cpu.devices import CpuDevice, crews
from wdasync_cpu.queues import CpuQueue
from wdasync_hip08.engines.deflate import Deflation
from wdasync_hip08.tasks import Task

__all__ = ["CodecWorkers"]

#: Operations that may wait in the queue; what finds no room is done otherwise.
DEPTH = 256


@dataclass(slots=True)
class _Job:
    task: Task
    work: Deflation


class CodecWorkers:
    """A queue of the CPU backend. Used under the machine's lock only."""

    def __init__(self) -> None:
        self._queue: CpuQueue | None = None
        self._jobs: dict[int, _Job] = {}
        self._held: list[tuple[int, Operation]] = []
        self._tag = 0

    def open(self) -> int | None:
        """Open the queue; the descriptor that becomes readable when something is done. ``None``: it cannot be had."""
        device = CpuDevice(DeviceInfo("cpu", "cpu0", ""), available(), *crews(), 1, None)
        try:
            self._queue = device.open_queue(DEPTH)
        except BackendUnavailable:
            return None
        return self._queue.fileno()

    @property
    def tasks(self) -> list[Task]:
        """Whose work is under way."""
        return [job.task for job in self._jobs.values()]

    @property
    def opened(self) -> bool:
        """Whether there is a queue."""
        return self._queue is not None

    def submit(self, task: Task, work: Deflation) -> bool:
        """Let a worker do it: the first at once, more with the next :meth:`kick`. False: there is no room, or no queue."""
        queue = self._queue
        if queue is None or len(self._jobs) >= DEPTH:
            return False
        self._tag += 1
        self._held.append((self._tag, work.operation()))
        self._jobs[self._tag] = _Job(task, work)
        if len(self._jobs) == 1:
            self.kick()
        return True

    def kick(self) -> None:
        """Give the workers what is held back: together it costs one wake."""
        if self._held and self._queue is not None:
            del self._held[: self._queue.enqueue_burst(self._held)]

    def collect(self) -> list[tuple[Task, object]]:
        """What is done since the last call, with its results; if there is nothing, the descriptor will tell."""
        queue = self._queue
        if queue is None or not self._jobs:
            return []
        completions = queue.dequeue_burst(DEPTH)
        if not completions and not queue.arm():
            completions = queue.dequeue_burst(DEPTH)
        return [self._result(completion) for completion in completions]

    def _result(self, completion: Completion) -> tuple[Task, object]:
        job = self._jobs.pop(completion.tag)
        if completion.status is not Status.SUCCESS or completion.output is None:
            return job.task, job.work.run()  # Out of memory, for one.
        return job.task, job.work.result(completion.output)

    def close(self) -> None:
        """Give the queue back; waits for what a worker has in hand."""
        queue, self._queue = self._queue, None
        if queue is not None:
            queue.stop()
            while queue.dequeue_burst(DEPTH):
                pass
            queue.close()
        self._jobs.clear()
        self._held.clear()

    def __repr__(self) -> str:
        return f"<CodecWorkers {len(self._jobs)} in work>"
