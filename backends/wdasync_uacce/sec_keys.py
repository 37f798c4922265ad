"""Secrets, as the SEC engine wants them: in memory, in whole words, made once for each key and device."""

from __future__ import annotations

import hashlib

from wdasync.errors import UnsupportedOperation
from wdasync.operations import KeySpec

from .sec_algorithms import CIPHERS, MACS, SEALS, HashCode

__all__ = ["SecKey"]


class SecKey:
    """What a device knows of a secret; a :class:`wdasync.backend.KeySession`.

    :raises UnsupportedOperation: there is no such algorithm, or the key has not its length

    :ivar cipher: the cipher's key; empty: there is none
    :ivar hash: the hash's key, filled with zeros to whole words
    """

    def __init__(self, spec: KeySpec) -> None:
        self.spec = spec
        self.cipher = self.hash = bytearray()
        name = spec.algorithm
        if not isinstance(spec.material, bytes | bytearray | memoryview):
            raise UnsupportedOperation(f"{name}: expected a key of bytes, got {type(spec.material).__name__}")
        material = bytearray(spec.material)
        if mac := MACS.get(name):
            self.hash = self._of_hash(material, mac)
        elif name in CIPHERS:
            self.cipher = self._exact(material, CIPHERS[name].key)
        elif seal := SEALS.get(name):
            length = len(material) if seal.hash is None else seal.cipher.key
            if seal.hash is not None:
                self.hash = self._of_hash(material[length:], seal.hash)
            self.cipher = self._exact(material[:length], seal.cipher.key)
        else:
            raise UnsupportedOperation(f"there is no {name} here")
        material[:] = bytes(len(material))

    def _exact(self, material: bytearray, length: int) -> bytearray:
        if len(material) != length:
            raise UnsupportedOperation(
                f"{self.spec.algorithm}: expected a key of {length} bytes, got {len(material)}"
            )
        return bytearray(material)

    def _of_hash(self, material: bytearray, mac: HashCode) -> bytearray:
        """RFC 2104, section 2: a key that is longer than a block is hashed, and zeros behind it make no difference."""
        if mac.key:
            return self._exact(material, mac.key)
        if not material:
            raise UnsupportedOperation(f"{self.spec.algorithm}: expected a key of at least 1 byte, got none")
        if len(material) > mac.block:
            name = self.spec.algorithm.rpartition("hmac-")[2].replace("-", "_")
            material = bytearray(hashlib.new(name, material).digest())
        return bytearray(material) + bytes(-len(material) % 4)

    def close(self) -> None:
        """Wipe it."""
        for secret in (self.cipher, self.hash):
            secret[:] = bytes(len(secret))
        self.cipher, self.hash = bytearray(), bytearray()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.spec.algorithm}>"
