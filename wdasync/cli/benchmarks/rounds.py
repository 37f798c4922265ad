"""All sides in turn, again and again, on one event loop.

What is compared is measured within a second of each other, and what changes while it runs (the speed of the cores, other
programs) changes for all. Each round begins with another side, so that nobody is always the neighbour of the same one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, NamedTuple

from ... import (
    Accelerator,
    AcceleratorStatistics,
    BackendUnavailable,
    Result,
    UnsupportedOperation,
    open_accelerator,
)
from ..backends import settings_for
from .cases import Case
from .codecs import Codec, Likeness, Pairs, likeness, same_as
from .faults import PAGE, Faulting, FaultSample, why_not
from .inputs import blocks
from .loops import Loop
from .machine import workers_of
from .samples import TIMED, Sample, Turn, measure
from .sides import HOP, OURS, Stage, other, pairs_of, sample_results, side_of
from .works import WORKS, prepare, turn

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
    :ivar others: names of the backends found, and of their variants; ours may be among them
    :ivar left_out: names of backends that have no device, and why
    :ivar pages: absent pages of one operation, for what a page fault costs; 0: it is not measured
    """

    backend: str | None
    cases: Sequence[Case]
    rounds: int
    seconds: float
    data: bytes
    others: Sequence[str] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    pages: int = 0


class Ran(NamedTuple):
    """Where an operation of the accelerator ran, and why there.

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
    :ivar ran: where operations of our side and of other backends ran, of some that ran before -> how many
    :ivar likeness: side that is another backend -> what its work is beside ours
    """

    case: Case
    samples: dict[str, list[Sample]]
    ran: Counter[Ran] = field(default_factory=Counter)
    likeness: dict[str, Likeness] = field(default_factory=dict)


@dataclass(slots=True)
class LoopRun:
    """What one event loop showed.

    :ivar loop: its name
    :ivar codec: the one of our side, and of those that are compared with it
    :ivar threads: of the pool
    :ivar cases: in the order of the plan
    :ivar left_out: what could not be measured, and why
    :ivar statistics: side -> of its accelerator, at the end
    :ivar faults: name of a backend that takes pages on fault -> one for each round
    """

    loop: str
    codec: Codec
    threads: int
    cases: list[CaseRun] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    statistics: dict[str, AcceleratorStatistics] = field(default_factory=dict)
    faults: dict[str, list[FaultSample]] = field(default_factory=dict)

    def label(self, side: str) -> str:
        """The name of a side, for people."""
        return side_of(side).label.format(threads=self.threads)


def steps(plan: Plan) -> int:
    """How often ``advance`` is called for one loop, at most: what is left out takes no steps."""
    turns = sum(len(case.sides) for case in plan.cases) + (len(plan.others) + 1 if plan.pages else 0)
    return turns * (plan.rounds + 1)


async def run_rounds(loop: Loop, plan: Plan, advance: Advance) -> LoopRun:
    """Measure everything on the running event loop."""
    async with _stage(loop, plan) as stage:
        run = LoopRun(loop.name, stage.codec, stage.threads, left_out=dict(stage.absent))
        ready: list[tuple[CaseRun, dict[str, Turn]]] = []
        for case in plan.cases:
            prepare_it = _prepare_work if case.kind in WORKS else _prepare_compression
            if (found := await prepare_it(stage, run, plan, case)) is not None:
                run.cases.append(found[0])
                ready.append(found)
        faulting = await _prepare_faults(stage, run, plan)
        for number in range(-1, plan.rounds):  # one before the first warms up, and is forgotten
            for outcome, sides in ready:
                await _take_turns(outcome, sides, number, plan.seconds, advance)
            for name, meter in faulting.items():
                advance(f"page faults: {name}")
                sample = await meter.measure(plan.seconds)
                if number >= 0:
                    run.faults.setdefault(name, []).append(sample)
        run.statistics = {name: acc.statistics() for name, acc in stage.accelerators.items()}
    return run


async def _prepare_work(
    stage: Stage, run: LoopRun, plan: Plan, case: Case
) -> tuple[CaseRun, dict[str, Turn]] | None:
    """See who can do it, and that it is right; ``None``, and a reason in the run, if nobody can."""
    try:
        job = await prepare(case.kind, plan.data, stage, case.in_flight)
    except UnsupportedOperation as error:
        run.left_out[case.title] = str(error)
        return None
    outcome = CaseRun(case, {side: [] for side in case.sides})
    return outcome, {side: turn(side, stage, job) for side in case.sides}


async def _prepare_compression(
    stage: Stage, run: LoopRun, plan: Plan, case: Case
) -> tuple[CaseRun, dict[str, Turn]] | None:
    source = blocks(plan.data, case.size) if case.size else []
    if (outcome := await _prepare(stage, run, case, source)) is None:
        return None
    return outcome, {side: partial(measure, side_of(side).make(stage, source)) for side in outcome.samples}


async def _prepare(stage: Stage, run: LoopRun, case: Case, source: Sequence[bytes]) -> CaseRun | None:
    """See who can do it, where it runs and with which codec; ``None``, and a reason in the run, if nobody can."""
    try:
        ours = await sample_results(stage.accelerators[case.ours], source, case.in_flight)
    except UnsupportedOperation as error:
        run.left_out[case.title] = str(error)
        return None
    outcome = CaseRun(case, {side: [] for side in case.sides}, Counter(_ran(result) for _, result in ours))
    if case.kind == "backends" and not await _join(stage, run, outcome, source, pairs_of(ours)):
        run.left_out[case.title] = "there is no other backend that can do it"
        return None
    return outcome


async def _join(stage: Stage, run: LoopRun, outcome: CaseRun, source: Sequence[bytes], ours: Pairs) -> bool:
    """Keep those of the other backends that can do it; whether there are any."""
    case = outcome.case
    for side in case.sides[1:]:
        if side not in stage.accelerators:
            continue
        try:
            theirs = await sample_results(stage.accelerators[side], source, case.in_flight)
        except UnsupportedOperation as error:
            run.left_out[f"{case.title}, {run.label(side)}"] = str(error)
            continue
        outcome.ran.update(_ran(result) for _, result in theirs)
        outcome.likeness[side] = likeness(ours, pairs_of(theirs))
    outcome.case = replace(case, sides=(case.ours, *outcome.likeness))
    outcome.samples = {side: [] for side in outcome.case.sides}
    return bool(outcome.likeness)


async def _prepare_faults(stage: Stage, run: LoopRun, plan: Plan) -> dict[str, Faulting]:
    """Name of a backend -> who measures its page faults; of those that take pages on fault."""
    found: dict[str, Faulting] = {}
    if not plan.pages:
        return found
    source = blocks(plan.data, plan.pages * PAGE)
    why: list[str] = []
    for side, accelerator in stage.accelerators.items():
        if side == HOP:
            continue
        meter = Faulting(accelerator, source)
        try:
            result = await meter.probe()
        except UnsupportedOperation as error:
            why.append(str(error))
            continue
        if not (reason := why_not(result)):
            found[result.backend] = meter
        why.append(f"{result.backend}: {reason}")
    if not found:
        run.left_out["page faults"] = "; ".join(why)
    return found


async def _take_turns(
    outcome: CaseRun, sides: dict[str, Turn], number: int, seconds: float, advance: Advance
) -> None:
    case = outcome.case
    seconds *= WORKS[case.kind].stretch if case.kind in WORKS else 1
    names = list(sides)
    first = number % len(names)
    timed = 1 if case.size else min(TIMED, case.in_flight)
    for name in names[first:] + names[:first]:
        advance(f"{case.title}: {name}")
        sample = await sides[name](case.in_flight, seconds, timed=timed)
        if number >= 0:
            outcome.samples[name].append(sample)


@asynccontextmanager
async def _stage(loop: Loop, plan: Plan) -> AsyncIterator[Stage]:
    """Two accelerators of one backend, no other backend that could take over, and one on each other backend."""
    opening = open_accelerator(plan.backend, fallback=False, level="fast")
    hopping = open_accelerator(plan.backend, fallback=False, level="fast", inline=False)
    async with AsyncExitStack() as stack:
        ours, hop = await stack.enter_async_context(opening), await stack.enter_async_context(hopping)
        found, absent = await _open_others(stack, plan, ours)
        threads = workers_of(ours.effective, list(ours.capabilities()))
        natives = loop.natives(threads)
        stack.callback(natives.close)
        codec = same_as(pairs_of(await sample_results(hop, blocks(plan.data, PROBE), 4)))
        yield Stage({OURS: ours, HOP: hop, **found}, natives, threads, codec, absent)


async def _open_others(
    stack: AsyncExitStack, plan: Plan, ours: Accelerator
) -> tuple[dict[str, Accelerator], dict[str, str]]:
    """An accelerator on each backend that ours does not use, by its side; and those that cannot be opened, and why."""
    used = {device.partition("/")[0] for device in ours.capabilities()}
    found: dict[str, Accelerator] = {}
    absent: dict[str, str] = {}
    for name in plan.others:
        if name in used:
            continue
        backend, settings = settings_for(name)
        opening = open_accelerator(backend, fallback=False, level="fast", **settings)
        try:
            found[other(name)] = await stack.enter_async_context(opening)
        except BackendUnavailable as error:
            absent[f"backend {name}"] = str(error)
    return found, absent


def _ran(result: Result) -> Ran:
    place = f"{result.backend}/{result.device}"
    queue = result.queue if result.queue.startswith(place) else f"{place} {result.queue}"
    return Ran(queue, result.where, result.reason.name.lower())
