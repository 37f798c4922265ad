"""The table of commands, ours and those of plug-ins, and what becomes of an error."""

from __future__ import annotations

import io
import math
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Final, NoReturn

import click

from ..errors import WdasyncError

__all__ = ["COMMANDS", "GROUP", "Failure", "Finite", "Name", "app", "ended_by", "main", "printable"]

#: Entry-point group of plug-in commands: name of the command -> a :class:`click.Command`.
GROUP: Final = "wdasync.commands"

#: Name -> module and attribute. A module is imported when its command is asked for.
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "compress": (".files", "compress"),
    "decompress": (".files", "decompress"),
    "devices": (".devices", "devices"),
    "doctor": (".doctor", "doctor"),
    "config": (".settings", "config"),
    "demo": (".demo", "demo"),
    "bench": (".bench", "bench"),
}


class Failure(click.ClickException):
    """A clear line on standard error, and status 1."""

    def format_message(self) -> str:
        """The line."""
        return printable(self.message)


def printable(text: str) -> str:
    """As it is, but for what may stand in a file's name and would command a terminal, or begin another line."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


class Finite(click.FloatRange):
    """A number in a range; "nan" is in every one of click's."""

    def convert(self, value: float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """A float."""
        found: float = super().convert(value, param, ctx)
        if not math.isfinite(found):
            self.fail(f"expected a number of seconds, got {value}", param, ctx)
        return found


class Name(click.ParamType[str]):
    """Of a file, a backend, an algorithm. One that is empty is a variable of a script that was never set."""

    name = "name"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name."""
        if not value:
            self.fail("expected a name, got an empty one", param, ctx)
        return value


def ended_by(number: signal.Signals) -> click.exceptions.Exit:
    """What to raise when a signal ended the command: it says so, and leaves with the status that shells expect."""
    click.echo(f"Ended by {number.name}.", err=True)
    return click.exceptions.Exit(128 + number)


class Commands(click.Group):
    """Our commands by :data:`COMMANDS`, then those of plug-ins. A plug-in cannot replace one of ours."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Ours in the order of the table, then the plug-ins' by name."""
        return [*COMMANDS, *sorted(set(_plug_ins()) - set(COMMANDS))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command."""
        if cmd_name in COMMANDS:
            module, attribute = COMMANDS[cmd_name]
            command = getattr(import_module(module, __package__), attribute)
            assert isinstance(command, click.Command)
            return command
        point = _plug_ins().get(cmd_name)
        return None if point is None else _load(point)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """--help and --version are answered here."""
        with _explaining():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; errors become one line and a status."""
        with _explaining():
            return super().invoke(ctx)


def _plug_ins() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def _load(point: EntryPoint) -> click.Command:
    """The plug-in's command, or one in its place that says why there is none."""
    try:
        command = point.load()
        if isinstance(command, click.Command):
            return command
        problem = f"expected a click.Command, got {type(command).__name__}"
    except Exception as error:  # noqa: BLE001  a stranger's module; one that is broken must not break --help
        problem = f"cannot be imported: {error}"

    def say() -> NoReturn:
        raise Failure(f"command {point.name!r} ({point.value}): {problem}; reinstall the package it is from")

    anything = {"ignore_unknown_options": True, "allow_extra_args": True}
    short_help = f"({problem})"
    return click.Command(
        point.name, callback=say, context_settings=anything, short_help=short_help, add_help_option=False
    )


@contextmanager
def _explaining() -> Iterator[None]:
    """Errors become one line and a status. That standard output takes nothing is one of them."""
    try:
        yield
        _flush()
    except KeyboardInterrupt:
        raise ended_by(signal.SIGINT) from None
    except BaseExceptionGroup as group:
        _explain(next(_leaves(group)))
    except (WdasyncError, OSError) as error:
        _explain(error)


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _explain(error: BaseException) -> NoReturn:
    """One line instead of a traceback, for what is not a bug."""
    if isinstance(error, BrokenPipeError) or not isinstance(error, WdasyncError | OSError):
        raise error  # click ends quietly on a broken pipe
    if os.environ.get("WDASYNC_DEBUG"):
        click.echo("".join(traceback.format_exception(error)), err=True)
    if isinstance(error, OSError) and error.strerror:
        name = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        raise Failure(f"{name}{error.strerror}") from error
    raise Failure(str(error) or type(error).__name__) from error


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="wdasync")
def app() -> None:
    """Compress on an accelerator chip, on a software model of it, or on CPU threads.

    Settings come from WDASYNC_* variables and ./wdasync.toml; `wdasync config` shows those that hold.
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command line and leave.

    :param arguments: instead of those of the process
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(
                errors="replace"
            )  # An arrow that the terminal cannot show is no reason to fail.
    try:
        app.main(arguments, prog_name="wdasync")
    finally:
        _give_up_output()
    raise AssertionError("click leaves by SystemExit")


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def _give_up_output() -> None:
    """Python would try again at its end to write what could not be written, and complain."""
    try:
        _flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
