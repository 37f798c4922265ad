"""Plans: the C side's view of one row of the codec table. Made once a process, and numbered."""

from __future__ import annotations

from typing import NamedTuple

from wdasync.operations import Kind

from . import binding, calibration, codecs
from .crypto import table

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
        form, engine, cost = _of_codec(plan) if plan.kind < Kind.COPY else _of_other(plan)
        other = table.otherwise(plan.implementation, plan.kind)
        otherwise = -1 if other is None else number_of(plan._replace(implementation=other))
        number = binding.add_plan(
            plan.kind, form, engine, plan.level, plan.window, plan.mapped, *cost, otherwise
        )
        _plans[number] = plan
        _numbers[plan] = number
    return number


def _of_codec(plan: Plan) -> tuple[int, codecs.Engine, codecs.Cost]:
    cost = codecs.cost(plan.kind, (plan.implementation, plan.level))
    if plan.dictionary:  # To prepare one takes long: never inline.
        cost = codecs.Cost(NEVER, 0)
    row = codecs.ALGORITHMS[plan.algorithm]
    return row.format, codecs.IMPLEMENTATIONS[plan.implementation].engine, _scaled(cost)


def _of_other(plan: Plan) -> tuple[int, codecs.Engine, codecs.Cost]:
    work = table.work_of(plan.kind, plan.algorithm, (plan.implementation,))
    cost = work.cost if work.measured else _scaled(work.cost)
    return work.format, table.IMPLEMENTATIONS[work.implementation], cost


def _scaled(cost: codecs.Cost) -> codecs.Cost:
    """On this machine, what was measured on that of the tables."""
    return codecs.Cost(*(round(nanoseconds * calibration.factor()) for nanoseconds in cost))


def plan_of(number: int) -> Plan:
    """The plan with this number."""
    return _plans[number]
