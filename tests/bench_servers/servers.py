"""Servers as running programs."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from .sides import Command, Place, Side

__all__ = ["Running", "run", "start"]

ROOT: Final = Path(__file__).parents[2]

#: Seconds in which a server has to answer after it was started.
START: Final = 30.0


@dataclass(slots=True)
class Running:
    """A server that answers.

    :ivar side: its name
    :ivar port: on 127.0.0.1
    :ivar process: the first of its processes
    """

    side: str
    port: int
    process: subprocess.Popen[bytes]

    def cpu(self) -> float:
        """CPU seconds of all its processes and threads so far."""
        return sum(_cpu_seconds(pid) for pid in _family(self.process.pid))

    def __str__(self) -> str:
        return self.side


def _family(pid: int) -> Iterator[int]:
    """A process and its descendants."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from _family(int(child))


def _cpu_seconds(pid: int) -> float:
    """User and system time: columns 14 and 15 of ``/proc/PID/stat``, proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def run(sides: Mapping[str, Side], place: Place) -> Iterator[dict[str, Running]]:
    """Start servers, and end them.

    :param place: what they have in common: a folder for the folders of each, what stands behind, a certificate
    :raises RuntimeError: if one does not answer
    """
    with ExitStack() as stack:
        yield {name: stack.enter_context(start(name, side.command, place)) for name, side in sides.items()}


@contextmanager
def start(name: str, command: Command, place: Place) -> Iterator[Running]:
    """Start one, on a port of its own, with a folder of its own."""
    here = replace(place, port=free_port(), folder=place.folder / name)
    here.folder.mkdir(mode=0o755)
    log = here.folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command(here), cwd=ROOT, stdout=output, stderr=output, start_new_session=True
        )
    try:
        _await_answer(name, here.port, process, log)
        yield Running(name, here.port, process)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _await_answer(name: str, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"{name}: expected an answer within {START:g} s, got none; its log: {log.read_text()}")
