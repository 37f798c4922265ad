"""Handles of private and public keys."""

from __future__ import annotations

import warnings
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .errors import InvalidArgument, UnsupportedOperation
from .keyhandles import KeyHandle
from .operations import (
    Exchange,
    Generate,
    Key,
    KeyedOperation,
    Priority,
    PrivateDecrypt,
    PublicEncrypt,
    Sign,
    Verify,
)

if TYPE_CHECKING:
    from .buffers import Source
    from .execution import Execution

__all__ = ["PrivateKey", "PublicKey", "generated", "new_private_key", "new_public_key"]

#: Where `cryptography` has its keys, and what else is looked at for each signature.
_ASYMMETRIC: Final = "hazmat.primitives.asymmetric"
_PADDING: Final = f"{_ASYMMETRIC}.padding"
_EC: Final = f"{_ASYMMETRIC}.ec"
_UTILS: Final = f"{_ASYMMETRIC}.utils"

#: Its name of a curve -> ours.
_CURVES: Final = {"secp256r1": "p256", "secp384r1": "p384", "secp521r1": "p521", "secp256k1": "secp256k1"}


class _Family(NamedTuple):
    """A sort of keys.

    :ivar module: of `cryptography`
    :ivar name: before "PrivateKey" and "PublicKey"
    :ivar signs: algorithm of signatures; empty: none
    :ivar exchanges: algorithm of exchanges; empty: none
    """

    module: str
    name: str
    signs: str = ""
    exchanges: str = ""


_FAMILIES: Final = (
    _Family("rsa", "RSA", signs="rsa"),
    _Family("ec", "EllipticCurve", signs="ecdsa", exchanges="ecdh"),
    _Family("dh", "DH", exchanges="dh"),
    _Family("x25519", "X25519", exchanges="x25519"),
    _Family("x448", "X448", exchanges="x448"),
    _Family("ed25519", "Ed25519", signs="ed25519"),
    _Family("ed448", "Ed448", signs="ed448"),
)


@cache
def _cryptography(name: str) -> ModuleType:
    """A module of the package, once it is there.

    :raises UnsupportedOperation: if it is not installed
    """
    try:
        return import_module(f"cryptography.{name}")
    except ImportError as error:
        raise UnsupportedOperation(
            f'keys: expected the package cryptography, got {error}; install it: pip install "wdasync[crypto]"'
        ) from None


class _Handle(KeyHandle):
    """What private and public keys share."""

    def __init__(self, execution: Execution, key: Key, family: _Family, suffix: str) -> None:
        self._family = family
        self._suffix = suffix
        super().__init__(execution, key, (family.signs or family.exchanges) + suffix)

    async def _result(self, operation: KeyedOperation, timeout: float | None, priority: Priority) -> bytes:
        return (await self._run(operation, timeout, priority)).output or b""

    def _signing(self, padding: object, algorithm: object) -> tuple[str, object, object]:
        """Algorithm, padding and hash of a signature."""
        family = self._family
        if not family.signs:
            raise InvalidArgument(f"{self._key!r}: expected a key that signs, got one for exchanges")
        if family.signs == "rsa":
            if type(padding) in _paddings and type(algorithm) in _hashes:
                return "rsa", padding, algorithm
            return "rsa", _rsa_padding(padding, "PKCS1v15() or PSS(…)"), _hash(algorithm)
        if family.signs == "ecdsa":
            kind = _cryptography(_EC).ECDSA
            if isinstance(padding, kind):
                if algorithm is not None:
                    raise InvalidArgument(f"algorithm: expected none beside ECDSA(hash), got {algorithm!r}")
                plain = not getattr(padding, "deterministic_signing", False)
                return f"ecdsa{self._suffix}", None if plain else padding, getattr(padding, "algorithm", None)
            if padding is not None:
                raise InvalidArgument(f"padding: expected None or ECDSA(hash), got {padding!r}")
            return f"ecdsa{self._suffix}", None, _hash(algorithm)
        if padding is not None or algorithm is not None:
            raise InvalidArgument(f"{family.signs} has neither padding nor hash; leave them out")
        return family.signs, None, None

    def _only_rsa(self, what: str) -> None:
        if self._family.name != "RSA":
            raise InvalidArgument(f"{self._key!r}: expected an RSA key to {what} with, got another")


class PublicKey(_Handle):
    """A public key. What it verifies, and encrypts for its owner."""

    async def verify(
        self,
        signature: Source,
        data: Source,
        padding: object = None,
        algorithm: object = None,
        *,
        timeout: float | None = None,
        priority: Priority = Priority.NORMAL,
    ) -> None:
        """Check a signature. See :meth:`PrivateKey.sign`.

        :raises InvalidSignature: if it is not one of this key for ``data``
        """
        name, padding, algorithm = self._signing(padding, algorithm)
        operation = Verify(self._key, signature, data, name, padding, algorithm)
        await self._run(operation, timeout, priority)

    async def encrypt(
        self,
        data: Source,
        padding: object,
        *,
        timeout: float | None = None,
        priority: Priority = Priority.NORMAL,
    ) -> bytes:
        """Encrypt a short message, such as a key, for the owner of the private key.

        :param padding: ``OAEP(…)`` or ``PKCS1v15()``
        """
        self._only_rsa("encrypt")
        padding = _rsa_padding(padding, "OAEP(…) or PKCS1v15()")
        return await self._result(PublicEncrypt(self._key, data, "rsa", padding), timeout, priority)

    def public_object(self) -> Any:
        """The key object of `cryptography`.

        :raises InvalidState: if it is revoked
        """
        return self._key.material


class PrivateKey(_Handle):
    """A private key: of RSA, of an elliptic curve, or for exchanges."""

    async def sign(
        self,
        data: Source,
        padding: object = None,
        algorithm: object = None,
        *,
        timeout: float | None = None,
        priority: Priority = Priority.NORMAL,
    ) -> bytes:
        """Sign ``data``, as the key of `cryptography` does.

        :param padding: of RSA ``PKCS1v15()`` or ``PSS(…)``; of elliptic curves ``ECDSA(hash)``, or ``None``
        :param algorithm: the hash, ``SHA256()`` or ``"sha256"``; or ``Prehashed(SHA256())``: ``data`` is the digest
        """
        name, padding, algorithm = self._signing(padding, algorithm)
        operation = Sign(self._key, data, name, padding, algorithm)
        return (await self._execution.run(operation, timeout, priority)).output or b""

    async def decrypt(
        self,
        data: Source,
        padding: object,
        *,
        timeout: float | None = None,
        priority: Priority = Priority.NORMAL,
    ) -> bytes:
        """Decrypt what was encrypted with the public key.

        Use OAEP. With PKCS #1 v1.5 a message that is none is no error, which would tell who sends many what a message of somebody
        else's says (RFC 8017, section 7.2): there are bytes instead, as OpenSSL 3.2 and later make them.

        :param padding: ``OAEP(…)`` or ``PKCS1v15()``
        :raises DataError: if it was not; why is not said, since that would help who guesses
        """
        self._only_rsa("decrypt")
        padding = _rsa_padding(padding, "OAEP(…) or PKCS1v15()")
        return await self._result(PrivateDecrypt(self._key, data, "rsa", padding), timeout, priority)

    async def exchange(
        self, peer: object, *, timeout: float | None = None, priority: Priority = Priority.NORMAL
    ) -> bytes:
        """Agree on a secret with the owner of another key of the same group. Derive keys from it; it is none.

        :param peer: a :class:`PublicKey`, a public key of `cryptography`, or its PEM or DER
        :raises DataError: if the peer's key agrees on nothing secret
        """
        if not self._family.exchanges:
            raise InvalidArgument(f"{self._key!r}: expected a key for exchanges, got one that signs")
        theirs = peer.public_object() if isinstance(peer, PublicKey) else _loaded(peer, "public", "peer")
        found = _family_of(theirs, "PublicKey")
        if found != (self._family, self._suffix):
            got = _described(theirs, *found, "public") if found else type(theirs).__name__
            raise InvalidArgument(f"peer: expected a public key of the same kind as {self._key!r}, got {got}")
        operation = Exchange(self._key, theirs, self._family.exchanges + self._suffix)
        return await self._result(operation, timeout, priority)

    def public_key(self) -> PublicKey:
        """Its public key, as a handle of its own.

        :raises InvalidState: if it is revoked
        """
        return new_public_key(self._execution, self._key.material.public_key())


#: Classes of paddings, and of hashes, that were seen: to ask abstract classes each time takes as long as to make an operation.
_paddings: set[type] = set()
_hashes: set[type] = set()


def _rsa_padding(padding: object, expected: str) -> object:
    if type(padding) not in _paddings:
        if not isinstance(padding, _cryptography(_PADDING).AsymmetricPadding):
            raise InvalidArgument(f"padding: expected {expected} of cryptography, got {padding!r}")
        _paddings.add(type(padding))
    return padding


def _hash(algorithm: object) -> object:
    """A hash object, of what a caller gave."""
    if type(algorithm) in _hashes:
        return algorithm
    hashes = _cryptography("hazmat.primitives.hashes")
    if isinstance(algorithm, str):
        found = getattr(hashes, algorithm.upper().replace("-", "_"), None)
        if isinstance(found, type) and issubclass(found, hashes.HashAlgorithm) and hasattr(found, "name"):
            try:
                return found()
            except TypeError:  # it wants to be told its length
                pass
    elif isinstance(algorithm, (hashes.HashAlgorithm, _cryptography(_UTILS).Prehashed)):
        _hashes.add(type(algorithm))
        return algorithm
    raise InvalidArgument(f'algorithm: expected a hash such as SHA256() or "sha256", got {algorithm!r}')


@cache
def _class_of(family: _Family, side: str) -> type:
    module = _cryptography(f"{_ASYMMETRIC}.{family.module}")
    with warnings.catch_warnings():  # What is outdated says so to who makes a key of it.
        warnings.simplefilter("ignore")
        found: type = getattr(module, f"{family.name}{side}")
    return found


def _family_of(key: object, side: str) -> tuple[_Family, str] | None:
    """The sort of a key object, and what stands behind the algorithm's name; ``None``: it is none of ours."""
    for family in _FAMILIES:
        if isinstance(key, _class_of(family, side)):
            if family.module != "ec":
                return family, ""
            curve = _CURVES.get(getattr(getattr(key, "curve", None), "name", ""))
            return (family, f"-{curve}") if curve else None
    return None


def _loaded(key: object, side: str, argument: str = "key") -> Any:
    """A key object, of what a caller gave.

    :param side: private or public
    """
    if not isinstance(key, bytes | bytearray | memoryview):
        return key
    content = bytes(key)
    form = "pem" if b"-----BEGIN " in content else "der"  # Text may stand before it (RFC 7468, section 2).
    load = getattr(_cryptography("hazmat.primitives.serialization"), f"load_{form}_{side}_key")
    try:
        return load(content, None) if side == "private" else load(content)
    except TypeError:  # Its words may be about the password.
        text = "it is encrypted: load it with cryptography, and pass the key object"
    except Exception as error:  # noqa: BLE001  what the package raises here is of many types
        text = f"{type(error).__name__}: the {form.upper()} cannot be read"
    raise InvalidArgument(f"{argument}: expected a {side} key, got {text}")


def _described(key: Any, family: _Family, suffix: str, side: str) -> str:
    size = getattr(key, "key_size", None)
    name = suffix.removeprefix("-").upper() if family.module == "ec" else family.name
    return f"{name} {side} key{f', {size} bits' if size and family.module in ('rsa', 'dh') else ''}"


def _new(key: object, side: str) -> tuple[Key, _Family, str]:
    found = _family_of(key, f"{side.capitalize()}Key")
    if found is None:
        names = "RSA, P-256, P-384, P-521, secp256k1, DH, X25519, X448, Ed25519 or Ed448"
        curve = getattr(getattr(key, "curve", None), "name", "")
        got = f"one on {curve}" if curve else type(key).__name__
        raise InvalidArgument(
            f"key: expected a {side} key of cryptography ({names}), its PEM or DER, got {got}"
        )
    return Key(key, _described(key, *found, side)), *found


def new_private_key(execution: Execution, key: object) -> PrivateKey:
    """A handle.

    :raises InvalidArgument: if it is no private key
    """
    execution.check()
    return PrivateKey(execution, *_new(_loaded(key, "private"), "private"))


def new_public_key(execution: Execution, key: object) -> PublicKey:
    """A handle.

    :raises InvalidArgument: if it is no public key
    """
    execution.check()
    return PublicKey(execution, *_new(_loaded(key, "public"), "public"))


async def generated(
    execution: Execution, operation: Generate, timeout: float | None, priority: Priority
) -> PrivateKey:
    """A handle of a key that a device makes."""
    load = _cryptography("hazmat.primitives.serialization").load_der_private_key
    completion = await execution.run(operation, timeout, priority)
    # It was made just now: to look for its factors again would take long.
    return new_private_key(
        execution, load(completion.output or b"", None, unsafe_skip_rsa_key_validation=True)
    )
