"""What becomes of an access that does not translate: ended or parked, recorded or not. (IHI 0070, 3.12, 5.5, 7.2.)"""

from __future__ import annotations

from wdasync_hip08.smmu.access import Access, BusResponse, Faulted, Parked
from wdasync_hip08.smmu.event_queue import EventQueue
from wdasync_hip08.smmu.events import STALLABLE, EventCode, EventRecord
from wdasync_hip08.smmu.faults import ABORT_AND_RECORD, Blame, Fault
from wdasync_hip08.smmu.registers import RegisterFile
from wdasync_hip08.smmu.stalls import StallTable
from wdasync_hip08.smmu.statistics import Statistics
from wdasync_hip08.smmu.trace import Trace
from wdasync_hip08.smmu.walk import Wanted

__all__ = ["FaultRecorder"]

PAGE = 4096


class FaultRecorder:
    """Applies the policy of the stage at fault."""

    def __init__(
        self,
        events: EventQueue,
        stalls: StallTable,
        registers: RegisterFile,
        statistics: Statistics,
        trace: Trace,
    ) -> None:
        self.events = events
        self.stalls = stalls
        self.registers = registers
        self.statistics = statistics
        self.trace = trace

    def __repr__(self) -> str:
        return f"<FaultRecorder {self.statistics.faults} faults>"

    def conclude(self, access: Access, fault: Fault, wanted: Wanted) -> Faulted | Parked:
        """End or park ``access``; ``wanted`` is what it is after the overrides of the STE."""
        self.statistics.faults += 1
        record = event_of(access, fault, wanted)
        blame = fault.blame
        if blame is not None and blame.policy.stall and fault.event in STALLABLE:
            return self._park(access, fault, blame, record)
        policy = ABORT_AND_RECORD if blame is None else blame.policy
        recorded = policy.record and self.is_recorded(fault)
        if recorded:
            self.events.post(record)
        self.trace("fault", {"access": access, "record": record, "recorded": recorded, "why": fault.why})
        return Faulted(
            fault.event,
            record if recorded else None,
            recorded,
            None if blame is None else blame.stage,
            None if blame is None else blame.fault_class,
            fault.level,
            BusResponse.ABORT if policy.abort else BusResponse.RAZ_WI,
        )

    def _park(self, access: Access, fault: Fault, blame: Blame, record: EventRecord) -> Parked:
        record.stall = 1
        stall = self.stalls.park(access, record)
        self.trace("stall", {"stall": stall, "why": fault.why})
        return Parked(stall, fault.event, record, blame.stage, blame.fault_class, fault.level)

    def is_recorded(self, fault: Fault) -> bool:
        """CR2.RECINVSID says whether unknown StreamIDs are worth a record."""
        return fault.event is not EventCode.C_BAD_STREAMID or bool(self.registers.fields("CR2")["RECINVSID"])

    def record_only(self, access: Access, fault: Fault) -> None:
        """Record the fault of something that is no ordinary access."""
        if self.is_recorded(fault):
            self.events.post(event_of(access, fault, Wanted(access.op, access.privileged)))


def event_of(access: Access, fault: Fault, wanted: Wanted) -> EventRecord:
    """The record of ``fault``; which of its fields are written depends on the event."""
    record = EventRecord(
        code=fault.event,
        sid=access.sid,
        ssid=fault.ssid if fault.ssid is not None else access.ssid,
        pnu=int(wanted.privileged),
        ind=int(wanted.op == "X"),
        rnw=int(wanted.op != "W"),
        ttrnw=fault.ttrnw,
        input_address=access.va,
        fetch_address=fault.fetch_address,
    )
    if fault.blame is not None:
        record.s2 = int(fault.blame.stage == 2)
        record.fault_class = fault.blame.fault_class
        record.ipa = fault.blame.ipa & -PAGE
    return record
