"""The report as a picture: how many times as many operations a second as each peer."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

from ..commands import Failure
from .cases import Case
from .documents import Report
from .results import Compared, compare, rate_over
from .sides import HOP
from .tables import three
from .targets import Verdict
from .works import WORKS

__all__ = ["FORMATS", "check", "draw"]

#: Name of the file ends so -> a format that matplotlib writes.
FORMATS: Final = {".svg": "svg", ".png": "png"}

#: Loop -> colour; told apart by colour-blind people too (Okabe and Ito).
COLOURS: Final = {"asyncio": "#0072B2", "uvloop": "#E69F00", "trio": "#009E73"}

#: No peers: our other side, and the limit of the loop itself.
_LEFT_OUT: Final = frozenset({HOP, "futures"})


def check(path: Path) -> None:
    """See that a chart can be drawn, before anything is measured.

    :raises Failure: if not
    """
    if path.suffix.lower() not in FORMATS:
        raise Failure(f"--chart {path}: expected a name that ends in {' or '.join(FORMATS)}")
    try:
        import_module("matplotlib.figure")
    except ImportError as error:
        raise Failure("--chart needs matplotlib; type: pip install 'wdasync[bench]'") from error


def draw(path: Path, report: Report) -> None:
    """Draw the throughput cases, one panel each: bars for the peers and other backends, in a colour for each loop.

    :raises Failure: if there are none
    """
    kind, panels = FORMATS[path.suffix.lower()], _panels(report)
    if not panels:
        raise Failure("--chart: no operations a second were compared with a peer's; leave out --side")
    matplotlib, figures = import_module("matplotlib"), import_module("matplotlib.figure")
    heights = [len(panel.peers) + 0.6 for panel in panels]
    with matplotlib.rc_context({"svg.hashsalt": "wdasync", "font.size": 9}):
        figure = figures.Figure(figsize=(8, 1.2 + 0.55 * sum(heights)), layout="constrained")
        grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=heights)
        for axis, panel in zip(grid[:, 0], panels, strict=True):
            _draw_panel(axis, panel, [run.loop for run in report.runs])
        _dress(figure, grid[:, 0], report)
        figure.savefig(path, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)


class Bar(NamedTuple):
    """One ratio.

    :ivar found: the ratio
    :ivar wanted: the target; ``None``: there is none
    """

    found: Compared
    wanted: float | None


class Panel(NamedTuple):
    """One case.

    :ivar title: its title
    :ivar peers: label of a peer -> loop -> ratio
    """

    title: str
    peers: dict[str, dict[str, Bar]]


def _panels(report: Report) -> list[Panel]:
    panels: dict[str, Panel] = {}
    for run in report.runs:
        for outcome in run.cases:
            case = outcome.case
            peers = [side for side in case.sides if side != case.ours and side not in _LEFT_OUT]
            if (case.kind in ("load", "backends") or case.kind in WORKS) and peers:
                panel = panels.setdefault(case.title, Panel(case.title, {}))
                for side in peers:
                    found = compare(outcome, rate_over(case.ours, side))
                    bar = Bar(found, _wanted(report.verdicts, run.loop, case, side))
                    panel.peers.setdefault(run.label(side), {})[run.loop] = bar
    return list(panels.values())


def _wanted(verdicts: Sequence[Verdict], loop: str, case: Case, side: str) -> float | None:
    return next(
        (
            verdict.target.wanted
            for verdict in verdicts
            if verdict.loop == loop
            and (verdict.target.kind, verdict.target.size, verdict.target.peer)
            == (case.kind, case.size, side)
        ),
        None,
    )


def _draw_panel(axis: Any, panel: Panel, loops: Sequence[str]) -> None:
    thickness = 0.8 / len(loops)
    for number, loop in enumerate(loops):
        colour = COLOURS[loop]
        axis.barh([0], [0], left=1, color=colour, label=loop)  # for the legend
        for row, bars in enumerate(panel.peers.values()):
            if loop in bars:
                _draw_bar(axis, bars[loop], row - 0.4 + thickness * (number + 0.5), thickness * 0.9, colour)
    axis.set_title(panel.title, loc="left", fontsize=9, fontweight="bold")
    axis.set_xscale("log")
    axis.set_yticks(range(len(panel.peers)), list(panel.peers))
    axis.invert_yaxis()
    axis.tick_params(axis="y", length=0)
    axis.axvline(1, color="#333333", linewidth=0.8)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.grid(axis="x", linewidth=0.3)
    axis.set_axisbelow(True)


def _draw_bar(axis: Any, bar: Bar, place: float, thickness: float, colour: str) -> None:
    """The median as a bar, lowest and highest round as a line, the target as a mark, the number beside them."""
    low, high, wanted = bar.found.low, bar.found.high, bar.wanted
    axis.barh([place], [bar.found.median - 1], thickness, left=1, color=colour)
    axis.plot([low, high], [place, place], color="#555555", linewidth=0.8)
    if wanted is not None:
        half = thickness / 2
        axis.plot([wanted, wanted], [place - half, place + half], color="black", linewidth=2)
    axis.text(
        max(1.0, high, wanted or 0) * 1.04, place, f"{three(bar.found.median)}", va="center", fontsize=7
    )


def _dress(figure: Any, axes: Sequence[Any], report: Report) -> None:
    """What belongs to the whole picture: scale, legend, words."""
    ticker, machine = import_module("matplotlib.ticker"), report.origin.machine
    low, high = axes[0].get_xlim()
    axes[0].set_xlim(min(low, 0.8), max(high, 2) * 1.3)  # Room for the numbers beside the bars.
    axes[-1].xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes[-1].xaxis.set_minor_locator(ticker.NullLocator())
    axes[-1].xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}×"))
    figure.suptitle("wdasync: times as many operations a second as …", x=0.01, ha="left", fontsize=11)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=3, frameon=False)
    about = f"{machine['cpu']}, {machine['cores']} cores, {machine['python']}"
    marks = "Bar: median; thin line: lowest and highest round; black mark: target."
    axes[-1].set_xlabel(f"{marks}  {about}.", fontsize=7, color="#555555")
