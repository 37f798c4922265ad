"""Figures of the long tests: printed, and kept in ``report.json`` and ``REPORT.md`` with seed and commit."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.cpu.support import CHECKOUT

FIGURES = Path(__file__).with_name("report.json")
REPORT = Path(__file__).with_name("REPORT.md")

HEAD = """| What | Figures | Seed | Commit | Day |
| --- | --- | --- | --- | --- |
"""

#: Says a line of figures: (what was done, what came of it, seed).
Teller = Callable[[str, str, int], None]


def commit() -> str:
    """The commit of this checkout, with a + if files of the product have been changed since."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(CHECKOUT), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    changed = git("status", "--porcelain", "--", "wdasync", "backends")
    return git("rev-parse", "--short=10", "HEAD") + ("+" if changed else "")


def write(rows: dict[str, dict[str, str]]) -> None:
    """Both files."""
    FIGURES.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n")
    lines = [
        f"| {what} | {row['figures']} | {row['seed']} | `{row['commit']}` | {row['day']} |\n"
        for what, row in sorted(rows.items())
    ]
    REPORT.write_text(HEAD + "".join(lines))


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Teller:
    """Prints a line of figures. With ``STRESS_REPORT`` in the environment it is kept as well, in place of the one before."""

    def say(what: str, figures: str, seed: int) -> None:
        machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        with capsys.disabled():
            print(f"\n{what}: {figures}; seed {seed}, {machine}, {commit()}")
        if os.environ.get("STRESS_REPORT"):
            rows = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
            rows[what] = {
                "figures": figures, "seed": str(seed), "commit": commit(), "day": f"{datetime.now(UTC):%Y-%m-%d}",
                "machine": machine,
            }  # fmt: skip
            write(rows)

    return say
