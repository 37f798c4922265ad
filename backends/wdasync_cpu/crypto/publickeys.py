"""Public and private keys, by `cryptography`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final

from wdasync.errors import Status
from wdasync.operations import Exchange, Generate, PrivateDecrypt, PublicEncrypt, Sign, Verify

from ..binding import Outcome
from ..guarded import whole
from ..packages import failed
from .inputs import Refused, delivered
from .keys import CURVE_CLASSES, CpuKey
from .table import BITS

__all__ = ["decrypt", "encrypt", "exchange", "generate", "sign", "verify"]

_ASYMMETRIC: Final = "cryptography.hazmat.primitives.asymmetric"


def _how(operation: Sign | Verify) -> tuple[Any, ...]:
    """Padding and hash, as the method of the key wants them."""
    if operation.algorithm == "rsa":
        return operation.padding, operation.hash
    if operation.algorithm.startswith("ecdsa-"):
        return (operation.padding or import_module(f"{_ASYMMETRIC}.ec").ECDSA(operation.hash),)
    return ()


@contextmanager
def _hashes_of(padding: Any) -> Iterator[None]:
    """What OpenSSL does not say of a padding.

    :raises Refused: it has not the hash of its mask
    """
    from cryptography.exceptions import InternalError

    try:
        yield
    except InternalError:
        mask = getattr(getattr(padding, "_mgf", None), "_algorithm", None)
        if mask is None:
            raise
        raise Refused(
            f"padding: expected MGF1 with a hash that OpenSSL has for it, got {mask.name}"
        ) from None


def _private(key: CpuKey, method: str) -> Any:
    found = getattr(key.material, method, None)
    if found is None:
        raise Refused(f"key: expected one that can {method}, got {type(key.material).__name__}")
    return found


def sign(operation: Sign, key: CpuKey) -> Outcome:
    """Sign. What comes after with this key, native code does, if it can."""
    method, how = _private(key, "sign"), _how(operation)
    with _hashes_of(operation.padding):
        outcome = delivered(operation, method(bytes(whole(operation.source)), *how))
    key.read_signer(operation, how)
    return outcome


def verify(operation: Verify, key: CpuKey) -> Outcome:
    """Check a signature. A private key will do, too."""
    from cryptography.exceptions import InvalidSignature

    public = key.material if hasattr(key.material, "verify") else key.material.public_key()
    try:
        with _hashes_of(operation.padding):
            public.verify(operation.signature, bytes(whole(operation.source)), *_how(operation))
    except InvalidSignature:
        return failed(Status.CHECKSUM_FAILED, "")
    return Status.SUCCESS, b"", operation.nbytes, 0, False, None


def encrypt(operation: PublicEncrypt, key: CpuKey) -> Outcome:
    """Encrypt for the owner of the private key."""
    public = key.material if hasattr(key.material, "encrypt") else key.material.public_key()
    return delivered(operation, public.encrypt(bytes(whole(operation.source)), operation.padding))


def decrypt(operation: PrivateDecrypt, key: CpuKey) -> Outcome:
    """Decrypt with a private key. Why it is not valid is nobody's business."""
    method = _private(key, "decrypt")
    data = bytes(whole(operation.source))
    try:
        return delivered(operation, method(data, operation.padding))
    except ValueError:
        return failed(Status.DATA_ERROR, "")


def exchange(operation: Exchange, key: CpuKey) -> Outcome:
    """Agree on a secret."""
    method = _private(key, "exchange")
    if operation.algorithm.startswith("ecdh-"):
        ec = import_module(f"{_ASYMMETRIC}.ec")
        if getattr(getattr(operation.peer, "curve", None), "name", "") != key.material.curve.name:
            raise Refused("peer: expected a public key on the same curve")
        secret = method(ec.ECDH(), operation.peer)
    else:
        if operation.algorithm == "dh" and not _same_group(key.material, operation.peer):
            raise Refused("peer: expected a public key of the same group")
        try:
            secret = method(operation.peer)
        except ValueError:  # The secret would be the same for every private key.
            return failed(Status.DATA_ERROR, "peer: a public key that agrees on nothing secret")
    return delivered(operation, secret)


def _same_group(key: Any, peer: Any) -> bool:
    if not hasattr(peer, "parameters"):
        return False
    mine, theirs = (each.parameters().parameter_numbers() for each in (key, peer))
    return (mine.p, mine.g) == (theirs.p, theirs.g)


def generate(operation: Generate) -> Outcome:
    """Make a private key."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    name = operation.algorithm
    if name == "rsa":
        least, most = BITS["rsa"]
        if not least <= operation.bits <= most:
            raise Refused(f"bits: expected {least} to {most}, got {operation.bits}")
        module = import_module(f"{_ASYMMETRIC}.rsa")
        key = module.generate_private_key(operation.exponent, operation.bits)
    elif name.startswith("ec-"):
        ec = import_module(f"{_ASYMMETRIC}.ec")
        key = ec.generate_private_key(getattr(ec, CURVE_CLASSES[name.removeprefix("ec-")])())
    else:
        key = getattr(import_module(f"{_ASYMMETRIC}.{name}"), f"{name.capitalize()}PrivateKey").generate()
    return delivered(operation, key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))
