"""Does an implementation work? A library that is found by its name may still be another one than the name promises, so
each has to show, once a process, that the standard library understands what it makes, or it what that makes.
"""

from __future__ import annotations

import zlib
from functools import cache
from typing import Final

from wdasync.backend import Detail
from wdasync.errors import Status
from wdasync.operations import Compress, Decompress, Key, KeySpec, Kind, Open, Operation, Seal

from . import binding, codecs, packages
from .codecs import Engine
from .crypto.keys import CpuKey
from .plans import Plan, number_of
from .tasks import run

__all__ = ["SAMPLE", "library_problem", "problem", "seals"]

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


#: Cipher -> what it makes of a block of zeros, with a key and a nonce of zeros (NIST's examples of GCM).
SEALED: Final = {
    "aes-128-gcm": "0388dace60b6a392f328c2b971b2fe78ab6e47d42cec13bdf53a67b21257bddf",
    "aes-192-gcm": "98e7247c07f0fe411c267e4384b0f6002ff58d80033927ab8ef4d4587514f0fb",
    "aes-256-gcm": "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919",
}


@cache
def seals(algorithm: str) -> bool:
    """Whether native workers seal and open with this cipher, as they should."""
    material, sealed = bytes(int(algorithm.split("-")[1]) // 8), bytes.fromhex(SEALED[algorithm])
    seal = Seal(Key(material, "a published key"), bytes(12), bytes(16), algorithm)
    opening = Open(seal.key, bytes(12), sealed, algorithm)
    seal.session = opening.session = CpuKey(KeySpec(algorithm, material))
    return _run(seal, "openssl-seal") == sealed and _run(opening, "openssl-seal") == bytes(16)


def _run(operation: Operation, implementation: str) -> bytes:
    """The output, or nothing if it failed."""
    level, window = (
        (1, codecs.ALGORITHMS[operation.algorithm].window) if operation.kind < Kind.COPY else (0, 0)
    )
    number = number_of(Plan(operation.kind, operation.algorithm, implementation, level, window))

    def resolve(_: Operation) -> int | Detail:
        return number

    _, inline = binding.methods(binding.open_desk({}, {}, {}, resolve, lambda: None, run, None, 0))
    completion = inline(operation)
    output: bytes | None = completion.output
    return output or b"" if completion.status is Status.SUCCESS else b""
