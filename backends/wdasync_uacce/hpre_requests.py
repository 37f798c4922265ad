"""Operations with keys, as requests to the HPRE engine.

The engine knows numbers. What surrounds them is done here: padding, the digest of the message, the signature's number used once, the
encoding of the result. Nothing is blinded: UADK and Linux leave that to the silicon.
"""

from __future__ import annotations

import abc
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from wdasync.backend import Capabilities, Completion, Status
from wdasync.operations import (
    Exchange,
    Kind,
    Nop,
    Operation,
    PrivateDecrypt,
    PublicEncrypt,
    Sign,
    Verify,
)  # fmt: skip

from .curves import Curve, Ladder
from .files import AddressSpace
from .hpre_descriptor import BLOCKS, DONE, SQE, SUBMITTED, SVA_FAULT, VALID, HpreAlgorithm
from .hpre_keys import HpreKey, peer_of
from .requests import Answer, OperationT, Request, Settled, Workshop
from .rsa_padding import (
    PaddingError,
    digest_of,
    pad_for_encryption,
    pad_for_signature,
    signature_is_right,
    unpad_after_decryption,
)  # fmt: skip

__all__ = ["HpreCarrier", "HpreWorkshop", "make_request"]

_TAG: Final = SQE["tag"].bit
#: Operands of a descriptor without a purpose.
_IDLE: Final = 128


class HpreWorkshop(Workshop):
    """What the requests of one queue share.

    :param capabilities: of the device
    :ivar carrier: a descriptor without a purpose
    """

    def __init__(self, space: AddressSpace, capabilities: Capabilities, where: str) -> None:
        super().__init__(space, where)
        self.capabilities = capabilities
        power = BLOCKS[HpreAlgorithm.POWER]
        self.carrier = SQE.number(
            algorithm=HpreAlgorithm.POWER,
            done=SUBMITTED,
            size=_IDLE // 8 - 1,
            key=self.hold(power.key.pack(_IDLE, exponent=1, modulus=(1 << _IDLE * 8) - 1), False),
            input=self.hold(power.input.pack(_IDLE, base=1), False),
            output=self.hold(bytes(_IDLE), True),
        )


class HpreRequest(Request[OperationT, HpreWorkshop]):
    """One descriptor of the engine."""

    __slots__ = ("_number",)

    def __init__(self, tag: int, operation: OperationT, shop: HpreWorkshop) -> None:
        super().__init__(tag, operation, shop, _TAG)
        self._number = 0

    def number(self) -> int:
        return self._number

    def finish(self, answer: Answer, entry: memoryview) -> Completion | None:
        done, error, error1, low_output = answer
        if done == SUBMITTED:
            return self.failure(Status.INVALID_ARGS, "the device refuses the descriptor")
        if error1 & SVA_FAULT:
            return self.failure(Status.PAGE_FAULT, "an access to memory was refused")
        if done != DONE or error or error1:
            return self.failed(f"the device failed: done {done}, errors {error:#x} and {error1:#x}")
        try:
            return self.done(bool(low_output & VALID))
        except Settled as settled:
            return self.settle(settled)

    def failed(self, message: str) -> Completion:
        """The device had no result."""
        return self.failure(Status.DEVICE_ERROR, message)

    def done(self, valid: bool) -> Completion:
        """The device had one.

        :param valid: of a verification
        """
        return self.success(None, 0, 0)


class HpreCarrier(HpreRequest[Operation]):
    """An operation that needs no work of the device, and yet a completion that wakes who waits for it.

    :param settled: how the operation ends; ``None`` for a :class:`~wdasync.operations.Nop`, which is all way
    """

    __slots__ = ("_settled",)

    def __init__(self, tag: int, operation: Operation, shop: HpreWorkshop, settled: Settled | None) -> None:
        super().__init__(tag, operation, shop)
        self._settled = settled and settled.bare()
        self._number = shop.carrier

    def number(self) -> int:
        self._shop.counters.carried += 1
        return self._number

    def finish(self, answer: Answer, entry: memoryview) -> Completion | None:
        return super().finish(answer, entry) if self._settled is None else self.settle(self._settled)


class KeyRequest(HpreRequest[OperationT]):
    """An operation with a key."""

    __slots__ = ("_key", "_made")

    def __init__(self, tag: int, operation: OperationT, shop: HpreWorkshop) -> None:
        super().__init__(tag, operation, shop)
        self._made = memoryview(b"")
        if (
            not isinstance(operation.session, HpreKey)
            or operation.session.spec.algorithm != operation.algorithm
        ):
            raise Settled(
                Status.INVALID_ARGS, f"expected a key for {operation.algorithm} that this device was told of"
            )
        self._key = operation.session

    @abc.abstractmethod
    def prepare(self) -> None:
        """Make the descriptor.

        :raises Settled: nothing is left to do for the device
        :raises PaddingError: the arguments do not fit
        :raises OSError: ENOMEM: the reserved region is used up for now
        """

    def message(self) -> bytes:
        """The operation's input, in one piece."""
        source = self.operation.source
        return self.copy(source if isinstance(source, tuple) else [source])

    def ask(self, private: bool, **numbers: int) -> None:
        """Make the descriptor: what it points to is the key's block, these numbers, and room for what comes out."""
        known = self._key.private if private else self._key.public
        if known is None:
            raise Settled(
                Status.INVALID_ARGS, "expected a private key, got a public one" if private else "no such key"
            )
        algorithm, block = known
        blocks, size = BLOCKS[algorithm], self._key.size
        given = self.secret(blocks.input.pack(size, **numbers))
        made = blocks.output.nbytes(size)
        output = 0
        if made:
            self._made = self.secret(bytes(made))
            output = self.grant(self._made, True)
        self._number = SQE.number(
            algorithm=algorithm, done=SUBMITTED, size=size // 8 - 1, key=self._reach(block),
            input=self.grant(given, False), output=output,
        )  # fmt: skip

    def _reach(self, block: bytearray) -> int:
        return self.grant(block if self._shop.space.direct else self.secret(bytes(block)), False)

    def made(self, position: int = 0) -> int:
        """A number of the output block."""
        size = self._key.size
        return int.from_bytes(self._made[position * size : (position + 1) * size], "big")

    def consumed(self, output: bytes) -> Completion:
        """A success with this output."""
        return self.success(output, self.operation.nbytes, len(output))


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


class RsaSign(RsaRequest[Sign]):
    """Pad, and raise to the private exponent."""

    __slots__ = ()

    def prepare(self) -> None:
        operation = self.operation
        encoded = pad_for_signature(operation.padding, operation.hash, self.message(), self._key.bits)
        self.ask(True, base=int.from_bytes(encoded, "big"))

    def done(self, valid: bool) -> Completion:
        return self.consumed(self.output())


_WRONG: Final = "the signature is not one of this key for this data"


class RsaVerify(RsaRequest[Verify]):
    """Raise to the public exponent, and look at the padding."""

    __slots__ = ("_message",)

    def prepare(self) -> None:
        signature = int.from_bytes(self.operation.signature, "big")
        self._message = self.message()
        digest_of(self.operation.hash, self._message)
        if len(self.operation.signature) != self.nbytes or signature >= self._key.modulus:
            raise Settled(Status.CHECKSUM_FAILED, _WRONG)
        self.ask(False, base=signature)

    def done(self, valid: bool) -> Completion:
        operation = self.operation
        try:
            right = signature_is_right(
                operation.padding, operation.hash, self._message, self.output(), self._key.bits
            )
        except PaddingError as error:
            return self.failure(Status.INVALID_ARGS, str(error))
        return self.consumed(b"") if right else self.failure(Status.CHECKSUM_FAILED, _WRONG)


class RsaEncrypt(RsaRequest[PublicEncrypt]):
    """Pad, and raise to the public exponent."""

    __slots__ = ()

    def prepare(self) -> None:
        encoded = pad_for_encryption(self.operation.padding, self.message(), self.nbytes)
        self.ask(False, base=int.from_bytes(encoded, "big"))

    def done(self, valid: bool) -> Completion:
        return self.consumed(self.output())


_REFUSED: Final = "it is not what this key's public half encrypts"


class RsaDecrypt(RsaRequest[PrivateDecrypt]):
    """Raise to the private exponent, and take the padding off. Whatever is wrong, the answer is the same."""

    __slots__ = ()

    def prepare(self) -> None:
        message = self.message()
        number = int.from_bytes(message, "big")
        if len(message) != self.nbytes or number >= self._key.modulus:
            raise Settled(Status.DATA_ERROR, _REFUSED)
        unpad_after_decryption(self.operation.padding, bytes(self.nbytes))  # is the padding one at all?
        self.ask(True, base=number)

    def done(self, valid: bool) -> Completion:
        plain = unpad_after_decryption(self.operation.padding, self.output())
        return self.failure(Status.DATA_ERROR, _REFUSED) if plain is None else self.consumed(plain)


def _number_of(digest: bytes, order: int) -> int:
    """The leftmost bits of a digest, as many as the order has (FIPS 186-5, section 6.4.1)."""
    return int.from_bytes(digest, "big") >> max(len(digest) * 8 - order.bit_length(), 0)


class EcdsaSign(KeyRequest[Sign]):
    """A signature on a curve, in DER."""

    __slots__ = ()

    def prepare(self) -> None:
        order = self._key.modulus
        e = _number_of(digest_of(self.operation.hash, self.message())[0], order)
        self.ask(True, e=e, k=secrets.randbelow(order - 1) + 1)

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
        e = _number_of(digest_of(self.operation.hash, self.message())[0], order)
        try:
            r, s = decode_dss_signature(self.operation.signature)
        except ValueError:
            r = s = 0
        if not (0 < r < order and 0 < s < order):
            raise Settled(Status.CHECKSUM_FAILED, _WRONG)
        self.ask(False, e=e, s=s, r=r)

    def done(self, valid: bool) -> Completion:
        return self.consumed(b"") if valid else self.failure(Status.CHECKSUM_FAILED, _WRONG)


_INFINITY: Final = "the peer's key gives no secret"


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
            return self.failure(Status.DATA_ERROR, _INFINITY)
        return super().failed(message or "the device gave no secret")


#: Kind of operation, and what its algorithm's name begins with -> request.
_REQUESTS: Final[Mapping[tuple[Kind, str], Callable[[int, Any, HpreWorkshop], KeyRequest[Any]]]] = {
    (Kind.SIGN, "rsa"): RsaSign,
    (Kind.VERIFY, "rsa"): RsaVerify,
    (Kind.PUBLIC_ENCRYPT, "rsa"): RsaEncrypt,
    (Kind.PRIVATE_DECRYPT, "rsa"): RsaDecrypt,
    (Kind.SIGN, "ecdsa"): EcdsaSign,
    (Kind.VERIFY, "ecdsa"): EcdsaVerify,
    (Kind.EXCHANGE, "dh"): ExchangeRequest,
    (Kind.EXCHANGE, "ecdh"): ExchangeRequest,
    (Kind.EXCHANGE, "x25519"): ExchangeRequest,
    (Kind.EXCHANGE, "x448"): ExchangeRequest,
}


def make_request(
    tag: int, operation: Operation, shop: HpreWorkshop, queue_class: str
) -> Request[Any, HpreWorkshop]:
    """The request for an operation, ready for its descriptor. What needs no device is carried by it.

    :raises OSError: ENOMEM: the reserved region is used up for now
    """
    if isinstance(operation, Nop):
        return HpreCarrier(tag, operation, shop, None)
    row = shop.capabilities.find(operation.kind, operation.algorithm)
    request: KeyRequest[Any] | None = None
    try:
        if row is None or row.queue_class != queue_class:
            what = f"{type(operation).__name__} {operation.algorithm}"
            raise Settled(Status.INVALID_ARGS, f"{what} is nothing for a queue of {queue_class}")
        if row.max_input is not None and operation.nbytes > row.max_input:
            raise Settled(
                Status.INVALID_ARGS, f"expected at most {row.max_input} bytes, got {operation.nbytes}"
            )
        request = _REQUESTS[operation.kind, operation.algorithm.partition("-")[0]](
            tag,
            cast("Any", operation),
            shop,  # the table goes by what it is
        )
        request.prepare()
    except (Settled, PaddingError) as error:
        if request is not None:
            request.release()
        settled = error if isinstance(error, Settled) else Settled(Status.INVALID_ARGS, str(error))
        return HpreCarrier(tag, operation, shop, settled)
    except BaseException:
        if request is not None:
            request.release()
        raise
    return request
