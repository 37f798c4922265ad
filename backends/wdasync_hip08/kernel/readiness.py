"""The descriptor of an opened queue: how its program hears of completions.

The kernel's poll gives an event away and forgets it, so that every poll eats one, also that of an epoll ADD or MOD.
No file that a program can make does that, and nobody sees from outside when a file is polled. Two things can be had,
and with them the ways in which such a wake-up is lost in practice:

* ``/proc`` tells which epoll sets a descriptor is in. An event that comes before it was added, or while a one-shot
  registration waits for its MOD, would be eaten by that ADD or MOD; one that two may poll, by the other. Here they are
  never delivered.
* A program that takes completions or arms has polled. What was readable then is no more.

What stays different: a second poll before the program touches its queue, and one after a MOD that comes between an
event and the poll, find the descriptor readable. Plain ``poll`` and ``select`` are told nothing, where the kernel tells
the first of them.
"""

from __future__ import annotations

import os
from pathlib import Path
from select import EPOLLIN

__all__ = ["Readiness"]

_FDS = Path("/proc/self/fd")


class Readiness:
    """An eventfd that is readable from an event on.

    :param consuming: events are lost as the kernel's are; else it stays readable until :meth:`take`

    :ivar told: events that made it readable
    :ivar eaten: events that nobody will hear of
    """

    def __init__(self, consuming: bool) -> None:
        self.consuming = consuming
        self.told = 0
        self.eaten = 0
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        return self._descriptor

    def tell(self) -> bool:
        """There is an event; whether somebody will hear of it."""
        if self.consuming and not _has_one_listener(self._descriptor):
            self.eaten += 1
            return False
        self.told += 1
        os.eventfd_write(self._descriptor, 1)
        return True

    def insist(self) -> None:
        """Become readable whoever listens: the device is gone."""
        os.eventfd_write(self._descriptor, 1)

    def take(self) -> None:
        """Old events are known."""
        try:
            os.eventfd_read(self._descriptor)
        except BlockingIOError:
            pass

    def close(self) -> None:
        os.close(self._descriptor)

    def __repr__(self) -> str:
        kind = "consuming" if self.consuming else "level"
        return f"<Readiness {kind}, {self.told} events told, {self.eaten} eaten>"


def _has_one_listener(descriptor: int) -> bool:
    """Whether it is in one epoll set, and that one in no other."""
    sets = _epoll_sets(descriptor)
    return len(sets) == 1 and not _epoll_sets(sets[0])


def _epoll_sets(descriptor: int) -> list[int]:
    return [int(entry.name) for entry in _FDS.iterdir() if _listens(entry, descriptor)]


def _listens(entry: Path, descriptor: int) -> bool:
    """Whether an open file is an epoll set that would report ``descriptor`` readable."""
    try:
        if "eventpoll" not in str(entry.readlink()):
            return False
        lines = Path("/proc/self/fdinfo", entry.name).read_text().splitlines()
    except OSError:  # Closed since it was listed.
        return False
    for (
        line
    ) in lines:  # "tfd:  3 events:  19 …": what is watched, and for what; without EPOLLIN until its MOD.
        words = line.split()
        if words[:1] == ["tfd:"] and int(words[1]) == descriptor and int(words[3], 16) & EPOLLIN:
            return True
    return False
