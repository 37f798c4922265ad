"""Primes for RSA keys: what the host does, and what it asks the engine.

A candidate is random, has no small divisor, and is then tried with powers (Miller and Rabin; FIPS 186-5, appendix B.3.1), which are
the engine's work. The engine's own prime test is not documented.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Generator, Sequence
from functools import cache
from typing import Final, NamedTuple

from .hpre_descriptor import HpreAlgorithm

__all__ = ["Ask", "prime"]

#: Bits of a number, times how often it must look like a prime. That a random odd one does so and is none is then less likely than
#: 2**-128 (Damgård, Landrock, Pomerance: Average case error estimates for the strong probable prime test, 1993).
ROUND_BITS: Final = 8192

#: Small divisors are looked for up to here.
SMALL: Final = 1000


class Ask(NamedTuple):
    """What the engine is to compute.

    :ivar size: bytes of an operand
    :ivar key: the numbers of the key block
    :ivar given: those of the input
    """

    algorithm: HpreAlgorithm
    size: int
    key: dict[str, int]
    given: dict[str, int]


#: Asks, is told the numbers that came out, and ends with what it was for.
Asking = Generator[Ask, Sequence[int], int]


@cache
def _small_primes() -> int:
    """The product of the odd ones."""
    return math.prod(n for n in range(3, SMALL, 2) if all(n % d for d in range(3, math.isqrt(n) + 1, 2)))


def prime(bits: int, exponent: int, other: int, size: int) -> Asking:
    """A prime whose two highest bits are 1, so that a product of two has twice the length.

    :param exponent: has no divisor in common with the prime less 1
    :param other: the prime is not near that one (FIPS 186-5, appendix A.1.3): 2**(bits - 100) at least
    :param size: bytes of the engine's operands
    """
    while True:
        candidate = secrets.randbits(bits) | 3 << bits - 2 | 1
        if (
            math.gcd(candidate, _small_primes()) == 1
            and math.gcd(candidate - 1, exponent) == 1
            and abs(candidate - other) >> bits - 100
            and (yield from _looks_prime(candidate, size))
        ):
            return candidate


def _looks_prime(candidate: int, size: int) -> Asking:
    """Whether it passes all rounds; 1 or 0."""
    twos = (candidate - 1 & 1 - candidate).bit_length() - 1
    odd = candidate - 1 >> twos
    for _ in range(-(-ROUND_BITS // candidate.bit_length())):
        base = secrets.randbelow(candidate - 3) + 2
        (power,) = yield Ask(
            HpreAlgorithm.POWER, size, {"exponent": odd, "modulus": candidate}, {"base": base}
        )
        if power != 1 and not _reaches(power, candidate, twos):
            return 0
    return 1


def _reaches(power: int, candidate: int, twos: int) -> bool:
    """Whether one of the squares is -1."""
    for _ in range(twos):
        if power == candidate - 1:
            return True
        power = power * power % candidate
    return False
