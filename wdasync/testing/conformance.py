"""Holds a backend to the queue contract: every sentence of :mod:`wdasync.backend`, and the public methods.

Three ways to run it, from any directory, on any installed backend:

* ``python -m wdasync.testing.conformance cpu mock`` needs nothing but wdasync. Without names it examines each
  installed backend that has a device here. The exit status is 1 if a check failed, 2 if there was nothing to
  examine. ``--checks`` lists the checks with the sentences they are about; ``-k NAME`` runs some of them,
  ``--set name=value`` gives an option of the backend, ``--consuming``, ``--patience SECONDS``.
* ``python -m pytest --pyargs wdasync.testing.conformance --wdasync-backend=cpu`` is the same with a test for
  each check; the option may be repeated. Without it, each installed backend that has a device here.
* ``wdasync.testing.check_backend(backend)`` in a test of one's own.

A backend that can be asked for trouble should be: give a :class:`Provoker`, or let the backend have an
attribute ``provoker`` that is one. Without it the checks about stuck operations and lost devices are not
applicable.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields, replace
from typing import Any, Final

from ..backend import Backend, Capability
from ..registry import backend_names, get_backend
from . import checks
from ._bench import Bench, NotApplicable, Provoker, Violation
from ._checks import CHECKS, ContractCheck, ContractViolation, Finding, Report, Verdict

__all__ = [
    "CHECKS",
    "Bench",
    "ContractCheck",
    "ContractViolation",
    "Finding",
    "NotApplicable",
    "Provoker",
    "Report",
    "Verdict",
    "Violation",
    "check_backend",
    "examine",
    "main",
]

del checks  # It was imported to fill the register.

#: Seconds that a check may take, as a multiple of its patience.
LIMIT: Final = 30


def check_backend(
    backend: str | Backend,
    options: Any = None,
    *,
    consuming: bool = False,
    patience: float = 10.0,
    only: Iterable[str] | None = None,
    provoker: Provoker | None = None,
    listener: Callable[[Finding], None] | None = None,
) -> Report:
    """Hold a backend to every sentence of the queue contract.

    :param backend: its name, or the object
    :param options: an instance of its ``Options``; by default ``Options()``
    :param consuming: polling its descriptor consumes the readiness, as on a uacce device
    :param patience: seconds without progress after which something counts as lost. The whole takes seconds;
        only a backend that fails makes it wait
    :param only: names of checks; by default all
    :param provoker: brings trouble; by default the backend's own, if it has one
    :param listener: is told each finding when it is made
    :raises ContractViolation: if a check failed
    :raises ValueError: if ``only`` names a check that does not exist
    """
    report = examine(
        backend,
        options,
        consuming=consuming,
        patience=patience,
        only=only,
        provoker=provoker,
        listener=listener,
    )
    if report.failed:
        raise ContractViolation(report)
    return report


def examine(
    backend: str | Backend,
    options: Any = None,
    *,
    consuming: bool = False,
    patience: float = 10.0,
    only: Iterable[str] | None = None,
    provoker: Provoker | None = None,
    listener: Callable[[Finding], None] | None = None,
) -> Report:
    """As :func:`check_backend`, and the report is returned whatever it says."""
    chosen = list(CHECKS) if only is None else list(only)
    if unknown := [name for name in chosen if name not in CHECKS]:
        raise ValueError(f"only: expected names of checks ({', '.join(CHECKS)}), got {', '.join(unknown)}")
    examined = get_backend(backend) if isinstance(backend, str) else backend

    def bench() -> Bench:
        return Bench(
            examined,
            examined.Options() if options is None else options,
            consuming=consuming,
            patience=patience,
            provoker=provoker or getattr(examined, "provoker", None),
        )

    findings: list[Finding] = []
    for name in chosen:
        for finding in _findings(CHECKS[name], bench):
            findings.append(finding)
            if listener is not None:
                listener(finding)
    return Report(examined.name, tuple(findings))


def _findings(entry: ContractCheck, bench: Callable[[], Bench]) -> Iterator[Finding]:
    """Run a check, once or for each row that it is about."""
    if not entry.kinds:
        yield _run(entry, entry.name, None, bench())
        return
    rows: list[Capability] = []

    def read_table(first: Bench, row: Capability | None) -> None:
        del row
        rows.extend(found for found in first.device.capabilities if found.kind in entry.kinds)

    reading = _run(replace(entry, run=read_table), entry.name, None, bench())
    if reading.verdict is not Verdict.PASSED:
        yield reading
    elif not rows:
        kinds = ", ".join(kind.name for kind in entry.kinds)
        yield Finding(
            entry.name, Verdict.NOT_APPLICABLE, entry.sentences, f"the table has no row for {kinds}"
        )
    for row in rows:
        direction = f"{row.kind.name.lower()} " if len(entry.kinds) > 1 else ""
        yield _run(entry, f"{entry.name}[{direction}{row.algorithm}]", row, bench())


def _run(entry: ContractCheck, name: str, row: Capability | None, bench: Bench) -> Finding:
    """Run it in a thread, and look on."""
    outcome: list[tuple[Verdict, str]] = []

    def work() -> None:
        outcome.append(_outcome(entry, row, bench))

    thread = threading.Thread(target=work, name=f"wdasync-check-{name}", daemon=True)
    thread.start()
    problem = _look_on(thread, bench)
    verdict, explanation = (Verdict.FAILED, problem) if problem else outcome[0]
    return Finding(name, verdict, entry.sentences, explanation)


def _look_on(thread: threading.Thread, bench: Bench) -> str:
    """What is wrong with a check that does not come to its end; empty if it does."""
    deadline = time.monotonic() + LIMIT * bench.patience
    while True:
        thread.join(min(0.05, bench.patience / 4))
        if not thread.is_alive():
            return ""
        calling, now = bench.calling, time.monotonic()
        if calling is not None and now - calling[1] > bench.patience:
            return f"{calling[0]}() did not return within {bench.patience} s; no method of a queue waits"
        failure = bench.failure
        if failure is not None and now - failure[1] > bench.patience:  # Its cleaning up hangs.
            return str(failure[0])
        if now > deadline:
            return f"the check did not end within {LIMIT * bench.patience:.0f} s"


def _outcome(entry: ContractCheck, row: Capability | None, bench: Bench) -> tuple[Verdict, str]:
    try:
        with bench:
            entry.run(bench, row)
    except NotApplicable as reason:
        return Verdict.NOT_APPLICABLE, str(reason)
    except Violation as problem:
        return Verdict.FAILED, str(problem)
    except Exception as problem:  # noqa: BLE001  whatever a backend raises is a finding about it
        place = traceback.extract_tb(problem.__traceback__)[-1]
        return Verdict.FAILED, f"{type(problem).__name__}: {problem} ({place.filename}:{place.lineno})"
    return Verdict.PASSED, ""


# Under pytest


def pytest_generate_tests(metafunc: Any) -> None:
    """A test for each backend and each check, when pytest collects this module."""
    if "wdasync_backend_name" in metafunc.fixturenames:
        names = metafunc.config.getoption("--wdasync-backend", default=None) or _present()
        metafunc.parametrize("wdasync_backend_name", names)
        metafunc.parametrize("check_name", list(CHECKS))


def test_contract(wdasync_backend_name: str, check_name: str) -> None:
    """One check of one backend."""
    import pytest

    report = check_backend(wdasync_backend_name, only=[check_name])
    if all(finding.verdict is Verdict.NOT_APPLICABLE for finding in report.findings):
        pytest.skip("; ".join(finding.explanation for finding in report.findings))


# From the command line


def _present() -> list[str]:
    """Installed backends that have a device here."""
    return [name for name in backend_names() if get_backend(name).devices()]


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m wdasync.testing.conformance``.

    :returns: the exit status: 0, 1 if a check failed, 2 if there was nothing to examine
    """
    parser = argparse.ArgumentParser(
        prog="python -m wdasync.testing.conformance", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("backend", nargs="*", help="names of backends; without, all that have a device here")
    parser.add_argument("--checks", action="store_true", help="list the checks")
    parser.add_argument(
        "-k", dest="only", action="append", metavar="NAME", help="only this check; may be repeated"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="an option of the backend"
    )
    parser.add_argument(
        "--consuming", action="store_true", help="polling its descriptor consumes the readiness"
    )
    parser.add_argument(
        "--patience", type=float, default=10.0, metavar="SECONDS", help="by default %(default)s"
    )
    given = parser.parse_args(arguments)
    write = sys.stdout.write
    if given.checks:
        write("\n".join(map(_described, CHECKS.values())) + "\n")
        return 0
    status = 2
    for name in given.backend or _present():
        backend = get_backend(name)
        report = examine(
            backend,
            _options(backend, given.set),
            consuming=given.consuming,
            patience=given.patience,
            only=given.only,
        )
        write(f"{report}\n")
        status = max(0 if status == 2 else status, bool(report.failed))
    return status


def _described(entry: ContractCheck) -> str:
    sentences = "\n".join(
        textwrap.fill(sentence, 100, initial_indent="    - ", subsequent_indent="      ")
        for sentence in entry.sentences
    )
    return f"{entry.name}: {entry.intent}\n{sentences}"


def _options(backend: Backend, pairs: Iterable[str]) -> Any:
    """An ``Options`` from ``name=value`` words, read as environment variables are."""
    from ..values import convert, field_types

    types = field_types(backend.Options)
    known = {field.name: field for field in fields(backend.Options)}
    values = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        if name not in known:
            raise SystemExit(f"--set: expected one of {', '.join(known)}, got {name!r}")
        values[name] = convert(value, known[name], types[name], text=True)
    return backend.Options(**values)


if __name__ == "__main__":
    sys.exit(main())
