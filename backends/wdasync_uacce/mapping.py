"""A region of an opened queue, mapped through its file."""

from __future__ import annotations

import ctypes
import mmap
import os
import weakref

from ._native import lib
from .files import RegionKind
from .memory import MemoryRegion
from .system import System

__all__ = ["MappedRegion", "ReservedRegion"]

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


class ReservedRegion(MappedRegion):
    """The reserved region: its views are handed out and live as they like, so that its address outlives its mapping.

    When the device is removed, or the region closed, plain memory takes its place. It goes with the last view.

    :param system: the kernel
    :param descriptor: of the opened node
    :param size: bytes
    :param owner: for people
    """

    def __init__(self, system: System, descriptor: int, size: int, owner: str) -> None:
        super().__init__(system, descriptor, RegionKind.STATIC_SHARE, size, owner)
        memory = (ctypes.c_char * size).from_address(self._address)
        weakref.finalize(
            memory, _let_go, system, self._address, size, self.handle, os.getpid()
        ).atexit = False
        self._view: memoryview | None = memoryview(memory).cast("B")
        if number := lib.wdu_guard_keep(self.handle):
            self.close()
            raise OSError(number, "too many reserved regions are mapped in this process")

    @property
    def view(self) -> memoryview | None:
        return self._view

    def close(self) -> None:
        """Give the mapping back. Views that are left show zeros, and belong to nobody else."""
        lib.wdu_guard_drop(self.handle)
        size, foreign = self.size, self.foreign
        self.forget()
        if size and not foreign:
            self._system.vacate(self._address, size)
        self._view = None


def _let_go(system: System, address: int, size: int, handle: object, process: int) -> None:
    """Nobody has a view of the memory any more."""
    lib.wdu_guard_drop(handle)
    if os.getpid() == process:
        system.unmap(address, size)


def _forked() -> None:
    for region in list(_mapped):
        region.disown()


os.register_at_fork(after_in_child=_forked)
