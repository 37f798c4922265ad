"""How it is shown on a terminal, 80 columns wide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..output import show, table
from .codecs import Likeness
from .results import compare, compare_rounds, rate_over, summary
from .rounds import CaseRun, LoopRun
from .targets import Verdict

__all__ = [
    "show_backends",
    "show_faults",
    "show_legend",
    "show_loop",
    "show_machine",
    "show_verdicts",
    "show_where",
    "three",
]


#: Blanks round a cell: none but one after it.
TIGHT: Final = (0, 1, 0, 0)


def three(value: float) -> str:
    """A number with three digits or so: ``0.0123``, ``1.23``, ``12.3``, ``1234``."""
    digits = next(
        (digits for bound, digits in ((0.1, 4), (1, 3), (10, 2), (100, 1)) if abs(value) < bound), 0
    )
    return f"{value:.{digits}f}"


def show_machine(out: Console, machine: Mapping[str, object]) -> None:
    """Where it is measured."""
    versions = machine["versions"]
    assert isinstance(versions, Mapping)
    out.print(
        f"{machine['cpu']}, {machine['cores']} of {machine['cores_of_machine']} cores, {machine['kernel']},"
    )
    show(out, ", ".join([str(machine["python"]), *(f"{name} {number}" for name, number in versions.items())]))


def show_loop(out: Console, run: LoopRun) -> None:
    """A row for each side, in a section for each case."""
    numbers = ("op/s", "× ours", "CPU µs", "p50 ms", "p99 ms", "stall ms")
    rows = table(run.loop, *[(name, "right") for name in numbers])
    for outcome in run.cases:
        rows.add_section()
        rows.add_row(Text(outcome.case.title, style="bold"))
        for side in outcome.case.sides:
            _add_side(rows, run, outcome, side)
    rows.padding = TIGHT
    show(out, rows)
    for text, why in run.left_out.items():
        out.print(f"{text}: left out: {why}")


def _add_side(rows: Table, run: LoopRun, outcome: CaseRun, side: str) -> None:
    found = summary(outcome.samples[side])
    ours = outcome.case.ours
    times = "" if side == ours else three(compare(outcome, rate_over(ours, side)).median)
    rows.add_row(
        f"  {run.label(side)}",
        f"{found.rate:.0f}",
        times,
        three(found.cpu * 1e6),
        three(found.p50 * 1e3),
        three(found.p99 * 1e3),
        three(found.stall * 1e3),
        style="cyan" if side == ours else None,
    )


#: What the columns of the tables of the loops are.
_LEGEND: Final = """\
× ours: so many times as many operations a second has wdasync. CPU: of the whole
process, for one operation. Stall: the longest time for which the loop was away.\
"""


def show_legend(out: Console, runs: Sequence[LoopRun]) -> None:
    """What the words in the tables of the loops mean."""
    out.print(_LEGEND)
    codec = runs[0].codec
    same = "makes the same bytes" if codec.same else "makes other bytes: this is not the same work"
    out.print(f"Where nothing is said, peers use {codec.name}; it {same}.\n")


def show_backends(out: Console, runs: Sequence[LoopRun]) -> None:
    """What the other backends do beside ours, each difference once."""
    lines: dict[str, None] = {}
    for run in runs:
        for outcome in run.cases:
            for side, found in outcome.likeness.items():
                lines[f"{outcome.case.title}: {run.label(side)} {_likeness(found)}."] = None
    for line in lines:
        out.print(line)
    if lines:
        out.print()


def _likeness(found: Likeness) -> str:
    codec = found.codec.name if found.codec.same else "an unknown codec"
    if found.same:
        return f"uses {codec} and makes the same bytes as ours"
    if found.related:
        return f"uses {codec}: the codec of ours, but other bytes, {found.size:.1%} as many"
    return f"uses {codec}: this is not the same work; {found.size:.1%} as many bytes"


def show_faults(out: Console, runs: Sequence[LoopRun], pages: int) -> None:
    """A row for each backend that takes pages on fault, a column for each loop."""
    names = dict.fromkeys(name for run in runs for name in run.faults)
    if not names:
        return
    rows = table("A page fault, µs", *[(run.loop, "right") for run in runs])
    for name in names:
        rows.add_row(f"wdasync on {name}", *[_fault(run, name) for run in runs])
    rows.padding = TIGHT
    show(out, rows)
    out.print(
        f"Page fault: what {pages} absent pages add to a compression, less their pager's time,\n"
        "divided by the faults. Median (lowest to highest round).\n"
    )


def _fault(run: LoopRun, name: str) -> str:
    if name not in run.faults:
        return "–"
    found = compare_rounds({name: run.faults[name]}, lambda turn: turn[name].cost * 1e6)
    return f"{three(found.median)} ({three(found.low)} to {three(found.high)})"


def show_verdicts(out: Console, verdicts: Sequence[Verdict]) -> None:
    """A row for each target, a column for each loop."""
    loops = list(dict.fromkeys(verdict.loop for verdict in verdicts))
    rows = table("Target, on two cores", ("", "right"), *[(loop, "right") for loop in loops])
    by_target: dict[tuple[str, str], dict[str, Verdict]] = {}
    for verdict in verdicts:
        by_target.setdefault((verdict.target.text, verdict.target.bound), {})[verdict.loop] = verdict
    for (text, bound), found in by_target.items():
        rows.add_row(text, bound, *[_verdict(found.get(loop)) for loop in loops])
    rows.padding = TIGHT
    show(out, rows)
    if any(verdict.target.kind == "latency" for verdict in verdicts):
        out.print("Delay: what a hop adds to the latency of inline, one operation at a time.")


def _verdict(verdict: Verdict | None) -> Text:
    if verdict is None:
        return Text("–")
    word, style = ("reached", "green") if verdict.reached else ("missed", "red")
    return Text(f"{three(verdict.found.median)} {word}", style=style)


def show_where(out: Console, runs: Sequence[LoopRun]) -> None:
    """Where operations like the measured ones ran: how many of those that were asked, a column for each loop."""
    rows = table("wdasync ran", "on", "because", *[(run.loop, "right") for run in runs])
    counts: dict[tuple[str, str, str], Counter[str]] = {}
    for run in runs:
        for outcome in run.cases:
            for ran, count in outcome.ran.items():
                key = (outcome.case.title, ran.place, ran.reason)
                counts.setdefault(key, Counter())[run.loop] += count
    for key, found in counts.items():
        rows.add_row(*key, *[str(found[run.loop] or "–") for run in runs])
    rows.padding = TIGHT
    show(out, rows)
