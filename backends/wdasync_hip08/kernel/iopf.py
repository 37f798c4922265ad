"""io-pgfault: page faults of devices, from the event queue to the answer.

A stall record becomes a fault group of one, whose number is the STAG. The default handler does what Linux does: the
address space is alive, the page is granted with this permission, it is brought in, its entry is stored, SUCCESS; else
INVALID. Where the program gave a handler, that is asked first; where the page belongs to memory with a pager, the
pager is awaited. Whose handler? An access is made for an entry, which is in a queue, which somebody has opened: that is
the :class:`Owner` of the fault. Several may share an address space; each is asked in its own event loop. Everything else
is synchronous. An answer that does not come before the deadline is INVALID, and so is an exception.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import anyio
import anyio.lowlevel

from wdasync.errors import PageFaultError
from wdasync.faults import Access, FaultHandler, FaultReporter, FaultResponse, PageFault
from wdasync_hip08.clocks import Timer, Timers
from wdasync_hip08.kernel.iommu import Iommu
from wdasync_hip08.kernel.spaces import Space
from wdasync_hip08.memory import PAGE, PAGE_SHIFT
from wdasync_hip08.smmu.events import EventCode, EventRecord
from wdasync_hip08.tasks import Entry
from wdasync_hip08.trace import Trace
from wdasync_uacce.files import Refusal

__all__ = ["FaultCounters", "FaultHandling", "Owner", "PendingFault"]

log = logging.getLogger(__name__)

#: Only these are offered to a handler: translation, address size, access flag, permission.
RECOVERABLE = frozenset(
    {EventCode.F_TRANSLATION, EventCode.F_ADDR_SIZE, EventCode.F_ACCESS, EventCode.F_PERMISSION}
)


@dataclass(slots=True)
class FaultCounters:
    """Whole numbers; they never go back.

    :ivar taken: stalled accesses that reached the kernel
    :ivar answers: by response
    :ivar paged: faults for which a source was asked for the page
    :ivar handled: asked of the program's handler
    :ivar expired: answered INVALID because of the deadline
    :ivar failed: answered INVALID because the handler or pager raised
    :ivar other_events: records that are no page faults, by event code
    :ivar latency: answers by power of two of microseconds: key n counts those below 2**n µs
    """

    taken: int = 0
    answers: Counter[FaultResponse] = field(default_factory=Counter)
    paged: int = 0
    handled: int = 0
    expired: int = 0
    failed: int = 0
    other_events: Counter[EventCode] = field(default_factory=Counter)
    latency: Counter[int] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, int]:
        """All of them by name; of what is counted by sort, the sorts that have occurred."""
        named = {
            f"page_faults_{name}": getattr(self, name)
            for name in ("taken", "paged", "handled", "expired", "failed")
        }
        named |= {
            f"page_faults_{response.name.lower()}": count for response, count in sorted(self.answers.items())
        }
        named |= {
            f"page_faults_below_{1 << power}_us": count for power, count in sorted(self.latency.items())
        }
        return named | self.events()

    def events(self) -> dict[str, int]:
        """The records that are no page faults, by name."""
        return {f"event_{code.name.lower()}": count for code, count in sorted(self.other_events.items())}


class Owner:
    """Who has opened queues and answers for their faults. Tasks and reports are for the thread of its event loop.

    :param handler: is asked of each fault
    :param reporter: is told of each answer

    :ivar counters: of its faults
    """

    def __init__(self, handler: FaultHandler | None = None, reporter: FaultReporter | None = None) -> None:
        self.handler = handler
        self.reporter = reporter
        self.counters = FaultCounters()
        #: Faults whose answer needs a task, not yet taken up by one.
        self.waiting: deque[PendingFault] = deque()
        self._reports: deque[PageFault] = deque()
        #: Faults that were answered over the head of their task.
        self._expired: deque[PendingFault] = deque()

    def wake(self) -> None:
        """There is something to do. In any thread."""

    def ask(self, fault: PendingFault) -> None:
        """A fault of its needs a task."""
        self.waiting.append(fault)
        self.wake()

    def answered(self, fault: PageFault) -> None:
        """A fault of its was answered."""
        if self.reporter is not None:
            self._reports.append(fault)
            self.wake()

    def overtaken(self, fault: PendingFault) -> None:
        """A fault of its was answered without its task. This may be any thread; the task can only be cancelled in its own."""
        self._expired.append(fault)
        self.wake()

    def report(self) -> None:
        """Tell the reporter of answered faults; outside the chip's lock."""
        while self._reports and self.reporter is not None:
            self.reporter(self._reports.popleft())

    def next_waiting(self) -> PendingFault | None:
        """A fault that needs a task, the oldest first."""
        while self.waiting:
            fault = self.waiting.popleft()
            if not fault.answered:
                return fault
        return None

    @property
    def needs_service(self) -> bool:
        """There are faults, or the tasks of faults that were answered without them."""
        return bool(self.waiting or self._expired)

    def cancel_expired(self) -> None:
        """Cancel the tasks whose faults were answered without them."""
        while self._expired:
            scope = self._expired.popleft().scope
            if scope is not None:
                scope.cancel()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}, {len(self.waiting)} faults waiting, {self.counters.taken} taken>"


@dataclass(slots=True, eq=False)
class PendingFault:
    """One stalled access that has no answer yet.

    :ivar space: the space of its PASID; ``None``: the PASID is not bound any more
    :ivar owner: of the queue that it was made for; ``None``: that was reset meanwhile
    :ivar entry: what it was made for, where it is known
    :ivar populating: a thread is bringing its page in
    """

    sid: int
    pasid: int | None
    stag: int
    address: int
    access: Access
    space: Space | None
    since: float
    entry: Entry | None = None
    owner: Owner | None = None
    timer: Timer | None = None
    scope: anyio.CancelScope | None = None
    populating: bool = False
    answered: bool = False

    @property
    def vpn(self) -> int:
        """Virtual page."""
        return self.address >> PAGE_SHIFT

    def __repr__(self) -> str:
        state = "answered" if self.answered else "pending"
        return f"<PendingFault STAG {self.stag:#x} PASID {self.pasid} {self.access.name} {self.address:#x} {state}>"


class FaultHandling:
    """Answers the faults of one machine.

    :param devices: their names for reports, by StreamID
    :param lock: the chip's
    :param deadline: seconds that a handler may take; ``None``: for ever, as upstream Linux
    :param entry_of: the entry whose access bears this STAG
    :param owner_of: whose queue an entry is in
    :param elsewhere: does a job in another thread, where that is called for, and tells the owner; False: it is to be done
        here
    """

    def __init__(
        self,
        iommu: Iommu,
        timers: Timers,
        spaces: dict[int, Space],
        trace: Trace,
        lock: AbstractContextManager[object],
        *,
        devices: Mapping[int, str],
        deadline: float | None,
        entry_of: Callable[[int], Entry | None],
        owner_of: Callable[[Entry], Owner | None],
        elsewhere: Callable[[Callable[[], object], Owner | None], bool],
    ) -> None:
        self.counters = FaultCounters()
        self.pending: dict[tuple[int, int], PendingFault] = {}
        self._iommu = iommu
        self._timers = timers
        self._spaces = spaces
        self._trace = trace
        self._lock = lock
        self._devices = devices
        self._deadline = deadline
        self._entry_of = entry_of
        #: Entries for which nobody waits any more.
        self._given_up: set[Entry] = set()
        #: Why the program gave no page.
        self._refusals: dict[Entry, Refusal] = {}
        self._owner_of = owner_of
        self._elsewhere = elsewhere

    # From the event queue

    def drain_events(self) -> int:
        """Read the event queue and take up its faults; how many records there were."""
        records = self._iommu.read_events()
        for record in records:
            if record.code in RECOVERABLE and record.stall and not record.s2:
                self._take(record)
            else:
                self.counters.other_events[record.code] += 1
                self._trace.instant("smmu", record.code.name, address=record.input_address, pasid=record.ssid)
                log.debug("SMMU event: %r", record)
        return len(records)

    def _take(self, record: EventRecord) -> None:
        fault = PendingFault(
            record.sid,
            record.ssid,
            record.stag,
            record.input_address,
            _access(record),
            self._spaces.get(record.ssid) if record.ssid is not None else None,
            self._timers.clock.now(),
        )
        fault.entry = self._entry_of(fault.stag)
        fault.owner = self._owner_of(fault.entry) if fault.entry is not None else None
        for counters in self._counters(fault):
            counters.taken += 1
        self.pending[fault.sid, fault.stag] = fault
        self._trace.begin(
            "kernel",
            "page fault",
            fault.stag,
            address=fault.address,
            pasid=fault.pasid,
            access=fault.access.name,
        )
        if fault.owner is not None and self._needs_task(fault, fault.owner):
            if fault.entry in self._given_up:
                self.answer(fault, FaultResponse.INVALID)
                return
            if self._deadline is not None:
                fault.timer = self._timers.after(self._deadline, lambda: self._expire(fault))
            fault.owner.ask(fault)
        elif not self._populate_elsewhere(fault):
            self.answer(fault, self._default(fault))

    def _counters(self, fault: PendingFault) -> tuple[FaultCounters, ...]:
        """Where a fault is counted: in the machine, and for its owner."""
        return (self.counters,) if fault.owner is None else (self.counters, fault.owner.counters)

    def _populate_elsewhere(self, fault: PendingFault) -> bool:
        """A page that is absent may have to be read from a disk, for which no event loop may wait."""
        populate = fault.space.populating(fault.vpn, Access.WRITE in fault.access) if fault.space else None
        if populate is None:
            return False

        def job() -> None:
            populate()
            with self._lock:
                if not fault.answered:
                    self.answer(fault, self._default(fault))

        fault.populating = self._elsewhere(job, fault.owner)
        return fault.populating

    @staticmethod
    def _needs_task(fault: PendingFault, owner: Owner) -> bool:
        space = fault.space
        if space is None or not space.alive:
            return False
        return owner.handler is not None or space.awaits(fault.vpn) is not None

    def _default(self, fault: PendingFault) -> FaultResponse:
        space = fault.space
        if space is None or Access.EXECUTE in fault.access:
            return FaultResponse.INVALID
        write = Access.WRITE in fault.access
        return FaultResponse.SUCCESS if space.resolve(fault.vpn, write) else FaultResponse.INVALID

    # Answers

    def answer(self, fault: PendingFault, response: FaultResponse) -> bool:
        """Resume the access; False: it was answered before."""
        if fault.answered:
            return False
        fault.answered = True
        if fault.timer is not None:
            fault.timer.cancel()
        del self.pending[fault.sid, fault.stag]
        latency = self._timers.clock.now() - fault.since
        for counters in self._counters(fault):
            counters.answers[response] += 1
            counters.latency[int(latency * 1e6).bit_length()] += 1
        if fault.space is not None:
            fault.space.faults += 1
        self._trace.end("kernel", "page fault", fault.stag, response=response.name)
        if fault.owner is not None:
            fault.owner.answered(self._public(fault)._replace(response=response, latency=latency))
        self._iommu.resume(fault.sid, fault.stag, retry=response is FaultResponse.SUCCESS)
        return True

    def _expire(self, fault: PendingFault) -> None:
        if not fault.answered:
            for counters in self._counters(fault):
                counters.expired += 1
            self._refuse(
                fault, f"no answer to a page fault within {self._deadline:g} s; raise fault_deadline"
            )
            self._end(fault)

    def _refuse(self, fault: PendingFault, why: str, raised: BaseException | None = None) -> None:
        if fault.entry is not None:
            self._refusals[fault.entry] = Refusal(f"page fault at {fault.address:#x} refused: {why}", raised)

    def give_up(self, entry: Entry) -> None:
        """Nobody waits for an entry any more: its faults are answered INVALID, and the program is asked for no more."""
        self._given_up.add(entry)
        for fault in [fault for fault in self.pending.values() if fault.entry == entry]:
            self._end(fault)

    def refusal(self, entry: Entry) -> Refusal | None:
        """Why the program gave an entry no page; empty: it did not say."""
        return self._refusals.get(entry)

    def forget(self, stream: int, queue: int, slot: int | None = None) -> None:
        """An entry is complete, or all of a queue: what was noted about it is of no more use."""
        for entry in [*self._given_up, *self._refusals]:
            if entry[:2] == (stream, queue) and slot in (None, entry[2]):
                self._given_up.discard(entry)
                self._refusals.pop(entry, None)

    def of_queue(self, stream: int, queue: int) -> list[PendingFault]:
        """What is pending for entries of a queue."""
        return [
            fault
            for fault in self.pending.values()
            if fault.entry is not None and fault.entry[:2] == (stream, queue)
        ]

    def flush_queue(self, stream: int, queue: int) -> None:
        """A queue was taken away from the chip: what is pending for it is answered INVALID, and what was noted is of no use."""
        for fault in self.of_queue(stream, queue):
            self._end(fault)
        self.forget(stream, queue)

    def flush(self, stream: int, pasid: int) -> int:
        """Answer INVALID to all that is pending of a function for a PASID, which it is about to lose; how many."""
        faults = [fault for fault in self.pending.values() if (fault.sid, fault.pasid) == (stream, pasid)]
        for fault in faults:
            self._end(fault)
        return len(faults)

    def _end(self, fault: PendingFault) -> None:
        self.answer(fault, FaultResponse.INVALID)
        if fault.owner is not None:
            fault.owner.overtaken(fault)

    def _public(self, fault: PendingFault) -> PageFault:
        return PageFault(self._devices[fault.sid], fault.address, fault.access, fault.pasid, fault.stag, PAGE)

    # Tasks

    async def handle(self, fault: PendingFault) -> None:
        """Find the answer to one fault: the program's handler, the pager, then the kernel's own part."""
        response = FaultResponse.INVALID
        if fault.answered:
            return
        with anyio.CancelScope() as fault.scope:
            try:
                response = await self._ask(fault)
                if response is FaultResponse.SUCCESS:
                    response = await self._supply(fault)
            except BaseException as error:  # whatever it is, other faults are still to be answered
                response = FaultResponse.INVALID
                if isinstance(error, anyio.get_cancelled_exc_class()):
                    # Of this task, which then ends; or of something that the handler waits for, which is one more refusal.
                    await anyio.lowlevel.checkpoint_if_cancelled()
                for counters in self._counters(fault):
                    counters.failed += 1
                own = isinstance(error, PageFaultError)  # the words of a pager, or about it
                words = f"the handler raised {type(error).__name__}: {error}".removesuffix(": ")
                why = str(error) if own else words
                self._refuse(fault, why, error.__cause__ if own else error)
                log.warning(
                    "page fault at %#x: answered INVALID, as the handler raised", fault.address, exc_info=True
                )
            finally:
                # A cancellation is an answer too: INVALID.
                with self._lock:
                    if not fault.answered:
                        self.answer(
                            fault, self._default(fault) if response is FaultResponse.SUCCESS else response
                        )

    async def _ask(self, fault: PendingFault) -> FaultResponse:
        handler = fault.owner.handler if fault.owner is not None else None
        if handler is None:
            return FaultResponse.SUCCESS
        for counters in self._counters(fault):
            counters.handled += 1
        return FaultResponse(await handler(self._public(fault)))

    async def _supply(self, fault: PendingFault) -> FaultResponse:
        area = fault.space.awaits(fault.vpn) if fault.space is not None else None
        if area is not None and area.source is not None:
            await area.source.fetch(area.number(fault.vpn))
            for counters in self._counters(fault):
                counters.paged += 1
        return FaultResponse.SUCCESS

    def abandon(self, owner: Owner) -> None:
        """An owner runs tasks no more: what waits for one is answered INVALID."""
        while (fault := owner.next_waiting()) is not None:
            self.answer(fault, FaultResponse.INVALID)

    def __repr__(self) -> str:
        return f"<FaultHandling {len(self.pending)} pending, {self.counters.taken} taken, {dict(self.counters.answers)}>"


def _access(record: EventRecord) -> Access:
    if record.ind:
        return Access.EXECUTE
    return Access.READ if record.rnw else Access.WRITE
