"""Accesses that wait: the life of a stall, from the fault to its verdict. (IHI 0070, 3.12.2.)"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from wdasync_hip08.smmu.access import Access
from wdasync_hip08.smmu.events import EventRecord

__all__ = ["Stall", "StallState", "Verdict"]


class StallState(enum.Enum):
    """Where a parked access is."""

    WAITING = "waiting"
    HELD = "held"
    RECORDED = "recorded"
    RESUMED = "resumed"


class Verdict(enum.Enum):
    """What became of a parked access."""

    RETRY = "retry"
    ABORT = "abort"
    TERMINATE = "terminate"  #: a read gives zero, a write is ignored


@dataclass(slots=True, eq=False)
class Stall:
    """One parked access.

    :ivar record: the event that describes it; its ``stag`` is filled in with the tag
    :ivar stag: stall tag, ``None`` while WAITING
    :ivar verdict: once RESUMED
    """

    access: Access
    record: EventRecord
    state: StallState = StallState.WAITING
    stag: int | None = None
    verdict: Verdict | None = None
