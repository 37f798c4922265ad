"""What a codec of a Python package is, to those who call it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from wdasync.buffers import Segment
from wdasync.operations import Flush

__all__ = ["BadDictionary", "Decoder", "Encoder", "Stop", "Stopped"]

#: Says whether to give up.
Stop = Callable[[], bool]


class Stopped(Exception):
    """Raised inside a codec when its queue is being stopped."""


class BadDictionary(Exception):
    """Raised when a dictionary begins like a trained one of Zstandard, and is not valid."""


class Encoder(Protocol):
    """A compressing stream."""

    def step(self, data: Segment, flush: Flush) -> bytes: ...


class Decoder(Protocol):
    """A decompressing stream of one member.

    :ivar ended: the member's end was seen
    """

    @property
    def ended(self) -> bool: ...

    def step(self, data: Segment, limit: int) -> tuple[bytes, int]:
        """Decode: at most ``limit`` bytes of output, and how much of ``data`` was used.

        :raises Exception: the package's own, if the data is not valid
        """
