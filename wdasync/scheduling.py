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
from collections.abc import Container, Iterable, Sequence
from typing import Final

from .backend import Capability, Device
from .config import Config, Rule
from .dispatch import Lane, LaneState
from .errors import DeviceError, InvalidArgument, UnsupportedOperation, WdasyncError
from .operations import Kind, Level, Operation, Priority, check_level, check_window
from .registry import nearest

__all__ = ["Choice", "Chosen", "LaneKey", "Place", "Reason", "Route", "Schedule"]


class Reason(enum.IntEnum):
    """Why an operation ran where it ran. Counted in ``statistics().reasons``."""

    #: The first choice took it.
    PREFERRED = 0
    #: It is so small that a hop to a worker would have cost more than the work.
    INLINE = 1
    #: An earlier choice does not take inputs of this size.
    SIZE = 2
    #: An earlier choice was too busy.
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
    #: It belongs to a stream, and a stream stays where it was opened.
    STREAM = 9


#: Queue class, priority, and what it is for: nothing in particular, work that a fault handler waits for ("faults"), or
#: work that may wait for a page ("paged"). Completions of a queue are in order, so one that waits holds back the others.
LaneKey = tuple[str, Priority, str]

_NO_LIMIT: Final = sys.maxsize


class Place:
    """An opened device and the lanes to it.

    :ivar backend: name of the backend
    :ivar device: the device
    :ivar general: it takes operations that no rule gives it
    :ivar lanes: what is open so far
    """

    def __init__(self, backend: str, device: Device, *, general: bool = True) -> None:
        self.backend = backend
        self.device = device
        self.general = general
        self.lanes: dict[LaneKey, Lane] = {}
        self._given_up: str | None = None
        self.rows: dict[tuple[Kind, str], Capability] = {
            (row.kind, row.algorithm): row for row in device.capabilities
        }

    def __repr__(self) -> str:
        return f"<Place {self.name} {len(self.lanes)} lanes{' lost' if self.lost else ''}>"

    @property
    def name(self) -> str:
        """Backend and device, for people: ``cpu/cpu0``."""
        return f"{self.backend}/{self.device.info.name}"

    @property
    def lost(self) -> str | None:
        """Why nothing can be sent here any more; ``None`` if it can."""
        if (reason := self.device.lost or self._given_up) is not None:
            return reason
        return next((lane.reason for lane in self.lanes.values() if lane.state is LaneState.LOST), None)

    def goes_on(self) -> None:
        """The device shows that it works: whoever waits for it is not stuck."""
        for lane in self.lanes.values():
            lane.goes_on()

    def give_up(self, reason: str) -> None:
        """Send nothing here any more, and end what is here."""
        self._given_up = reason
        for lane in list(self.lanes.values()):
            lane.lose(reason)

    @property
    def load(self) -> float:
        """Fraction of its slots that are taken or waited for; above 1 if callers wait."""
        depth = sum(lane.depth for lane in self.lanes.values())
        return sum(lane.load for lane in self.lanes.values()) / depth if depth else 0.0


class Choice:
    """One entry of a route: the devices of one backend, and the conditions that are asked each time.

    :ivar places: the devices; the least loaded takes the operation
    :ivar row: the capability row that applies
    :ivar conditional: whether there are such conditions
    :ivar refused: why the choices before it were not taken, as far as that is fixed; ``None``: it is the first
    """

    __slots__ = (
        "_max_load",
        "_max_size",
        "_min_deadline",
        "_min_size",
        "conditional",
        "places",
        "refused",
        "row",
    )

    def __init__(
        self, places: Sequence[Place], row: Capability, rule: Rule | None, refused: Reason | None
    ) -> None:
        self.places = tuple(places)
        self.row = row
        self.refused = refused
        limits = [limit for limit in (row.max_input, rule.max_size if rule else None) if limit is not None]
        self._min_size = rule.min_size if rule else 0
        self._max_size = min(limits, default=_NO_LIMIT)
        self._max_load = rule.max_load if rule else None
        self._min_deadline = rule.min_deadline if rule else None
        self.conditional = bool(limits or (rule and (rule.min_size or rule.max_load is not None))) or (
            self._min_deadline is not None
        )

    def place(self, avoid: Container[Place]) -> Place | None:
        """The device that would take it: the least loaded of those that are there."""
        if len(self.places) == 1:
            place = self.places[0]
            return None if place in avoid or place.lost else place
        return min(
            (place for place in self.places if place not in avoid and not place.lost),
            key=lambda place: place.load,
            default=None,
        )

    def refuses(self, nbytes: int, timeout: float | None, place: Place) -> Reason | None:
        """Why this choice does not take an operation of this size now; ``None`` if it does."""
        if not self.conditional:
            return None
        if not self._min_size <= nbytes <= self._max_size:
            return Reason.SIZE
        if self._min_deadline is not None and timeout is not None and timeout < self._min_deadline:
            return Reason.DEADLINE
        if self._max_load is not None and place.load > self._max_load:
            return Reason.LOAD
        return None


class Route:
    """The ordered choices for one (kind, algorithm, level, window, priority).

    Mostly there is nothing to choose: the first choice is one device and has no condition that changes. Then the route
    is *settled*, and remembers the lane, so that the next operation goes there without asking.

    :ivar choices: in order
    :ivar place: the device of a settled route
    :ivar reason: why there
    :ivar lane: the lane of a settled route, once it is open
    :ivar types: of level, window and priority: values that are equal may be of others
    """

    __slots__ = ("choices", "lane", "place", "reason", "types")

    def __init__(self, choices: Sequence[Choice], types: tuple[type, type, type]) -> None:
        self.types = types
        first = choices[0]
        settled = len(first.places) == 1 and not first.conditional
        self.choices = tuple(choices)
        self.place = first.places[0] if settled else None
        self.reason = first.refused or Reason.PREFERRED
        self.lane: Lane | None = None


#: Where an operation goes: the device, its capability row, and why.
Chosen = tuple[Place, Capability, Reason]


class Schedule:
    """The policy of one accelerator, over the devices that it opened.

    :param places: opened devices, in the order of preference
    :param config: for its rules
    """

    def __init__(self, places: Sequence[Place], config: Config) -> None:
        self.places = tuple(places)
        self._rules = config.policy
        self._routes: dict[tuple[Kind, str, Level, int | None, Priority], Route] = {}

    def route(self, operation: Operation, priority: Priority) -> Route:
        """The choices for an operation, as far as they do not depend on the moment. Raises as :meth:`choose` does."""
        key = (operation.kind, operation.algorithm, operation.level, operation.window, priority)
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
        :raises InvalidArgument: if the level is none
        """
        route = self.route(operation, priority)
        reason: Reason | None = None
        for choice in route.choices:
            place = choice.place(avoid)
            if place is None:
                reason = reason or Reason.DEVICE_LOST
                continue
            refusal = choice.refuses(operation.nbytes, timeout, place)
            if refusal is None:
                return place, choice.row, reason or choice.refused or Reason.PREFERRED
            reason = reason or refusal
        raise self._nobody(operation, reason)

    def _plan(
        self, kind: Kind, algorithm: str, level: Level, window: int | None, priority: Priority
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
            able = [
                place for place in self.places if place.backend == backend and (kind, algorithm) in place.rows
            ]
            row = able[0].rows[kind, algorithm] if able else None
            if row is None or (window is not None and window > row.window):
                refused = refused or Reason.UNSUPPORTED
                continue
            choices.append(Choice(able, row, rule, refused))
        self._check_known(choices, kind, algorithm, level, window)
        return Route(choices, (type(level), type(window), type(priority)))

    def _candidates(self, kind: Kind) -> Iterable[tuple[str, Rule | None]]:
        for rule in self._rules:
            if rule.operation in ("*", kind.name.lower()):
                yield rule.backend, rule
        for backend in dict.fromkeys(place.backend for place in self.places if place.general):
            yield backend, None

    def _check_known(
        self, choices: Sequence[Choice], kind: Kind, algorithm: str, level: Level, window: int | None
    ) -> None:
        name = kind.name.lower()
        if not choices:
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
                f"{name}: expected one of {', '.join(known) or 'nothing here'}, got {algorithm!r}"
                f"{nearest(algorithm, known)}; see Accelerator.capabilities(), or allow fallback"
            )
        scales = [choice.row.scale for choice in choices]
        if type(level) is int and not any(low <= level <= high for low, high in scales):
            low, high = min(low for low, _ in scales), max(high for _, high in scales)
            raise InvalidArgument(
                f'level: expected {low}..{high}, "fast", "balanced" or "best" for {algorithm}, got {level}'
            )

    def _nobody(self, operation: Operation, reason: Reason | None) -> WdasyncError:
        what = f"{operation.kind.name.lower()} {operation.algorithm}"
        if reason is Reason.DEVICE_LOST:
            lost = "; ".join(f"{place.name}: {place.lost}" for place in self.places if place.lost)
            return DeviceError(
                f"{what}: every device that could do it is lost ({lost}); run `python -m wdasync doctor`"
            )
        why = {
            Reason.SIZE: f"no backend takes {operation.nbytes} bytes in one operation; use a stream",
            Reason.LOAD: "all backends are busier than the policy allows; relax max_load",
            Reason.DEADLINE: "the timeout is shorter than the policy asks of every backend; relax min_deadline",
        }
        text = why.get(reason or Reason.UNSUPPORTED, "no backend can do it")
        return UnsupportedOperation(f"{what}: {text}")


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
