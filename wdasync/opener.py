"""Opens the queues of devices, and makes lanes of them: in the beginning, when one is needed, and again."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Sequence
from typing import Final

from .backend import Queue
from .dispatch import Lane, Reaper
from .errors import BackendUnavailable, WdasyncError
from .eventloop import EventLoop
from .eventloop.threads import in_thread
from .operations import Priority
from .scheduling import LaneKey, Place

__all__ = ["REPORT_IT", "Opener", "as_many", "close_queues", "used_up", "words"]

logger = logging.getLogger("wdasync")

#: What to do about a backend that breaks its contract.
REPORT_IT: Final = "report it to the authors of this backend"


class Opener:
    """For one accelerator.

    :param depth: operations in flight wished for in each queue
    :ivar loop: the event loop
    :ivar reaper: watches the lanes
    """

    def __init__(self, loop: EventLoop, reaper: Reaper, depth: int) -> None:
        self.loop = loop
        self.reaper = reaper
        self._depth = depth

    async def open(self, place: Place, key: LaneKey) -> BackendUnavailable | None:
        """Open the queues for a key, as many as are wanted and to be had; watch them, and put them in their place.

        :returns: why there is none; ``None`` if there is one, or none is wanted
        """
        wanted = place.wanted(key)
        open_queue = self.queue_opener(place, key)
        queues, error = await in_thread(
            self.loop, lambda: as_many(open_queue, wanted), lambda opened: close_queues(opened[0])
        )
        if error is not None and not queues:
            return error
        useless, refused = self.add(place, key, queues)
        error = refused or error
        if useless:
            await in_thread(self.loop, lambda: close_queues(useless))
        if error is not None:
            if len(useless) == len(queues):
                return error
            if used_up(error):
                place.missing[key] = wanted - len(queues) + len(useless)
            logger.warning(
                "%s: %d of %d queues; no more: %s",
                place.lanes[key][0].name,
                len(queues) - len(useless),
                wanted,
                error,
            )
        return None

    def queue_opener(self, place: Place, key: LaneKey) -> Callable[[], Queue]:
        """Opens one queue for this key. It blocks."""
        queue_class, priority, _ = key
        return lambda: _open_queue(place, self._depth, priority, queue_class)

    def add(
        self, place: Place, key: LaneKey, queues: Sequence[Queue]
    ) -> tuple[list[Queue], BackendUnavailable | None]:
        """Make lanes of further queues for a key.

        :returns: those of which no lane can be made, still open, and why
        """
        lanes = list(place.lanes.get(key, ()))
        useless: list[Queue] = []
        refused: BackendUnavailable | None = None
        for queue in queues:
            name = " ".join([place.name, *words(key), *([f"#{len(lanes)}"] if lanes else [])])
            try:
                lane = Lane(name, queue, self.reaper, lambda: place.device.lost, place.device.inline)
                self.reaper.add(lane, self.queue_opener(place, key))
            except Exception as error:  # noqa: BLE001  a stranger's queue, and what the event loop says of it
                useless.append(queue)
                refused = _unusable(f"{name}: its queue cannot be used", error)
            else:
                lanes.append(lane)
        if lanes or not queues:
            place.put(key, lanes)
        if (reason := place.lost) is not None:  # meanwhile
            for lane in lanes:
                lane.lose(reason)
        return useless, refused


def _open_queue(place: Place, depth: int, priority: Priority, queue_class: str) -> Queue:
    """Open a queue. Whatever its backend does instead is one error.

    :raises BackendUnavailable: if there is none
    """
    try:
        queue: Queue | None = place.device.open_queue(depth, priority, queue_class)
    except WdasyncError:
        raise
    except Exception as error:
        raise _unusable(f"{place.name}: its queue cannot be opened", error) from error
    if queue is None:
        raise BackendUnavailable(f"{place.name}: open_queue: expected a queue, got None; {REPORT_IT}")
    return queue


def _unusable(what: str, error: Exception) -> BackendUnavailable:
    unavailable = BackendUnavailable(f"{what}: {type(error).__name__}: {error}; {REPORT_IT}")
    unavailable.__cause__ = error
    return unavailable


def words(key: LaneKey) -> list[str]:
    """A key, for people: what is not as usual in it."""
    queue_class, priority, purpose = key
    found = [queue_class, "" if priority is Priority.NORMAL else priority.name.lower(), purpose]
    return [word for word in found if word]


def used_up(error: BaseException) -> bool:
    """Whether others use all queues, so that there may be one later."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EBUSY


def as_many(open_queue: Callable[[], Queue], count: int) -> tuple[list[Queue], BackendUnavailable | None]:
    """So many queues, or as many as there are; and why not more. Blocks."""
    queues: list[Queue] = []
    try:
        while len(queues) < count:
            queues.append(open_queue())
    except BackendUnavailable as error:
        return queues, error
    except BaseException:
        close_queues(queues)
        raise
    return queues, None


def close_queues(queues: Sequence[Queue]) -> None:
    """Give them back. Blocks. What goes wrong is logged."""
    for queue in queues:
        try:
            queue.close()
        except Exception:
            logger.exception("a queue that nobody needs any more cannot be closed")
