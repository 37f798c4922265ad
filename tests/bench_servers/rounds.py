"""The rounds: each side takes its turn, one after the other, again and again."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from .load import Load, parse, parse_handshakes, start_handshakes, start_wrk
from .servers import Running

__all__ = [
    "Turn",
    "body_lengths",
    "calm_turn",
    "handshake_turn",
    "page_turn",
    "proxy_turn",
    "rounds",
    "storm_turn",
]

#: Connections that ask for pages at the same time.
CONNECTIONS: Final = 64

#: Connections that ask for large bodies, while another one asks for small ones.
LARGE_CONNECTIONS: Final = 8

#: Connections that begin at the same time.
HANDSHAKES: Final = 400


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
    return _pages(server, seconds, pinned=False)


def proxy_turn(server: Running, seconds: float) -> Turn:
    """The same, with a core for the server and one for everybody else."""
    return _pages(server, seconds, pinned=True)


def _pages(server: Running, seconds: float, pinned: bool) -> Turn:
    before = server.cpu()
    address = f"http://127.0.0.1:{server.port}/"
    load = parse(start_wrk(address, connections=CONNECTIONS, seconds=seconds, pinned=pinned))
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


def handshake_turn(server: Running, seconds: float) -> Turn:
    """Connections that begin all at once, each with a full handshake and one request."""
    del seconds  # there are so many
    before = server.cpu()
    load = parse_handshakes(
        start_handshakes(f"https://127.0.0.1:{server.port}/small", connections=HANDSHAKES)
    )
    return Turn(load, server.cpu() - before)


def calm_turn(server: Running, seconds: float) -> Turn:
    """Small answers on one connection that is there, while others begin. What is told is of the small ones."""
    address = f"https://127.0.0.1:{server.port}/small"
    before = server.cpu()
    calm = start_wrk(address, connections=1, seconds=seconds, pinned=True)
    time.sleep(0.2)  # until its own handshake is over
    while calm.poll() is None:
        parse_handshakes(start_handshakes(address, connections=HANDSHAKES // 8))
    return Turn(parse(calm), server.cpu() - before)


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
