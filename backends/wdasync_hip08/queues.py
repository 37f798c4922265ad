"""A queue of the emulated device: the one of the driver, whose failures the model explains.

The engine's descriptor has a status byte, of which the public documents name five values. The driver, which knows no
more than they do, turns every other one into a general error. Behind a model more is known: the words in which the
engine gives up, and whether it did because memory was refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from wdasync.backend import Completion, Detail, QueueStatistics
from wdasync.errors import DataCause, Status
from wdasync_hip08.engines.zip import ZipStatus
from wdasync_hip08.kernel.uacce import OpenQueue
from wdasync_uacce import ZipQueue

__all__ = ["Hip08Queue"]

#: The engine's own status → what the framework is told.
MEANINGS: dict[ZipStatus, tuple[Status, DataCause | None]] = {
    ZipStatus.BAD_DATA: (Status.DATA_ERROR, DataCause.CORRUPT),
    ZipStatus.BAD_DESCRIPTOR: (Status.INVALID_ARGS, None),
    ZipStatus.MEMORY: (Status.PAGE_FAULT, None),
    ZipStatus.TRUNCATED: (Status.DATA_ERROR, DataCause.TRUNCATED),
}

#: What the driver says where the status byte tells it nothing.
GENERAL = (Status.DEVICE_ERROR, Status.DATA_ERROR)


class Hip08Queue:
    """A queue of the driver, over an opened queue of the model."""

    def __init__(self, queue: ZipQueue, file: OpenQueue) -> None:
        self._queue = queue
        self._file = file
        self.enqueue_burst = queue.enqueue_burst
        self.fileno = queue.fileno
        self.arm = queue.arm
        self.withdraw = queue.withdraw
        self.stop = queue.stop
        self.close = queue.close

    @property
    def depth(self) -> int:
        return self._queue.depth

    def dequeue_burst(self, limit: int) -> Sequence[Completion]:
        found = self._queue.dequeue_burst(limit)
        return [self._explain(each) for each in found] if self._file.failures else found

    def _explain(self, completion: Completion) -> Completion:
        """What the driver could not know. Failures and completions come in one order, that of the ring."""
        failures = self._file.failures
        detail = completion.detail
        if completion.status not in GENERAL or detail.cause is not None or not failures:
            return completion
        code, message = failures.popleft()
        while failures and code not in MEANINGS:
            code, message = failures.popleft()
        if code not in MEANINGS:
            return completion
        status, cause = MEANINGS[ZipStatus(code)]
        known = Detail(message, cause=cause, where=detail.where, faults=detail.faults, final=detail.final)
        return completion._replace(status=status, detail=known)

    def statistics(self) -> QueueStatistics:
        counters = self._queue.statistics()
        return replace(counters, wakes=self._file.wakes)

    def __repr__(self) -> str:
        return f"<Hip08Queue {self._queue!r} on {self._file!r}>"
