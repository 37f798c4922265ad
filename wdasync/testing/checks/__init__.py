"""The checks, a module for each part of the contract. Importing this fills the register."""

from . import bursts, devices, digests, ending, keys, memory, streams, tiny, trouble, units, waking

__all__ = [
    "bursts",
    "devices",
    "digests",
    "ending",
    "keys",
    "memory",
    "streams",
    "tiny",
    "trouble",
    "units",
    "waking",
]
