"""What a device asks of the SMMU, and the four things that can come of it."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from wdasync_hip08.smmu.events import EventCode, EventRecord, FaultClass
    from wdasync_hip08.smmu.stalls import Stall

__all__ = ["AbortedSilently", "Access", "BusResponse", "Faulted", "Op", "Outcome", "Parked", "Translated"]

#: Read, write, or instruction fetch (which is a read with the InD attribute).
Op: TypeAlias = Literal["R", "W", "X"]


class BusResponse(enum.StrEnum):
    """How an access that was not translated ends on the bus."""

    ABORT = "abort"
    RAZ_WI = "raz_wi"  #: a read gives zero, a write is ignored
    STALL = "stall"  #: not yet


@dataclass(slots=True)
class Access:
    """One access to one 4 KiB page.

    :ivar sid: StreamID, which function of which device
    :ivar ssid: SubstreamID (PASID), or ``None``: 0 is a PASID like any other
    :ivar va: byte address as the device uses it
    :ivar size: bytes; they must not cross a 4 KiB border
    :ivar tag: whatever the device wants back with a resumed stall
    """

    sid: int
    ssid: int | None
    va: int
    op: Op
    privileged: bool = False
    size: int = 1
    tag: object = field(default=None, compare=False)


@dataclass(slots=True)
class Translated:
    """The access goes to ``pa``.

    :ivar leaf_bytes: size of the mapping behind it, a combined entry may cover so much; ``None``: nothing translated
    :ivar ipa: intermediate physical address, where both stages are configured
    :ivar writable: a write with the same privilege would go through without another walk
    :ivar tlb_hit: it came from the TLB
    """

    pa: int
    leaf_bytes: int | None
    ipa: int | None = None
    writable: bool = True
    tlb_hit: bool = False


@dataclass(slots=True)
class Faulted:
    """The access is over, and ``bus`` is how.

    :ivar recorded: the architecture records it; ``record`` is then the event
    :ivar stage: 1 or 2, or ``None`` for a configuration error
    :ivar level: of the descriptor at fault, or ``None``
    """

    event: EventCode
    record: EventRecord | None
    recorded: bool
    stage: int | None
    fault_class: FaultClass | None
    level: int | None
    bus: BusResponse


@dataclass(slots=True)
class AbortedSilently:
    """The access is aborted and the architecture records nothing."""


@dataclass(slots=True)
class Parked:
    """The access waits in the SMMU until ``stall`` is resumed; see :class:`Stall`.

    The other attributes are those of :class:`Faulted`; ``record.stag`` is the tag once there is one.
    """

    stall: Stall
    event: EventCode
    record: EventRecord
    stage: int
    fault_class: FaultClass
    level: int | None
    recorded: bool = True
    bus: BusResponse = BusResponse.STALL

    @property
    def stag(self) -> int | None:
        """The stall tag, or ``None`` while the stall is unreported."""
        return self.stall.stag


Outcome: TypeAlias = Translated | Faulted | AbortedSilently | Parked
