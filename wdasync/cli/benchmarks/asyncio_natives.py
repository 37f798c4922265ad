"""What asyncio offers by itself, and uvloop, which is asyncio to its users."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

__all__ = ["AsyncioNatives"]


class AsyncioNatives:
    """See :class:`~wdasync.cli.benchmarks.loops.Natives`.

    :param threads: of the pool
    """

    def __init__(self, threads: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="bench")
        self._parked: list[asyncio.Future[None]] = []
        self.to_thread: Callable[..., Awaitable[object]] = asyncio.to_thread
        self.in_pool: Callable[..., Awaitable[object]] = partial(self._loop.run_in_executor, self._pool)
        self.checkpoint: Callable[[], Awaitable[object]] = partial(asyncio.sleep, 0)

    def park(self) -> Awaitable[object]:
        """A future; the first one of a turn asks that all of them be resolved after it."""
        future = self._loop.create_future()
        if not self._parked:
            self._loop.call_soon(self._resolve)
        self._parked.append(future)
        return future

    def _resolve(self) -> None:
        parked, self._parked = self._parked, []
        for future in parked:
            if not future.done():  # cancelled
                future.set_result(None)

    def close(self) -> None:
        """End the pool."""
        self._pool.shutdown(wait=False, cancel_futures=True)
