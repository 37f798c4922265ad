"""The system calls that the file layer makes, and no others: the seam at which tests put another kernel."""

from __future__ import annotations

import fcntl
import os
import select
import stat
from pathlib import Path
from typing import Protocol

from ._native import lib

__all__ = ["Linux", "System"]


class System(Protocol):
    """What is asked of a kernel. Each call raises a bare :exc:`OSError` with its number."""

    def open(self, path: Path) -> int:
        """Open a node for reading and writing. The descriptor is not passed on to programs that are started."""

    def close(self, descriptor: int) -> None: ...

    def describe(self, path: Path) -> str | None:
        """Permissions, owner and group of a file, as ``ls -l`` shows them; ``None`` if there is none."""

    def ioctl(self, descriptor: int, number: int, argument: bytearray | None = None) -> int:
        """One call; what the kernel writes is in ``argument`` afterwards."""

    def poll(self, descriptor: int) -> None:
        """Look whether it is readable, without waiting. What is found is nobody's business: looking is what matters."""

    def map(self, descriptor: int, nbytes: int, offset: int) -> int:
        """Map a region, shared, for reading and writing; not into children. Where it begins."""

    def unmap(self, address: int, nbytes: int) -> None: ...

    def vacate(self, address: int, nbytes: int) -> None:
        """Unmap, and leave plain memory of zeros in its place."""


class Linux:
    """The kernel that this process runs on."""

    def open(self, path: Path) -> int:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def describe(self, path: Path) -> str | None:
        try:
            found = path.stat()
        except OSError:
            return None
        return " ".join([stat.filemode(found.st_mode), _owner(path), _group(path)])

    def ioctl(self, descriptor: int, number: int, argument: bytearray | None = None) -> int:
        if argument is None:
            return int(fcntl.ioctl(descriptor, number))
        return int(fcntl.ioctl(descriptor, number, argument, True))

    def poll(self, descriptor: int) -> None:
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        poller.poll(0)

    def map(self, descriptor: int, nbytes: int, offset: int) -> int:
        return _checked(lib.wdu_map(descriptor, nbytes, offset))

    def unmap(self, address: int, nbytes: int) -> None:
        _checked(lib.wdu_unmap(address, nbytes))

    def vacate(self, address: int, nbytes: int) -> None:
        _checked(lib.wdu_vacate(address, nbytes))

    def __repr__(self) -> str:
        return "<Linux>"


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except (OSError, KeyError):  # of another container's, for one
        return "?"


def _group(path: Path) -> str:
    try:
        return path.group()
    except (OSError, KeyError):
        return "?"


def _checked(result: int) -> int:
    # Addresses of the upper half are the kernel's, so a negative result is a number of an error.
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result
