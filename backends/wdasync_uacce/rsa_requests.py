"""RSA, as requests to the HPRE engine."""

from __future__ import annotations

import abc

from wdasync.backend import Completion, Status
from wdasync.operations import PrivateDecrypt, PublicEncrypt, Sign, Verify

from .hpre_requests import NO_WORDS, KeyRequest
from .requests import OperationT, Settled
from .rsa_padding import (
    PaddingError,
    digest_of,
    is_pkcs1,
    pad_for_encryption,
    pad_for_signature,
    signature_is_right,
    unpad_after_decryption,
)  # fmt: skip
from .rsa_rejection import replacement

__all__ = ["RsaDecrypt", "RsaEncrypt", "RsaSign", "RsaVerify"]


class RsaRequest(KeyRequest[OperationT]):
    """RSA."""

    __slots__ = ()

    @property
    def nbytes(self) -> int:
        """Of the modulus."""
        return (self._key.bits + 7) // 8

    def output(self) -> bytes:
        """What came out, as long as the modulus.

        :raises Settled: it is larger
        """
        number = self.made()
        if number >= self._key.modulus:
            raise Settled(Status.DEVICE_ERROR, "the device gave a number above the modulus")
        return number.to_bytes(self.nbytes, "big")


class PrivateRequest(RsaRequest[OperationT]):
    """What the owner of the private key does: two descriptors, one for each exponent.

    A power that was computed modulo one prime rightly and modulo the other wrongly gives both primes away to whoever
    has it (Boneh, DeMillo, Lipton: On the importance of checking cryptographic protocols for faults, 1997). So the device raises
    what it made to the public exponent, and unless that gives what it was asked for, nobody sees it.
    """

    __slots__ = ("_base", "_check", "_power", "_proof")

    def raise_private(self, base: int) -> None:
        """Make both descriptors; the second reads what the first writes.

        :param base: below the modulus
        """
        self.ask(True, base=base)
        known = self._key.public
        assert known is not None  # whose private half is known
        algorithm, block = known
        self._base, self._power = base, b""
        self._proof = self.secret(bytes(self.size))
        self._check = self.entry(
            algorithm, self.reach_block(block), self._target, self.grant(self._proof, True)
        )

    def done(self, valid: bool) -> Completion | None:
        if not self._power:
            self._power, self._number = self.output(), self._check
            return None
        if int.from_bytes(self._proof, "big") != self._base:
            return self.failure(Status.DEVICE_ERROR, "the device gave a power that the public key refutes")
        return self.proven(self._power)

    @abc.abstractmethod
    def proven(self, power: bytes) -> Completion:
        """The device was right.

        :param power: as long as the modulus
        """

    def release(self) -> None:
        super().release()
        self._power, self._base = b"", 0


class RsaSign(PrivateRequest[Sign]):
    """Pad, and raise to the private exponent."""

    __slots__ = ()

    def prepare(self) -> None:
        operation = self.operation
        encoded = pad_for_signature(operation.padding, operation.hash, self.message(), self._key.bits)
        self.raise_private(int.from_bytes(encoded, "big"))

    def proven(self, power: bytes) -> Completion:
        return self.consumed(power)


class RsaVerify(RsaRequest[Verify]):
    """Raise to the public exponent, and look at the padding."""

    __slots__ = ("_message",)

    def prepare(self) -> None:
        signature = int.from_bytes(self.operation.signature, "big")
        self._message = self.message()
        digest_of(self.operation.hash, self._message)
        if len(self.operation.signature) != self.nbytes or signature >= self._key.modulus:
            raise Settled(Status.CHECKSUM_FAILED, NO_WORDS)
        self.ask(False, base=signature)

    def done(self, valid: bool) -> Completion:
        operation = self.operation
        try:
            right = signature_is_right(
                operation.padding, operation.hash, self._message, self.output(), self._key.bits
            )
        except PaddingError as error:
            return self.failure(Status.INVALID_ARGS, str(error))
        return self.consumed(b"") if right else self.failure(Status.CHECKSUM_FAILED, NO_WORDS)


class RsaEncrypt(RsaRequest[PublicEncrypt]):
    """Pad, and raise to the public exponent."""

    __slots__ = ()

    def prepare(self) -> None:
        encoded = pad_for_encryption(self.operation.padding, self.message(), self.nbytes)
        self.ask(False, base=int.from_bytes(encoded, "big"))

    def done(self, valid: bool) -> Completion:
        return self.consumed(self.output())


class RsaDecrypt(PrivateRequest[PrivateDecrypt]):
    """Raise to the private exponent, and take the padding off. Whatever is wrong, the answer is the same.

    With PKCS #1 v1.5 a message that is none is no error, see :mod:`.rsa_rejection`. Which answer it is, is found out after both are made.
    """

    __slots__ = ("_message",)

    def prepare(self) -> None:
        message = self._message = self.message()
        number = int.from_bytes(message, "big")
        if len(message) != self.nbytes or number >= self._key.modulus:
            raise Settled(Status.DATA_ERROR, NO_WORDS)
        unpad_after_decryption(self.operation.padding, bytes(self.nbytes))  # is the padding one at all?
        self.raise_private(number)

    def proven(self, power: bytes) -> Completion:
        plain = unpad_after_decryption(self.operation.padding, power)
        if is_pkcs1(self.operation.padding):
            other = replacement(self._key.rejecting, self._message)
            plain = other if plain is None else plain
        return self.failure(Status.DATA_ERROR, NO_WORDS) if plain is None else self.consumed(plain)
