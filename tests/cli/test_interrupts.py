"""However it is ended from outside, a command says so, leaves nothing half-done, and has the right status."""

import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Start

#: A device that takes minutes for each operation, and an accelerator that does not wait for it when closed.
SLOW = {"WDASYNC_MOCK_LATENCY": "300", "WDASYNC_CLOSE_TIMEOUT": "0.05"}

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT]


def wait_for_part(folder: Path, process: "subprocess.Popen[bytes]") -> None:
    """Until the command is in the middle of its work."""
    while not list(folder.glob(".*.wdasync-part")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("existing", [False, True], ids=["new", "replacing"])
def test_a_signal_leaves_no_half_file(
    start: Start, page: Path, tmp_path: Path, number: signal.Signals, existing: bool
) -> None:
    content = page.read_bytes()
    target = tmp_path / "page.html.gz"
    if existing:
        target.write_text("mine")
    process = start("compress", "--force", "--remove", page, environ=SLOW)
    wait_for_part(tmp_path, process)
    time.sleep(0.2)  # It may be anywhere between opening its files and waiting for the device: all must do.
    process.send_signal(number)
    _, messages = process.communicate()
    assert process.returncode == 128 + number
    assert messages.decode() == f"Ended by {number.name}.\n"
    assert {path.name for path in tmp_path.iterdir()} == {"page.html"} | (
        {target.name} if existing else set()
    )
    assert page.read_bytes() == content
    assert not existing or target.read_text() == "mine"


def test_a_signal_that_is_ignored_stays_ignored(start: Start, page: Path, tmp_path: Path) -> None:
    process = start(
        "compress",
        page,
        environ={"WDASYNC_MOCK_LATENCY": "0.2"},
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    wait_for_part(tmp_path, process)
    process.send_signal(signal.SIGHUP)
    assert process.wait() == 0
    assert (tmp_path / "page.html.gz").exists()


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_the_wait_for_standard_input(
    start: Start, tmp_path: Path, number: signal.Signals
) -> None:
    process = start("compress", "-", "-o", tmp_path / "x.gz")
    wait_for_part(tmp_path, process)
    process.send_signal(number)
    assert process.wait() == 128 + number
    assert list(tmp_path.iterdir()) == []


def test_a_signal_ends_the_wait_for_a_slow_reader(start: Start, page: Path) -> None:
    process = start("compress", "-l", "0", page, "-o", "-")
    assert process.stdout is not None
    assert process.stdout.read(1)  # It writes; the pipe is smaller than the file, so it comes to wait.
    process.send_signal(signal.SIGINT)
    assert process.wait() == 128 + signal.SIGINT
