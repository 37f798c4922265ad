"""The register of checks: each with the sentences of the contract that it holds a backend to."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ..backend import Capability
from ..operations import Kind
from ._bench import Bench

__all__ = ["CHECKS", "ContractCheck", "Finding", "Verdict", "check", "check_each"]


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
