"""Private keys for the threads that sign without Python: a key is read for OpenSSL once, by the first of them that signs with it.

What is not here, Python does, by `cryptography`: Ed25519 and Ed448, keys that are very long or cannot be exported, signatures of an unusual
kind. And what `cryptography` does faster: it brings an OpenSSL of its own, which may be a newer one than the system's. That is measured,
for each kind and length of keys.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from wdasync.operations import CURVES, DIGESTS, Sign

from .. import binding
from .natives import DigestNumber

__all__ = ["NO_WAY", "depends_on_data", "is_signed_natively", "new_signer", "way_of"]

#: Python does it.
NO_WAY: Final = -1

#: Where a way has what; as ``enum padding`` and ``take_way()`` of ``native``.
_DIGEST, _PKCS1, _PSS, _HASHED, _SALT = 0xFF, 1 << 8, 2 << 8, 1 << 10, 11

#: Hashes of signatures, by their names in `cryptography`.
_HASHES: Final = {name: DigestNumber.of(name) for name in ("sha1", "sha224", "sha256", "sha384", "sha512")}
_DIGEST_SIZES: Final[dict[int, int]] = {number: DIGESTS[name].size for name, number in _HASHES.items()}

_ALGORITHMS: Final = frozenset({"rsa", *(f"ecdsa-{curve}" for curve in CURVES)})


def is_signed_natively(algorithm: str) -> bool:
    """Whether keys of it are read for OpenSSL."""
    return algorithm in _ALGORITHMS


#: Algorithm and bits of a key -> whether native code is to sign with such keys.
_worth_it: dict[tuple[str, int], bool] = {}

#: Most bits of a key. A signature with a longer one takes so long that the interpreter's lock is nothing beside it, and ``fork()`` has to wait
#: for a native one.
_MOST_BITS: Final = 4096

#: Of how many runs the shortest counts.
_RUNS: Final = 3

#: What it may take, of what `cryptography` takes: that one has the interpreter's lock for some of it.
_ENOUGH: Final = 1.1


def new_signer(key: Any, operation: Sign, way: int, how: tuple[Any, ...]) -> object | None:
    """A key that native code signs with; ``None``: it is better left to `cryptography`. The first of its kind takes as long as some
    signatures, others a tenth of a millisecond.

    :param operation: the first of this key's; what it signs is not looked at
    :param way: as :func:`way_of` says it
    :param how: as the key's own method wants it
    """
    forms = import_module("cryptography.hazmat.primitives.serialization")
    try:
        if key.key_size > _MOST_BITS:
            return None
        signer = binding.new_signer(
            key.private_bytes(forms.Encoding.DER, forms.PrivateFormat.PKCS8, forms.NoEncryption())
        )
    except Exception:  # noqa: BLE001  such as of a key that stays in hardware: it is no reason not to sign
        return None
    kind = operation.algorithm, key.key_size
    if signer is not None and kind not in _worth_it:
        _worth_it[kind] = _is_worth_it(signer, key, way, how)
    return signer if _worth_it.get(kind) else None


def _is_worth_it(signer: object, key: Any, way: int, how: tuple[Any, ...]) -> bool:
    """Whether its signatures are good, and do not take longer."""
    data = bytes(_DIGEST_SIZES[way & _DIGEST])  # for who wants a digest, and for who wants any data
    try:
        key.public_key().verify(binding.try_signing(signer, way, data) or b"", data, *how)
    except import_module("cryptography.exceptions").InvalidSignature:
        return False
    native = _shortest(lambda: binding.try_signing(signer, way, data))
    return native <= _ENOUGH * _shortest(lambda: key.sign(data, *how))


def _shortest(make: Callable[[], object]) -> int:
    """Nanoseconds that this thread works for it."""
    taken = []
    for _ in range(_RUNS):
        begun = time.thread_time_ns()
        make()
        taken.append(time.thread_time_ns() - begun)
    return min(taken)


def way_of(operation: Sign, key: Any) -> int:
    """How to sign, as ``take_way()`` of ``native/python/secrets.c`` wants it; :data:`NO_WAY`: not there."""
    try:
        return _way_of(operation, key)
    except AttributeError:  # what `cryptography` has by other names in another version is out of the ordinary
        return NO_WAY


def depends_on_data(way: int) -> bool:
    """Whether other data could have another way, with the same padding and hash."""
    return way == NO_WAY or bool(way & _HASHED)


def _way_of(operation: Sign, key: Any) -> int:
    kind: Any = operation.hash
    hashed = type(kind).__name__ == "Prehashed"
    if hashed:
        kind = kind._algorithm
        if operation.nbytes != kind.digest_size or isinstance(operation.source, tuple):
            return NO_WAY
    number = _HASHES.get(getattr(kind, "name", ""))
    if number is None:
        return NO_WAY
    way = number | (_HASHED if hashed else 0)
    padding: Any = operation.padding
    if operation.algorithm != "rsa":
        return way if padding is None else NO_WAY
    match type(padding).__name__:
        case "PKCS1v15":
            return way | _PKCS1
        case "PSS":
            salt = _salt_length(padding, kind, key)
            return NO_WAY if salt is None else way | _PSS | salt << _SALT
    return NO_WAY


def _salt_length(padding: Any, kind: Any, key: Any) -> int | None:
    """Of a PSS whose mask is made with the hash of the message; ``None``: it is another, or the salt does not fit."""
    if padding._mgf._algorithm.name != kind.name:
        return None
    length = padding._salt_length
    most: int = (key.key_size + 6) // 8 - kind.digest_size - 2
    match type(length).__name__:
        case "_MaxLength":
            length = most
        case "_DigestLength":
            length = kind.digest_size
    return length if type(length) is int and 0 <= length <= most else None
