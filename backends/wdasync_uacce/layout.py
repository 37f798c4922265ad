"""Bit layouts as tables: a record is one little-endian integer, a field is a run of its bits.

Descriptors, ring entries and contexts of the chip are written down once, as a table of fields. Packing,
unpacking and dumps come from that table, and so do the reference pages and the tests.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from struct import Struct
from typing import NamedTuple

__all__ = ["Field", "Layout", "Owner"]


class Owner(enum.Enum):
    """Who writes a field."""

    HOST = "host"
    DEVICE = "device"
    BOTH = "both"


class Field(NamedTuple):
    """A run of bits.

    :ivar name: unique in its layout
    :ivar bit: number of its lowest bit, counted from bit 0 of byte 0
    :ivar width: bits
    :ivar owner: who writes it
    :ivar meaning: for people
    """

    name: str
    bit: int
    width: int
    owner: Owner
    meaning: str = ""

    @property
    def mask(self) -> int:
        """The largest value."""
        return (1 << self.width) - 1


_FORMATS: Mapping[int, str] = {8: "B", 16: "H", 32: "I", 64: "Q"}


class Layout:
    """A record of ``size`` bytes.

    :param name: for people
    :param size: bytes
    :param fields: the table; fields may not overlap
    :raises ValueError: if two overlap, share a name, or one ends behind the record
    """

    __slots__ = ("_by_name", "fields", "name", "size")

    def __init__(self, name: str, size: int, fields: Iterable[Field]) -> None:
        self.name = name
        self.size = size
        self.fields = tuple(sorted(fields, key=lambda field: field.bit))
        self._by_name = {field.name: field for field in self.fields}
        if len(self._by_name) != len(self.fields):
            raise ValueError(f"{name}: expected unique field names")
        end, before = 0, "the start"
        for field in self.fields:
            if field.bit < end:
                raise ValueError(f"{name}: {field.name} overlaps {before}")
            end, before = field.bit + field.width, field.name
        if end > size * 8:
            raise ValueError(f"{name}: {before} ends at bit {end}, the record has {size * 8}")

    def __getitem__(self, name: str) -> Field:
        """The field with this name."""
        return self._by_name[name]

    def number(self, **values: int) -> int:
        """The record as an integer, fields that are not named being 0. Such integers may be ORed.

        :raises KeyError: no such field
        :raises ValueError: a value does not fit its field
        """
        number = 0
        for name, value in values.items():
            field = self._by_name[name]
            if not 0 <= value <= field.mask:
                raise ValueError(
                    f"{self.name}.{name}: expected 0 to {field.mask:#x} ({field.width} bits), got {value:#x}"
                )
            number |= value << field.bit
        return number

    def pack(self, **values: int) -> bytes:
        """The record's bytes, fields that are not named being 0. Raises as :meth:`number`."""
        return self.number(**values).to_bytes(self.size, "little")

    def unpack(self, record: bytes) -> dict[str, int]:
        """All fields of a record, in the order of their bits.

        :raises ValueError: if it has not ``size`` bytes
        """
        if len(record) != self.size:
            raise ValueError(f"{self.name}: expected {self.size} bytes, got {len(record)}")
        number = int.from_bytes(record, "little")
        return {field.name: number >> field.bit & field.mask for field in self.fields}

    def struct(self, *names: str) -> Struct:
        """A quick reader of some fields, in the order of their bits, whatever the order of ``names``.

        :raises ValueError: if a field is not a whole number of bytes at its natural size
        """
        position, code = 0, "<"
        for field in sorted((self._by_name[name] for name in names), key=lambda field: field.bit):
            if field.bit % 8 or field.width not in _FORMATS:
                raise ValueError(f"{self.name}.{field.name}: expected whole bytes, got {field}")
            code += "x" * (field.bit // 8 - position) + _FORMATS[field.width]
            position = (field.bit + field.width) // 8
        return Struct(code + "x" * (self.size - position))

    def dump(self, record: bytes) -> str:
        """The fields that are not 0, one a line, for people."""
        values = self.unpack(record)
        return "\n".join(f"{name:>20} {value:#x}" for name, value in values.items() if value)
