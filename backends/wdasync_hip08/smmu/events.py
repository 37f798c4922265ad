"""Event records: what the SMMU tells software about a translation that went wrong.

A record is 32 bytes in the event queue. Which fields it carries depends on its code, and what a code does not
carry is zero. (IHI 0070, 7.3.)
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from wdasync_hip08.smmu.fields import Field, Layout, pack_words, unpack_words

__all__ = ["EVENT_LAYOUT", "STALLABLE", "EventCode", "EventRecord", "FaultClass", "Reason"]


class EventCode(enum.IntEnum):
    """Event numbers: C is for configuration, F for fault, E for a hint."""

    F_UUT = 0x01
    C_BAD_STREAMID = 0x02
    F_STE_FETCH = 0x03
    C_BAD_STE = 0x04
    F_BAD_ATS_TREQ = 0x05
    F_STREAM_DISABLED = 0x06
    F_TRANSL_FORBIDDEN = 0x07
    C_BAD_SUBSTREAMID = 0x08
    F_CD_FETCH = 0x09
    C_BAD_CD = 0x0A
    F_WALK_EABT = 0x0B
    F_TRANSLATION = 0x10
    F_ADDR_SIZE = 0x11
    F_ACCESS = 0x12
    F_PERMISSION = 0x13
    F_TLB_CONFLICT = 0x20
    F_CFG_CONFLICT = 0x21
    E_PAGE_REQUEST = 0x24
    F_VMS_FETCH = 0x25


#: Only these four can stall, and only they obey the A, R and S bits of the context.
STALLABLE = frozenset({EventCode.F_TRANSLATION, EventCode.F_ADDR_SIZE, EventCode.F_ACCESS, EventCode.F_PERMISSION})


class FaultClass(enum.IntEnum):
    """What was being translated when the fault happened."""

    CD = 0  #: the address of a context descriptor (nested translation)
    TT = 1  #: the address of a translation table entry
    IN = 2  #: the input address of the access itself


class Reason(enum.IntEnum):
    """Why a fetch failed."""

    UNKNOWN = 0
    EXTERNAL_ABORT = 1


EVENT_LAYOUT = Layout(
    "event record",
    4,
    [
        Field("code", 0, 7, 0),
        Field("ssv", 0, 11, 11),
        Field("ssid", 0, 31, 12),
        Field("sid", 0, 63, 32),
        Field("stag", 1, 15, 0),
        Field("stall", 1, 31, 31),
        Field("pnu", 1, 33, 33),
        Field("ind", 1, 34, 34),
        Field("rnw", 1, 35, 35),
        Field("nsipa", 1, 38, 38),
        Field("s2", 1, 39, 39),
        Field("fault_class", 1, 41, 40),
        Field("ttrnw", 1, 44, 44),
        Field("input_address", 2, 63, 0),
        Field("ipa", 3, 51, 12, unit=12),
    ],
)


@dataclass(slots=True, kw_only=True)
class EventRecord:
    """One event. ``ssid`` is ``None`` when the transaction had no SubstreamID; flags are 0 or 1.

    :ivar stag: stall tag, when ``stall`` is 1
    :ivar ipa: intermediate physical address of a stage-2 fault, aligned down to 4 KiB
    :ivar fetch_address: physical address of the structure whose fetch failed, aligned down to 8
    """

    code: EventCode
    sid: int
    ssid: int | None = None
    stag: int = 0
    stall: int = 0
    pnu: int = 0
    ind: int = 0
    rnw: int = 0
    nsipa: int = 0
    s2: int = 0
    fault_class: FaultClass = FaultClass.CD
    ttrnw: int = 0
    input_address: int = 0
    ipa: int = 0
    fetch_address: int = 0

    def encode(self) -> tuple[int, ...]:
        """Four 64-bit words."""
        raise NotImplementedError

    @classmethod
    def decode(cls, words: Sequence[int]) -> EventRecord:
        """From four 64-bit words."""
        raise NotImplementedError

    def pack(self) -> bytes:
        """32 bytes as they stand in the event queue."""
        return pack_words(self.encode())

    @classmethod
    def unpack(cls, data: bytes) -> EventRecord:
        """From 32 bytes of the event queue."""
        return cls.decode(unpack_words(data))
