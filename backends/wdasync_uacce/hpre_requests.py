"""Operations with keys, as requests to the HPRE engine: what all of them have in common.

The engine knows numbers. What surrounds them is done by the requests: padding, the digest of the message, the number that is used
once, the encoding of the result. Nothing is blinded: UADK and Linux leave that to the silicon.
"""

from __future__ import annotations

import abc
from typing import Final

from wdasync.backend import Capabilities, Completion, Status
from wdasync.operations import Operation

from .files import AddressSpace
from .hpre_descriptor import BLOCKS, DONE, SQE, SUBMITTED, SVA_FAULT, VALID, HpreAlgorithm
from .hpre_keys import HpreKey
from .requests import Answer, Counters, OperationT, Request, Settled, Workshop

__all__ = ["NO_WORDS", "HpreCarrier", "HpreRequest", "HpreWorkshop", "KeyRequest", "NumberRequest"]

#: All that is said of a signature that is wrong, and of a ciphertext that is none: nothing.
NO_WORDS: Final = ""

_TAG: Final = SQE["tag"].bit
#: Operands of a descriptor without a purpose.
_IDLE: Final = 128


class HpreWorkshop(Workshop[Counters]):
    """What the requests of one queue share.

    :param capabilities: of the device
    :ivar carrier: a descriptor without a purpose
    """

    def __init__(self, space: AddressSpace, capabilities: Capabilities, where: str) -> None:
        super().__init__(space, where, Counters())
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

    def done(self, valid: bool) -> Completion | None:
        """The device had one.

        :param valid: of a verification
        :returns: ``None``: there is another descriptor
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


class NumberRequest(HpreRequest[OperationT]):
    """An operation that is arithmetic on numbers.

    :ivar size: bytes of an operand
    """

    __slots__ = ("_made", "_target", "size")

    def __init__(self, tag: int, operation: OperationT, shop: HpreWorkshop) -> None:
        super().__init__(tag, operation, shop)
        self._made = memoryview(b"")
        self._target = self.size = 0

    @abc.abstractmethod
    def prepare(self) -> None:
        """Make the descriptor.

        :raises Settled: nothing is left to do for the device
        :raises PaddingError: the arguments do not fit
        :raises OSError: ENOMEM: the reserved region is used up for now
        """

    def send(self, algorithm: HpreAlgorithm, key: int, **numbers: int) -> None:
        """Make the descriptor: what it points to is a key block, these numbers, and room for what comes out."""
        blocks, size = BLOCKS[algorithm], self.size
        packed = blocks.input.pack(size, **numbers)
        given = self.secret(packed)
        packed[:] = bytes(len(packed))
        made = blocks.output.nbytes(size)
        self._target = 0
        if made:
            self._made = self.secret(bytes(made))
            self._target = self.grant(self._made, True)
        self._number = self.entry(algorithm, key, self.grant(given, False), self._target)

    def entry(
        self, algorithm: HpreAlgorithm, key: int, given: int, target: int, size: int | None = None
    ) -> int:
        """A descriptor without its tag. What is behind the addresses is granted.

        :param size: bytes of an operand, if they are not :attr:`size`
        """
        units = (size or self.size) // 8 - 1
        return SQE.number(
            algorithm=algorithm, done=SUBMITTED, size=units, key=key, input=given, output=target
        )

    def made(self, position: int = 0) -> int:
        """A number of the output block."""
        return int.from_bytes(self._made[position * self.size : (position + 1) * self.size], "big")

    def consumed(self, output: bytes) -> Completion:
        """A success with this output."""
        return self.success(output, self.operation.nbytes, len(output))


class KeyRequest(NumberRequest[OperationT]):
    """An operation with a key."""

    __slots__ = ("_key",)

    def __init__(self, tag: int, operation: OperationT, shop: HpreWorkshop) -> None:
        super().__init__(tag, operation, shop)
        if (
            not isinstance(operation.session, HpreKey)
            or operation.session.spec.algorithm != operation.algorithm
        ):
            raise Settled(
                Status.INVALID_ARGS, f"expected a key for {operation.algorithm} that this device was told of"
            )
        self._key = operation.session
        self.size = self._key.size

    def message(self) -> bytes:
        """The operation's input, in one piece."""
        return self.copy(self.present())

    def ask(self, private: bool, **numbers: int) -> None:
        """Make the descriptor, with one half of the key.

        :raises Settled: it has no such half
        """
        known = self._key.private if private else self._key.public
        if known is None:
            raise Settled(
                Status.INVALID_ARGS, "expected a private key, got a public one" if private else "no such key"
            )
        algorithm, block = known
        self.send(algorithm, self.reach_block(block), **numbers)

    def reach_block(self, block: bytearray) -> int:
        """The address of one half of the key."""
        return self.grant(block if self._shop.space.direct else self.secret(block), False)
