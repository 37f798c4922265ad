"""noxfile.py, started by plain Python, says in one line what a machine lacks, and makes nothing before."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

NOXFILE = Path(__file__).parents[1] / "noxfile.py"


def start(compiler: str, before: str = "pass") -> subprocess.CompletedProcess[str]:
    """Start noxfile.py with that compiler, after some Python that changes what it finds."""
    script = f"import runpy, sys; {before}; runpy.run_path({str(NOXFILE)!r}, run_name='__main__')"
    environment = os.environ | {"CC": compiler}
    return subprocess.run(
        [sys.executable, "-c", script, "--list"], env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def compiler(tmp_path: Path) -> str:
    """A compiler that finds all headers but Python's."""
    script = tmp_path / "compiler"
    script.write_text("#!/bin/sh\nread -r line\ncase $line in *Python.h*) exit 1;; esac\n")
    script.chmod(0o755)
    return str(script)


def test_no_compiler() -> None:
    told = start("/nowhere/cc")
    assert told.returncode == 1
    assert told.stdout == ""
    assert told.stderr == "Something is missing to build wdasync. Install it: apt install gcc python3-dev\n"


def test_no_headers(compiler: str) -> None:
    told = start(compiler)
    assert told.returncode == 1
    assert told.stderr == "Something is missing to build wdasync. Install it: apt install python3-dev\n"


def test_no_venv(compiler: str) -> None:
    told = start(compiler, "sys.modules['ensurepip'] = None")
    assert told.returncode == 1
    assert told.stderr.endswith("apt install python3-dev python3-venv\n")


def test_an_old_python() -> None:
    told = start("cc", "sys.version_info = (3, 9, 2)")
    assert told.returncode == 1
    assert told.stderr.startswith("wdasync needs Python 3.11 or newer; this is ")
    assert told.stderr.count("\n") == 1


def test_an_old_python_can_read_it() -> None:
    ast.parse(NOXFILE.read_text(), feature_version=(3, 8))
