"""A companion: a task beside the one that starts it, in no task group. It ends when its starter says so, and waits for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

from .eventloop import begin

__all__ = ["Companion"]


class Companion:
    """Runs a function until it returns, or :meth:`stop`. A task group costs whoever might need one; this, only who does.

    :param function: its errors are its own affair: it raises none
    """

    def __init__(self, function: Callable[[], Awaitable[None]]) -> None:
        self._function = function
        self._scope = anyio.CancelScope()
        self._ended = anyio.Event()
        begin(self._run, self._ended.set)

    async def _run(self) -> None:
        with self._scope:
            await self._function()

    def stop(self) -> None:
        """Cancel it. Idempotent."""
        self._scope.cancel()

    async def aclose(self) -> None:
        """Cancel it, and wait for its end. Idempotent."""
        self._scope.cancel()
        with anyio.CancelScope(shield=True):
            await self._ended.wait()
