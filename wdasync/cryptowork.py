"""Calls of an accelerator about digests, ciphers and keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .backend import DigestSpec
from .buffers import join, pin_source
from .ciphers import Aead, Cipher, MacKey, new_aead, new_cipher, new_mac_key, secret_key
from .digesters import Digester
from .errors import InvalidArgument
from .operations import CipherSuite, Digest, Generate, Mac, Priority, check_bound, problem_of_sizes
from .publickeys import PrivateKey, PublicKey, generated, new_private_key, new_public_key
from .scheduling import Reason
from .sessions import PinnedSession, open_session

if TYPE_CHECKING:
    from .buffers import Source
    from .execution import Execution
    from .paged import PagedBuffer

__all__ = ["CryptoWork"]

_NORMAL: Final = Priority.NORMAL


class CryptoWork:
    """A part of :class:`~wdasync.Accelerator`. Names of algorithms are in the capability tables."""

    _execution: Execution

    # -- digests ------------------------------------------------------------------------------------------------

    async def digest(
        self,
        data: Source | PagedBuffer,
        algorithm: str = "sha256",
        *,
        timeout: float | None = None,
        priority: Priority = Priority.NORMAL,
    ) -> bytes:
        """The digest of ``data``, whole.

        :param data: bytes-like, a list of them, or a :class:`~wdasync.PagedBuffer`
        :param algorithm: ``sha256``, ``sha384``, ``sha512``, ``sha1``, ``md5``, ``sm3``, …
        """
        execution = self._execution
        if timeout is None and priority is _NORMAL and type(algorithm) is str:
            tiny = execution.tiny
            output = tiny.digest(execution, algorithm, data)
            if output is not None:
                if tiny.asks or execution.inline_left <= 0:
                    await tiny.pause(execution)
                return output
        return (await execution.run(Digest(data, algorithm), timeout, priority)).output or b""

    async def hmac(
        self,
        key: Source,
        data: Source | PagedBuffer,
        algorithm: str = "sha256",
        *,
        timeout: float | None = None,
        priority: Priority = Priority.NORMAL,
    ) -> bytes:
        """The message authentication code of ``data``, made with a digest (RFC 2104). Compare it with
        :func:`hmac.compare_digest`. For many under one key see :meth:`mac_key`.

        :param key: from one byte to 64 KiB
        :param algorithm: of the digest
        """
        return await self._code(f"hmac-{_name(algorithm)}", key, data, timeout, priority)

    async def cmac(
        self,
        key: Source,
        data: Source | PagedBuffer,
        cipher: str = "aes",
        *,
        timeout: float | None = None,
        priority: Priority = Priority.NORMAL,
    ) -> bytes:
        """The message authentication code of ``data``, made with a block cipher (NIST SP 800-38B). See :meth:`hmac`.

        :param key: of the cipher; of AES its length says which
        :param cipher: ``aes``, ``sm4`` or ``3des``
        """
        name = _name(cipher)
        if name == "aes":
            size = pin_source(key, "key")[1]
            if size not in _AES_KEYS:
                raise InvalidArgument(f"key: expected 16, 24 or 32 bytes, got {size}")
            name = f"aes-{8 * size}"
        return await self._code(f"{name}-cmac", key, data, timeout, priority)

    async def _code(
        self, name: str, secret: object, data: object, timeout: float | None, priority: Priority
    ) -> bytes:
        key = secret_key(secret, name)
        try:
            done = await self._execution.run(Mac(key, data, name), timeout, priority)
        finally:
            key.revoke()
        return done.output or b""

    def digester(
        self,
        algorithm: str = "sha256",
        *,
        key: Source | None = None,
        priority: Priority = Priority.NORMAL,
    ) -> Digester:
        """Open a digest of what comes in pieces. Use it with ``async with``, or call its ``aclose()``.

        :param key: makes it a message authentication code (HMAC); from one byte to 64 KiB
        :param priority: which queue its steps wait in
        """
        self._execution.check()
        name, secret = _name(algorithm), None
        if key is not None:
            name = f"hmac-{name}"
            if problem := problem_of_sizes(CipherSuite(()), pin_source(key, "key")[1]):
                raise InvalidArgument(problem)
            secret = bytearray(join(pin_source(key, "key")[0]))
        try:
            place, row, session = open_session(self._execution, DigestSpec(name, secret), priority)
        except BaseException:
            if secret is not None:
                secret[:] = bytes(len(secret))  # the error's traceback has it
            raise
        self._execution.reasons[Reason.STREAM] += 1
        return Digester(PinnedSession(self._execution, place, row, priority, session), secret)

    # -- secret keys ----------------------------------------------------------------------------------------------

    def aead(self, algorithm: str, key: Source, *, tag_length: int = 16) -> Aead:
        """A handle for a cipher with authentication.

        :param algorithm: ``aes-256-gcm``, ``aes-128-ccm``, ``chacha20-poly1305``, ``aes-128-cbc-hmac-sha256``, …
        :param key: its bytes, which are copied
        :param tag_length: bytes of the tag
        """
        return new_aead(self._execution, _name(algorithm), key, tag_length)

    def cipher(self, algorithm: str, key: Source) -> Cipher:
        """A handle for a cipher without authentication: ``aes-256-cbc``, ``aes-128-ctr``, ``aes-256-xts``, ``sm4-cbc``, ….

        :param key: its bytes, which are copied
        """
        return new_cipher(self._execution, _name(algorithm), key)

    def mac_key(self, algorithm: str, key: Source) -> MacKey:
        """A handle for message authentication codes: ``hmac-sha256``, ``aes-128-cmac``, ….

        :param key: its bytes, which are copied
        """
        return new_mac_key(self._execution, _name(algorithm), key)

    # -- public keys ----------------------------------------------------------------------------------------------

    def private_key(self, key: object) -> PrivateKey:
        """A handle for a private key.

        To read PEM or DER takes its time, milliseconds for RSA, in the calling thread: do it when the program starts.

        :param key: of the package `cryptography`, or its PEM or DER without a password
        """
        return new_private_key(self._execution, key)

    def public_key(self, key: object) -> PublicKey:
        """A handle for a public key.

        :param key: of the package `cryptography`, or its PEM or DER
        """
        return new_public_key(self._execution, key)

    async def generate_private_key(
        self,
        algorithm: str,
        *,
        bits: int = 2048,
        timeout: float | None = None,
        priority: Priority = Priority.NORMAL,
    ) -> PrivateKey:
        """Make a private key; returns its handle.

        :param algorithm: ``rsa``, ``ec-p256``, ``ec-p384``, ``ec-p521``, ``ec-secp256k1``, ``x25519``, ``x448``, ``ed25519``, …
        :param bits: of the modulus, for RSA: at least 1024
        """
        check_bound(bits, "bits", 1024)
        operation = Generate(_name(algorithm), bits if algorithm == "rsa" else 0)
        return await generated(self._execution, operation, timeout, priority)


#: Bytes of its keys.
_AES_KEYS: Final = (16, 24, 32)


def _name(algorithm: object) -> str:
    if type(algorithm) is not str:
        raise InvalidArgument(f"algorithm: expected a str such as 'sha256', got {algorithm!r}")
    return algorithm
