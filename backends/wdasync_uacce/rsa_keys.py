"""New RSA keys: primes that the host chooses and the HPRE engine tries, and the numbers that the engine makes of them."""

from __future__ import annotations

import secrets
from collections.abc import Generator, Sequence
from typing import Final

from wdasync.backend import Completion, Status
from wdasync.operations import Generate

from .der import element, integer
from .hpre_descriptor import BLOCKS, RSA_SIZES, HpreAlgorithm, operand_size
from .hpre_keys import BITS
from .hpre_requests import HpreWorkshop, NumberRequest
from .requests import Settled
from .rsa_primes import Ask, prime

__all__ = ["RsaGenerateRequest"]

#: Object identifier of RSA keys, and no parameters; in DER (RFC 8017, appendix A.1).
_RSA_KEY: Final = bytes.fromhex("06092a864886f70d0101010500")

_POWER: Final = HpreAlgorithm.POWER


class RsaGenerateRequest(NumberRequest[Generate]):
    """A new RSA key: some hundred descriptors, one after the other, in the same memory."""

    __slots__ = ("_asked", "_given", "_key", "_places", "_steps")

    _asked: tuple[HpreAlgorithm, int]

    def __init__(self, tag: int, operation: Generate, shop: HpreWorkshop) -> None:
        super().__init__(tag, operation, shop)
        low, high = BITS["rsa"]
        if not low <= operation.bits <= high:
            raise Settled(Status.INVALID_ARGS, f"bits: expected {low} to {high}, got {operation.bits}")
        if not operation.exponent & 1 or operation.exponent >> 256:
            raise Settled(
                Status.INVALID_ARGS,
                f"exponent: expected an odd number below 2**256, got {operation.exponent}",
            )
        size = operand_size(operation.bits, RSA_SIZES)
        assert size is not None  # there is one for each length that is allowed
        self.size = size
        self._steps = _steps(operation.bits, operation.exponent, size)

    def prepare(self) -> None:
        blocks = BLOCKS[HpreAlgorithm.RSA_CRT_KEYS]  # the longest of those that are asked
        self._key, self._given = (
            self.secret(bytes(blocks.key.nbytes(self.size))),
            self.secret(bytes(self.size)),
        )
        self._made = self.secret(bytes(blocks.output.nbytes(self.size)))
        views = (self._key, False), (self._given, False), (self._made, True)
        self._places = [self.grant(view, writable) for view, writable in views]
        self._ask(next(self._steps))

    def _ask(self, asked: Ask) -> None:
        blocks = BLOCKS[asked.algorithm]
        for view, block, numbers in (
            (self._key, blocks.key, asked.key),
            (self._given, blocks.input, asked.given),
        ):
            packed = block.pack(asked.size, **numbers)
            view[: len(packed)] = packed
            packed[:] = bytes(len(packed))
        self._asked = asked.algorithm, asked.size
        key, given, target = self._places
        self._number = self.entry(asked.algorithm, key, given, target, asked.size)

    def done(self, valid: bool) -> Completion | None:
        algorithm, size = self._asked
        output, at, numbers = BLOCKS[algorithm].output, 0, []
        for names, width in ((output.names, size), (output.halves, size // 2)):
            for _ in names:
                numbers.append(int.from_bytes(self._made[at : at + width], "big"))
                at += width
        try:
            self._ask(self._steps.send(numbers))
        except StopIteration as made:
            return self.consumed(made.value)
        return None

    def release(self) -> None:
        super().release()
        self._steps.close()


def _steps(bits: int, e: int, size: int) -> Generator[Ask, Sequence[int], bytes]:
    """What is asked of the engine, until there is a key; its PKCS #8.

    :raises Settled: the engine was wrong
    """
    half = bits // 2
    small = operand_size(bits - half, RSA_SIZES) or size
    p = yield from prime(bits - half, e, 0, small)
    q = yield from prime(half, e, p, small)
    p, q = max(p, q), min(p, q)
    d, n, qinv, dq, dp = yield Ask(HpreAlgorithm.RSA_CRT_KEYS, size, {"e": e, "p": p, "q": q}, {})
    agree = (dp, dq) == (d % (p - 1), d % (q - 1)) and e * d % (p - 1) == 1 == e * d % (q - 1)
    if not agree or n != p * q or qinv * q % p != 1:
        raise Settled(Status.DEVICE_ERROR, "the device made a key of other numbers than it was given")
    text = secrets.randbelow(n - 3) + 2
    (hidden,) = yield Ask(_POWER, size, {"exponent": e, "modulus": n}, {"base": text})
    (found,) = yield Ask(_POWER, size, {"exponent": d, "modulus": n}, {"base": hidden})
    if found != text:  # One of the primes is none.
        raise Settled(Status.DEVICE_ERROR, "the device made a key that does not decrypt what it encrypts")
    key = element(0x30, *map(integer, (0, n, e, d, p, q, dp, dq, qinv)))
    return element(0x30, integer(0), element(0x30, _RSA_KEY), element(4, key))
