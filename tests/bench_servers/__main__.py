"""``python -m tests.bench_servers``: measure compression in web servers, from outside."""

from __future__ import annotations

import importlib.metadata
import json
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from wdasync.cli.benchmarks.machine import describe

from . import pictures
from .results import Report, document
from .rounds import body_lengths, page_turn, rounds, storm_turn
from .servers import SIDES, run

#: Program -> the Debian package that has it.
PROGRAMS: Final = {"wrk": "wrk", "nginx": "nginx-light"}
DISTRIBUTIONS: Final = ("aiohttp", "granian", "isal", "starlette", "starlette-compress", "uvicorn", "uvloop")
CASES: Final = {"page": page_turn, "storm": storm_turn}


def versions() -> dict[str, str]:
    """Of the programs and packages under measurement."""
    said = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr
    found = {name: importlib.metadata.version(name) for name in DISTRIBUTIONS}
    return {**found, "nginx": said.partition("/")[2].strip()}


@click.command()
@click.option("--case", "cases", multiple=True, type=click.Choice(list(CASES)), help="Default: all.")
@click.option("--side", "sides", multiple=True, type=click.Choice(list(SIDES)), help="Default: all.")
@click.option(
    "--rounds", "count", default=7, show_default=True, type=click.IntRange(1), help="Turns of each side."
)
@click.option("--seconds", default=3, show_default=True, type=click.IntRange(1, 60), help="Length of a turn.")
@click.option("--json", "output", type=click.Path(path_type=Path), help="Write every turn there.")
@click.option("--chart", type=click.Path(path_type=Path), help="Draw it there, as .svg or .png.")
def main(
    cases: tuple[str, ...],
    sides: tuple[str, ...],
    count: int,
    seconds: int,
    output: Path | None,
    chart: Path | None,
) -> None:
    """Measure compression in web servers. The machine should have nothing else to do."""
    if missing := [package for program, package in PROGRAMS.items() if not shutil.which(program)]:
        raise click.ClickException(f"a program is missing; type: apt install {' '.join(missing)}")
    machine = describe()
    names = [name for name in SIDES if not sides or name in sides]
    turns = {}
    with tempfile.TemporaryDirectory(prefix="wdasync-bench-") as folder:
        Path(folder).chmod(0o755)  # nginx's workers are somebody else
        with run(names, Path(folder)) as servers:
            lengths = body_lengths(servers)
            for case in cases or CASES:
                turns[case] = rounds(
                    servers,
                    CASES[case],
                    count=count,
                    seconds=seconds,
                    tell=lambda text: click.echo(text, err=True),
                )
    command = shlex.join(["nox", "-s", "bench-servers", "--", *sys.argv[1:]])
    report = Report(command, machine, versions(), seconds, lengths, turns)
    pictures.show(Console(width=120), report)
    if output is not None:
        output.write_text(json.dumps(document(report), indent=1, ensure_ascii=False) + "\n")
    if chart is not None:
        pictures.draw(chart, report)


if __name__ == "__main__":
    main()
