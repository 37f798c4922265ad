"""The descriptor of a mock queue, with the three characters that real ones have (and one that a broken one has).

*level*: readable from the first completion until the queue was dequeued empty.

*edge*: readable once for each ``arm``; the next completions that the owner takes, or the next ``arm``, take the
readiness away, even if completions are left.

*consuming*: as the file of a uacce queue, where the driver eats the event inside ``poll(2)``. No ordinary file
does that, and nobody can see from outside when a file is polled. But ``/proc`` tells which epoll sets a
descriptor is in, and that is enough for the ways in which such a wake-up is lost in practice:

* the event comes before the descriptor was added, or while a one-shot registration waits for its MOD: the
  real ADD or MOD would eat it, so here it is never delivered;
* the descriptor is in two epoll sets, or in a set that is in a set, so that a poll that is not the one that
  matters may eat it: never delivered.

What this emulation cannot show: a MOD between an event and the ``epoll_wait`` that would deliver it eats the
event on a real device, and does not here; a second ``epoll_wait`` before the owner touches the queue would
find nothing on a real device, and finds the descriptor readable here; plain ``poll`` and ``select`` are told
nothing, where a real device would tell the first of them.
"""

from __future__ import annotations

import enum
import heapq
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from select import EPOLLIN
from typing import Final

__all__ = ["Alarm", "Readiness", "Wake", "epoll_sets"]

_FDS: Final = Path("/proc/self/fd")


class Readiness(enum.Enum):
    """How the descriptor of a queue behaves."""

    LEVEL = "level"
    EDGE = "edge"
    CONSUMING = "consuming"
    #: A broken device: its wake-ups never come.
    NEVER = "never"


def epoll_sets(descriptor: int) -> list[int]:
    """Descriptors of the epoll sets of this process that would report ``descriptor`` readable, right now."""
    return [int(entry.name) for entry in _FDS.iterdir() if _listens(entry, descriptor)]


def _one_listener(descriptor: int) -> bool:
    """Whether it is in one epoll set, and that one is in no other."""
    sets = epoll_sets(descriptor)
    return len(sets) == 1 and not epoll_sets(sets[0])


def _listens(entry: Path, descriptor: int) -> bool:
    try:
        if "eventpoll" not in str(entry.readlink()):
            return False
        lines = Path("/proc/self/fdinfo", entry.name).read_text().splitlines()
    except OSError:  # Closed since it was listed.
        return False
    # "tfd:        3 events:       19 data: …": the target, and its mask in hexadecimal. A one-shot
    # registration that has fired has lost EPOLLIN until its MOD.
    registrations = (line.split() for line in lines if line.startswith("tfd:"))
    return any(int(words[1]) == descriptor and int(words[3], 16) & EPOLLIN for words in registrations)


class Wake:
    """An eventfd that is made readable once for each time that it was armed.

    :ivar count: times it was made readable
    :ivar eaten: events that nobody will hear of, because of how the descriptor was (not) registered
    """

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._armed = False
        self._closed = False
        self._exclusive = threading.Lock()
        self.count = 0
        self.eaten = 0

    def fileno(self) -> int:
        return self._descriptor

    @property
    def armed(self) -> bool:
        return self._armed

    def arm(self) -> None:
        self._armed = True

    def ring(self) -> None:
        """Completions appeared: make the descriptor readable, if it is armed. From any thread."""
        with self._exclusive:
            if not self._armed or self._closed:
                return
            self._armed = False
            if self._readiness is Readiness.NEVER:
                self.eaten += 1
                return
            if self._readiness is Readiness.CONSUMING and not _one_listener(self._descriptor):
                self.eaten += 1
                return
            self.count += 1
            os.eventfd_write(self._descriptor, 1)

    def touched(self, *, empty: bool) -> None:
        """The owner took completions, or arms again; ``empty`` says that no completions are left."""
        if empty or self._readiness is not Readiness.LEVEL:
            try:
                os.eventfd_read(self._descriptor)
            except BlockingIOError:
                pass

    def close(self) -> None:
        with self._exclusive:
            if not self._closed:
                self._closed = True
                os.close(self._descriptor)


class Alarm:
    """Calls functions at their times, from a thread that lives only while something is due."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._changed = threading.Condition()
        self._running = False

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Call ``call`` when :func:`time.monotonic` has reached ``when``."""
        with self._changed:
            self._count += 1
            heapq.heappush(self._due, (when, self._count, call))
            if self._running:
                self._changed.notify()
            else:
                self._running = True
                threading.Thread(target=self._run, name="wdasync-mock-alarm", daemon=True).start()

    def cancel(self) -> None:
        """Forget everything."""
        with self._changed:
            self._due.clear()
            self._changed.notify()

    def _run(self) -> None:
        while (call := self._next()) is not None:
            call()

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            while self._due:
                left = self._due[0][0] - time.monotonic()
                if left <= 0:
                    return heapq.heappop(self._due)[2]
                self._changed.wait(min(left, threading.TIMEOUT_MAX))
            self._running = False
            return None
