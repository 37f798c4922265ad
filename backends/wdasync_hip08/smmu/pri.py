"""Page requests: how an endpoint with PRI asks for a page, and how it is answered. (IHI 0070, chapter 8.)"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from wdasync_hip08.smmu.fields import Field, Layout, pack_words, unpack_words

__all__ = ["PAGE_REQUEST_LAYOUT", "PageRequest", "PageResponse", "ResponseCode"]


class ResponseCode(enum.IntEnum):
    """Code of a page request group response, as it goes over PCIe."""

    SUCCESS = 0
    INVALID = 1
    FAILURE = 15  #: the function stops asking, for every address space


PAGE_REQUEST_LAYOUT = Layout(
    "page request",
    2,
    [
        Field("sid", 0, 31, 0),
        Field("ssid", 0, 51, 32),
        Field("priv", 0, 58, 58),
        Field("x", 0, 59, 59),
        Field("r", 0, 60, 60),
        Field("w", 0, 61, 61),
        Field("last", 0, 62, 62),
        Field("ssv", 0, 63, 63),
        Field("prg", 1, 8, 0),
        Field("addr", 1, 63, 12, unit=12),
    ],
)


@dataclass(slots=True, kw_only=True)
class PageRequest:
    """One request of a group; flags are 0 or 1, ``addr`` is a byte address aligned to 4 KiB.

    :ivar ssid: PASID, or ``None``
    :ivar prg: index of the page request group
    :ivar last: the group ends here; it is answered as one
    """

    sid: int
    ssid: int | None = None
    addr: int = 0
    prg: int = 0
    r: int = 0
    w: int = 0
    x: int = 0
    priv: int = 0
    last: int = 0

    @property
    def stop_marker(self) -> bool:
        """It says that no more requests of this PASID are under way; it is not answered."""
        return self.ssid is not None and bool(self.last) and not self.r and not self.w

    def encode(self) -> tuple[int, ...]:
        """Two 64-bit words."""
        names = ("sid", "addr", "prg", "r", "w", "x", "priv", "last")
        values = {name: getattr(self, name) for name in names}
        if self.ssid is not None:
            values |= {"ssid": self.ssid, "ssv": 1}
        return PAGE_REQUEST_LAYOUT.encode(values)

    @classmethod
    def decode(cls, words: Sequence[int]) -> PageRequest:
        """From two 64-bit words."""
        values = PAGE_REQUEST_LAYOUT.decode(words)
        ssv, ssid = values.pop("ssv"), values.pop("ssid")
        return cls(ssid=ssid if ssv else None, **values)

    def pack(self) -> bytes:
        """16 bytes as they stand in the PRI queue."""
        return pack_words(self.encode())

    @classmethod
    def unpack(cls, data: bytes) -> PageRequest:
        """From 16 bytes of the PRI queue."""
        return cls.decode(unpack_words(data))


@dataclass(slots=True)
class PageResponse:
    """The answer to page request group ``prg``; ``ssid`` is ``None`` where it carries no PASID.

    :ivar automatic: the SMMU answered, no software was asked
    """

    sid: int
    ssid: int | None
    prg: int
    code: ResponseCode
    automatic: bool = False
