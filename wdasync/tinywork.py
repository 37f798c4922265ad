"""Tiny work: what takes the event loop less time than to send it away would.

A hop to a worker costs the loop's thread some 10 µs: an operation object, a slot, a submission, a wake-up, a completion. A digest
of 1 KiB takes 1 µs. So it is done at once, also while much is in flight, and without an operation, if the device has a way for
that. It counts for the budget of the loop's turn; when that is spent, each who has something done lets all others go first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from . import forks
from .backend import TinyWork as Able
from .dispatch import LaneState
from .errors import WdasyncError
from .operations import Digest, Kind, Open, Operation, Priority, Seal
from .scheduling import Reason

if TYPE_CHECKING:
    from .backend import Tiny
    from .dispatch import Lane
    from .eventloop import EventLoop
    from .execution import Execution
    from .operations import Key
    from .scheduling import Place, Schedule

__all__ = ["TinyWork"]

_DIGEST: Final = Kind.DIGEST
_OPEN: Final = LaneState.OPEN
_INLINE: Final = Reason.INLINE

#: Bytes of the longest: what is longer can be given to a worker while Python's lock is free.
MOST: Final = 16 << 10


class _Way:
    """How tiny work of one kind is done here.

    :ivar most: bytes
    :ivar place: the device
    :ivar lane: where it would go
    """

    __slots__ = ("fixed", "lane", "most", "per_kib", "place", "run")

    def __init__(self, tiny: Tiny, most: int, place: Place, lane: Lane) -> None:
        self.run, self.fixed, self.per_kib = tiny
        self.most = most
        self.place = place
        self.lane = lane


class TinyWork:
    """The tiny work of one accelerator. Its methods are given the execution each time: neither holds the other.

    :param limit: nanoseconds of the longest; 0: there is none
    :ivar asks: :meth:`pause` is to be awaited after each; else it need be only when the budget is spent
    """

    def __init__(self, loop: EventLoop, schedule: Schedule, limit: int) -> None:
        self.asks = loop.level_cancellation
        self._is_current = loop.is_current
        self._schedule = schedule
        self._limit = limit
        self._ways: dict[tuple[Kind, str], _Way | None] = {}
        schedule.on_forget.append(self._ways.clear)

    # Both of these are short ways without calls: a call costs a tenth of the whole.

    def digest(self, execution: Execution, algorithm: str, data: object) -> bytes | None:
        """A digest; ``None``: it has to go the usual way."""
        try:
            way = self._ways[_DIGEST, algorithm]
        except KeyError:
            way = self._find(Digest(b"", algorithm))
        if way is None or type(data) is not bytes or len(data) > way.most:
            return None
        lane = way.lane
        if (
            lane.state is not _OPEN
            or not execution.open
            or execution.generation != forks.generation
            or not self._is_current()
        ):
            return None
        output = way.run(data)
        if output is not None:
            execution.inline_left -= way.fixed + (len(data) * way.per_kib >> 10)
            if not execution.inline_counting:
                execution.count_inline()
            execution.reasons[_INLINE] += 1
            lane.ran_inline += 1
        return output

    def seal(
        self,
        execution: Execution,
        kind: Kind,
        key: Key,
        algorithm: str,
        nonce: object,
        data: object,
        aad: object,
    ) -> bytes | None:
        """Encrypt and authenticate, or check and decrypt, with a tag of 16 bytes; ``None``: it has to go the usual way."""
        try:
            way = self._ways[kind, algorithm]
        except KeyError:
            way = self._find((Seal if kind is Kind.SEAL else Open)(key, b"", b"", algorithm))
        if way is None or type(data) is not bytes or type(aad) is not bytes or key.revoked:
            return None
        lane, place, size = way.lane, way.place, len(data) + len(aad)
        if size > way.most or lane.state is not _OPEN or not execution.open:
            return None
        if execution.generation != forks.generation or not self._is_current():
            return None
        session = key.known(place.device, algorithm, place.losses)
        if session is None:
            return None
        output = way.run(session, nonce, data, aad)
        if output is not None:
            execution.inline_left -= way.fixed + (size * way.per_kib >> 10)
            if not execution.inline_counting:
                execution.count_inline()
            execution.reasons[_INLINE] += 1
            lane.ran_inline += 1
        return output

    async def pause(self, execution: Execution) -> None:
        """After tiny work: who was cancelled hears of it; and the others run, if this turn had enough of such work."""
        if execution.inline_left > 0:
            await execution.loop.checkpoint_if_cancelled()
        else:
            await execution.loop.checkpoint()

    def _find(self, probe: Operation) -> _Way | None:
        """How it is done, if it ever is; remembered as long as its route."""
        try:
            route = self._schedule.route(probe, Priority.NORMAL)
        except WdasyncError:
            return None  # the usual way says why
        lane = route.lane or route.quick(0)
        if lane is None:
            return None  # it is not open yet, or is chosen each time
        way = self._ways[probe.kind, probe.algorithm] = self._way(probe, lane)
        return way

    def _way(self, probe: Operation, lane: Lane) -> _Way | None:
        schedule, inline = self._schedule, lane.inline
        if not isinstance(inline, Able) or schedule.ruled:
            return None
        tiny = inline.tiny(probe.kind, probe.algorithm)
        if tiny is None or tiny.fixed >= self._limit:
            return None
        place = schedule.place_of(lane)
        most = [(self._limit - tiny.fixed << 10) // max(1, tiny.per_kib), MOST]
        row = place.rows[probe.kind, probe.algorithm]
        if row.max_input is not None:
            most.append(row.max_input)
        return _Way(tiny, min(most), place, lane)
