"""Real servers, each started once for all tests of a module."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

HERE = Path(__file__).parent

#: Name -> how to start it: {port} is that to listen on.
SERVERS = {
    "uvicorn": "uvicorn apps:app --host 127.0.0.1 --port {port}",
    "hypercorn": "hypercorn apps:app --bind 127.0.0.1:{port}",
    "hypercorn-trio": "hypercorn apps:app --bind 127.0.0.1:{port} --worker-class trio",
    "granian": "granian --interface asgi apps:app --host 127.0.0.1 --port {port} --no-ws",
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, process: "subprocess.Popen[str]") -> None:
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            pytest.fail(f"the server ended: {process.communicate()}")
        time.sleep(0.1)
    pytest.fail("the server does not listen")


@pytest.fixture(scope="module", params=SERVERS)
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, int]]:
    """The name of a server, and the port where it runs."""
    with serving(request.param, tmp_path_factory.mktemp("server") / "log") as port:
        yield request.param, port


@contextmanager
def serving(name: str, log: Path, **settings: str) -> Iterator[int]:
    """A server, and the port where it runs. It must end without complaints.

    :param log: where what it says is kept
    :param settings: for its environment
    """
    port = free_port()
    words = SERVERS[name].format(port=port).split()
    environment = {**os.environ, "PYTHONWARNINGS": "error::ResourceWarning", **settings}
    with log.open("w") as writer:
        process = subprocess.Popen(
            [sys.executable, "-m", *words], cwd=HERE, env=environment, stdout=writer, stderr=writer, text=True
        )
        try:
            wait_for(port, process)
            yield port
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)
    told = log.read_text()
    assert not re.search("Traceback|never awaited|ResourceWarning|unclosed", told), told
