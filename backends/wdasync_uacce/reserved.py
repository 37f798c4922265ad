"""Memory without shared addresses: a reserved region that the device can reach, and nothing else.

The kernel maps the region into the program and, in slices, for the device. The address of a slice as the device uses it is
asked for by ioctl (0x80085703): a number goes in; a word comes out, with the slice's length in units of 64 KiB in its
low 12 bits and the address above them; a positive result says that there are more slices. Behind an IOMMU one slice covers
all; without, each is a piece of physical memory, and what lies in two of them is not in one place for the device.

Whatever a device is to work on is copied into the region, and what it made is copied out.
"""

from __future__ import annotations

import ctypes
import errno
import weakref
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Callable, Iterator, Sequence, Sized
from itertools import pairwise
from typing import Final, NamedTuple

from .memory import ProcessSpace, address_of

__all__ = ["SLICE_UNIT", "ReservedSpace", "Slice", "read_slices"]

#: Lengths of slices are told in so many bytes.
SLICE_UNIT: Final = 64 << 10
_LENGTH_MASK: Final = 0xFFF

#: What the hardware's scatter lists and stream contexts want, and what every allocation gets.
ALIGNMENT: Final = 64


class Slice(NamedTuple):
    """A part of the region that lies in one place for the device.

    :ivar address: of its first byte, as the device uses it
    :ivar nbytes: a multiple of 64 KiB
    """

    address: int
    nbytes: int

    @classmethod
    def decode(cls, word: int) -> Slice:
        """From the word that the kernel answers with."""
        return cls(word & ~_LENGTH_MASK, (word & _LENGTH_MASK) * SLICE_UNIT)

    def encode(self) -> int:
        """The word that a kernel answers with.

        :raises ValueError: the address is not aligned to 4 KiB, or the length is none that can be told
        """
        units, rest = divmod(self.nbytes, SLICE_UNIT)
        if self.address & _LENGTH_MASK or rest or not 0 < units <= _LENGTH_MASK:
            raise ValueError(
                f"slice: expected an address aligned to 4 KiB and 1 to {_LENGTH_MASK} times 64 KiB, got "
                f"{self.nbytes} bytes at {self.address:#x}"
            )
        return self.address | units


def read_slices(ask: Callable[[int], tuple[int, bool]]) -> tuple[Slice, ...]:
    """All slices of a region, in their order.

    :param ask: the ioctl: number of a slice → its word, and whether there are more. What it raises is passed on
    :raises OSError: EIO: the kernel tells of an empty slice
    """
    slices: list[Slice] = []
    more = True
    while more:
        word, more = ask(len(slices))
        slices.append(Slice.decode(word))
        if not slices[-1].nbytes:
            raise OSError(
                errno.EIO, f"reserved region: expected slice {len(slices) - 1} to have bytes, got {word:#x}"
            )
    return tuple(slices)


class ReservedSpace(ProcessSpace):
    """The reserved region of one queue, which hands out its memory; an :class:`~wdasync_uacce.files.AddressSpace`.

    One thread calls it, but the last reference to a view may go in any.

    :param memory: the region as it is mapped here, writable. Views of it are handed out, so what it is a view of
        (an ``mmap``) must stay mapped as long as anybody refers to it
    :param slices: where the device sees it
    :raises ValueError: the slices do not cover the region
    """

    direct = shared = False

    def __init__(self, memory: memoryview, slices: Sequence[Slice]) -> None:
        covered = sum(piece.nbytes for piece in slices)
        if not len(memory) or covered < len(memory):
            raise ValueError(
                f"reserved region: expected slices for its {len(memory)} bytes, got {covered} bytes in {len(slices)}"
            )
        self.size = len(memory)
        self._memory = memory
        self._address = address_of(memory)
        self._runs = list(_joined(slices, self.size))
        #: (first byte, length) of each piece that is free, sorted; no two of them touch, unless their runs differ.
        self._free = [(first, end - first) for first, end, _ in self._runs]
        #: What finalizers have given back, from whatever thread; it is sorted in by the next :meth:`allocate`.
        self._returned: deque[tuple[int, int]] = deque()

    @property
    def available(self) -> int:
        """Bytes that are free, in however many pieces."""
        self._take_back()
        return sum(nbytes for _, nbytes in self._free)

    def allocate(self, nbytes: int) -> memoryview | None:
        """Memory of the region, aligned to 64 bytes. It goes back when nothing refers to the view any more.

        :raises OSError: ENOMEM: no piece that is free is long enough
        :raises ValueError: nothing was asked for
        """
        if nbytes < 1:
            raise ValueError(f"allocate: expected at least 1 byte, got {nbytes}")
        self._take_back()
        size = -(-nbytes // ALIGNMENT) * ALIGNMENT
        for index, (first, length) in enumerate(self._free):
            if length >= size:
                self._free[index : index + 1] = [(first + size, length - size)] if length > size else []
                return self._view(first, nbytes, size)
        raise OSError(
            errno.ENOMEM,
            f"the reserved region is used up: expected {size} bytes in a row, got {self.available} in all",
        )

    def _view(self, first: int, nbytes: int, size: int) -> memoryview:
        # Views of views do not keep each other alive, but all of them what is at their bottom: this array.
        memory = (ctypes.c_char * nbytes).from_buffer(self._memory, first)
        weakref.finalize(memory, self._returned.append, (first, size)).atexit = False
        return memoryview(memory).cast("B")

    def _take_back(self) -> None:
        """Join what was given back with what is free at its sides, unless the device sees a gap there."""
        while self._returned:
            first, size = self._returned.popleft()
            index = bisect_right(self._free, (first, size))
            run = self._run(first)
            if index < len(self._free) and self._free[index][0] == first + size < run[1]:
                size += self._free.pop(index)[1]
            if index and sum(self._free[index - 1]) == first > run[0]:
                before = self._free.pop(index - 1)
                first, size = before[0], before[1] + size
            insort(self._free, (first, size))

    def _run(self, at: int) -> tuple[int, int, int]:
        return self._runs[bisect_right(self._runs, at, key=lambda run: run[0]) - 1]

    def grant(self, buffer: Sized, writable: bool, resident: bool = False) -> int:
        """Where the device sees a buffer. All of the region can be reached as long as it is mapped.

        :raises OSError: EFAULT: it is not in the region, or not in one place for the device
        """
        at = address_of(buffer) - self._address
        if 0 <= at < self.size:
            first, end, address = self._run(at)
            if at + len(buffer) <= end:
                return address + at - first
        raise OSError(
            errno.EFAULT,
            f"expected {len(buffer)} bytes within one slice of the reserved region, got an address {at:#x} after its "
            "begin: allocate() gives such memory",
        )

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {self.available} of {self.size} bytes free, in {len(self._runs)} runs>"
        )


def _joined(slices: Sequence[Slice], size: int) -> Iterator[tuple[int, int, int]]:
    """Slices that follow one another for the device too, as one: (first byte in the region, end, device's address)."""
    starts = [0]
    for piece in slices:
        starts.append(starts[-1] + piece.nbytes)
    breaks = [
        number
        for number, piece in enumerate(slices)
        if starts[number] < size
        and (not number or slices[number - 1].address + slices[number - 1].nbytes != piece.address)
    ]
    for number, following in pairwise([*breaks, len(slices)]):
        yield starts[number], min(starts[following], size), slices[number].address
