"""Commands: what software asks of the SMMU through the command queue. (IHI 0070, chapter 4.)

A command is 16 bytes: an opcode and the fields of that opcode, which are rows of one table.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from wdasync_hip08.smmu.fields import Field, Layout, pack_words, unpack_words

__all__ = [
    "COMMAND_LAYOUTS",
    "Command",
    "CommandError",
    "CompletionSignal",
    "Opcode",
    "atc_span",
    "range_commands",
]


class Opcode(enum.IntEnum):
    """Bits 7:0 of a command."""

    PREFETCH_CONFIG = 0x01
    PREFETCH_ADDR = 0x02
    CFGI_STE = 0x03
    CFGI_STE_RANGE = 0x04  #: with range=31: CFGI_ALL
    CFGI_CD = 0x05
    CFGI_CD_ALL = 0x06
    TLBI_NH_ALL = 0x10
    TLBI_NH_ASID = 0x11
    TLBI_NH_VA = 0x12
    TLBI_NH_VAA = 0x13
    TLBI_EL2_ALL = 0x20
    TLBI_EL2_ASID = 0x21
    TLBI_EL2_VA = 0x22
    TLBI_EL2_VAA = 0x23
    TLBI_S12_VMALL = 0x28
    TLBI_S2_IPA = 0x2A
    TLBI_NSNH_ALL = 0x30
    ATC_INV = 0x40
    PRI_RESP = 0x41
    RESUME = 0x44
    STALL_TERM = 0x45
    SYNC = 0x46


class CommandError(enum.IntEnum):
    """CMDQ_CONS.ERR."""

    NONE = 0
    ILL = 1  #: illegal command
    ABT = 2  #: external abort on the fetch of a command
    ATC_INV_SYNC = 3  #: an ATC invalidation before this SYNC timed out


class CompletionSignal(enum.IntEnum):
    """SYNC.CS: how software wants to hear of the completion."""

    NONE = 0
    IRQ = 1
    EVENT = 2
    RESERVED = 3


_OPCODE = Field("opcode", 0, 7, 0)
_STREAM = (_OPCODE, Field("ssec", 0, 10, 10), Field("sid", 0, 63, 32))
_SUBSTREAM = (*_STREAM, Field("ssid", 0, 31, 12))
_PASID = (*_SUBSTREAM, Field("ssv", 0, 11, 11))
_LEAF = Field("leaf", 1, 0, 0)
_VMID = Field("vmid", 0, 47, 32)
_ASID = Field("asid", 0, 63, 48)
_RANGE = (
    Field("num", 0, 16, 12),
    Field("scale", 0, 24, 20),
    _LEAF,
    Field("ttl", 1, 9, 8),
    Field("tg", 1, 11, 10),
)
_ADDR = Field("addr", 1, 63, 12, unit=12)
_IPA = Field("addr", 1, 51, 12, unit=12)

#: Fields by opcode; addresses are byte addresses.
COMMAND_LAYOUTS: dict[Opcode, Layout] = {
    opcode: Layout(opcode.name, 2, fields)
    for opcode, fields in {
        Opcode.PREFETCH_CONFIG: _PASID,
        Opcode.PREFETCH_ADDR: (*_PASID, Field("size", 1, 4, 0), _ADDR),
        Opcode.CFGI_STE: (*_STREAM, _LEAF),
        Opcode.CFGI_STE_RANGE: (*_STREAM, Field("range", 1, 4, 0)),
        Opcode.CFGI_CD: (*_SUBSTREAM, _LEAF),
        Opcode.CFGI_CD_ALL: _STREAM,
        Opcode.TLBI_NH_ALL: (_OPCODE, _VMID),
        Opcode.TLBI_NH_ASID: (_OPCODE, _VMID, _ASID),
        Opcode.TLBI_NH_VA: (_OPCODE, _VMID, _ASID, *_RANGE, _ADDR),
        Opcode.TLBI_NH_VAA: (_OPCODE, _VMID, *_RANGE, _ADDR),
        Opcode.TLBI_EL2_ALL: (_OPCODE,),
        Opcode.TLBI_EL2_ASID: (_OPCODE, _ASID),
        Opcode.TLBI_EL2_VA: (_OPCODE, _ASID, *_RANGE, _ADDR),
        Opcode.TLBI_EL2_VAA: (_OPCODE, *_RANGE, _ADDR),
        Opcode.TLBI_S12_VMALL: (_OPCODE, _VMID),
        Opcode.TLBI_S2_IPA: (_OPCODE, _VMID, *_RANGE, _IPA),
        Opcode.TLBI_NSNH_ALL: (_OPCODE,),
        Opcode.ATC_INV: (*_PASID, Field("g", 0, 9, 9), Field("size", 1, 5, 0), _ADDR),
        Opcode.PRI_RESP: (*_PASID, Field("prg", 1, 8, 0), Field("resp", 1, 13, 12)),
        Opcode.RESUME: (*_STREAM, Field("ac", 0, 12, 12), Field("ab", 0, 13, 13), Field("stag", 1, 15, 0)),
        Opcode.STALL_TERM: _STREAM,
        Opcode.SYNC: (
            _OPCODE,
            Field("cs", 0, 13, 12),
            Field("msh", 0, 23, 22),
            Field("msiattr", 0, 27, 24),
            Field("msidata", 0, 63, 32),
            Field("msiaddr", 1, 51, 2, unit=2),
        ),
    }.items()
}


@dataclass(slots=True)
class Command:
    """One command. Which fields count is said by ``COMMAND_LAYOUTS[opcode]``; the others stay 0.

    :ivar ssv: the SubstreamID counts (prefetch, ATC_INV, PRI_RESP)
    :ivar range: CFGI_STE_RANGE covers an aligned block of 2^(range+1) streams
    :ivar tg: granule of a range invalidation, 0 none, 1 4K, 2 16K, 3 64K; ``ttl`` the level of the leaf, or 0
    :ivar num: and ``scale``: the range is (num + 1) * 2^scale granules
    :ivar size: ATC_INV spans 4096 * 2^size bytes, 52 is everything
    :ivar ac: RESUME: 1 retry, else ``ab``: 1 abort, 0 terminate (reads zero, ignores writes)
    :ivar cs: SYNC: completion signal
    """

    opcode: Opcode
    ssec: int = 0
    sid: int = 0
    ssid: int = 0
    ssv: int = 0
    leaf: int = 0
    range: int = 0
    vmid: int = 0
    asid: int = 0
    addr: int = 0
    tg: int = 0
    ttl: int = 0
    num: int = 0
    scale: int = 0
    g: int = 0
    size: int = 0
    prg: int = 0
    resp: int = 0
    ac: int = 0
    ab: int = 0
    stag: int = 0
    cs: int = 0
    msh: int = 0
    msiattr: int = 0
    msidata: int = 0
    msiaddr: int = 0

    @property
    def level_hint(self) -> int:
        """Level of the leaf that an invalidation is about, 0: any. With 16K, level 1 has no leaves: no hint."""
        return 0 if self.tg == 2 and self.ttl == 1 else self.ttl

    def encode(self) -> tuple[int, ...]:
        """Two 64-bit words.

        :raises ValueError: a value does not fit its field
        """
        layout = COMMAND_LAYOUTS[self.opcode]
        return layout.encode({name: getattr(self, name) for name in layout.fields})

    @classmethod
    def decode(cls, words: Sequence[int]) -> Command:
        """From two 64-bit words; what the opcode does not define is ignored.

        :raises ValueError: unknown opcode
        """
        opcode = Opcode(words[0] & 0xFF)
        values = COMMAND_LAYOUTS[opcode].decode(words)
        del values["opcode"]
        return cls(opcode, **values)

    def pack(self) -> bytes:
        """16 bytes as they stand in the command queue."""
        return pack_words(self.encode())

    @classmethod
    def unpack(cls, data: bytes) -> Command:
        """From 16 bytes of the command queue."""
        return cls.decode(unpack_words(data))

    def fields(self) -> dict[str, int]:
        """The fields that count and are not 0."""
        values = {name: getattr(self, name) for name in COMMAND_LAYOUTS[self.opcode].fields}
        del values["opcode"]
        return {name: value for name, value in values.items() if value}

    def __repr__(self) -> str:
        shown = [f"{name}={value:#x}" for name, value in self.fields().items()]
        return f"Command({', '.join([self.opcode.name, *shown])})"


def range_commands(pages: int, *, leaf: bool = True) -> Iterator[tuple[int, int]]:
    """How software says "``pages`` granules" with range invalidations: (num, scale) of each command, in order.

    Each takes the lowest set bits, five at a time, so that no command needs an address that is not a multiple of
    its scale. A range of one granule with no level hint is an illegal command, so where ``leaf`` is false (and a
    level cannot be given) one granule more is invalidated.
    """
    if not leaf and pages & 31 == 1:
        pages += 1
    while pages:
        scale = (pages & -pages).bit_length() - 1
        count = pages >> scale & 31
        yield count - 1, scale
        pages -= count << scale


def atc_span(first_page: int, last_page: int) -> tuple[int, int]:
    """The smallest aligned power-of-two span that covers pages first..last: (size, address) of an ATC_INV."""
    size = (first_page ^ last_page).bit_length()
    return size, first_page >> size << size + 12
