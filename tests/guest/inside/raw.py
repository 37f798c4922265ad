"""A queue driven by hand: open, ioctl, mmap, and stores. It knows nothing of our package, whose judge is the kernel."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import mmap
import os
import select
import struct
import time
from pathlib import Path
from typing import Self

__all__ = [
    "CQE",
    "DEPTH",
    "MMIO_BYTES",
    "PUT",
    "SQE",
    "START",
    "RawQueue",
    "address",
    "descriptor",
    "scatter",
    "words",
]  # fmt: skip

START, PUT, SET_TYPE, INFO = 0x5700, 0x5701, 0xC004480A, 0xC010480B
SQE, CQE, DEPTH, PAGE, MMIO_BYTES = 128, 16, 1024, 4096, 8192
DUS_BYTES = (SQE + CQE) * DEPTH + PAGE
DOORBELL = 0x1000
ZLIB, GZIP = 2, 3


def address(buffer: bytearray | mmap.mmap) -> int:
    """Where its bytes are."""
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


def descriptor(
    source: int, nbytes: int, destination: int, capacity: int, unit: int = ZLIB, *, scattered: bool = False,
    tag: int = 0, window: int = 4, control: int = 1 << 25 | 1 << 27, skip: tuple[int, int] = (0, 0),
) -> bytes:  # fmt: skip
    """A submission entry in block mode."""
    entry = bytearray(SQE)
    struct.pack_into("<I", entry, 4 * 4, nbytes)
    struct.pack_into("<3I", entry, 7 * 4, control | skip[0], skip[1], unit | scattered << 8 | window << 12)
    struct.pack_into("<2I", entry, 13 * 4, tag, capacity)
    struct.pack_into("<2Q", entry, 18 * 4, source, destination)
    return bytes(entry)


def scatter(*lists: list[tuple[int, int]]) -> tuple[bytearray, list[bytearray]]:
    """A chain of scatter lists. The first one, and all, which must be kept."""
    made = [bytearray(64 * 2 + 32 * len(entries)) for entries in lists]
    following = 0
    for memory, entries in reversed(list(zip(made, lists, strict=True))):
        at = -address(memory) % 64
        struct.pack_into("<Q3H", memory, at, following, 0, len(entries), len(entries))
        for index, (where, nbytes) in enumerate(entries):
            struct.pack_into("<QQI", memory, at + 64 + 32 * index, where, 0, nbytes)
        following = address(memory) + at
    return made[0], made


def first_list(memory: bytearray) -> int:
    """Address of the list in it: aligned to 64 bytes."""
    return -(-address(memory) // 64) * 64


def words(entry: bytes) -> list[int]:
    """The 32 words of an entry."""
    return list(struct.unpack("<32I", entry))


class RawQueue:
    """One open of a node, set up and started."""

    def __init__(self, node: Path, kind: int = 0, *, start: bool = True) -> None:
        self.fd = os.open(node, os.O_RDWR | os.O_CLOEXEC)
        self.tail = self.head = 0
        self.phase = 1
        self.pasid = None
        try:
            self.dus = mmap.mmap(self.fd, DUS_BYTES, offset=PAGE)
            self.mmio = mmap.mmap(self.fd, MMIO_BYTES)
            self.number = self.set_type(kind)
            self._doorbell = ctypes.c_uint64.from_buffer(self.mmio, DOORBELL)
            if start:
                self.start()
        except BaseException:
            os.close(self.fd)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def set_type(self, kind: int) -> int:
        """The hardware queue's number."""
        argument = bytearray(struct.pack("<HH", 0, kind))
        fcntl.ioctl(self.fd, SET_TYPE, argument)
        return struct.unpack("<HH", argument)[0]

    def info(self) -> tuple[int, int, int]:
        """Bytes of an entry, depth of both rings."""
        argument = bytearray(16)
        fcntl.ioctl(self.fd, INFO, argument)
        return struct.unpack_from("<IHH", argument)

    def start(self) -> None:
        """From INIT on."""
        fcntl.ioctl(self.fd, START)

    def put(self) -> None:
        """Back to INIT, in this kernel."""
        fcntl.ioctl(self.fd, PUT)

    def ring(self, command: int, index: int, priority: int = 0) -> None:
        """One store."""
        self._doorbell.value = self.number | command << 12 | index << 32 | priority << 48

    def submit(self, *entries: bytes) -> None:
        """Entries, and one doorbell."""
        for entry in entries:
            self.dus[self.tail * SQE : (self.tail + 1) * SQE] = entry
            self.tail = (self.tail + 1) % DEPTH
        self.ring(0, self.tail)

    def arm(self) -> None:
        """Ask for one interrupt."""
        self.ring(1, self.head, 1)

    def reap(self) -> list[tuple[int, list[int]]]:
        """Slot and words of all entries that are complete; tells the device."""
        found = []
        while True:
            at = SQE * DEPTH + CQE * self.head
            # The phase is written last, so it is read first: what is beside it may be older otherwise.
            if self.dus[at + 14] & 1 != self.phase:
                break
            slot, number = struct.unpack_from("<2H", self.dus, at + 8)
            assert number == self.number
            found.append((slot, words(self.dus[slot * SQE : (slot + 1) * SQE])))
            self.head = (self.head + 1) % DEPTH
            self.phase ^= self.head == 0
        if found:
            self.ring(1, self.head)
        return found

    def wait(self, count: int, seconds: float = 30) -> list[tuple[int, list[int]]]:
        """So many completions, looked for without polling the descriptor."""
        found: list[tuple[int, list[int]]] = []
        end = time.monotonic() + seconds
        while len(found) < count:
            found += self.reap()
            assert time.monotonic() < end, f"{len(found)} of {count} completions in {seconds} s"
            time.sleep(0)
        return found

    def run(self, entry: bytes) -> list[int]:
        """One entry's words afterwards."""
        self.submit(entry)
        [(_, after)] = self.wait(1)
        return after

    def poll(self, milliseconds: int = 0) -> int:
        """What poll() says; it eats completions."""
        poller = select.poll()
        poller.register(self.fd, select.POLLIN)
        return dict(poller.poll(milliseconds)).get(self.fd, 0)

    def status_words(self) -> tuple[int, int]:
        """Receive side, send side."""
        return struct.unpack_from("<2I", self.dus, DUS_BYTES - 8)

    def close(self) -> None:
        """As a program ends it."""
        if self.fd < 0:
            return
        with contextlib.suppress(OSError):
            self.put()
        self._doorbell = None
        self.dus.close()
        self.mmio.close()
        os.close(self.fd)
        self.fd = -1
