"""What may block, or takes long, runs in a thread, and is waited for whatever happens: half-opened devices help nobody."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Generic, TypeVar, cast

import anyio

from . import EventLoop

__all__ = ["compute", "in_thread", "join"]

logger = logging.getLogger("wdasync.eventloop")

T = TypeVar("T")

#: Bytes whose check value or hash is computed in the event loop's thread, at most.
QUICK = 16 * 1024

#: Bytes that are copied in the event loop's thread, at most.
COPY = 256 * 1024


class _Errand(Generic[T]):
    """A call in a thread that a task is parked on. Fulfils :class:`~wdasync.eventloop.Parkable`."""

    def __init__(self, loop: EventLoop) -> None:
        self.waiter: Any = None
        self.raise_cancel: Any = None
        self.completion: tuple[T | None, BaseException | None] | None = None
        self._loop = loop

    def abandon(self) -> bool:
        return False

    def done(self, result: T | None, error: BaseException | None) -> None:
        self.completion = (result, error)
        self._loop.wake(self, None)


async def in_thread(
    loop: EventLoop, function: Callable[[], T], undo: Callable[[T], object] | None = None
) -> T:
    """Call ``function`` in a thread. A cancellation waits for it to return, and is raised then.

    :param undo: called in a thread with the result of a call that was cancelled, so that nothing is lost; that too is
        waited for, since what comes next may rely on it
    """
    errand: _Errand[T] = _Errand(loop)
    loop.in_background(function, errand.done)
    try:
        await loop.park(errand)
    except BaseException:
        if undo is not None and errand.completion is not None and errand.completion[1] is None:
            await _undo(loop, undo, cast("T", errand.completion[0]))
        raise
    result_or_none, error = cast("tuple[T | None, BaseException | None]", errand.completion)
    if error is not None:
        raise error
    return cast("T", result_or_none)


async def compute(loop: EventLoop, nbytes: int, function: Callable[[], T]) -> T:
    """What a function makes of so many bytes; in a thread where it would hold up the event loop."""
    return function() if nbytes <= QUICK else await in_thread(loop, function)


async def join(loop: EventLoop, pieces: Sequence[bytes | memoryview]) -> bytes:
    """One piece of all; in a thread where copying them would hold up the event loop."""
    if len(pieces) == 1 and type(pieces[0]) is bytes:
        return pieces[0]
    if sum(map(len, pieces)) <= COPY:
        return b"".join(pieces)
    return await in_thread(loop, lambda: b"".join(pieces))


async def _undo(loop: EventLoop, undo: Callable[[T], object], result: T) -> None:
    errand: _Errand[object] = _Errand(loop)
    loop.in_background(lambda: undo(result), errand.done)
    # asyncio's own cancellations come through the shield.
    with anyio.CancelScope(shield=True), suppress(anyio.get_cancelled_exc_class()):
        await loop.park(errand)
    if errand.completion is not None and (error := errand.completion[1]) is not None:
        logger.error("what was opened for a cancelled call cannot be closed", exc_info=error)
