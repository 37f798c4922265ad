"""What is different on a terminal: a progress bar, a summary, and no compressed bytes onto the screen."""

import gzip
import os
import pty
from pathlib import Path

import pytest

from tests.cli.conftest import Start


def on_terminal(
    start: Start, *arguments: str | Path, stdout: bool = False, **environ: str
) -> tuple[int, str]:
    """Run with standard error (and output, if asked) on a terminal; status and what the terminal was sent."""
    ours, theirs = pty.openpty()
    try:
        streams = {"stderr": theirs, **({"stdout": theirs} if stdout else {})}
        process = start(*arguments, environ={"TERM": "xterm", "COLUMNS": "80", **environ}, **streams)
    finally:
        os.close(theirs)
    shown = b""
    with open(ours, "rb", buffering=0) as terminal:  # noqa: PTH123  a descriptor, not a path
        while True:
            try:
                piece = terminal.read(4096)
            except OSError:  # how Linux says that nobody has the other end open
                break
            if not piece:
                break
            shown += piece
    return process.wait(), shown.decode(errors="replace")


@pytest.mark.parametrize("quiet", [False, True])
def test_progress_and_summary(start: Start, page: Path, quiet: bool) -> None:
    status, shown = on_terminal(start, "compress", page, *(["-q"] if quiet else []))
    assert status == 0
    if quiet:
        assert shown == ""
    else:
        assert "100%" in shown
        assert f"{page} → {page}.gz: " in shown.replace("\r\n", "")


def test_a_strange_name_commands_nothing(start: Start, tmp_path: Path) -> None:
    """In the progress bar and the summary."""
    (tmp_path / "red\x1b[31m").write_bytes(b"hello")
    status, shown = on_terminal(start, "compress", "red\x1b[31m")
    assert status == 0
    assert "red\\x1b[31m \u2192 red\\x1b[31m.gz: 5 B" in shown
    assert "red\x1b[31m" not in shown


def test_no_compressed_bytes_on_a_terminal(start: Start, page: Path) -> None:
    status, shown = on_terminal(start, "compress", page, "-o", "-", stdout=True)
    assert status == 1
    assert "standard output is a terminal; name a file with -o, or give --force" in shown.replace("\r\n", " ")


def test_unless_forced(start: Start, page: Path) -> None:
    status, _ = on_terminal(start, "compress", "-f", "-q", page, "-o", "-", stdout=True)
    assert status == 0


def test_decompressed_text_may_go_there(start: Start, tmp_path: Path) -> None:
    (tmp_path / "x.gz").write_bytes(gzip.compress(b"hello\n"))
    status, shown = on_terminal(start, "decompress", "-q", "x.gz", "-o", "-", stdout=True)
    assert (status, shown) == (0, "hello\r\n")


def test_colours_only_on_a_terminal(start: Start) -> None:
    status, shown = on_terminal(start, "devices", stdout=True)
    assert status == 0
    assert "\x1b[" in shown
    output, _ = start("devices").communicate()
    assert b"\x1b[" not in output
