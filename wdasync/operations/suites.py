"""The algorithms that work with keys and digests: their names, and which sizes they have. A table that all sides share.

Names are lower case, from the general to the special: ``aes-256-gcm``, ``hmac-sha384``, ``ecdsa-p256``.

``aes-…-cbc-hmac-…`` is composed as IPsec composes it (RFC 4303): the text is encrypted in CBC mode with the nonce as
initialisation vector, and the code is made of associated data, nonce and ciphertext, and cut to the length of the tag. The key
is the cipher's and then the hash's, which is as long as the digest (RFC 4868). Nothing is padded. As in IPsec, where
associated data ends and the rest begins is not in the code: it must have one length for all messages under a key.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

__all__ = [
    "CHECKSUMS",
    "CIPHERS",
    "CURVES",
    "DIGESTS",
    "MACS",
    "SEALS",
    "CipherSuite",
    "DigestSuite",
    "problem_of_sizes",
]


#: Bytes of a key that may have any length, at most. Of one that is longer than a block, HMAC takes the digest (RFC 2104).
LONGEST_KEY: Final = 1 << 16


class DigestSuite(NamedTuple):
    """A digest.

    :ivar size: bytes of the digest
    :ivar block: bytes of a block
    """

    size: int
    block: int


class CipherSuite(NamedTuple):
    """A cipher, or cipher with authentication, or code.

    :ivar key: lengths of its key in bytes, empty: any from 1 to :data:`LONGEST_KEY`
    :ivar iv: fewest and most bytes of the nonce or initialisation vector
    :ivar unit: the input is a multiple of so many bytes
    :ivar least: fewest bytes of input
    :ivar tags: lengths of the tag in bytes
    """

    key: Sequence[int]
    iv: tuple[int, int] = (0, 0)
    unit: int = 1
    least: int = 0
    tags: Sequence[int] = ()


CHECKSUMS: Final = ("crc32", "crc32c", "adler32")

DIGESTS: Final[dict[str, DigestSuite]] = {
    "md5": DigestSuite(16, 64),
    "sha1": DigestSuite(20, 64),
    "sha224": DigestSuite(28, 64),
    "sha256": DigestSuite(32, 64),
    "sha384": DigestSuite(48, 128),
    "sha512": DigestSuite(64, 128),
    "sha512-224": DigestSuite(28, 128),
    "sha512-256": DigestSuite(32, 128),
    "sm3": DigestSuite(32, 64),
}

#: Block cipher -> length of its key, and of its block, in bytes.
_BLOCKS: Final = {
    "aes-128": (16, 16),
    "aes-192": (24, 16),
    "aes-256": (32, 16),
    "sm4": (16, 16),
    "3des": (24, 8),
}


def _ciphers() -> dict[str, CipherSuite]:
    found: dict[str, CipherSuite] = {}
    for name, (key, block) in _BLOCKS.items():
        found[f"{name}-ecb"] = CipherSuite((key,), unit=block)
        found[f"{name}-cbc"] = CipherSuite((key,), (block, block), unit=block)
        for mode in ("cfb", "ofb", "ctr"):
            found[f"{name}-{mode}"] = CipherSuite((key,), (block, block))
    del found["3des-ctr"]
    for name in ("aes-128", "aes-256", "sm4"):
        found[f"{name}-xts"] = CipherSuite((2 * _BLOCKS[name][0],), (16, 16), least=16)
    return found


#: Ciphers without authentication. CFB feeds back whole blocks. XTS takes any length from one block on, at most 2**20 blocks; of
#: SM4 it is IEEE 1619's, as in Linux, and not that of GB/T 17964, whose tweak goes the other way.
CIPHERS: Final[dict[str, CipherSuite]] = _ciphers()

#: Digests that are composed with CBC.
_COMPOSED: Final = ("sha1", "sha256", "sha384", "sha512")


def _seals() -> dict[str, CipherSuite]:
    found: dict[str, CipherSuite] = {}
    for name in ("aes-128", "aes-192", "aes-256", "sm4"):
        key = _BLOCKS[name][0]
        found[f"{name}-gcm"] = CipherSuite((key,), (8, 128), tags=(4, 8, 12, 13, 14, 15, 16))
        found[f"{name}-ccm"] = CipherSuite((key,), (7, 13), tags=(4, 6, 8, 10, 12, 14, 16))
    for name in ("aes-128", "aes-192", "aes-256"):
        for digest in _COMPOSED:
            size = DIGESTS[digest].size
            suite = CipherSuite((_BLOCKS[name][0] + size,), (16, 16), unit=16, tags=range(10, size + 1))
            found[f"{name}-cbc-hmac-{digest}"] = suite
    found["chacha20-poly1305"] = CipherSuite((32,), (12, 12), tags=(16,))
    return found


#: Ciphers with authentication.
SEALS: Final[dict[str, CipherSuite]] = _seals()

#: Message authentication codes.
MACS: Final[dict[str, CipherSuite]] = {
    **{f"hmac-{name}": CipherSuite(()) for name in DIGESTS},
    **{f"{name}-cmac": CipherSuite((key,)) for name, (key, _) in _BLOCKS.items()},
}

#: Elliptic curve -> bits of its field. ``ecdsa-``, ``ecdh-`` and ``ec-`` (to make a key of it) stand before it.
CURVES: Final = {"p256": 256, "p384": 384, "p521": 521, "secp256k1": 256}


def problem_of_sizes(suite: CipherSuite, key: int, iv: int = 0, size: int = 0, tag: int | None = None) -> str:
    """What is wrong with the sizes of an operation; empty if nothing is.

    :param key: bytes of the key
    :param iv: bytes of the nonce or initialisation vector
    :param size: bytes of the text, without its tag
    :param tag: bytes of the tag; ``None``: there is none
    """
    if suite.key and key not in suite.key:
        return f"key: expected {_any_of(suite.key)} bytes, got {key}"
    if not suite.key and not key:
        return "key: expected at least 1 byte, got none"
    if not suite.key and key > LONGEST_KEY:
        return f"key: expected at most {LONGEST_KEY} bytes, got {key}; HMAC takes the digest of a longer one, so pass that"
    low, high = suite.iv
    if not low <= iv <= high:
        name = "iv" if tag is None else "nonce"
        return f"{name}: expected {low if low == high else f'{low} to {high}'} bytes, got {iv}"
    if size < suite.least:
        return f"data: expected at least {suite.least} bytes, got {size}"
    if size % suite.unit:
        return f"data: expected a multiple of {suite.unit} bytes, got {size}; pad it before"
    if tag is not None and tag not in suite.tags:
        return f"tag_length: expected {_any_of(suite.tags)} bytes, got {tag}"
    return ""


def _any_of(sizes: Sequence[int]) -> str:
    return f"{sizes[0]} to {sizes[-1]}" if isinstance(sizes, range) else " or ".join(map(str, sizes))
