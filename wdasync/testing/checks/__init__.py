"""The checks, a module for each part of the contract. Importing this fills the register."""

from . import bursts, devices, ending, memory, streams, trouble, units, waking

__all__ = ["bursts", "devices", "ending", "memory", "streams", "trouble", "units", "waking"]
