"""Time of the model: the machine's, or one that tests move by hand."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable
from typing import Protocol

__all__ = ["Clock", "RealClock", "Timer", "Timers", "VirtualClock"]


class Clock(Protocol):
    """Where the model gets the time from.

    :ivar virtual: time goes on only by :meth:`VirtualClock.advance`; nothing may then depend on threads
    """

    virtual: bool

    def now(self) -> float:
        """Seconds since some moment."""
        ...


class RealClock:
    """The monotonic clock of the machine."""

    virtual = False

    def now(self) -> float:
        return time.monotonic()

    def __repr__(self) -> str:
        return f"<RealClock {self.now():.6f} s>"


class VirtualClock:
    """Time as a number. It goes where it is told."""

    virtual = True

    def __init__(self) -> None:
        self._now = 0.0

    def now(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass.

        :raises ValueError: backwards
        """
        if seconds < 0:
            raise ValueError(f"advance: expected seconds >= 0, got {seconds}")
        self._now += seconds

    def __repr__(self) -> str:
        return f"<VirtualClock {self._now:.6f} s>"


class Timer:
    """Something to be done at a time, unless it is cancelled."""

    __slots__ = ("action", "when")

    def __init__(self, when: float, action: Callable[[], None]) -> None:
        self.when = when
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        """It will not be done. Idempotent."""
        self.action = None

    def __repr__(self) -> str:
        return f"<Timer at {self.when:.6f} s{'' if self.action is not None else ', over'}>"


class Timers:
    """Timers in order of their time; those of one time in the order in which they were set."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._heap: list[tuple[float, int, Timer]] = []
        self._count = itertools.count()

    def after(self, seconds: float, action: Callable[[], None]) -> Timer:
        """Do ``action`` in so many seconds."""
        timer = Timer(self.clock.now() + seconds, action)
        heapq.heappush(self._heap, (timer.when, next(self._count), timer))
        return timer

    def next(self) -> float | None:
        """When the first timer is due; ``None`` if there is none."""
        while self._heap and self._heap[0][2].action is None:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def run_due(self) -> int:
        """Do what is due; how many."""
        count = 0
        while (when := self.next()) is not None and when <= self.clock.now():
            timer = heapq.heappop(self._heap)[2]
            if timer.action is not None:
                action, timer.action = timer.action, None
                action()
                count += 1
        return count

    def __repr__(self) -> str:
        return f"<Timers {len(self._heap)}, next at {self.next()}, now {self.clock.now()}>"
