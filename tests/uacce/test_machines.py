"""What ``wdasync doctor`` says of machines, good and broken: word by word, in files that people can read.

``WDASYNC_WRITE_MACHINES=1`` writes them anew.
"""

import dataclasses
import io
import os
from pathlib import Path

import pytest
from rich.console import Console

from wdasync import registry
from wdasync.backend import Check
from wdasync.cli.doctor import Finding, _collect, _print
from wdasync.cli.running import run
from wdasync_uacce import UacceBackend, trials

from .machines import MACHINES

TEXTS = Path(__file__).parent / "machines"
WRITE = "WDASYNC_WRITE_MACHINES"


class Clock:
    """Time that passes when somebody sleeps."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def self_test(backend: UacceBackend, monkeypatch: pytest.MonkeyPatch) -> list[Check]:
    """What an accelerator that uses the machine's device makes of it."""
    monkeypatch.setattr(registry, "get_backend", lambda name: backend)
    monkeypatch.setenv("WDASYNC_SAFETY_INTERVAL", "0.02")
    return run(lambda: _collect("uacce"))


@pytest.mark.parametrize("name", MACHINES)
def test_what_doctor_says(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    machine, write = MACHINES[name], os.environ.get(WRITE)
    backend = machine.build(tmp_path)
    monkeypatch.delenv(WRITE, raising=False)  # it is no setting
    if not machine.mute:  # there the engine works in a thread, and time is what it is
        monkeypatch.setattr(trials, "time", Clock())
    checks = [
        dataclasses.replace(
            check,
            found=check.found.replace(f"{tmp_path}/", "/"),
            advice=check.advice.replace(f"{tmp_path}/", "/"),
        )
        for check in [
            *backend.diagnose(backend.Options()),
            *(self_test(backend, monkeypatch) if machine.mute else ()),
        ]
    ]
    out = io.StringIO()
    console = Console(file=out, width=110, color_system=None)
    for number, check in enumerate(checks):
        _print(console, Finding(f"{name}: {machine.fault}", check), new=not number)
    text = "\n".join(line.rstrip() for line in out.getvalue().strip().splitlines()) + "\n"
    if write:
        (TEXTS / f"{name}.txt").write_text(text)
    assert [check.name for check in checks if check.passed is False] == list(machine.failing)
    assert all(bool(check.advice) for check in checks if check.passed is False)
    assert text == (TEXTS / f"{name}.txt").read_text()


def test_no_text_is_left_over() -> None:
    assert {path.stem for path in TEXTS.iterdir()} == set(MACHINES)
    assert sum(bool(machine.failing) for machine in MACHINES.values()) >= 10
