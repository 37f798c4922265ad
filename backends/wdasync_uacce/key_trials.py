"""Trials of engines with keys: the package `cryptography` is the second opinion."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from wdasync.backend import Capability
from wdasync.operations import (
    Exchange,
    Generate,
    Key,
    KeyedOperation,
    Kind,
    Operation,
    PrivateDecrypt,
    PublicEncrypt,
    Sign,
    Verify,
)  # fmt: skip

from .curves import CURVES, LADDERS

if TYPE_CHECKING:
    from .engine_device import EngineDevice

__all__ = ["FAMILIES", "key_trial"]

MESSAGE: Final = b"what an engine says of this, another has said before"

#: The algorithms that are tried. (DH wants a group, and to make one takes minutes.)
FAMILIES: Final = frozenset(
    {"rsa", *LADDERS, *(f"{family}-{name}" for family in ("ec", "ecdsa", "ecdh") for name in CURVES)}
)

Trial = tuple[Operation, Callable[[bytes], bool]]


def key_trial(device: EngineDevice, row: Capability) -> Trial:
    """An operation with a new key, and whether an output is its answer. The key is the caller's to revoke.

    :raises ImportError: `cryptography` is not there
    """
    family, _, curve = row.algorithm.partition("-")
    if row.kind is Kind.GENERATE:
        return _new_key(row.algorithm)
    if family == "rsa":
        operation, is_right = _rsa(row.kind)
    elif family in LADDERS:
        operation, is_right = _ladder(family)
    else:
        operation, is_right = _curve(row.kind, row.algorithm, CURVES[curve].known_as)
    assert operation.key is not None
    operation.session = operation.key.session(device, row.algorithm)
    return operation, is_right


def _new_key(algorithm: str) -> Trial:
    """A short key that `cryptography` takes for one: of RSA it tests the primes."""
    from cryptography.hazmat.primitives.serialization import load_der_private_key

    def is_right(output: bytes) -> bool:
        try:
            load_der_private_key(output, None)
        except ValueError:
            return False
        return True

    return Generate(algorithm, 1024 if algorithm == "rsa" else 0), is_right


def _is_verified(verify: Callable[..., None], *rest: Any) -> Callable[[bytes], bool]:
    from cryptography.exceptions import InvalidSignature

    def is_right(signature: bytes) -> bool:
        try:
            verify(signature, MESSAGE, *rest)
        except InvalidSignature:
            return False
        return True

    return is_right


def _rsa(kind: Kind) -> tuple[KeyedOperation, Callable[[bytes], bool]]:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    private = rsa.generate_private_key(65537, 1024)  # noqa: S505  # it guards nothing
    key, sha, scheme = Key(private, "a key to try"), hashes.SHA256(), padding.PKCS1v15()
    match kind:
        case Kind.SIGN:
            return Sign(key, MESSAGE, "rsa", scheme, sha), _is_verified(
                private.public_key().verify, scheme, sha
            )
        case Kind.VERIFY:
            signature = private.sign(MESSAGE, scheme, sha)
            return Verify(key, signature, MESSAGE, "rsa", scheme, sha), lambda output: not output
        case Kind.PUBLIC_ENCRYPT:
            return PublicEncrypt(
                key, MESSAGE, "rsa", scheme
            ), lambda output: private.decrypt(output, scheme) == MESSAGE
        case _:
            text = private.public_key().encrypt(MESSAGE, scheme)
            return PrivateDecrypt(key, text, "rsa", scheme), lambda output: output == MESSAGE


def _curve(kind: Kind, algorithm: str, name: str) -> tuple[KeyedOperation, Callable[[bytes], bool]]:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    (curve,) = (
        found
        for found in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1(), ec.SECP256K1())
        if found.name == name
    )
    private, scheme = ec.generate_private_key(curve), ec.ECDSA(hashes.SHA256())
    key = Key(private, "a key to try")
    match kind:
        case Kind.SIGN:
            return Sign(key, MESSAGE, algorithm, None, hashes.SHA256()), _is_verified(
                private.public_key().verify, scheme
            )
        case Kind.VERIFY:
            signature = private.sign(MESSAGE, scheme)
            return Verify(
                key, signature, MESSAGE, algorithm, None, hashes.SHA256()
            ), lambda output: not output
        case _:
            peer = ec.generate_private_key(curve)
            secret = peer.exchange(ec.ECDH(), private.public_key())
            return Exchange(key, peer.public_key(), algorithm), lambda output: output == secret


def _ladder(algorithm: str) -> tuple[KeyedOperation, Callable[[bytes], bool]]:
    from cryptography.hazmat.primitives.asymmetric import x448, x25519

    kind: Any = x25519.X25519PrivateKey if algorithm == "x25519" else x448.X448PrivateKey
    private, peer = kind.generate(), kind.generate()
    secret = peer.exchange(private.public_key())
    return Exchange(
        Key(private, "a key to try"), peer.public_key(), algorithm
    ), lambda output: output == secret
