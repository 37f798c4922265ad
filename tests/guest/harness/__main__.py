"""The session ``guest``: ``python3 noxfile.py -s guest -- [--operations N] [--machines N] [what pytest takes]``."""

from __future__ import annotations

import argparse
import os
import resource
import shlex
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .artefacts import Artefacts, prepare
from .machine import run
from .packages import Unavailable

CHECKOUT = Path(__file__).parents[3]
CACHE = CHECKOUT / ".nox" / "guest-cache"
INSIDE = "tests/guest/inside"

#: Plug-ins that are there and not asked for would be loaded too, and some take long; pytest's own, too.
PLUGINS = ("anyio", "pytest_timeout", "no:cacheprovider", "no:doctest", "no:legacypath")

#: What is imported and collected stays: the collector would go over it again and again, for seconds (conftest.py starts it).
START = "import gc, sys; gc.disable(); import pytest; sys.exit(pytest.main(sys.argv[1:]))"
PYTEST = [
    sys.executable, "-c", START, "-q", "-c", "pyproject.toml", "-o", "norecursedirs=",
    *(word for plugin in PLUGINS for word in ("-p", plugin)),
]  # fmt: skip

#: Folders with what the tests import.
SOURCES = ("wdasync", "backends", "examples", "tests")

#: In the folder that the guests can write: where they mark the tests that they begin; in the part of each: its report.
CLAIMS, REPORT = "claims", "junit.xml"

#: That a guest gets; more of them are of no use to it.
MOST_PROCESSORS = 2

#: What a report counts beside those that passed.
BAD = ("failures", "errors", "skipped")

#: Seconds after which a guest is ended that does not end itself: with nothing else said, and for each operation asked for.
PATIENCE, PATIENCE_FOR_AN_OPERATION = 900, 0.1

_began = time.monotonic()


def say(text: str) -> None:
    """One line, with the seconds since the beginning."""
    print(f"guest {time.monotonic() - _began:6.1f} s  {text}", flush=True)


def job(
    artefacts: Artefacts, shared: Path, number: int, operations: int, words: Sequence[str], *, alone: bool
) -> list[str]:
    """The script that a guest runs."""
    report = shared / str(number) / REPORT
    pytest = [*PYTEST, "--color=no", "--durations=8", "--timeout=600", f"--junitxml={report}", *words]
    exports = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/run",
        "TMPDIR": "/run",
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "GUEST_MODULES": str(artefacts.modules),
        "GUEST_OPERATIONS": str(operations),
        **({} if alone else {"GUEST_CLAIMS": str(shared / CLAIMS), "GUEST_NUMBER": str(number)}),
    }
    return [
        *(f"export {name}={shlex.quote(value)}" for name, value in exports.items()),
        f"cd {shlex.quote(str(CHECKOUT))} || exit 9",
        shlex.join(pytest),
    ]


def compile_ahead() -> Iterable[subprocess.Popen[bytes]]:
    """Bytecode of all that is imported, and of the tests as pytest has them: an emulated processor takes long for it."""
    environment = os.environ | {
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "GUEST_MODULES": "none",
        "PYTHONDONTWRITEBYTECODE": "",
    }
    compiler = [sys.executable, "-m", "compileall", "-q", *SOURCES]
    for command in (compiler, [*PYTEST, "--collect-only", INSIDE]):
        yield subprocess.Popen(command, cwd=CHECKOUT, env=environment, stdout=subprocess.DEVNULL)


def processor_seconds() -> float:
    """What programs that were started here have used up."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def counts(reports: Sequence[Path]) -> str:
    """How many cases did what."""
    total: Counter[str] = Counter()
    for report in reports:
        if not report.exists():
            return "no report"
        suite = ET.parse(report).getroot().find("testsuite")
        assert suite is not None
        total.update({name: int(suite.get(name, "0")) for name in ("tests", *BAD)})
    passed = total["tests"] - sum(total[name] for name in BAD)
    return ", ".join([f"{passed} cases passed", *(f"{total[name]} {name}" for name in BAD if total[name])])


def run_all(artefacts: Artefacts, operations: int, words: Sequence[str], machines: int) -> list[int | None]:
    """Boot so many machines at a time, which share the tests; their exit statuses."""
    shared = CACHE / "results"
    shutil.rmtree(shared, ignore_errors=True)
    (shared / CLAIMS).mkdir(parents=True)
    timeout = PATIENCE + 3 * operations * PATIENCE_FOR_AN_OPERATION
    processors = max(1, min((os.cpu_count() or 1) // machines, MOST_PROCESSORS))

    def run_one(number: int) -> int | None:
        script = job(artefacts, shared, number, operations, words, alone=machines == 1)
        listen = lambda line: say(f"{number}| {line}")  # noqa: E731
        return run(
            artefacts, shared, str(number), script, processors=processors, timeout=timeout, listen=listen
        )

    with ThreadPoolExecutor(machines) as pool:
        return list(pool.map(run_one, range(machines)))


def main() -> int:
    """Exit status: 0 also when this machine cannot have the guest, unless ``CI`` is set."""
    parser = argparse.ArgumentParser(prog="guest", description=__doc__)
    parser.add_argument(
        "--operations", type=int, default=0, metavar="N", help="operations on each event loop"
    )
    parser.add_argument(
        "--machines",
        type=int,
        default=0,
        metavar="N",
        help="guests that share the tests; by default one a core, at most 2",
    )
    options, words = parser.parse_known_args()
    machines = options.machines or (1 if words else min(os.cpu_count() or 1, 2))
    words = words or [INSIDE]
    try:
        artefacts = prepare(CACHE, say)
    except Unavailable as reason:
        say(f"{'impossible' if os.environ.get('CI') else 'skipped'}: {reason}")
        return 1 if os.environ.get("CI") else 0
    say(f"kernel {artefacts.kernel.release} (Debian {artefacts.kernel.version}); modules: uacce (the kernel's, unmodified), "
        "wdasync_board, wdasync_zip (ours)")  # fmt: skip
    compilers = list(compile_ahead())
    say(f"booting {machines} (emulated processors: /dev/kvm is not used)")
    before = processor_seconds()
    statuses = run_all(artefacts, options.operations, words, machines)
    for compiler in compilers:
        compiler.wait()
    say(f"the emulated processors took {processor_seconds() - before:.0f} s of this one's time")
    told = counts([CACHE / "results" / str(number) / REPORT for number in range(machines)])
    bad = [status for status in statuses if status != 0]
    say(f"{f'failed with status {bad[0]}' if bad else 'all is well'}: {told}")
    return (bad[0] or 1) if bad else 0


if __name__ == "__main__":
    sys.exit(main())
