"""The file layer of Linux: the devices of ``/sys/class/uacce`` and their nodes in ``/dev``."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from wdasync.backend import PageFaults

from .attributes import read_node
from .errnos import Call, DeviceIsolated, NoSuchNode, UacceError, row_of
from .files import NodeInfo
from .queue_file import LinuxQueueFile
from .system import Linux, System

__all__ = ["LinuxFiles"]

_CLASS: Final = "class/uacce"

#: Room for a few operations of the longest that are copied, in each queue.
RESERVED: Final = 4 << 20


class LinuxFiles:
    """The devices of the kernel that this process runs on.

    :param sys: where sysfs is
    :param dev: where device nodes are
    :param system: the system calls
    :param reserved: bytes of the reserved region of each queue, for devices that share no addresses
    """

    #: The kernel answers page faults of devices that share addresses.
    page_faults = PageFaults.KERNEL
    serve: Callable[[], Awaitable[None]] | None = None

    def __init__(
        self,
        sys: Path = Path("/sys"),
        dev: Path = Path("/dev"),
        system: System | None = None,
        reserved: int = RESERVED,
    ) -> None:
        self.sys = sys
        self.dev = dev
        self._system = system or Linux()
        self._reserved = reserved

    def discover(self) -> Sequence[NodeInfo]:
        try:
            entries = sorted(self.sys.joinpath(_CLASS).iterdir())
        except OSError:  # no uacce in this kernel, or nobody may look
            return []
        return [read_node(entry) for entry in entries]

    def open(self, name: str) -> LinuxQueueFile:
        entry = self.sys / _CLASS / name
        if not entry.is_dir():
            row = row_of(errno.ENOENT, Call.OPEN)
            raise NoSuchNode(errno.ENOENT, name, Call.OPEN, f"there is no {entry} any more", row.advice)
        node = read_node(entry)
        if node.isolated:
            raise DeviceIsolated(
                errno.ENXIO, name, Call.OPEN,
                "the kernel has isolated it: it broke too often, or could not be reset",
                f"reset or replace it; {entry}/isolate is 0 when it may be used again",
            )  # fmt: skip
        try:
            descriptor = self._system.open(self.dev / name)
        except OSError as error:
            raise UacceError.of(error, name, Call.OPEN) from None
        return LinuxQueueFile(self._system, descriptor, node, self._reserved)

    def describe(self, name: str) -> str | None:
        """A node's file, as ``ls -l`` shows it; ``None`` if there is none."""
        return self._system.describe(self.dev / name)

    def lost(self, name: str) -> str | None:
        """``None``: the kernel tells nobody. Queues find out when a call or an access fails, and their device remembers."""
        return None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.sys / _CLASS}, {self.dev}>"
