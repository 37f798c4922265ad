"""The rings without Python, for a moment; `nox -s stress` does it for longer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cpu.sanitizers import build_stress, has_sanitizer, run, stress


def operations(report: str) -> int:
    return int(report.split(maxsplit=1)[0])


@pytest.mark.parametrize("workers", [1, 3])
def test_nothing_is_lost(tmp_path: Path, workers: int) -> None:
    assert operations(stress(build_stress(tmp_path), 0.5, 3, workers, workers)) > 1000


def test_no_data_race(tmp_path: Path) -> None:
    if not has_sanitizer("thread", tmp_path):
        pytest.skip("the compiler has no thread sanitizer that runs here")
    assert operations(stress(build_stress(tmp_path, "thread"), 1.0, 2, 2, 7)) > 1000


def test_no_memory_error(tmp_path: Path) -> None:
    if not has_sanitizer("address,undefined", tmp_path):
        pytest.skip("the compiler has no address sanitizer that runs here")
    assert operations(stress(build_stress(tmp_path, "address,undefined"), 0.5, 2, 2, 8)) > 1000


def test_when_the_owner_is_woken(tmp_path: Path) -> None:
    """At once, unless there is much more to do for it that takes little time."""
    program = build_stress(tmp_path, source=Path(__file__).parent / "native_finished.c")
    done = run([str(program)], timeout=60)
    assert (done.returncode, done.stdout) == (0, "good\n"), done.stdout + done.stderr


def test_when_the_owner_is_busy(tmp_path: Path) -> None:
    """By its share of a core, and by how often its program sleeps."""
    program = build_stress(tmp_path, source=Path(__file__).parent / "native_owner.c", parts=("owner",))
    done = run([str(program)], timeout=60)
    assert (done.returncode, done.stdout) == (0, "good\n"), done.stdout + done.stderr


def test_a_refusal_lets_go_of_who_is_parked(tmp_path: Path) -> None:
    """Whatever the kernel makes of it: it wakes too early, or has no memory."""
    program = build_stress(tmp_path, source=Path(__file__).parent / "native_region.c")
    done = run([str(program)], timeout=300)
    if done.stdout == "no userfaultfd\n":
        pytest.skip("userfaultfd is refused here")
    assert (done.returncode, done.stdout) == (0, "good\n"), done.stdout + done.stderr
