"""The figures in README are those of the committed run of ``bench``."""

import json
import re
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).parents[2]
RUN = json.loads((CHECKOUT / "docs" / "_static" / "bench.json").read_text())
README = (CHECKOUT / "README.md").read_text()
SIDES = ("wdasync", "thread", "inline-zlib")
SIZES = {"1 KiB": 1 << 10, "16 KiB": 16 << 10, "256 KiB": 256 << 10}


def medians(loop: str, size: int, side: str) -> dict[str, Any]:
    (found,) = [
        case["sides"][side]["medians"]
        for run in RUN["loops"]
        if run["loop"] == loop
        for case in run["cases"]
        if (case["kind"], case["size"]) == ("load", size)
    ]
    return found  # type: ignore[no-any-return]


def expected() -> list[list[str]]:
    rows = []
    for title, size in SIZES.items():
        found = [medians("asyncio", size, side) for side in SIDES]
        rates = [f"{side['rate']:,.0f}" for side in found]
        stalls = [f"{side['stall'] * 1e3:.1f} ms" for side in found]
        rows.append([title, *rates, *stalls])
    return rows


def test_the_table() -> None:
    (table,) = re.findall(r"(?<=\n\n)\| asyncio, 64 at a time .*?(?=\n\n)", README, re.DOTALL)
    shown = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    assert shown == expected()


def test_machine_and_command() -> None:
    machine = RUN["machine"]
    assert f"`{RUN['command']}`" in README
    assert f"{machine['cores']} cores" in README
    assert machine["python"] in README
    assert machine["cpu"].replace("(R)", "") in README
