"""What is given for a message of PKCS #1 v1.5 that is none (draft-irtf-cfrg-rsa-guidance, section 7).

An error would answer whoever sends many messages, each a little changed, what another message says. So there is none: the answer
is bytes that look like a message, always the same for one key and ciphertext, and nobody without the key can tell them from one.
They are those that OpenSSL gives.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

__all__ = ["rejection_secret", "replacement"]

#: Lengths of which the last that is possible counts; two bytes each.
_LENGTHS: Final = 128

#: Bytes that a message does not have: two at its begin, eight of padding at least.
_AROUND: Final = 10


def rejection_secret(d: int, size: int) -> bytearray:
    """What of a key the replacements are made of.

    :param d: the private exponent
    :param size: of the modulus, bytes
    """
    return bytearray(hashlib.sha256(d.to_bytes(max(size, (d.bit_length() + 7) // 8), "big")).digest())


def replacement(secret: bytearray, ciphertext: bytes) -> bytes:
    """A message, as long as the key and the ciphertext want it.

    :param ciphertext: as long as the modulus
    """
    key, most = hmac.digest(secret, ciphertext, "sha256"), len(ciphertext) - _AROUND
    mask, length = (1 << most.bit_length()) - 1, 0
    numbers = _stretch(key, b"length", 2 * _LENGTHS)
    for at in range(0, len(numbers), 2):
        number = int.from_bytes(numbers[at : at + 2], "big") & mask
        length = number if number < most else length
    return _stretch(key, b"message", len(ciphertext))[len(ciphertext) - length :]


def _stretch(key: bytes, label: bytes, nbytes: int) -> bytes:
    tail = label + (8 * nbytes).to_bytes(2, "big")
    rounds = range(-(-nbytes // 32))
    return b"".join(hmac.digest(key, at.to_bytes(2, "big") + tail, "sha256") for at in rounds)[:nbytes]
