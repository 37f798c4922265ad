"""ATS: endpoints that keep translations themselves. (IHI 0070, 3.9.1.)

An endpoint asks for a translation, keeps it, and then sends accesses that are translated already. Where ordinary
accesses fault, a translation request is told "no access": what to do about it is the endpoint's affair (PRI).

A request is answered from the TLB like any access. So the order of invalidation matters: an endpoint that is told
first may ask again and get the old translation.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from wdasync_hip08.smmu.access import AbortedSilently, Access, Op, Outcome, Translated
from wdasync_hip08.smmu.configuration import Configuration
from wdasync_hip08.smmu.events import STALLABLE, EventCode, FaultClass
from wdasync_hip08.smmu.fault_recorder import FaultRecorder
from wdasync_hip08.smmu.faults import ABORT_AND_RECORD, Blame, Fault
from wdasync_hip08.smmu.permissions import needed
from wdasync_hip08.smmu.registers import ATSCHK, SMMUEN, RegisterFile
from wdasync_hip08.smmu.stream_table_entry import Config, StreamTableEntry
from wdasync_hip08.smmu.translator import Translator
from wdasync_hip08.smmu.walk import Mapping, Walker, Wanted

__all__ = ["AtsCompletion", "AtsPort", "AtsRequest", "AtsStatus"]

SMALLEST = 4096
"""Bytes that a completion covers where nothing is mapped."""


class AtsStatus(enum.Enum):
    """How a translation request ended."""

    SUCCESS = "success"
    UNSUPPORTED = "UR"  #: this function must not ask
    ABORT = "CA"  #: the configuration is wrong


@dataclass(slots=True)
class AtsRequest:
    """A request for the translation of ``va``.

    :ivar no_write: the endpoint promises not to write; otherwise a clean page is made dirty now
    :ivar execute: it wants to fetch instructions
    """

    sid: int
    ssid: int | None
    va: int
    no_write: bool = False
    execute: bool = False
    privileged: bool = False


@dataclass(slots=True)
class AtsCompletion:
    """The answer: ``size`` bytes from ``address``, which is physical, or intermediate with split stages.

    :ivar read: and ``write``, ``execute``: what is granted; nothing, where ``status`` is not SUCCESS
    """

    status: AtsStatus
    address: int = 0
    size: int = 0
    read: bool = False
    write: bool = False
    execute: bool = False


class AtsPort:
    """Serves translation requests and lets translated accesses pass."""

    def __init__(
        self,
        configuration: Configuration,
        walker: Walker,
        translator: Translator,
        registers: RegisterFile,
        output_bits: int,
        faults: FaultRecorder,
    ) -> None:
        self.configuration = configuration
        self.walker = walker
        self.translator = translator
        self.registers = registers
        self.output_bits = output_bits
        self.faults = faults

    def __repr__(self) -> str:
        check = "checked" if self.registers["CR0"] & ATSCHK else "trusted"
        return f"<AtsPort, translated accesses are {check}>"

    def eats(self, ste: StreamTableEntry) -> int:
        """What the stream may do: 0 nothing, 1 ATS, 2 ATS of the first stage."""
        if ste.config == Config.BYPASS or ste.eats == 3 or not self.configuration.profile.ats:
            return 0
        if ste.eats == 2 and not self.registers["CR0"] & ATSCHK:
            return 0  # Nobody would check that the second stage is applied.
        return ste.eats

    def request(self, request: AtsRequest) -> AtsCompletion:
        """Answer a translation request."""
        access = Access(request.sid, request.ssid, request.va, "R", request.privileged)
        if not self.registers["CR0"] & SMMUEN:
            return self._unsupported(access)
        try:
            ste = self.configuration.stream(request.sid)
            if ste.aborts:
                return AtsCompletion(AtsStatus.UNSUPPORTED)
            eats = self.eats(ste)
            if not eats:
                return self._unsupported(access)
            regime = self.configuration.find(request.sid, request.ssid)
            wanted = Wanted("R" if request.no_write else "W", request.privileged, check=False)
            if eats == 2:
                mapping = self.walker.translate(regime, request.va, wanted, to_ipa=True)
            else:
                mapping, _ = self.translator.find_or_walk(regime, request.va, wanted)
        except Fault as fault:
            if fault.event in STALLABLE:
                return AtsCompletion(AtsStatus.SUCCESS, request.va & -SMALLEST, SMALLEST)
            self.record_configuration_fault(access, fault)
            return AtsCompletion(AtsStatus.ABORT)
        return self._complete(request, mapping)

    def translated(self, access: Access) -> Outcome:
        """An access whose address the endpoint says is translated. SubstreamIDs on it are not looked at."""
        access = Access(access.sid, None, access.va, access.op, False, access.size, access.tag)
        control = self.registers["CR0"]
        if not control & SMMUEN:
            return self._forbid(access)
        if not control & ATSCHK:
            return self._pass(access)
        try:
            ste = self.configuration.stream(access.sid)
        except Fault as fault:
            self.record_configuration_fault(access, fault)
            return AbortedSilently()
        if ste.aborts:
            return AbortedSilently()
        match self.eats(ste):
            case 0:
                return self._forbid(access)
            case 2:
                return self._second_stage(access, ste)
            case _:
                return self._pass(access)

    def record_configuration_fault(self, access: Access, fault: Fault) -> None:
        """ATS and PRI do not report errors of the configuration, unless CR2.REC_CFG_ATS asks for it."""
        if self.registers.fields("CR2")["REC_CFG_ATS"]:
            self.faults.record_only(access, fault)

    def record_page_request_fault(self, sid: int, fault: Fault) -> None:
        """The STE of a page request could not be used."""
        self.record_configuration_fault(Access(sid, None, 0, "R"), fault)

    def _unsupported(self, access: Access) -> AtsCompletion:
        self.faults.record_only(access, Fault(EventCode.F_BAD_ATS_TREQ))
        return AtsCompletion(AtsStatus.UNSUPPORTED)

    def _complete(self, request: AtsRequest, mapping: Mapping) -> AtsCompletion:
        size = max(mapping.size, SMALLEST)

        def granted(op: Op) -> bool:
            return bool(mapping.permissions & needed(op, request.privileged))

        read, write = granted("R"), granted("W") and not request.no_write
        if not read and not write:  # Pages that can only be executed cannot be expressed.
            return AtsCompletion(AtsStatus.SUCCESS, request.va & -SMALLEST, SMALLEST)
        execute = request.execute and granted("X") and read
        return AtsCompletion(AtsStatus.SUCCESS, mapping.pa & -size, size, read, write, execute)

    def _forbid(self, access: Access) -> Outcome:
        return self.faults.conclude(
            access, Fault(EventCode.F_TRANSL_FORBIDDEN), Wanted(access.op, access.privileged)
        )

    def _pass(self, access: Access) -> Outcome:
        if access.va >> self.output_bits:
            return AbortedSilently()
        return Translated(access.va, None)

    def _second_stage(self, access: Access, ste: StreamTableEntry) -> Outcome:
        """Split stages: the endpoint was given an intermediate address."""
        try:
            if access.va >> self.output_bits:
                raise Fault(EventCode.F_ADDR_SIZE, blame=Blame(1, FaultClass.IN, ABORT_AND_RECORD))
            stage2 = self.configuration.second_stage(ste)
            mapping = self.walker.stage2(
                stage2, access.va, Wanted(access.op, access.privileged), FaultClass.IN
            )
        except Fault as fault:
            return self.faults.conclude(access, fault, Wanted(access.op, access.privileged))
        return Translated(mapping.pa, mapping.size, access.va)
