"""How the commands write: tables and colours on a terminal, the same words without them elsewhere."""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import click
from rich import box
from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TransferSpeedColumn,
)
from rich.table import Table

__all__ = ["console", "json_option", "progress", "show", "size", "table", "write_json"]

#: Columns that tables have on any terminal. One that is narrower divides their lines; we would have to divide numbers and names.
NARROWEST: Final = 80

json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON, for programs.")


def console(*, stderr: bool = False) -> Console:
    """A console that prints words as they are: no markup, no emoji, no guessed highlighting."""
    found = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not stderr and found.width < NARROWEST:
        found.width = NARROWEST
    return found


def table(*columns: str | tuple[str, str], title: str | None = None) -> Table:
    """An empty table.

    :param columns: headings; with ``"right"`` beside it, a column of numbers
    """
    result = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False)
    for column in columns:
        name, justify = (column, "left") if isinstance(column, str) else column
        result.add_column(name, justify="right" if justify == "right" else "left", overflow="fold")
    return result


def jsonable(value: object) -> object:
    """What JSON can hold of a value: enums by name, sets and tuples as lists, other objects as text."""
    if isinstance(value, enum.Enum):
        return value.name.lower()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): jsonable(part) for key, part in value.items()}
    if isinstance(value, Iterable):
        return [jsonable(part) for part in value]
    return str(value)


def write_json(value: object) -> None:
    """Write a document to standard output. In ASCII, which any encoding keeps, of names that are no text, too."""
    click.echo(json.dumps(jsonable(value), indent=2))


def size(nbytes: float) -> str:
    """``3.2 MB``: three digits or so, decimal units."""
    for unit in ("B", "kB", "MB"):
        if nbytes < 1000:
            return f"{nbytes:.0f} {unit}" if unit == "B" else f"{nbytes:.1f} {unit}"
        nbytes /= 1000
    return f"{nbytes:.1f} GB"


def show(out: Console, renderable: RenderableType, style: str | None = None) -> None:
    """Print. What goes to a file or a pipe gets no blanks at the ends of lines."""
    if out.is_terminal:
        out.print(renderable, style=style)
        return
    with out.capture() as captured:
        out.print(renderable, style=style)
    for line in captured.get().splitlines():
        click.echo(line.rstrip(), file=out.file)


@contextmanager
def progress(text: str, total: int | None, *, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error, on a terminal only.

    :param total: bytes; ``None``: unknown
    :returns: a function that takes the bytes done since it was last called
    """
    shown = console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Progress(*columns, console=shown, transient=True, disable=quiet or not shown.is_terminal) as bar:
        task = bar.add_task(text, total=total)
        yield lambda done: bar.advance(task, done)
