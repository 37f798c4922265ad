"""The command line runs on the mock backend here: no device, no thread, no compiled code."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from wdasync.cli import app

Invoke = Callable[..., Result]
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings of the person who runs the tests, and nothing written elsewhere."""
    for name in [name for name in os.environ if name.startswith("WDASYNC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WDASYNC_BACKEND", "mock")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def invoke() -> Invoke:
    """Run a command line in this process."""

    def run(*arguments: str | Path, **environ: str) -> Result:
        result = CliRunner(env=environ).invoke(app, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception  # a bug: errors are turned into a line and a status
        return result

    return run


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a command line in a process of its own, with pipes. Ended, and its pipes closed, with the test."""
    with ExitStack() as stack:

        def run(
            *arguments: str | Path, environ: Mapping[str, str] | None = None, **options: Any
        ) -> "subprocess.Popen[bytes]":
            pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
            process = subprocess.Popen(
                [sys.executable, "-m", "wdasync", *map(str, arguments)],
                env={**os.environ, **(environ or {})},
                **{**pipes, **options},
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield run


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A file of some megabytes: more than one chunk, and compressible."""
    path = tmp_path / "page.html"
    path.write_bytes(b"".join(b"<p>%d is %x</p>\n" % (number, number**7) for number in range(80_000)))
    return path
