"""What polling buys, or does not: the proxies beside each other, and nginx with gzip, under the same load.

    apt install nginx-light wrk
    python -m examples.reverse_proxy.bench

All stand before the same nginx, which serves one file of JSON. Rounds are interleaved, so that a machine that gets slower does so for all. With
few cores pin them, as in ``taskset -c 0 python -m …``: without that the load generator takes from what it measures.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

__all__ = ["main"]

CHECKOUT = Path(__file__).parents[2]

NGINX = """
daemon off; pid nginx.pid; error_log stderr; worker_processes 1;
events {{ worker_connections 1024; }}
http {{
    access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi; types {{ application/json json; }}
    server {{ listen 127.0.0.1:{origin}; root .; keepalive_requests 1000000; }}
    upstream behind {{ server 127.0.0.1:{origin}; keepalive 128; }}
    server {{
        listen 127.0.0.1:{peer}; keepalive_requests 1000000;
        gzip on; gzip_comp_level 1; gzip_proxied any; gzip_types application/json;
        location / {{ proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection ""; }}
    }}
}}
"""


class Run(NamedTuple):
    """One side, one round.

    :ivar rate: requests a second
    :ivar p99: milliseconds
    :ivar cpu: microseconds of the server's CPU time for a request; ``None``: it is nginx, whose processes are shared
    """

    rate: float
    p99: float
    cpu: float | None


def sample(size: int) -> bytes:
    """A JSON text of about so many bytes that compresses as such texts do."""
    chance = random.Random(1)
    rows: list[dict[str, object]] = []
    length = 0
    while length < size:
        number = chance.getrandbits(30)
        rows.append({"id": number, "name": f"user{number % 5000}", "score": chance.random()})
        length += len(json.dumps(rows[-1])) + 2
    return json.dumps(rows).encode()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def _running(command: list[str], port: int, folder: Path) -> Iterator[int]:
    """A server, while it listens; its process."""
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 30
            while not _listening(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"{command[0]}: expected a server on port {port}, got none")
                time.sleep(0.02)
            yield process.pid
        finally:
            process.terminate()


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _measure(port: int, pid: int | None, connections: int, seconds: int) -> Run:
    before = _cpu(pid) if pid else 0.0
    said = subprocess.run(
        ["wrk", "-t", "1", "-c", str(connections), "-d", f"{seconds}s", "--latency", "-H", "Accept-Encoding: gzip",
         f"http://127.0.0.1:{port}/page.json"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    found = re.search(
        r"99%\s+([\d.]+)(us|ms|s).*?(\d+) requests in .*?Requests/sec:\s+([\d.]+)", said, re.DOTALL
    )
    if found is None or "Non-2xx" in said:
        raise SystemExit(f"wrk: expected answers, got\n{said}")
    scale = {"us": 0.001, "ms": 1.0, "s": 1000.0}[found[2]]
    cpu = (_cpu(pid) - before) / int(found[3]) * 1e6 if pid else None
    return Run(float(found[4]), float(found[1]) * scale, cpu)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.reverse_proxy.bench",
        description="The proxies beside each other, and nginx with gzip, under the same load.",
    )
    parser.add_argument("--size", type=int, default=1 << 16, help="bytes of the body")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=int, default=5, help="of each side in each round")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    absent = [name for name in ("nginx", "wrk") if shutil.which(name) is None]
    if absent:
        parser.error(f"expected nginx and wrk, got no {' and no '.join(absent)}; apt install nginx-light wrk")
    runs: dict[str, list[Run]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)
        (folder / "page.json").write_bytes(sample(given.size))
        origin, peer = _free_port(), _free_port()
        (folder / "nginx.conf").write_text(NGINX.format(origin=origin, peer=peer))
        stack.enter_context(
            _running(["nginx", "-p", str(folder), "-c", "nginx.conf", "-e", "stderr"], origin, folder)
        )
        sides: dict[str, tuple[int, int | None]] = {"nginx, gzip 1": (peer, None)}
        for model in ("rtc", "pipeline", "plain"):
            port = _free_port()
            command = [sys.executable, "-m", "examples.reverse_proxy", "--upstream", f"127.0.0.1:{origin}", "--quiet",
                "--model", model, "--port", str(port), "--room", str(1 << 17)]  # fmt: skip
            sides[model] = port, stack.enter_context(_running(command, port, CHECKOUT))
        for number in range(given.rounds):
            for name, (port, pid) in sides.items():
                runs.setdefault(name, []).append(_measure(port, pid, given.connections, given.seconds))
                print(f"round {number + 1}: {name}: {runs[name][-1].rate:.0f}/s", file=sys.stderr, flush=True)
    print(f"{'':15}{'requests/s':>12}{'p99, ms':>10}{'CPU µs/request':>17}")
    for name, found in runs.items():
        rate, p99 = (statistics.median(run[column] or 0.0 for run in found) for column in (0, 1))
        cpu = "-" if found[0].cpu is None else f"{statistics.median(run.cpu or 0.0 for run in found):.0f}"
        print(f"{name:15}{rate:12.0f}{p99:10.1f}{cpu:>17}")


if __name__ == "__main__":
    main()
