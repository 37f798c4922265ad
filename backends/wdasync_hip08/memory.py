"""Physical memory: what answers at which physical address.

Three kinds of window, told apart by address. RAM holds what the operating system made for the chip: tables, rings,
contexts. MMIO windows are registers: an access is a call. FRAMES are the pages of programs; they are in
:mod:`wdasync_hip08.frames`. An address in none of them gives an external abort (:class:`BusError`).

Nobody but the SMMU and the processor's side of the model (the kernel) may hold a physical address.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from typing import Protocol

from wdasync_hip08._native import ffi, lib
from wdasync_hip08.smmu import BusError

__all__ = ["PAGE", "PAGE_SHIFT", "BusError", "Mapping", "Mmio", "PhysicalMemory", "Ram", "Window", "pages_of"]

PAGE_SHIFT = 12
PAGE = 1 << PAGE_SHIFT


def pages_of(nbytes: int) -> int:
    """How many pages hold so many bytes."""
    return -(-nbytes >> PAGE_SHIFT)


class Window(Protocol):
    """A range of physical addresses. Offsets are from ``base``; the caller has checked that they are inside."""

    name: str
    base: int
    size: int

    def read(self, pa: int, n: int, /) -> bytes:
        """``n`` bytes at physical address ``pa``."""
        ...

    def write(self, pa: int, data: bytes, /) -> None:
        """Store ``data`` at physical address ``pa``."""
        ...


class Mapping:
    """A mapping of a piece of a memfd: words by aligned access, bytes by copy.

    :param fd: the memory file
    :param nbytes: a multiple of a page
    :param offset: where in the file
    """

    def __init__(self, fd: int, nbytes: int, offset: int = 0) -> None:
        self.size = nbytes
        self._mmap = mmap.mmap(fd, nbytes, offset=offset)
        # Not of the view: the garbage collector clears a view that has exports, and then what holds them is torn.
        self.view = memoryview(self._mmap)
        self._pin = ffi.from_buffer(self._mmap)
        self.address: int = int(ffi.cast("uintptr_t", self._pin))

    def close(self) -> None:
        """Unmap it, unless somebody still holds a view of it (then with that view)."""
        if self.size:
            self.size = 0
            ffi.release(self._pin)
            self.view.release()
            try:
                self._mmap.close()
            except BufferError:
                del self._mmap

    def __repr__(self) -> str:
        return f"<Mapping {self.size} bytes at {self.address:#x}>" if self.size else "<Mapping, unmapped>"


class Ram:
    """A window of ordinary memory in one memfd, so that it can be mapped a second time by somebody else.

    Pages are handed out by :meth:`allocate`, zeroed, and given back by :meth:`free`.
    """

    def __init__(self, base: int, size: int, name: str = "ram") -> None:
        self.name = name
        self.base = base
        self.size = size
        self.fd = os.memfd_create("wdasync-hip08-ram", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, size)
        self._mapping = Mapping(self.fd, size)
        self._host = self._mapping.address - base
        self._view = self._mapping.view
        self._fresh = base
        #: By (pages, alignment).
        self._free: dict[tuple[int, int], list[int]] = {}
        self._blocks: dict[int, tuple[int, int]] = {}

    def read(self, pa: int, n: int, /) -> bytes:
        offset = pa - self.base
        return bytes(self._view[offset : offset + n])

    def write(self, pa: int, data: bytes, /) -> None:
        offset = pa - self.base
        self._view[offset : offset + len(data)] = data

    def read64(self, pa: int, /) -> int:
        """One aligned word, atomic."""
        return lib.wda_load64(self._host + pa)

    def write64(self, pa: int, value: int, /) -> None:
        """One aligned word, atomic, after everything that was stored before it."""
        lib.wda_store64(self._host + pa, value)

    def write16(self, pa: int, value: int, /) -> None:
        """One aligned halfword, atomic, after everything that was stored before it."""
        lib.wda_store16(self._host + pa, value)

    def compare_exchange64(self, pa: int, expected: int, new: int, /) -> int:
        """Atomic compare and swap; what the word was."""
        return lib.wda_compare_exchange64(self._host + pa, expected, new)

    def allocate(self, nbytes: int, align: int = PAGE) -> int:
        """Zeroed pages for ``nbytes``, next to each other.

        :param align: a power of two: the address is a multiple of it

        :returns: their physical address
        :raises MemoryError: if there are none left
        """
        pages = pages_of(nbytes)
        free = self._free.get((pages, align))
        if free:
            pa = free.pop()
        else:
            pa = -(-self._fresh // align) * align
            if pa + pages * PAGE > self.base + self.size:
                raise MemoryError(
                    f"{self.name}: expected room for {pages} pages, got {self.base + self.size - pa} bytes of "
                    f"{self.size} left; give the chip more RAM (option ram)"
                )
            self._fresh = pa + pages * PAGE
        self._blocks[pa] = (pages, align)
        return pa

    def free(self, pa: int) -> None:
        """Give back what :meth:`allocate` returned, zeroed for the next one.

        :raises KeyError: it is not allocated
        """
        block = self._blocks.pop(pa)
        self.write(pa, bytes(block[0] * PAGE))
        self._free.setdefault(block, []).append(pa)

    @property
    def allocated(self) -> int:
        """Bytes that are handed out."""
        return sum(pages for pages, _ in self._blocks.values()) * PAGE

    def host(self, pa: int) -> int:
        """Where a physical address is in this process."""
        return self._host + pa

    @property
    def host_window(self) -> tuple[int, int, int]:
        """Where it is in this process, its physical address, its size."""
        return self._mapping.address, self.base, self.size

    def alias(self, pa: int, nbytes: int) -> Mapping:
        """A second mapping of the same memory, at another host address."""
        return Mapping(self.fd, nbytes, pa - self.base)

    def close(self) -> None:
        """Give the memory back. Aliases keep theirs."""
        if self._mapping.size:
            self._mapping.close()
            os.close(self.fd)

    def __repr__(self) -> str:
        return f"<Ram {self.base:#x}+{self.size:#x}, {self.allocated // PAGE} pages in use>"


class Mmio:
    """A window of registers: each access is one call, with the offset in the window and the width in bytes."""

    def __init__(
        self,
        base: int,
        size: int,
        name: str,
        load: Callable[[int, int], int],
        store: Callable[[int, int, int], None],
    ) -> None:
        self.name = name
        self.base = base
        self.size = size
        self.load = load
        self.store = store

    def read(self, pa: int, n: int, /) -> bytes:
        if n not in (4, 8) or pa % n:
            raise BusError(pa)
        return self.load(pa - self.base, n).to_bytes(n, "little")

    def write(self, pa: int, data: bytes, /) -> None:
        n = len(data)
        if n not in (4, 8, 16) or pa % n:
            raise BusError(pa)
        self.store(pa - self.base, n, int.from_bytes(data, "little"))

    def __repr__(self) -> str:
        return f"<Mmio {self.name} {self.base:#x}+{self.size:#x}>"


class PhysicalMemory:
    """The whole physical address space; a :class:`wdasync_hip08.smmu.Bus`."""

    def __init__(self, ram: Ram) -> None:
        self.ram = ram
        self.windows: list[Window] = [ram]
        self._ram_end = ram.base + ram.size

    def add(self, window: Window) -> None:
        """Put another window in.

        :raises ValueError: it overlaps one that is there
        """
        for other in self.windows:
            if window.base < other.base + other.size and other.base < window.base + window.size:
                raise ValueError(
                    f"window {window.name}: expected free addresses, got {window.base:#x}+{window.size:#x}, "
                    f"which overlaps {other.name} at {other.base:#x}+{other.size:#x}"
                )
        self.windows.append(window)

    def window(self, pa: int, n: int) -> Window:
        """The window in which all ``n`` bytes lie.

        :raises BusError: there is none
        """
        for window in self.windows:
            if window.base <= pa and pa + n <= window.base + window.size:
                return window
        raise BusError(pa)

    def read(self, pa: int, n: int, /) -> bytes:
        return self.window(pa, n).read(pa, n)

    def write(self, pa: int, data: bytes, /) -> None:
        self.window(pa, len(data)).write(pa, data)

    def read64(self, pa: int, /) -> int:
        if pa & 7:
            raise BusError(pa)
        if self.ram.base <= pa < self._ram_end:
            return self.ram.read64(pa)
        return int.from_bytes(self.window(pa, 8).read(pa, 8), "little")

    def write64(self, pa: int, value: int, /) -> None:
        if pa & 7:
            raise BusError(pa)
        if self.ram.base <= pa < self._ram_end:
            self.ram.write64(pa, value)
        else:
            self.window(pa, 8).write(pa, value.to_bytes(8, "little"))

    def compare_exchange64(self, pa: int, expected: int, new: int, /) -> int:
        if pa & 7 or not self.ram.base <= pa < self._ram_end:
            raise BusError(pa)  # Translation tables live in RAM; registers and program pages have no atomics.
        return self.ram.compare_exchange64(pa, expected, new)

    def read32(self, pa: int, /) -> int:
        """One aligned 32-bit word, of a register."""
        return int.from_bytes(self.read(pa, 4), "little")

    def write32(self, pa: int, value: int, /) -> None:
        """Store one aligned 32-bit word, of a register."""
        self.write(pa, value.to_bytes(4, "little"))

    def __repr__(self) -> str:
        return f"<PhysicalMemory {' '.join(window.name for window in self.windows)}>"
