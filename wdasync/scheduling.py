"""Which operation goes where, and why.

The policy is data: an ordered list of choices for each kind of operation. First the rules that the user wrote
(``[[policy]]``), then the backends in the order in which they were named or ranked, then the fallback. The first
choice that can do the operation and whose conditions hold takes it. What the choice depends on is of two sorts:

* *fixed* for a (kind, algorithm, level, window, priority): decided once and remembered as a :class:`Route`;
* *changing*: the size of the input, the load, the caller's timeout, a lost device: asked each time.

Each choice has a :class:`Reason`; reasons are counted, and ``execute()`` puts the reason into the result.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Final

from .backend import Capability, Device, Lacking
from .config import Config, Rule
from .dispatch import Lane, LaneState
from .errors import BackendUnavailable, DeviceError, InvalidArgument, UnsupportedOperation, WdasyncError
from .numa import LOCAL
from .operations import Kind, Level, Operation, Priority, check_level, check_window
from .registry import nearest

__all__ = [
    "Candidate",
    "Choice",
    "Chosen",
    "LaneKey",
    "Place",
    "Reason",
    "Route",
    "Schedule",
    "least_loaded",
]


class Reason(enum.IntEnum):
    """Why an operation ran where it ran. Counted in ``statistics().reasons``."""

    #: The first choice took it.
    PREFERRED = 0
    #: It is so small that a hop to a worker would have cost more than the work.
    INLINE = 1
    #: An earlier choice does not take inputs of this size.
    SIZE = 2
    #: An earlier choice, or a nearer device, was too busy.
    LOAD = 3
    #: The caller's timeout is too short for an earlier choice.
    DEADLINE = 4
    #: An earlier choice cannot do this algorithm, level or window, or refused it.
    UNSUPPORTED = 5
    #: A rule of the policy sent it elsewhere for its level, window or priority.
    POLICY = 6
    #: An earlier choice's device is gone.
    DEVICE_LOST = 7
    #: It was tried elsewhere, or here, and failed for no fault of its own.
    RETRY = 8
    #: It belongs to a stream, and a stream stays where it was opened while its device is there.
    STREAM = 9
    #: An earlier choice has no queue: others use them all, or none is to be opened there.
    NO_QUEUE = 10


#: Queue class, priority, and what it is for: nothing in particular, work that a fault handler waits for ("faults"), or
#: work that may wait for a page ("paged"). Completions of a queue are in order, so one that waits holds back the others.
LaneKey = tuple[str, Priority, str]

_NO_LIMIT: Final = sys.maxsize
_OPEN: Final = LaneState.OPEN


def least_loaded(lanes: Sequence[Lane], turn: int) -> Lane | None:
    """Of those that take work now, the one with the smallest part of its slots taken; ``None`` if there is none.

    :param turn: where to begin: of equals the first one counts
    """
    best: Lane | None = None
    least = float("inf")
    count = len(lanes)
    for step in range(count):
        lane = lanes[(turn + step) % count]
        if lane.state is not _OPEN:
            continue
        load = lane.load / lane.depth
        if not load:
            return lane
        if load < least:
            best, least = lane, load
    return best


class Place:
    """An opened device and the lanes to it.

    :param asked: the user named the backend
    :param distance: how far it is, see :mod:`wdasync.numa`
    :param queues: queue class -> how many queues of it are wanted; a class that is not there: one
    :ivar backend: name of the backend
    :ivar device: the device
    :ivar general: it takes operations that no rule gives it
    :ivar lanes: what was opened so far, see :meth:`put`; of a key without a lane, no queue was to be had
    :ivar every: all of them, each once
    :ivar missing: how many queues of a key are wanted that were not to be had, and may be later
    :ivar turn: which of equally loaded lanes is next
    :ivar sharing: keys that, for want of a queue of their own, use the lanes of usual work
    :ivar given_up: why it is not to be used any more, whatever the device says
    :ivar away: it was lost, and has not come back
    :ivar losses: times that it was lost
    :ivar returns: times that it came back
    :ivar attempts: times that it was tried again
    """

    def __init__(
        self,
        backend: str,
        device: Device,
        *,
        general: bool = True,
        asked: bool = False,
        distance: int = LOCAL,
        queues: Mapping[str, int] | None = None,
    ) -> None:
        self.backend = backend
        self.device = device
        self.general = general
        self.asked = asked
        self.distance = distance
        self.lanes: dict[LaneKey, tuple[Lane, ...]] = {}
        self.every: tuple[Lane, ...] = ()
        self.missing: dict[LaneKey, int] = {}
        self.given_up: str | None = None
        self.away = False
        self.losses = self.returns = self.attempts = 0
        self.turn = 0
        self._queues = queues or {}
        self.sharing: set[LaneKey] = set()
        self.rows: dict[tuple[Kind, str], Capability] = {
            (row.kind, row.algorithm): row for row in device.capabilities
        }

    def __repr__(self) -> str:
        return f"<Place {self.name} {len(self.every)} lanes{' lost' if self.lost else ''}>"

    @property
    def name(self) -> str:
        """Backend and device, for people: ``cpu/cpu0``."""
        return f"{self.backend}/{self.device.info.name}"

    def put(self, key: LaneKey, lanes: Iterable[Lane]) -> None:
        """These lanes are for this key, and for no other."""
        self.lanes[key] = tuple(lanes)
        self.every = tuple(lane for lanes in self.lanes.values() for lane in lanes)

    def lanes_of(self, key: LaneKey) -> tuple[Lane, ...]:
        """The lanes that are used for a key: its own, or those of usual work."""
        return self.lanes[key] if key in self.lanes else self.lanes[key[0], Priority.NORMAL, ""]

    def found(self, key: LaneKey) -> None:
        """There is a queue of those that were missing."""
        self.sharing.discard(key)
        self.missing[key] -= 1
        if not self.missing[key]:
            del self.missing[key]

    def wanted(self, key: LaneKey) -> int:
        """How many queues of this key are to be opened. More than one only for what is no special case."""
        queue_class, priority, purpose = key
        usual = self._queues.get(queue_class, 1)
        return usual if priority is Priority.NORMAL and not purpose else min(usual, 1)

    def may_take(self, key: LaneKey) -> bool:
        """Whether it has queues for this key, or may have them later."""
        usual = (key[0], Priority.NORMAL, "")
        return self.lanes.get(usual) != () or usual in self.missing

    @property
    def lost(self) -> str | None:
        """Why nothing can be sent here any more; ``None`` if it can."""
        if (reason := self.device.lost or self.given_up) is not None:
            return reason
        lanes = self.every
        if lanes and all(lane.state is LaneState.LOST for lane in lanes):
            return lanes[0].reason
        return None

    def refuses(self, key: LaneKey) -> Reason | None:
        """Why it takes nothing for this key, whatever it is; ``None`` if it may.

        A device that went away while it had nothing to do is noticed here: its lanes are lost then.
        """
        if (reason := self.lost) is not None:
            for lane in self.every:
                lane.lose(reason)
            return Reason.DEVICE_LOST
        lanes = self.lanes.get(key)
        if lanes is None:  # it will be opened when it is needed
            lanes = self.lanes.get((key[0], Priority.NORMAL, ""))
        if lanes is None:
            return None
        if not lanes:
            return Reason.NO_QUEUE
        return Reason.DEVICE_LOST if all(lane.state is LaneState.LOST for lane in lanes) else None

    def full(self, key: LaneKey) -> bool:
        """Whether who comes for this key has to wait for a slot."""
        lanes = self.lanes_of(key) if key in self.lanes or key in self.sharing else ()
        return bool(lanes) and all(
            lane.state is not LaneState.OPEN or lane.load >= lane.depth for lane in lanes
        )

    def pick(self, lanes: Sequence[Lane]) -> Lane:
        """One of these: the least loaded of those that take work, in turn among equals; else one that says why not."""
        lane = least_loaded(lanes, self.turn)
        self.turn += 1
        if lane is None:
            lane = next((lane for lane in lanes if lane.state is LaneState.RESETTING), lanes[0])
        return lane

    def goes_on(self) -> None:
        """The device shows that it works: whoever waits for it is not stuck."""
        for lane in self.every:
            lane.goes_on()

    def give_up(self, reason: str) -> None:
        """Send nothing here any more, and end what is here."""
        self.given_up = reason
        for lane in self.every:
            lane.lose(reason)

    @property
    def load(self) -> float:
        """Fraction of its slots that are taken or waited for; above 1 if callers wait.

        A lost queue has no slots, and one that is being opened again none that is free.
        """
        load = depth = 0
        for lane in self.every:
            if lane.state is not LaneState.LOST:
                load += lane.load if lane.state is LaneState.OPEN else lane.depth + lane.parked
                depth += lane.depth
        return load / depth if depth else 0.0


class Candidate:
    """One device that may take the operations of a route.

    :ivar place: the device
    :ivar row: the capability row that applies there
    :ivar key: of the lanes that are for it
    :ivar max_size: bytes of input, at most
    """

    __slots__ = ("key", "max_size", "place", "row")

    def __init__(self, place: Place, row: Capability, priority: Priority, max_size: int | None) -> None:
        self.place = place
        self.row = row
        self.key = (row.queue_class, priority, "")
        limits = [limit for limit in (row.max_input, max_size) if limit is not None]
        self.max_size = min(limits, default=_NO_LIMIT)


class Choice:
    """One entry of a route: the devices of one backend that can do it, and the conditions that are asked each time.

    Of its devices those at the nearest memory node come first, of these the least loaded, and of equals each in its
    turn. If all of one distance are full, who is farther is asked.

    :ivar row: of the first device
    :ivar weighed: whether more is asked each time than the size
    :ivar refused: why the choices before it were not taken, as far as that is fixed; ``None``: it is the first
    """

    __slots__ = ("_groups", "_max_load", "_min_deadline", "_min_size", "_turn", "refused", "row", "weighed")

    def __init__(self, candidates: Sequence[Candidate], rule: Rule | None, refused: Reason | None) -> None:
        distances = sorted({candidate.place.distance for candidate in candidates})
        self._groups = tuple(
            tuple(candidate for candidate in candidates if candidate.place.distance == distance)
            for distance in distances
        )
        self.row = self._groups[0][0].row
        self.refused = refused
        self._turn = 0
        self._min_size = rule.min_size if rule else 0
        self._max_load = rule.max_load if rule else None
        self._min_deadline = rule.min_deadline if rule else None
        self.weighed = self._max_load is not None or self._min_deadline is not None

    def able(self, nbytes: int) -> Iterator[Place]:
        """The devices that may take an operation of this size, as they are now or later."""
        for candidate in chain(*self._groups if nbytes >= self._min_size else ()):
            if nbytes <= candidate.max_size and candidate.place.may_take(candidate.key):
                yield candidate.place

    @property
    def only(self) -> Candidate | None:
        """The one device that takes everything; ``None`` if something has to be asked each time."""
        first = self._groups[0][0]
        several = sum(map(len, self._groups)) > 1
        sized = self._min_size > 0 or first.max_size < _NO_LIMIT
        return None if several or sized or self.weighed else first

    def quick(self, nbytes: int) -> Lane | None:
        """The lane for an operation of this size, if that is plain: else :meth:`take` has to weigh it."""
        if nbytes < self._min_size:
            return None
        best: Lane | None = None
        chosen: Place | None = None
        least = float("inf")
        group = self._groups[0]
        count = len(group)
        for step in range(count):
            candidate = group[(self._turn + step) % count]
            place = candidate.place
            lane = least_loaded(place.lanes.get(candidate.key, ()), place.turn)
            if lane is None or nbytes > candidate.max_size:
                return None
            if lane.load >= lane.depth and (count > 1 or len(self._groups) > 1):
                return None
            load = place.load if count > 1 else 0.0
            if load < least:
                best, chosen, least = lane, place, load
        self._turn += 1
        if chosen is not None:
            chosen.turn += 1
        return best

    def take(
        self, nbytes: int, timeout: float | None, avoid: Container[Place]
    ) -> tuple[Candidate | None, Reason | None]:
        """The device that takes an operation of this size now, and why not the one that should have had it.

        Without a device the reason says why there is none; ``None``: all were tried before.
        """
        if nbytes < self._min_size:
            return None, Reason.SIZE
        if self._min_deadline is not None and timeout is not None and timeout < self._min_deadline:
            return None, Reason.DEADLINE
        turn = self._turn
        self._turn += 1
        reason: Reason | None = None
        best: Candidate | None = None
        for group in self._groups:
            found, why = self._best_of(group, turn, nbytes, avoid)
            reason = reason or why
            if found is None:
                continue
            if not found.place.full(found.key):
                return found, reason or (Reason.LOAD if best is not None else None)
            if best is None or found.place.load < best.place.load:
                best = found
        return best, reason

    def _best_of(
        self, group: Sequence[Candidate], turn: int, nbytes: int, avoid: Container[Place]
    ) -> tuple[Candidate | None, Reason | None]:
        """The least loaded of equal distance, those with a free slot first; and why not another."""
        reason: Reason | None = None
        best: Candidate | None = None
        least = (True, float("inf"))
        count = len(group)
        for step in range(count):
            candidate = group[(turn + step) % count]
            place = candidate.place
            if place in avoid:
                continue
            why = place.refuses(candidate.key)
            load = place.load
            if why is None and nbytes > candidate.max_size:
                why = Reason.SIZE
            if why is None and self._max_load is not None and load > self._max_load:
                why = Reason.LOAD
            if why is not None:
                reason = reason or why
            elif (rank := (place.full(candidate.key), load)) < least:
                best, least = candidate, rank
        return best, reason


class Route:
    """The ordered choices for one (kind, algorithm, level, window, priority).

    Mostly there is nothing to choose: the first choice is one device with one lane, and has no condition that changes.
    Then the route remembers the lane, so that the next operation goes there without asking. And where there are several
    lanes or devices, and nothing but the size to ask for, :meth:`quick` looks at no more than these.

    :ivar choices: in order
    :ivar reason: why the first of them
    :ivar lane: the only lane of the only device, once it is open
    :ivar types: of level, window and priority: values that are equal may be of others
    """

    __slots__ = ("choices", "lane", "reason", "types")

    def __init__(self, choices: Sequence[Choice], types: tuple[type, type, type]) -> None:
        self.types = types
        self.choices = tuple(choices)
        self.reason = choices[0].refused or Reason.PREFERRED
        self.lane: Lane | None = None
        self.settle()

    def settle(self) -> None:
        """Remember the lane, if there is only one."""
        only = self.choices[0].only
        lanes = only.place.lanes.get(only.key, ()) if only is not None else ()
        self.lane = lanes[0] if len(lanes) == 1 else None

    def quick(self, nbytes: int) -> Lane | None:
        """The lane for an operation of this size, if it needs no closer look; the reason is then :attr:`reason`."""
        first = self.choices[0]
        return None if first.weighed else first.quick(nbytes)


#: Where an operation goes: the device, its capability row, and why.
Chosen = tuple[Place, Capability, Reason]


class Schedule:
    """The policy of one accelerator, over the devices that it opened.

    :param places: opened devices, in the order of preference
    :param config: for its rules
    :ivar backends: how many they are of
    :ivar ruled: there are rules, so that more than the kind of an operation may say where it goes
    :ivar on_forget: all are called when what was remembered of lanes may be wrong
    :ivar epoch: how often it may have become wrong
    """

    def __init__(self, places: Sequence[Place], config: Config) -> None:
        self.places = tuple(places)
        self.backends = len({place.backend for place in self.places})
        self.ruled = bool(config.policy)
        self.on_forget: list[Callable[[], None]] = []
        self.epoch = 0
        self._rules = config.policy
        self._routes: dict[tuple[Kind, str, Level, int | None, Priority, bool], Route] = {}
        self._owners: dict[Lane, Place] = {}

    def forget_routes(self) -> None:
        """There are other lanes than there were: what was remembered may be wrong."""
        self._routes.clear()
        self.epoch += 1
        for forget in self.on_forget:
            forget()

    def place_of(self, lane: Lane) -> Place:
        """The device of a lane."""
        place = self._owners.get(lane)
        if place is None:
            place = self._owners[lane] = next(each for each in self.places if lane in each.every)
        return place

    def route(self, operation: Operation, priority: Priority) -> Route:
        """The choices for an operation, as far as they do not depend on the moment. Raises as :meth:`choose` does."""
        known = operation.dictionary is not None
        key = (operation.kind, operation.algorithm, operation.level, operation.window, priority, known)
        try:
            route = self._routes[key]
            if route.types == (type(operation.level), type(operation.window), type(priority)):
                return route
            return self._plan(*key)  # 15.0 equals 15 and True equals 1, and neither is one: this raises
        except KeyError:
            route = self._routes[key] = self._plan(*key)
            return route
        except TypeError:  # unhashable: one of them is a list or the like
            raise _wrong_types(operation.algorithm, operation.level, operation.window, priority) from None

    def check(self, operation: Operation) -> None:
        """Whether there can be such an operation here, at one priority or another. Raises as :meth:`route` does."""
        first: UnsupportedOperation | None = None
        for priority in Priority:
            try:
                self.route(operation, priority)
                return
            except UnsupportedOperation as error:
                first = first or error
        assert first is not None
        raise first

    def choose(
        self,
        operation: Operation,
        priority: Priority,
        timeout: float | None = None,
        avoid: Container[Place] = (),
    ) -> Chosen:
        """The device for an operation, its capability row there, and the reason.

        :param avoid: devices where it was tried already
        :raises UnsupportedOperation: if none can do it
        :raises DeviceError: if those that can are lost
        :raises BackendUnavailable: if those that can have no queue
        :raises InvalidArgument: if the level is none
        """
        route = self.route(operation, priority)
        reason: Reason | None = None
        for choice in route.choices:
            candidate, why = choice.take(operation.nbytes, timeout, avoid)
            if candidate is not None:
                return candidate.place, candidate.row, reason or why or choice.refused or Reason.PREFERRED
            reason = reason or why
        raise self._nobody(operation, reason)

    def able(self, operation: Operation, priority: Priority) -> Sequence[Place]:
        """The devices that :meth:`choose` may name for an operation, whatever they are doing: also those that are lost,
        busy or without a queue at the moment. None, if it would raise.
        """
        try:
            choices = self.route(operation, priority).choices
        except WdasyncError:
            return ()
        return [place for choice in choices for place in choice.able(operation.nbytes)]

    def _plan(
        self,
        kind: Kind,
        algorithm: str,
        level: Level,
        window: int | None,
        priority: Priority,
        dictionary: bool,
    ) -> Route:
        check_level(level)
        check_window(window)
        if type(algorithm) is not str or not isinstance(priority, Priority):
            raise _wrong_types(algorithm, level, window, priority)
        choices: list[Choice] = []
        refused: Reason | None = None
        for backend, rule in self._candidates(kind):
            if rule is not None and not _rule_holds(rule, level, window, priority):
                refused = refused or Reason.POLICY
                continue
            able = [place for place in self.places if place.backend == backend]
            candidates = [
                Candidate(place, row, priority, rule.max_size if rule else None)
                for place in able
                if (row := place.rows.get((kind, algorithm))) is not None
                and (window is None or window <= row.window)
                and (row.dictionary or not dictionary)
            ]
            if not candidates:
                refused = refused or Reason.UNSUPPORTED
                continue
            choices.append(Choice(candidates, rule, refused))
        self._check_known(choices, kind, algorithm, level, window, dictionary)
        return Route(choices, (type(level), type(window), type(priority)))

    def _candidates(self, kind: Kind) -> Iterable[tuple[str, Rule | None]]:
        for rule in self._rules:
            if rule.operation in ("*", kind.name.lower()):
                yield rule.backend, rule
        for backend in dict.fromkeys(place.backend for place in self.places if place.general):
            yield backend, None

    def _check_known(
        self,
        choices: Sequence[Choice],
        kind: Kind,
        algorithm: str,
        level: Level,
        window: int | None,
        dictionary: bool,
    ) -> None:
        name = kind.name.lower()
        if not choices:
            if dictionary and any((kind, algorithm) in place.rows for place in self.places):
                raise UnsupportedOperation(
                    f"{name} {algorithm}: no backend takes a dictionary for it here; leave it out, or take "
                    "an algorithm whose capability has `dictionary` set"
                )
            if window is not None and any((kind, algorithm) in place.rows for place in self.places):
                raise UnsupportedOperation(
                    f"{name} {algorithm}: no backend has a window of 2**{window} bytes; ask for a smaller one"
                )
            known = sorted(
                {
                    row.algorithm
                    for place in self.places
                    for row in place.device.capabilities
                    if row.kind is kind
                }
            )
            raise UnsupportedOperation(
                f"{name}: expected {_one_of(known)}, got {algorithm!r}"
                f"{self._remedy(algorithm) or nearest(algorithm, known)}; see Accelerator.capabilities(), or allow fallback"
            )
        scales = [choice.row.scale for choice in choices]
        if type(level) is int and not any(low <= level <= high for low, high in scales):
            low, high = min(low for low, _ in scales), max(high for _, high in scales)
            raise InvalidArgument(
                f'level: expected {low}..{high}, "fast", "balanced" or "best" for {algorithm}, got {level}'
            )

    def _remedy(self, algorithm: str) -> str:
        """What to install, if a device would have the algorithm then."""
        devices = (place.device for place in self.places)
        remedies = [device.lacking.get(algorithm) for device in devices if isinstance(device, Lacking)]
        return next((f"; to have it: {remedy}" for remedy in remedies if remedy), "")

    def _nobody(self, operation: Operation, reason: Reason | None) -> WdasyncError:
        what = f"{operation.kind.name.lower()} {operation.algorithm}"
        if reason is Reason.DEVICE_LOST:
            lost = "; ".join(f"{place.name}: {place.lost}" for place in self.places if place.lost)
            return DeviceError(
                f"{what}: every device that could do it is lost ({lost}); run `python -m wdasync doctor`"
            )
        if reason is Reason.NO_QUEUE:
            return BackendUnavailable(
                f"{what}: no device that could do it has a queue: others use them all, or open_queues gives it none; "
                "close others, or allow fallback"
            )
        why = {
            Reason.SIZE: f"no backend takes {operation.nbytes} bytes in one operation; use a stream",
            Reason.LOAD: "all backends are busier than the policy allows; relax max_load",
            Reason.DEADLINE: "the timeout is shorter than the policy asks of every backend; relax min_deadline",
        }
        text = why.get(reason or Reason.UNSUPPORTED, "no backend can do it")
        return UnsupportedOperation(f"{what}: {text}")


def _one_of(known: Sequence[str]) -> str:
    return f"one of {', '.join(known)}" if known else "a device that does such work, and there is none here"


def _rule_holds(rule: Rule, level: Level, window: int | None, priority: Priority) -> bool:
    return (
        (rule.levels is None or level in rule.levels)
        and (rule.max_window is None or window is None or window <= rule.max_window)
        and (rule.priority is None or rule.priority == priority.name.lower())
    )


def _wrong_types(algorithm: object, level: Level, window: int | None, priority: object) -> InvalidArgument:
    if type(algorithm) is not str:
        return InvalidArgument(f"algorithm: expected a str such as 'gzip', got {algorithm!r}")
    if not isinstance(priority, Priority):
        names = ", ".join(Priority.__members__)
        return InvalidArgument(f"priority: expected one of {names}, got {priority!r}; use wdasync.Priority")
    try:
        check_level(level)
        check_window(window)
    except InvalidArgument as error:
        return error.with_traceback(None)
    raise AssertionError("expected a value that cannot be a key, got none")
