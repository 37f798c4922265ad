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

if TYPE_CHECKING:
    from .backend import KeySession, Tiny
    from .dispatch import Lane
    from .eventloop import EventLoop
    from .execution import Execution
    from .operations import Key
    from .scheduling import Place, Schedule

__all__ = ["Sealing", "TinyWork"]

_OPEN: Final = LaneState.OPEN

#: Bytes of the longest: what is longer can be given to a worker while Python's lock is free.
MOST: Final = 16 << 10


class _Way:
    """How tiny work of one kind is done here.

    :ivar most: bytes
    :ivar place: the device
    :ivar lane: where it would go
    :ivar stale: there are other lanes now, or the device is another one
    """

    __slots__ = ("fixed", "lane", "most", "per_kib", "place", "run", "stale")

    def __init__(self, tiny: Tiny, most: int, place: Place, lane: Lane) -> None:
        self.run, self.fixed, self.per_kib = tiny
        self.most = most
        self.place = place
        self.lane = lane
        self.stale = False


class TinyWork:
    """The tiny work of one accelerator. Its methods are given the execution each time: neither holds the other.

    :param limit: nanoseconds of the longest; 0: there is none
    :ivar asks: :meth:`pause` is to be awaited after each; else it need be only when the budget is spent
    """

    def __init__(self, loop: EventLoop, schedule: Schedule, limit: int) -> None:
        self.asks = loop.level_cancellation
        self.running, self.own = loop.running, loop.own
        self._schedule = schedule
        self._limit = limit
        self._ways: dict[tuple[Kind, str], _Way | None] = {}
        self._digests: dict[str, _Way | None] = {}  # of these
        schedule.on_forget.append(self._forget)

    def _forget(self) -> None:
        for way in self._ways.values():
            if way is not None:
                way.stale = True
        self._ways.clear()
        self._digests.clear()

    # This and Sealing.do() are short ways with hardly a call: one costs a tenth of the whole.

    def digest(self, execution: Execution, algorithm: str, data: object) -> bytes | None:
        """A digest; ``None``: it has to go the usual way."""
        try:
            way = self._digests[algorithm]
        except KeyError:
            way = self.find(Digest(b"", algorithm))
        if way is None or type(data) is not bytes or (size := len(data)) > way.most:
            return None
        if way.lane.state is not _OPEN or not execution.open or self.running() is not self.own:
            return None
        if execution.generation != forks.generation or (output := way.run(data)) is None:
            return None
        execution.inline_left -= way.fixed + (size * way.per_kib >> 10)
        if not execution.inline_counting:
            execution.count_inline()
        way.lane.ran_inline += 1
        return output

    async def pause(self, execution: Execution) -> None:
        """After tiny work: who was cancelled hears of it; and the others run, if this turn had enough of such work."""
        if execution.inline_left > 0:
            await execution.loop.checkpoint_if_cancelled()
        else:
            await execution.loop.checkpoint()

    def find(self, probe: Operation) -> _Way | None:
        """How it is done, if it ever is; remembered as long as its route."""
        at = probe.kind, probe.algorithm
        if at in self._ways:
            return self._ways[at]
        try:
            route = self._schedule.route(probe, Priority.NORMAL)
        except WdasyncError:
            return None  # the usual way says why
        lane = route.lane or route.quick(0)
        if lane is None:
            return None  # it is not open yet, or is chosen each time
        way = self._ways[at] = self._way(probe, lane)
        if probe.kind is Kind.DIGEST:
            self._digests[probe.algorithm] = way
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


class Sealing:
    """The tiny work with one key in one direction: it encrypts and authenticates, or checks and decrypts, with a tag of 16 bytes.

    :param probe: an operation that it saves
    """

    __slots__ = ("_execution", "_key", "_probe", "_session", "_way")

    def __init__(self, execution: Execution, key: Key, probe: Seal | Open) -> None:
        self._execution = execution
        self._key = key
        self._probe = probe
        self._way: _Way | None = None
        self._session: KeySession | None = None

    def do(self, nonce: object, data: object, aad: object) -> bytes | None:
        """The output; ``None``: it has to go the usual way."""
        execution, way = self._execution, self._way
        if way is None or way.stale:
            way = self._find(execution.tiny)
        if way is None or type(data) is not bytes or type(aad) is not bytes:
            return None
        tiny, size = execution.tiny, len(data) + len(aad)
        if size > way.most or way.lane.state is not _OPEN or self._key.revoked or not execution.open:
            return None
        if tiny.running() is not tiny.own or execution.generation != forks.generation:
            return None
        if (output := way.run(self._session, nonce, data, aad)) is None:
            return None
        execution.inline_left -= way.fixed + (size * way.per_kib >> 10)
        if not execution.inline_counting:
            execution.count_inline()
        way.lane.ran_inline += 1
        return output

    def _find(self, tiny: TinyWork) -> _Way | None:
        """How it is done, once the device knows the key: what it knows stays the same until the way is stale, or the key revoked."""
        way = tiny.find(self._probe)
        if way is not None:
            self._session = self._key.known(way.place.device, self._probe.algorithm, way.place.losses)
            self._way = way = None if self._session is None else way
        return way
