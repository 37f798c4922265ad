"""What ``wdasync doctor`` says of machines, good and broken: word by word, in files that people can read.

``WDASYNC_WRITE_MACHINES=1`` writes them anew.
"""

import dataclasses
import io
import os
from pathlib import Path

import pytest
from rich.console import Console

from wdasync.cli.doctor import Finding, _print

from .machines import MACHINES

TEXTS = Path(__file__).parent / "machines"


@pytest.mark.parametrize("name", MACHINES)
def test_what_doctor_says(tmp_path: Path, name: str) -> None:
    machine = MACHINES[name]
    backend = machine.build(tmp_path)
    checks = [
        dataclasses.replace(
            check,
            found=check.found.replace(f"{tmp_path}/", "/"),
            advice=check.advice.replace(f"{tmp_path}/", "/"),
        )
        for check in backend.diagnose(backend.Options())
    ]
    out = io.StringIO()
    console = Console(file=out, width=110, color_system=None)
    for number, check in enumerate(checks):
        _print(console, Finding(f"{name}: {machine.fault}", check), new=not number)
    text = "\n".join(line.rstrip() for line in out.getvalue().strip().splitlines()) + "\n"
    if os.environ.get("WDASYNC_WRITE_MACHINES"):
        (TEXTS / f"{name}.txt").write_text(text)
    assert [check.name for check in checks if check.passed is False] == list(machine.failing)
    assert all(bool(check.advice) for check in checks if check.passed is False)
    assert text == (TEXTS / f"{name}.txt").read_text()


def test_no_text_is_left_over() -> None:
    assert {path.stem for path in TEXTS.iterdir()} == set(MACHINES)
    assert sum(bool(machine.failing) for machine in MACHINES.values()) >= 10
