"""Numbers modulo a number: powers, the Chinese remainder theorem, keys from primes.

Python's integers, so the time that it takes tells of the secrets: it is a model. Long powers are made of many short
steps, so that other threads of the program come to their turn in between.
"""

from __future__ import annotations

from math import gcd

__all__ = ["ArithmeticFault", "crt_power", "inverse", "keys_of_primes", "power"]

#: Bits of the exponent that one step takes.
WINDOW = 5
#: A shorter modulus is left to the interpreter: it takes no time worth speaking of.
LONG_BITS = 384


class ArithmeticFault(Exception):
    """The numbers do not give a result."""


def power(base: int, exponent: int, modulus: int) -> int:
    """``base`` to the ``exponent``, modulo ``modulus``.

    :raises ArithmeticFault: the modulus is 0
    """
    if modulus == 0:
        raise ArithmeticFault("a modulus of 0")
    if modulus.bit_length() <= LONG_BITS:
        return pow(base, exponent, modulus)
    table = [1 % modulus, base % modulus]
    while len(table) < 1 << WINDOW:
        table.append(table[-1] * table[1] % modulus)
    result = table[0]
    for shift in range(-(-exponent.bit_length() // WINDOW) * WINDOW - WINDOW, -1, -WINDOW):
        for _ in range(WINDOW):
            result = result * result % modulus
        result = result * table[exponent >> shift & (1 << WINDOW) - 1] % modulus
    return result


def inverse(number: int, modulus: int) -> int:
    """What gives 1 when it is multiplied by ``number``, modulo ``modulus``.

    :raises ArithmeticFault: nothing does
    """
    try:
        return pow(number, -1, modulus)
    except ValueError:
        raise ArithmeticFault("a number without an inverse") from None


def crt_power(base: int, dq: int, dp: int, q: int, p: int, qinv: int) -> int:
    """A power modulo p·q, by powers modulo each (RFC 8017, section 5.1.2).

    :raises ArithmeticFault: a prime is 0
    """
    of_q = power(base, dq, q)
    of_p = power(base, dp, p)
    return of_q + q * (qinv * (of_p - of_q) % p)


def keys_of_primes(e: int, p: int, q: int) -> tuple[int, int, int, int, int]:
    """d, n, qinv, dq and dp; d is reduced by the least common multiple of p − 1 and q − 1.

    :raises ArithmeticFault: e has no inverse
    """
    if p < 2 or q < 2:
        raise ArithmeticFault("a prime below 2")
    d = inverse(e, (p - 1) * (q - 1) // gcd(p - 1, q - 1))
    return d, p * q, inverse(q, p), d % (q - 1), d % (p - 1)
