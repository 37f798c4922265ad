"""Load from outside: wrk, for some seconds."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from .sides import OTHERS

__all__ = ["Load", "parse", "parse_handshakes", "start_handshakes", "start_wrk"]

SCRIPT: Final = Path(__file__).with_name("load.lua")


@dataclass(frozen=True, slots=True)
class Load:
    """What came of one turn.

    :ivar requests: answered
    :ivar seconds: it took
    :ivar nbytes: received, heads included
    :ivar failed: connections that broke or timed out
    :ivar refused: answers that were no success
    :ivar p50: latency in seconds
    :ivar p99: latency in seconds
    :ivar longest: latency in seconds
    """

    requests: int
    seconds: float
    nbytes: int
    failed: int
    refused: int
    p50: float
    p99: float
    longest: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


def start_wrk(url: str, *, connections: int, seconds: float, pinned: bool = False) -> subprocess.Popen[bytes]:
    """Begin a turn; :func:`parse` what it prints. Its time is bounded by its own clock.

    :param pinned: to the core that is not the server's
    """
    words = ["-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "20s", "-s", str(SCRIPT)]
    command = [*(OTHERS if pinned else ()), "wrk", *words, "-H", "Accept-Encoding: gzip", url]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def parse(process: subprocess.Popen[bytes], limit: float = 120) -> Load:
    """Wait for the end of a turn.

    :raises ValueError: if wrk said something else than expected
    """
    output, _ = process.communicate(timeout=limit)
    lines = [line for line in output.decode().splitlines() if line.startswith("{")]
    if process.returncode or len(lines) != 1:
        raise ValueError(f"wrk: expected one line of JSON, got {output!r}")
    found: dict[str, Any] = json.loads(lines[0])
    found["nbytes"] = found.pop("bytes")
    return Load(**found)


def start_handshakes(url: str, *, connections: int) -> subprocess.Popen[bytes]:
    """Begin with so many connections, all at once, each for one request; :func:`parse_handshakes` what it prints."""
    words = ["--h1", "-t1", "-n", str(connections), "-c", str(connections), "--connection-active-timeout=60"]
    return subprocess.Popen(
        [*OTHERS, "h2load", *words, url], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )


#: What h2load says: seconds; requests that succeeded and did not; of connecting, the longest and the mean.
FINISHED: Final = re.compile(r"finished in ([\d.]+)(us|ms|s)")
REQUESTS: Final = re.compile(r"requests: .*?(\d+) succeeded, (\d+) failed, (\d+) errored")
TRAFFIC: Final = re.compile(r"traffic: .*?\((\d+)\) total")
CONNECTING: Final = re.compile(r"time for connect: +\S+ +([\d.]+)(us|ms|s) +([\d.]+)(us|ms|s)")
UNITS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


def parse_handshakes(process: subprocess.Popen[bytes], limit: float = 120) -> Load:
    """Wait for the end. The latencies are those of connecting with the handshake: mean, longest, longest.

    :raises ValueError: if h2load said something else than expected
    """
    output = process.communicate(timeout=limit)[0].decode()
    finished, requests, traffic, connecting = (
        pattern.search(output) for pattern in (FINISHED, REQUESTS, TRAFFIC, CONNECTING)
    )
    if not (finished and requests and traffic and connecting):
        raise ValueError(f"h2load: expected its summary, got {output!r}")
    longest, mean = (float(connecting[at]) * UNITS[connecting[at + 1]] for at in (1, 3))
    seconds = float(finished[1]) * UNITS[finished[2]]
    broken = int(requests[2]) + int(requests[3])
    return Load(int(requests[1]), seconds, int(traffic[1]), broken, 0, mean, longest, longest)
