"""Medians, and medians of ratios: the two sides of a ratio are of the same round."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from .rounds import CaseRun
from .samples import Sample

__all__ = ["Compared", "Measure", "Summary", "compare", "compare_rounds", "ratio", "summary"]

#: Side -> sample, of one round -> a number. Of a page fault, name of a backend -> sample.
Measure = Callable[[Mapping[str, Any]], float]


@dataclass(frozen=True, slots=True)
class Summary:
    """Medians over the rounds of one side.

    :ivar rate: operations a second
    :ivar cpu: seconds of CPU time of an operation
    :ivar p50: seconds
    :ivar p99: seconds
    :ivar stall: seconds; of the longest one of each round
    :ivar worst_stall: seconds; the longest one of all rounds
    """

    rate: float
    cpu: float
    p50: float
    p99: float
    stall: float
    worst_stall: float


def summary(samples: Sequence[Sample]) -> Summary:
    """Of at least one sample."""
    return Summary(
        rate=median(sample.rate for sample in samples),
        cpu=median(sample.cpu_per_operation for sample in samples),
        p50=median(sample.p50 for sample in samples),
        p99=median(sample.p99 for sample in samples),
        stall=median(sample.stall for sample in samples),
        worst_stall=max(sample.stall for sample in samples),
    )


@dataclass(frozen=True, slots=True)
class Compared:
    """A number of each round.

    :ivar median: of all rounds
    :ivar low: the lowest
    :ivar high: the highest
    """

    median: float
    low: float
    high: float


def ratio(ours: float, theirs: float) -> float:
    """Infinite if there is nothing to divide by: a stall may be too short to be seen."""
    return ours / theirs if theirs else math.inf


def compare(run: CaseRun, measure: Measure) -> Compared:
    """A measure of every round.

    :raises KeyError: if it asks for a side that was not there
    """
    return compare_rounds(run.samples, measure)


def compare_rounds(samples: Mapping[str, Sequence[Any]], measure: Measure) -> Compared:
    """A measure of every round.

    :param samples: side -> one for each round
    :raises KeyError: if it asks for a side that was not there
    """
    rounds = [dict(zip(samples, turn, strict=True)) for turn in zip(*samples.values(), strict=True)]
    values = [measure(turn) for turn in rounds]
    return Compared(median(values), min(values), max(values))


def rate_over(ours: str, peer: str) -> Measure:
    """How many times as many operations a second."""
    return lambda samples: ratio(samples[ours].rate, samples[peer].rate)
