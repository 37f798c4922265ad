"""The report as a document, for programs and for the record."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from ... import AcceleratorStatistics
from .codecs import Likeness
from .faults import FaultSample
from .results import compare, compare_rounds, rate_over, summary
from .rounds import CaseRun, LoopRun, Plan
from .sides import OURS
from .targets import Verdict

__all__ = ["SCHEMA", "Origin", "Report", "document"]

#: Of the document; another number means that its keys mean something else.
SCHEMA: Final = 1


class Origin(NamedTuple):
    """Where numbers are from.

    :ivar command: what to type to measure the same
    :ivar source: name of the input
    :ivar machine: from :func:`~wdasync.cli.benchmarks.machine.describe`
    """

    command: str
    source: str
    machine: Mapping[str, object]


class Report(NamedTuple):
    """Everything.

    :ivar plan: what was to be measured
    :ivar origin: where
    :ivar runs: what each loop showed
    :ivar verdicts: what came of the targets
    :ivar others: fraction of all cores that other programs kept busy; ``None``: unknown
    """

    plan: Plan
    origin: Origin
    runs: Sequence[LoopRun]
    verdicts: Sequence[Verdict]
    others: float | None


def document(report: Report) -> dict[str, object]:
    """Every round, and what was made of them. Times are in seconds."""
    plan, origin, runs, verdicts, others = report
    return {
        "schema": SCHEMA,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": origin.command,
        "machine": {**origin.machine, "others": others},
        "settings": {
            "backend": plan.backend,
            "rounds": plan.rounds,
            "seconds": plan.seconds,
            "input": origin.source,
            "pages": plan.pages,
            "backends": list(plan.others),
            "backends_left_out": dict(plan.left_out),
        },
        "loops": [_loop(run) for run in runs],
        "targets": [_verdict(verdict) for verdict in verdicts],
    }


def _loop(run: LoopRun) -> dict[str, object]:
    return {
        "loop": run.loop,
        "codec": {"name": run.codec.name, "same": run.codec.same},
        "threads": run.threads,
        "cases": [_case(run, outcome) for outcome in run.cases],
        "faults": {name: _faults(samples) for name, samples in run.faults.items()},
        "left_out": run.left_out,
        "statistics": {name: _statistics(found) for name, found in run.statistics.items()},
    }


def _case(run: LoopRun, outcome: CaseRun) -> dict[str, object]:
    case = outcome.case
    return {
        "kind": case.kind,
        "size": case.size,
        "in_flight": case.in_flight,
        "ours": case.ours,
        "sides": {side: _side(run, outcome, side) for side in case.sides},
        "ran": [{**ran._asdict(), "operations": count} for ran, count in outcome.ran.most_common()],
    }


def _faults(samples: Sequence[FaultSample]) -> dict[str, object]:
    cost = compare_rounds({OURS: samples}, lambda turn: turn[OURS].cost)
    return {
        "cost": _finite(dataclasses.asdict(cost)),
        "rounds": [dataclasses.asdict(sample) for sample in samples],
    }


def _likeness(found: Likeness) -> dict[str, object]:
    codec = found.codec.name if found.codec.same else None
    return {"codec": codec, "same": found.same, "related": found.related, "size": found.size}


def _side(run: LoopRun, outcome: CaseRun, side: str) -> dict[str, object]:
    samples = outcome.samples[side]
    return {
        "label": run.label(side),
        "medians": dataclasses.asdict(summary(samples)),
        "ours_over_it": dataclasses.asdict(compare(outcome, rate_over(outcome.case.ours, side))),
        "rounds": [dataclasses.asdict(sample) for sample in samples],
        **({"likeness": _likeness(outcome.likeness[side])} if side in outcome.likeness else {}),
    }


def _statistics(found: AcceleratorStatistics) -> dict[str, object]:
    lanes = found.lanes
    return {
        "completed": found.completed,
        "inline": found.inline,
        "retries": found.retries,
        "rescues": found.rescues,
        "reasons": {reason: count for reason, count in found.reasons.items() if count},
        "bursts": sum(lane.bursts for lane in lanes),
        "wakes": sum(lane.wakes for lane in lanes),
    }


def _verdict(verdict: Verdict) -> dict[str, object]:
    target = verdict.target
    return {
        "text": target.text,
        "loop": verdict.loop,
        "bound": target.bound,
        "wanted": target.wanted,
        "least": target.least,
        **_finite(dataclasses.asdict(verdict.found)),
        "reached": verdict.reached,
    }


def _finite(numbers: dict[str, float]) -> dict[str, float | None]:
    """JSON has no infinity."""
    return {name: number if math.isfinite(number) else None for name, number in numbers.items()}
