"""Event records: what the SMMU tells software about a translation that went wrong.

A record is 32 bytes in the event queue. Which fields it carries depends on its code, and what a code does not
carry is zero. (IHI 0070, 7.3.)
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from wdasync_hip08.smmu.fields import Field, Layout, pack_words, unpack_words

__all__ = ["CARRIED", "EVENT_LAYOUT", "STALLABLE", "EventCode", "EventRecord", "FaultClass"]


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
STALLABLE = frozenset(
    {EventCode.F_TRANSLATION, EventCode.F_ADDR_SIZE, EventCode.F_ACCESS, EventCode.F_PERMISSION}
)


class FaultClass(enum.IntEnum):
    """What was being translated when the fault happened."""

    CD = 0  #: the address of a context descriptor (nested translation)
    TT = 1  #: the address of a translation table entry
    IN = 2  #: the input address of the access itself


FAULT_FIELDS = ("ssv", "ssid", "pnu", "ind", "rnw", "s2", "fault_class", "input_address")

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
        Field("fetch_address", 3, 51, 3, unit=3),
        # The same 16 bits as stag: why a fetch failed, or why a transaction is unsupported.
        Field("reason", 1, 15, 0),
    ],
)

#: Which fields a code carries beside its code and its StreamID.
CARRIED: dict[EventCode, tuple[str, ...]] = {
    EventCode.F_UUT: ("ssv", "ssid", "pnu", "ind", "rnw", "input_address", "reason"),
    EventCode.C_BAD_STREAMID: ("ssv", "ssid"),
    EventCode.F_STE_FETCH: ("ssv", "ssid", "fetch_address", "reason"),
    EventCode.C_BAD_STE: ("ssv", "ssid"),
    # And the permissions and the span that were asked for; those stay zero, as nothing at hand says in which bits they are.
    EventCode.F_BAD_ATS_TREQ: ("ssv", "ssid", "input_address"),
    EventCode.F_STREAM_DISABLED: (),
    EventCode.F_TRANSL_FORBIDDEN: ("rnw", "input_address"),
    EventCode.C_BAD_SUBSTREAMID: ("ssid",),
    EventCode.F_CD_FETCH: ("ssv", "ssid", "fetch_address", "reason"),
    EventCode.C_BAD_CD: ("ssv", "ssid"),
    EventCode.F_WALK_EABT: (*FAULT_FIELDS, "fetch_address", "reason"),
    **dict.fromkeys(STALLABLE, (*FAULT_FIELDS, "stag", "stall", "nsipa", "ttrnw", "ipa")),
    EventCode.F_TLB_CONFLICT: (*FAULT_FIELDS, "ipa", "reason"),
    EventCode.F_CFG_CONFLICT: ("ssv", "ssid", "reason"),
    EventCode.E_PAGE_REQUEST: ("ssv", "ssid", "pnu", "ind", "rnw", "input_address"),
    EventCode.F_VMS_FETCH: ("ssv", "ssid", "fetch_address", "reason"),
}


@dataclass(slots=True, kw_only=True)
class EventRecord:
    """One event. ``ssid`` is ``None`` when the transaction had no SubstreamID; flags are 0 or 1.

    :ivar stag: stall tag, when ``stall`` is 1
    :ivar pnu: privileged, ``ind``: instruction fetch, ``rnw``: read
    :ivar s2: a stage-2 fault; ``ipa`` is then the address that stage 2 refused, aligned down to 4 KiB
    :ivar ttrnw: a permission fault of class TT was caused by a read (1) or an update (0) of a descriptor
    :ivar input_address: as the device presented it, tag byte included
    :ivar fetch_address: physical address of the structure whose fetch failed, aligned down to 8
    :ivar reason: why a fetch failed, implementation defined; ours is zero
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
    reason: int = 0

    def encode(self) -> tuple[int, ...]:
        """Four 64-bit words."""
        values = {name: getattr(self, name) for name in CARRIED[self.code] if name not in ("ssv", "ssid")}
        values |= {"code": self.code, "sid": self.sid}
        if "ssid" in CARRIED[self.code] and self.ssid is not None:
            values |= {"ssid": self.ssid, "ssv": int("ssv" in CARRIED[self.code])}
        return EVENT_LAYOUT.encode(values)

    @classmethod
    def decode(cls, words: Sequence[int]) -> EventRecord:
        """From four 64-bit words.

        :raises ValueError: an unknown event code
        """
        raw = EVENT_LAYOUT.decode(words)
        code = EventCode(raw["code"])
        carried = CARRIED[code]
        record = cls(code=code, sid=raw["sid"])
        for name in carried:
            if name not in ("ssv", "ssid", "fault_class"):
                setattr(record, name, raw[name])
        if "fault_class" in carried:
            record.fault_class = FaultClass(raw["fault_class"])
        if "ssid" in carried and (raw["ssv"] or "ssv" not in carried):
            record.ssid = raw["ssid"]
        return record

    def pack(self) -> bytes:
        """32 bytes as they stand in the event queue."""
        return pack_words(self.encode())

    @classmethod
    def unpack(cls, data: bytes) -> EventRecord:
        """From 32 bytes of the event queue."""
        return cls.decode(unpack_words(data))
