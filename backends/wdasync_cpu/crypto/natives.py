"""Digests that native workers make: by the OpenSSL that `hashlib` uses too, and many at once by Intel's IPsec-MB.

Nothing is taken on trust. Each digest has to give what `hashlib` gives, for each way it can be made, once a process; what
does not is left to `hashlib`. The same look tells what a digest costs on this machine, and how many of them have to wait for
it to be quicker to make them together.
"""

from __future__ import annotations

import enum
import hashlib
from functools import cache
from typing import Final, NamedTuple

from .. import binding

__all__ = ["NEVER", "DigestNumber", "Timing", "hashlib_name", "ipsec_problem", "timing"]

#: So many are never made together.
NEVER: Final = 0

#: Most that are made together; as BATCH_MOST of ``native/request.h``.
MOST: Final = 16

#: Lengths at which a digest's padding goes another way, and some beyond.
_LENGTHS: Final = (0, 1, 55, 56, 63, 64, 65, 111, 112, 119, 127, 128, 129, 1000, 4095)
_SAMPLES: Final = tuple(bytes(range(256)) * 16 for _ in _LENGTHS)
_INPUTS: Final = tuple(sample[:length] for sample, length in zip(_SAMPLES, _LENGTHS, strict=True))

_KIB: Final = (_SAMPLES[0][:1024],)

#: Of how many runs the shortest counts.
_RUNS: Final = 15


class DigestNumber(enum.IntEnum):
    """As ``enum digest`` of ``native/request.h``."""

    MD5 = 0
    SHA1 = 1
    SHA224 = 2
    SHA256 = 3
    SHA384 = 4
    SHA512 = 5
    SHA512_224 = 6
    SHA512_256 = 7
    SM3 = 8

    @classmethod
    def of(cls, algorithm: str) -> DigestNumber:
        """The number of an algorithm."""
        return cls[algorithm.upper().replace("-", "_")]


class Timing(NamedTuple):
    """What a digest takes here.

    :ivar per_kib: nanoseconds for a KiB, by itself
    :ivar least: so many of the same length are made together; ``NEVER``: none are
    """

    per_kib: int
    least: int


def hashlib_name(algorithm: str) -> str:
    """As hashlib calls it."""
    return algorithm.replace("-", "_")


@cache
def timing(algorithm: str) -> Timing | None:
    """Look whether native workers can make it, and tell them how; ``None``: they cannot.

    It takes less than a millisecond, once a process.
    """
    number = DigestNumber.of(algorithm)
    if binding.library_problem("openssl") or not _agrees(algorithm, together=False):
        return None
    per_kib = _shortest(number, together=False)
    least = NEVER
    if not ipsec_problem() and _agrees(algorithm, together=True):
        least = -(-_shortest(number, together=True) // per_kib)
    found = Timing(per_kib, least if least <= MOST else NEVER)
    binding.set_batches(number, found.least)
    return found


def ipsec_problem() -> str:
    """Why there is no IPsec-MB; empty if there is."""
    return (
        binding.library_problem("ipsec-mb") if "ipsec-mb" in binding.LIBRARIES else "not for this processor"
    )


def _agrees(algorithm: str, *, together: bool) -> bool:
    """Whether it makes what hashlib makes."""
    inputs = tuple(filter(None, _INPUTS)) if together else _INPUTS  # what is empty is made alone
    name = hashlib_name(algorithm)
    if name not in hashlib.algorithms_available:
        return False
    found, _ = binding.try_digests(DigestNumber.of(algorithm), inputs, together, 1)
    return found == tuple(hashlib.new(name, data, usedforsecurity=False).digest() for data in inputs)


def _shortest(number: DigestNumber, *, together: bool) -> int:
    """Nanoseconds for a KiB."""
    return max(1, binding.try_digests(number, _KIB, together, _RUNS)[1])
