"""Does an implementation work? A library that is found by its name may still be another one than the name promises, so
each has to show, once a process, that the standard library understands what it makes, or it what that makes.
"""

from __future__ import annotations

import zlib
from functools import cache
from typing import Final

from wdasync.backend import Detail
from wdasync.errors import Status
from wdasync.operations import Compress, Decompress, Operation

from . import binding, codecs, packages
from .codecs import Engine
from .plans import Plan, number_of
from .tasks import run

__all__ = ["SAMPLE", "library_problem", "problem"]

#: Algorithms that the standard library of Python 3.11 does not have -> the implementation.
OWN_FORMAT: Final = {"br": "brotli", "zstd": "zstd", "lz4": "lz4"}

SAMPLE: Final = b"What is written twice is written shorter the second time. " * 40


def library_problem(name: str) -> str:
    """Why a library cannot be used; empty if it can."""
    return problem(name) if name in codecs.IMPLEMENTATIONS else binding.library_problem(name)


@cache
def problem(implementation: str) -> str:
    """Why it cannot be used; empty if it can."""
    library, engine = (
        codecs.IMPLEMENTATIONS[implementation].library,
        codecs.IMPLEMENTATIONS[implementation].engine,
    )
    missing = binding.library_problem(library) if library else packages.problem(implementation)
    if missing:
        return missing
    if implementation.endswith("-dictionary") and not binding.library_dictionaries(library):
        return "this version of the library has no dictionaries"
    for algorithm, name in OWN_FORMAT.items():
        if implementation in (name, f"{name}-package", f"{name}-dictionary"):
            packed = _run(Compress(SAMPLE, algorithm), implementation)
            back = _run(Decompress(packed, algorithm), implementation)
            return "" if back == SAMPLE else f"it cannot read the {algorithm} data that it wrote"
    if zlib.decompress(_run(Compress(SAMPLE, "zlib"), implementation) or zlib.compress(b"")) != SAMPLE:
        return "its output is not zlib's"
    if engine in (Engine.LIBDEFLATE, Engine.ZLIB):
        back = _run(Decompress(zlib.compress(SAMPLE), "zlib"), implementation)
        return "" if back == SAMPLE else "it cannot read what zlib wrote"
    return ""


def _run(operation: Operation, implementation: str) -> bytes:
    """The output, or nothing if it failed."""
    window = codecs.ALGORITHMS[operation.algorithm].window
    number = number_of(Plan(operation.kind, operation.algorithm, implementation, 1, window))

    def resolve(_: Operation) -> int | Detail:
        return number

    _, inline = binding.methods(binding.open_desk({}, {}, {}, resolve, lambda: None, run, None, 0))
    completion = inline(operation)
    output: bytes | None = completion.output
    return output or b"" if completion.status is Status.SUCCESS else b""
