"""Those who wait for a slot of a lane, and whose turn it is.

A lane is for one priority, mostly. Where there are not enough queues, several priorities share one: then a higher one
goes first, so that it waits only for what the device has already. None starves: one turn in 16 is that of ``NORMAL``,
and one in 64 that of ``LOW``, if any such waits.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from ..operations import Priority

if TYPE_CHECKING:
    from .flight import Flight

__all__ = ["Parking"]

#: One turn in so many.
NORMAL_TURN: Final = 16
LOW_TURN: Final = 64


class Parking:
    """Flights without a slot, oldest first within a priority. One can leave from the middle."""

    __slots__ = ("_lines", "_turn")

    def __init__(self) -> None:
        self._turn = 0
        self._lines: dict[Priority, OrderedDict[Flight, None]] = {rank: OrderedDict() for rank in Priority}

    def add(self, flight: Flight) -> None:
        """It waits from now on."""
        self._lines[flight.rank][flight] = None

    def put_back(self, flight: Flight) -> None:
        """It had its turn, and waits again: before all others of its priority."""
        line = self._lines[flight.rank]
        line[flight] = None
        line.move_to_end(flight, last=False)

    def remove(self, flight: Flight) -> None:
        """It waits no more."""
        del self._lines[flight.rank][flight]

    def take(self) -> Flight:
        """Whose turn it is. There must be somebody."""
        self._turn += 1
        low, normal, high = self._lines.values()
        line = high or normal or low
        if low and not self._turn % LOW_TURN:
            line = low
        elif normal and not self._turn % NORMAL_TURN:
            line = normal
        return line.popitem(last=False)[0]
