"""What is counted, and the one line a second that says so."""

from __future__ import annotations

import resource
import time

__all__ = ["Figures"]


class Figures:
    """Counters since the start. What a second brought is the difference to the second before.

    :param quiet: say nothing until the end
    :ivar received: bytes from clients
    :ivar sent: bytes to clients
    :ivar operations: given to the accelerator
    :ivar plain: bodies that go as they are because of the accelerator: it failed, had no room, or did not make them smaller
    :ivar refused: connections that were dropped for want of a place
    :ivar nombuf: times that a socket was left unread for want of a buffer
    :ivar bypassed: bodies that were not compressed for want of a buffer
    :ivar empty: turns in which there was nothing to do
    :ivar turns: turns
    :ivar sleeps: times that the proxy slept
    """

    COUNTERS = (
        "received",
        "sent",
        "operations",
        "plain",
        "refused",
        "nombuf",
        "bypassed",
        "empty",
        "turns",
        "sleeps",
    )

    def __init__(self, quiet: bool) -> None:
        self.received = self.sent = self.operations = self.plain = self.refused = 0
        self.nombuf = self.bypassed = self.empty = self.turns = self.sleeps = 0
        self.served = 0
        self._quiet = quiet
        self._latencies: list[float] = []
        self._before = self._now()

    def requests(self, latencies: list[float]) -> None:
        """So many requests were answered; the list is emptied."""
        self.served += len(latencies)
        self._latencies += latencies
        latencies.clear()

    def _now(self) -> tuple[float, float, int, dict[str, int]]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        counters = {name: getattr(self, name) for name in self.COUNTERS}
        return time.monotonic(), usage.ru_utime + usage.ru_stime, self.served, counters

    def line(self, **occupancy: int) -> None:
        """One line of what came since the last.

        :param occupancy: what is in use now
        """
        (since, cpu, served, counters), self._before = self._before, self._now()
        latencies, self._latencies = sorted(self._latencies), []
        seconds = max(self._before[0] - since, 1e-9)
        if self._quiet:
            return
        delta = {name: value - counters[name] for name, value in self._before[3].items()}
        words = [
            f"req/s {(self._before[2] - served) / seconds:.0f}",
            f"rx {_size(delta['received'] / seconds)}/s",
            f"tx {_size(delta['sent'] / seconds)}/s",
            f"ops/s {delta['operations'] / seconds:.0f}",
            f"p50 {_milliseconds(latencies, 0.50)}",
            f"p99 {_milliseconds(latencies, 0.99)}",
            *(f"{name} {value}" for name, value in occupancy.items()),
            f"drops {delta['refused'] + delta['bypassed']}",
            f"nombuf {delta['nombuf']}",
            f"empty {delta['empty']}/{delta['turns']}",
            f"sleeps {delta['sleeps']}",
            f"cpu {100 * (self._before[1] - cpu) / seconds:.0f}%",
        ]
        print(" | ".join(words), flush=True)

    def total(self) -> None:
        """The last line."""
        counters = ", ".join(f"{name} {getattr(self, name)}" for name in self.COUNTERS)
        print(f"total: requests {self.served}, {counters}", flush=True)


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def _milliseconds(ordered: list[float], part: float) -> str:
    if not ordered:
        return "-"
    return f"{1000 * ordered[min(len(ordered) - 1, int(part * len(ordered)))]:.2f} ms"
