"""The rounds: each side takes its turn, one after the other, again and again."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from .load import Load, parse, start_wrk
from .servers import Running

__all__ = ["CONNECTIONS", "Turn", "body_lengths", "page_turn", "rounds", "storm_turn"]

#: Connections that ask for pages at the same time.
CONNECTIONS: Final = 64

#: Connections that ask for large bodies, while another one asks for small ones.
LARGE_CONNECTIONS: Final = 8


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of one side.

    :ivar load: what the client saw
    :ivar cpu: CPU seconds of the server
    """

    load: Load
    cpu: float

    @property
    def cpu_per_request(self) -> float:
        """CPU seconds of the server for one request."""
        return self.cpu / max(self.load.requests, 1)


def page_turn(server: Running, seconds: float) -> Turn:
    """Pages of 64 KiB, as many as it answers."""
    before = server.cpu()
    load = parse(start_wrk(f"http://127.0.0.1:{server.port}/", connections=CONNECTIONS, seconds=seconds))
    return Turn(load, server.cpu() - before)


def storm_turn(server: Running, seconds: float) -> Turn:
    """Small answers on one connection, while others ask for large ones. What is told is of the small ones."""
    address = f"http://127.0.0.1:{server.port}"
    storm = start_wrk(f"{address}/large", connections=LARGE_CONNECTIONS, seconds=seconds + 1)
    time.sleep(0.5)  # until it blows
    before = server.cpu()
    load = parse(start_wrk(f"{address}/small", connections=1, seconds=seconds))
    cpu = server.cpu() - before
    parse(storm)
    return Turn(load, cpu)


def rounds(
    servers: Mapping[str, Running],
    turn: Callable[[Running, float], Turn],
    *,
    count: int,
    seconds: float,
    tell: Callable[[str], None],
) -> dict[str, list[Turn]]:
    """Side -> its turns, in the order of the rounds. One turn of each before the first round does not count."""
    turns: dict[str, list[Turn]] = {name: [] for name in servers}
    for number in range(count + 1):
        for name, server in servers.items():
            tell(f"{name}, round {number} of {count}")
            found = turn(server, seconds if number else min(seconds, 1))
            if found.load.refused or found.load.failed:
                raise RuntimeError(f"{name}: expected answers to all requests, got {found.load}")
            if number:
                turns[name].append(found)
    return turns


def body_lengths(servers: Mapping[str, Running]) -> dict[str, int]:
    """Side -> bytes of a page as it is sent to a client that takes gzip."""
    lengths = {}
    for name, server in servers.items():
        request = urllib.request.Request(
            f"http://127.0.0.1:{server.port}/", headers={"Accept-Encoding": "gzip"}
        )
        with urllib.request.urlopen(request, timeout=20) as response:
            lengths[name] = len(response.read())
    return lengths
