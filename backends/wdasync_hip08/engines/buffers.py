"""Memory as descriptors name it: flat buffers, and the hardware's scatter lists."""

from __future__ import annotations

import struct
from collections.abc import Generator

from wdasync_hip08.port import Port
from wdasync_hip08.qm.pairs import User
from wdasync_hip08.smmu import Stall, Verdict
from wdasync_hip08.tasks import Task

__all__ = ["MAX_BYTES", "BadDescriptorError", "Buffers", "Ranges", "cut", "total"]

#: Longest buffer, flat or an entry of a scatter list.
MAX_BYTES = 8 << 20
MAX_LISTS, MAX_ENTRIES = 256, 255
LIST_HEAD_BYTES, LIST_ENTRY_BYTES = 64, 32

#: Address and length of each piece.
Ranges = list[tuple[int, int]]


class BadDescriptorError(Exception):
    """The descriptor or a scatter list cannot be worked with."""


class Buffers:
    """The memory of one task's program."""

    def __init__(self, port: Port, user: User, task: Task) -> None:
        self._port = port
        self._user = user
        self._task = task

    def scatter_list(self, address: int, offset: int = 0) -> Generator[Stall, Verdict, Ranges]:
        """What a chain of scatter lists names, from an offset on.

        :raises BadDescriptorError: the chain is none
        """
        ranges: Ranges = []
        for _ in range(MAX_LISTS):
            head = yield from self._port.read(self._user.scatter_list, address, LIST_HEAD_BYTES, self._task)
            following, _, valid = struct.unpack_from("<QHH", head)
            if valid > MAX_ENTRIES:
                raise BadDescriptorError(f"a scatter list of {valid} entries, more than {MAX_ENTRIES}")
            body = yield from self._port.read(
                self._user.scatter_list, address + LIST_HEAD_BYTES, valid * LIST_ENTRY_BYTES, self._task
            )
            for index in range(valid):
                buffer, _, n = struct.unpack_from("<QQI", body, index * LIST_ENTRY_BYTES)
                if n > MAX_BYTES:
                    raise BadDescriptorError(f"a scatter list entry of {n} bytes, more than {MAX_BYTES}")
                ranges.append((buffer, n))
            if not following:
                return cut(ranges, offset, max(total(ranges) - offset, 0))
            address = following
        raise BadDescriptorError(f"a chain of more than {MAX_LISTS} scatter lists")

    def read(self, ranges: Ranges) -> Generator[Stall, Verdict, bytes]:
        """All bytes of the ranges."""
        parts = []
        for address, n in ranges:
            parts.append((yield from self._port.read(self._user.read, address, n, self._task)))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def write(self, ranges: Ranges, data: bytes) -> Generator[Stall, Verdict, None]:
        """Store into the first bytes of the ranges.

        :raises BadDescriptorError: they are too short
        """
        done = 0
        for address, n in cut(ranges, 0, len(data)):
            yield from self._port.write(self._user.write, address, data[done : done + n], self._task)
            done += n

    def __repr__(self) -> str:
        return f"<Buffers of {self._task!r}>"


def total(ranges: Ranges) -> int:
    """Bytes of all."""
    return sum(n for _, n in ranges)


def cut(ranges: Ranges, start: int, nbytes: int) -> Ranges:
    """Bytes [start, start + nbytes) of what the ranges name, as ranges; empty ones are left out.

    :raises BadDescriptorError: there are not so many
    """
    pieces: Ranges = []
    for address, n in ranges:
        if start < n and nbytes:
            here = min(n - start, nbytes)
            pieces.append((address + start, here))
            nbytes -= here
            start = 0
        else:
            start = max(start - n, 0)
    if nbytes:
        raise BadDescriptorError(f"scatter lists that are {nbytes} bytes too short")
    return pieces
