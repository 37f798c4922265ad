"""The session ``guest``: ``python3 noxfile.py -s guest -- [--all] [--operations N] [what pytest takes]``."""

from __future__ import annotations

import argparse
import os
import resource
import shlex
import shutil
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

from .artefacts import Artefacts, prepare
from .machine import run
from .packages import Unavailable

CHECKOUT = Path(__file__).parents[3]
CACHE = CHECKOUT / ".nox" / "guest-cache"
INSIDE = "tests/guest/inside"

#: Seconds after which a guest is ended that does not end itself: with nothing else said, and for each operation asked for.
PATIENCE, PATIENCE_FOR_AN_OPERATION = 900, 0.1

_began = time.monotonic()


def say(text: str) -> None:
    """One line, with the seconds since the beginning."""
    print(f"guest {time.monotonic() - _began:6.1f} s  {text}", flush=True)


def job(artefacts: Artefacts, results: Path, operations: int, words: Sequence[str]) -> list[str]:
    """The script that the guest runs."""
    options = "-o norecursedirs= -c pyproject.toml -p no:cacheprovider -p no:hypothesispytest --color=no --durations=8 -q --timeout=600"
    pytest = [sys.executable, "-m", "pytest", *words, *options.split(), f"--junitxml={results}/junit.xml"]
    return [
        "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/run TMPDIR=/run LANG=C.UTF-8",
        "export PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1",
        f"export GUEST_MODULES={shlex.quote(str(artefacts.modules))}",
        f"export GUEST_OPERATIONS={operations}",
        f"cd {shlex.quote(str(CHECKOUT))} || exit 9",
        shlex.join(pytest),
    ]


def processor_seconds() -> float:
    """What programs that were started here have used up."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def counts(report: Path) -> str:
    """How many cases did what."""
    if not report.exists():
        return "no report"
    suite = ET.parse(report).getroot().find("testsuite")
    assert suite is not None
    told = {name: int(suite.get(name, "0")) for name in ("tests", "failures", "errors", "skipped")}
    passed = told["tests"] - told["failures"] - told["errors"] - told["skipped"]
    bad = {name: number for name, number in told.items() if name != "tests" and number}
    return ", ".join([f"{passed} cases passed", *(f"{number} {name}" for name, number in bad.items())])


def main() -> int:
    """Exit status: 0 also when this machine cannot have the guest, unless ``CI`` is set."""
    parser = argparse.ArgumentParser(prog="guest", description=__doc__)
    parser.add_argument(
        "--operations", type=int, default=0, metavar="N", help="operations on each event loop"
    )
    parser.add_argument("--all", action="store_true", help="the slow tests too")
    options, words = parser.parse_known_args()
    words = words or [INSIDE, *([] if options.all else ["-m", "not slow"])]
    try:
        artefacts = prepare(CACHE, say)
    except Unavailable as reason:
        say(f"{'impossible' if os.environ.get('CI') else 'skipped'}: {reason}")
        return 1 if os.environ.get("CI") else 0
    say(f"kernel {artefacts.kernel.release} (Debian {artefacts.kernel.version}); modules: uacce (the kernel's, unmodified), "
        "wdasync_board, wdasync_zip (ours)")  # fmt: skip
    results = CACHE / "results"
    shutil.rmtree(results, ignore_errors=True)
    results.mkdir()
    say("booting (an emulated processor: /dev/kvm is not used)")
    timeout = PATIENCE + 3 * options.operations * PATIENCE_FOR_AN_OPERATION
    script = job(artefacts, results, options.operations, words)
    before = processor_seconds()
    status = run(artefacts, results, script, timeout=timeout, listen=lambda line: say(f"| {line}"))
    say(f"the emulated processor took {processor_seconds() - before:.0f} s of this one's time")
    say(
        f"{'all is well' if status == 0 else f'failed with status {status}'}: {counts(results / 'junit.xml')}"
    )
    return status if status is not None else 1


if __name__ == "__main__":
    sys.exit(main())
