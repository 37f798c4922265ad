"""What trio offers by itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import trio
from trio.lowlevel import Abort, Task, reschedule, wait_task_rescheduled

__all__ = ["TrioNatives"]


class TrioNatives:
    """See :class:`~wdasync.cli.benchmarks.loops.Natives`.

    :param threads: of the pool
    """

    def __init__(self, threads: int) -> None:
        limiter = trio.CapacityLimiter(threads)
        self._parked: list[Task] = []
        self._idle = False
        self._waker = trio.lowlevel.spawn_system_task(self._wake)
        self.to_thread: Callable[..., Awaitable[object]] = trio.to_thread.run_sync
        self.in_pool: Callable[..., Awaitable[object]] = partial(trio.to_thread.run_sync, limiter=limiter)
        self.checkpoint: Callable[[], Awaitable[object]] = trio.lowlevel.checkpoint

    async def park(self) -> None:
        """Sleep until the waker has run, which the first one of a turn wakes."""
        task = trio.lowlevel.current_task()

        def abort(_: object) -> Abort:
            self._parked.remove(task)
            return Abort.SUCCEEDED

        self._parked.append(task)
        if self._idle:
            self._idle = False
            reschedule(self._waker)
        await wait_task_rescheduled(abort)

    async def _wake(self) -> None:
        """Wake all that parked, in the next turn: trio has nothing like asyncio's ``call_soon``."""
        while True:
            parked, self._parked = self._parked, []
            for task in parked:
                reschedule(task)
            self._idle = True
            await wait_task_rescheduled(self._abort_waker)

    def _abort_waker(self, _: object) -> Abort:
        self._idle = False
        return Abort.SUCCEEDED

    def close(self) -> None:
        """Nothing: trio's idle threads end by themselves, and its system tasks with it."""
