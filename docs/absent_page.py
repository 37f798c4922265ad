"""Draws what happens when a device touches a page that is not there, from a trace of the emulated chip.

    python docs/absent_page.py docs/_static/absent-page.svg

A program compresses a paged buffer of one page with the option ``trace``. The picture has a column for each agent and a
line for each event, downwards in the order of the trace, with the microseconds since the doorbell.
"""

from __future__ import annotations

import json
import mmap
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import anyio
from matplotlib import rc_context
from matplotlib.figure import Figure

import wdasync

#: Agent of the trace -> colour; told apart by colour-blind people too (Okabe and Ito).
COLUMNS = {
    "hisi_zip-0 queue 2": "#0072B2",
    "smmu": "#D55E00",
    "kernel": "#009E73",
    "engine": "#CC79A7",
    "qm": "#666666",
}

#: What an event means, for people. Those that are not here are not drawn.
MEANINGS = {
    "doorbell": "doorbell: there is an entry",
    "SQE fetch": "entry fetched from the ring",
    "stall": "page absent: the access is parked",
    "page fault": "the fault, until it is answered",
    "resume": "told to try again",
    "walk": "page table walked: it is there",
    "deflate": "the work itself",
    "CQE": "completion written, with its phase bit",
    "interrupt": "interrupt",
    "wake": "the program's event loop is woken",
}

CONTENT = b"<p>Hello, world.</p>\n" * 150


class Step(NamedTuple):
    """One event of the trace.

    :ivar when: µs since the doorbell
    :ivar phase: ``i`` instant, ``b`` begin, ``e`` end
    :ivar track: the agent
    :ivar name: of the event
    :ivar details: what the trace says of it
    """

    when: float
    phase: str
    track: str
    name: str
    details: dict[str, Any]


async def pager(offset: int, length: int) -> bytes:
    """Half a millisecond away."""
    await anyio.sleep(0.0005)
    return CONTENT[offset : offset + length]


async def compress(trace: Path) -> None:
    """One request whose page is absent."""
    output = mmap.mmap(-1, mmap.PAGESIZE)  # elsewhere it could lie in two pages
    async with wdasync.open_accelerator("hip08", fallback=False, trace=str(trace)) as acc:
        result = await acc.execute(
            wdasync.Compress(wdasync.PagedBuffer(len(CONTENT), pager), "gzip", into=output)
        )
        assert result.faults == 1


def record() -> list[Step]:
    """What the trace tells of it, from its doorbell to its wake-up."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "trace.json")
        anyio.run(compress, path)
        events = json.loads(path.read_text())["traceEvents"]
    rows = [event for event in events if event["ph"] != "M"]
    begin = next(place for place, row in enumerate(rows) if row["name"] == "doorbell")
    end = next(place for place, row in enumerate(rows) if row["name"] == "wake")
    first = rows[begin]["ts"]
    steps = [
        Step(row["ts"] - first, row["ph"], row["cat"], row["name"], row["args"])
        for row in rows[begin : end + 1]
    ]
    return [step for step in steps if _is_shown(step)]


def _is_shown(step: Step) -> bool:
    """Rings and tables have no PASID: their translations are another story, and so is the other doorbell."""
    if step.name == "walk" and step.details["pasid"] is None:
        return False
    if step.name == "doorbell" and step.details["command"] != "0":
        return False
    return step.name in MEANINGS


def draw(path: Path, steps: list[Step]) -> None:
    """Draw them."""
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "wdasync", "font.size": 9}):
        figure = Figure(figsize=(9.6, 0.36 * len(steps) + 1), layout="constrained")
        axis = figure.subplots()
        axis.set_axis_off()
        axis.set_xlim(-0.9, len(COLUMNS) + 1.3)
        axis.set_ylim(len(steps) + 0.2, -1.6)
        for place, (track, colour) in enumerate(COLUMNS.items()):
            axis.text(place, -1, track, ha="center", weight="bold", color=colour)
            axis.plot([place, place], [-0.6, len(steps)], color=colour, lw=0.6, alpha=0.5)
        axis.text(-0.35, -1, "µs", ha="right", weight="bold")
        _draw_steps(axis, steps)
        figure.savefig(path, metadata={"Date": None})


def _draw_steps(axis: Any, steps: list[Step]) -> None:
    places = {track: place for place, track in enumerate(COLUMNS)}
    began: dict[str, int] = {}
    for line, step in enumerate(steps):
        x, colour = places[step.track], COLUMNS[step.track]
        axis.text(-0.35, line, f"{step.when:.0f}", ha="right", va="center")
        if step.phase == "e":
            axis.plot(
                [x, x],
                [began[step.name], line],
                color=colour,
                lw=7,
                alpha=0.35,
                solid_capstyle="butt",
            )
            text = f"{step.details.get('response', 'done')}"
        else:
            began[step.name] = line
            text = MEANINGS[step.name]
        if step.name == "walk":
            text += f" ({'for the input' if step.details['op'] == 'R' else 'for the output'})"
        axis.plot([x], [line], "o", color=colour, ms=5)
        box = {"fc": "white", "ec": "none", "alpha": 0.85, "pad": 1}
        axis.text(x + 0.12, line, text, va="center", bbox=box)


if __name__ == "__main__":
    draw(Path(sys.argv[1]), record())
