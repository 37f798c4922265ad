"""From an operation to its completion: slots (back-pressure, cancellation) and wake-ups."""

from .flight import FLIGHTS, Flight, Group
from .lane import Lane, LaneState
from .reaper import Reaper

__all__ = ["FLIGHTS", "Flight", "Group", "Lane", "LaneState", "Reaper"]
