"""Work for several devices, in poll mode: it goes to the best one that can do it, and to the next if that one fails.

The queue is wdasync's own contract, :class:`wdasync.backend.Queue`; there is no event loop and no await between it and the proxy. What a
queue does not take stays here, in order. A device that is lost, or from which nothing comes for ``patience`` seconds though it has work, gets no
more until it is back; what it had goes to the next one as soon as its queues are closed, since until then it may touch their memory.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import product
from typing import Final, Generic, Protocol, TypeVar

from wdasync import BackendUnavailable, Kind, Operation, PolledDevice, Status
from wdasync.backend import Completion, Queue

from .places import Lane, Place, logger

__all__ = ["Job", "Lanes"]

#: After these another device may do what this one did not.
ELSEWHERE: Final = frozenset({Status.DEVICE_ERROR, Status.ABORTED})


class Job(Protocol):
    """Something to be done, by one device or by another."""

    def offer(self, polled: PolledDevice, *, moving: bool) -> Operation | None:
        """The operation for this device; ``None``: it cannot do it. Asked again, for others, if the device failed.

        :param moving: all said no: if it belongs to a device, that one is out of use, or has failed at it
        """


J = TypeVar("J", bound=Job)


class _Flight(Generic[J]):
    """A job on its way.

    :ivar place: the device that has it, or is about to get it
    :ivar lane: its queue
    :ivar tried: devices that have failed at it
    """

    __slots__ = ("job", "lane", "place", "tried")

    place: Place
    lane: Lane

    def __init__(self, job: J) -> None:
        self.job = job
        self.tried: list[Place] = []


class Lanes(Generic[J]):
    """The queues of all devices.

    :param devices: best first
    :param kinds: of operation, for which queues are opened
    :param patience: seconds without a completion, after which a device that has work is given up
    :ivar moved: jobs that went to another device, because theirs failed
    :raises BackendUnavailable: if none of them has a queue to be had
    """

    def __init__(self, devices: Sequence[PolledDevice], kinds: Collection[Kind], patience: float) -> None:
        self.moved = 0
        self._patience = patience
        self._places = _places(devices, kinds)
        self._flights: dict[int, _Flight[J]] = {}
        self._stranded: list[_Flight[J]] = []
        self._ended: list[tuple[J, Completion | None]] = []
        self._tag = 0

    @property
    def devices(self) -> list[PolledDevice]:
        """Those that get work."""
        return [place.polled for place in self._places if place.lanes]

    @property
    def queues(self) -> list[Queue]:
        """Those that are open."""
        return [lane.queue for lane in self._lanes()]

    @property
    def flying(self) -> int:
        """Jobs that a device has, or that wait for one."""
        return len(self._flights) + len(self._stranded)

    @property
    def held(self) -> int:
        """Jobs that wait until a queue takes them."""
        return sum(len(lane.held) for lane in self._lanes())

    @property
    def waiting(self) -> bool:
        """Whether there is something to be done that nothing will wake us for, such as a queue that did not take everything."""
        return bool(self._ended or self._stranded or self.held)

    def put(self, job: J) -> None:
        """A job for the best device that can do it."""
        self._board(_Flight(job))

    def submit(self) -> None:
        """Give the queues what they take."""
        for place in self._places:
            for lane in list(place.lanes.values()):
                if lane.held:
                    lane.give()
            if place.lost:
                self._lose(place, str(place.polled.device.lost))
        if self._stranded:
            self._rescue()

    def reap(self, limit: int) -> list[tuple[J, Completion | None]]:
        """Jobs that have ended, up to a limit, and how; ``None``: no device could do it, or would."""
        for place in self._places:
            for lane in list(place.lanes.values()):
                if lane.flying and (room := limit - len(self._ended)) > 0:
                    for completion in lane.reap(room):
                        self._completed(place, completion)
        ended = self._ended[:limit]
        del self._ended[:limit]
        return ended

    def withdraw(self, job: J) -> bool:
        """Nobody wants it any more. False: a device has it, and it will end."""
        for tag, flight in self._flights.items():
            if flight.job is job:
                if not flight.lane.withdraw(tag):
                    return False
                del self._flights[tag]
                return True
        return False

    def tick(self, now: float) -> bool:
        """Time goes by: devices that are silent are given up, and some come back. Whether there are other devices, or queues, than before."""
        changed = False
        for place in self._places:
            if any(lane.silent(now - self._patience) for lane in place.lanes.values()):
                self._lose(place, f"nothing came of it for {self._patience} s")
            changed |= place.returns()
        return changed

    def close(self) -> None:
        """Before the devices are closed: nobody brings one back any more."""
        for place in self._places:
            place.close()

    # -- the way of a job ---------------------------------------------------------------------------------------

    def _lanes(self) -> list[Lane]:
        return [lane for place in self._places for lane in place.lanes.values()]

    def _board(self, flight: _Flight[J]) -> None:
        # Who is out of use is seen once, and from this loop: what its own thread knows of a device changes at any moment.
        places = [
            place for place in self._places if place.lanes and not place.lost and place not in flight.tried
        ]
        for moving, place in product((False, True), places):
            operation = flight.job.offer(place.polled, moving=moving)
            if operation is not None:
                self._hold(flight, place, operation)
                return
        self._ended.append((flight.job, None))

    def _hold(self, flight: _Flight[J], place: Place, operation: Operation) -> None:
        row = place.polled.device.capabilities.find(operation.kind, operation.algorithm)
        assert row is not None, "a job offers what the device has"
        self._tag = (self._tag + 1) & 0xFFFFFFFF
        self._flights[self._tag] = flight
        flight.place, flight.lane = place, place.lanes[row.queue_class]
        flight.lane.hold(self._tag, operation)

    def _completed(self, place: Place, completion: Completion) -> None:
        flight = self._flights.get(completion.tag)
        if flight is None:
            return  # it is on its way to another device already
        if completion.status not in ELSEWHERE:
            del self._flights[completion.tag]
            self._ended.append((flight.job, completion))
        elif place.lost or completion.status is Status.ABORTED:
            self._lose(place, str(place.polled.device.lost or "its queue was reset"))
        else:
            del self._flights[completion.tag]
            self._elsewhere(flight)

    def _lose(self, place: Place, why: str) -> None:
        """Take what is done, and strand the rest until the queues are closed."""
        for lane in place.lanes.values():
            lane.queue.stop()
            while done := lane.reap(64):
                for completion in done:
                    if completion.status not in ELSEWHERE:
                        self._completed(place, completion)
        place.wind_up(why)
        for tag, flight in list(self._flights.items()):
            if flight.place is place:
                del self._flights[tag]
                self._stranded.append(flight)

    def _rescue(self) -> None:
        """Those whose device touches their memory no more go on."""
        stranded, self._stranded = self._stranded, []
        for flight in stranded:
            if flight.place.winding:  # asked once: its thread may say otherwise at any moment
                self._stranded.append(flight)
            else:
                self._elsewhere(flight)

    def _elsewhere(self, flight: _Flight[J]) -> None:
        flight.tried.append(flight.place)
        self.moved += 1
        self._board(flight)


def _places(devices: Sequence[PolledDevice], kinds: Collection[Kind]) -> list[Place]:
    """Those that have queues; others may use all of one."""
    found: list[Place] = []
    errors: list[BackendUnavailable] = []
    for polled in devices:
        try:
            found.append(Place(polled, kinds))
        except BackendUnavailable as error:
            logger.warning("%s goes without a queue, and others do its work: %s", polled, error)
            errors.append(error)
    if not found:
        raise errors[0]
    return found
