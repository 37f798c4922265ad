"""How the loop sleeps: on the sockets, the queues' descriptors, and a call to stop.

This is the outer epoll descriptor; the inner ones, see ``poller.py``, are among those that it watches. So while there is work
nobody polls a queue's descriptor, and nobody arms; queues are looked at, which costs no system call.
"""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress

from wdasync.backend import Queue

__all__ = ["Sleeper"]


class Sleeper:
    """Everything that may wake the loop.

    :param pollers: the inner epoll descriptors
    """

    def __init__(self, *pollers: int) -> None:
        self._epoll = select.epoll()
        self._stop = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._queues: dict[Queue, int] = {}
        for fd in (self._stop, *pollers):
            self._epoll.register(fd, select.EPOLLIN)

    def heed(self, *numbers: signal.Signals) -> None:
        """These signals tell the loop to stop."""
        for number in numbers:
            signal.signal(number, lambda *_: os.eventfd_write(self._stop, 1))

    def arm(self, queues: list[Queue]) -> bool:
        """Let these queues wake it, and no others: devices come and go. False: one of them has completions already."""
        for queue in [queue for queue in self._queues if queue not in queues]:
            with suppress(OSError):  # closed already
                self._epoll.unregister(self._queues.pop(queue))
        for queue in queues:
            if queue not in self._queues:
                self._queues[queue] = queue.fileno()
                self._epoll.register(queue.fileno(), select.EPOLLIN)
        armed = [queue.arm() for queue in queues]
        return all(armed)

    def sleep(self, timeout: float) -> bool:
        """Until something happens, or so many seconds are over. Whether somebody wants it to stop."""
        told = any(fd == self._stop for fd, _ in self._epoll.poll(timeout))
        if told:
            os.eventfd_read(self._stop)
        return told
