"""Tiny work: what is done without an operation gives what an operation gives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...backend import Capability, TinyWork
from ...errors import Status
from ...operations import SEALS, Digest, Kind, Open, Operation, Seal
from .._bench import Bench, NotApplicable, require
from .._checks import check
from .._reference import text
from .digests import fitting
from .keys import only, secret

__all__ = ["tiny_work_is_the_same"]

#: An operation, and what is given to the function that does the same without one.
Case = tuple[Operation, tuple[Any, ...]]


def _digests(row: Capability) -> Iterator[Case]:
    for data in fitting(row):
        yield Digest(data, row.algorithm), (data,)


def _seals(bench: Bench, row: Capability) -> Iterator[Case]:
    """Texts with and without associated data; of those that are opened, some that were changed."""
    key = secret(SEALS[row.algorithm].key[0])
    for size in (0, 1, 100, 1024):
        for aad in (b"", b"header"):
            nonce, data = text(12, size), text(size, size)
            seal = bench.told(Seal(key, nonce, data, row.algorithm, aad=aad))
            if row.kind is Kind.SEAL:
                yield seal, (seal.session, nonce, data, aad)
                continue
            sealed = only(bench, bench.row(Kind.SEAL), seal).output or b""
            for given in (sealed, sealed[:-1] + bytes([sealed[-1] ^ 1]), sealed[:3]):
                opened = bench.told(Open(key, nonce, given, row.algorithm, aad=aad))
                yield opened, (opened.session, nonce, given, aad)


@check(
    "How to do tiny work of this kind; ``None``: there is no such way.",
    "does it now, in this thread, with exact ``bytes`` of any length, and returns the output; or ``None``: it goes the usual",
)
def tiny_work_is_the_same(bench: Bench) -> None:
    """Work without an operation has the output of work through a queue, or none where that fails."""
    inline, cases, given_back = bench.device.inline, 0, 0
    if not isinstance(inline, TinyWork):
        raise NotApplicable("the device has no way for tiny work")
    for row in bench.device.capabilities:
        tiny = inline.tiny(row.kind, row.algorithm)
        if tiny is None:
            continue
        require(min(tiny.fixed, tiny.per_kib) >= 0, f"{row.kind.name} {row.algorithm}: {tiny!r}")
        for operation, given in _digests(row) if row.kind is Kind.DIGEST else _seals(bench, row):
            done = only(bench, row, operation)
            expected = done.output if done.status is Status.SUCCESS else None
            output = tiny.run(*given)
            require(output in (expected, None), f"{operation!r}: another output without an operation")
            strange = tiny.run(*given[:-1], bytearray(given[-1]))
            require(strange is None, f"{operation!r}: expected None for what is not bytes, got {strange!r}")
            cases += 1
            given_back += output is not None
    if not cases:
        raise NotApplicable("the device has no way for tiny work")
    require(given_back > 0, "there is a way, and it does nothing")
