"""The SEC engine's descriptors and its algorithms, as tables.

A submission entry has 128 bytes, of type 2 (queue manager v2) or type 3 (from v3 on). Both have the same fields in other
places, so a driver packs one set of values by the table of the type that it needs. The device updates the entry in place.
Sources: Linaro UADK ``drv/hisi_sec.c``, Linux ``drivers/crypto/hisilicon/sec2``.
"""

from __future__ import annotations

import enum
from typing import Final

from .layout import Field, Layout, Owner

__all__ = [
    "COUNTER_128", "HMAC", "MATCH", "MAX_ASSOCIATED", "MAX_LENGTH", "SINGLE", "SQES", "SQE_SIZE", "Auth", "Cipher", "CipherAlgorithm", "CipherMode", "Hash",
]  # fmt: skip

SQE_SIZE: Final = 128

#: Bytes of text of one descriptor.
MAX_LENGTH: Final = 0xFFFE00

#: Bytes of associated data: their length is an offset of 16 bits.
MAX_ASSOCIATED: Final = 0xFFFF

#: Field ``scene``.
SINGLE: Final = 1

#: Field ``counter``, of CTR: the counter has the whole block. Without it only 32 bits of it may count.
COUNTER_128: Final = 2

#: Field ``icv``: the tag is right. (2: it is another.)
MATCH: Final = 1


class Cipher(enum.IntEnum):
    """Field ``cipher``."""

    NONE = 0
    ENCRYPT = 1
    DECRYPT = 2
    COPY = 3


class Auth(enum.IntEnum):
    """Field ``auth``."""

    NONE = 0
    COMPUTE = 1
    VERIFY = 2


class CipherAlgorithm(enum.IntEnum):
    """Field ``algorithm``."""

    DES = 0
    TRIPLE_DES = 1
    AES = 2
    SM4 = 3


class CipherMode(enum.IntEnum):
    """Field ``mode``."""

    ECB = 0
    CBC = 1
    CFB = 2
    OFB = 3
    CTR = 4
    CCM = 5
    GCM = 6
    XTS = 7
    CBC_CS = 9


class Hash(enum.IntEnum):
    """Field ``hash``. With :data:`HMAC` added it is a message authentication code; of SM3 that is a code of its own."""

    SHA1 = 0x00
    SHA256 = 0x01
    MD5 = 0x02
    SHA224 = 0x03
    SHA384 = 0x04
    SHA512 = 0x05
    SHA512_224 = 0x06
    SHA512_256 = 0x07
    XCBC = 0x20
    CMAC = 0x21
    GMAC = 0x22
    SM3 = 0x25
    HMAC_SM3 = 0x26


#: What makes a hash an HMAC.
HMAC: Final = 0x10

_HOST, _DEVICE, _BOTH = Owner.HOST, Owner.DEVICE, Owner.BOTH

_MEANINGS: Final[dict[str, tuple[Owner, str]]] = {
    "type": (_HOST, "descriptor type, 2 or 3"),
    "skip": (_HOST, "do nothing, but complete"),
    "cipher": (_HOST, "0 none, 1 encrypt, 2 decrypt, 3 copy"),
    "auth": (_HOST, "0 none, 1 compute, 2 verify"),
    "order": (_HOST, "0 cipher, then hash; 1 hash, then cipher"),
    "destination_used": (_HOST, "1: the output goes to the destination, else to the source"),
    "scene": (_HOST, "1 single, 7 stream"),
    "source_list": (_HOST, "1: the source is a scatter list"),
    "destination_list": (_HOST, "1: the destination is a scatter list"),
    "iv_source": (_HOST, "hash: 0 built-in initial value, 1 from the address"),
    "padding": (_HOST, "hash: 0 pad, 1 do not"),
    "stream_mac": (_HOST, "GCM: a stream's MAC"),
    "mac_words": (_HOST, "length of the MAC in units of 4 bytes"),
    "hash_key_words": (_HOST, "length of the hash's key in units of 4 bytes"),
    "hash": (_HOST, "hash algorithm"),
    "icv_bytes": (_HOST, "CCM, GCM: length of the tag in bytes"),
    "stealing": (_HOST, "ciphertext stealing, variant 1 to 3"),
    "key_code": (_HOST, "AES 0, 1, 2: 128, 192, 256 bits; SM4 0; 3DES 1: three keys, 3: two"),
    "mode": (_HOST, "mode of the cipher"),
    "algorithm": (_HOST, "cipher"),
    "hash_length": (_HOST, "bytes to hash; CCM, GCM: of associated data only"),
    "cipher_length": (_HOST, "bytes of text"),
    "hash_offset": (_HOST, "bytes to skip in the source before what is hashed"),
    "cipher_offset": (_HOST, "bytes to skip in source and destination before the text"),
    "counter": (_HOST, "CTR: 2 counts with 128 bits; SM4-XTS: 1 as in GB/T 17964"),
    "prefetch": (_HOST, "fetch ahead"),
    "tag": (_HOST, "the host's tag"),
    "hash_bits": (_HOST, "length of all parts in bits, with the last part"),
    "hash_iv": (_HOST, "address of the hash's initial value; CCM: of block B0"),
    "hash_key": (_HOST, "address of the hash's key"),
    "mac": (_HOST, "address of the MAC: written, or verified"),
    "cipher_iv": (_HOST, "address of the cipher's initial value"),
    "cipher_key": (_HOST, "address of the cipher's key"),
    "source": (_HOST, "address of associated data and text, or of their scatter list"),
    "destination": (_HOST, "address of the output, or of its scatter list"),
    "done": (_DEVICE, "1: done"),
    "icv": (_DEVICE, "1: the tag is right, 2: it is another"),
    "flag": (_DEVICE, "2 for a cipher, 3 with authentication"),
    "error": (_DEVICE, "0: none"),
    "warning": (_DEVICE, "0: none"),
}

#: What is in the same place in both types: name, byte, lowest bit, highest bit.
_ANSWER: Final = (
    ("done", 112, 0, 0), ("icv", 112, 1, 3), ("flag", 112, 7, 10), ("error", 114, 0, 7), ("warning", 115, 0, 7),
)  # fmt: skip

_TYPE_2: Final = (
    ("type", 0, 0, 3), ("cipher", 0, 4, 5), ("auth", 0, 6, 7),
    ("order", 1, 0, 0), ("destination_used", 1, 1, 2), ("scene", 1, 3, 6), ("source_list", 1, 7, 7),
    ("destination_list", 2, 2, 4), ("iv_source", 5, 0, 1), ("padding", 5, 2, 3), ("skip", 7, 7, 7),
    ("mac_words", 8, 0, 4), ("hash_key_words", 8, 5, 10), ("hash", 8, 11, 16),
    ("icv_bytes", 12, 0, 5), ("stealing", 12, 6, 8), ("key_code", 12, 9, 11), ("mode", 12, 12, 15), ("algorithm", 14, 0, 3),
    ("hash_length", 16, 0, 23), ("cipher_length", 20, 0, 23), ("hash_offset", 24, 0, 15), ("cipher_offset", 26, 0, 15),
    ("tag", 40, 0, 15), ("hash_bits", 48, 0, 63), ("hash_iv", 56, 0, 63), ("hash_key", 64, 0, 63), ("mac", 72, 0, 63),
    ("cipher_iv", 80, 0, 63), ("cipher_key", 88, 0, 63), ("source", 96, 0, 63), ("destination", 104, 0, 63),
)  # fmt: skip

_TYPE_3: Final = (
    ("type", 0, 0, 3), ("skip", 0, 4, 4), ("scene", 0, 5, 8), ("destination_used", 0, 9, 10), ("source_list", 0, 11, 13),
    ("destination_list", 0, 14, 16),
    ("cipher", 4, 0, 1), ("icv_bytes", 4, 4, 9), ("stealing", 4, 10, 12), ("key_code", 4, 13, 15),
    ("mode", 6, 0, 3), ("algorithm", 6, 4, 7), ("order", 7, 6, 6), ("tag", 8, 0, 63),
    ("source", 16, 0, 63), ("hash_key", 24, 0, 63), ("hash_iv", 32, 0, 63), ("cipher_key", 48, 0, 63),
    ("auth", 56, 0, 1), ("iv_source", 56, 2, 3), ("mac_words", 56, 4, 8), ("hash_key_words", 56, 9, 14), ("hash", 56, 15, 20),
    ("counter", 56, 25, 26), ("prefetch", 56, 27, 27),
    ("hash_offset", 64, 0, 15), ("cipher_offset", 66, 0, 15), ("hash_length", 68, 0, 23), ("cipher_length", 72, 0, 23),
    ("destination", 76, 0, 63), ("mac", 84, 0, 63), ("cipher_iv", 92, 0, 63), ("hash_bits", 100, 0, 63),
    ("padding", 108, 0, 1), ("stream_mac", 108, 5, 5),
)  # fmt: skip

#: Descriptor type -> its layout.
SQES: Final = {
    number: Layout(
        f"SEC SQE type {number}",
        SQE_SIZE,
        (
            Field(name, byte * 8 + low, high - low + 1, *_MEANINGS[name])
            for name, byte, low, high in (*fields, *_ANSWER)
        ),
    )
    for number, fields in ((2, _TYPE_2), (3, _TYPE_3))
}
