"""The HPRE engine: public-key arithmetic on numbers in memory.

A descriptor is 16 words of 32 bits. The engine writes its fields of words 0 and 1, and, of a verification, bit 1 of word 6; the
rest goes back as it came. Padding, hashing, encoding and blinding are the host's: here is nothing but arithmetic.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

from wdasync_hip08.engines import curves
from wdasync_hip08.engines.buffers import BadDescriptorError, Buffers
from wdasync_hip08.engines.curves import Curve, Point
from wdasync_hip08.engines.modular import ArithmeticFault, crt_power, keys_of_primes, power
from wdasync_hip08.port import DmaAbort, Port
from wdasync_hip08.qm.contexts import SqContext
from wdasync_hip08.qm.pairs import User
from wdasync_hip08.tasks import Life, Task, Work
from wdasync_hip08.trace import Trace

__all__ = ["ENTRY_BYTES", "HpreEngine", "HpreError", "dump_entry"]

ENTRY_BYTES = 64
_WORDS = struct.Struct("<16I")

#: Bits 31:30 of word 0.
DONE = 3
#: Bit 5 of the second error field, which begins at bit 16 of word 0.
MEMORY_FAULT = 1 << 21
#: Bit 25 of word 1.
DEVICE_PICKS_K = 1 << 25
#: Bit 1 of word 6.
VALID = 2
#: What the model calls its work in bytes, so that it goes to a thread.
HEAVY = 1 << 16

#: Bytes of an operand on a curve.
CURVE_SIZES = (32, 48, 72)


class HpreError(enum.IntEnum):
    """Bits 15:5 of word 0. What silicon writes there is not published: these are the model's own."""

    NONE = 0
    #: An algorithm that this engine does not have, or an operand size that it does not take.
    BAD_DESCRIPTOR = 1
    #: The numbers give no result: a modulus of 0, no inverse, a point at infinity.
    ARITHMETIC = 2


class _Operation(NamedTuple):
    """One row of the table.

    :ivar name: for people
    :ivar key: numbers in the key block, with their lengths in halves of an operand
    :ivar given: likewise of the input
    :ivar made: likewise of the output
    :ivar calculate: output numbers (or a verdict), from those of key and input
    :ivar curve: operands have a curve's sizes
    """

    name: str
    key: Sequence[int]
    given: Sequence[int]
    made: Sequence[int]
    calculate: Callable[..., Sequence[int] | bool]
    curve: bool = False


def _point(p: int, a: int, d: int, b: int, n: int, gx: int, gy: int, x: int, y: int) -> Point:
    return Curve(p, a, n, Point(gx, gy)).multiply(d, Point(x, y))


def _sign(p: int, a: int, d: int, b: int, n: int, gx: int, gy: int, e: int, k: int) -> tuple[int, int]:
    return curves.ecdsa_sign(Curve(p, a, n, Point(gx, gy)), d, e, k)


def _verify(
    p: int, a: int, b: int, n: int, gx: int, gy: int, qx: int, qy: int, e: int, s: int, r: int
) -> bool:
    return curves.ecdsa_verify(Curve(p, a, n, Point(gx, gy)), Point(qx, qy), e, s, r)


def _sm2_sign(
    p: int, a: int, d: int, b: int, n: int, gx: int, gy: int, e: int, k: int | None = None
) -> tuple[int, int]:
    return curves.sm2_sign(Curve(p, a, n, Point(gx, gy)), d, e, k)


def _sm2_verify(
    p: int, a: int, b: int, n: int, gx: int, gy: int, qx: int, qy: int, e: int, s: int, r: int
) -> bool:
    return curves.sm2_verify(Curve(p, a, n, Point(gx, gy)), Point(qx, qy), e, s, r)


def _sm2_keys(
    p: int, a: int, b: int, n: int, gx: int, gy: int, qx: int, qy: int, x: int, y: int
) -> tuple[int, int, int]:
    return curves.sm2_keys(Curve(p, a, n, Point(x, y)))


_SIGNER, _VERIFIER, _PAIR = [2] * 7, [2] * 8, [2, 2]

#: Bits 4:0 of word 0 -> what is done.
OPERATIONS: dict[int, _Operation] = {
    0x0: _Operation("power", [2, 2], [2], [2], lambda e, n, x: (power(x, e, n),)),
    0x1: _Operation(
        "CRT power", [1] * 5, [2], [2], lambda dq, dp, q, p, qinv, x: (crt_power(x, dq, dp, q, p, qinv),)
    ),
    0x2: _Operation("RSA key", [2, 1, 1], [], [2, 2], lambda e, p, q: keys_of_primes(e, p, q)[:2]),
    0x3: _Operation("RSA CRT key", [2, 1, 1], [], [2, 2, 1, 1, 1], keys_of_primes),
    0x4: _Operation("DH, g = 2", [2, 2], [], [2], lambda x, p: (power(2, x, p),)),
    0x5: _Operation("DH", [2, 2], [2], [2], lambda x, p, g: (power(g, x, p),)),
    0xD: _Operation("point", _SIGNER, _PAIR, _PAIR, _point, curve=True),
    0xE: _Operation("ECDSA sign", _SIGNER, _PAIR, _PAIR, _sign, curve=True),
    0xF: _Operation("ECDSA verify", _VERIFIER, [2] * 3, [], _verify, curve=True),
    0x10: _Operation(
        "ladder", [2] * 3, [2], [2], lambda p, a, d, u: (curves.ladder(p, a, d, u),), curve=True
    ),
    0x11: _Operation("SM2 key", _VERIFIER, _PAIR, [2] * 3, _sm2_keys, curve=True),
    0x12: _Operation("SM2 sign", _SIGNER, _PAIR, _PAIR, _sm2_sign, curve=True),
    0x13: _Operation("SM2 verify", _VERIFIER, [2] * 3, [], _sm2_verify, curve=True),
}
SM2_SIGN = 0x12

#: Version of the queue manager -> whether the engine behind it has curves.
CURVES = {2: False, 3: True}


class HpreEngine:
    """Public-key arithmetic.

    :param generation: version of the queue manager before it

    :ivar refused: descriptors that it would not work on
    :ivar stuck: what it begins now it never ends
    """

    entry_bytes = ENTRY_BYTES

    def __init__(self, port: Port, trace: Trace, generation: int) -> None:
        self.refused = 0
        self.stuck = False
        self._curves = CURVES[generation]
        self._port = port
        self._trace = trace

    def process(self, entry: bytes, context: SqContext, user: User, task: Task) -> Life:
        """Work on one entry; returns the entry to write back."""
        words = list(_WORDS.unpack(entry))
        words[0] &= 0x1F
        if self.stuck:
            yield Work(lambda: None, 0, endless=True)
        try:
            return (yield from self._work(words, Buffers(self._port, user, task), task))
        except DmaAbort as abort:
            self._trace.instant("engine", "refused", reason=str(abort))
            return _answer(words, fault=MEMORY_FAULT)
        except BadDescriptorError as error:
            self.refused += 1
            self._trace.instant("engine", "refused", reason=str(error))
            return _answer(words, HpreError.BAD_DESCRIPTOR)

    def _work(self, words: list[int], memory: Buffers, task: Task) -> Life:
        code, size = words[0], (words[1] & 0xFF) * 8 + 8
        operation = OPERATIONS.get(code)
        if operation is None or (operation.curve and not self._curves):
            raise BadDescriptorError(f"algorithm {code:#x}")
        if operation.curve and size not in CURVE_SIZES:
            raise BadDescriptorError(f"operands of {size} bytes on a curve")
        given = operation.given
        if code == SM2_SIGN and words[1] & DEVICE_PICKS_K:
            given = given[:1]
        numbers: list[int] = []
        for low, widths in ((2, operation.key), (4, given)):
            nbytes = sum(widths) * (size // 2)
            block = b""
            if nbytes:
                block = yield from memory.read([(words[low] | words[low + 1] << 32, nbytes)])
            numbers += _numbers(block, widths, size // 2)
        self._trace.begin("engine", operation.name, task.number, nbytes=size)
        result = yield Work(lambda: _calculate(operation, numbers), HEAVY)
        self._trace.end("engine", operation.name, task.number)
        if isinstance(result, bool):
            words[6] = words[6] & ~VALID | VALID * result
        elif isinstance(result, tuple):
            output = _block(result, operation.made, size // 2)
            yield from memory.write([(words[6] | words[7] << 32, len(output))], output)
        else:
            return _answer(words, HpreError.ARITHMETIC)
        return _answer(words)

    def __repr__(self) -> str:
        return f"<HpreEngine, {self.refused} descriptors refused>"


def _calculate(operation: _Operation, numbers: Sequence[int]) -> tuple[int, ...] | bool | None:
    """``None``: there is no result."""
    try:
        result = operation.calculate(*numbers)
    except (ArithmeticFault, ValueError, ZeroDivisionError):  # Whatever numbers a program makes up.
        return None
    return result if isinstance(result, bool) else tuple(result)


def _numbers(block: bytes, widths: Sequence[int], half: int) -> list[int]:
    numbers, at = [], 0
    for width in widths:
        numbers.append(int.from_bytes(block[at : at + width * half], "big"))
        at += width * half
    return numbers


def _block(numbers: Sequence[int], widths: Sequence[int], half: int) -> bytes:
    """What is too large for its place is cut off at the top, as in a register."""
    return b"".join(
        (number & (1 << width * half * 8) - 1).to_bytes(width * half, "big")
        for number, width in zip(numbers, widths, strict=True)
    )


def _answer(words: list[int], error: HpreError = HpreError.NONE, fault: int = 0) -> bytes:
    words[0] = words[0] & 0x1F | error << 5 | fault | DONE << 30
    return _WORDS.pack(*words)


def dump_entry(entry: bytes) -> str:
    """A descriptor, for people."""
    words = _WORDS.unpack(entry)
    operation = OPERATIONS.get(words[0] & 0x1F)
    lines = [
        f"{operation.name if operation else 'unknown'} with {(words[1] & 0xFF) * 8 + 8} bytes an operand",
        f"done {words[0] >> 30}, errors {words[0] >> 5 & 0x7FF:#x} {words[0] >> 16 & 0x3FFF:#x}",
    ]
    addresses = {"key": 2, "input": 4, "output": 6, "tag": 8}
    lines += [f"{name} {words[low] | words[low + 1] << 32:#x}" for name, low in addresses.items()]
    return "\n".join(lines)
