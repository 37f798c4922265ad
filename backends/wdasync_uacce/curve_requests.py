"""Signatures on curves, and secrets that two agree on, as requests to the HPRE engine."""

from __future__ import annotations

from wdasync.backend import Completion, Status
from wdasync.operations import Exchange, Sign, Verify

from .curves import Curve, Ladder
from .hpre_keys import peer_of
from .hpre_requests import NO_WORDS, KeyRequest
from .requests import Settled
from .rsa_padding import PaddingError, digest_of
from .signing_numbers import leftmost, random_number, told_number

__all__ = ["EcdsaSign", "EcdsaVerify", "ExchangeRequest"]


class EcdsaSign(KeyRequest[Sign]):
    """A signature on a curve, in DER."""

    __slots__ = ()

    def prepare(self) -> None:
        order = self._key.modulus
        digest, kind = digest_of(self.operation.hash, self.message())
        if getattr(self.operation.padding, "deterministic_signing", False):
            if kind is None:
                raise PaddingError("hash: expected one, to tell the number of a signature by, got none")
            number = told_number(order, self._key.secret(), digest, kind)
        else:
            number = random_number(order)
        self.ask(True, e=leftmost(digest, order), k=number)

    def done(self, valid: bool) -> Completion:
        from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

        r, s = self.made(0), self.made(1)
        if not (0 < r < self._key.modulus and 0 < s < self._key.modulus):
            return self.failed("the device gave a signature that is none")
        return self.consumed(encode_dss_signature(r, s))


class EcdsaVerify(KeyRequest[Verify]):
    """A check of a signature in DER."""

    __slots__ = ()

    def prepare(self) -> None:
        from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

        order = self._key.modulus
        e = leftmost(digest_of(self.operation.hash, self.message())[0], order)
        try:
            r, s = decode_dss_signature(self.operation.signature)
        except ValueError:
            r = s = 0
        if not (0 < r < order and 0 < s < order):
            raise Settled(Status.CHECKSUM_FAILED, NO_WORDS)
        self.ask(False, e=e, s=s, r=r)

    def done(self, valid: bool) -> Completion:
        return self.consumed(b"") if valid else self.failure(Status.CHECKSUM_FAILED, NO_WORDS)


class ExchangeRequest(KeyRequest[Exchange]):
    """A secret shared with a peer."""

    __slots__ = ()

    def prepare(self) -> None:
        try:
            numbers = peer_of(self._key, self.operation.peer)
        except ValueError as error:
            raise Settled(Status.INVALID_ARGS, str(error)) from None
        self.ask(True, **numbers)

    def done(self, valid: bool) -> Completion:
        secret = self.made()
        if not secret and not isinstance(self._key.curve, Curve):
            return self.failed("")
        match self._key.curve:
            case Ladder(nbytes=nbytes):
                return self.consumed(secret.to_bytes(nbytes, "little"))
            case Curve(p=p):
                return self.consumed(secret.to_bytes((p.bit_length() + 7) // 8, "big"))
        return self.consumed(secret.to_bytes((self._key.bits + 7) // 8, "big"))

    def failed(self, message: str) -> Completion:
        """A point of small order leads to infinity: the one failure that is the peer's."""
        if isinstance(self._key.curve, Ladder):
            return self.failure(Status.DATA_ERROR, NO_WORDS)
        return super().failed(message or "the device gave no secret")
