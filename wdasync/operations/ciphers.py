"""Ciphers, with and without authentication."""

from __future__ import annotations

from ..buffers import short
from ..errors import InvalidArgument
from .base import Kind
from .keys import Key, KeyedOperation

__all__ = ["Decrypt", "Encrypt", "Open", "Seal"]


class _Cipher(KeyedOperation):
    """The common part of both directions.

    :param key: a secret
    :param data: bytes-like, or a list of them; whole blocks, where the mode works on blocks: nothing is padded
    :param algorithm: cipher, key bits and mode: ``aes-128-cbc``, ``aes-256-ctr``, ``aes-256-xts``, ``sm4-cbc``, ``3des-cbc``, …
    :param iv: the initialisation vector, counter block or tweak (one block); empty in ECB mode
    :param into: a writable buffer for the output, which is as long as the input
    :raises InvalidArgument: if one of them is not of its type
    """

    __slots__ = ("iv",)

    iv: bytes

    def __init__(
        self, key: Key, data: object, algorithm: str, *, iv: object = b"", into: object = None
    ) -> None:
        self._take_key(key)
        self.iv = short(iv, "iv")
        self._begin(data, algorithm, into)


class Encrypt(_Cipher):
    """Encrypt without authentication."""

    __slots__ = ()
    kind = Kind.ENCRYPT


class Decrypt(_Cipher):
    """Decrypt what :class:`Encrypt` made."""

    __slots__ = ()
    kind = Kind.DECRYPT


class _Authenticated(KeyedOperation):
    """The common part of both directions.

    :param key: a secret; of the ``-hmac-`` algorithms the cipher's key and then the hash's
    :param nonce: what must differ for each message under one key (RFC 5116, section 2.1)
    :param data: bytes-like, or a list of them
    :param algorithm: ``aes-256-gcm``, ``aes-128-ccm``, ``sm4-gcm``, ``aes-128-cbc-hmac-sha256``, …
    :param aad: associated data: authenticated, not encrypted
    :param tag_length: bytes of the tag
    :param into: a writable buffer for the output
    :raises InvalidArgument: if one of them is not of its type
    """

    __slots__ = ("aad", "nonce", "tag_length")

    nonce: bytes
    aad: bytes
    tag_length: int

    def __init__(
        self,
        key: Key,
        nonce: object,
        data: object,
        algorithm: str,
        *,
        aad: object = b"",
        tag_length: int = 16,
        into: object = None,
    ) -> None:
        if type(tag_length) is not int or not 4 <= tag_length <= 64:
            raise InvalidArgument(f"tag_length: expected an int from 4 to 64, got {tag_length!r}")
        self._take_key(key)
        self.nonce = short(nonce, "nonce")
        self.aad = short(b"" if aad is None else aad, "aad")
        self.tag_length = tag_length
        self._begin(data, algorithm, into)


class Seal(_Authenticated):
    """Encrypt and authenticate; the output is the ciphertext and then the tag (RFC 5116, section 2.1)."""

    __slots__ = ()
    kind = Kind.SEAL


class Open(_Authenticated):
    """Check and decrypt what :class:`Seal` made. CHECKSUM_FAILED, and no output, if it was not made so."""

    __slots__ = ()
    kind = Kind.OPEN
