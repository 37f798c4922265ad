"""Ciphers and hashes on bytes, as the SEC engine has them: codes of the descriptor in, bytes out.

The block ciphers are those of the package `cryptography`, the hashes the standard library's. CCM is put together here from
the blocks that the descriptor brings, as the silicon has it: what the host wrote into B0 and the counter is what counts.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Any

__all__ = [
    "HASHES", "TAGS", "CodeError", "ccm", "crypt", "crypt_narrow", "gcm", "hash_bytes", "hash_of", "iv_bytes", "key_bytes",
]  # fmt: skip

DES, TRIPLE_DES, AES, SM4 = range(4)
ECB, CBC, CFB, OFB, CTR, CCM, GCM, XTS = range(8)
HMAC, CMAC, SM3, HMAC_SM3 = 0x10, 0x21, 0x25, 0x26

#: Code of a hash -> its name in the standard library.
HASHES = {
    0: "sha1", 1: "sha256", 2: "md5", 3: "sha224", 4: "sha384", 5: "sha512", 6: "sha512_224", 7: "sha512_256", SM3: "sm3",
}  # fmt: skip

#: Cipher -> code of the key's length -> bytes.
KEYS = {DES: {0: 8}, TRIPLE_DES: {1: 24, 3: 16}, AES: {0: 16, 1: 24, 2: 32}, SM4: {0: 16}}
BLOCKS = {DES: 8, TRIPLE_DES: 8, AES: 16, SM4: 16}
#: Modes that work on whole blocks only.
WHOLE = (ECB, CBC)
#: Mode -> lengths of its tag in bytes (GCM's shortest is what the drivers and `cryptography` have; NIST SP 800-38C).
TAGS = {GCM: range(4, 17), CCM: range(4, 17, 2)}


class CodeError(Exception):
    """A code, or a length, that this engine does not have."""


def key_bytes(algorithm: int, mode: int, code: int) -> int:
    """Length of a cipher's key.

    :raises CodeError: there is no such key
    """
    try:
        length = KEYS[algorithm][code]
    except KeyError:
        raise CodeError(f"cipher {algorithm} with key code {code}") from None
    if mode == XTS and (algorithm not in (AES, SM4) or code == 1):
        raise CodeError(f"XTS of cipher {algorithm} with key code {code}")
    return length * 2 if mode == XTS else length


def iv_bytes(algorithm: int, mode: int) -> int:
    """Length of the initial value that is fetched."""
    return {ECB: 0, GCM: 12}.get(mode, BLOCKS.get(algorithm, 16))


def _algorithm(code: int, key: bytes) -> Any:
    from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
    from cryptography.hazmat.primitives.ciphers import algorithms

    if code in (DES, TRIPLE_DES):
        return TripleDES({8: key * 3, 16: key + key[:8]}.get(len(key), key))
    return algorithms.AES(key) if code == AES else algorithms.SM4(key)


def _mode(code: int, iv: bytes) -> Any:
    from cryptography.hazmat.primitives.ciphers import modes

    decrepit: Any
    try:
        from cryptography.hazmat.decrepit.ciphers import modes as decrepit
    except ImportError:  # They were not thought to be so yet.
        decrepit = modes
    table: dict[int, Callable[[], Any]] = {
        ECB: modes.ECB, CBC: lambda: modes.CBC(iv), CFB: lambda: decrepit.CFB(iv), OFB: lambda: decrepit.OFB(iv), CTR: lambda: modes.CTR(iv),
        XTS: lambda: modes.XTS(iv),
    }  # fmt: skip
    return table[code]()


def _worker(algorithm: int, key: bytes, mode: Any, *, encrypt: bool) -> Any:
    """What does the work.

    :raises CodeError: the cipher is not had in this mode, or not by this OpenSSL
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.ciphers import Cipher

    cipher = Cipher(_algorithm(algorithm, key), mode)
    try:
        return cipher.encryptor() if encrypt else cipher.decryptor()
    except UnsupportedAlgorithm as error:
        raise CodeError(str(error)) from None


def crypt(algorithm: int, mode: int, key: bytes, iv: bytes, text: bytes, *, encrypt: bool) -> bytes:
    """A cipher without authentication.

    :raises CodeError: there is no such mode, or not of such a text
    """
    if mode not in (ECB, CBC, CFB, OFB, CTR, XTS):
        raise CodeError(f"mode {mode}")
    if (mode in WHOLE and len(text) % BLOCKS[algorithm]) or (mode == XTS and len(text) < 16):
        raise CodeError(f"{len(text)} bytes of text in mode {mode}")
    if mode == CTR and BLOCKS[algorithm] < 16:
        raise CodeError(f"CTR of cipher {algorithm}")
    if algorithm == SM4 and mode == XTS:
        return _sm4_xts(key, iv, text, encrypt=encrypt)
    work = _worker(algorithm, key, _mode(mode, iv), encrypt=encrypt)
    return bytes(work.update(text) + work.finalize())


def _sm4_xts(key: bytes, iv: bytes, text: bytes, *, encrypt: bool) -> bytes:
    """Block after block (IEEE 1619, sections 5.3 and 5.4): the package has XTS of AES only."""
    if key[:16] == key[16:]:
        raise CodeError("XTS with one key twice")
    work = _worker(SM4, key[:16], _mode(ECB, b""), encrypt=encrypt)
    tweaks = [int.from_bytes(_worker(SM4, key[16:], _mode(ECB, b""), encrypt=True).update(iv), "little")]
    while len(tweaks) * 16 < len(text):
        tweaks.append((tweaks[-1] << 1) ^ (tweaks[-1] >> 127) * (1 << 128 | 0x87))
    tail = len(text) % 16
    if tail and not encrypt:  # The last whole block has the tweak of what was stolen from it.
        tweaks[-2:] = tweaks[:-3:-1]
    output: list[bytes] = []
    for number, tweak in enumerate(tweaks):
        block = text[number * 16 : number * 16 + 16]
        if len(block) < 16:
            block, output[-1] = block + output[-1][tail:], output[-1][:tail]
        mixed = (int.from_bytes(block, "little") ^ tweak).to_bytes(16, "little")
        made = int.from_bytes(work.update(mixed), "little") ^ tweak
        output.append(made.to_bytes(16, "little"))
    if tail:
        output[-2:] = output[:-3:-1]
    return b"".join(output)


def crypt_narrow(algorithm: int, key: bytes, iv: bytes, text: bytes) -> bytes:
    """CTR whose counter has 32 bits: after the last one it begins anew, and the 96 bits above are left alone. Raises as :func:`crypt`."""
    left = ((1 << 32) - int.from_bytes(iv[-4:], "big")) * 16
    first = crypt(algorithm, CTR, key, iv, text[:left], encrypt=True)
    return first + crypt(algorithm, CTR, key, iv[:-4] + bytes(4), text[left:], encrypt=True)


def gcm(
    algorithm: int, key: bytes, iv: bytes, text: bytes, associated: bytes, *, encrypt: bool
) -> tuple[bytes, bytes]:
    """Output, and the whole tag that belongs to the ciphertext (NIST SP 800-38D).

    :raises CodeError: the cipher has no such mode
    """
    from cryptography.hazmat.primitives.ciphers import modes

    plain = text
    if not encrypt:  # The counter of the first block of text is 2.
        plain = crypt(algorithm, CTR, key, iv + (2).to_bytes(4, "big"), text, encrypt=True)
    work = _worker(algorithm, key, modes.GCM(iv), encrypt=True)
    work.authenticate_additional_data(associated)
    sealed = work.update(plain) + work.finalize()
    return sealed if encrypt else plain, work.tag


def ccm(
    algorithm: int, key: bytes, iv: bytes, first: bytes, text: bytes, associated: bytes, *, encrypt: bool
) -> tuple[bytes, bytes]:
    """Output, and the whole tag that belongs to the plaintext (NIST SP 800-38C).

    :param iv: the counter block of the first block of text
    :param first: block B0
    """
    start = bytes([iv[0] & 7]) + iv[1:]
    output = crypt(algorithm, CTR, key, start, text, encrypt=True)
    plain = text if encrypt else output
    blocks = first + _filled(_length_of(associated) + associated) + _filled(plain)
    mac = crypt(algorithm, CBC, key, bytes(16), blocks, encrypt=True)[-16:]
    width = (iv[0] & 7) + 1
    zero = crypt(algorithm, ECB, key, b"", start[:-width] + bytes(width), encrypt=True)
    return output, bytes(one ^ other for one, other in zip(mac, zero, strict=True))


def _length_of(associated: bytes) -> bytes:
    n = len(associated)
    if not n:
        return b""
    return n.to_bytes(2, "big") if n < 0xFF00 else b"\xff\xfe" + n.to_bytes(4, "big")


def _filled(data: bytes) -> bytes:
    return data + bytes(-len(data) % 16)


def _hash_name(code: int) -> str:
    """Of a hash, or of that of an HMAC.

    :raises CodeError: there is no such hash
    """
    name = HASHES.get(SM3 if code == HMAC_SM3 else code - HMAC if _is_hmac(code) else code)
    if name is None or name not in hashlib.algorithms_available:
        raise CodeError(f"hash {code:#x}")
    return name


def _is_hmac(code: int) -> bool:
    return code == HMAC_SM3 or HMAC <= code < HMAC + 8


def hash_bytes(code: int) -> int:
    """Length of a digest, or of a message authentication code.

    :raises CodeError: there is no such hash
    """
    return 16 if code == CMAC else hashlib.new(_hash_name(code), usedforsecurity=False).digest_size


def hash_of(code: int, key: bytes, data: bytes) -> bytes:
    """A digest, or a message authentication code; all of it.

    :raises CodeError: there is no such hash
    """
    if code == CMAC:
        from cryptography.hazmat.primitives import cmac

        if len(key) not in (16, 24, 32):
            raise CodeError(f"CMAC with a key of {len(key)} bytes")
        work = cmac.CMAC(_algorithm(AES, key))
        work.update(data)
        return work.finalize()
    name = _hash_name(code)
    if _is_hmac(code):
        return hmac.digest(key, data, name)
    return hashlib.new(name, data, usedforsecurity=False).digest()
