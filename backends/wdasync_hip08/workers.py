"""Threads for the heavy work of the engines."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

from wdasync_hip08.tasks import Task, Work

__all__ = ["Workers"]


class Workers:
    """A few threads that do :class:`Work` and tell about it. They start with the first work.

    :param count: how many
    :param finished: called in a worker's thread with the task and its result
    """

    def __init__(self, count: int, finished: Callable[[Task, object], None]) -> None:
        self._count = count
        self._finished = finished
        self._jobs: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def submit(self, task: Task, work: Work) -> None:
        """Do this work in one of the threads."""
        self.call(lambda: self._finished(task, work.run()))

    def call(self, job: Callable[[], object]) -> None:
        """Call something in one of the threads."""
        if len(self._threads) < self._count:
            thread = threading.Thread(
                target=self._run, name=f"hip08-engine-{len(self._threads)}", daemon=True
            )
            self._threads.append(thread)
            thread.start()
        self._jobs.put(job)

    def here(self) -> bool:
        """Whether the calling thread is one of them."""
        return threading.current_thread() in self._threads

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            del job  # It holds buffers.

    def close(self) -> None:
        """Stop, when what was submitted is done."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def __repr__(self) -> str:
        return f"<Workers {len(self._threads)} of {self._count}, {self._jobs.qsize()} waiting>"
