"""The life of requests, written down: for chrome://tracing and Perfetto, and as text.

A track is one agent: ``queue 5``, ``smmu``, ``kernel``, ``engine``. An instant is a moment, a span has a begin and an
end, which are put together by (name, number) so that spans of different requests may overlap. The off switch is a
class: :class:`Trace` does nothing, :class:`Recorder` remembers.
"""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path
from typing import NamedTuple

from wdasync_hip08.clocks import Clock

__all__ = ["Recorder", "Trace", "TraceEvent"]


class TraceEvent(NamedTuple):
    """One line of a trace.

    :ivar when: seconds of the model's clock
    :ivar phase: ``i`` instant, ``b`` begin, ``e`` end
    :ivar number: which span; 0 for instants
    """

    when: float
    phase: str
    track: str
    name: str
    number: int
    details: dict[str, object]


class Trace:
    """A trace that nobody reads."""

    on = False

    def instant(self, track: str, name: str, **details: object) -> None:
        """Something happened."""

    def begin(self, track: str, name: str, number: int, **details: object) -> None:
        """Something begins."""

    def end(self, track: str, name: str, number: int, **details: object) -> None:
        """The span with this name and number ends."""

    def __repr__(self) -> str:
        return "<Trace off>"


class Recorder(Trace):
    """Remembers the last events.

    :param limit: how many; older ones are forgotten

    :ivar forgotten: how many those are
    """

    on = True

    def __init__(self, clock: Clock, limit: int = 100_000) -> None:
        self._clock = clock
        self.forgotten = 0
        self.events: deque[TraceEvent] = deque(maxlen=limit)

    def instant(self, track: str, name: str, **details: object) -> None:
        self._remember("i", track, name, 0, details)

    def begin(self, track: str, name: str, number: int, **details: object) -> None:
        self._remember("b", track, name, number, details)

    def end(self, track: str, name: str, number: int, **details: object) -> None:
        self._remember("e", track, name, number, details)

    def _remember(self, phase: str, track: str, name: str, number: int, details: dict[str, object]) -> None:
        self.forgotten += len(self.events) == self.events.maxlen
        self.events.append(TraceEvent(self._clock.now(), phase, track, name, number, details))

    def save(self, path: Path) -> None:
        """Write it, in place of what is there: text if the file's name ends in ``.txt``, else JSON.

        :raises OSError: it cannot be written
        """
        path.write_text(self.text() if path.suffix == ".txt" else self.chrome(), encoding="utf-8")

    def chrome(self) -> str:
        """JSON in the Trace Event Format; open it in https://ui.perfetto.dev or chrome://tracing."""
        tracks = {
            track: number for number, track in enumerate(dict.fromkeys(e.track for e in self.events), 1)
        }
        rows: list[dict[str, object]] = [
            {"ph": "M", "name": "thread_name", "pid": 1, "tid": number, "args": {"name": track}}
            for track, number in tracks.items()
        ]
        for event in self.events:
            row: dict[str, object] = {
                "ph": event.phase, "name": event.name, "cat": event.track, "pid": 1, "tid": tracks[event.track],
                "ts": round(event.when * 1e6, 3), "args": {key: _plain(value) for key, value in event.details.items()},
            }  # fmt: skip
            row |= {"s": "t"} if event.phase == "i" else {"id": f"{event.name}{event.number:#x}"}
            rows.append(row)
        other = {"forgotten": self.forgotten}
        return json.dumps({"traceEvents": rows, "displayTimeUnit": "ns", "otherData": other})

    def text(self) -> str:
        """One line an event: µs since the first, track, what, details. Before them, how many were forgotten."""
        first = self.events[0].when if self.events else 0.0
        marks = {"i": " ", "b": "┌", "e": "└"}
        lines = [f"{self.forgotten} events before these were forgotten"] if self.forgotten else []
        for event in self.events:
            details = " ".join(f"{key}={_short(value)}" for key, value in event.details.items())
            number = f" {event.number:#x}" if event.phase != "i" else ""
            lines.append(
                f"{(event.when - first) * 1e6:12.1f}  {event.track:<20} {marks[event.phase]} {event.name}{number} {details}".rstrip()
            )
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<Recorder {len(self.events)} events, {self.forgotten} forgotten>"


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, bool | float | str) else _short(value)


def _short(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:#x}" if value > 4096 else str(value)
    return str(value)
