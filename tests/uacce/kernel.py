"""Another kernel for the file layer: sysfs as a tree of files, nodes as memory files, and the answers of uacce.

It keeps to what was seen in a guest with a real kernel: which call gives which number in which state. Regions are memory
files, so that a device that is removed (they are truncated) gives the real SIGBUS.
"""

from __future__ import annotations

import errno
import mmap
import os
import struct
from collections.abc import Mapping
from pathlib import Path

from wdasync_uacce import LinuxFiles, RegionKind
from wdasync_uacce.system import Linux

__all__ = ["ATTRIBUTES", "Kernel", "KernelQueue", "make_entry"]

#: What a ZIP function of a Kunpeng 920 shows.
ATTRIBUTES: Mapping[str, str] = {
    "api": "hisi_qm_v2",
    "flags": "1",
    "algorithms": "zlib\ngzip",
    "available_instances": "256",
    "region_mmio_size": "8192",
    "region_dus_size": "151552",
    "isolate": "0",
    "isolate_strategy": "0",
    "device/numa_node": "0",
}

START, PUT, SLICE, SET_TYPE, INFO = 0x5700, 0x5701, 0x80085703, 0xC004480A, 0xC010480B


def make_entry(sys: Path, name: str = "hisi_zip-0", **changes: str | None) -> Path:
    """An entry of the class; attributes that are ``None`` are left out. A path's ``/`` is written ``__``."""
    entry = sys / "class" / "uacce" / name
    texts = {**ATTRIBUTES, **{path.replace("__", "/"): text for path, text in changes.items()}}
    for path, text in texts.items():
        if text is not None:
            file = entry / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text + "\n")
    entry.mkdir(parents=True, exist_ok=True)
    return entry


class KernelQueue:
    """What the kernel keeps of one open."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.state = "INIT"
        self.type: int | None = None
        self.regions: dict[int, int] = {}


class Kernel:
    """A :class:`~wdasync_uacce.system.System` with devices of its own.

    :param folder: where its ``/sys`` and ``/dev`` are
    """

    def __init__(self, folder: Path, limit: int = 256) -> None:
        self.sys, self.dev = folder / "sys", folder / "dev"
        self.dev.mkdir()
        self.limit = limit
        self.errors: dict[str, int] = {}
        self.final_put = False
        self.shape = (128, 1024, 1024)
        self.reserved = 0
        self.permissions = "crw-rw---- root uacce"
        #: Address and length of each slice of the reserved region, for the device.
        self.slices = [(1 << 40, 128 << 10), (1 << 41, 128 << 10)]
        self.queues: dict[int, KernelQueue] = {}
        self.calls: list[str] = []
        self.mapped: dict[int, int] = {}
        self._numbers = iter(range(21, 1 << 20))

    def add(self, name: str = "hisi_zip-0", **changes: str | None) -> Path:
        """A device comes."""
        (self.dev / name).touch()
        return make_entry(self.sys, name, **changes)

    def files(self, reserved: int = 256 << 10) -> LinuxFiles:
        return LinuxFiles(self.sys, self.dev, self, reserved)

    def remove(self) -> None:
        """All devices go, with everything behind the mappings."""
        for node in self.dev.iterdir():
            node.unlink()
        for queue in self.queues.values():
            queue.state = "ZOMBIE"
            for memory in queue.regions.values():
                os.ftruncate(memory, 0)

    # -- the calls --------------------------------------------------------------------------------------------

    def _fail(self, call: str) -> None:
        self.calls.append(call)
        if number := self.errors.get(call):
            raise OSError(number, os.strerror(number))

    def describe(self, path: Path) -> str | None:
        return self.permissions if path.exists() else None

    def open(self, path: Path) -> int:
        self._fail("open")
        if not path.exists():
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        if len(self.queues) >= self.limit:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        descriptor = os.memfd_create("node", os.MFD_CLOEXEC)
        self.queues[descriptor] = KernelQueue(next(self._numbers))
        return descriptor

    def close(self, descriptor: int) -> None:
        self.calls.append("close")
        for memory in self.queues.pop(descriptor).regions.values():
            os.close(memory)
        os.close(descriptor)

    def ioctl(self, descriptor: int, number: int, argument: bytearray | None = None) -> int:
        queue = self.queues[descriptor]
        self._fail(hex(number))
        if queue.state == "ZOMBIE":
            raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))
        if number == START and argument is None and queue.state == "INIT":
            queue.state = "STARTED"
        elif number == PUT and argument is None:
            queue.state = "ZOMBIE" if self.final_put else "INIT"
        elif number == SET_TYPE and argument is not None and queue.type is None and argument[2:] < b"\2":
            queue.type = argument[2]
            struct.pack_into("<H", argument, 0, queue.number)
        elif number == INFO and argument is not None and len(argument) == 16:
            struct.pack_into("<IHH", argument, 0, *self.shape)
        elif number == SLICE and argument is not None and RegionKind.STATIC_SHARE in queue.regions:
            (at,) = struct.unpack("<Q", argument)
            words = [address | nbytes >> 16 for address, nbytes in self.slices]
            if at >= len(words):
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            struct.pack_into("<Q", argument, 0, words[at])
            return at + 1 < len(words)
        else:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return 0

    def poll(self, descriptor: int) -> None:
        self.calls.append("poll")

    def map(self, descriptor: int, nbytes: int, offset: int) -> int:
        queue = self.queues[descriptor]
        self._fail("map")
        kind, rest = divmod(offset, mmap.PAGESIZE)
        sizes = {RegionKind.MMIO: 8192, RegionKind.DUS: 151552}
        if self.reserved and queue.state == "STARTED":
            sizes[RegionKind.STATIC_SHARE] = self.reserved
        if queue.state == "ZOMBIE":
            raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))
        if rest or sizes.get(kind) != nbytes:  # type: ignore[call-overload]  # any number may come
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if kind in queue.regions:
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
        memory = queue.regions[kind] = os.memfd_create("region", os.MFD_CLOEXEC)
        os.ftruncate(memory, nbytes)
        address = Linux().map(memory, nbytes, 0)
        self.mapped[address] = nbytes
        return address

    def unmap(self, address: int, nbytes: int) -> None:
        self.calls.append("unmap")
        assert self.mapped.pop(address) == nbytes
        Linux().unmap(address, nbytes)

    def vacate(self, address: int, nbytes: int) -> None:
        self.calls.append("vacate")
        assert self.mapped[address] == nbytes
        Linux().vacate(address, nbytes)
