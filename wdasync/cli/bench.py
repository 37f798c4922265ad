"""``wdasync bench``: what an await costs, beside what programs do without an accelerator."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from json import dumps
from pathlib import Path
from typing import Final

import click
from click.core import ParameterSource
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from .backends import find_backends, with_variants
from .benchmarks import charts, tables
from .benchmarks.cases import IN_FLIGHT, PRESETS, cases
from .benchmarks.documents import Origin, Report, document
from .benchmarks.inputs import LARGEST
from .benchmarks.loops import LOOPS, Loop, find_loops, run_on
from .benchmarks.machine import Neighbours, describe
from .benchmarks.rounds import Advance, LoopRun, Plan, run_rounds, steps
from .benchmarks.sides import HOP, OTHERS, OURS, SIDES
from .benchmarks.targets import judge
from .benchmarks.works import WORKS
from .commands import Failure, Finite, Name
from .output import console, write_json
from .workload import read_input

__all__ = ["bench"]

#: Others that keep more of the machine busy than this spoil the result.
BUSY: Final = 0.05

#: Sides that may be left out.
PEERS: Final = [*(name for name in SIDES if name not in (OURS, HOP)), OTHERS]

FILE: Final = click.Path(dir_okay=False, allow_dash=True, path_type=Path)
STDOUT: Final = Path("-")


def _size(text: str) -> int:
    """``1k``, ``16KiB``, ``300``: a number of bytes."""
    short = text.lower().removesuffix("b").removesuffix("i").strip()
    unit = {"k": 1 << 10, "m": 1 << 20}.get(short[-1:], 1)
    digits = short[:-1].strip() if unit > 1 else short
    nbytes = int(digits) * unit if digits.isdecimal() else 0
    if not 1 <= nbytes <= LARGEST:
        raise click.BadParameter(
            f"expected a size from 1 byte to 1 MiB, such as 300, 16k or 1MiB, got {text!r}"
        )
    return nbytes


#: click leaves the lines of a paragraph alone that begins with \\b.
_SIDES: Final = "\b\nSides:\n" + "\n".join(
    f"  {name:12} {SIDES[name].help if name in SIDES else 'the other backends found, and their page faults'}"
    for name in PEERS
)


@click.command(short_help="Measure what an await costs, beside its alternatives.", epilog=_SIDES)
@click.argument("file", required=False, metavar="[FILE]", type=Name())
@click.option("-b", "--backend", metavar="NAME", help="Measure this backend; default: as configured.")
@click.option(
    "--quick", "preset", flag_value="quick", help="Some seconds: no-op and 1 KiB, no other backends."
)
@click.option("--full", "preset", flag_value="full", help="Some minutes: more sizes, and stalls of the loop.")
@click.option(
    "--loop", "loops", multiple=True, type=click.Choice(list(LOOPS)), help="Default: all installed."
)
@click.option("--side", "peers", multiple=True, type=click.Choice(PEERS), help="Compare with these only.")
@click.option(
    "--size",
    "sizes",
    metavar="SIZE",
    multiple=True,
    type=_size,
    help="Compress so much at once, such as 16k.",
)
@click.option(
    "--work", "works", multiple=True, type=click.Choice(list(WORKS)), help="Measure these only, and a no-op."
)
@click.option(
    "--in-flight",
    default=IN_FLIGHT,
    show_default=True,
    type=click.IntRange(1, 4096),
    help="Operations at a time, for throughput.",
)
@click.option("--rounds", type=click.IntRange(1), help="Turns of each side; fewer than 7 say little.")
@click.option("--seconds", type=Finite(0.001, 60), help="Length of a turn.")
@click.option("--json", metavar="FILE", type=FILE, help="Write every round there; - is standard output.")
@click.option("--chart", metavar="FILE", type=FILE, help="Draw the ratios there, as .svg or .png.")
@click.pass_context
def bench(
    ctx: click.Context,
    *,
    file: str | None,
    backend: str | None,
    preset: str | None,
    loops: tuple[str, ...],
    peers: tuple[str, ...],
    sizes: tuple[int, ...],
    works: tuple[str, ...],
    in_flight: int,
    rounds: int | None,
    seconds: float | None,
    json: Path | None,
    chart: Path | None,
) -> None:
    """Measure what an await of the accelerator costs, beside what programs do without it.

    Each side keeps so many operations in flight for a short turn, one side after the other, in many rounds. Ratios are
    of turns of the same round, and what is shown are medians. The other backends found take turns, too, and where pages
    are fetched when a device touches them, so does a page fault. Signatures, digests, ciphers and sequences take turns with the
    same library without the accelerator. What is compressed is cut from FILE, or from the standard
    library's own sources. The machine should have nothing else to do.
    """
    found = find_loops(loops)
    _check_outputs(json, chart)
    base = PRESETS[preset or ""].only(sizes).doing(works).beside(peers)
    source, data = read_input(file)
    found_backends, left_out = find_backends() if base.backends else ([], {})
    others = with_variants(found_backends)
    plan = Plan(
        backend,
        cases(base, in_flight=in_flight, peers=peers, others=others),
        rounds or base.rounds,
        seconds or base.seconds,
        data,
        others,
        left_out,
        base.pages,
    )
    origin = Origin(_command_line(ctx), source, describe())
    out = console(stderr=json == STDOUT)
    _introduce(out, plan, origin)
    neighbours = Neighbours()
    runs = _run(found, plan)
    report = Report(plan, origin, runs, judge(runs), neighbours.share())
    _show(out, report)
    if json == STDOUT:
        write_json(document(report))
    elif json is not None:
        json.write_text(dumps(document(report), indent=1) + "\n")
    if chart is not None:
        charts.draw(chart, report)


def _check_outputs(*paths: Path | None) -> None:
    """Nobody wants to hear of a wrong name after a minute of measuring."""
    for path in paths:
        if (
            path is not None
            and path != STDOUT
            and not os.access(path if path.exists() else path.parent, os.W_OK)
        ):
            raise Failure(f"{path}: expected a file that can be written, in a folder that exists")
    if paths[-1] is not None:
        charts.check(paths[-1])


def _command_line(ctx: click.Context) -> str:
    """What to type to measure the same."""
    words = ["python", "-m", "wdasync", "bench"]
    for param in ctx.command.params:
        name = param.name or ""
        if ctx.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            continue
        value = ctx.params[name]
        if isinstance(param, click.Argument):
            words.append(str(value))
        elif isinstance(param, click.Option) and param.is_flag:
            words += [param.opts[-1]] if param.flag_value == value else []
        else:
            for item in value if isinstance(value, tuple) else [value]:
                words += [param.opts[-1], str(item)]
    return shlex.join(words)


def _run(loops: Sequence[Loop], plan: Plan) -> list[LoopRun]:
    """One loop after the other."""
    runs = []
    with _progress(steps(plan) * len(loops)) as advance:
        for loop in loops:
            tell = partial(_tell, advance, loop.name)
            runs.append(run_on(loop, partial(run_rounds, loop, plan, tell)))
    return runs


def _tell(advance: Advance, loop: str, text: str) -> None:
    advance(f"{loop}, {text}")


@contextmanager
def _progress(total: int) -> Iterator[Advance]:
    """A progress bar on a terminal. It is drawn between two turns only: drawing by itself would take time from them."""
    shown = console(stderr=True)
    columns = (BarColumn(bar_width=20), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(
        *columns, console=shown, transient=True, auto_refresh=False, disable=not shown.is_terminal
    ) as bar:
        task = bar.add_task("", total=total)

        def advance(text: str) -> None:
            bar.update(task, advance=1, description=text, refresh=True)

        yield advance


def _introduce(out: Console, plan: Plan, origin: Origin) -> None:
    out.print(f"{origin.command}\n", style="bold")
    tables.show_machine(out, origin.machine)
    out.print(f"Rounds: {plan.rounds}, with turns of {plan.seconds:g} s. Input: {origin.source}.")
    for why in plan.left_out.values():
        out.print(f"left out: {why}", style="dim")
    out.print()


def _show(out: Console, report: Report) -> None:
    for run in report.runs:
        tables.show_loop(out, run)
    tables.show_legend(out, report.runs)
    tables.show_backends(out, report.runs)
    tables.show_faults(out, report.runs, report.plan.pages)
    tables.show_where(out, report.runs)
    if report.verdicts:
        tables.show_verdicts(out, report.verdicts)
    if report.others is not None and report.others > BUSY:
        out.print(
            f"Other programs used {report.others:.0%} of the machine meanwhile: do not trust these numbers.",
            style="red",
        )
