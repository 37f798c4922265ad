"""The report for people: tables in a terminal, and a chart."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from .results import Report, judge, medians
from .sides import PROXIES, SIDES, TLS_PROXIES

__all__ = ["draw", "show"]

#: Case -> what it is.
TITLES: Final = {
    "page": "64 KiB of JSON, 64 connections",
    "storm": "a small request, while eight connections ask for 1 MB",
    "proxy": "a proxy with one core: 64 KiB of JSON, 64 connections",
    "handshake": "a proxy with one core: 400 connections that begin at once; latency is of connecting",
    "calm": "a proxy with one core: a small request, while others begin",
}

#: Name of a side -> the side.
ALL: Final = {**SIDES, **PROXIES, **TLS_PROXIES}

#: Ours and the others, told apart by colour-blind people too (Okabe and Ito).
OUR_COLOUR, THEIR_COLOUR = "#0072B2", "#999999"


def show(out: Console, report: Report) -> None:
    """A table for each case, and one of the targets."""
    for case, sides in report.cases.items():
        table = Table("", "requests/s", "CPU/request", "p50", "p99", "body", title=TITLES[case])
        for name, turns in sides.items():
            found = medians(turns)
            table.add_row(
                ALL[name].label,
                f"{found['rate']:,.0f}",
                f"{found['cpu_per_request'] * 1e6:,.0f} µs",
                f"{found['p50'] * 1e3:.1f} ms",
                f"{found['p99'] * 1e3:.1f} ms",
                f"{report.lengths[name]:,}" if case in ("page", "proxy") else "",
            )
        out.print(table)
    table = Table("", "wanted", "found", "lowest and highest round", "", title="Targets")
    for target, compared in judge(report):
        reached = target.reached(compared.median)
        bound = f"{'≥' if target.least else '≤'} {target.wanted:.3g}"
        spread = f"{compared.low:.3g} to {compared.high:.3g}"
        table.add_row(
            target.text, bound, f"{compared.median:.3g}", spread, "reached" if reached else "missed"
        )
    out.print(table)


def draw(path: Path, report: Report) -> None:
    """Requests a second, CPU time, latencies: one panel each."""
    matplotlib, figures = import_module("matplotlib"), import_module("matplotlib.figure")
    panels = [
        (case, figure, title)
        for case, figure, title in (
            ("page", "rate", "64 KiB of JSON: requests/s"),
            ("page", "cpu_per_request", "64 KiB of JSON: CPU of the server for a request, µs"),
            ("storm", "p99", "p99 of a small request beside 1 MB bodies, ms"),
            ("proxy", "rate", "A proxy with one core, 64 KiB of JSON: requests/s"),
            ("handshake", "rate", "A proxy with one core: RSA-2048 handshakes/s"),
            ("handshake", "cpu_per_request", "A proxy with one core: CPU for a handshake and a request, µs"),
            ("calm", "p99", "A proxy with one core: p99 of a small request while others shake hands, ms"),
        )
        if case in report.cases
    ]
    heights = [len(report.cases[case]) + 1 for case, _, _ in panels]
    with matplotlib.rc_context({"svg.hashsalt": "wdasync", "font.size": 9}):
        drawing = figures.Figure(figsize=(8, 1 + 0.28 * sum(heights)), layout="constrained")
        grid = drawing.subplots(len(panels), 1, squeeze=False, height_ratios=heights)
        for axis, (case, figure, title) in zip(grid[:, 0], panels, strict=True):
            _panel(axis, report, case, figure, title)
        about = f"{report.machine['cpu']}, {report.machine['cores']} cores, {report.machine['python']}"
        grid[-1, 0].set_xlabel(f"Medians of interleaved rounds. {about}.", fontsize=7, color="#555555")
        metadata = {"Date": None} if path.suffix == ".svg" else None
        drawing.savefig(path, dpi=150, metadata=metadata)


def _panel(axis: Any, report: Report, case: str, figure: str, title: str) -> None:
    scale = {"rate": 1.0, "cpu_per_request": 1e6, "p99": 1e3}[figure]
    sides = report.cases[case]
    values = [medians(turns)[figure] * scale for turns in sides.values()]
    colours = [OUR_COLOUR if ALL[name].ours else THEIR_COLOUR for name in sides]
    axis.barh(range(len(values)), values, color=colours)
    for row, value in enumerate(values):
        axis.text(value, row, f" {value:,.3g}" if value < 100 else f" {value:,.0f}", va="center", fontsize=7)
    axis.set_yticks(range(len(values)), [ALL[name].label for name in sides])
    axis.set_xlim(0, max(values) * 1.12)
    axis.invert_yaxis()
    axis.tick_params(axis="y", length=0)
    axis.set_title(title, loc="left", fontsize=9, fontweight="bold")
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.grid(axis="x", linewidth=0.3)
    axis.set_axisbelow(True)
