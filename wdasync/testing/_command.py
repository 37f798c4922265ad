"""``python -m wdasync.testing.conformance``."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from typing import Any

from ..backend import Backend
from ..errors import WdasyncError
from ..registry import get_backend
from ..values import Mismatch, convert, field_types
from ._checks import CHECKS, ContractCheck, Report
from .accelerators import CASES, event_loops, on_event_loop
from .conformance import examine, present

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Examine backends, and write what came of it.

    :returns: the exit status: 0, 1 if a check failed, 2 if there was nothing to examine
    """
    try:
        given = _parser().parse_args(arguments)
    except SystemExit:
        _write("")  # argparse does not look whether its help arrived
        raise
    if given.checks:
        _write("".join(map(_described, CHECKS.values())))
        return 0
    status = 2
    try:
        for name in given.backend or present():
            for report in _reports(name, given):
                _write(f"{report}\n")
                status = max(0 if status == 2 else status, bool(report.failed))
    except WdasyncError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return status


def _write(text: str) -> None:
    """To standard output.

    :raises SystemExit: it does not take it; quietly, if that is because its reader has gone
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        # Python would try again at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(
            1 if isinstance(error, BrokenPipeError) else f"standard output: {error.strerror}"
        ) from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m wdasync.testing.conformance",
        description="Holds backends to the queue contract of wdasync.",
        epilog="Exit status: 0, 1 if a check failed, 2 if there was nothing to examine.",
    )
    add = parser.add_argument
    add("backend", nargs="*", help="names of backends; without, all installed ones that have a device here")
    add("--checks", action="store_true", help="list the checks, with the sentences of the contract")
    add("-k", dest="only", action="append", metavar="NAME", choices=[*CHECKS, *CASES], help="only this check")
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="an option of the backend")
    add("--consuming", action="store_true", help="polling its descriptor consumes the readiness")
    add(
        "--patience",
        type=float,
        default=10.0,
        metavar="SECONDS",
        help="without progress; default: %(default)s",
    )
    return parser


def _reports(name: str, given: argparse.Namespace) -> Iterator[Report]:
    """A report on the queue contract, and one on what users are promised for each event loop."""
    backend = get_backend(name)
    options = _options(backend, given.set)
    checks = None if given.only is None else [check for check in given.only if check in CHECKS]
    cases = None if given.only is None else [case for case in given.only if case in CASES]
    if checks != []:
        yield examine(
            backend,
            backend.Options(**options),
            consuming=given.consuming,
            patience=given.patience,
            only=checks,
        )
    for loop in event_loops() if cases != [] else []:
        report = on_event_loop(loop, name, patience=given.patience, only=cases, **options)
        yield Report(f"{name} on {loop}", report.findings)


def _described(entry: ContractCheck) -> str:
    sentences = "".join(
        textwrap.fill(sentence, 100, initial_indent="    - ", subsequent_indent="      ") + "\n"
        for sentence in entry.sentences
    )
    return f"{entry.name}: {entry.intent}\n{sentences}"


def _options(backend: Backend, pairs: Iterable[str]) -> dict[str, Any]:
    """Options from ``name=value`` words, read as environment variables are."""
    types = field_types(backend.Options)
    known = {field.name: field for field in fields(backend.Options)}
    values = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        if name not in known:
            raise SystemExit(f"--set {pair}: expected one of {', '.join(known)}, got {name!r}")
        try:
            values[name] = convert(value, known[name], types[name], text=True)
        except Mismatch as problem:
            raise SystemExit(f"--set {pair}: expected {problem}, got {value!r}") from None
    return values
