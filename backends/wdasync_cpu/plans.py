"""Plans: the C side's view of one row of the codec table. Made once a process, and numbered."""

from __future__ import annotations

from typing import NamedTuple

from wdasync.operations import Kind

from . import binding, calibration, codecs

__all__ = ["Plan", "number_of", "plan_of"]

#: Nanoseconds that no budget has.
NEVER = 1 << 40


class Plan(NamedTuple):
    """What is done, by whom.

    :ivar kind: kind of operation
    :ivar algorithm: its name
    :ivar implementation: who does it, a key of ``IMPLEMENTATIONS``
    :ivar level: by that one's own count
    :ivar window: base-2 logarithm of the history
    :ivar mapped: the level is not the one that was asked for
    :ivar dictionary: there is one
    """

    kind: Kind
    algorithm: str
    implementation: str
    level: int
    window: int
    mapped: bool = False
    dictionary: bool = False


_numbers: dict[Plan, int] = {}
_plans: dict[int, Plan] = {}


def number_of(plan: Plan) -> int:
    """The number of a plan."""
    number = _numbers.get(plan)
    if number is None:
        row = codecs.ALGORITHMS[plan.algorithm]
        engine = codecs.IMPLEMENTATIONS[plan.implementation].engine
        cost = codecs.cost(plan.kind, (plan.implementation, plan.level))
        if plan.dictionary:  # To prepare one takes long: never inline.
            cost = codecs.Cost(NEVER, 0)
        scaled = (round(nanoseconds * calibration.factor()) for nanoseconds in cost)
        number = binding.add_plan(
            plan.kind, row.format, engine, plan.level, plan.window, plan.mapped, *scaled
        )
        _plans[number] = plan
        _numbers[plan] = number
    return number


def plan_of(number: int) -> Plan:
    """The plan with this number."""
    return _plans[number]
