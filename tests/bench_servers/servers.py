"""The servers under measurement: a table, and one of them as a running program."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .bodies import LARGE, PAGE, SMALL

__all__ = ["OURS", "SIDES", "Running", "Side", "run"]

ROOT: Final = Path(__file__).parents[2]
APPLICATIONS: Final = "tests.bench_servers.applications"
OURS: Final = "wdasync"

#: Seconds in which a server has to answer after it was started.
START: Final = 30.0

Command = Callable[[int, Path], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Side:
    """One way to compress.

    :ivar label: for people
    :ivar command: port, folder for its files -> what starts it, listening on 127.0.0.1
    """

    label: str
    command: Command


def _uvicorn(name: str) -> Command:
    return lambda port, _: [
        *(sys.executable, "-m", "uvicorn", f"{APPLICATIONS}:{name}", "--port", str(port)),
        *("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"),
    ]


def _granian(name: str) -> Command:
    return lambda port, _: [
        *(sys.executable, "-m", "granian", "--interface", "asgi", "--loop", "uvloop", "--port", str(port)),
        *("--no-access-log", "--log-level", "warning", f"{APPLICATIONS}:{name}"),
    ]


def _aiohttp(name: str) -> Command:
    return lambda port, _: [sys.executable, "-m", APPLICATIONS, name, str(port)]


NGINX: Final = """
daemon off; worker_processes {workers}; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000; default_type application/json;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  gzip on; gzip_comp_level {level}; gzip_types application/json; gzip_min_length 500;
  server {{
    listen 127.0.0.1:{port}; root {folder}/www; index page;
    location = /large {{ try_files /large =404; }} location = /small {{ try_files /small =404; }}
  }}
}}
"""


def _nginx(level: int) -> Command:
    """Static files, compressed each time."""

    def command(port: int, folder: Path) -> Sequence[str]:
        www = folder / "www"
        www.mkdir()
        for name, body in (("page", PAGE), ("large", LARGE), ("small", SMALL)):
            (www / name).write_bytes(body)
        for path in (folder, www):
            path.chmod(0o755)
        settings = folder / "nginx.conf"
        settings.write_text(NGINX.format(folder=folder, port=port, level=level, workers=1))
        return ["nginx", "-e", str(folder / "error.log"), "-c", str(settings)]

    return command


#: Name -> side, in the order in which they take their turns. A server is one process each.
SIDES: Final[dict[str, Side]] = {
    "plain": Side("uvicorn, uncompressed", _uvicorn("plain")),
    OURS: Side("wdasync, uvicorn", _uvicorn("wdasync")),
    "wdasync-granian": Side("wdasync, granian", _granian("wdasync")),
    "isal-thread": Side("ISA-L 1 in to_thread", _uvicorn("isal_thread")),
    "starlette-1": Side("Starlette GZip, level 1", _uvicorn("starlette_1")),
    "starlette-6": Side("Starlette GZip, level 6", _uvicorn("starlette_6")),
    "starlette-9": Side("Starlette GZip, level 9 (its default)", _uvicorn("starlette_9")),
    "starlette-compress": Side("starlette-compress, gzip 4 (its default)", _uvicorn("starlette_compress")),
    "aiohttp": Side("aiohttp's own, level 6", _aiohttp("aiohttp")),
    "wdasync-aiohttp": Side("wdasync, aiohttp", _aiohttp("aiohttp_wdasync")),
    "nginx-1": Side("nginx gzip 1, a file", _nginx(1)),
    "nginx-6": Side("nginx gzip 6, a file", _nginx(6)),
}


@dataclass(slots=True)
class Running:
    """A server that answers.

    :ivar side: its name in :data:`SIDES`
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
def run(names: Sequence[str], folder: Path) -> Iterator[dict[str, Running]]:
    """Start servers, and end them.

    :param folder: for their files
    :raises RuntimeError: if one does not answer
    """
    with ExitStack() as stack:
        yield {name: stack.enter_context(_running(name, folder)) for name in names}


@contextmanager
def _running(name: str, folder: Path) -> Iterator[Running]:
    home = folder / name
    home.mkdir(mode=0o755)
    port = free_port()
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            SIDES[name].command(port, home), cwd=ROOT, stdout=log, stderr=log, start_new_session=True
        )
    try:
        _await_answer(name, port, process, home / "log")
        yield Running(name, port, process)
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
