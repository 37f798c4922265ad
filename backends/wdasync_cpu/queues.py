"""The queue of the CPU backend: a thin dress over the C side's builtin functions."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence

from wdasync.backend import Completion, QueueStatistics
from wdasync.operations import Operation, Priority

from . import binding, threads

__all__ = ["CpuQueue"]


class CpuQueue:
    """See :class:`wdasync.backend.Queue`. Workers serve a queue of a higher priority first.

    No queue starves: one take in 16 begins with NORMAL queues, and one in 64 with LOW ones. Among queues of one
    priority it goes round.
    """

    def __init__(self, desk: object, depth: int, priority: Priority) -> None:
        port, self._descriptor = binding.open_port(desk, depth, priority)
        self.depth = depth
        self._closed = False
        self._process = os.getpid()
        self._enqueue, self._dequeue, self._arm, self._withdraw, self._stop, self._close, self._counters = (
            binding.methods(port)
        )

    def __repr__(self) -> str:
        return f"<CpuQueue {self._counters()['in_flight']}/{self.depth} in flight>"

    def __del__(self) -> None:
        if not getattr(self, "_closed", True) and self._process == os.getpid():
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)

    def enqueue_burst(self, entries: Sequence[tuple[int, Operation]]) -> int:
        return self._enqueue(entries)  # type: ignore[no-any-return]  # a builtin function of the C side

    def dequeue_burst(self, limit: int) -> Sequence[Completion]:
        return self._dequeue(limit)  # type: ignore[no-any-return]  # a builtin function of the C side

    def fileno(self) -> int:
        return self._descriptor

    def arm(self) -> bool:
        return self._arm()  # type: ignore[no-any-return]  # a builtin function of the C side

    def withdraw(self, tag: int) -> bool:
        return self._withdraw(tag)  # type: ignore[no-any-return]  # a builtin function of the C side

    def stop(self) -> None:
        self._stop()

    def close(self) -> None:
        self._closed = True
        self._close()

    def statistics(self) -> QueueStatistics:
        counters = self._counters()
        extra = {name: counters.pop(name) for name in ("copies", "python", "paged", "batched", "direct")}
        return QueueStatistics(**counters, extra=extra | {"thread_failures": threads.failures()})
