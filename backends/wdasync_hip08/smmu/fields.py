"""Bit fields as tables: a layout is a list of (name, word, high bit, low bit), and that is all there is to a codec.

Every record, command, descriptor and register of the SMMU is described by such a table; the same tables make
encoders, decoders and dumps.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

__all__ = ["Field", "Layout", "pack_words", "unpack_words"]


class Field(NamedTuple):
    """Bits ``high:low`` of 64-bit word ``word``.

    ``unit`` is the log2 of what one counts, so an address field at 51:6 with unit 6 decodes to a byte address.
    """

    name: str
    word: int
    high: int
    low: int
    unit: int = 0

    @property
    def limit(self) -> int:
        """The first value that does not fit."""
        return 1 << (self.high - self.low + 1 + self.unit)

    def extract(self, words: Sequence[int]) -> int:
        """The value of this field in ``words``."""
        return (words[self.word] >> self.low & (1 << (self.high - self.low + 1)) - 1) << self.unit

    def refuse(self, value: int) -> ValueError:
        """What to raise for a value that does not fit."""
        return ValueError(
            f"{self.name}: expected a multiple of {1 << self.unit} below {self.limit:#x}, got {value:#x}"
        )


class Layout:
    """The fields of one structure of ``size`` 64-bit words."""

    def __init__(self, name: str, size: int, fields: Iterable[Field]) -> None:
        self.name = name
        self.size = size
        self.fields = {field.name: field for field in fields}
        #: Of each field what it takes to extract it.
        self._places = [
            (name, field.word, field.low, (1 << field.high - field.low + 1) - 1, field.unit)
            for name, field in self.fields.items()
        ]
        #: Of each field what it takes to insert it; the mask has the bits that no value may have.
        self._slots = {
            name: (field.word, field.low - field.unit, ~(field.limit - 1) | (1 << field.unit) - 1)
            for name, field in self.fields.items()
        }

    def encode(self, values: Mapping[str, int]) -> tuple[int, ...]:
        """Words that hold ``values``; what is not named is zero.

        :raises ValueError: a value does not fit
        :raises KeyError: no such field
        """
        words = [0] * self.size
        for name, value in values.items():
            if value:
                word, shift, forbidden = self._slots[name]
                if value & forbidden:
                    raise self.fields[name].refuse(value)
                words[word] |= value << shift if shift >= 0 else value >> -shift
        return tuple(words)

    def decode(self, words: Sequence[int]) -> dict[str, int]:
        """Every field of ``words`` by name.

        :raises ValueError: another number of words
        """
        if len(words) != self.size:
            raise ValueError(f"{self.name}: expected {self.size} words of 64 bits, got {len(words)}")
        return {name: (words[word] >> low & mask) << unit for name, word, low, mask, unit in self._places}

    def dump(self, words: Sequence[int]) -> str:
        """The non-zero fields, for people."""
        return " ".join(f"{name}={value:#x}" for name, value in self.decode(words).items() if value)

    def __repr__(self) -> str:
        return f"<Layout {self.name}: {len(self.fields)} fields in {self.size} words>"


def pack_words(words: Sequence[int]) -> bytes:
    """64-bit words as little-endian bytes."""
    return struct.pack(f"<{len(words)}Q", *words)


def unpack_words(data: bytes) -> tuple[int, ...]:
    """Little-endian bytes as 64-bit words."""
    return struct.unpack(f"<{len(data) // 8}Q", data)
