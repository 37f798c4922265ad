"""Operations with public and private keys.

Padding and hashing belong to the operation: where they are done, on the device or before it, is the backend's matter.
Paddings and hashes are objects of the package `cryptography`.
"""

from __future__ import annotations

from typing import Any

from ..buffers import short
from .base import Kind, Operation, check_bound
from .keys import Key, KeyedOperation

__all__ = ["Exchange", "Generate", "PrivateDecrypt", "PublicEncrypt", "Sign", "Verify"]


class _Signature(KeyedOperation):
    """The common part of signing and verifying.

    :ivar padding: ``PKCS1v15()`` or ``PSS(…)`` of RSA; ``None`` of elliptic curves
    :ivar hash: ``SHA256()`` and the like, or ``Prehashed(…)``: then ``source`` is the digest
    """

    __slots__ = ("hash", "padding")

    padding: Any
    hash: Any


class Sign(_Signature):
    """Sign ``data``. The output is as long as the modulus (RSA, RFC 8017), or DER (ECDSA, RFC 3279; SM2, GB/T 32918).

    :param key: a private key
    :param data: bytes-like, or a list of them
    :param algorithm: ``rsa``, ``ecdsa-p256``, ``sm2``, …
    """

    __slots__ = ()
    kind = Kind.SIGN

    def __init__(self, key: Key, data: object, algorithm: str, padding: object, hash: object) -> None:  # noqa: A002  # the field's word
        self._take_key(key)
        self._begin(data, algorithm)
        self.padding, self.hash = padding, hash


class Verify(_Signature):
    """Check a signature. No output; CHECKSUM_FAILED if it is not one of this key for this data."""

    __slots__ = ("signature",)
    kind = Kind.VERIFY

    signature: bytes

    def __init__(
        self,
        key: Key,
        signature: object,
        data: object,
        algorithm: str,
        padding: object,
        hash: object,  # noqa: A002  # the field's word
    ) -> None:
        self._take_key(key)
        self.signature = short(signature, "signature")
        self._begin(data, algorithm)
        self.padding, self.hash = padding, hash


class _Encryption(KeyedOperation):
    """The common part of both directions.

    :ivar padding: ``PKCS1v15()`` or ``OAEP(…)`` of RSA; ``None`` of SM2
    """

    __slots__ = ("padding",)

    padding: Any

    def __init__(self, key: Key, data: object, algorithm: str, padding: object) -> None:
        self._take_key(key)
        self._begin(data, algorithm)
        self.padding = padding


class PublicEncrypt(_Encryption):
    """Encrypt for the owner of the private key."""

    __slots__ = ()
    kind = Kind.PUBLIC_ENCRYPT


class PrivateDecrypt(_Encryption):
    """Decrypt with a private key. DATA_ERROR, without a reason, if it is nothing that the public key made."""

    __slots__ = ()
    kind = Kind.PRIVATE_DECRYPT


class Exchange(KeyedOperation):
    """A shared secret with a peer (DH, ECDH, X25519, X448). The output is the secret, as long as the field or modulus.

    :param key: a private key
    :param peer: a public key of the same group, an object of the package `cryptography`
    :param algorithm: ``dh``, ``ecdh-p256``, ``x25519``, …
    """

    __slots__ = ("peer",)
    kind = Kind.EXCHANGE

    peer: Any

    def __init__(self, key: Key, peer: object, algorithm: str) -> None:
        self._take_key(key)
        self._begin(b"", algorithm)
        self.peer = peer


class Generate(Operation):
    """Make a private key. The output is its PKCS #8 (RFC 5208) in DER.

    :param algorithm: ``rsa``, ``ec-p256``, ``x25519``, ``sm2``, …
    :param bits: of the modulus, for RSA
    :param exponent: the public one, for RSA
    :raises InvalidArgument: if one of them is not of its type
    """

    __slots__ = ("bits", "exponent")
    kind = Kind.GENERATE

    bits: int
    exponent: int

    def __init__(self, algorithm: str, bits: int = 0, exponent: int = 65537) -> None:
        self._begin(b"", algorithm)
        self.bits = check_bound(bits, "bits", 0)
        self.exponent = check_bound(exponent, "exponent", 3)
