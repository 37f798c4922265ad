"""What is to be reached, with 64 operations in flight on two cores. A table.

Nearly all of it are ratios, which hold on any machine. What is asked of an emulated chip are figures, too, and how long the loop may be
away while keys are used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from .cases import IN_FLIGHT, kib
from .results import Compared, Measure, compare, compare_rounds, rate_over, ratio
from .rounds import CaseRun, LoopRun
from .sides import AWAITS, BARE, FEW, HOP, MANY, OURS, other
from .works import WORKS

__all__ = ["PAGING", "TARGETS", "Target", "Verdict", "judge"]

ALL: Final = ("asyncio", "uvloop", "trio")
ASYNCIO: Final = ("asyncio", "uvloop")


class Target(NamedTuple):
    """One of them.

    :ivar text: what is measured
    :ivar kind: of the case
    :ivar size: of the case
    :ivar loops: where it holds
    :ivar measure: the ratio, or the figure
    :ivar wanted: the bound
    :ivar least: the bound is the least that is good enough, otherwise the most
    :ivar peer: the side over which it is, where it is about operations a second
    """

    text: str
    kind: str
    size: int
    loops: tuple[str, ...]
    measure: Measure
    wanted: float
    least: bool = True
    peer: str = ""

    @property
    def bound(self) -> str:
        """For people."""
        return f"{'≥' if self.least else '≤'} {self.wanted:g}"

    def reached(self, value: float) -> bool:
        """Whether this is good enough."""
        return value >= self.wanted if self.least else value <= self.wanted


def _cpu_over(ours: str, peer: str) -> Measure:
    return lambda samples: ratio(samples[ours].cpu_per_operation, samples[peer].cpu_per_operation)


def _stall_over(ours: str, peer: str) -> Measure:
    return lambda samples: ratio(samples[ours].stall, samples[peer].stall)


def _p50_over(ours: str, peer: str) -> Measure:
    return lambda samples: ratio(samples[ours].p50, samples[peer].p50)


def _tax_over(ours: str, peer: str, base: str) -> Measure:
    """What one adds to the latency of the base, by what the other adds."""
    return lambda samples: ratio(samples[ours].p50 - samples[base].p50, samples[peer].p50 - samples[base].p50)


def _rate(size: int, peer: str, words: str, wanted: float, loops: tuple[str, ...] = ALL) -> Target:
    ours, title = (OURS, kib(size)) if size else (HOP, "no-op")
    return Target(f"{title} over {words}", "load", size, loops, rate_over(ours, peer), wanted, peer=peer)


def _tax(size: int) -> Target:
    measure = _tax_over(HOP, "thread", "inline")
    return Target(f"{kib(size)} delay over to_thread", "latency", size, ALL, measure, 0.25, least=False)


def _stall(size: int, wanted: float) -> Target:
    measure = _stall_over(OURS, "inline")
    return Target(f"{kib(size)} stall over inline", "stall", size, ALL, measure, wanted, least=False)


def _work(name: str, peer: str, words: str, wanted: float, ours: str = OURS) -> Target:
    work = WORKS[name]
    text = f"{work.title} over {words}"
    return Target(text, name, work.size, ALL, rate_over(ours, peer), wanted, peer=peer)


def _work_stall(name: str, wanted: float) -> Target:
    """The longest time for which the loop was away, in milliseconds."""
    work = WORKS[name]
    text = f"{work.title}, stall in ms"
    return Target(text, name, work.size, ALL, lambda samples: samples[OURS].stall * 1e3, wanted, least=False)


TARGETS: Final = (
    _rate(0, "thread", "to_thread", 8),
    _rate(0, "anyio", "anyio", 16, ASYNCIO),
    Target("no-op CPU over futures", "load", 0, ALL, _cpu_over(HOP, "futures"), 4, least=False),
    _rate(1 << 10, "thread", "to_thread", 4),
    _rate(1 << 10, "anyio", "anyio", 9, ASYNCIO),
    _rate(16 << 10, "thread", "to_thread", 1.5),
    _rate(256 << 10, "thread", "to_thread", 1),
    _rate(1 << 10, "thread-zlib", "to_thread zlib", 4),
    _rate(16 << 10, "thread-zlib", "to_thread zlib", 4),
    _rate(256 << 10, "thread-zlib", "to_thread zlib", 3.5),
    Target("256 B latency over inline", "latency", 256, ALL, _p50_over(OURS, "inline"), 1.1, least=False),
    _tax(1 << 10),
    _tax(4 << 10),
    _stall(1 << 10, 1 / 2),
    _stall(16 << 10, 1 / 10),
    _stall(256 << 10, 1 / 100),
    _work("bare", FEW, "as many bare threads as workers", 0.9),
    _work("burst", HOP, "single awaits", 2, MANY),
    _work("rsa-sign", BARE, "bare threads", 0.95),
    _work_stall("rsa-sign", 5),
    _work("sha256", "thread", "to_thread", 8),
    _work("aes-gcm", "inline", "inline", 1),
    _work("sequence", AWAITS, "three awaits", 1.3),
)


#: In what follows, the backend that it is about.
THEIRS: Final = "theirs"


def _over_ours(samples: Mapping[str, Any]) -> float:
    return ratio(samples[THEIRS].rate, samples[OURS].rate)


#: For a backend that takes pages on fault, as an emulated chip does; the braces are its name. What is about operations
#: a second is for another backend than ours, that has the codec of ours.
PAGING: Final = (
    Target("64 KiB on {} over ours", "backends", 64 << 10, ALL, _over_ours, 0.7),
    Target("1 KiB on {}, op/s", "backends", 1 << 10, ALL, lambda samples: samples[THEIRS].rate, 5000),
    Target(
        "page fault on {}, µs", "fault", 0, ALL, lambda samples: samples[THEIRS].cost * 1e6, 300, least=False
    ),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one target on one loop.

    :ivar target: the target
    :ivar loop: name of the loop
    :ivar found: the ratio, or the figure
    """

    target: Target
    loop: str
    found: Compared

    @property
    def reached(self) -> bool:
        """Whether the median is good enough."""
        return self.target.reached(self.found.median)


def judge(runs: Sequence[LoopRun]) -> list[Verdict]:
    """A verdict for each target that was measured, in the order of the table."""
    by_case = {
        (run.loop, outcome.case.kind, outcome.case.size): outcome
        for run in runs
        for outcome in run.cases
        if outcome.case.kind != "load" or outcome.case.in_flight == IN_FLIGHT
    }
    verdicts = []
    for target in TARGETS:
        for loop in target.loops:
            outcome = by_case.get((loop, target.kind, target.size))
            if outcome is not None and (found := _measured(target, outcome)) is not None:
                verdicts.append(Verdict(target, loop, found))
    return verdicts + [verdict for run in runs for name in run.faults for verdict in _paging(run, name)]


def _paging(run: LoopRun, name: str) -> Iterator[Verdict]:
    """What came of the targets of one backend that takes pages on fault."""
    side = other(name)
    for target in PAGING:
        named = target._replace(text=target.text.format(name))
        if target.kind == "fault":
            yield Verdict(named, run.loop, compare_rounds({THEIRS: run.faults[name]}, target.measure))
        for outcome in run.cases:
            case, alike = outcome.case, outcome.likeness.get(side)
            if (case.kind, case.size, case.in_flight) != (target.kind, target.size, IN_FLIGHT):
                continue
            if alike is not None and alike.related:
                samples = {OURS: outcome.samples[OURS], THEIRS: outcome.samples[side]}
                yield Verdict(named, run.loop, compare_rounds(samples, target.measure))


def _measured(target: Target, outcome: CaseRun) -> Compared | None:
    """``None`` if one of the sides was left out."""
    try:
        return compare(outcome, target.measure)
    except KeyError:
        return None
