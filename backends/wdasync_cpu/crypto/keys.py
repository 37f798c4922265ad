"""What this device knows of a key."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any, Final

from wdasync.errors import UnsupportedOperation
from wdasync.operations import CIPHERS, CURVES, MACS, SEALS, KeyedOperation, KeySpec, Sign, problem_of_sizes

from .gcm import new_secret
from .inputs import Refused
from .signers import NO_WAY, depends_on_data, is_signed_natively, new_signer, way_of

__all__ = ["CURVE_CLASSES", "CpuKey", "key_of"]

#: Name of a curve here -> its class in `cryptography`, whose own name is that in lower case.
CURVE_CLASSES: Final = {
    "p256": "SECP256R1",
    "p384": "SECP384R1",
    "p521": "SECP521R1",
    "secp256k1": "SECP256K1",
}

#: Algorithm -> module of `cryptography`, and what its keys are called there.
_CLASSES: Final = {
    "rsa": ("rsa", "RSA"),
    "dh": ("dh", "DH"),
    "x25519": ("x25519", "X25519"),
    "x448": ("x448", "X448"),
    "ed25519": ("ed25519", "Ed25519"),
    "ed448": ("ed448", "Ed448"),
    **{f"{use}-{curve}": ("ec", "EllipticCurve") for use in ("ecdsa", "ecdh") for curve in CURVES},
}


class CpuKey:
    """See :class:`wdasync.backend.KeySession`.

    :param natively: native code may sign with it, if it can
    :param sealed: so too, seal and open
    :ivar spec: what was asked for
    :ivar secret: what native workers take it from; ``None``: they do nothing with it
    :ivar signer: so too, of a private key; it is there when it was used once
    :raises UnsupportedOperation: if nothing can be done with such a key
    """

    def __init__(self, spec: KeySpec, *, natively: bool = False, sealed: bool = True) -> None:
        if problem := _problem(spec):
            raise UnsupportedOperation(f"{spec.algorithm} on cpu: {problem}")
        self.spec = spec
        self.closed = False
        self._made: dict[object, Any] = {}
        self.secret = new_secret(spec.algorithm, spec.material) if sealed else None
        self.signer: object | None = None
        self._unread = natively and is_signed_natively(spec.algorithm)
        self._last: tuple[object, object, int] = (None, None, NO_WAY)  # padding, hash, how to sign with them

    def __repr__(self) -> str:
        return f"<CpuKey {self.spec.algorithm}{', closed' if self.closed else ''}>"

    @property
    def material(self) -> Any:
        """A secret's bytes, or a key object."""
        return self.spec.material

    def made(self, what: object, make: Callable[[Any], Any]) -> Any:
        """Something that a library makes of the key, once."""
        try:
            return self._made[what]
        except KeyError:
            found = self._made[what] = make(self.material)
            return found

    def read_signer(self, operation: Sign, how: tuple[Any, ...]) -> None:
        """Have it read for native code, once: that takes longer than the event loop should wait."""
        if self._unread and (way := self.way(operation)) != NO_WAY:
            self._unread = False
            self.signer = new_signer(self.material, operation, way, how)
            if self.closed:
                self.signer = None

    def way(self, operation: Sign) -> int:
        """How native code is to sign; see :func:`way_of`. Who signs again mostly does it in the same way."""
        if operation.algorithm != self.spec.algorithm:
            return NO_WAY
        padding, kind, way = self._last
        if operation.padding is padding and operation.hash is kind and kind is not None:
            return way
        way = way_of(operation, self.material)
        if not depends_on_data(way):
            self._last = operation.padding, operation.hash, way
        return way

    def close(self) -> None:
        self.closed = True
        self.secret = self.signer = None  # wiped when nothing in flight holds it
        self._made.clear()


@cache
def _classes(module: str, name: str) -> tuple[type, ...]:
    kinds = import_module(f"cryptography.hazmat.primitives.asymmetric.{module}")
    with warnings.catch_warnings():  # What is outdated says so to who makes a key of it.
        warnings.simplefilter("ignore")
        return getattr(kinds, f"{name}PrivateKey"), getattr(kinds, f"{name}PublicKey")


def _problem(spec: KeySpec) -> str:
    """Why it is no key of that algorithm; empty if it is."""
    algorithm = spec.algorithm
    material: Any = spec.material
    suite = SEALS.get(algorithm) or CIPHERS.get(algorithm) or MACS.get(algorithm)
    secret = isinstance(material, bytes | bytearray)
    if suite is not None:
        if not secret:
            return f"key: expected bytes, got {type(material).__name__}"
        return problem_of_sizes(suite._replace(iv=(0, 0), least=0), len(material))
    if algorithm not in _CLASSES:
        return "no keys are used with it"
    module, name = _CLASSES[algorithm]
    kinds = _classes(module, name)
    if not isinstance(material, kinds):
        return f"key: expected one of {name}, got {type(material).__name__}"
    if module == "ec":
        return _curve_problem(algorithm, material)
    bits: int = getattr(material, "key_size", 0)
    if module == "rsa" and bits < 1024:
        return f"key: expected at least 1024 bits, got {bits}"
    return ""


def _curve_problem(algorithm: str, key: Any) -> str:
    """Why a key is on another curve than its algorithm; empty if it is not."""
    curve = CURVE_CLASSES[algorithm.partition("-")[2]].lower()
    return "" if key.curve.name == curve else f"key: expected one on {curve}, got one on {key.curve.name}"


def key_of(operation: KeyedOperation) -> CpuKey:
    """The key of an operation, as the framework handed it over.

    :raises Refused: if it did not, or it is another device's
    """
    session = operation.session
    if not isinstance(session, CpuKey):
        raise Refused("the key is not one that this device was told of")
    if session.closed:
        raise Refused("the key was closed")
    if session.spec.algorithm != operation.algorithm:
        raise Refused(f"the key is for {session.spec.algorithm}, not for {operation.algorithm}")
    return session
