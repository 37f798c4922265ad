"""Deflate streams (RFC 1951) put together by hand, right and wrong ones."""

from __future__ import annotations

from typing import Self

__all__ = ["CODE_LENGTH_ORDER", "Bits", "canonical"]

#: In which order the lengths of the codes for code lengths are written (section 3.2.7).
CODE_LENGTH_ORDER = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)

#: A symbol -> its code: length and value.
Code = dict[int, tuple[int, int]]


def canonical(lengths: list[int]) -> Code:
    """The codes that these lengths mean (section 3.2.2)."""
    code, codes = 0, {}
    for length in range(1, 16):
        code <<= 1
        for symbol, own in enumerate(lengths):
            if own == length:
                codes[symbol] = (length, code)
                code += 1
    return codes


class Bits:
    """A stream of bits, written as deflate packs them."""

    def __init__(self) -> None:
        self._bits: list[int] = []

    def number(self, value: int, count: int) -> Self:
        """A number, its lowest bit first."""
        self._bits += [value >> index & 1 for index in range(count)]
        return self

    def code(self, length: int, value: int) -> Self:
        """A prefix code, its highest bit first."""
        self._bits += [value >> index & 1 for index in reversed(range(length))]
        return self

    def block(self, kind: int, *, last: bool = True) -> Self:
        """The three bits that begin a block."""
        return self.number(last, 1).number(kind, 2)

    def align(self) -> Self:
        return self.number(0, -len(self._bits) % 8)

    def raw(self, data: bytes) -> Self:
        for byte in data:
            self.number(byte, 8)
        return self

    def stored(self, data: bytes, *, last: bool = True) -> Self:
        """A whole stored block."""
        self.block(0, last=last).align()
        return self.number(len(data), 16).number(~len(data) & 0xFFFF, 16).raw(data)

    def fixed(self, *symbols: int) -> Self:
        """Literals and lengths in the codes of a fixed block (section 3.2.6)."""
        lengths = [8] * 144 + [9] * 112 + [7] * 24 + [8] * 8
        codes = canonical(lengths)
        for symbol in symbols:
            self.code(*codes[symbol])
        return self

    def dynamic(self, literals: int, distances: int, meta: dict[int, int], *, last: bool = True) -> Self:
        """The head of a dynamic block, up to the lengths of the codes for code lengths.

        :param literals: how many literal and length codes, 257 or more
        :param distances: how many distance codes, 1 or more
        :param meta: symbol -> length of its code
        """
        self.block(2, last=last).number(literals - 257, 5).number(distances - 1, 5).number(15, 4)
        for symbol in CODE_LENGTH_ORDER:
            self.number(meta.get(symbol, 0), 3)
        return self

    def lengths(self, meta: dict[int, int], *steps: tuple[int, int]) -> Self:
        """Code lengths in the codes of ``meta``: (symbol, value of its extra bits)."""
        codes = canonical([meta.get(symbol, 0) for symbol in range(19)])
        for symbol, extra in steps:
            self.code(*codes[symbol])
            self.number(extra, {16: 2, 17: 3, 18: 7}.get(symbol, 0))
        return self

    def done(self) -> bytes:
        """The bytes; what is left of the last one is zeros."""
        bits = self._bits + [0] * (-len(self._bits) % 8)
        octets = (bits[start : start + 8] for start in range(0, len(bits), 8))
        return bytes(sum(bit << index for index, bit in enumerate(octet)) for octet in octets)
