"""Answers to empty messages, which the engine of queue manager v2 does not take: Linux and UADK compute them, too."""

from __future__ import annotations

import hashlib
import hmac

from wdasync.backend import Status
from wdasync.operations import Open, Seal

from .requests import Settled
from .sec_algorithms import SealCode
from .sec_descriptor import CipherMode
from .sec_keys import SecKey

__all__ = ["hash_of_nothing", "tag_of_nothing"]


def hash_of_nothing(algorithm: str, key: bytearray | None) -> bytes:
    """The digest, or the code, of an empty message.

    :raises Settled: nobody here can make it
    """
    if key is None:
        return hashlib.new(algorithm.replace("-", "_")).digest()
    if algorithm.startswith("hmac-"):
        return hmac.digest(bytes(key), b"", algorithm[5:].replace("-", "_"))
    try:
        from cryptography.hazmat.primitives.ciphers.algorithms import AES
        from cryptography.hazmat.primitives.cmac import CMAC
    except ImportError:
        raise Settled(Status.INVALID_ARGS, "data: expected at least 1 byte, got none") from None
    return CMAC(AES(bytes(key))).finalize()


def tag_of_nothing(code: SealCode, key: SecKey, operation: Seal | Open, before: bytes) -> bytes:
    """The tag of an empty text.

    :raises ImportError: `cryptography` is not there
    """
    length, secret = operation.tag_length, bytes(key.cipher)
    if code.hash is not None:
        name = operation.algorithm.rpartition("-")[2]
        return hmac.digest(bytes(key.hash), before, name)[:length]
    from cryptography.hazmat.primitives.ciphers import Cipher as Work
    from cryptography.hazmat.primitives.ciphers import algorithms, modes

    cipher = algorithms.SM4 if operation.algorithm.startswith("sm4") else algorithms.AES
    if code.cipher.mode is CipherMode.GCM:
        work = Work(cipher(secret), modes.GCM(operation.nonce)).encryptor()
        work.authenticate_additional_data(before)
        work.finalize()
        return work.tag[:length]
    width = 15 - len(operation.nonce)
    flags = 64 * bool(before) | (length - 2) // 2 << 3 | width - 1
    blocks = bytes([flags]) + operation.nonce + bytes(width)
    if before:
        counted = (
            len(before).to_bytes(2, "big")
            if len(before) < 0xFF00
            else b"\xff\xfe" + len(before).to_bytes(4, "big")
        )
        blocks += counted + before + bytes(-len(counted + before) % 16)
    cbc = Work(cipher(secret), modes.CBC(bytes(16))).encryptor()
    mac = cbc.update(blocks)[-16:]
    counter = bytes([width - 1]) + operation.nonce + bytes(width)
    mask = Work(cipher(secret), modes.CTR(counter)).encryptor().update(bytes(16))
    return bytes(one ^ other for one, other in zip(mac, mask, strict=True))[:length]
