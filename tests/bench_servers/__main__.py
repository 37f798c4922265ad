"""``python -m tests.bench_servers``: measure compression in web servers, from outside."""

from __future__ import annotations

import importlib.metadata
import json
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

import click
from rich.console import Console

from tests.sbin import look_in_sbin
from wdasync.cli.benchmarks.machine import describe

from . import pictures
from .results import Report, document
from .rounds import (
    Turn,
    body_lengths,
    calm_turn,
    handshake_turn,
    page_turn,
    proxy_turn,
    rounds,
    storm_turn,
)
from .servers import Running, run, start
from .sides import PROXIES, SIDES, TLS_PROXIES, Place, Side, origin

#: Program -> the Debian package that has it.
PROGRAMS: Final = {"wrk": "wrk", "h2load": "nghttp2-client", "nginx": "nginx-light", "openssl": "openssl"}
DISTRIBUTIONS: Final = ("aiohttp", "granian", "isal", "starlette", "starlette-compress", "uvicorn", "uvloop")


class Case(NamedTuple):
    """What is measured together: servers that run at the same time, and take turns.

    :ivar sides: the servers
    :ivar turns: name -> a turn
    """

    sides: Mapping[str, Side]
    turns: Mapping[str, Callable[[Running, float], Turn]]


CASES: Final = (
    Case(SIDES, {"page": page_turn, "storm": storm_turn}),
    Case(PROXIES, {"proxy": proxy_turn}),
    Case(TLS_PROXIES, {"handshake": handshake_turn, "calm": calm_turn}),
)
NAMES: Final = [name for case in CASES for name in case.turns]
EVERY_SIDE: Final = [name for case in CASES for name in case.sides]


def versions() -> dict[str, str]:
    """Of the programs and packages under measurement."""
    said = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr
    found = {name: importlib.metadata.version(name) for name in DISTRIBUTIONS}
    return {**found, "nginx": said.partition("/")[2].strip()}


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """For RSA-2048 in front of a proxy: the certificate, and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    words = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command = ["openssl", "req", *words, "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


@click.command()
@click.option("--case", "cases", multiple=True, type=click.Choice(NAMES), help="Default: all.")
@click.option("--side", "sides", multiple=True, type=click.Choice(EVERY_SIDE), help="Default: all.")
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
    """Measure compression in web servers, and proxies. The machine should have nothing else to do."""
    look_in_sbin()
    if missing := [package for program, package in PROGRAMS.items() if not shutil.which(program)]:
        raise click.ClickException(f"a program is missing; type: apt install {' '.join(missing)}")
    machine, turns, lengths = describe(), {}, {}
    for case in CASES:
        chosen = {name: side for name, side in case.sides.items() if not sides or name in sides}
        wanted = {name: turn for name, turn in case.turns.items() if not cases or name in cases}
        if chosen and wanted:
            found, measured = measure(chosen, wanted, count, seconds)
            lengths |= found
            turns |= measured
    command = shlex.join(["nox", "-s", "bench-servers", "--", *sys.argv[1:]])
    report = Report(command, machine, versions(), seconds, lengths, turns)
    pictures.show(Console(width=120), report)
    if output is not None:
        output.write_text(json.dumps(document(report), indent=1, ensure_ascii=False) + "\n")
    if chart is not None:
        pictures.draw(chart, report)


def measure(
    sides: Mapping[str, Side],
    turns: Mapping[str, Callable[[Running, float], Turn]],
    count: int,
    seconds: int,
) -> tuple[dict[str, int], dict[str, dict[str, list[Turn]]]]:
    """Lengths of the pages, and the turns, of sides that run at the same time."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wdasync-bench-")))
        folder.chmod(0o755)  # nginx's workers are somebody else
        place = Place(0, folder)
        if sides.keys() & {**PROXIES, **TLS_PROXIES}.keys():
            behind = stack.enter_context(start("origin", origin, place))
            place = Place(0, folder, behind.port, make_certificate(folder))
        servers = stack.enter_context(run(sides, place))
        lengths = {} if sides.keys() & TLS_PROXIES.keys() else body_lengths(servers)
        measured = {}
        for name, turn in turns.items():
            measured[name] = rounds(
                servers, turn, count=count, seconds=seconds, tell=lambda text: click.echo(text, err=True)
            )
    return lengths, measured


if __name__ == "__main__":
    main()
