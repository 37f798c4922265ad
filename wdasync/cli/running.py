"""Runs a coroutine so that every way of ending a program from outside runs each ``finally`` first."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from .commands import ended_by

__all__ = ["run"]

T = TypeVar("T")


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run ``main`` on asyncio.

    asyncio turns SIGINT into a cancellation of the main task, and then raises :exc:`KeyboardInterrupt`. Here
    SIGTERM, SIGHUP and SIGQUIT cancel it too, unless the program was started with them ignored, as ``nohup`` does.

    :raises click.exceptions.Exit: with status 128 + n, if signal n ended it
    """
    results: list[T] = []

    async def keep() -> None:
        # Not the task's own result: where asyncio puts its signal handlers back, ``signal`` makes a message that nobody sees,
        # with the task's representation in it, and all of its result. That takes seconds if the result is large.
        results.append(await _guarded(main))

    asyncio.run(keep())
    return results[0]


async def _guarded(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    received: list[signal.Signals] = []
    task = asyncio.current_task()
    assert task is not None

    def end(number: signal.Signals) -> None:
        received.append(number)
        task.cancel()

    loop = asyncio.get_running_loop()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            if signal.getsignal(number) is signal.SIG_DFL:
                loop.add_signal_handler(number, end, number)
    try:
        return await main()
    except asyncio.CancelledError:
        if not received:
            raise
        raise ended_by(received[0]) from None
