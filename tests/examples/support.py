"""Starts examples as a user would, and waits for what they say."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

EXAMPLES = Path(__file__).parents[2] / "examples"
WARNINGS = ["-W", "error::ResourceWarning"]


def run(name: str, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """An example that ends by itself, without a complaint."""
    done = subprocess.run(
        [sys.executable, *WARNINGS, str(EXAMPLES / name), *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done


class Running:
    """An example that serves until it is told to stop."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.said = ""
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"listening on port (\d+)", line)
        assert found is not None, line
        self.port = int(found[1])


@contextmanager
def running(name: str, *arguments: str, **environment: str) -> Iterator[Running]:
    """An example, while it serves. What it said at its end is in ``said`` afterwards."""
    process = subprocess.Popen(
        [sys.executable, *WARNINGS, str(EXAMPLES / name), "--port", "0", *arguments],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        example = Running(process)
        yield example
    finally:
        process.send_signal(signal.SIGTERM)
        said, complaints = process.communicate(timeout=60)
    example.said = said
    assert process.returncode == 0, complaints
    assert not complaints, complaints


@contextmanager
def web(handler: type[BaseHTTPRequestHandler]) -> Iterator[Any]:
    """A web server of the standard library, in a thread."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
