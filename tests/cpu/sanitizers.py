"""The C side compiled with a sanitizer: its rings as a program, or the whole extension."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import wdasync_cpu
from tests.cpu.support import CHECKOUT

NATIVE = Path(wdasync_cpu.__file__).parent / "native"
STRESS = CHECKOUT / "tests" / "stress" / "native_ring.c"
COMPILER = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")

#: Exit status of a program in which the thread sanitizer found something.
THREAD_SANITIZER_FOUND = 66


def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def has_sanitizer(name: str, folder: Path) -> bool:
    """Whether the compiler can make a program with this sanitizer, and it runs here."""
    source = folder / "probe.c"
    source.write_text("int main(void) { return 0; }\n")
    made = run([*COMPILER, f"-fsanitize={name}", str(source), "-o", str(folder / "probe")])
    return made.returncode == 0 and run([str(folder / "probe")]).returncode == 0


#: The C side by name: what the rings consist of, and everything that knows no Python.
RINGS = ("ring", "finished", "region", "owner")
WITHOUT_PYTHON = tuple(sorted(path.stem for path in NATIVE.glob("*.c")))


def build_stress(
    folder: Path, sanitizer: str = "", source: Path = STRESS, parts: tuple[str, ...] = RINGS
) -> Path:
    """The program that stresses the rings, or another that has them, or more of the C side, in it."""
    program = folder / f"{source.stem}-{sanitizer or 'plain'}"
    flags = [f"-fsanitize={sanitizer}"] if sanitizer else []
    sources = [str(source), *(str(NATIVE / f"{name}.c") for name in parts)]
    warnings = ["-Wall", "-Wextra", "-Werror"]
    command = [
        *COMPILER,
        "-std=gnu11",
        "-g",
        "-O1",
        *warnings,
        *flags,
        f"-I{NATIVE}",
        *sources,
        "-o",
        str(program),
        "-pthread",
        "-ldl",
    ]
    made = run(command)
    assert made.returncode == 0, made.stderr
    return program


def stress(program: Path, seconds: float, owners: int, workers: int, seed: int) -> str:
    """Run it; what it says it did."""
    done = run([str(program), str(seconds), str(owners), str(workers), str(seed)], timeout=seconds * 20 + 60)
    assert done.returncode != THREAD_SANITIZER_FOUND, done.stderr
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr, done.stderr
    return done.stdout


def build_extension(folder: Path, sanitizer: str, original: Path = NATIVE.parent) -> Path:
    """A copy of a package whose extension has a sanitizer; the folder to put on the path."""
    package = folder / original.name
    shutil.copytree(original, package, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    code = f"import runpy; runpy.run_path({str(package / 'build_native.py')!r}, run_name='__main__')"
    made = run(
        [sys.executable, "-c", code], cwd=folder, env=os.environ | {"WDASYNC_BUILD_SANITIZE": sanitizer}
    )
    assert made.returncode == 0, made.stdout + made.stderr
    return folder


def runtime(sanitizer: str) -> str:
    """The sanitizer's library, which must be loaded before Python."""
    return run([*COMPILER, f"-print-file-name=lib{sanitizer}.so"]).stdout.strip()
