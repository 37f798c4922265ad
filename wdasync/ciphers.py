"""Handles of secret keys: ciphers, ciphers with authentication, and message authentication codes."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from .buffers import join, listed, pin_source, short
from .errors import InvalidArgument, InvalidSignature, Status, error_for
from .eventloop.threads import join as join_in_thread
from .keyhandles import KeyHandle
from .operations import (
    CIPHERS,
    MACS,
    SEALS,
    CipherSuite,
    Decrypt,
    Encrypt,
    Key,
    Mac,
    Open,
    Operation,
    Priority,
    Seal,
    problem_of_sizes,
)
from .tinywork import Sealing

if TYPE_CHECKING:
    from .buffers import Source
    from .execution import Execution
    from .paged import PagedBuffer

_NORMAL: Final = Priority.NORMAL

__all__ = ["Aead", "Cipher", "MacKey", "new_aead", "new_cipher", "new_mac_key", "secret_key"]


def secret_key(secret: object, algorithm: str) -> Key:
    """A key of a caller's bytes.

    :raises InvalidArgument: if they are none, or too few or too many
    """
    size = pin_source(secret, "key")[1]
    suite = CIPHERS.get(algorithm) or SEALS.get(algorithm) or MACS.get(algorithm) or CipherSuite(())
    if problem := problem_of_sizes(suite._replace(iv=(0, 0), least=0), size):
        raise InvalidArgument(f"{problem}, for {algorithm}")
    content = bytearray(join(pin_source(secret, "key")[0]))
    key = Key(content, f"{algorithm} key, {size} bytes")
    content[:] = bytes(size)
    return key


class Cipher(KeyHandle):
    """A cipher without authentication: who can change the ciphertext can change the text. Prefer :class:`Aead`.

    The input is a whole number of blocks where the mode wants that; nothing is padded.
    """

    async def encrypt(
        self,
        iv: Source,
        data: Source | PagedBuffer,
        *,
        timeout: float | None = None,
        priority: Priority = Priority.NORMAL,
    ) -> bytes:
        """Encrypt; the output is as long as the input.

        :param iv: initialisation vector, counter block or tweak; in ECB mode ``b""``
        """
        operation = Encrypt(self._key, data, self._algorithm, iv=iv)
        self._check(operation, operation.iv)
        return (await self._run(operation, timeout, priority)).output or b""

    async def decrypt(
        self,
        iv: Source,
        data: Source | PagedBuffer,
        *,
        timeout: float | None = None,
        priority: Priority = Priority.NORMAL,
    ) -> bytes:
        """Decrypt what :meth:`encrypt` made."""
        operation = Decrypt(self._key, data, self._algorithm, iv=iv)
        self._check(operation, operation.iv)
        return (await self._run(operation, timeout, priority)).output or b""

    def _check(self, operation: Operation, iv: bytes) -> None:
        suite = CIPHERS.get(self._algorithm)
        if suite is not None:
            _refuse(operation, problem_of_sizes(suite._replace(key=()), 1, len(iv), operation.nbytes))

    def nonce_problem(self, size: int) -> str:
        """What is wrong with an initialisation vector of so many bytes; empty if nothing is."""
        suite = CIPHERS.get(self._algorithm)
        return "" if suite is None else problem_of_sizes(suite._replace(key=(), least=0), 1, size)


class Aead(KeyHandle):
    """A cipher that notices when somebody changed the message (RFC 5116)."""

    def __init__(self, execution: Execution, key: Key, algorithm: str, tag_length: int) -> None:
        super().__init__(execution, key, algorithm)
        self._tag_length = tag_length
        self._usual_tag = tag_length == 16
        self._seals = Sealing(execution, key, Seal(key, b"", b"", algorithm))
        self._opens = Sealing(execution, key, Open(key, b"", b"", algorithm))
        suite = SEALS.get(algorithm)
        self._suite = None if suite is None else suite._replace(key=())

    @property
    def tag_length(self) -> int:
        """Bytes of the tag."""
        return self._tag_length

    async def encrypt(
        self,
        nonce: Source,
        data: Source | PagedBuffer,
        associated_data: Source | None = None,
        *,
        timeout: float | None = None,
        priority: Priority = Priority.NORMAL,
    ) -> bytes:
        """Encrypt and authenticate; returns the ciphertext and then the tag.

        :param nonce: another for each message under this key
        :param associated_data: authenticated, not encrypted
        """
        if timeout is None and priority is _NORMAL and self._usual_tag:
            output = self._seals.do(nonce, data, b"" if associated_data is None else associated_data)
            if output is not None:
                execution = self._execution
                if execution.tiny.asks or execution.inline_left <= 0:
                    await execution.tiny.pause(execution)
                return output
        if associated_data is not None and type(associated_data) is not bytes:
            associated_data = await self._own(associated_data)
        operation = Seal(
            self._key, nonce, data, self._algorithm, aad=associated_data, tag_length=self._tag_length
        )
        self._check(operation, operation.nonce, operation.nbytes)
        return (await self._run(operation, timeout, priority)).output or b""

    async def decrypt(
        self,
        nonce: Source,
        data: Source | PagedBuffer,
        associated_data: Source | None = None,
        *,
        timeout: float | None = None,
        priority: Priority = Priority.NORMAL,
    ) -> bytes:
        """Check and decrypt what :meth:`encrypt` made.

        :raises InvalidTag: if it was not made with this key, nonce and associated data
        """
        if timeout is None and priority is _NORMAL and self._usual_tag:
            output = self._opens.do(nonce, data, b"" if associated_data is None else associated_data)
            if output is not None:
                execution = self._execution
                if execution.tiny.asks or execution.inline_left <= 0:
                    await execution.tiny.pause(execution)
                return output
        if associated_data is not None and type(associated_data) is not bytes:
            associated_data = await self._own(associated_data)
        operation = Open(
            self._key, nonce, data, self._algorithm, aad=associated_data, tag_length=self._tag_length
        )
        self._check(operation, operation.nonce, 0)
        return (await self._run(operation, timeout, priority)).output or b""

    def nonce_problem(self, size: int) -> str:
        """What is wrong with a nonce of so many bytes; empty if nothing is."""
        return "" if self._suite is None else problem_of_sizes(self._suite, 1, size, 0, self._tag_length)

    async def _own(self, associated_data: Source) -> bytes:
        """As bytes; copied in a thread where that would hold up the event loop."""
        self._execution.check()
        segments = listed(pin_source(associated_data, "associated_data")[0])
        try:
            return await join_in_thread(self._execution.loop, segments)
        finally:
            for segment in segments:  # the thread may still hold them for a moment
                if type(segment) is memoryview:
                    segment.release()

    def _check(self, operation: Operation, nonce: bytes, size: int) -> None:
        if self._suite is not None:
            problem = problem_of_sizes(self._suite, 1, len(nonce), size, self._tag_length)
            _refuse(operation, problem)


class MacKey(KeyHandle):
    """A message authentication code: a digest that only who has the key can make."""

    async def sign(
        self,
        data: Source | PagedBuffer,
        *,
        timeout: float | None = None,
        priority: Priority = Priority.NORMAL,
    ) -> bytes:
        """The code of ``data``, whole."""
        operation = Mac(self._key, data, self._algorithm)
        return (await self._run(operation, timeout, priority)).output or b""

    async def verify(
        self,
        signature: Source,
        data: Source | PagedBuffer,
        *,
        timeout: float | None = None,
        priority: Priority = Priority.NORMAL,
    ) -> None:
        """Check a code, in a time that does not tell where it differs.

        :raises InvalidSignature: if it is not that of ``data``
        """
        given = short(signature, "signature")
        if not hmac.compare_digest(given, await self.sign(data, timeout=timeout, priority=priority)):
            raise error_for(Status.CHECKSUM_FAILED, f"verify {self._algorithm}", error_class=InvalidSignature)


def _refuse(operation: Operation, problem: str) -> None:
    if problem:
        operation.release()
        raise InvalidArgument(problem)


@contextmanager
def _key(execution: Execution, algorithm: str, secret: object) -> Iterator[Key]:
    """The key of a handle that is made inside. It is wiped if that fails: the traceback of the error has it."""
    execution.check()
    key = secret_key(secret, algorithm)
    try:
        yield key
    except BaseException:
        key.revoke()
        raise


def new_cipher(execution: Execution, algorithm: str, secret: object) -> Cipher:
    """A handle.

    :raises UnsupportedOperation: if no device has the algorithm
    """
    with _key(execution, algorithm, secret) as key:
        execution.schedule.route(Encrypt(key, b"", algorithm), Priority.NORMAL)
        return Cipher(execution, key, algorithm)


def new_aead(execution: Execution, algorithm: str, secret: object, tag_length: int) -> Aead:
    """A handle. See :func:`new_cipher`."""
    with _key(execution, algorithm, secret) as key:
        probe = Seal(key, b"", b"", algorithm, tag_length=tag_length)
        if (suite := SEALS.get(algorithm)) is not None and tag_length not in suite.tags:
            nonce = suite.iv[0]
            raise InvalidArgument(problem_of_sizes(suite, suite.key[0], nonce, 0, tag_length))
        execution.schedule.route(probe, Priority.NORMAL)
        return Aead(execution, key, algorithm, tag_length)


def new_mac_key(execution: Execution, algorithm: str, secret: object) -> MacKey:
    """A handle. See :func:`new_cipher`."""
    with _key(execution, algorithm, secret) as key:
        execution.schedule.route(Mac(key, b"", algorithm), Priority.NORMAL)
        return MacKey(execution, key, algorithm)
