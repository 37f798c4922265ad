"""The emulated chip's C side with the address and undefined-behaviour sanitizers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import wdasync_hip08
from tests.cpu.sanitizers import build_extension, has_sanitizer, runtime
from tests.cpu.support import CHECKOUT

SUITE = [
    "smmu/test_native.py",
    "test_isolation.py",
    "test_line.py",
    "test_memory.py",
    "test_page_faults.py",
    "test_wild_memory.py",
]


def test_memory_errors(tmp_path: Path) -> None:
    if not has_sanitizer("address,undefined", tmp_path):
        pytest.skip("the compiler has no address sanitizer that runs here")
    home = build_extension(tmp_path / "home", "address", Path(wdasync_hip08.__file__).parent)
    environment = os.environ | {
        "LD_PRELOAD": runtime("asan"),
        # SIGBUS is the program's: some of the tests are about whose it is.
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:handle_sigbus=0",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": str(home),
    }
    tests = [f"tests/hip08/{name}" for name in SUITE]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    where = [sys.executable, "-c", "import wdasync_hip08; print(wdasync_hip08.__file__)"]
    found = subprocess.run(where, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.startswith(str(home)), "the tests did not use the extension with the sanitizer"
