"""Elliptic curves, as the HPRE engine wants to be told of them.

Sources: SEC 2 (version 2) for the curves in Weierstrass form, RFC 7748 for the others.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["CURVES", "LADDERS", "Curve", "Ladder"]


class Curve(NamedTuple):
    """y² = x³ + a·x + b modulo p, and a base point of prime order n.

    :ivar known_as: its name in the package `cryptography`
    :ivar size: bytes of an operand of HPRE
    """

    known_as: str
    size: int
    p: int
    a: int
    b: int
    n: int
    gx: int
    gy: int

    @property
    def nbytes(self) -> int:
        """Bytes of a coordinate, as protocols write it."""
        return (self.p.bit_length() + 7) // 8


class Ladder(NamedTuple):
    """A curve in Montgomery form.

    :ivar size: bytes of an operand of HPRE
    :ivar nbytes: bytes of a key, as protocols write it
    :ivar a: (A − 2) / 4, which is what Linux and UADK write where the engine wants A
    :ivar cleared: bits of the scalar's first byte that are 0
    :ivar top: the scalar's bit that is 1 and has none above it
    :ivar bits: of a coordinate
    """

    size: int
    nbytes: int
    p: int
    a: int
    cleared: int
    top: int
    bits: int

    def scalar(self, secret: bytes) -> int:
        """A private key, clamped (RFC 7748, section 5)."""
        number = int.from_bytes(secret, "little") & (1 << self.top) - 1 & ~self.cleared
        return number | 1 << self.top


#: Algorithm's name, after ``ecdsa-`` and ``ecdh-`` -> curve.
CURVES: Final = {
    "p256": Curve(
        "secp256r1", 32,
        2**256 - 2**224 + 2**192 + 2**96 - 1, 2**256 - 2**224 + 2**192 + 2**96 - 4,
        0x5AC635D8_AA3A93E7_B3EBBD55_769886BC_651D06B0_CC53B0F6_3BCE3C3E_27D2604B,
        0xFFFFFFFF_00000000_FFFFFFFF_FFFFFFFF_BCE6FAAD_A7179E84_F3B9CAC2_FC632551,
        0x6B17D1F2_E12C4247_F8BCE6E5_63A440F2_77037D81_2DEB33A0_F4A13945_D898C296,
        0x4FE342E2_FE1A7F9B_8EE7EB4A_7C0F9E16_2BCE3357_6B315ECE_CBB64068_37BF51F5,
    ),
    "p384": Curve(
        "secp384r1", 48,
        2**384 - 2**128 - 2**96 + 2**32 - 1, 2**384 - 2**128 - 2**96 + 2**32 - 4,
        0xB3312FA7_E23EE7E4_988E056B_E3F82D19_181D9C6E_FE814112_0314088F_5013875A_C656398D_8A2ED19D_2A85C8ED_D3EC2AEF,
        0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_C7634D81_F4372DDF_581A0DB2_48B0A77A_ECEC196A_CCC52973,
        0xAA87CA22_BE8B0537_8EB1C71E_F320AD74_6E1D3B62_8BA79B98_59F741E0_82542A38_5502F25D_BF55296C_3A545E38_72760AB7,
        0x3617DE4A_96262C6F_5D9E98BF_9292DC29_F8F41DBD_289A147C_E9DA3113_B5F0B8C0_0A60B1CE_1D7E819D_7A431D7C_90EA0E5F,
    ),
    "p521": Curve(
        "secp521r1", 72,
        2**521 - 1, 2**521 - 4,
        0x51_953EB961_8E1C9A1F_929A21A0_B68540EE_A2DA725B_99B315F3_B8B48991_8EF109E1_56193951_EC7E937B_1652C0BD_3BB1BF07_3573DF88_3D2C34F1_EF451FD4_6B503F00,
        2**521 - 2**264 + 0xFA_51868783_BF2F966B_7FCC0148_F709A5D0_3BB5C9B8_899C47AE_BB6FB71E_91386409,
        0xC6_858E06B7_0404E9CD_9E3ECB66_2395B442_9C648139_053FB521_F828AF60_6B4D3DBA_A14B5E77_EFE75928_FE1DC127_A2FFA8DE_3348B3C1_856A429B_F97E7E31_C2E5BD66,
        0x118_39296A78_9A3BC004_5C8A5FB4_2C7D1BD9_98F54449_579B4468_17AFBD17_273E662C_97EE7299_5EF42640_C550B901_3FAD0761_353C7086_A272C240_88BE9476_9FD16650,
    ),
    "secp256k1": Curve(
        "secp256k1", 32,
        2**256 - 2**32 - 977, 0, 7,
        0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141,
        0x79BE667E_F9DCBBAC_55A06295_CE870B07_029BFCDB_2DCE28D9_59F2815B_16F81798,
        0x483ADA77_26A3C465_5DA4FBFC_0E1108A8_FD17B448_A6855419_9C47D08F_FB10D4B8,
    ),
}  # fmt: skip

#: Algorithm -> curve.
LADDERS: Final = {
    "x25519": Ladder(32, 32, 2**255 - 19, 121665, 7, 254, 255),
    "x448": Ladder(72, 56, 2**448 - 2**224 - 1, 39081, 3, 447, 448),
}
