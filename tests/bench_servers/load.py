"""Load from outside: wrk, for some seconds."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

__all__ = ["Load", "parse", "start_wrk"]

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


def start_wrk(
    url: str, *, connections: int, seconds: float, headers: Sequence[str] = ("Accept-Encoding: gzip",)
) -> subprocess.Popen[bytes]:
    """Begin a turn; :func:`parse` what it prints. Its time is bounded by its own clock."""
    words = [argument for header in headers for argument in ("-H", header)]
    command = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds:g}s",
        "--timeout",
        "20s",
        "-s",
        str(SCRIPT),
        *words,
        url,
    ]
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
