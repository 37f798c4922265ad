"""The C without Python: its own test program, also with the compiler's checks. For arm64 the package test runs it."""

import os
import shlex
import subprocess
import sysconfig
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent / "native" / "test_region.c"
NATIVE = Path(__file__).parents[2] / "backends" / "wdasync_uacce" / "native"
COMPILER = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")


@pytest.mark.parametrize(
    "options",
    [
        ["-O2", "-Werror"],
        ["-O0"],
        ["-O2", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"],
        ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-Wno-clobbered"],
    ],
    ids=["optimized", "plain", "fortified", "sanitized"],
)
def test_the_test_program_in_c(tmp_path: Path, options: list[str]) -> None:
    program = tmp_path / "test_region"
    command = [*COMPILER, "-std=gnu11", "-pthread", "-Wall", "-Wextra", f"-I{NATIVE}", *options]
    subprocess.run([*command, str(PROGRAM), "-o", str(program)], check=True)
    # The address sanitizer would answer SIGBUS itself, and the program tests who does.
    environment = os.environ | {"ASAN_OPTIONS": "handle_sigbus=0"}
    done = subprocess.run(
        [str(program)], env=environment, capture_output=True, text=True, check=False, timeout=100
    )
    assert done.stdout.endswith(" checks, 0 failed\n"), done.stdout + done.stderr
    assert done.returncode == 0
