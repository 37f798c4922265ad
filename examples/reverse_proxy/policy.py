"""What the proxy does, in numbers: one table that both of its versions share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from wdasync import Capabilities, Kind
from wdasync.integrations.codings import ALGORITHMS, PREFERENCE
from wdasync.operations import Level

__all__ = ["Limits", "Policy", "able"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds that may pass without progress, and bytes that may wait.

    :ivar idle: between two requests of a connection
    :ivar head: from the first byte of a request to the end of its header fields; 408
    :ivar body: for the next bytes of a request's body; 408
    :ivar connect: for a connection to the upstream; 504
    :ivar response: for the next bytes of the upstream; 504
    :ivar device: for the accelerator; then the body goes as it is
    :ivar stall: for a client that does not read its response; it is cut off
    :ivar tunnel: without a byte in either direction
    :ivar linger: after the last response, until a client that goes on sending is cut off
    :ivar high_water: bytes that wait to be sent on one side, before nothing more is read on the other
    """

    idle: float = 60.0
    head: float = 10.0
    body: float = 30.0
    connect: float = 5.0
    response: float = 30.0
    device: float = 10.0
    stall: float = 30.0
    tunnel: float = 600.0
    linger: float = 2.0
    high_water: int = 1 << 17


@dataclass(frozen=True, slots=True)
class Policy:
    """What is compressed, and how.

    :ivar whole: codings for bodies whose length is known, best first
    :ivar streams: codings for bodies that come in pieces, best first
    :ivar room: bytes of a body that is compressed in one operation, at most
    :ivar minimum: bytes of a body that is compressed, at least
    :ivar level: how hard to try
    :ivar limits: times and sizes
    """

    whole: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()
    room: int = 1 << 16
    minimum: int = 500
    level: Level = "fast"
    limits: Limits = field(default_factory=Limits)


def able(tables: Iterable[Capabilities], kind: Kind) -> tuple[str, ...]:
    """The codings that devices with these capabilities can do, best first."""
    algorithms = {row.algorithm for table in tables for row in table if row.kind is kind}
    return tuple(coding for coding in PREFERENCE if ALGORITHMS[coding] in algorithms)
