"""trio.

Facts this rests on:

* ``wait_task_rescheduled`` and ``reschedule`` are what trio's own primitives are made of. The abort function is
  called once; when it answers FAILED, the task stays parked, and once it is rescheduled the cancellation must be
  raised by calling ``raise_cancel``. The task does that itself: an error that the waker captured would keep the
  waker's frames alive, and with them the operation that it happened to deal with last.
* trio's epoll registrations are one-shot: each ``wait_readable`` is an ``epoll_ctl`` MOD, and MOD polls the
  descriptor. Where polling consumes readiness, an event that came just before is lost. So everything is
  looked at once more *after* the registration. That has to happen outside of the task that is parked in
  ``wait_readable``; the instrument below runs between the registrations and the poll.
* The instrument hook ``before_io_wait`` runs once a turn after all ready tasks ran. It is told the time-out that
  trio has decided on already, so when it makes a task ready it has to wake the poll as well. That costs a turn of the
  loop and a write to a socket, so it is not done for nothing; but the queue of ready tasks has no public name.
* System tasks outlive the main task, are cancelled after it, and must not raise.
"""

from __future__ import annotations

import logging
import math
import select
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sized
from contextvars import Context, copy_context
from functools import partial
from typing import Any, Final

import outcome
import trio
from trio.lowlevel import Abort

from . import Parkable, TimerHandle, empty_context

__all__ = ["TrioLoop", "loop_locals"]

logger = logging.getLogger("wdasync.eventloop")

_locals: trio.lowlevel.RunVar[dict[str, Any]] = trio.lowlevel.RunVar("wdasync")


def loop_locals() -> dict[str, Any]:
    """A dictionary that lives as long as this ``trio.run``."""
    try:
        return _locals.get()
    except LookupError:
        found: dict[str, Any] = {}
        _locals.set(found)
        return found


class _Timer:
    """One call put off."""

    def __init__(self) -> None:
        self._scope = trio.CancelScope()

    def cancel(self) -> None:
        self._scope.cancel()

    @trio.lowlevel.enable_ki_protection
    async def run(self, seconds: float, callback: Callable[[], None]) -> None:
        with self._scope:
            await trio.sleep(seconds)
            callback()


def ready_tasks() -> Sized:
    """The tasks of this ``trio.run`` that are about to run. Of a trio where they cannot be seen, something that is never empty."""
    try:
        context: Any = trio._core._run.GLOBAL_RUN_CONTEXT
        ready = context.runner.runq
    except AttributeError:
        return UNSEEN
    return ready if isinstance(ready, deque) else UNSEEN


#: Stands for tasks that cannot be seen.
UNSEEN: Final = (None,)


class _TurnEnd(trio.abc.Instrument):
    """Calls what wants to be called before trio sleeps."""

    def __init__(self, token: trio.lowlevel.TrioToken) -> None:
        self._token = token
        self._callbacks: list[Callable[[], None]] = []
        self._ready = ready_tasks()

    def add(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    @trio.lowlevel.enable_ki_protection
    def before_io_wait(self, timeout: float) -> None:
        if not self._callbacks:
            return
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            try:
                callback()
            except Exception:  # trio would remove the instrument, and nothing would go on
                logger.exception("%r raised", callback)
        if timeout > 0 and (self._ready or self._callbacks):
            # A callback has made a task ready, or asked for another turn: do not sleep on it.
            self._token.run_sync_soon(_nothing, idempotent=True)


def _nothing() -> None:
    pass


@trio.lowlevel.enable_ki_protection
async def _protected(function: Callable[[], Awaitable[None]]) -> None:
    """A KeyboardInterrupt belongs into the main task; in here it would end the service, and trio with it."""
    await function()


def begin(function: Callable[[], Awaitable[None]], then: Callable[[], None]) -> None:
    async def run() -> None:
        try:
            await function()
        finally:
            then()

    trio.lowlevel.spawn_system_task(_protected, run, context=copy_context())


@trio.lowlevel.enable_ki_protection
def _abort(parkable: Parkable, raise_cancel: Callable[[], Any]) -> Abort:
    if parkable.abandon():
        return Abort.SUCCEEDED
    parkable.raise_cancel = raise_cancel
    return Abort.FAILED


def _try(fd: int) -> None:
    """Whether epoll takes it. trio would say that later, to a task in which nobody could be told.

    A readiness that this consumes is none that anybody has asked for: nothing is armed before a descriptor is watched.
    """
    with select.epoll() as poll:
        poll.register(fd, select.EPOLLIN)


def _running() -> object:
    try:
        return trio.lowlevel.current_trio_token()
    except RuntimeError:
        return None


class TrioLoop:
    """An :class:`~wdasync.eventloop.EventLoop` on the running trio loop."""

    name = "trio"
    level_cancellation = True
    running = staticmethod(_running)

    def __init__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self.own: object = self._token
        self._turn_end = _TurnEnd(self._token)
        self._watches: dict[int, trio.CancelScope] = {}
        self._nursery: trio.Nursery | None = None
        self._shield = trio.CancelScope(shield=True)
        self._limiter = trio.CapacityLimiter(math.inf)
        self._stopped = trio.Event()
        self._ended = trio.Event()
        self._thread = threading.current_thread().name

    def __repr__(self) -> str:
        return f"<trio loop at {id(self._token):#x} in thread {self._thread}>"

    def is_current(self) -> bool:
        return _running() is self._token

    @trio.lowlevel.enable_ki_protection
    async def park(self, parkable: Parkable) -> Any:
        # A KeyboardInterrupt before or after the sleep would leave a waiter that does not sleep; it comes through the
        # abort function, as a cancellation does.
        parkable.waiter = trio.lowlevel.current_task()
        value = await trio.lowlevel.wait_task_rescheduled(partial(_abort, parkable))
        if parkable.raise_cancel is not None:
            parkable.raise_cancel()
        return value

    def wake(self, parkable: Parkable, value: Any) -> None:
        trio.lowlevel.reschedule(parkable.waiter, outcome.Value(value))

    checkpoint_if_cancelled = staticmethod(trio.lowlevel.checkpoint_if_cancelled)
    checkpoint = staticmethod(trio.lowlevel.checkpoint)

    def at_turn_end(self, callback: Callable[[], None]) -> None:
        self._turn_end.add(callback)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> TimerHandle:
        timer = _Timer()
        if self._nursery is not None:
            empty_context.copy().run(self._nursery.start_soon, timer.run, seconds, callback)
        return timer

    def watch(self, fd: int, callback: Callable[[], None], look_again: Callable[[], None]) -> None:
        if self._nursery is None:
            raise RuntimeError("watch: expected a started event loop service; call start() first")
        if fd in self._watches:
            raise ValueError(f"descriptor {fd} is watched already, for another queue")
        _try(fd)
        scope = self._watches[fd] = trio.CancelScope()
        empty_context.copy().run(self._nursery.start_soon, self._watch, scope, fd, callback, look_again)

    @trio.lowlevel.enable_ki_protection
    async def _watch(
        self, scope: trio.CancelScope, fd: int, callback: Callable[[], None], look_again: Callable[[], None]
    ) -> None:
        with scope:
            while self._watches.get(fd) is scope:  # else it may be another's number by now
                self._turn_end.add(look_again)  # will run after the registration in the next line
                try:
                    await trio.lowlevel.wait_readable(fd)
                except trio.ClosedResourceError:
                    return
                except (OSError, trio.BusyResourceError):
                    # Out of here it would end the service, and trio with it.
                    logger.exception("descriptor %d cannot be watched any more", fd)
                    return
                callback()

    def unwatch(self, fd: int) -> None:
        scope = self._watches.pop(fd, None)
        if scope is not None:
            scope.cancel()
            trio.lowlevel.notify_closing(fd)

    def protect(self, function: Callable[..., Any]) -> None:
        trio.lowlevel.enable_ki_protection(function)  # From trio 0.28 on the mark is on the function's code.

    async def start(
        self, at_shutdown: Callable[[], Awaitable[None]] | None, at_close: Callable[[bool], None]
    ) -> None:
        del at_close  # a run always ends in order: its system tasks are cancelled and joined
        started = trio.Event()
        trio.lowlevel.add_instrument(self._turn_end)
        trio.lowlevel.spawn_system_task(self._service, started, at_shutdown, context=empty_context.copy())
        with trio.CancelScope(shield=True):
            await started.wait()

    async def _service(self, started: trio.Event, at_shutdown: Callable[[], Awaitable[None]] | None) -> None:
        """Trio cancels its system tasks when the main task has ended. What is in flight then still has to be reaped, so
        the workers are shielded, and only this task notices.
        """
        try:
            async with trio.open_nursery() as outer:
                await outer.start(self._workers)
                started.set()
                try:
                    await self._until_stopped(at_shutdown)
                finally:
                    self._shield.cancel()
        finally:
            self._nursery = None
            self._ended.set()
            trio.lowlevel.remove_instrument(self._turn_end)

    async def _until_stopped(self, at_shutdown: Callable[[], Awaitable[None]] | None) -> None:
        try:
            await self._stopped.wait()
        finally:
            if at_shutdown is not None and not self._stopped.is_set():
                self._ended.set()  # stop() is called from in here, and must not wait for us
                with trio.CancelScope(shield=True):
                    await at_shutdown()

    async def _workers(self, task_status: trio.TaskStatus[None]) -> None:
        with self._shield:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                task_status.started()
                await trio.sleep_forever()

    def in_background(
        self, function: Callable[[], Any], then: Callable[[Any, BaseException | None], None]
    ) -> None:
        trio.lowlevel.spawn_system_task(self._background, function, then, context=empty_context.copy())

    async def _background(
        self, function: Callable[[], Any], then: Callable[[Any, BaseException | None], None]
    ) -> None:
        with trio.CancelScope(shield=True):
            try:
                result, error = await trio.to_thread.run_sync(function, limiter=self._limiter), None
            except BaseException as raised:  # noqa: BLE001  handed on
                result, error = None, raised
            then(result, error)

    def spawn(self, function: Callable[[], Awaitable[None]], context: Context) -> None:
        if self._nursery is None:
            raise RuntimeError("spawn: expected a started event loop service; call start() first")
        context.run(self._nursery.start_soon, _protected, function)

    async def stop(self) -> None:
        for fd in list(self._watches):
            self.unwatch(fd)
        if self._nursery is None:
            return
        self._stopped.set()
        self._shield.cancel()
        with trio.CancelScope(shield=True):
            await self._ended.wait()

    def forget(self, then: Callable[[], None]) -> None:
        if not self.is_current():
            try:
                self._token.run_sync_soon(self.forget, then)
            except trio.RunFinishedError:
                then()
            return
        for fd in list(self._watches):
            self.unwatch(fd)
        self._stopped.set()
        self._shield.cancel()
        trio.lowlevel.spawn_system_task(self._after_service, then, context=empty_context.copy())

    async def _after_service(self, then: Callable[[], None]) -> None:
        with trio.CancelScope(shield=True):
            if self._nursery is not None:
                await self._ended.wait()
            await trio.to_thread.run_sync(then, limiter=self._limiter)
