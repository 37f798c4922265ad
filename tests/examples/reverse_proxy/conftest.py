"""The proxy as a user starts it, in each of its models, before a server that does what the path says."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.examples.reverse_proxy.origin import Origin, origin
from tests.traffic import Process

CHECKOUT = Path(__file__).parents[3]
MODELS = ["rtc", "pipeline", "plain"]


class Proxy:
    """A proxy that runs."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.said = ""
        self.told: list[str] = []
        assert process.stdout is not None
        self.greeting = process.stdout.readline()
        found = re.search(r"listening on port (\d+)", self.greeting)
        assert found is not None, (self.greeting, process.stderr and process.stderr.read())
        self.port = int(found[1])

    def connect(self) -> socket.socket:
        """A client."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def ask(self, request: bytes, *, end: bool = False) -> bytes:
        """Send something, and give back what comes until the proxy closes.

        :param end: say that nothing more will be sent
        """
        with self.connect() as client:
            client.sendall(request)
            if end:
                client.shutdown(socket.SHUT_WR)
            return receive_all(client)

    def lose(self) -> None:
        """Its best device goes away. Only of one that was started as ``mortal``."""
        self.process.send_signal(signal.SIGUSR1)

    @property
    def cpu(self) -> float:
        """Seconds of CPU time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def descriptors(self) -> int:
        return Process(self.process.pid).descriptors

    @property
    def memory(self) -> int:
        """Bytes that are resident."""
        return Process(self.process.pid).memory


def receive_all(client: socket.socket) -> bytes:
    found = b""
    while data := client.recv(1 << 16):
        found += data
    return found


@contextmanager
def proxy(
    upstream: str,
    *arguments: str,
    module: str = "examples.reverse_proxy",
    tells: str = "",
    **environment: str,
) -> Iterator[Proxy]:
    """A proxy, until it is told to stop. It must end without a complaint.

    :param module: what is run
    :param tells: a pattern of lines that it may have to say about others, such as a device that was lost
    """
    process = subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-W", "error::ResourceWarning", "-m", module,
         "--port", "0", "--upstream", upstream, "--grace", "0.5", *arguments],
        cwd=CHECKOUT, env={**os.environ, **environment}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        running = Proxy(process)
        yield running
    finally:
        process.send_signal(signal.SIGTERM)
        said, complaints = process.communicate(timeout=60)
    running.said = said
    running.told = [line for line in complaints.splitlines() if tells and re.search(tells, line)]
    assert process.returncode == 0, complaints
    assert len(complaints.splitlines()) == len(running.told), complaints


Start = Callable[..., Proxy]


@pytest.fixture(scope="module")
def server() -> Iterator[Origin]:
    with origin() as it:
        yield it


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def shared(server: Origin, model: str) -> Iterator[Proxy]:
    """One for all tests that leave it as it was."""
    with proxy(server.address, "--model", model) as it:
        yield it


@pytest.fixture
def start(server: Origin, model: str) -> Iterator[Start]:
    """Starts another, with arguments."""
    with ExitStack() as stack:
        yield lambda *arguments, **environment: stack.enter_context(
            proxy(server.address, "--model", model, *arguments, **environment)
        )
