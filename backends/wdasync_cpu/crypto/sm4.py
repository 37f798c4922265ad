"""Modes of SM4 that the package `cryptography` has for AES only: XTS and CCM, put together from those that it has."""

from __future__ import annotations

import hmac
from importlib import import_module
from typing import Any, Final

from .inputs import Refused

__all__ = ["ccm", "xts"]

_CIPHERS: Final = "cryptography.hazmat.primitives.ciphers"


def _made(key: bytes, mode: Any, data: bytes, *, decrypt: bool = False) -> bytes:
    ciphers = import_module(_CIPHERS)
    made = ciphers.Cipher(ciphers.algorithms.SM4(key), mode)
    context = made.decryptor() if decrypt else made.encryptor()
    output: bytes = context.update(data) + context.finalize()
    return output


def _xor(one: bytes, other: bytes) -> bytes:
    mixed = int.from_bytes(one, "little") ^ int.from_bytes(other, "little")
    return mixed.to_bytes(len(one), "little")


def xts(key: bytes, iv: bytes, data: bytes, *, decrypt: bool) -> bytes:
    """IEEE 1619, section 5, as Linux's ``xts(sm4)``: with ciphertext stealing. (GB/T 17964 counts the tweak's bits the other way.)

    :param key: 32 bytes
    :param data: 16 bytes at least
    :raises Refused: both halves of the key are the same
    """
    if hmac.compare_digest(key[:16], key[16:]):
        raise Refused("key: expected two halves that differ, got one twice")
    ecb = import_module(f"{_CIPHERS}.modes").ECB()
    tweaks = _tweaks(_made(key[16:], ecb, iv), len(data) // 16 + 1)

    def blocks(text: bytes, tweak: bytes) -> bytes:
        return _xor(_made(key[:16], ecb, _xor(text, tweak), decrypt=decrypt), tweak)

    tail = len(data) % 16
    end = len(data) - tail - (16 if tail else 0)
    output = blocks(data[:end], tweaks[:end])
    if tail:
        first, second = tweaks[end : end + 16], tweaks[end + 16 :]
        if decrypt:
            first, second = second, first
        mixed = blocks(data[end : end + 16], first)
        output += blocks(data[end + 16 :] + mixed[tail:], second) + mixed[:tail]
    return output


def _tweaks(first: bytes, count: int) -> bytes:
    """Each is twice the one before, modulo x¹²⁸ + x⁷ + x² + x + 1."""
    tweak, found = int.from_bytes(first, "little"), []
    for _ in range(count):
        found.append(tweak.to_bytes(16, "little"))
        tweak = (tweak << 1) ^ (tweak >> 127) * (1 << 128 | 0x87)
    return b"".join(found)


def ccm(
    key: bytes, nonce: bytes, data: bytes, aad: bytes, length: int, *, decrypt: bool
) -> tuple[bytes, bytes]:
    """The other text, and the tag that belongs to both (NIST SP 800-38C; RFC 8998 for SM4).

    :param length: of the tag, bytes
    """
    modes = import_module(f"{_CIPHERS}.modes")
    width = 15 - len(nonce)
    counter = bytes([width - 1]) + nonce + bytes(width)
    # The counter's first block is the tag's; the text begins with the second.
    output = _made(key, modes.CTR(counter), bytes(16) + data)
    mask, output = output[:16], output[16:]
    plain = output if decrypt else data
    flags = 64 * bool(aad) | (length - 2) // 2 << 3 | width - 1
    blocks = bytes([flags]) + nonce + len(plain).to_bytes(width, "big") + _filled(_counted(aad) + aad)
    mac = _made(key, modes.CBC(bytes(16)), blocks + _filled(plain))[-16:]
    return output, _xor(mac, mask)[:length]


def _counted(aad: bytes) -> bytes:
    """The length of associated data, as it stands before them (SP 800-38C, appendix A.2.2)."""
    n = len(aad)
    if n >= 0xFF00:
        return b"\xff\xfe" + n.to_bytes(4, "big") if n >> 32 == 0 else b"\xff\xff" + n.to_bytes(8, "big")
    return n.to_bytes(2, "big") if n else b""


def _filled(data: bytes) -> bytes:
    return data + bytes(-len(data) % 16)
