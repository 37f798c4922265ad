"""The number that makes a signature on a curve: at random, or told by the key and the message (RFC 6979)."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .rsa_padding import PaddingError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.hashes import HashAlgorithm

__all__ = ["leftmost", "random_number", "told_number"]


def leftmost(digest: bytes, order: int) -> int:
    """The leftmost bits of a digest, as many as the order has (FIPS 186-5, section 6.4.1; RFC 6979, section 2.3.2)."""
    return int.from_bytes(digest, "big") >> max(len(digest) * 8 - order.bit_length(), 0)


def random_number(order: int) -> int:
    """One from 1 to the order, which is not among them."""
    return secrets.randbelow(order - 1) + 1


def told_number(order: int, secret: int, digest: bytes, algorithm: HashAlgorithm) -> int:
    """The number of RFC 6979, section 3.2.

    :param secret: of the private key
    :param digest: of the message, by ``algorithm``
    :raises PaddingError: there is no HMAC with it
    """
    return next(number for number in _candidates(order, secret, digest, algorithm) if 0 < number < order)


def _candidates(order: int, secret: int, digest: bytes, algorithm: HashAlgorithm) -> Iterator[int]:
    """Steps b to h; their letters are the RFC's."""
    size = (order.bit_length() + 7) // 8
    about = secret.to_bytes(size, "big") + (leftmost(digest, order) % order).to_bytes(size, "big")
    v, k = b"\1" * algorithm.digest_size, bytes(algorithm.digest_size)
    for step in (b"\0", b"\1"):
        k = _code(algorithm, k, v + step + about)
        v = _code(algorithm, k, v)
    while True:
        t = b""
        while len(t) < size:
            v = _code(algorithm, k, v)
            t += v
        yield leftmost(t, order)
        k = _code(algorithm, k, v + b"\0")
        v = _code(algorithm, k, v)


def _code(algorithm: HashAlgorithm, key: bytes, data: bytes) -> bytes:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.hmac import HMAC

    try:
        code = HMAC(key, algorithm)
    except (TypeError, UnsupportedAlgorithm):
        raise PaddingError(f"hash: expected one that HMAC takes, got {algorithm.name}") from None
    code.update(data)
    return code.finalize()
