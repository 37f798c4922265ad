"""The table of commands, plug-ins, and what becomes of errors."""

import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import IO

import click
import pytest

from tests.cli.conftest import Invoke, Start
from wdasync.cli import app, main
from wdasync.cli.commands import COMMANDS, GROUP
from wdasync.errors import DataError


def plug_in(monkeypatch: pytest.MonkeyPatch, folder: Path, source: str, name: str = "greet") -> None:
    """Install a command of that name, whose module has that source."""
    (folder / "stranger.py").write_text(source)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "stranger", raising=False)
    points = {name: EntryPoint(name, "stranger:command", GROUP)}
    monkeypatch.setattr("wdasync.cli.commands._plug_ins", lambda: points)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help(invoke: Invoke, name: str) -> None:
    assert f"  {name} " in invoke("--help").output
    result = invoke(name, "-h")
    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: app {name} [OPTIONS]")


def test_each_line_of_the_help_fits(invoke: Invoke) -> None:
    help_text = invoke("--help").output
    assert "..." not in help_text.partition("Commands:")[2]
    assert max(map(len, help_text.splitlines())) <= 80


def test_version(invoke: Invoke) -> None:
    result = invoke("--version")
    assert result.exit_code == 0
    assert "version" in result.output


def test_an_unknown_command(invoke: Invoke) -> None:
    result = invoke("comprss", "x")
    assert result.exit_code == 2
    assert "No such command 'comprss'" in result.stderr


def test_the_script_and_the_module_are_the_same(start: Start) -> None:
    output, _ = start("--version").communicate()
    assert output.startswith(b"wdasync, version ")


def test_main_leaves_with_the_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["compress", "nowhere"])
    assert left.value.code == 1
    assert capsys.readouterr().err == "Error: nowhere: No such file or directory\n"


def test_a_terminal_that_cannot_show_an_arrow(start: Start) -> None:
    process = start("doctor", environ={"PYTHONIOENCODING": "iso-8859-1", "WDASYNC_BACKEND": "nobody"})
    output, messages = process.communicate()
    assert process.returncode == 1
    assert b"? correct it" in output
    assert messages == b""


# --- plug-ins ------------------------------------------------------------------------------------------


def test_a_plug_in_command(invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "import click\n@click.command()\n@click.argument('who')\ndef command(who):\n    'Say hello.'\n    click.echo(f'hello {who}')\n"
    plug_in(monkeypatch, tmp_path, source)
    assert invoke("greet", "you").output == "hello you\n"
    assert "Say hello." in invoke("--help").output


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("import nothing_of_that_name", "No module named 'nothing_of_that_name'"),
        ("raise RuntimeError('not today')", "not today"),
        ("", "has no attribute 'command'"),
        ("command = print", "expected a click.Command, got builtin_function_or_method"),
    ],
)
def test_a_broken_plug_in_harms_nobody_else(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, problem: str
) -> None:
    plug_in(monkeypatch, tmp_path, source)
    assert invoke("--help").exit_code == 0
    result = invoke("greet", "you", "--loud")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: command 'greet' (stranger:command): ")
    assert problem in result.stderr
    assert result.stderr.endswith("reinstall the package it is from\n")


def test_a_plug_in_cannot_replace_a_command(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plug_in(monkeypatch, tmp_path, "raise RuntimeError", name="devices")
    assert invoke("devices").exit_code == 0
    assert invoke("--help").output.count("\n  devices ") == 1


# --- errors --------------------------------------------------------------------------------------------

ERRORS = [
    (DataError("the text"), "Error: the text\n"),
    (PermissionError(13, "Permission denied", "/some/file"), "Error: /some/file: Permission denied\n"),
    (OSError(24, "Too many open files"), "Error: Too many open files\n"),
    (OSError("no errno"), "Error: no errno\n"),
    (TimeoutError(), "Error: TimeoutError\n"),
    (ExceptionGroup("", [ExceptionGroup("", [DataError("inside")])]), "Error: inside\n"),
]


def raiser(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    @click.command()
    def fail() -> None:
        raise error

    monkeypatch.setitem(app.commands, "fail", fail)
    monkeypatch.setattr(type(app), "get_command", lambda self, ctx, name: self.commands.get(name))


@pytest.mark.parametrize(("error", "line"), ERRORS)
def test_an_error_is_one_line(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, error: Exception, line: str
) -> None:
    raiser(monkeypatch, error)
    result = invoke("fail")
    assert (result.exit_code, result.stderr) == (1, line)


def test_debugging_shows_the_traceback(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    raiser(monkeypatch, DataError("the text"))
    result = invoke("fail", WDASYNC_DEBUG="1")
    assert result.exit_code == 1
    assert "Traceback (most recent call last)" in result.stderr
    assert "in fail" in result.stderr
    assert result.stderr.endswith("Error: the text\n")


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("a bug"), ExceptionGroup("", [ZeroDivisionError("a bug")])]
)
def test_a_bug_stays_one(invoke: Invoke, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    raiser(monkeypatch, error)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        invoke("fail")


def test_an_interrupt_outside_of_any_loop(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    raiser(monkeypatch, KeyboardInterrupt())
    result = invoke("fail")
    assert (result.exit_code, result.stderr) == (130, "Ended by SIGINT.\n")


# --- standard output that takes nothing ------------------------------------------------------------------

WRITERS = {
    "help": ("--help",),
    "help of a command": ("bench", "--help"),
    "version": ("--version",),
    "doctor": ("doctor",),
    "doctor, JSON": ("doctor", "--json"),
    "devices": ("devices",),
    "config": ("config",),
    "demo": ("demo", "-s", "0.01"),
    "a plain print": ("shout",),
}

#: With a command more, that writes as a stranger's might.
PROGRAM = """
import sys
import click
from wdasync.cli import app, main
from wdasync.cli.commands import COMMANDS
COMMANDS["shout"] = ("__main__", "shout")
shout = click.Command("shout", callback=lambda: print("hello"))
main()
"""


def write_to(
    stdout: int | IO[bytes], words: tuple[str, ...], *, buffered: bool
) -> "subprocess.CompletedProcess[bytes]":
    environ = {**os.environ, "PYTHONUNBUFFERED": "" if buffered else "1"}
    command = [sys.executable, "-c", PROGRAM, *words]
    return subprocess.run(
        command, stdout=stdout, stderr=subprocess.PIPE, env=environ, timeout=100, check=False
    )


@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize("words", WRITERS.values(), ids=WRITERS)
def test_a_full_disk_is_one_line(words: tuple[str, ...], buffered: bool) -> None:
    with Path("/dev/full").open("wb") as full:
        done = write_to(full, words, buffered=buffered)
    assert (done.returncode, done.stderr) == (1, b"Error: No space left on device\n")


@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize("words", WRITERS.values(), ids=WRITERS)
def test_a_reader_that_is_gone_is_nothing_to_tell(words: tuple[str, ...], buffered: bool) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = write_to(writer, words, buffered=buffered)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


def test_settings_that_are_wrong(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "page").write_bytes(b"x")
    result = invoke("compress", "page", WDASYNC_DEPT="1")
    assert result.exit_code == 1
    assert "did you mean 'WDASYNC_DEPTH'?" in result.stderr
    assert os.listdir(tmp_path) == ["page"]  # noqa: PTH208  names, not paths
