"""The only code that knows asyncio from trio: park a task, wake it, watch a descriptor, run a service.

One :class:`EventLoop` belongs to one accelerator. Everything above it is the same on asyncio, uvloop and trio.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Any, Protocol

from ..errors import ForeignLoopError

__all__ = [
    "EventLoop",
    "Parkable",
    "TimerHandle",
    "begin",
    "current_event_loop",
    "empty_context",
    "loop_locals",
    "whereabouts",
]

#: Callbacks of the loop run in this context: in the context of whoever happened to come first, all later
#: completions would see the first request's variables.
empty_context = Context()


class Parkable(Protocol):
    """What a task can be parked on. ``waiter`` belongs to the event loop, ``completion`` to the waker."""

    waiter: Any
    raise_cancel: Any
    completion: Any

    def abandon(self) -> bool:
        """The task was cancelled. True: it may go at once. False: it must wait for the completion."""


class TimerHandle(Protocol):
    """A call that was put off."""

    def cancel(self) -> None:
        """Do not call."""


class EventLoop(Protocol):
    """What the framework needs of an event loop.

    :ivar level_cancellation: a task that is cancelled must hear of it at each await, also at one that does not suspend it
    :ivar running: gives what stands for the event loop of this kind that runs in the calling thread; ``None``: none does
    :ivar own: what stands for this one
    """

    name: str
    level_cancellation: bool
    running: Callable[[], object]
    own: object

    def is_current(self) -> bool:
        """Whether the caller runs in this loop and its thread."""

    async def park(self, parkable: Parkable) -> Any:
        """Sleep until ``wake``; returns the value given to it. This is the checkpoint of an await.

        On cancellation ``abandon()`` decides: the task goes at once, or stays, shielded, until it is woken,
        and the cancellation is raised then.
        """

    def wake(self, parkable: Parkable, value: Any) -> None:
        """Let the task go on with ``value``. At most once for each ``park``."""

    async def checkpoint_if_cancelled(self) -> None:
        """Raise a cancellation that is pending; otherwise go on without yielding."""

    async def checkpoint(self) -> None:
        """Yield to the loop once."""

    def at_turn_end(self, callback: Callable[[], None]) -> None:
        """Call after the tasks that are ready now have run, before the loop sleeps."""

    def call_later(self, seconds: float, callback: Callable[[], None]) -> TimerHandle:
        """Call once, later."""

    def in_background(
        self, function: Callable[[], Any], then: Callable[[Any, BaseException | None], None]
    ) -> None:
        """Call ``function`` in a thread, then ``then(result, error)`` in the loop. Nothing cancels it."""

    def watch(self, fd: int, callback: Callable[[], None], look_again: Callable[[], None]) -> None:
        """Register ``fd``; call ``callback`` whenever it is readable, and ``look_again`` after each registration that
        may have eaten its readiness. With one registration for good, that is never.

        :raises Exception: that tells why ``fd`` cannot be watched: it is closed, of a file that is always ready, watched
            already, or no descriptor
        """

    def unwatch(self, fd: int) -> None:
        """Forget ``fd``. Must come before it is closed."""

    def protect(self, function: Callable[..., Any]) -> None:
        """Let no KeyboardInterrupt into ``function``: it changes state that belongs together."""

    async def start(
        self, at_shutdown: Callable[[], Awaitable[None]] | None, at_close: Callable[[bool], None]
    ) -> None:
        """Begin service.

        :param at_shutdown: runs when the event loop ends before ``stop`` was called
        :param at_close: is called when the event loop was closed before ``stop`` was called, and will never run again;
            true: that was in order, for it was too late for ``at_shutdown``
        """

    def spawn(self, function: Callable[[], Awaitable[None]], context: Context) -> None:
        """Run a coroutine function in the background, in ``context``, until ``stop``. It must not raise."""

    async def stop(self) -> None:
        """End service and join what was spawned."""

    def forget(self, then: Callable[[], None]) -> None:
        """End service without being waited for; afterwards ``then`` is called, in a thread, or here if the loop is gone."""


def _running_trio() -> Any:
    """The trio module, if this thread runs one of its tasks."""
    trio = sys.modules.get("trio")
    # Another thread may be just importing it: it has no parts then, and nobody runs it.
    in_task = getattr(getattr(trio, "lowlevel", None), "in_trio_task", None)
    return trio if in_task is not None and in_task() else None


def _running_asyncio() -> Any:
    """The asyncio loop that runs in this thread."""
    asyncio = sys.modules.get("asyncio")
    try:
        return asyncio.get_running_loop() if asyncio is not None else None
    except RuntimeError:
        return None


def _none_runs() -> ForeignLoopError:
    return ForeignLoopError(
        "expected to be called inside a running asyncio or trio event loop, got none in this thread; "
        "call it from a coroutine"
    )


def whereabouts() -> str:
    """The event loop and the thread of the caller, for errors."""
    thread = f"thread {threading.current_thread().name}"
    if _running_trio() is not None:
        return f"a trio task in {thread}"
    loop = _running_asyncio()
    return f"no event loop in {thread}" if loop is None else f"the asyncio loop at {id(loop):#x} in {thread}"


def current_event_loop() -> EventLoop:
    """An :class:`EventLoop` on the event loop that runs in this thread.

    :raises ForeignLoopError: if none runs here
    """
    if _running_trio() is not None:
        from ._trio import TrioLoop

        return TrioLoop()
    if _running_asyncio() is not None:
        from ._asyncio import AsyncioLoop

        return AsyncioLoop()
    raise _none_runs()


def begin(function: Callable[[], Awaitable[None]], then: Callable[[], None]) -> None:
    """Start a task that belongs to no nursery, in a copy of the caller's context. The event loop holds it until it ends.

    :param then: is called when it has ended, even if it was cancelled before it began
    :raises ForeignLoopError: if none runs here
    """
    if _running_trio() is not None:
        from ._trio import begin as start
    elif _running_asyncio() is not None:
        from ._asyncio import begin as start
    else:
        raise _none_runs()
    start(function, then)


def loop_locals() -> dict[str, Any]:
    """A dictionary that lives and dies with the event loop that runs in this thread.

    A table keyed by loops would keep every closed loop alive, since what is stored refers to the loop. So the
    dictionary hangs on the loop itself.

    :raises ForeignLoopError: if none runs here
    """
    if _running_trio() is not None:
        from ._trio import loop_locals as trio_locals

        return trio_locals()
    loop = _running_asyncio()
    if loop is None:
        raise _none_runs()
    try:
        found: dict[str, Any] = loop._wdasync
    except AttributeError:
        found = loop._wdasync = {}
    return found
