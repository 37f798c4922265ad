"""Keys, as the HPRE engine wants them: blocks of numbers in memory, made once for each key and device.

A key object of the package `cryptography` is asked for its numbers when the device is told of it. What it gives is wiped with
the session; the integers on the way there are Python's, and are not.
"""

from __future__ import annotations

from typing import Any

from wdasync.errors import UnsupportedOperation
from wdasync.operations import KeySpec

from .curves import CURVES, LADDERS, Curve, Ladder
from .hpre_descriptor import BLOCKS, DH_SIZES, RSA_SIZES, HpreAlgorithm, operand_size
from .rsa_rejection import rejection_secret

__all__ = ["BITS", "HpreKey", "peer_of"]

#: Algorithm -> bits of a modulus.
BITS = {"rsa": (1024, 4096), "dh": (512, 4096)}


class HpreKey:
    """What a device knows of a key; a :class:`wdasync.backend.KeySession`.

    :raises UnsupportedOperation: the device cannot have it

    :ivar size: bytes of an operand
    :ivar bits: of the modulus or field
    :ivar modulus: n of RSA, p of DH, n of a curve, p of X25519 and X448
    :ivar curve: where it lies; ``None``: RSA or DH
    :ivar private: algorithm and key block for what only the owner does; ``None``: it is a public key
    :ivar rejecting: of RSA, what the answer to a message that is none is made of
    :ivar public: algorithm and key block for what everybody does; ``None``: there is nothing
    """

    def __init__(self, spec: KeySpec) -> None:
        self.spec = spec
        self.curve: Curve | Ladder | None = None
        self.private: tuple[HpreAlgorithm, bytearray] | None = None
        self.public: tuple[HpreAlgorithm, bytearray] | None = None
        self.rejecting = bytearray()
        self.size = self.bits = self.modulus = 0
        family, _, name = spec.algorithm.partition("-")
        try:
            match family:
                case "rsa":
                    self._rsa(spec.material)
                case "dh":
                    self._dh(spec.material)
                case "ecdsa" | "ecdh":
                    self._weierstrass(spec.material, CURVES[name], family)
                case "x25519" | "x448":
                    self._montgomery(spec.material, LADDERS[family])
                case _:
                    raise KeyError(name)
        except (AttributeError, KeyError, TypeError):
            raise self._refusal(f"a key for {spec.algorithm}", type(spec.material).__name__) from None

    def _refusal(self, expected: str, found: str) -> UnsupportedOperation:
        return UnsupportedOperation(
            f"expected {expected}, as an object of the package cryptography, got {found}"
        )

    def _fit(self, modulus: int, algorithm: str, sizes: tuple[int, ...]) -> None:
        self.modulus, self.bits = modulus, modulus.bit_length()
        low, high = BITS[algorithm]
        size = operand_size(self.bits, sizes)
        if size is None or not low <= self.bits <= high:
            raise self._refusal(f"a modulus of {low} to {high} bits", str(self.bits))
        self.size = size

    def _rsa(self, key: Any) -> None:
        private = key.private_numbers() if hasattr(key, "private_numbers") else None
        public = private.public_numbers if private else key.public_numbers()
        self._fit(public.n, "rsa", RSA_SIZES)
        power = HpreAlgorithm.POWER
        self.public = power, BLOCKS[power].key.pack(self.size, exponent=public.e, modulus=public.n)
        if private is None:
            return
        self.rejecting = rejection_secret(private.d, (self.bits + 7) // 8)
        crt = HpreAlgorithm.RSA_CRT
        parts = {"dq": private.dmq1, "dp": private.dmp1, "q": private.q, "p": private.p, "qinv": private.iqmp}
        if max(private.p, private.q).bit_length() <= self.size * 4:
            self.private = crt, BLOCKS[crt].key.pack(self.size, **parts)
        else:  # primes of different length
            self.private = power, BLOCKS[power].key.pack(self.size, exponent=private.d, modulus=public.n)

    def _dh(self, key: Any) -> None:
        private = key.private_numbers()
        p = private.public_numbers.parameter_numbers.p
        self._fit(p, "dh", DH_SIZES)
        if private.x >= p:
            raise self._refusal("a private number below the modulus", "a larger one")
        algorithm = HpreAlgorithm.DH
        self.private = algorithm, BLOCKS[algorithm].key.pack(self.size, x=private.x, p=p)

    def _weierstrass(self, key: Any, curve: Curve, family: str) -> None:
        if key.curve.name != curve.known_as:
            raise self._refusal(f"a key on {curve.known_as}", f"one on {key.curve.name}")
        self.curve, self.size, self.bits, self.modulus = curve, curve.size, curve.p.bit_length(), curve.n
        private = key.private_numbers() if hasattr(key, "private_numbers") else None
        public = private.public_numbers if private else key.public_numbers()
        known = {"p": curve.p, "a": curve.a, "b": curve.b, "n": curve.n, "gx": curve.gx, "gy": curve.gy}
        if family == "ecdsa":
            verify = HpreAlgorithm.ECDSA_VERIFY
            self.public = verify, BLOCKS[verify].key.pack(self.size, qx=public.x, qy=public.y, **known)
        if private is not None:
            algorithm = HpreAlgorithm.ECDSA_SIGN if family == "ecdsa" else HpreAlgorithm.POINT
            block = BLOCKS[algorithm].key.pack(self.size, d=private.private_value, **known)
            self.private = algorithm, block

    def _montgomery(self, key: Any, ladder: Ladder) -> None:
        secret = key.private_bytes_raw()
        if len(secret) != ladder.nbytes:
            raise self._refusal(f"a key of {ladder.nbytes} bytes", str(len(secret)))
        self.curve, self.size, self.bits, self.modulus = ladder, ladder.size, ladder.bits, ladder.p
        algorithm = HpreAlgorithm.MONTGOMERY
        block = BLOCKS[algorithm].key.pack(self.size, p=ladder.p, a=ladder.a, d=ladder.scalar(secret))
        self.private = algorithm, block

    def secret(self) -> int:
        """The private number of a key on a curve."""
        number: int = self.spec.material.private_numbers().private_value
        return number

    def close(self) -> None:
        """Wipe the blocks."""
        for known in (self.private, self.public):
            if known is not None:
                known[1][:] = bytes(len(known[1]))
        self.private = self.public = None
        self.rejecting[:] = bytes(len(self.rejecting))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.spec.algorithm}, {self.bits} bits>"


def peer_of(key: HpreKey, peer: Any) -> dict[str, int]:
    """The numbers of a peer's public key: the input of an exchange.

    :raises ValueError: it is none of the same group, or none at all
    """
    if isinstance(key.curve, Ladder):
        public = peer.public_bytes_raw() if hasattr(peer, "public_bytes_raw") else b""
        if len(public) != key.curve.nbytes:
            raise ValueError(
                f"peer: expected a public key for {key.spec.algorithm}, got {type(peer).__name__}"
            )
        return {"u": int.from_bytes(public, "little") & (1 << key.curve.bits) - 1}
    if not hasattr(peer, "public_numbers") or hasattr(peer, "private_numbers"):
        raise ValueError(f"peer: expected a public key, got {type(peer).__name__}")
    numbers = peer.public_numbers()
    if isinstance(key.curve, Curve):
        name = getattr(getattr(peer, "curve", None), "name", type(peer).__name__)
        if name != key.curve.known_as:
            raise ValueError(f"peer: expected a point on {key.curve.known_as}, got one on {name}")
        return {"x": numbers.x, "y": numbers.y}
    p = getattr(getattr(numbers, "parameter_numbers", None), "p", None)
    if p != key.modulus or not 1 < numbers.y < key.modulus - 1:
        raise ValueError("peer: expected a public key of the same group, got another")
    return {"g": numbers.y}
