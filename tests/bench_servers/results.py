"""What the rounds say: medians, ratios of turns of the same round, and what was to be reached."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from .rounds import Turn
from .sides import OURS

__all__ = ["TARGETS", "Compared", "Report", "Target", "compare", "document", "judge"]

Measure = Callable[[Turn], float]


def rate(turn: Turn) -> float:
    """Requests a second."""
    return turn.load.rate


def cpu(turn: Turn) -> float:
    """CPU seconds of the server for one request."""
    return turn.cpu_per_request


def p99(turn: Turn) -> float:
    """Latency in seconds."""
    return turn.load.p99


class Target(NamedTuple):
    """What is to be reached: a ratio of ours to a peer's.

    :ivar text: for people
    :ivar case: as ``--case`` takes it
    :ivar peer: name of its side; empty: what is asked for is the figure itself
    :ivar measure: of one turn
    :ivar wanted: the bound
    :ivar ours: name of our side
    :ivar least: the bound is the least that is good enough, otherwise the most
    """

    text: str
    case: str
    peer: str
    measure: Measure
    wanted: float
    least: bool = True
    ours: str = OURS

    def reached(self, value: float) -> bool:
        """Whether this is good enough."""
        return value >= self.wanted if self.least else value <= self.wanted


TARGETS: Final = (
    Target("64 KiB JSON, requests/s over Starlette GZip 6", "page", "starlette-6", rate, 8),
    Target("64 KiB JSON, requests/s over Starlette GZip 1", "page", "starlette-1", rate, 4),
    Target("64 KiB JSON, requests/s over ISA-L in to_thread", "page", "isal-thread", rate, 1.3),
    Target(
        "64 KiB JSON, server CPU per request over Starlette GZip 6",
        "page",
        "starlette-6",
        cpu,
        1 / 7,
        least=False,
    ),
    Target(
        "p99 of a small request beside 1 MB bodies, over Starlette GZip 9",
        "storm",
        "starlette-9",
        p99,
        0.1,
        least=False,
    ),
    Target("Proxy, 64 KiB JSON, requests/s over nginx", "proxy", "nginx-proxy", rate, 1, ours="proxy-rtc"),
    Target(
        "Proxy, RSA-2048 handshakes/s over nginx", "handshake", "nginx-tls", rate, 0.5, ours="tls-offloaded"
    ),
    Target(
        "Proxy, p99 in seconds of a small request while others shake hands",
        "calm",
        "",
        p99,
        0.005,
        least=False,
        ours="tls-offloaded",
    ),
)


class Compared(NamedTuple):
    """A ratio over the rounds."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was measured.

    :ivar command: what to type to measure the same
    :ivar machine: where
    :ivar versions: of the programs
    :ivar seconds: of a turn
    :ivar lengths: side -> bytes of a compressed page
    :ivar cases: case -> side -> turns
    """

    command: str
    machine: Mapping[str, object]
    versions: Mapping[str, str]
    seconds: float
    lengths: Mapping[str, int]
    cases: Mapping[str, Mapping[str, Sequence[Turn]]]


def compare(ours: Sequence[Turn], theirs: Sequence[Turn], measure: Measure) -> Compared:
    """The ratio of each round, and its median."""
    ratios = [measure(a) / measure(b) for a, b in zip(ours, theirs, strict=True)]
    return Compared(statistics.median(ratios), min(ratios), max(ratios))


def judge(report: Report) -> list[tuple[Target, Compared]]:
    """What came of each target that was measured."""
    judged = []
    for target in TARGETS:
        sides = report.cases.get(target.case, {})
        if target.ours not in sides:
            continue
        if not target.peer:
            values = [target.measure(turn) for turn in sides[target.ours]]
            judged.append((target, Compared(statistics.median(values), min(values), max(values))))
        elif target.peer in sides:
            judged.append((target, compare(sides[target.ours], sides[target.peer], target.measure)))
    return judged


def medians(turns: Sequence[Turn]) -> dict[str, float]:
    """Of each figure of a side."""
    figures: dict[str, Measure] = {
        "rate": rate,
        "cpu_per_request": cpu,
        "p50": lambda turn: turn.load.p50,
        "p99": p99,
        "longest": lambda turn: turn.load.longest,
    }
    return {name: statistics.median(map(measure, turns)) for name, measure in figures.items()}


def document(report: Report) -> dict[str, Any]:
    """The report as JSON, every turn of it."""
    return {
        "command": report.command,
        "machine": dict(report.machine),
        "versions": dict(report.versions),
        "seconds": report.seconds,
        "lengths": dict(report.lengths),
        "cases": {
            case: {
                side: {
                    "medians": medians(turns),
                    "rounds": [
                        {
                            "requests": turn.load.requests,
                            "seconds": turn.load.seconds,
                            "bytes": turn.load.nbytes,
                            "cpu": turn.cpu,
                            "p50": turn.load.p50,
                            "p99": turn.load.p99,
                            "longest": turn.load.longest,
                        }
                        for turn in turns
                    ],
                }
                for side, turns in sides.items()
            }
            for case, sides in report.cases.items()
        },
        "targets": [
            {
                "text": target.text,
                "wanted": target.wanted,
                "least": target.least,
                "median": found.median,
                "low": found.low,
                "high": found.high,
                "reached": target.reached(found.median),
            }
            for target, found in judge(report)
        ],
    }
