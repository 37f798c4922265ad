"""The register of checks, each with the sentences of the contract that it is about, and what comes of them."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ..backend import Capability
from ..operations import Kind
from ._bench import Bench

__all__ = [
    "CHECKS",
    "ContractCheck",
    "ContractViolation",
    "Finding",
    "Report",
    "Verdict",
    "check",
    "check_each",
]


class Verdict(enum.Enum):
    """What came of a check."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_APPLICABLE = "not applicable"


class Finding(NamedTuple):
    """One line of a report.

    :ivar name: of the check, with the algorithm if it was about one: ``round_trip[gzip]``
    :ivar verdict: what came of it
    :ivar sentences: of the contract, as they stand there
    :ivar explanation: what was expected and what was seen, or why there was nothing to see
    """

    name: str
    verdict: Verdict
    sentences: tuple[str, ...]
    explanation: str = ""


@dataclass(frozen=True, slots=True)
class ContractCheck:
    """A check.

    :ivar name: how a report calls it
    :ivar sentences: of the contract, as they stand there
    :ivar run: examines, once or for each row
    :ivar kinds: rows of the capability table it is about; empty: it is about the backend as a whole
    :ivar intent: what it does, in a line
    """

    name: str
    sentences: tuple[str, ...]
    run: Callable[[Bench, Capability | None], None]
    kinds: tuple[Kind, ...] = ()
    intent: str = field(default="")


#: Name -> check, in the order in which a reader of a report wants them.
CHECKS: Final[dict[str, ContractCheck]] = {}


def _register(entry: ContractCheck) -> None:
    if entry.name in CHECKS:
        raise ValueError(f"two checks are called {entry.name}")
    CHECKS[entry.name] = entry


def _intent(function: Callable[..., None]) -> str:
    return (function.__doc__ or "").strip().partition("\n")[0]


def check(*sentences: str) -> Callable[[Callable[[Bench], None]], Callable[[Bench], None]]:
    """Register a check of the backend as a whole, for these sentences of the contract."""

    def register(function: Callable[[Bench], None]) -> Callable[[Bench], None]:
        def run(bench: Bench, row: Capability | None) -> None:
            del row
            function(bench)

        _register(ContractCheck(function.__name__, sentences, run, (), _intent(function)))
        return function

    return register


def check_each(
    *kinds: Kind, sentences: tuple[str, ...]
) -> Callable[[Callable[[Bench, Capability], None]], Callable[[Bench, Capability], None]]:
    """Register a check of every row for these kinds."""

    def register(function: Callable[[Bench, Capability], None]) -> Callable[[Bench, Capability], None]:
        def run(bench: Bench, row: Capability | None) -> None:
            if row is None:
                raise TypeError(f"{function.__name__} needs a row")
            function(bench, row)

        _register(ContractCheck(function.__name__, sentences, run, kinds, _intent(function)))
        return function

    return register


@dataclass(frozen=True, slots=True)
class Report:
    """What came of an examination.

    :ivar backend: name of the backend
    :ivar findings: one for each check and row, in the order in which they were made
    """

    backend: str
    findings: tuple[Finding, ...]

    def with_verdict(self, verdict: Verdict) -> tuple[Finding, ...]:
        """The findings with this verdict."""
        return tuple(finding for finding in self.findings if finding.verdict is verdict)

    @property
    def failed(self) -> tuple[Finding, ...]:
        """What is against the contract."""
        return self.with_verdict(Verdict.FAILED)

    def __str__(self) -> str:
        counts = ", ".join(f"{len(self.with_verdict(verdict))} {verdict.value}" for verdict in Verdict)
        lines = [f"{self.backend}: {counts}"]
        for finding in self.findings:
            if finding.verdict is not Verdict.PASSED:
                lines.append(f"  {finding.verdict.value:>14}  {finding.name}: {finding.explanation}")
            if finding.verdict is Verdict.FAILED:
                lines += [f"                  contract: {sentence}" for sentence in finding.sentences]
        return "\n".join(lines)


class ContractViolation(AssertionError):
    """Raised when checks failed. Its text names all of them; ``report`` has everything."""

    def __init__(self, report: Report) -> None:
        names = ", ".join(finding.name for finding in report.failed)
        super().__init__(f"backend {report.backend!r} breaks the queue contract in {names}\n{report}")
        self.report = report
