"""What may block runs in a thread, and is waited for whatever happens: half-opened devices help nobody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

from . import EventLoop

__all__ = ["in_thread"]

T = TypeVar("T")


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

    :param undo: called in a thread with the result of a call that was cancelled, so that nothing is lost
    """
    errand: _Errand[T] = _Errand(loop)
    loop.in_background(function, errand.done)
    try:
        await loop.park(errand)
    except BaseException:
        if undo is not None and errand.completion is not None and errand.completion[1] is None:
            undo_it, result = undo, cast("T", errand.completion[0])
            loop.in_background(lambda: undo_it(result), _forget)
        raise
    result_or_none, error = cast("tuple[T | None, BaseException | None]", errand.completion)
    if error is not None:
        raise error
    return cast("T", result_or_none)


def _forget(result: object, error: BaseException | None) -> None:
    """Nobody waits for it any more."""
