"""A device and its queues, for as long as it works, and how it comes back.

A device that is lost, or silent, is *wound up*: its queues are stopped, and a thread closes them, since that may block. Only then does the
device touch no memory any more. The thread then tries to bring the device back, less and less often.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection
from typing import Final

from wdasync import BackendUnavailable, Kind, Operation, PolledDevice
from wdasync.backend import Completion, Queue

__all__ = ["Lane", "Place", "logger"]

logger = logging.getLogger("wdasync.proxy")

#: Seconds between two attempts to bring a device back: at first, and at most.
PAUSE: Final = 0.5
LONGEST: Final = 30.0


class Lane:
    """One queue.

    :ivar held: what it was not given yet, in order
    :ivar flying: tags of what it has
    :ivar heard: when something last came of it, or it was last given something while it had nothing
    """

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.held: list[tuple[int, Operation]] = []
        self.flying: set[int] = set()
        self.heard = 0.0

    def hold(self, tag: int, operation: Operation) -> None:
        """Something for it, when it takes it."""
        if not self.held and not self.flying:
            self.heard = time.monotonic()
        self.held.append((tag, operation))

    def give(self) -> None:
        """As much of what is held as the queue takes."""
        count = self.queue.enqueue_burst(self.held)
        self.flying.update(tag for tag, _ in self.held[:count])
        del self.held[:count]

    def reap(self, limit: int) -> list[Completion]:
        """What has ended, up to a limit."""
        done = list(self.queue.dequeue_burst(limit))
        if done:
            self.heard = time.monotonic()
            self.flying.difference_update(completion.tag for completion in done)
        return done

    def withdraw(self, tag: int) -> bool:
        """Take something back. False: the device has it."""
        held = [entry for entry in self.held if entry[0] != tag]
        if len(held) == len(self.held) and not self.queue.withdraw(tag):
            return False
        self.held = held
        self.flying.discard(tag)
        return True

    def silent(self, since: float) -> bool:
        """Whether it has something to do, and nothing has come of it since then."""
        return bool(self.held or self.flying) and self.heard < since


class Place:
    """A device.

    :param kinds: of operation, for which queues are opened
    :ivar lanes: its queues, by their class; none while it is away
    :raises BackendUnavailable: if there is no queue to be had
    """

    def __init__(self, polled: PolledDevice, kinds: Collection[Kind]) -> None:
        self.polled = polled
        self.name = f"{polled.backend}/{polled.device.info.name}"
        rows = [row for row in polled.device.capabilities if row.kind in kinds]
        self._classes = list(dict.fromkeys(row.queue_class for row in rows))
        self.lanes = self._open()
        self._thread: threading.Thread | None = None
        self._closed, self._over = threading.Event(), threading.Event()
        self._back: dict[str, Lane] | None = None

    @property
    def lost(self) -> bool:
        """Whether it has just gone away, and nobody has wound it up."""
        return bool(self.lanes) and self.polled.device.lost is not None

    @property
    def winding(self) -> bool:
        """Whether its queues are just being closed: their operations may still have their memory."""
        return self._thread is not None and not self._closed.is_set()

    def wind_up(self, why: str) -> None:
        """It gets no more work. Its queues are not used any more, and others close them."""
        logger.warning("%s is lost, and others do its work: %s", self.name, why)
        self.lanes = {}
        self._closed.clear()
        self._back = None
        self._thread = threading.Thread(target=self._restore, name=f"restores {self.name}")
        self._thread.start()

    def returns(self) -> bool:
        """Whether it has just come back, with new queues."""
        if self._thread is None or self._thread.is_alive() or self._back is None:
            return False
        self._thread, self.lanes = None, self._back
        logger.warning("%s is back", self.name)
        return True

    def close(self) -> None:
        """Try no more to bring it back. The device is closed by who has opened it."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _open(self) -> dict[str, Lane]:
        return {name: Lane(self.polled.open_queue(queue_class=name)) for name in self._classes}

    def _restore(self) -> None:
        self.polled.close_queues()
        self._closed.set()
        pause = PAUSE
        while not self._over.wait(pause):
            try:
                self.polled.reset()
                self._back = self._open()
            except BackendUnavailable as error:
                logger.debug("%s does not come back: %s", self.name, error)
                pause = min(2 * pause, LONGEST)
            else:
                return
