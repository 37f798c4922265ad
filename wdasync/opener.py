"""Opens the queues of devices, and makes lanes of them: in the beginning, when one is needed, and again."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Sequence

from .backend import Queue
from .dispatch import Lane, Reaper
from .errors import BackendUnavailable
from .eventloop import EventLoop
from .eventloop.threads import in_thread
from .operations import Priority
from .scheduling import LaneKey, Place

__all__ = ["Opener", "as_many", "close_queues", "used_up", "words"]

logger = logging.getLogger("wdasync")


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
        place.put(key, [])
        self.add(place, key, queues)
        if error is not None:
            if used_up(error):
                place.missing[key] = wanted - len(queues)
            logger.warning(
                "%s: %d of %d queues; no more: %s", place.lanes[key][0].name, len(queues), wanted, error
            )
        return None

    def queue_opener(self, place: Place, key: LaneKey) -> Callable[[], Queue]:
        """Opens one queue for this key. It blocks."""
        queue_class, priority, _ = key
        return lambda: place.device.open_queue(self._depth, priority, queue_class)

    def add(self, place: Place, key: LaneKey, queues: Sequence[Queue]) -> None:
        """Make lanes of further queues for a key."""
        lanes = list(place.lanes[key])
        for queue in queues:
            name = " ".join([place.name, *words(key), *([f"#{len(lanes)}"] if lanes else [])])
            lane = Lane(name, queue, self.reaper, lambda: place.device.lost, place.device.inline)
            self.reaper.add(lane, self.queue_opener(place, key))
            lanes.append(lane)
        place.put(key, lanes)
        if (reason := place.lost) is not None:  # meanwhile
            for lane in lanes:
                lane.lose(reason)


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
