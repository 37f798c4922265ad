"""``wdasync demo``: the main job, on every backend found, beside what programs do without one."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import anyio.lowlevel
import click
from rich.console import Console

from .. import Accelerator, AcceleratorStatistics, Compress, PageFault, Reason, Result, open_accelerator
from .backends import find_backends
from .commands import Failure, Finite, Name
from .output import console, progress, show, size, table
from .running import run
from .workload import Handler, Outcome, cut, drive, read_input

__all__ = ["demo"]

ALGORITHM: Final = "gzip"
#: With which the standard library reads it: a gzip header, any window.
WBITS: Final = 31
INLINE: Final = "inline zlib.compress"

REQUESTS: Final = 1000
CLIENTS: Final = 64
SECONDS: Final = 3.0
#: Indexes of the requests that are asked where they ran: early ones, so that a slow device comes to them too.
SAMPLES: Final = range(0, 120, 20)
FAULTS: Final = 5

#: Reason of a choice -> in words.
REASONS: Final[dict[Reason, str]] = {
    Reason.PREFERRED: "the first choice took it",
    Reason.INLINE: "so small that handing it over would cost more than doing it",
    Reason.SIZE: "an earlier choice does not take this size",
    Reason.LOAD: "an earlier choice was too busy",
    Reason.DEADLINE: "the timeout was too short for an earlier choice",
    Reason.UNSUPPORTED: "an earlier choice cannot do it",
    Reason.POLICY: "a rule of the policy sent it here",
    Reason.DEVICE_LOST: "an earlier choice's device is gone",
    Reason.RETRY: "it was tried before and failed for no fault of its own",
    Reason.NO_QUEUE: "an earlier choice has no queue",
    Reason.STREAM: "it belongs to a stream, and a stream stays where it was opened",
}


@dataclass(slots=True)
class Trial:
    """One row of the table.

    :ivar name: who did it
    :ivar outcome: what came of it
    :ivar wrong: answers that are not right
    :ivar samples: index of a request -> where it ran and why
    :ivar faults: page faults, the first few
    :ivar fault_count: all of them
    :ivar statistics: what its queues counted
    """

    name: str
    outcome: Outcome
    wrong: int
    samples: dict[int, Result] = field(default_factory=dict)
    faults: list[PageFault] = field(default_factory=list)
    fault_count: int = 0
    statistics: AcceleratorStatistics | None = None


@click.command(short_help="Compare the backends found, on real data.")
@click.argument("file", required=False, metavar="[FILE]", type=Name())
@click.option(
    "-c", "--clients", default=CLIENTS, show_default=True, type=click.IntRange(1), help="Requests at a time."
)
@click.option(
    "-s",
    "--seconds",
    default=SECONDS,
    show_default=True,
    type=Finite(0, min_open=True),
    help="Time for each backend, at most.",
)
def demo(file: str | None, clients: int, seconds: float) -> None:
    """Compress FILE in many concurrent requests on each backend found, and compare.

    Requests of 1 KiB to 256 KiB are cut from FILE, or from the standard library's own sources. Every result is
    decompressed by the standard library and compared with its request.
    """
    name, data = read_input(file)
    requests = cut(data, REQUESTS)
    total = sum(map(len, requests))
    backends, left_out = find_backends()
    out = console()
    out.print(
        f"{len(requests)} requests of 1 KiB to 256 KiB, {size(total)} in all, {clients} at a time, {ALGORITHM},"
    )
    out.print(f"cut from {name}.", soft_wrap=True)
    out.print("Each result is decompressed by the standard library and compared.")
    for why in left_out.values():
        out.print(f"left out: {why}", style="dim")
    with progress("demo", total * (len(backends) + 1)) as advance:
        load = partial(drive, requests, clients=clients, seconds=seconds, advance=advance)
        trials = run(lambda: _trials(backends, load))
    _print_table(out, trials)
    _print_queues(out, trials)
    _print_samples(out, trials)
    _print_faults(out, trials)
    _judge(trials)


def _judge(trials: Sequence[Trial]) -> None:
    if broken := sum(trial.wrong for trial in trials):
        raise Failure(f"{broken} results are wrong; run `python -m wdasync doctor`")
    if len(trials) == 1:
        raise Failure("no backend has a device here; run `python -m wdasync doctor`")


# --- the runs ------------------------------------------------------------------------------------------

Load = Callable[[Handler], Awaitable[Outcome]]


async def _trials(backends: Sequence[str], load: Load) -> list[Trial]:
    return [await _inline(load), *[await _on_backend(name, load) for name in backends]]


async def _inline(load: Load) -> Trial:
    """What a program does that does not know better: compress where it stands."""

    async def handle(index: int, request: bytes) -> bytes:
        await anyio.lowlevel.checkpoint()
        return zlib.compress(request, wbits=WBITS)

    outcome = await load(handle)
    return Trial(INLINE, outcome, outcome.wrong(WBITS))


async def _on_backend(name: str, load: Load) -> Trial:
    """Only this backend: no other may take over what it cannot do."""
    samples: dict[int, Result] = {}
    async with open_accelerator(name, fallback=False) as accelerator, accelerator.faults() as stream:
        level = accelerator.effective.config.level

        async def handle(index: int, request: bytes) -> bytes:
            if index not in SAMPLES:
                return await accelerator.compress(request, ALGORITHM)
            samples[index] = result = await accelerator.execute(Compress(request, ALGORITHM, level=level))
            return result.output or b""

        outcome = await load(handle)
        statistics = accelerator.statistics()
        count = statistics.faults
        faults = [await anext(stream) for _ in range(min(count, FAULTS))]
        return Trial(_title(accelerator), outcome, outcome.wrong(WBITS), samples, faults, count, statistics)


def _title(accelerator: Accelerator) -> str:
    """Backend and device; with several devices, how many."""
    devices = list(accelerator.capabilities())
    return devices[0] if len(devices) == 1 else f"{devices[0].split('/')[0]}, {len(devices)} devices"


# --- output --------------------------------------------------------------------------------------------


def _print_table(out: Console, trials: Sequence[Trial]) -> None:
    numbers = [(name, "right") for name in ("Requests", "MB/s", "Ratio", "p50 ms", "p99 ms", "Stall ms")]
    rows = table("Backend", *numbers)
    for trial in trials:
        outcome = trial.outcome
        rows.add_row(
            trial.name,
            f"{len(outcome.answers)}" + (f", {trial.wrong} wrong" if trial.wrong else ""),
            f"{outcome.bytes_in / outcome.seconds / 1e6:.1f}",
            f"{outcome.bytes_in / max(outcome.bytes_out, 1):.2f}",
            f"{outcome.percentile(50) * 1e3:.1f}",
            f"{outcome.percentile(99) * 1e3:.1f}",
            f"{outcome.stall * 1e3:.1f}",
            style="bold red" if trial.wrong else None,
        )
    show(out, rows)
    out.print("Stall: the longest time for which the event loop could do nothing else.")
    out.print("Ratio: bytes in by bytes out; inline at level 6, backends as configured.\n")


def _print_queues(out: Console, trials: Sequence[Trial]) -> None:
    """What ran where: each queue that was used, below its device."""
    rows = table(
        "Queue", ("Node", "right"), ("Requests", "right"), ("Inline", "right"), ("MB in", "right"), ("MB out", "right"),
        title="What ran where",
    )  # fmt: skip
    for statistics in filter(None, (trial.statistics for trial in trials)):
        for place in statistics.places:
            node = "any" if place.numa_node is None else str(place.numa_node)
            for lane in statistics.lanes:
                done = lane.completed + lane.inline
                if done and lane.device == place.name:
                    rows.add_row(
                        lane.name, node, f"{done}", f"{lane.inline}", f"{lane.bytes_in / 1e6:.1f}",
                        f"{lane.bytes_out / 1e6:.1f}",
                    )  # fmt: skip
    if rows.rows:
        show(out, rows)


def _print_samples(out: Console, trials: Sequence[Trial]) -> None:
    rows = table(("Request", "right"), "Queue", "By", ("ms", "right"), "Why", title="Some of the requests")
    seen: dict[Reason, None] = {}
    for trial in trials:
        for index, result in sorted(trial.samples.items(), key=lambda sample: sample[1].consumed):
            seen[result.reason] = None
            nbytes, latency = len(trial.outcome.requests[index]), f"{result.latency * 1e3:.2f}"
            rows.add_row(
                size(nbytes), _queue(result), result.where or "–", latency, result.reason.name.lower()
            )
    if not seen:
        return
    show(out, rows)
    for reason in seen:
        out.print(f"{reason.name.lower()}: {REASONS[reason]}.")


def _queue(result: Result) -> str:
    """Backend, device and queue."""
    place = f"{result.backend}/{result.device}"
    return result.queue if result.queue.startswith(place) else f"{place} {result.queue}"


def _print_faults(out: Console, trials: Sequence[Trial]) -> None:
    for trial in trials:
        if not trial.fault_count:
            continue
        title = f"{trial.name}: {trial.fault_count} page faults, the first {len(trial.faults)}"
        rows = table(
            ("Address", "right"), "Access", ("PASID", "right"), "Answer", ("ms", "right"), title=title
        )
        for fault in trial.faults:
            access = str(fault.access.name or fault.access).lower()
            answer = "–" if fault.response is None else fault.response.name.lower()
            latency = "–" if fault.latency is None else f"{fault.latency * 1e3:.2f}"
            pasid = "–" if fault.pasid is None else str(fault.pasid)
            rows.add_row(f"{fault.address:#x}", access, pasid, answer, latency)
        out.print()
        show(out, rows)
