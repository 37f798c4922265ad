"""The HPRE engine's descriptor and its algorithms, as tables.

A submission entry has 64 bytes. All numbers that it points to are big-endian, right-aligned, and padded with zeros in
front to the *operand size*; those of one block follow one another. The device updates the entry in place. Sources: Linaro
UADK ``drv/hisi_hpre.c``, Linux ``drivers/crypto/hisilicon/hpre``.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

from .layout import Field, Layout, Owner

__all__ = [
    "BLOCKS", "CURVE_SIZES", "DH_SIZES", "DONE", "RSA_SIZES", "SQE", "SQE_SIZE", "SUBMITTED", "SVA_FAULT", "VALID", "Block",
    "HpreAlgorithm", "HpreQueueType", "operand_size",
]  # fmt: skip

SQE_SIZE: Final = 64

#: Field ``done``, as the host writes it and as the device does.
SUBMITTED: Final = 1
DONE: Final = 3

#: Bit of ``error1``: an access to memory was refused.
SVA_FAULT: Final = 1 << 5

#: Bit of ``output`` in which a verification answers: it has no output.
VALID: Final = 1 << 1

#: Operand sizes in bytes that the device is used with: RSA (up to 1024, 2048, 3072, 4096 bits), DH, and curves (up to 256, 384
#: and 576 bits).
RSA_SIZES: Final = (128, 256, 384, 512)
DH_SIZES: Final = (96, 128, 192, 256, 384, 512)
CURVE_SIZES: Final = (32, 48, 72)


class HpreQueueType(enum.IntEnum):
    """What a queue does; told once, by ioctl."""

    RSA_DH = 0
    CURVES = 1


class HpreAlgorithm(enum.IntEnum):
    """Field ``algorithm``."""

    POWER = 0x0
    RSA_CRT = 0x1
    RSA_KEYS = 0x2
    RSA_CRT_KEYS = 0x3
    DH_2 = 0x4
    DH = 0x5
    POINT = 0xD
    ECDSA_SIGN = 0xE
    ECDSA_VERIFY = 0xF
    MONTGOMERY = 0x10
    SM2_KEYS = 0x11
    SM2_SIGN = 0x12
    SM2_VERIFY = 0x13
    SM2_ENCRYPT = 0x14
    SM2_DECRYPT = 0x15


class Block(NamedTuple):
    """The numbers of one block of memory, in their order.

    :ivar names: each as long as an operand
    :ivar halves: after them, each half as long
    """

    names: tuple[str, ...] = ()
    halves: tuple[str, ...] = ()

    def nbytes(self, size: int) -> int:
        """Its length with operands of this size."""
        return len(self.names) * size + len(self.halves) * (size // 2)

    def pack(self, size: int, **numbers: int) -> bytearray:
        """The block's bytes.

        :param size: of an operand, bytes
        :raises KeyError: a number is missing
        :raises OverflowError: a number does not fit
        """
        block = bytearray()
        for names, width in ((self.names, size), (self.halves, size // 2)):
            for name in names:
                block += numbers[name].to_bytes(width, "big")
        return block


class _Blocks(NamedTuple):
    """What an algorithm's entry points to."""

    key: Block
    input: Block
    output: Block
    meaning: str


_POINT: Final = Block(("x", "y"))
_SIGNER: Final = Block(("p", "a", "d", "b", "n", "gx", "gy"))
_VERIFIER: Final = Block(("p", "a", "b", "n", "gx", "gy", "qx", "qy"))
_PRIMES: Final = Block(("e",), ("p", "q"))

#: Algorithm -> what its key, input and output are.
BLOCKS: Final[dict[HpreAlgorithm, _Blocks]] = {
    HpreAlgorithm.POWER: _Blocks(Block(("exponent", "modulus")), Block(("base",)), Block(("power",)), "modular power"),
    HpreAlgorithm.RSA_CRT: _Blocks(
        Block((), ("dq", "dp", "q", "p", "qinv")), Block(("base",)), Block(("power",)),
        "modular power by the Chinese remainder theorem",
    ),
    HpreAlgorithm.RSA_KEYS: _Blocks(_PRIMES, Block(), Block(("d", "n")), "RSA key from primes"),
    HpreAlgorithm.RSA_CRT_KEYS: _Blocks(
        _PRIMES, Block(), Block(("d", "n"), ("qinv", "dq", "dp")), "RSA key from primes, with its CRT parts"
    ),
    HpreAlgorithm.DH_2: _Blocks(Block(("x", "p")), Block(), Block(("power",)), "DH with the generator 2"),
    HpreAlgorithm.DH: _Blocks(Block(("x", "p")), Block(("g",)), Block(("power",)), "DH"),
    HpreAlgorithm.POINT: _Blocks(_SIGNER, _POINT, _POINT, "point multiplication (ECDH)"),
    HpreAlgorithm.ECDSA_SIGN: _Blocks(_SIGNER, Block(("e", "k")), Block(("r", "s")), "ECDSA signature"),
    HpreAlgorithm.ECDSA_VERIFY: _Blocks(
        _VERIFIER, Block(("e", "s", "r")), Block(), "ECDSA verification; bit 1 of dword 6 answers"
    ),
    HpreAlgorithm.MONTGOMERY: _Blocks(Block(("p", "a", "d")), Block(("u",)), Block(("u",)), "X25519, X448"),
    HpreAlgorithm.SM2_KEYS: _Blocks(
        _VERIFIER, Block(("gx", "gy")), Block(("qx", "qy", "d")), "SM2 key; the device picks d"
    ),
    HpreAlgorithm.SM2_SIGN: _Blocks(_SIGNER, Block(("e", "k")), Block(("r", "s")), "SM2 signature"),
    HpreAlgorithm.SM2_VERIFY: _Blocks(
        _VERIFIER, Block(("e", "s", "r")), Block(), "SM2 verification; bit 1 of dword 6 answers"
    ),
}  # fmt: skip

_HOST, _DEVICE, _BOTH = Owner.HOST, Owner.DEVICE, Owner.BOTH

#: name, dword, lowest bit, highest bit, owner, meaning
_FIELDS: Final = (
    ("algorithm", 0, 0, 4, _HOST, "see the table of algorithms"),
    ("error", 0, 5, 15, _DEVICE, "0: none"),
    ("error1", 0, 16, 29, _DEVICE, "0: none; bit 5: an access to memory was refused"),
    ("done", 0, 30, 31, _BOTH, "1 from the host, 3 from the device"),
    ("size", 1, 0, 7, _HOST, "operand size in units of 8 bytes, less 1"),
    ("size2", 1, 8, 15, _HOST, "second size, unused"),
    ("miller_rabin", 1, 16, 23, _HOST, "rounds of the prime test, unused"),
    ("wrapped", 1, 24, 24, _HOST, "the key is wrapped, unused"),
    ("device_k", 1, 25, 25, _HOST, "SM2: the device picks k"),
    ("sva_bypass", 1, 26, 26, _HOST, "physical addresses, unused"),
    ("sva_status", 1, 27, 30, _DEVICE, "of a refused access"),
    ("fast_core", 1, 31, 31, _HOST, "use a high-performance core"),
    ("key", 2, 0, 63, _HOST, "address of the key block"),
    ("input", 4, 0, 63, _HOST, "address of the input block"),
    ("output", 6, 0, 63, _BOTH, "address of the output block; bit 1 says whether a signature is valid"),
    ("tag", 8, 0, 63, _HOST, "the host's tag"),
    ("sm2_length", 10, 0, 8, _HOST, "SM2: bytes of text, less 1"),
    ("wrap", 10, 16, 19, _HOST, "key wrap, unused"),
    ("wrap_mode", 10, 20, 22, _HOST, "key wrap, unused"),
    ("wrap_key", 11, 0, 159, _HOST, "key-encryption key, reserved"),
)  # fmt: skip

SQE: Final = Layout(
    "HPRE SQE",
    SQE_SIZE,
    (
        Field(name, dword * 32 + low, high - low + 1, owner, meaning)
        for name, dword, low, high, owner, meaning in _FIELDS
    ),
)


def operand_size(bits: int, sizes: tuple[int, ...]) -> int | None:
    """The smallest operand, in bytes, that a number of so many bits fits in; ``None``: none of ``sizes``."""
    return next((size for size in sizes if bits <= size * 8), None)
