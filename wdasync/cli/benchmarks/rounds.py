"""All sides in turn, again and again, on one event loop.

What is compared is measured within a second of each other, and what changes while it runs (the speed of the cores, other
programs) changes for all. Each round begins with another side, so that nobody is always the neighbour of the same one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ... import AcceleratorStatistics, Result, UnsupportedOperation, open_accelerator
from .cases import Case
from .codecs import Codec, same_as
from .inputs import blocks
from .loops import Loop
from .machine import workers_of
from .samples import TIMED, Act, Sample, measure
from .sides import HOP, OURS, SIDES, Stage, sample_results

__all__ = ["CaseRun", "LoopRun", "Plan", "Ran", "run_rounds", "steps"]

#: Bytes of the blocks by which the codec is recognised.
PROBE: Final = 16 << 10

#: Is told what comes next; ``False``: it is not a step of its own.
Advance = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be measured.

    :ivar backend: its name; ``None``: as configured
    :ivar cases: in the order of the report
    :ivar rounds: times that every side has its turn
    :ivar seconds: length of a turn
    :ivar data: what is compressed
    """

    backend: str | None
    cases: Sequence[Case]
    rounds: int
    seconds: float
    data: bytes


class Ran(NamedTuple):
    """Where an operation of our side ran, and why there.

    :ivar queue: backend, device and queue
    :ivar where: the part of the device
    :ivar reason: lower case
    """

    queue: str
    where: str
    reason: str

    @property
    def place(self) -> str:
        """Queue and part of the device, for people."""
        return self.queue if self.where in self.queue else f"{self.queue}, {self.where}"


@dataclass(slots=True)
class CaseRun:
    """What one case showed.

    :ivar case: the case
    :ivar samples: name of the side -> one for each round
    :ivar ran: where operations of our side ran, of some that ran before -> how many
    """

    case: Case
    samples: dict[str, list[Sample]]
    ran: Counter[Ran] = field(default_factory=Counter)


@dataclass(slots=True)
class LoopRun:
    """What one event loop showed.

    :ivar loop: its name
    :ivar codec: the one of our side, and of those that are compared with it
    :ivar threads: of the pool
    :ivar cases: in the order of the plan
    :ivar left_out: titles of the cases that our side cannot do, and why
    :ivar statistics: of both accelerators, at the end
    """

    loop: str
    codec: Codec
    threads: int
    cases: list[CaseRun] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    statistics: dict[str, AcceleratorStatistics] = field(default_factory=dict)

    def label(self, side: str) -> str:
        """The name of a side, for people."""
        return SIDES[side].label.format(threads=self.threads)


def steps(plan: Plan) -> int:
    """How often ``advance`` is called for one loop."""
    return sum(len(case.sides) for case in plan.cases) * (plan.rounds + 1)


async def run_rounds(loop: Loop, plan: Plan, advance: Advance) -> LoopRun:
    """Measure everything on the running event loop."""
    async with _stage(loop, plan) as stage:
        run = LoopRun(loop.name, stage.codec, stage.threads)
        acts: list[tuple[CaseRun, dict[str, Act]]] = []
        for case in plan.cases:
            source = blocks(plan.data, case.size) if case.size else []
            try:
                pairs = await sample_results(stage.accelerators[case.ours], source, case.in_flight)
            except UnsupportedOperation as error:
                run.left_out[case.title] = str(error)
                continue
            outcome = CaseRun(
                case, {side: [] for side in case.sides}, Counter(_ran(pair[1]) for pair in pairs)
            )
            run.cases.append(outcome)
            acts.append((outcome, {side: SIDES[side].make(stage, source) for side in case.sides}))
        for number in range(-1, plan.rounds):  # one before the first warms up, and is forgotten
            for outcome, sides in acts:
                await _take_turns(outcome, sides, number, plan.seconds, advance)
        run.statistics = {name: acc.statistics() for name, acc in stage.accelerators.items()}
    return run


async def _take_turns(
    outcome: CaseRun, sides: dict[str, Act], number: int, seconds: float, advance: Advance
) -> None:
    case = outcome.case
    names = list(sides)
    first = number % len(names)
    timed = 1 if case.size else min(TIMED, case.in_flight)
    for name in names[first:] + names[:first]:
        advance(f"{case.title}: {name}")
        sample = await measure(sides[name], case.in_flight, seconds, timed=timed)
        if number >= 0:
            outcome.samples[name].append(sample)


@asynccontextmanager
async def _stage(loop: Loop, plan: Plan) -> AsyncIterator[Stage]:
    """Two accelerators of one backend, and no other backend that could take over."""
    opening = open_accelerator(plan.backend, fallback=False, level="fast")
    hopping = open_accelerator(plan.backend, fallback=False, level="fast", inline=False)
    async with opening as ours, hopping as hop:
        threads = workers_of(ours.effective, list(ours.capabilities()))
        natives = loop.natives(threads)
        try:
            pairs = await sample_results(hop, blocks(plan.data, PROBE), 4)
            codec = same_as((block, result.output or b"") for block, result in pairs)
            yield Stage({OURS: ours, HOP: hop}, natives, threads, codec)
        finally:
            natives.close()


def _ran(result: Result) -> Ran:
    place = f"{result.backend}/{result.device}"
    queue = result.queue if result.queue.startswith(place) else f"{place} {result.queue}"
    return Ran(queue, result.where, result.reason.name.lower())
