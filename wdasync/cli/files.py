"""``wdasync compress`` and ``wdasync decompress``: whole files, in constant memory."""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from .. import Accelerator, DataError, open_accelerator
from ..registry import nearest
from .commands import Failure, Name, printable
from .output import console, progress, size
from .running import run
from .transfer import STANDARD, Input, Output

__all__ = ["SUFFIXES", "compress", "decompress"]

#: Algorithm -> the suffix of its files.
SUFFIXES: Final[dict[str, str]] = {
    "gzip": ".gz",
    "zlib": ".zz",
    "deflate": ".deflate",
    "br": ".br",
    "zstd": ".zst",
    "lz4": ".lz4",
}

Chunks = AsyncGenerator[bytes, None]
Steps = Callable[[Accelerator, Chunks], Chunks]

Command = TypeVar("Command", bound=Callable[..., Any])


class LevelType(click.ParamType[str | int]):
    """A name, or a number of the algorithm's own scale, which the accelerator checks."""

    name = "level"

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | int:
        """A name or a number."""
        if isinstance(value, int) or value in ("fast", "balanced", "best"):
            return value
        try:
            return int(value)
        except ValueError:
            self.fail(f'expected "fast", "balanced", "best" or a number, got {value!r}', param, ctx)


@dataclass(frozen=True, slots=True)
class Job:
    """What the options of both commands say."""

    file: str
    output: str | None
    algorithm: str | None
    keep: bool
    force: bool
    quiet: bool
    backend: str | None


OPTIONS: Final = (
    click.argument("file", metavar="FILE", type=Name()),
    click.option(
        "-o", "--output", metavar="PATH", type=Name(), help="Where the result goes; - is standard output."
    ),
    click.option(
        "-a",
        "--algorithm",
        metavar="NAME",
        type=Name(),
        help=f"One of {', '.join(SUFFIXES)}, or what a backend has.",
    ),
    click.option(
        "-k/-K",
        "--keep/--remove",
        default=True,
        help="Keep FILE (default), or remove it afterwards; no symbolic link is removed.",
    ),
    click.option("-f", "--force", is_flag=True, help="Replace an existing file; write to a terminal."),
    click.option("-q", "--quiet", is_flag=True, help="No progress bar, no summary."),
    click.option(
        "-b", "--backend", metavar="NAME", type=Name(), help="Use this backend; several: cpu,other."
    ),
)


def _options(command: Command) -> Command:
    for option in reversed(OPTIONS):
        command = option(command)
    return command


@click.command(short_help="Compress a file.")
@_options
@click.option(
    "-l", "--level", type=LevelType(), default=None, help="fast, balanced, best, or the algorithm's number."
)
def compress(level: str | int | None, **options: Any) -> None:
    """Compress FILE into FILE.gz, or what the algorithm's suffix is. - is standard input.

    FILE is kept. The result takes over its permissions and time, and appears only when it is complete.
    """
    job = Job(**options)
    algorithm = job.algorithm or _algorithm_of(job.output) or "gzip"

    def steps(accelerator: Accelerator, chunks: Chunks) -> Chunks:
        return accelerator.compress_stream(chunks, algorithm, level=level)

    _transfer(job, job.output or _compressed_name(job.file, algorithm), steps, text=job.force)


@click.command(short_help="Decompress a file.")
@_options
def decompress(**options: Any) -> None:
    """Decompress FILE into FILE without its suffix. - is standard input, taken for gzip unless -a says otherwise.

    FILE is kept. The result takes over its permissions and time, and appears only when it is complete.
    """
    job = Job(**options)
    algorithm = job.algorithm or _algorithm_of(job.file)
    if algorithm is None and job.file == STANDARD:
        algorithm = "gzip"
    if algorithm is None:
        raise click.UsageError(
            f"{job.file}: expected a name that ends in {', '.join(SUFFIXES.values())}; "
            "say with -a which algorithm it is"
        )

    def steps(accelerator: Accelerator, chunks: Chunks) -> Chunks:
        return accelerator.decompress_stream(chunks, algorithm)

    _transfer(job, job.output or _plain_name(job.file, algorithm), steps, text=True)


def _algorithm_of(name: str | None) -> str | None:
    """What the suffix says."""
    suffix = "" if name is None else Path(name).suffix
    return next((algorithm for algorithm, known in SUFFIXES.items() if known == suffix), None)


def _compressed_name(file: str, algorithm: str) -> str:
    if file == STANDARD:
        return STANDARD
    if algorithm not in SUFFIXES:
        raise _no_suffix(algorithm)
    if file.endswith(SUFFIXES[algorithm]):
        raise click.UsageError(
            f"{file}: has the suffix {SUFFIXES[algorithm]} already; name the result with -o"
        )
    return file + SUFFIXES[algorithm]


def _no_suffix(algorithm: str) -> click.UsageError:
    meant = nearest(algorithm, SUFFIXES)
    return click.UsageError(f"no suffix is known for {algorithm!r}{meant}; name the result with -o")


def _plain_name(file: str, algorithm: str) -> str:
    if file == STANDARD:
        return STANDARD
    if algorithm not in SUFFIXES:
        raise _no_suffix(algorithm)
    suffix = SUFFIXES[algorithm]
    if not file.endswith(suffix) or Path(file).name == suffix:
        raise click.UsageError(f"{file}: no suffix of {algorithm} to cut off; name the result with -o")
    return file.removesuffix(suffix)


def _transfer(job: Job, target: str, steps: Steps, *, text: bool) -> None:
    """Read, send through the accelerator, write; then name the result.

    :param text: the result may go to a terminal
    """
    if not job.keep and job.file == STANDARD:
        raise click.UsageError("--remove needs a file, got standard input")
    if not job.keep and target == STANDARD:
        raise click.UsageError("--remove needs a file for the result, got standard output")
    started = time.monotonic()
    with Input(job.file) as source:
        _check_removable(job, source)
        if _is(source.stat, target):
            name = "standard output" if target == STANDARD else target
            raise Failure(f"{name}: is the input itself; name another file with -o")
        try:
            result = run(lambda: _pump(job, source, target, steps, text=text))
        except DataError as error:
            raise DataError(f"{source.name}: {error}", cause=error.cause) from error
        if not job.keep and source.path is not None:
            _remove(source.path, source.stat)
    if not job.quiet:
        _summary(source, result, time.monotonic() - started)


def _check_removable(job: Job, source: Input) -> None:
    """With a link only the link would go, as a surprise; gzip, xz and zstd refuse it, too."""
    if job.keep or source.path is None:
        return
    if source.size is None:
        raise click.UsageError(f"--remove needs a regular file, got {source.name}")
    if source.path.is_symlink():
        raise click.UsageError(
            f"--remove needs a regular file, got {source.name}, a symbolic link; name the file it points to"
        )


def _is(source: os.stat_result, target: str) -> bool:
    """Whether the result would go into what is read. A terminal or a connection may be both.

    :param target: a path, or ``-``
    """
    if target == STANDARD and sys.stdout is None:
        return False  # It is closed, and its number may be that of the input. That is told when it is opened.
    try:
        result = os.fstat(1) if target == STANDARD else os.stat(target)  # noqa: PTH116  Path forgets a slash at the end
    except OSError:  # It is not there yet. What else it may be is told when it is opened.
        return False
    both_ways = stat.S_ISCHR(result.st_mode) or stat.S_ISSOCK(result.st_mode)
    return os.path.samestat(source, result) and not both_ways


def _remove(path: Path, read: os.stat_result) -> None:
    """Remove what was read; what has its name now may be something else, as of a log that was rotated.

    :param read: of the file, before it was read
    :raises Failure: if it is, or was written to meanwhile
    """
    now = path.stat()
    if any(
        getattr(now, name) != getattr(read, name) for name in ("st_dev", "st_ino", "st_size", "st_mtime_ns")
    ):
        raise Failure(
            f"{path}: was changed, or is another file, since it was read: it is kept, and so is the result"
        )
    path.unlink()


async def _pump(job: Job, source: Input, target: str, steps: Steps, *, text: bool) -> Output:
    """Make the result, and name it. A signal cancels this, so none comes between a file and its removal."""
    backend = tuple(job.backend.split(",")) if job.backend else None
    with Output(target, force=job.force, text=text) as result:
        if not job.keep and not result.is_file:
            raise click.UsageError(f"--remove needs a file for the result, got {result.name}")
        await result.begin()
        with progress(printable(Path(source.name).name), source.size, quiet=job.quiet) as advance:
            async with open_accelerator(backend) as accelerator:
                async with (
                    aclosing(source.chunks(advance)) as chunks,
                    aclosing(steps(accelerator, chunks)) as pieces,
                ):
                    async for piece in pieces:
                        await result.write(piece)
        regular = source.path is not None and source.size is not None
        result.commit(source.stat if regular else None, durable=not job.keep)
    return result


def _summary(source: Input, result: Output, seconds: float) -> None:
    """One line, on a terminal only: a pipeline wants to hear nothing but errors."""
    shown = console(stderr=True)
    if shown.is_terminal and result.path is not None:
        before = "" if source.size is None else f"{size(source.size)} → "
        names = printable(f"{source.name} → {result.name}")
        shown.print(f"{names}: {before}{size(result.written)}, {seconds:.2f} s")
