"""The context descriptor (CD): one address space as stage 1 sees it. (IHI 0070, 5.3 and 5.4.)"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from wdasync_hip08.smmu.fields import Field, Layout, pack_words, unpack_words

__all__ = ["CD_LAYOUT", "ContextDescriptor", "ContextL1"]

CD_LAYOUT = Layout(
    "CD",
    8,
    [
        Field("t0sz", 0, 5, 0),
        Field("tg0", 0, 7, 6),
        Field("ir0", 0, 9, 8),
        Field("or0", 0, 11, 10),
        Field("sh0", 0, 13, 12),
        Field("epd0", 0, 14, 14),
        Field("endi", 0, 15, 15),
        Field("t1sz", 0, 21, 16),
        Field("tg1", 0, 23, 22),
        Field("ir1", 0, 25, 24),
        Field("or1", 0, 27, 26),
        Field("sh1", 0, 29, 28),
        Field("epd1", 0, 30, 30),
        Field("v", 0, 31, 31),
        Field("ips", 0, 34, 32),
        Field("affd", 0, 35, 35),
        Field("wxn", 0, 36, 36),
        Field("uwxn", 0, 37, 37),
        Field("tbi0", 0, 38, 38),
        Field("tbi1", 0, 39, 39),
        Field("pan", 0, 40, 40),
        Field("aa64", 0, 41, 41),
        Field("hd", 0, 42, 42),
        Field("ha", 0, 43, 43),
        Field("s", 0, 44, 44),
        Field("r", 0, 45, 45),
        Field("a", 0, 46, 46),
        Field("aset", 0, 47, 47),
        Field("asid", 0, 63, 48),
        Field("nscfg0", 1, 0, 0),
        Field("had0", 1, 1, 1),
        Field("e0pd0", 1, 2, 2),
        Field("ttb0", 1, 51, 4, unit=4),
        Field("nscfg1", 2, 0, 0),
        Field("had1", 2, 1, 1),
        Field("e0pd1", 2, 2, 2),
        Field("ttb1", 2, 51, 4, unit=4),
        Field("mair", 3, 63, 0),
        Field("amair", 4, 63, 0),
        Field("partid", 5, 47, 32),
        Field("pmg", 5, 55, 48),
    ],
)


@dataclass(slots=True, kw_only=True)
class ContextDescriptor:
    """One CD; fields bear the names of the specification in lower case, addresses are byte addresses.

    :ivar t0sz: 64 minus the number of address bits of the lower half (t1sz: of the upper half)
    :ivar tg0: granule of the lower half: 0 4K, 1 64K, 2 16K
    :ivar tg1: granule of the upper half, in another code: 1 16K, 2 4K, 3 64K
    :ivar epd0: the lower half is disabled (epd1: the upper half)
    :ivar s: stall, ``r``: record, ``a``: abort rather than read zero and ignore writes
    :ivar ha: hardware sets the access flag, ``hd``: and the dirty state
    """

    t0sz: int = 0
    tg0: int = 0
    ir0: int = 0
    or0: int = 0
    sh0: int = 0
    epd0: int = 0
    endi: int = 0
    t1sz: int = 0
    tg1: int = 0
    ir1: int = 0
    or1: int = 0
    sh1: int = 0
    epd1: int = 0
    v: int = 1
    ips: int = 0
    affd: int = 0
    wxn: int = 0
    uwxn: int = 0
    tbi0: int = 0
    tbi1: int = 0
    pan: int = 0
    aa64: int = 1
    hd: int = 0
    ha: int = 0
    s: int = 0
    r: int = 0
    a: int = 0
    aset: int = 0
    asid: int = 0
    nscfg0: int = 0
    had0: int = 0
    e0pd0: int = 0
    ttb0: int = 0
    nscfg1: int = 0
    had1: int = 0
    e0pd1: int = 0
    ttb1: int = 0
    mair: int = 0
    amair: int = 0
    partid: int = 0
    pmg: int = 0

    def encode(self) -> tuple[int, ...]:
        """Eight 64-bit words.

        :raises ValueError: a value does not fit its field
        """
        return CD_LAYOUT.encode({field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def decode(cls, words: Sequence[int]) -> ContextDescriptor:
        """From eight 64-bit words."""
        return cls(**CD_LAYOUT.decode(words))

    def pack(self) -> bytes:
        """64 bytes as they stand in the context descriptor table."""
        return pack_words(self.encode())

    @classmethod
    def unpack(cls, data: bytes) -> ContextDescriptor:
        """From 64 bytes of the context descriptor table."""
        return cls.decode(unpack_words(data))

    def __repr__(self) -> str:
        return f"<CD {CD_LAYOUT.dump(self.encode()) or 'empty'}>"


_L1_LAYOUT = Layout("L1CD", 1, [Field("v", 0, 0, 0), Field("l2ptr", 0, 51, 12, unit=12)])


@dataclass(slots=True, kw_only=True)
class ContextL1:
    """First-level descriptor of a two-level context descriptor table."""

    v: int = 1
    l2ptr: int = 0

    def encode(self) -> tuple[int, ...]:
        """One 64-bit word."""
        return _L1_LAYOUT.encode({"v": self.v, "l2ptr": self.l2ptr})

    @classmethod
    def decode(cls, words: Sequence[int]) -> ContextL1:
        """From one 64-bit word."""
        return cls(**_L1_LAYOUT.decode(words))
