"""The C of all backends compiled with a sanitizer, and programs that run on it.

The interpreter itself is not instrumented: the sanitizer's library is loaded before it. No report is suppressed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.cpu.sanitizers import COMPILER, run, runtime
from tests.cpu.support import CHECKOUT

PACKAGES = ("wdasync_cpu", "wdasync_uacce", "wdasync_hip08")

FLAGS = {
    "address": "-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined",
    "thread": "-O1 -g -fsanitize=thread",
}

ENVIRONMENT = {
    "address": {
        # Faults of memory that has gone are the program's: some of the tests are about whose they are.
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:handle_sigbus=0:handle_segv=0",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
        "PYTHONMALLOC": "malloc",
    },
    "thread": {"TSAN_OPTIONS": "exitcode=66:handle_sigbus=0:handle_segv=0"},
}

#: What each sanitizer has to find in ``CANARY``.
FINDS = {"address": "heap-buffer-overflow", "thread": "data race"}

CANARY = """
#include <pthread.h>
#include <stdlib.h>

static int shared;

static void *add(void *unused)
{
    for (int i = 0; i < 100000; i++)
        shared++;
    return unused;
}

int race(void)
{
    pthread_t one, other;
    pthread_create(&one, NULL, add, NULL);
    pthread_create(&other, NULL, add, NULL);
    pthread_join(one, NULL);
    pthread_join(other, NULL);
    return shared;
}

int overflow(int size)
{
    volatile char *memory = malloc(size);
    int value = memory[size];
    free((void *)memory);
    return value;
}
"""


class Instrumented:
    """A folder with copies of the packages whose extensions have a sanitizer.

    :param sanitizer: ``address`` (with undefined behaviour) or ``thread``
    """

    def __init__(self, folder: Path, sanitizer: str) -> None:
        self.folder = folder
        self.sanitizer = sanitizer
        flags = FLAGS[sanitizer]
        self._build = os.environ | {"CFLAGS": flags, "LDFLAGS": flags.split()[-1]}
        self.environment = os.environ | ENVIRONMENT[sanitizer] | {
            "LD_PRELOAD": runtime({"address": "asan", "thread": "tsan"}[sanitizer]),
            "PYTHONPATH": f"{folder}{os.pathsep}{CHECKOUT}",
        }  # fmt: skip
        for name in PACKAGES:
            self._make(name)

    def _make(self, name: str) -> None:
        package = self.folder / name
        ignored = shutil.ignore_patterns("*.so", "__pycache__")
        shutil.copytree(CHECKOUT / "backends" / name, package, ignore=ignored)
        script = str(package / "build_native.py")
        code = f"import runpy; runpy.run_path({script!r}, run_name='__main__')"
        made = run([sys.executable, "-c", code], cwd=self.folder, env=self._build)
        assert made.returncode == 0, made.stdout + made.stderr

    def python(self, *arguments: str, timeout: float = 3000) -> subprocess.CompletedProcess[str]:
        """Run the interpreter on these packages."""
        command = [sys.executable, *arguments]
        return run(command, cwd=CHECKOUT, env=self.environment, timeout=timeout)

    def good(self, *arguments: str) -> str:
        """As :meth:`python`; the sanitizer must find nothing, and the program must succeed. What it printed."""
        done = self.python(*arguments)
        said = done.stdout[-6000:] + done.stderr[-6000:]
        assert done.returncode == 0, said
        assert "Sanitizer" not in said, said
        return done.stdout

    def canary(self) -> str:
        """What the sanitizer says of C code that is wrong, loaded as our extensions are."""
        source, library = self.folder / "canary.c", self.folder / "canary.so"
        source.write_text(CANARY)
        flags = FLAGS[self.sanitizer].split()
        made = run([*COMPILER, *flags, "-shared", "-fPIC", "-pthread", str(source), "-o", str(library)])
        assert made.returncode == 0, made.stderr
        call = {"address": "overflow(10)", "thread": "race()"}[self.sanitizer]
        done = self.python("-c", f"import ctypes; ctypes.CDLL({str(library)!r}).{call}")
        assert done.returncode != 0
        return done.stderr
