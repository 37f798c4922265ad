"""The measurement of web servers itself: short, with the real programs."""

import json
import subprocess
import sys
from pathlib import Path

from tests.bench_servers.bodies import LARGE, PAGE
from tests.bench_servers.load import Load
from tests.bench_servers.results import TARGETS, Target, compare, judge
from tests.bench_servers.results import Report as Results
from tests.bench_servers.rounds import Turn
from tests.programs import needs

ROOT = Path(__file__).parents[2]


def turn(requests: int, cpu: float = 1.0, p99: float = 0.1) -> Turn:
    return Turn(Load(requests, 2.0, 0, 0, 0, p99 / 2, p99, p99 * 2), cpu)


def test_bodies() -> None:
    assert (len(PAGE), len(LARGE)) == (65536, 1_000_000)
    assert len(json.loads(PAGE)) > 100


def test_ratios_are_of_the_same_round() -> None:
    ours, theirs = [turn(100), turn(10), turn(50)], [turn(10), turn(1), turn(25)]
    assert compare(ours, theirs, lambda one: one.load.rate) == (10, 2, 10)


def test_targets() -> None:
    """Each side of each bound; a peer that was left out judges nothing."""
    sides = {"wdasync": [turn(800, cpu=1.0)], "starlette-6": [turn(100, cpu=1.0)], "isal-thread": [turn(700)]}
    report = Results("", {}, {}, 2, {}, {"page": sides})
    found = {target.text: target.reached(compared.median) for target, compared in judge(report)}
    assert found == {
        "64 KiB JSON, requests/s over Starlette GZip 6": True,
        "64 KiB JSON, requests/s over ISA-L in to_thread": False,
        "64 KiB JSON, server CPU per request over Starlette GZip 6": True,
    }
    assert all(isinstance(target, Target) for target in TARGETS)


@needs("wrk", "h2load", "nginx", "openssl")
def test_a_short_run(tmp_path: Path) -> None:
    sides = ("wdasync", "starlette-6", "nginx-1", "proxy-rtc", "nginx-proxy", "tls-offloaded", "nginx-tls")
    words = ["--rounds", "1", "--seconds", "1", *(word for side in sides for word in ("--side", side))]
    output, chart = tmp_path / "run.json", tmp_path / "run.svg"
    command = [sys.executable, "-m", "tests.bench_servers", *words, "--json", output, "--chart", chart]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(output.read_text())
    assert {name: len(sides) for name, sides in found["cases"].items()} == {
        "page": 3, "storm": 3, "proxy": 2, "handshake": 2, "calm": 2
    }  # fmt: skip
    for sides in found["cases"].values():
        for side in sides.values():
            (only,) = side["rounds"]
            assert only["requests"] > 0
            assert only["cpu"] > 0
    assert found["lengths"]["wdasync"] < 65536 / 2
    assert len(found["targets"]) == 5
    assert "Starlette GZip, level 6" in done.stdout
    assert chart.read_text().startswith("<?xml")
