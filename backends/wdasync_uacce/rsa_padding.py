"""RSA's paddings (RFC 8017): what stands between a message and the number that the engine raises to a power.

The objects that say which one are those of the package `cryptography`, and so are the digests.
"""

from __future__ import annotations

import hmac
import secrets
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.hashes import HashAlgorithm

__all__ = [
    "PaddingError", "digest_of", "is_pkcs1", "pad_for_encryption", "pad_for_signature", "signature_is_right", "unpad_after_decryption",
]  # fmt: skip

#: Object identifiers of digests (RFC 8017, appendix B.1; NIST), in DER without tag and length. With SM3 stands what OpenSSL
#: writes and reads, the identifier of its signatures with RSA (1.2.156.10197.1.504), and not that of the digest (…401).
_IDENTIFIERS: Final = {
    "md5": "2a864886f70d0205", "sha1": "2b0e03021a",
    **{f"sha{name}": f"608648016503040{'2'}{number:02x}" for number, name in enumerate(
        ("256", "384", "512", "224", "512-224", "512-256", "3-224", "3-256", "3-384", "3-512"), 1
    )},
    "sm3": "2a811ccf55018378",
}  # fmt: skip


class PaddingError(ValueError):
    """Raised when a padding cannot be made of what was given."""


def digest_of(algorithm: Any, data: bytes) -> tuple[bytes, HashAlgorithm | None]:
    """The digest of a message, or the message itself where it is one already, and which digest it is (``None``: nobody knows).

    :param algorithm: ``SHA256()`` and the like, ``Prehashed(…)``, or ``NoDigestInfo()``
    :raises PaddingError: it is something else, or a digest of another length
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import utils

    if isinstance(algorithm, hashes.HashAlgorithm):
        try:
            work = hashes.Hash(algorithm)
        except UnsupportedAlgorithm:
            raise PaddingError(f"hash: expected one that `cryptography` has, got {algorithm.name}") from None
        work.update(data)
        return work.finalize(), algorithm
    if isinstance(algorithm, utils.Prehashed):
        kind = algorithm._algorithm
        if len(data) != kind.digest_size:
            raise PaddingError(f"data: expected a digest of {kind.digest_size} bytes, got {len(data)}")
        return data, kind
    if type(algorithm).__name__ == "NoDigestInfo":
        return data, None
    raise PaddingError(f"hash: expected a hash of the package cryptography, got {type(algorithm).__name__}")


def _hash(algorithm: HashAlgorithm, *pieces: bytes) -> bytes:
    return digest_of(algorithm, b"".join(pieces))[0]


def _mask(seed: bytes, nbytes: int, algorithm: HashAlgorithm) -> bytes:
    """MGF1 (appendix B.2.1)."""
    rounds = -(-nbytes // algorithm.digest_size)
    return b"".join(_hash(algorithm, seed, number.to_bytes(4, "big")) for number in range(rounds))[:nbytes]


def _xor(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).to_bytes(len(one), "big")


def _name(padding: Any) -> str:
    return getattr(padding, "name", "") or type(padding).__name__


def is_pkcs1(padding: Any) -> bool:
    """Whether it is ``PKCS1v15()``."""
    return _name(padding) == "EMSA-PKCS1-v1_5"


# -- signatures ---------------------------------------------------------------------------------------------------------


def pad_for_signature(padding: Any, algorithm: Any, data: bytes, bits: int) -> bytes:
    """What is signed, as long as the modulus.

    :param padding: ``PKCS1v15()`` or ``PSS(…)``
    :param algorithm: as :func:`digest_of` takes it
    :param bits: of the modulus
    :raises PaddingError: it cannot be made
    """
    digest, kind = digest_of(algorithm, data)
    if _name(padding) == "EMSA-PSS" and kind is not None:
        encoded = _pss(digest, kind, padding, bits - 1)
        return encoded.rjust((bits + 7) // 8, b"\0")
    return _pkcs1(_digest_info(digest, kind, padding), (bits + 7) // 8)


def _digest_info(digest: bytes, kind: HashAlgorithm | None, padding: Any) -> bytes:
    if not is_pkcs1(padding):
        raise PaddingError(f"padding: expected PKCS1v15 or PSS with a hash, got {_name(padding)}")
    if kind is None:
        return digest
    identifier = _IDENTIFIERS.get(kind.name)
    if identifier is None:
        raise PaddingError(f"hash: expected one with an identifier for PKCS1v15, got {kind.name}")
    return _der(0x30, _der(0x30, _der(6, bytes.fromhex(identifier)) + b"\x05\0") + _der(4, digest))


def _der(tag: int, content: bytes) -> bytes:
    return bytes([tag, len(content)]) + content


def _pkcs1(content: bytes, size: int) -> bytes:
    fill = size - len(content) - 3
    if fill < 8:
        raise PaddingError(f"expected a modulus of at least {len(content) + 11} bytes, got {size}")
    return b"\0\1" + b"\xff" * fill + b"\0" + content


def _salt_length(padding: Any, kind: HashAlgorithm, size: int) -> int | None:
    """``None``: whatever it is."""
    length = padding._salt_length
    if isinstance(length, int):
        return length
    name = type(length).__name__
    if name == "_Auto":
        return None
    return size - kind.digest_size - 2 if name == "_MaxLength" else kind.digest_size


def _pss(digest: bytes, kind: HashAlgorithm, padding: Any, bits: int) -> bytes:
    """EMSA-PSS (section 9.1.1)."""
    size = (bits + 7) // 8
    length = _salt_length(padding, kind, size)
    if length is None:
        raise PaddingError("salt_length: expected a length to sign with, got AUTO")
    fill = size - length - len(digest) - 2
    if fill < 0:
        raise PaddingError(f"expected a modulus of at least {length + len(digest) + 2} bytes, got {size}")
    salt = secrets.token_bytes(length)
    hashed = _hash(kind, bytes(8), digest, salt)
    block = bytes(fill) + b"\1" + salt
    masked = bytearray(_xor(block, _mask(hashed, len(block), padding._mgf._algorithm)))
    masked[0] &= 0xFF >> 8 * size - bits
    return bytes(masked) + hashed + b"\xbc"


def signature_is_right(padding: Any, algorithm: Any, data: bytes, encoded: bytes, bits: int) -> bool:
    """Whether what came out of a signature is what was signed.

    :param encoded: as long as the modulus
    :raises PaddingError: there can be no such signature
    """
    digest, kind = digest_of(algorithm, data)
    if _name(padding) == "EMSA-PSS" and kind is not None:
        size = (bits + 6) // 8
        return not any(encoded[:-size]) and _pss_is_right(encoded[-size:], digest, kind, padding, bits - 1)
    return hmac.compare_digest(encoded, _pkcs1(_digest_info(digest, kind, padding), len(encoded)))


def _pss_is_right(encoded: bytes, digest: bytes, kind: HashAlgorithm, padding: Any, bits: int) -> bool:
    """EMSA-PSS (section 9.1.2). ``MAX_LENGTH`` takes a salt of any length here, as the package `cryptography` does."""
    split = len(encoded) - len(digest) - 1
    if split < 1 or encoded[-1] != 0xBC or encoded[0] & ~(0xFF >> 8 * len(encoded) - bits):
        return False
    hashed = encoded[split:-1]
    block = bytearray(_xor(encoded[:split], _mask(hashed, split, padding._mgf._algorithm)))
    block[0] &= 0xFF >> 8 * len(encoded) - bits
    salt = bytes(block.lstrip(b"\0"))
    if salt[:1] != b"\1":
        return False
    any_length = type(padding._salt_length).__name__ == "_MaxLength"
    length = None if any_length else _salt_length(padding, kind, len(encoded))
    if length is not None and len(salt) - 1 != length:
        return False
    return hmac.compare_digest(hashed, _hash(kind, bytes(8), digest, salt[1:]))


# -- encryption ---------------------------------------------------------------------------------------------------------


def pad_for_encryption(padding: Any, data: bytes, size: int) -> bytes:
    """What is encrypted.

    :param padding: ``PKCS1v15()`` or ``OAEP(…)``
    :param size: of the modulus, bytes
    :raises PaddingError: it cannot be made
    """
    if is_pkcs1(padding):
        fill = size - len(data) - 3
        if fill < 8:
            raise PaddingError(f"data: expected at most {size - 11} bytes, got {len(data)}")
        return b"\0\2" + bytes(secrets.randbelow(255) + 1 for _ in range(fill)) + b"\0" + data
    kind, label = _oaep(padding)
    most = size - 2 * kind.digest_size - 2
    if len(data) > most:
        raise PaddingError(f"data: expected at most {max(most, 0)} bytes, got {len(data)}")
    block = _hash(kind, label) + bytes(most - len(data)) + b"\1" + data
    seed = secrets.token_bytes(kind.digest_size)
    mask = padding._mgf._algorithm
    masked = _xor(block, _mask(seed, len(block), mask))
    return b"\0" + _xor(seed, _mask(masked, len(seed), mask)) + masked


def _oaep(padding: Any) -> tuple[HashAlgorithm, bytes]:
    if _name(padding) != "EME-OAEP":
        raise PaddingError(f"padding: expected PKCS1v15 or OAEP, got {_name(padding)}")
    return padding._algorithm, padding._label or b""


def unpad_after_decryption(padding: Any, encoded: bytes) -> bytes | None:
    """The message; ``None``: it is none, and nobody is told why.

    All of the block is looked at whatever it is, but Python cannot promise that this always takes the same time.

    :param encoded: as long as the modulus
    :raises PaddingError: the padding is none
    """
    if is_pkcs1(padding):
        end = encoded.find(b"\0", 2)
        good = (encoded[0] == 0) & (encoded[1] == 2) & (end >= 10)
        return encoded[end + 1 :] if good else None
    kind, label = _oaep(padding)
    length, mask = kind.digest_size, padding._mgf._algorithm
    if len(encoded) < 2 * length + 2:
        return None
    masked = encoded[1 + length :]
    seed = _xor(encoded[1 : 1 + length], _mask(masked, length, mask))
    block = _xor(masked, _mask(seed, len(masked), mask))
    end = len(block) - len(block[length:].lstrip(b"\0"))
    right = hmac.compare_digest(block[:length], _hash(kind, label))
    good = right & (encoded[0] == 0) & (block[end : end + 1] == b"\1")
    return block[end + 1 :] if good else None
