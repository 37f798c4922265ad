"""The PRI queue, and the answers that the SMMU gives by itself. (IHI 0070, chapter 8.)

Not the rules of the event queue: after an overflow *nothing* is written until software has acknowledged it, even if
there is room. Requests that cannot be queued are answered automatically, because an endpoint waits for an answer
to each group: with Success after an overflow, so that it asks again later, with Failure where nobody is listening.
"""

from __future__ import annotations

from collections.abc import Callable

from wdasync_hip08.smmu.bus import BusError
from wdasync_hip08.smmu.commands import Command
from wdasync_hip08.smmu.faults import Fault
from wdasync_hip08.smmu.pri import PageRequest, PageResponse, ResponseCode
from wdasync_hip08.smmu.profile import Profile
from wdasync_hip08.smmu.queues import Queue
from wdasync_hip08.smmu.registers import PRIQEN, SMMUEN, RegisterFile
from wdasync_hip08.smmu.signals import GlobalError, Interrupt, Signals
from wdasync_hip08.smmu.statistics import Statistics
from wdasync_hip08.smmu.stream_table_entry import StreamTableEntry

__all__ = ["PriQueue"]

OVERFLOW = 1 << 31
LAST_ONLY = 1 << 31
#: CMD_PRI_RESP.Resp to the code on PCIe; 3 is an illegal command.
RESPONSES = {0: ResponseCode.FAILURE, 1: ResponseCode.INVALID, 2: ResponseCode.SUCCESS}


class PriQueue:
    """Queues page requests for software; ``responses`` collects what goes back to the endpoints.

    :param find_stream: gives the STE of a StreamID or raises :class:`Fault`
    :param record: records the fault of an STE that could not be used, as CR2.REC_CFG_ATS allows
    """

    def __init__(
        self,
        queue: Queue,
        profile: Profile,
        registers: RegisterFile,
        signals: Signals,
        statistics: Statistics,
        find_stream: Callable[[int], StreamTableEntry],
        record: Callable[[int, Fault], None],
    ) -> None:
        self.queue = queue
        self.profile = profile
        self.registers = registers
        self.signals = signals
        self.statistics = statistics
        self.responses: list[PageResponse] = []
        self._find_stream = find_stream
        self._record = record

    def request(self, request: PageRequest) -> None:
        """A page request or a stop marker arrives from an endpoint."""
        self.statistics.page_requests += 1
        if not self._listening():
            self._discard(request, ResponseCode.FAILURE, every=True)
            return
        if self.queue.full and not self._overflowing():
            self.registers["PRIQ_PROD"] ^= OVERFLOW
            self.signals.interrupt(Interrupt.PRIQ)
        if self._overflowing():
            self._discard(request, ResponseCode.SUCCESS, every=False)
            self._interrupt_on_last(request)
            return
        self._write(request)

    def respond(self, command: Command) -> None:
        """PRI_RESP: software's answer to a group."""
        ssid = command.ssid if command.ssv else None
        self._answer(PageResponse(command.sid, ssid, command.prg, RESPONSES[command.resp]))

    def _listening(self) -> bool:
        enabled = self.registers["CR0"] & (SMMUEN | PRIQEN) == SMMUEN | PRIQEN
        return enabled and self.profile.pri and not self.signals.active(GlobalError.PRIQ_ABT_ERR)

    def _overflowing(self) -> bool:
        return bool((self.registers["PRIQ_PROD"] ^ self.registers["PRIQ_CONS"]) & OVERFLOW)

    def _write(self, request: PageRequest) -> None:
        was_empty = self.queue.empty
        try:
            self.queue.write(request.pack())
        except BusError:
            self.signals.activate(GlobalError.PRIQ_ABT_ERR)
            self._discard(request, ResponseCode.FAILURE, every=True)
            return
        if was_empty and not self.registers["PRIQ_IRQ_CFG2"] & LAST_ONLY:
            self.signals.interrupt(Interrupt.PRIQ)
        self._interrupt_on_last(request)

    def _interrupt_on_last(self, request: PageRequest) -> None:
        if request.last and self.registers["PRIQ_IRQ_CFG2"] & LAST_ONLY:
            self.signals.interrupt(Interrupt.PRIQ)

    def _discard(self, request: PageRequest, code: ResponseCode, *, every: bool) -> None:
        """Forget a request. ``every`` request is answered, or only the last one of its group."""
        self.statistics.page_requests_dropped += 1
        if request.stop_marker or not (every or request.last):
            return
        ssid = None
        if code is ResponseCode.SUCCESS and request.ssid is not None:
            code, ssid = self._overflow_answer(request.sid, request.ssid)
        self._answer(PageResponse(request.sid, ssid, request.prg, code, automatic=True))

    def _overflow_answer(self, sid: int, ssid: int) -> tuple[ResponseCode, int | None]:
        """Some endpoints want the PASID back in the answer: STE.PPAR says so, unless the SMMU always gives it."""
        if self.profile.pps:
            return ResponseCode.SUCCESS, ssid
        try:
            ste = self._find_stream(sid)
        except Fault as fault:
            self._record(sid, fault)
            return ResponseCode.FAILURE, None
        return ResponseCode.SUCCESS, ssid if ste.ppar else None

    def _answer(self, response: PageResponse) -> None:
        self.statistics.page_responses += 1
        self.responses.append(response)

    def __repr__(self) -> str:
        return f"<PriQueue {self.queue!r} overflowing={self._overflowing()}>"
