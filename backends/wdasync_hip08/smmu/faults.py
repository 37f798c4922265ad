"""Inside the SMMU a translation that goes wrong is an exception; here is what it carries to the event record."""

from __future__ import annotations

from typing import NamedTuple

from wdasync_hip08.smmu.events import EventCode, FaultClass
from wdasync_hip08.smmu.stream_table_entry import StreamTableEntry

__all__ = ["ABORT_AND_RECORD", "Blame", "Fault", "FaultPolicy"]


class FaultPolicy(NamedTuple):
    """What to do about a translation fault: the S, A and R bits. (IHI 0070, 5.5.)

    For stage 1 the context descriptor says it. For stage 2 the STE has S and R, and A is always 1.
    """

    stall: bool
    abort: bool
    record: bool


#: Every fault that no context may change.
ABORT_AND_RECORD = FaultPolicy(stall=False, abort=True, record=True)


class Blame(NamedTuple):
    """Which stage a fault belongs to, and what it was translating.

    :ivar ipa: address that stage 2 was asked for
    """

    stage: int
    fault_class: FaultClass
    policy: FaultPolicy
    ipa: int = 0


class Fault(Exception):
    """A translation came to an end.

    :ivar level: of the descriptor at fault, where there is one
    :ivar blame: ``None`` for an error of the configuration
    :ivar fetch_address: physical address whose fetch was aborted
    :ivar ttrnw: a permission fault of class TT came from a read (1) or an update (0) of a descriptor
    :ivar ssid: SubstreamID to record where the access had none
    :ivar why: for people
    :ivar ste: the stream's entry, where the fetch of a context descriptor went wrong after it had been read
    """

    def __init__(
        self,
        event: EventCode,
        *,
        level: int | None = None,
        blame: Blame | None = None,
        fetch_address: int = 0,
        ttrnw: int = 0,
        ssid: int | None = None,
        why: str = "",
    ) -> None:
        super().__init__(event, level, blame, why)
        self.event = event
        self.level = level
        self.blame = blame
        self.fetch_address = fetch_address
        self.ttrnw = ttrnw
        self.ssid = ssid
        self.why = why
        self.ste: StreamTableEntry | None = None
