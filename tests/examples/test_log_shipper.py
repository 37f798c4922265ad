"""The log shipper, against a collector that is not always there."""

import fcntl
import gzip
import os
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.examples.support import EXAMPLES, web

LINES = b"".join(
    b"2026-01-01T00:00:00Z request %d took %d ms\n" % (number, number % 97) for number in range(30_000)
)


class Collector(BaseHTTPRequestHandler):
    """Takes batches; refuses as many as it is told."""

    batches: ClassVar[dict[str, bytes]] = {}
    refusals = 0
    gate = threading.Event()
    asked = threading.Event()

    def log_message(self, *words: object) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        cls = type(self)
        cls.asked.set()
        cls.gate.wait()
        if cls.refusals:
            cls.refusals -= 1
            self.send_error(503)
            return
        assert self.headers["Content-Encoding"] == "gzip"
        key = self.headers["Idempotency-Key"]
        assert key not in self.batches
        self.batches[key] = gzip.decompress(body)
        self.send_response(204)
        self.end_headers()


@pytest.fixture
def collector() -> Iterator[Any]:
    Collector.batches, Collector.refusals = {}, 0
    Collector.gate.set()
    Collector.asked.clear()
    with web(Collector) as server:
        yield server
        Collector.gate.set()


def start(collector: Any, *arguments: str) -> "subprocess.Popen[bytes]":
    url = f"http://127.0.0.1:{collector.server_port}/logs"
    return subprocess.Popen(
        [sys.executable, "-X", "dev", str(EXAMPLES / "log_shipper.py"), url, *arguments],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_all_lines_arrive_in_order(collector: Any) -> None:
    process = start(collector)
    _, said = process.communicate(LINES + b"without an end", timeout=100)
    assert process.returncode == 0, said
    assert b"".join(Collector.batches.values()) == LINES + b"without an end"
    assert 2 < len(Collector.batches) < 20
    assert b"30001 lines in" in said


def test_a_collector_that_is_away_for_a_while(collector: Any) -> None:
    Collector.refusals = 3
    process = start(collector)
    _, said = process.communicate(LINES, timeout=100)
    assert process.returncode == 0, said
    assert b"".join(Collector.batches.values()) == LINES


def test_a_line_does_not_wait_for_others_and_a_signal_ships_the_rest(collector: Any) -> None:
    process = start(collector)
    assert process.stdin is not None
    process.stdin.write(b"alone\n")
    process.stdin.flush()
    while not Collector.batches:
        assert process.poll() is None
        time.sleep(0.02)
    process.stdin.write(b"the last one\n")
    process.stdin.flush()
    while b"the last one\n" not in b"".join(Collector.batches.values()):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0, "though the input is still open"
    process.stdin.close()
    assert process.stderr is not None
    assert b"2 lines in" in process.stderr.read()
    process.stderr.close()


def test_a_signal_loses_nothing_that_was_read(collector: Any) -> None:
    """Not in any queue of the program, while the collector is slow and the pipe is full."""
    process, lines, full = start(collector), LINES * 5, 0
    assert process.stdin is not None
    os.set_blocking(process.stdin.fileno(), False)
    Collector.gate.clear()
    written = os.write(process.stdin.fileno(), lines[:5000])
    assert Collector.asked.wait(60), "then it is there, and hears signals"
    while full < 50:
        try:
            written += os.write(process.stdin.fileno(), lines[written : written + 5000])
            full = 0
        except BlockingIOError:
            full += 1
            time.sleep(0.01)
        assert written < len(lines), "it reads on and on"
    process.send_signal(signal.SIGTERM)
    Collector.gate.set()
    assert process.wait(60) == 0
    left = int.from_bytes(fcntl.ioctl(process.stdin.fileno(), termios.FIONREAD, bytes(4)), sys.byteorder)
    assert b"".join(Collector.batches.values()) == lines[: written - left]
    process.stdin.close()
    assert process.stderr is not None
    process.stderr.close()


def test_a_line_without_an_end(collector: Any) -> None:
    """It goes in parts, and none of them is more than a batch and what is read at once."""
    process = start(collector)
    _, said = process.communicate(LINES.replace(b"\n", b" ") * 3, timeout=100)
    assert process.returncode == 0, said
    assert b"".join(Collector.batches.values()) == LINES.replace(b"\n", b" ") * 3
    assert max(map(len, Collector.batches.values())) <= 256 * 1024 + 65536


def test_a_collector_that_takes_nothing(collector: Any) -> None:
    Collector.refusals = 1000
    process = start(collector, "--tries", "2")
    _, said = process.communicate(LINES, timeout=100)
    assert process.returncode == 1
    assert b"did not take batch 0 in 2 tries" in said
    assert b"Traceback" not in said


def test_a_file(collector: Any, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(LINES)
    with path.open("rb") as file:
        process = subprocess.run(
            [sys.executable, str(EXAMPLES / "log_shipper.py"), f"http://127.0.0.1:{collector.server_port}/"],
            stdin=file,
            capture_output=True,
            timeout=100,
            check=False,
        )
    assert process.returncode == 0, process.stderr
    assert b"".join(Collector.batches.values()) == LINES
