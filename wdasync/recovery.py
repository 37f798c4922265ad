"""Brings back what was lost: devices that went away and return, and queues that were not to be had.

Each device that lacks something is tried again after ``reopen_delay`` seconds, and after each failure twice as long, up
to ``reopen_limit``. One that returns and is lost again at once begins where it was. Whatever may block is done in a
thread, and nothing on the way of an operation knows of it: a lane that is back takes work again, that is all.

A device comes back by ``Device.reset()``, once all its queues are closed. What cannot be trusted stays away: a queue that
raised or could not be closed, and a device whose own coroutine has failed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, cast

import anyio

from .backend import Queue
from .dispatch import Lane, LaneState
from .errors import BackendUnavailable, DeviceError
from .eventloop import TimerHandle
from .opener import Opener, close_queues
from .scheduling import LaneKey, Place

__all__ = ["Recovery"]

logger = logging.getLogger("wdasync")


class Want(NamedTuple):
    """A queue that is to be opened.

    :ivar open_queue: opens it; may block
    :ivar key: what it is for
    :ivar lane: that has lost its own; ``None``: there will be a new one
    """

    open_queue: Callable[[], Queue]
    key: LaneKey | None
    lane: Lane | None


#: What an attempt has brought, and why not all.
Opened = tuple[list[tuple[Want, Queue]], BackendUnavailable | None]


class _Case:
    """A device that is, or was, tried again.

    :ivar delay: seconds before the next attempt
    :ivar timer: for it
    :ivar busy: set when the attempt that is under way has ended; ``None``: none is
    :ivar tried: when the last attempt ended, by the clock
    :ivar losing: its lanes are just being ended: each of them tells of it, and need not
    """

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.timer: TimerHandle | None = None
        self.busy: anyio.Event | None = None
        self.tried = float("-inf")
        self.losing = False


class Recovery:
    """For one accelerator.

    :param opener: opens queues
    :param places: the devices
    :param changed: is called when there are other lanes than before
    :param delay: seconds before the first attempt
    :param limit: seconds between attempts, at most
    :param clock: for tests
    """

    def __init__(
        self,
        opener: Opener,
        places: Sequence[Place],
        changed: Callable[[], None],
        *,
        delay: float,
        limit: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._loop = opener.loop
        self._opener = opener
        self._reaper = opener.reaper
        self._changed = changed
        self._delay = delay
        self._limit = max(delay, limit)
        self._clock = clock
        self._stopped = False
        self._cases = {place: _Case(delay) for place in places}
        self._reaper.on_lost = self.lane_lost

    # -- what happens ---------------------------------------------------------------------------------------

    def lane_lost(self, lane: Lane) -> None:
        """A lane was lost. If that is the device's doing, all of them are."""
        place = next((place for place in self._cases if lane in place.every), None)
        if place is None or self._cases[place].losing:  # it is just being opened, or ended with the others
            return
        if place.device.lost is not None or place.given_up is not None or lane.broken:
            self._lose(place, self._cases[place], lane)
        self.watch(place)

    def _lose(self, place: Place, case: _Case, first: Lane) -> None:
        if not place.away:
            place.away = True
            place.losses += 1
            if self._trusted(place):
                logger.warning("%s: lost: %s", place.name, first.reason)
        case.losing = True
        for lane in place.every:
            lane.lose(first.reason)
        case.losing = False

    def watch(self, place: Place) -> None:
        """A device may lack a queue, or itself: if so, try again in a while."""
        case = self._cases[place]
        if self._clock() - case.tried > self._limit:
            case.delay = self._delay
        self._put_off(place, case)

    def _put_off(self, place: Place, case: _Case) -> None:
        if not self._stopped and case.timer is None and case.busy is None and self._wants(place):
            case.timer = self._loop.call_later(case.delay, partial(self._attempt, place, case))

    @staticmethod
    def _trusted(place: Place) -> bool:
        return place.given_up is None and not any(lane.broken for lane in place.every)

    def _wants(self, place: Place) -> list[Want]:
        """The queues that it lacks and may have."""
        if not self._trusted(place):
            return []
        wants = [
            Want(self._reaper.opener_of(lane), None, lane)
            for lane in place.every
            if lane.state is LaneState.LOST
        ]
        for key, count in place.missing.items():
            wants += [Want(self._opener.queue_opener(place, key), key, None)] * count
        return wants

    # -- an attempt -----------------------------------------------------------------------------------------

    def _attempt(self, place: Place, case: _Case) -> None:
        case.timer = None
        if self._stopped:
            return
        if any(map(self._reaper.is_winding_up, place.every)):
            self._put_off(place, case)
            return
        if wants := self._wants(place):
            place.attempts += 1
            case.busy = anyio.Event()
            self._loop.in_background(
                partial(self._bring_back, place, wants), partial(self._attempted, place, case)
            )

    def _bring_back(self, place: Place, wants: Sequence[Want]) -> Opened:
        """In a thread: bring the device back if it is away, and open what queues there are."""
        if place.device.lost is not None:
            place.device.reset()
            if (reason := place.device.lost) is not None:
                raise DeviceError(reason)
        opened: list[tuple[Want, Queue]] = []
        failure: BackendUnavailable | None = None
        for want in wants:
            try:
                opened.append((want, want.open_queue()))
            except BackendUnavailable as error:
                failure = error
            except BaseException:
                close_queues([queue for _, queue in opened])
                raise
        if self._stopped:
            close_queues([queue for _, queue in opened])
            return [], failure
        return opened, failure

    def _attempted(
        self, place: Place, case: _Case, result: Opened | None, error: BaseException | None
    ) -> None:
        opened, failure = result or ([], error)
        useless = [queue for want, queue in opened if not self._install(place, want, queue)]
        case.tried = self._clock()
        case.delay = min(2 * case.delay, self._limit)
        if len(useless) < len(opened):
            self._back(place)
        if failure is not None:
            logger.debug("%s: tried again in vain: %s", place.name, failure)
        if useless:
            self._loop.in_background(partial(close_queues, useless), lambda _, __: self._ended(place, case))
        else:
            self._ended(place, case)

    def _ended(self, place: Place, case: _Case) -> None:
        """Nothing of the attempt is under way any more."""
        if case.busy is not None:
            case.busy.set()
            case.busy = None
        self._put_off(place, case)

    def _back(self, place: Place) -> None:
        self._changed()
        if place.away and place.lost is None:
            place.away = False
            place.returns += 1
            logger.warning("%s: back, after %d attempts", place.name, place.attempts)

    def _install(self, place: Place, want: Want, queue: Queue) -> bool:
        """Use a queue. False: there is no use for it, as all was closed meanwhile, or it is none."""
        lane, error = want.lane, cast("Exception | None", None)
        if lane is None and want.key is not None and not self._stopped:
            _, error = self._opener.add(place, want.key, [queue])
            if error is None:
                place.found(want.key)
                return True
        elif lane is not None and lane.state is LaneState.LOST:
            try:
                self._reaper.revive(lane, queue)
            except Exception as refused:  # noqa: BLE001  a stranger's queue, and what the event loop says of it
                error = refused
            else:
                return True
        if error is not None:
            logger.warning("%s: a queue that was opened again cannot be used: %s", place.name, error)
        return False

    # -- the end ----------------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Try nothing any more; wait for what is under way."""
        self._stopped = True
        for case in self._cases.values():
            if case.timer is not None:
                case.timer.cancel()
            if case.busy is not None:
                await case.busy.wait()

    def forget(self) -> None:
        """Try nothing any more. Nobody waits."""
        self._stopped = True
        if self._loop.is_current():
            for case in self._cases.values():
                if case.timer is not None:
                    case.timer.cancel()
