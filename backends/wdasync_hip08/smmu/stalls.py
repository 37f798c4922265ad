"""Accesses that wait: the life of a stall, from the fault to its verdict. (IHI 0070, 3.12.2, 4.7.1, 4.7.2, 7.2.1.)

A fault under the stall policy is not an end: the access waits inside the SMMU, a record with a 16-bit stall tag
(STAG) goes to the event queue, and software answers with RESUME. Three scarce things lie on that way: tags (software
is promised that it never sees more than STALL_MAX unanswered records), the share of one address space in them (the
quota, which is ours: without it one process that faults slowly holds up all others), and room in the event queue.
A stall waits for each of them in turn, and no stall is ever dropped. Shares are counted for each (StreamID,
SubstreamID): the same SubstreamID of two streams need not be one address space.

Where there is a quota, the last quarter of the tags is for address spaces that hold none: so several slow ones
together, or one with a large quota, do not hold up all others either, as long as there are fewer of them than tags.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from wdasync_hip08.smmu.access import Access
from wdasync_hip08.smmu.events import EventRecord
from wdasync_hip08.smmu.regime import Tag
from wdasync_hip08.smmu.statistics import Statistics
from wdasync_hip08.smmu.trace import Trace

__all__ = ["Stall", "StallError", "StallState", "StallTable", "Verdict"]

STAGS = 1 << 16


class StallState(enum.Enum):
    """Where a parked access is."""

    WAITING = "waiting"  #: for a stall tag
    HELD = "held"  #: for room in the event queue
    RECORDED = "recorded"  #: for software
    RESUMED = "resumed"  #: for its owner to take note


class Verdict(enum.Enum):
    """What became of a parked access."""

    RETRY = "retry"
    ABORT = "abort"
    TERMINATE = "terminate"  #: a read gives zero, a write is ignored


#: Which state follows which; nothing follows RESUMED.
TRANSITIONS: dict[StallState, frozenset[StallState]] = {
    StallState.WAITING: frozenset({StallState.HELD, StallState.RESUMED}),
    StallState.HELD: frozenset({StallState.RECORDED, StallState.RESUMED}),
    StallState.RECORDED: frozenset({StallState.RESUMED}),
    StallState.RESUMED: frozenset(),
}


class StallError(Exception):
    """A stall was to go from one state to another that cannot follow it: a bug in the model."""


@dataclass(slots=True, eq=False)
class Stall:
    """One parked access.

    :ivar record: the event that describes it; its ``stag`` is filled in with the tag
    :ivar tag: whose translations it needs; ``None``: unknown
    :ivar stag: stall tag, ``None`` while WAITING
    :ivar stale: it was invalidated before its record was written; the record must not appear any more
    :ivar verdict: once RESUMED
    """

    access: Access
    record: EventRecord
    tag: Tag | None = None
    state: StallState = StallState.WAITING
    stag: int | None = None
    stale: bool = False
    verdict: Verdict | None = None

    def enter(self, state: StallState) -> None:
        """Change the state.

        :raises StallError: ``state`` cannot follow the present one
        """
        if state not in TRANSITIONS[self.state]:
            raise StallError(f"{self!r} cannot become {state.value}")
        self.state = state

    def __repr__(self) -> str:
        tag = "-" if self.stag is None else f"{self.stag:#x}"
        verdict = "" if self.verdict is None else f" {self.verdict.value}"
        where = f"sid={self.access.sid:#x} ssid={self.access.ssid} va={self.access.va:#x} {self.access.op}"
        return f"<Stall {self.state.value}{verdict} stag={tag} {where}>"


class StallTable:
    """All stalls of one SMMU. ``resumed`` collects those that are over, for the owner of the device.

    :param limit: STALL_MAX
    :param quota: the most tags that one (StreamID, SubstreamID) may hold, or ``None``
    :param record: writes a record into the event queue, or says that it cannot at present
    :param writable: whether the event queue takes records
    """

    def __init__(
        self,
        limit: int,
        quota: int | None,
        record: Callable[[EventRecord], bool],
        writable: Callable[[], bool],
        statistics: Statistics,
        trace: Trace,
    ) -> None:
        self.limit = limit
        self.quota = quota
        self.statistics = statistics
        self.trace = trace
        self.resumed: list[Stall] = []
        self._record = record
        self._writable = writable
        self._tagged: dict[int, Stall] = {}  # HELD and RECORDED, by tag
        self._waiting: list[Stall] = []
        self._shares: Counter[tuple[int, int | None]] = Counter()
        self._next_stag = 0
        self._reserve = 0 if quota is None or limit == 1 else max(1, limit // 4)

    def park(self, access: Access, record: EventRecord) -> Stall:
        """Keep ``access`` until there is a verdict."""
        stall = Stall(access, record)
        self.statistics.stalls += 1
        self._waiting.append(stall)
        self.advance()
        self.statistics.stalls_waiting += stall.state is StallState.WAITING
        return stall

    def advance(self) -> None:
        """Let every stall go as far as tags, quota and event queue allow. Call it when any of those got better."""
        self._retry_stale()
        self._hand_out_tags()
        self._write_records()

    def resume(self, sid: int, stag: int, verdict: Verdict) -> bool:
        """RESUME: matches a recorded stall by tag *and* StreamID; without a match nothing happens, and no error."""
        stall = self._tagged.get(stag)
        if stall is None or stall.access.sid != sid or stall.state is not StallState.RECORDED:
            self.statistics.resume_unmatched += 1
            return False
        self._finish(stall, verdict)
        self.advance()
        return True

    def terminate(self, sid: int | None = None) -> None:
        """STALL_TERM: abort every stall of a stream, reported or not; of all streams where none is given."""
        for stall in self.pending():
            if sid is None or stall.access.sid == sid:
                self._finish(stall, Verdict.ABORT)
        self.advance()

    def invalidated(self, concerned: Callable[[Access, Tag | None], bool]) -> None:
        """A SYNC has completed invalidations: what they concerned and is not recorded by now must not be recorded as it is.

        :param concerned: whether an access, with the tag of its translations, was
        """
        for stall in self.pending():
            if stall.state is not StallState.RECORDED and not stall.stale:
                stall.stale = concerned(stall.access, stall.tag)
        self.advance()

    def pending(self) -> list[Stall]:
        """Every stall without a verdict, the tagged ones first."""
        return [*self._tagged.values(), *self._waiting]

    def _retry_stale(self) -> None:
        stale = [stall for stall in self.pending() if stall.stale and stall.state is not StallState.RECORDED]
        for stall in stale if stale and self._writable() else ():
            self.statistics.stalls_stale += 1
            self._finish(stall, Verdict.RETRY)

    def _hand_out_tags(self) -> None:
        for stall in list(self._waiting):
            if len(self._tagged) >= self.limit:
                return
            key = (stall.access.sid, stall.access.ssid)
            if self._shares[key] >= self._allowed():
                continue  # Others overtake it.
            self._waiting.remove(stall)
            self._shares[key] += 1
            stall.stag = stall.record.stag = self._free_stag()
            self._tagged[stall.stag] = stall
            stall.enter(StallState.HELD)

    def _allowed(self) -> int:
        """Tags that one address space may hold at present."""
        if self.quota is None:
            return self.limit
        return self.quota if len(self._tagged) < self.limit - self._reserve else 1

    def _free_stag(self) -> int:
        """A tag that is not in use. Tags go round, so a tag is not soon used again."""
        while self._next_stag in self._tagged:
            self._next_stag = (self._next_stag + 1) % STAGS
        stag = self._next_stag
        self._next_stag = (stag + 1) % STAGS
        return stag

    def _write_records(self) -> None:
        for stall in self._tagged.values():
            if stall.state is StallState.HELD:
                if not self._record(stall.record):
                    return
                stall.enter(StallState.RECORDED)
                self.statistics.stalls_recorded += 1

    def _finish(self, stall: Stall, verdict: Verdict) -> None:
        stall.enter(StallState.RESUMED)
        stall.verdict = verdict
        if stall.stag is None:
            self._waiting.remove(stall)
        else:
            del self._tagged[stall.stag]
            key = (stall.access.sid, stall.access.ssid)
            self._shares[key] -= 1
            if not self._shares[key]:
                del self._shares[key]
        match verdict:
            case Verdict.RETRY:
                self.statistics.resumed_retry += 1
            case Verdict.ABORT:
                self.statistics.resumed_abort += 1
            case Verdict.TERMINATE:
                self.statistics.resumed_terminate += 1
        self.resumed.append(stall)
        self.trace("resumed", {"stall": stall})

    def __len__(self) -> int:
        return len(self._tagged) + len(self._waiting)

    def __repr__(self) -> str:
        states = Counter(stall.state.value for stall in self.pending())
        shown = ", ".join(f"{count} {state}" for state, count in states.items()) or "none"
        return f"<StallTable {shown}; limit {self.limit}, quota {self.quota}>"
