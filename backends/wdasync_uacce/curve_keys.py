"""New keys on curves: a random number, and the point that belongs to it, which the HPRE engine computes."""

from __future__ import annotations

import secrets
from typing import Final

from wdasync.backend import Completion
from wdasync.operations import Generate

from .curves import CURVES, Curve
from .der import element
from .hpre_descriptor import BLOCKS, HpreAlgorithm
from .hpre_requests import HpreWorkshop, NumberRequest

__all__ = ["GenerateRequest", "private_key_info"]

#: Object identifier of keys on curves, and of each curve by its name in `cryptography`; in DER, without tag and length.
_EC_KEY: Final = bytes.fromhex("2a8648ce3d0201")
_CURVES: Final = {
    "secp256r1": "2a8648ce3d030107", "secp384r1": "2b81040022", "secp521r1": "2b81040023", "secp256k1": "2b8104000a",
}  # fmt: skip


def private_key_info(curve: Curve, d: int, x: int, y: int) -> bytes:
    """A key as PKCS #8 (RFC 5208) with an ECPrivateKey (RFC 5915), in DER.

    :param d: the secret
    :param x: of its point
    :param y: of its point
    """
    width = curve.nbytes
    point = b"\0\4" + x.to_bytes(width, "big") + y.to_bytes(width, "big")
    key = element(
        0x30,
        b"\2\1\1",
        element(4, d.to_bytes((curve.n.bit_length() + 7) // 8, "big")),
        element(0xA1, element(3, point)),
    )
    algorithm = element(0x30, element(6, _EC_KEY), element(6, bytes.fromhex(_CURVES[curve.known_as])))
    return element(0x30, b"\2\1\0", algorithm, element(4, key))


class GenerateRequest(NumberRequest[Generate]):
    """A new key on a curve."""

    __slots__ = ("_curve", "_secret")

    def __init__(self, tag: int, operation: Generate, shop: HpreWorkshop) -> None:
        super().__init__(tag, operation, shop)
        self._curve = CURVES[operation.algorithm.partition("-")[2]]
        self.size = self._curve.size
        self._secret = 0

    def prepare(self) -> None:
        curve = self._curve
        self._secret = secrets.randbelow(curve.n - 1) + 1
        block = BLOCKS[HpreAlgorithm.POINT].key.pack(
            self.size, p=curve.p, a=curve.a, d=self._secret, b=curve.b, n=curve.n, gx=curve.gx, gy=curve.gy
        )
        memory = self.secret(block)
        block[:] = bytes(len(block))
        self.send(HpreAlgorithm.POINT, self.grant(memory, False), x=curve.gx, y=curve.gy)

    def done(self, valid: bool) -> Completion:
        curve, x, y = self._curve, self.made(0), self.made(1)
        if (y * y - x * x * x - curve.a * x - curve.b) % curve.p or max(x, y) >= curve.p:
            return self.failed("the device gave a point that is not on the curve")
        return self.consumed(private_key_info(curve, self._secret, x, y))

    def release(self) -> None:
        super().release()
        self._secret = 0
