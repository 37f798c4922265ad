"""What the model tells an observer while it works."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

__all__ = ["Trace", "no_trace"]


class Trace(Protocol):
    """Called with the name of what happens and its particulars. It must not call back into the SMMU.

    ``hit`` and ``walk`` are translations, ``fault`` and ``stall`` what failed, ``event`` a record that is in the
    queue now, ``resumed`` a stall that has its verdict, ``command`` and ``command error`` what the command queue
    does, ``interrupt`` an edge.
    """

    def __call__(self, what: str, particulars: Mapping[str, object], /) -> None:
        """Take note."""
        ...


def no_trace(_what: str, _particulars: Mapping[str, object], /) -> None:
    """Nobody is watching."""
