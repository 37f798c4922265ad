"""Who does which algorithm, and what it costs.

*Costs* are of the way through Python: a call of `hashlib` or `cryptography` with its objects. Memory work has another, and digests
and AES-GCM that native workers make: what those cost is measured where it runs. Work
with public keys never runs in the caller's thread, however short it is.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Container
from importlib.util import find_spec
from typing import Final, NamedTuple

from wdasync.backend import Capability
from wdasync.operations import CHECKSUMS, CIPHERS, CURVES, DIGESTS, MACS, SEALS, Kind

from .. import binding
from ..codecs import Cost, Engine
from .gcm import SealNumber, way
from .natives import DigestNumber, hashlib_name, timing
from .signers import is_signed_natively

__all__ = [
    "BITS",
    "IMPLEMENTATIONS",
    "Checksum",
    "Work",
    "capabilities",
    "hashlib_name",
    "problem",
    "work_of",
]

#: What to type to get what is not here.
ADVICE: Final = 'pip install "wdasync[crypto]"'

#: Name -> who the C side thinks does it.
IMPLEMENTATIONS: Final = {
    "memory": Engine.MEMORY,
    "openssl": Engine.DIGEST,
    "openssl-seal": Engine.SEAL,
    "openssl-sign": Engine.SIGN,
    "hashlib": Engine.PYTHON,
    "cryptography": Engine.PYTHON,
    "sequences": Engine.PYTHON,
}

#: Never in the caller's thread.
NEVER: Final = Cost(1 << 40, 0)


class Checksum(enum.IntEnum):
    """As ``enum checksum`` of ``native/request.h``."""

    CRC32 = 0
    CRC32C = 1
    ADLER32 = 2


class Work(NamedTuple):
    """One kind of operation on one algorithm.

    :ivar implementation: who does it, a key of ``IMPLEMENTATIONS``
    :ivar cost: what it takes
    :ivar format: how the C side knows it
    :ivar measured: the cost is of this machine, not of the one of the tables
    """

    implementation: str
    cost: Cost
    format: int = 0
    measured: bool = False


#: Digest -> nanoseconds for each KiB.
_DIGESTS: Final = {
    "md5": 2_000,
    "sha1": 2_200,
    "sha224": 5_500,
    "sha256": 5_500,
    "sha384": 3_500,
    "sha512": 3_500,
    "sha512-224": 3_500,
    "sha512-256": 3_500,
    "sm3": 7_000,
}

#: Cipher -> nanoseconds for each KiB.
_CIPHERS: Final = {"aes": 800, "sm4": 12_000, "3des": 40_000, "chacha20": 1_000}


def _by_hash(algorithm: str, fixed: int) -> Work:
    return Work("hashlib", Cost(fixed, _DIGESTS[algorithm]))


def _by_cipher(algorithm: str, fixed: int) -> Work:
    return Work("cryptography", Cost(fixed, _CIPHERS[algorithm.partition("-")[0]]))


def _table() -> dict[tuple[Kind, str], Work]:
    found: dict[tuple[Kind, str], Work] = {
        (Kind.COPY, "copy"): Work("memory", Cost(800, 100)),
        (Kind.FILL, "fill"): Work("memory", Cost(800, 60)),
        (Kind.COMPARE, "compare"): Work("memory", Cost(1_000, 100)),
        (Kind.SEQUENCE, "sequence"): Work("sequences", NEVER),
    }
    for name in CHECKSUMS:
        found[Kind.CHECKSUM, name] = Work("memory", Cost(900, 150), Checksum[name.upper()])
    for name in DIGESTS:
        found[Kind.DIGEST, name] = _by_hash(name, 4_000)
        found[Kind.MAC, f"hmac-{name}"] = _by_hash(name, 7_000)
        for each in (name, f"hmac-{name}"):
            found[Kind.DIGEST_CHUNK, each] = _by_hash(name, 4_000)
    for name in MACS:
        if not name.startswith("hmac-"):
            found[Kind.MAC, name] = _by_cipher(name, 12_000)
    for name in CIPHERS:
        for kind in (Kind.ENCRYPT, Kind.DECRYPT):
            found[kind, name] = _by_cipher(name, 15_000)
    for name in SEALS:
        for kind in (Kind.SEAL, Kind.OPEN):
            found[kind, name] = _seal(name)
    return found | {at: Work("cryptography", NEVER) for at in _public()}


def _seal(name: str) -> Work:
    _, composed, digest = name.partition("-hmac-")
    if composed:
        return Work("cryptography", Cost(25_000, _CIPHERS["aes"] + _DIGESTS[digest]))
    return _by_cipher(name, 15_000 if name.startswith("sm4") else 4_000)


def _public() -> list[tuple[Kind, str]]:
    """All that has to do with public keys."""
    found = [(kind, "rsa") for kind in (Kind.PUBLIC_ENCRYPT, Kind.PRIVATE_DECRYPT)]
    for name in ("rsa", *(f"ecdsa-{curve}" for curve in CURVES), "ed25519", "ed448"):
        found += [(Kind.SIGN, name), (Kind.VERIFY, name)]
    found += [
        (Kind.EXCHANGE, name) for name in ("dh", *(f"ecdh-{curve}" for curve in CURVES), "x25519", "x448")
    ]
    made = ("rsa", *(f"ec-{curve}" for curve in CURVES), "x25519", "x448", "ed25519", "ed448")
    found += [(Kind.GENERATE, name) for name in made]
    return found


_TABLE: Final = _table()

#: Shortest and longest modulus in bits that the library takes.
BITS: Final = {"rsa": (1024, 16384), "dh": (512, 10000)}


#: Nanoseconds of a digest by a native worker, whatever its input.
_NATIVE_FIXED: Final = 500


#: By whom, and what: some of it is out of the ordinary.
_ORDINARY: Final = {
    ("openssl-seal", Kind.SEAL),
    ("openssl-seal", Kind.OPEN),
    ("openssl-sign", Kind.SIGN),
}


def work_of(kind: Kind, algorithm: str, available: Container[str]) -> Work:
    """Who does it. There is a row of it.

    :param available: the implementations that there are
    """
    native = timing(algorithm) if kind is Kind.DIGEST and "openssl" in available else None
    if native is not None:
        return Work("openssl", Cost(_NATIVE_FIXED, native.per_kib), DigestNumber.of(algorithm), measured=True)
    number = SealNumber.of(algorithm) if kind in (Kind.SEAL, Kind.OPEN) else None
    if number is not None and "openssl-seal" in available and (found := way(algorithm)) is not None:
        return Work("openssl-seal", found.cost, number, measured=True)
    if kind is Kind.SIGN and "openssl-sign" in available and is_signed_natively(algorithm):
        return Work("openssl-sign", NEVER)
    return _TABLE[kind, algorithm]


def otherwise(implementation: str, kind: Kind) -> str | None:
    """Who does what is out of the ordinary for an implementation; ``None``: nothing is."""
    return "cryptography" if (implementation, kind) in _ORDINARY else None


def problem(implementation: str) -> str:
    """Why it cannot be used; empty if it can. Nothing is imported: that would take longer than to open a device."""
    if implementation.startswith("openssl"):
        found = binding.library_problem("openssl")
        lacks = implementation == "openssl-sign" and not binding.library_signs()
        return found or ("it has no signatures" if lacks else "")
    ours = implementation in ("memory", "sequences")
    return "" if ours or find_spec(implementation) is not None else "not found"


def capabilities(available: Container[str]) -> list[Capability]:
    """The rows of the capability table, given which implementations are there."""
    found = []
    for (kind, name), work in _TABLE.items():
        digest = name.removeprefix("hmac-")
        if work.implementation not in available:
            continue
        if digest in DIGESTS and hashlib_name(digest) not in hashlib.algorithms_available:
            continue
        found.append(Capability(kind, name, bits=BITS.get(name)))
    return found


def lacking(available: Container[str]) -> dict[str, str]:
    """Algorithms that would be there if something were installed -> what to type."""
    return {
        name: ADVICE
        for (_, name), work in _TABLE.items()
        if work.implementation == "cryptography" and work.implementation not in available
    }
