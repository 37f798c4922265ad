"""The stream table entry (STE): what the SMMU does with one StreamID. (IHI 0070, 5.2.)"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, fields

from wdasync_hip08.smmu.fields import Field, Layout, pack_words, unpack_words

__all__ = ["STE_LAYOUT", "Config", "S1Dss", "StreamTableEntry", "StreamTableL1"]


class Config(enum.IntFlag):
    """STE.Config: 0b0xx abort, 0b100 bypass, else which stages translate."""

    ABORT = 0
    STAGE1 = 0b001
    STAGE2 = 0b010
    BYPASS = 0b100
    S1 = 0b101
    S2 = 0b110
    NESTED = 0b111


class S1Dss(enum.IntEnum):
    """STE.S1DSS: what traffic without a SubstreamID means where there are substreams."""

    TERMINATE = 0
    BYPASS = 1
    SUBSTREAM0 = 2


STE_LAYOUT = Layout(
    "STE",
    8,
    [
        Field("v", 0, 0, 0),
        Field("config", 0, 3, 1),
        Field("s1fmt", 0, 5, 4),
        Field("s1contextptr", 0, 51, 6, unit=6),
        Field("s1cdmax", 0, 63, 59),
        Field("s1dss", 1, 1, 0),
        Field("s1cir", 1, 3, 2),
        Field("s1cor", 1, 5, 4),
        Field("s1csh", 1, 7, 6),
        Field("dre", 1, 12, 12),
        Field("cont", 1, 16, 13),
        Field("dcp", 1, 17, 17),
        Field("ppar", 1, 18, 18),
        Field("mev", 1, 19, 19),
        Field("s2fwb", 1, 25, 25),
        Field("s1stalld", 1, 27, 27),
        Field("eats", 1, 29, 28),
        Field("strw", 1, 31, 30),
        Field("memattr", 1, 35, 32),
        Field("mtcfg", 1, 36, 36),
        Field("alloccfg", 1, 40, 37),
        Field("shcfg", 1, 45, 44),
        Field("nscfg", 1, 47, 46),
        Field("privcfg", 1, 49, 48),
        Field("instcfg", 1, 51, 50),
        Field("s2vmid", 2, 15, 0),
        Field("s2t0sz", 2, 37, 32),
        Field("s2sl0", 2, 39, 38),
        Field("s2ir0", 2, 41, 40),
        Field("s2or0", 2, 43, 42),
        Field("s2sh0", 2, 45, 44),
        Field("s2tg", 2, 47, 46),
        Field("s2ps", 2, 50, 48),
        Field("s2aa64", 2, 51, 51),
        Field("s2endi", 2, 52, 52),
        Field("s2affd", 2, 53, 53),
        Field("s2ptw", 2, 54, 54),
        Field("s2hd", 2, 55, 55),
        Field("s2ha", 2, 56, 56),
        Field("s2s", 2, 57, 57),
        Field("s2r", 2, 58, 58),
        Field("s2ttb", 3, 51, 4, unit=4),
    ],
)


@dataclass(slots=True, kw_only=True)
class StreamTableEntry:
    """One STE; fields bear the names of the specification in lower case, addresses are byte addresses.

    :ivar s1fmt: context descriptor table: 0 linear, 1 two-level with leaves of 64, 2 two-level with leaves of 1024
    :ivar s1cdmax: log2 of the number of context descriptors
    :ivar eats: ATS: 0 no, 1 yes, 2 split stages
    :ivar s2tg: granule of stage 2: 0 4K, 1 64K, 2 16K
    :ivar s2s: stall at stage 2, ``s2r``: record, ``s2ha``/``s2hd``: hardware sets access flag / dirty state
    """

    v: int = 1
    config: int = Config.ABORT
    s1fmt: int = 0
    s1contextptr: int = 0
    s1cdmax: int = 0
    s1dss: int = 0
    s1cir: int = 0
    s1cor: int = 0
    s1csh: int = 0
    dre: int = 0
    cont: int = 0
    dcp: int = 0
    ppar: int = 0
    mev: int = 0
    s2fwb: int = 0
    s1stalld: int = 0
    eats: int = 0
    strw: int = 0
    memattr: int = 0
    mtcfg: int = 0
    alloccfg: int = 0
    shcfg: int = 0
    nscfg: int = 0
    privcfg: int = 0
    instcfg: int = 0
    s2vmid: int = 0
    s2t0sz: int = 0
    s2sl0: int = 0
    s2ir0: int = 0
    s2or0: int = 0
    s2sh0: int = 0
    s2tg: int = 0
    s2ps: int = 0
    s2aa64: int = 0
    s2endi: int = 0
    s2affd: int = 0
    s2ptw: int = 0
    s2hd: int = 0
    s2ha: int = 0
    s2s: int = 0
    s2r: int = 0
    s2ttb: int = 0

    @property
    def aborts(self) -> bool:
        """Everything is aborted, and nothing recorded."""
        return not self.config & Config.BYPASS

    @property
    def stage1(self) -> bool:
        """Stage 1 is configured."""
        return self.config & Config.S1 == Config.S1

    @property
    def stage2(self) -> bool:
        """Stage 2 is configured."""
        return self.config & Config.S2 == Config.S2

    def encode(self) -> tuple[int, ...]:
        """Eight 64-bit words.

        :raises ValueError: a value does not fit its field
        """
        return STE_LAYOUT.encode({field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def decode(cls, words: Sequence[int]) -> StreamTableEntry:
        """From eight 64-bit words."""
        return cls(**STE_LAYOUT.decode(words))

    def pack(self) -> bytes:
        """64 bytes as they stand in the stream table."""
        return pack_words(self.encode())

    @classmethod
    def unpack(cls, data: bytes) -> StreamTableEntry:
        """From 64 bytes of the stream table."""
        return cls.decode(unpack_words(data))

    def __repr__(self) -> str:
        return f"<STE {STE_LAYOUT.dump(self.encode()) or 'empty'}>"


_L1_LAYOUT = Layout("L1STD", 1, [Field("span", 0, 4, 0), Field("l2ptr", 0, 51, 6, unit=6)])


@dataclass(slots=True, kw_only=True)
class StreamTableL1:
    """First-level descriptor of a two-level stream table: ``l2ptr`` points at 2^(span-1) STEs; span 0 is invalid."""

    span: int = 0
    l2ptr: int = 0

    def encode(self) -> tuple[int, ...]:
        """One 64-bit word."""
        return _L1_LAYOUT.encode({"span": self.span, "l2ptr": self.l2ptr})

    @classmethod
    def decode(cls, words: Sequence[int]) -> StreamTableL1:
        """From one 64-bit word."""
        return cls(**_L1_LAYOUT.decode(words))
