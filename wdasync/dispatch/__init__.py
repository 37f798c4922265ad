"""From an operation to its completion: slots (back-pressure, cancellation) and wake-ups."""

from .flight import FLIGHTS, Flight, Group
from .lane import Lane, LaneState, check_failure
from .reaper import Reaper

__all__ = ["FLIGHTS", "Flight", "Group", "Lane", "LaneState", "Reaper", "check_failure"]
