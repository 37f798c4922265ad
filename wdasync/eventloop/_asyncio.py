"""asyncio, and uvloop, which is asyncio to its users.

Facts this rests on:

* Exact ``asyncio.Future`` is the cheapest thing to park on; a subclass or an awaitable of our own costs half
  as much again.
* ``add_reader`` registers with epoll at once on asyncio, and at the next poll on uvloop; both keep the
  registration, level-triggered, until it is removed. So one registration at the start serves for life, and a
  descriptor whose readiness is consumed by polling loses nothing, provided that it is armed only after the
  first loop turn that follows.
* A reader and a ``call_soon`` run in the context they were given, otherwise in a copy of the caller's.
* Cancelling a task cancels the future it waits on, so a wait that must go on needs a new future.
* A loop that is closed lets go of its timers. That is the only thing that tells of ``loop.close()``: whether the loop
  is ever collected depends on others (anyio's tables of scopes keep a task that waits inside of one, and its loop).
"""

from __future__ import annotations

import asyncio
import threading
import types
import warnings
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import suppress
from contextvars import Context
from functools import partial
from typing import Any
from weakref import WeakSet

import anyio

from . import Parkable, TimerHandle, empty_context

__all__ = ["AsyncioLoop"]

#: Seconds; uvloop takes no more than a century.
FOREVER = 1e9


@types.coroutine
def _next_turn() -> Generator[None, None, None]:
    """What ``asyncio.sleep(0)`` does, in half the time: a task that yields nothing is called again in the next turn."""
    yield


class AsyncioLoop:
    """An :class:`~wdasync.eventloop.EventLoop` on the running asyncio loop."""

    level_cancellation = False
    running: staticmethod[[], object] = staticmethod(asyncio._get_running_loop)

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.own: object = self._loop
        self.name = "uvloop" if type(self._loop).__module__.partition(".")[0] == "uvloop" else "asyncio"
        self._context = empty_context.copy()
        self._tasks: set[asyncio.Task[None]] = set()
        self._watched: set[int] = set()
        self._stopping = False
        self._alarm: Callable[[], None] = _nothing
        self._thread = threading.current_thread().name

    def __repr__(self) -> str:
        return f"<{self.name} loop at {id(self._loop):#x} in thread {self._thread}>"

    def is_current(self) -> bool:
        return self.running() is self._loop

    async def park(self, parkable: Parkable) -> Any:
        future = parkable.waiter = self._loop.create_future()
        try:
            return await future
        except asyncio.CancelledError:
            if future.cancelled() and not parkable.abandon():
                await self._outstay(parkable)
            raise

    async def _outstay(self, parkable: Parkable) -> None:
        """Wait for the device in spite of cancellations: it may write into the caller's memory until then.

        The shield is for anyio's scopes, which would cancel again in every turn of the loop.
        """
        with anyio.CancelScope(shield=True):
            while parkable.completion is None:
                parkable.waiter = self._loop.create_future()
                try:
                    await parkable.waiter
                except asyncio.CancelledError:
                    continue

    def wake(self, parkable: Parkable, value: Any) -> None:
        future = parkable.waiter
        if not future.done():
            future.set_result(value)

    async def checkpoint_if_cancelled(self) -> None:
        """Asyncio delivers a cancellation at the next suspension; there is nothing to ask before."""

    checkpoint = staticmethod(_next_turn)

    def at_turn_end(self, callback: Callable[[], None]) -> None:
        self._loop.call_soon(callback, context=self._context)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> TimerHandle:
        return self._loop.call_later(seconds, callback, context=self._context)

    def in_background(
        self, function: Callable[[], Any], then: Callable[[Any, BaseException | None], None]
    ) -> None:
        def run() -> None:
            try:
                result, error = function(), None
            except BaseException as raised:  # noqa: BLE001  handed on
                result, error = None, raised
            with suppress(RuntimeError):  # the loop was closed meanwhile: nobody is there to be told
                self._loop.call_soon_threadsafe(then, result, error, context=self._context)

        try:
            threading.Thread(target=run, name="wdasync-background", daemon=True).start()
        except RuntimeError as error:  # no thread to be had
            self._loop.call_soon(then, None, error, context=self._context)

    def watch(self, fd: int, callback: Callable[[], None], look_again: Callable[[], None]) -> None:
        del look_again  # registered once and for good
        if fd in self._watched:  # asyncio would forget the first callback
            raise ValueError(f"descriptor {fd} is watched already, for another queue")
        empty_context.copy().run(self._loop.add_reader, fd, callback)
        self._watched.add(fd)

    def unwatch(self, fd: int) -> None:
        if fd in self._watched:
            self._watched.discard(fd)
            if not self._loop.is_closed():
                self._loop.remove_reader(fd)

    def protect(self, function: Callable[..., Any]) -> None:
        """Nothing to do: since Python 3.11 ``asyncio.run`` turns SIGINT into a cancellation."""

    async def start(
        self, at_shutdown: Callable[[], Awaitable[None]] | None, at_close: Callable[[bool], None]
    ) -> None:
        late = False
        if at_shutdown is not None:
            self._hook = _close_after_generators(at_shutdown)
            # A loop that has closed its generators already complains of another one.
            with warnings.catch_warnings(record=True) as complaints:
                warnings.simplefilter("always")
                begun = anext(self._hook)
            late = bool(complaints)
            await begun
        self._alarm = _when_closed(self._loop, partial(at_close, late))

    def spawn(self, function: Callable[[], Awaitable[None]], context: Context) -> None:
        """``asyncio.run`` cancels all tasks before the users' have cleaned up, ours too. Who was cancelled by
        somebody else than ``stop`` is therefore started again: what the clean-up awaits may need it.
        """

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if task.cancelled() and not self._stopping and not self._loop.is_closed():
                self.spawn(function, context)

        task = self._loop.create_task(_call(function), context=context)
        self._tasks.add(task)
        task.add_done_callback(ended)

    async def stop(self) -> None:
        self._stopping = True
        self._alarm()
        for fd in list(self._watched):
            self.unwatch(fd)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def forget(self, then: Callable[[], None]) -> None:
        if not self.is_current() and self._loop.is_running():
            self._loop.call_soon_threadsafe(self.forget, then)
            return
        self._stopping = True
        self._alarm()
        for fd in list(self._watched):
            self.unwatch(fd)
        if not self.is_current():
            if self._loop.is_closed():
                self._end_tasks()
            then()
            return
        left = set(self._tasks)

        def ended(task: asyncio.Task[None]) -> None:
            left.discard(task)
            if not left:
                self.in_background(then, _ignore)

        for task in self._tasks:
            task.add_done_callback(ended)
            task.cancel()
        if not left:
            self.in_background(then, _ignore)

    def _end_tasks(self) -> None:
        """Of a loop that will never run them again: else what they wait in, and what they hold, would stay for good."""
        while self._tasks:
            coroutine = self._tasks.pop().get_coro()
            assert coroutine is not None
            with suppress(Exception):  # a clean-up that wants the loop does not get it
                coroutine.close()


def _ignore(result: object, error: BaseException | None) -> None:
    """Nobody is there to be told."""


def _nothing() -> None:
    pass


def _when_closed(loop: asyncio.AbstractEventLoop, then: Callable[[], None]) -> Callable[[], None]:
    """Call ``then`` when the loop is closed: when it drops a timer that never goes off. What is returned puts that off.

    :param then: must not refer to what the loop keeps alive
    """

    def never() -> None:
        """Is dropped."""

    # Whoever holds the timer would keep what the loop has dropped.
    timer = weakref.ref(loop.call_later(FOREVER, never, context=empty_context.copy()))
    dropped = weakref.finalize(never, then)
    dropped.atexit = False

    def put_off() -> None:
        if dropped.detach() and (handle := timer()) is not None:
            handle.cancel()

    return put_off


async def _call(function: Callable[[], Awaitable[None]]) -> None:
    await function()


#: Tasks of nobody's: asyncio itself holds them weakly.
_begun: set[asyncio.Task[None]] = set()


def begin(function: Callable[[], Awaitable[None]], then: Callable[[], None]) -> None:
    def ended(task: asyncio.Task[None]) -> None:
        _begun.discard(task)
        then()

    task = asyncio.get_running_loop().create_task(_call(function))
    _begun.add(task)
    task.add_done_callback(ended)


async def _close_after_generators(close: Callable[[], Awaitable[None]]) -> AsyncGenerator[None, None]:
    """An async generator whose ``finally`` closes the default accelerator.

    ``asyncio.run`` first cancels and joins all tasks, then closes all async generators, at the same time, then
    the loop. A user's generator may still compress in its ``finally``; so this one, which is one of them, waits
    for the others. They are the tasks that ``shutdown_asyncgens`` made: wrappers round ``aclose()``.
    """
    try:
        yield
    finally:
        _closing.add(asyncio.current_task())
        while siblings := [task for task in asyncio.all_tasks() if _closes_a_generator(task)]:
            await asyncio.wait(siblings)
        await close()


#: Tasks that close default accelerators; they must not wait for one another.
_closing: WeakSet[Any] = WeakSet()


def _closes_a_generator(task: asyncio.Task[Any]) -> bool:
    """Whether this task closes an async generator of the user's."""
    if task in _closing:
        return False
    name = getattr(task.get_coro(), "__name__", "")
    return name == "_wrap_awaitable" or type(task.get_coro()).__name__ == "async_generator_athrow"
