"""The reaper: watches the queues of one accelerator, keeps time for them, and winds them up.

Wake-ups come from one persistent registration a queue. Beside it runs a slow *safety timer*, only while something is
in flight: it counts *ticks*, against which deadlines are held without anybody reading a clock on the way of an
operation, and it looks whether a completion lies unnoticed. Such a *rescue* means that a wake-up was lost: a bug in
a backend, worth a warning and a counter.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from functools import partial

import anyio

from ..backend import Queue
from ..eventloop import EventLoop, TimerHandle
from .flight import Flight
from .lane import TRANSITIONS, Lane, LaneState, depth_of

__all__ = ["Reaper"]

logger = logging.getLogger("wdasync.dispatch")

#: Seconds until a full, shared queue is asked again.
RETRY_INTERVAL = 0.002

#: Seconds that a stopped queue is given to hand out what it aborted, before it is closed.
STOP_GRACE = 0.05


class Reaper:
    """What the lanes of one accelerator have in common.

    :param interval: seconds between two looks of the safety timer
    :param deadline: seconds that a device may hold an operation
    :ivar loop: the event loop
    :ivar ticks: safety intervals that have gone by while something was in flight
    :ivar budget: seconds of one loop turn that may go into reaping
    :ivar drained: set when a draining lane has become empty
    :ivar on_lost: is called with each lane that is lost; it must not raise
    """

    def __init__(self, loop: EventLoop, *, budget: float, interval: float, deadline: float) -> None:
        self.loop = loop
        self.ticks = 0
        self.budget = budget
        self.lanes: list[Lane] = []
        self.drained = anyio.Event()
        self.on_lost: Callable[[Lane], None] = _nobody
        self._interval = interval
        self._patience = max(1, math.ceil(deadline / interval))
        self._deadline = deadline
        self._timer: TimerHandle | None = None
        self._reopen: dict[Lane, Callable[[], Queue]] = {}
        self._watched: dict[Lane, int] = {}
        self._winding_up: dict[Lane, anyio.Event] = {}
        for function in PROTECTED:
            loop.protect(function)

    def add(self, lane: Lane, reopen: Callable[[], Queue]) -> None:
        """Watch a lane. ``reopen`` opens its queue anew after a reset; it may block.

        Whatever its queue raises is let through, and so is what the event loop has against the descriptor. It is not
        watched then.
        """
        self._watch(lane, lane.queue)
        self._hold(lane)
        self.lanes.append(lane)
        self._reopen[lane] = reopen

    def _watch(self, lane: Lane, queue: Queue) -> None:
        descriptor = queue.fileno()
        self.loop.watch(descriptor, lane.readable, lane.look_again)
        self._watched[lane] = descriptor

    def _unwatch(self, lane: Lane) -> None:
        """The queue is not asked again: who knows what it would say now."""
        descriptor = self._watched.pop(lane, None)
        if descriptor is not None:
            self.loop.unwatch(descriptor)

    def _hold(self, lane: Lane) -> None:
        """Send nothing yet. uvloop registers at its next poll, and nothing may be armed before that."""
        lane.hold()
        self.loop.at_turn_end(lambda: self.loop.at_turn_end(lane.turn_ends))

    # -- time -----------------------------------------------------------------------------------------------

    def keep_watch(self) -> None:
        """Something is in flight: let the safety timer run."""
        if self._timer is None:
            self._timer = self.loop.call_later(self._interval, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.ticks += 1
        for lane in self.lanes:
            lane.check_wake()
            if lane.overdue(self.ticks - self._patience):
                self._reset(lane)
        if any(lane.in_flight for lane in self.lanes):
            self.keep_watch()

    def retry_later(self, lane: Lane) -> None:
        """A queue had no room although nothing of ours is in it."""
        self.loop.call_later(RETRY_INTERVAL, lane.retry)

    # -- the end of a queue ---------------------------------------------------------------------------------

    def _reset(self, lane: Lane) -> None:
        if LaneState.RESETTING in TRANSITIONS[lane.state]:
            reason = f"no completion within the deadline of {self._deadline:g} s"
            logger.warning("%s: %s; resetting its queue", lane.name, reason)
            lane.stop(LaneState.RESETTING, reason)
            self.wind_up(lane)

    def wind_up(self, lane: Lane) -> None:
        """Close a stopped queue, and open another if that is what it was stopped for.

        These steps are calls in threads and what follows them in the loop, not a task: nothing can cancel them.
        """
        if lane not in self._winding_up:
            self._winding_up[lane] = anyio.Event()
            self.drained.set()
            close = partial(self._close_queue, lane, self.ticks - self._patience)
            lane.collect()
            if lane.in_flight:
                self.loop.call_later(STOP_GRACE, close)
            else:
                close()

    def _close_queue(self, lane: Lane, overdue_tick: int) -> None:
        if lane.closing:
            return  # it was forgotten meanwhile
        lane.collect()
        lane.closing = True
        self._unwatch(lane)
        self.loop.in_background(lane.queue.close, partial(self._queue_closed, lane, overdue_tick))

    def _queue_closed(self, lane: Lane, overdue_tick: int, _: object, error: BaseException | None) -> None:
        if error is not None:
            # Whether the device still writes is unknown now: its operations stay referenced for good.
            logger.error("%s: close raised", lane.name, exc_info=error)
            lane.bury()
        lane.sweep(overdue_tick)
        if lane.state is LaneState.RESETTING:
            self.loop.in_background(self._reopen[lane], partial(self._queue_opened, lane))
        else:
            self._wound_up(lane)

    def _queue_opened(self, lane: Lane, queue: Queue | None, error: BaseException | None) -> None:
        if queue is not None and lane.state is LaneState.RESETTING:
            try:
                self.revive(lane, queue)
            except Exception as refused:  # noqa: BLE001  a stranger's queue, and what the event loop says of it
                error = refused
        if error is not None:
            logger.error("%s: cannot open its queue again", lane.name, exc_info=error)
        if lane.state is LaneState.RESETTING:
            lane.stop(LaneState.LOST, f"its queue cannot be opened again: {error}")
            self.on_lost(lane)
        if queue is None or lane.state is LaneState.OPEN:
            self._wound_up(lane)
        else:  # it cannot be used, or all was closed or lost meanwhile
            self.loop.in_background(queue.close, lambda _, __: self._wound_up(lane))

    def _wound_up(self, lane: Lane) -> None:
        self._winding_up.pop(lane).set()

    def opener_of(self, lane: Lane) -> Callable[[], Queue]:
        """Opens its queue anew. It blocks."""
        return self._reopen[lane]

    def is_winding_up(self, lane: Lane) -> bool:
        """Whether its queue is still being closed, or opened again."""
        return lane in self._winding_up

    def revive(self, lane: Lane, queue: Queue) -> None:
        """Let a lane whose queue was closed go on with another one.

        As with :meth:`add`, whatever is wrong with the queue is raised; the lane is as it was then.
        """
        depth = depth_of(queue)
        self._watch(lane, queue)
        lane.adopt(queue, depth)
        self._hold(lane)
        lane.resume()

    async def drain(self, timeout: float) -> None:
        """Take no more work, and let what is on the devices finish, for ``timeout`` seconds."""
        for lane in self.lanes:
            lane.drain()
        with anyio.move_on_after(timeout):
            while any(lane.in_flight for lane in self.lanes if lane.state is LaneState.DRAINING):
                self.drained = anyio.Event()
                await self.drained.wait()

    async def close(self) -> None:
        """Stop and close all queues."""
        for lane in self.lanes:
            if LaneState.CLOSED in TRANSITIONS[lane.state]:
                was_running = lane.state in (LaneState.OPEN, LaneState.DRAINING)
                lane.stop(LaneState.CLOSED, "the accelerator was closed")
                if was_running:
                    self.wind_up(lane)
        for event in list(self._winding_up.values()):
            await event.wait()
        if self._timer is not None:
            self._timer.cancel()

    def forget(self) -> None:
        """Nobody holds the accelerator any more, and nobody closed it. The event loop may be gone: this blocks."""
        here = self.loop.is_current()
        if here and self._timer is not None:
            self._timer.cancel()
        for lane in self.lanes:
            if here:
                self._unwatch(lane)
            lane.forget()


def _nobody(lane: Lane) -> None:
    """Nobody wants to be told."""


#: The functions that change a lane's state from outside. No KeyboardInterrupt may break one off in the middle.
PROTECTED = (
    Flight.abandon,
    Lane.cancel,
    Lane.check_wake,
    Lane.drain,
    Lane.look_again,
    Lane.lose,
    Lane.readable,
    Lane.resume,
    Lane.retry,
    Lane.stop,
    Lane.submit,
    Lane.sweep,
    Lane.turn_ends,
    Reaper.keep_watch,
)
