"""AES-GCM that native workers make: by Intel's IPsec-MB, with keys that it has expanded, or by the OpenSSL that `hashlib` uses too.

Nothing is taken on trust, as with digests (:mod:`.natives`): each way has to give the published answers, and the right tag of
something long, cut in several ways, once a process and for each length of keys. The same look tells what it costs here. A key
is made for the way that was found, and whoever works with the key then goes that way.
"""

from __future__ import annotations

import enum
from functools import cache
from typing import Final, NamedTuple

from .. import binding
from ..codecs import Cost
from .natives import ipsec_problem

__all__ = ["SealNumber", "Way", "new_secret", "way"]

#: Cipher -> what it makes of a block of zeros, with a key and a nonce of zeros (NIST's examples of GCM).
SEALED: Final = {
    "aes-128-gcm": "0388dace60b6a392f328c2b971b2fe78ab6e47d42cec13bdf53a67b21257bddf",
    "aes-192-gcm": "98e7247c07f0fe411c267e4384b0f6002ff58d80033927ab8ef4d4587514f0fb",
    "aes-256-gcm": "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919",
}

#: Something longer than all powers of the hash key that anybody prepares, not in whole blocks. The key is its beginning.
LONG: Final = bytes(range(256)) * 16 + b"end"
AAD: Final = LONG[:1037]
NONCE: Final = LONG[:12]

#: Cipher -> tag of that.
TAGS: Final = {
    "aes-128-gcm": "c7ce52b4710fb73d714a946e1be502aa",
    "aes-192-gcm": "d5d03802ec432895357604fa96189026",
    "aes-256-gcm": "50bae9e82666b832379d924b8dc34e84",
}

#: How it is cut.
_CUTS: Final = ((), (1, 18), (1000, 1001, 2048))

#: Of how many runs the shortest counts.
_RUNS: Final = 15

#: Nanoseconds that the event loop needs to ask for it, beside what is measured.
_ASKED: Final = 400


class SealNumber(enum.IntEnum):
    """As ``enum seal`` of ``native/request.h``."""

    AES_128_GCM = 0
    AES_192_GCM = 1
    AES_256_GCM = 2

    @classmethod
    def of(cls, algorithm: str) -> SealNumber | None:
        """The number of an algorithm; ``None``: it is not native."""
        return cls.__members__.get(algorithm.upper().replace("-", "_"))


class Way(NamedTuple):
    """How native workers seal and open.

    :ivar expanded: IPsec-MB does it, with an expanded key; else OpenSSL
    :ivar cost: what it takes here
    """

    expanded: bool
    cost: Cost


@cache
def way(algorithm: str) -> Way | None:
    """Look how native workers can do it; ``None``: they cannot.

    It takes about a millisecond, once a process, and a few to load IPsec-MB.
    """
    number = SealNumber.of(algorithm)
    if number is None or binding.library_problem("openssl"):
        return None
    ways = (False,) if ipsec_problem() else (True, False)
    return next((Way(each, _cost(number, each)) for each in ways if _agrees(algorithm, number, each)), None)


def new_secret(algorithm: str, material: bytes | bytearray) -> object | None:
    """What native workers take a key from; ``None``: they do nothing with it."""
    number, found = SealNumber.of(algorithm), way(algorithm)
    return None if number is None or found is None else binding.new_secret(number, material, found.expanded)


def _size(number: SealNumber) -> int:
    """Bytes of a key."""
    return 16 + 8 * number


def _agrees(algorithm: str, number: SealNumber, expanded: bool) -> bool:
    """Whether the answers are right, and what was changed is not opened."""
    zeros = binding.new_secret(number, bytes(_size(number)), expanded)
    if binding.is_expanded(zeros) is not expanded:
        return False
    block, sealed = bytes(16), bytes.fromhex(SEALED[algorithm])
    if (
        _tried(zeros, True, bytes(12), b"", (block,)) != sealed
        or _tried(zeros, False, bytes(12), b"", (sealed,)) != block
    ):
        return False
    secret = binding.new_secret(number, LONG[: _size(number)], expanded)
    sealed = _tried(secret, True, NONCE, AAD, (LONG,)) or b""
    changed = sealed[:-1] + bytes([sealed[-1] ^ 1])
    return (
        sealed[len(LONG) :].hex() == TAGS[algorithm]
        and all(_tried(secret, True, NONCE, AAD, _cut(LONG, cut)) == sealed for cut in _CUTS)
        and all(_tried(secret, False, NONCE, AAD, _cut(sealed, cut)) == LONG for cut in _CUTS)
        and all(_tried(secret, False, NONCE, AAD, _cut(changed, cut)) is None for cut in _CUTS)
    )


def _tried(secret: object, seal: bool, nonce: bytes, aad: bytes, pieces: tuple[bytes, ...]) -> bytes | None:
    return binding.try_sealing(secret, seal, nonce, aad, pieces, 1)[0]


def _cut(data: bytes, ends: tuple[int, ...]) -> tuple[bytes, ...]:
    return tuple(data[begin:end] for begin, end in zip((0, *ends), (*ends, len(data)), strict=True))


def _cost(number: SealNumber, expanded: bool) -> Cost:
    """What little takes, and what each KiB of more takes."""
    secret = binding.new_secret(number, LONG[: _size(number)], expanded)
    little, much = (
        binding.try_sealing(secret, True, NONCE, b"", (LONG[:size],), _RUNS)[1] for size in (16, 4096)
    )
    return Cost(_ASKED + little, max(1, (much - little) // 4))
