"""Holds a backend to the queue contract: every sentence of :mod:`wdasync.backend`, and the public methods.

Three ways to run it, from any directory, on any installed backend:

* ``python -m wdasync.testing.conformance cpu mock`` needs nothing but wdasync. Without names it examines each
  installed backend that has a device here. ``--help`` tells the rest.
* ``python -m pytest --pyargs wdasync.testing.conformance --wdasync-backend=cpu`` is the same with a test for each
  check; the option may be repeated. Without it, each installed backend that has a device here.
* :func:`check_backend` and :func:`wdasync.testing.check_accelerator` in tests of one's own.

The first two also examine what users are promised, on each event loop that is installed.

A backend that can be asked for trouble should be: give a :class:`Provoker`, or let the backend have an attribute
``provoker`` that is one. Without it the checks about stuck operations and lost devices are not applicable.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, Final

from ..backend import Backend, Capability
from ..registry import backend_names, get_backend
from . import checks
from ._bench import Bench, NotApplicable, Provoker, Violation
from ._checks import CHECKS, ContractCheck, ContractViolation, Finding, Report, Verdict
from .accelerators import CASES, event_loops, on_event_loop

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
    "present",
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


# Under pytest, and from the command line


def present() -> list[str]:
    """Installed backends that have a device here."""
    return [name for name in backend_names() if get_backend(name).devices()]


def pytest_generate_tests(metafunc: Any) -> None:
    """A test for each backend and each check, when pytest collects this module."""
    if "conformance_backend" not in metafunc.fixturenames:
        return
    metafunc.parametrize(
        "conformance_backend", metafunc.config.getoption("--wdasync-backend", default=None) or present()
    )
    if "conformance_check" in metafunc.fixturenames:
        metafunc.parametrize("conformance_check", list(CHECKS))
    else:
        metafunc.parametrize("conformance_loop", event_loops())
        metafunc.parametrize("conformance_case", list(CASES))


def test_contract(conformance_backend: str, conformance_check: str) -> None:
    """One check of one backend."""
    _skip_if_nothing_was_there(check_backend(conformance_backend, only=[conformance_check]))


def test_promise(conformance_backend: str, conformance_loop: str, conformance_case: str) -> None:
    """One promise to users, on one backend and one event loop."""
    report = on_event_loop(conformance_loop, conformance_backend, only=[conformance_case])
    if report.failed:
        raise ContractViolation(report)
    _skip_if_nothing_was_there(report)


def _skip_if_nothing_was_there(report: Report) -> None:
    import pytest

    if all(finding.verdict is Verdict.NOT_APPLICABLE for finding in report.findings):
        pytest.skip("; ".join(finding.explanation for finding in report.findings))


if __name__ == "__main__":
    from ._command import main

    sys.exit(main())
