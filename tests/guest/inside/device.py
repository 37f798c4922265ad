"""The device of module/, as a test handles it: loaded, told to misbehave, asked what happened."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["Zip", "insmod", "rmmod", "wait_for"]

CLASS = Path("/sys/class/uacce")
DRIVER = Path("/sys/bus/platform/drivers/wdasync_zip")
DEBUG = Path("/sys/kernel/debug/wdasync_zip")

#: Numbers of system calls, of x86-64.
DELETE_MODULE, FINIT_MODULE = 176, 313


def _call(number: int, *arguments: object) -> None:
    """A system call that Python has no function for: not every host has the tools for modules."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, *arguments):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def insmod(name: str, *parameters: str) -> None:
    """Load one of the modules that the harness built.

    :raises OSError: as the kernel says
    """
    with Path(os.environ["GUEST_MODULES"], f"{name}.ko").open("rb") as file:
        _call(FINIT_MODULE, file.fileno(), " ".join(parameters).encode(), 0)


def rmmod(name: str) -> None:
    """Unload it. Of uacce's providers none is ever busy.

    :raises OSError: as the kernel says
    """
    _call(DELETE_MODULE, name.encode(), os.O_NONBLOCK)


def wait_for(condition: Callable[[], object], seconds: float = 20) -> None:
    """Ask again and again what gives no event."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{condition} is still not so after {seconds} s"
        time.sleep(0.005)


class Zip:
    """One device: ``hisi_zip-N``, whose parent is ``wdasync_zip.N``."""

    def __init__(self, index: int = 0) -> None:
        self.index = index
        self.name = f"hisi_zip-{index}"
        self.node = Path("/dev", self.name)

    def attribute(self, name: str) -> str:
        """Text of a file in sysfs."""
        return (CLASS / self.name / name).read_text()

    def __getitem__(self, name: str) -> int:
        return int((DEBUG / self.name / name).read_text())

    def __setitem__(self, name: str, value: int) -> None:
        (DEBUG / self.name / name).write_text(str(value))

    def queues(self) -> list[dict[str, int]]:
        """What the device knows of each opened queue."""
        names = ["number", "type", "pasid", "running", "sq_head", "sq_tail", "cq_head", "cq_tail", "armed"]
        lines = (DEBUG / self.name / "queues").read_text().splitlines()
        return [dict(zip(names, map(int, line.split()), strict=True)) for line in lines]

    def opens(self) -> bool:
        """Whether a queue can be had; not while it is stopped."""
        try:
            os.close(os.open(self.node, os.O_RDWR))
        except PermissionError:
            return False
        return True

    def fail(self, status: int, count: int) -> None:
        """So many of the next entries end with this status."""
        self["status_code"] = status
        self["status"] = count

    def unbind(self) -> None:
        """Take the device away, as when it is unplugged."""
        (DRIVER / "unbind").write_text(f"wdasync_zip.{self.index}")

    def bind(self) -> None:
        """Give it back; only one device may be away, so that it gets its old number."""
        (DRIVER / "bind").write_text(f"wdasync_zip.{self.index}")
        wait_for(self.node.exists)

    def heal(self) -> None:
        """No faults any more."""
        if not self.node.exists():
            self.bind()
        for name in ("drop", "duplicate", "lose_wake", "status", "delay_us", "isolate"):
            self[name] = 0
        self["limit"] = 64
