"""A region of an opened queue, mapped through its file."""

from __future__ import annotations

import mmap
import os
import weakref

from .files import RegionKind
from .memory import MemoryRegion
from .system import System

__all__ = ["MappedRegion"]

#: Children have none of these: the kernel keeps mappings of a device from them.
_mapped: weakref.WeakSet[MappedRegion] = weakref.WeakSet()


class MappedRegion(MemoryRegion):
    """A mapping that the kernel made.

    :param system: the kernel
    :param descriptor: of the opened node
    :param kind: which region; the page number of the mapping's offset says so
    :param size: bytes, as the device's attributes tell them
    :param owner: for people: whose region it is
    :raises OSError: with the kernel's number
    """

    def __init__(self, system: System, descriptor: int, kind: RegionKind, size: int, owner: str) -> None:
        address = system.map(descriptor, size, kind * mmap.PAGESIZE)
        super().__init__(kind, address, size, owner=owner)
        self._system = system
        _mapped.add(self)

    def close(self) -> None:
        """Unmap. In a forked child there is nothing to unmap, and something else may be at its address."""
        address, size, foreign = self._address, self.size, self.foreign
        self.forget()
        if size and not foreign:
            self._system.unmap(address, size)


def _forked() -> None:
    for region in list(_mapped):
        region.disown()


os.register_at_fork(after_in_child=_forked)
