"""What is behind a frame: where the bytes of a program's page really are.

A backing never raises a signal and never trusts an address. A byte that cannot be reached is an external abort of
the frame that named it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import Any, Protocol

from wdasync_hip08._native import ffi, lib
from wdasync_hip08.memory import PAGE, PAGE_SHIFT

__all__ = ["Backing", "Memfd", "OwnProcess", "Piece"]

#: (byte address within the backing, length); it does not cross a page border of the backing unless pages join.
Piece = tuple[int, int]
#: For each byte: its highest bit.
_TOP_BIT = bytes(128) + bytes([1]) * 128


class Backing(Protocol):
    """Bytes by address within the backing.

    Pieces are two C arrays of 64-bit words, addresses and lengths, and how many of them count.
    """

    def copy_in(self, addresses: Any, lengths: Any, pieces: int, nbytes: int) -> bytes:
        """The bytes of all pieces, ``nbytes``; fewer where one cannot be reached: all before the first that cannot."""
        ...

    def copy_out(self, addresses: Any, lengths: Any, pieces: int, data: bytes) -> int:
        """Store ``data`` into the pieces, in order; bytes that were stored, short as in :meth:`copy_in`."""
        ...

    def present(self, page: int, count: int) -> bytes:
        """For each of ``count`` pages 1 if the host has it in memory now, else 0."""
        ...

    def populate(self, page: int, count: int, writable: bool) -> bool:
        """Bring pages in, as a page fault with this access would; whether they could all be had."""
        ...


class OwnProcess:
    """Our own process: an address within the backing is the virtual address.

    Copies go through the kernel's own walk of our page tables, without the GIL; see ``build_native``.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._pagemap: int | None = None

    def read(self, pieces: Sequence[Piece]) -> bytes:
        """The bytes of all pieces, short as in :meth:`copy_in`."""
        return self.copy_in(*_vectors(pieces), len(pieces), sum(n for _, n in pieces))

    def write(self, pieces: Sequence[Piece], data: bytes) -> int:
        """Store ``data`` into the pieces, as :meth:`copy_out`."""
        return self.copy_out(*_vectors(pieces), len(pieces), data)

    def copy_in(self, addresses: Any, lengths: Any, pieces: int, nbytes: int) -> bytes:
        # A new object, which nobody else has seen, can still be filled. But an empty one is shared, and a short one may be.
        data = bytes(max(nbytes, 16))
        got = lib.wda_copy_in(self.pid, addresses, lengths, pieces, ffi.from_buffer(data))
        return data if got == len(data) else data[: max(got, 0)]

    def copy_out(self, addresses: Any, lengths: Any, pieces: int, data: bytes) -> int:
        return max(lib.wda_copy_out(self.pid, addresses, lengths, pieces, ffi.from_buffer(data)), 0)

    def present(self, page: int, count: int) -> bytes:
        """Where the kernel does not say which pages there are, none counts as present: each first touch is a fault."""
        try:
            words = self._pagemap_words(page, count)
        except OSError:
            words = b""
        return words[7::8].translate(_TOP_BIT).ljust(count, b"\0")

    def _pagemap_words(self, page: int, count: int) -> bytes:
        """One 64-bit word a page; bit 63 says that it is in memory (Linux Documentation/admin-guide/mm/pagemap)."""
        if self._pagemap is None:
            self._pagemap = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
        return os.pread(self._pagemap, count * 8, page * 8)

    def populate(self, page: int, count: int, writable: bool) -> bool:
        return lib.wda_populate(page << PAGE_SHIFT, count << PAGE_SHIFT, writable) == 0

    def refused(self) -> tuple[str, int] | None:
        """What the kernel does not let us do to ourselves: a system call, and its error number. ``None``: nothing."""
        probe = bytearray(8)
        with ffi.from_buffer(probe) as pointer:
            address = int(ffi.cast("uintptr_t", pointer))
            vectors = _vectors([(address, len(probe))])
            answers = {
                "process_vm_readv": lib.wda_copy_in(self.pid, *vectors, 1, ffi.new("char[8]")),
                "process_vm_writev": lib.wda_copy_out(self.pid, *vectors, 1, ffi.new("char[8]")),
                "madvise(MADV_POPULATE_READ)": lib.wda_populate(
                    address >> PAGE_SHIFT << PAGE_SHIFT, PAGE, False
                ),
            }
        return next(((call, -answer) for call, answer in answers.items() if answer < 0), None)

    def blind(self) -> OSError | None:
        """Why the kernel does not tell us which of our pages are present; ``None``: it does."""
        probe = bytearray(8)
        address = int(ffi.cast("uintptr_t", ffi.from_buffer(probe)))
        try:
            words = self._pagemap_words(address >> PAGE_SHIFT, 1)
        except OSError as error:
            return error
        finally:
            self.close()
        return None if words else OSError(errno.ENODATA, "it is empty")

    def close(self) -> None:
        """Close what was opened to look at the page tables."""
        if self._pagemap is not None:
            os.close(self._pagemap)
            self._pagemap = None

    def __repr__(self) -> str:
        return f"<OwnProcess {self.pid}>"


def _vectors(pieces: Sequence[Piece]) -> tuple[object, object]:
    return (
        ffi.new("uint64_t[]", [address for address, _ in pieces]),
        ffi.new("uint64_t[]", [n for _, n in pieces]),
    )


class Memfd:
    """Memory of a made-up address space: a memory file, so that nothing of it can raise a signal.

    :param nbytes: a multiple of a page
    """

    def __init__(self, nbytes: int, name: str = "space") -> None:
        self.size = nbytes
        self.fd = os.memfd_create(f"wdasync-hip08-{name}", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, nbytes)
        #: Pages that are not in memory, as far as the model is concerned: swapped out, or never touched.
        self.absent: set[int] = set()

    def copy_in(self, addresses: Any, lengths: Any, pieces: int, nbytes: int) -> bytes:
        parts = []
        for address, n in zip(addresses[0:pieces], lengths[0:pieces], strict=True):
            part = os.pread(self.fd, n, address)
            parts.append(part)
            if len(part) < n:
                break
        return b"".join(parts)

    def copy_out(self, addresses: Any, lengths: Any, pieces: int, data: bytes) -> int:
        done = 0
        for address, n in zip(addresses[0:pieces], lengths[0:pieces], strict=True):
            if address + n > self.size:
                break
            done += os.pwrite(self.fd, data[done : done + n], address)
        return done

    def present(self, page: int, count: int) -> bytes:
        last = self.size >> PAGE_SHIFT
        return bytes(number < last and number not in self.absent for number in range(page, page + count))

    def populate(self, page: int, count: int, writable: bool) -> bool:
        self.absent.difference_update(range(page, page + count))
        return (page + count) * PAGE <= self.size

    def peek(self, address: int, n: int) -> bytes:
        """Bytes as the program that owns the space sees them."""
        return os.pread(self.fd, n, address)

    def poke(self, address: int, data: bytes) -> None:
        """Store bytes as the program that owns the space."""
        os.pwrite(self.fd, data, address)

    def close(self) -> None:
        """Give the memory back."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __repr__(self) -> str:
        return f"<Memfd {self.size >> PAGE_SHIFT} pages, {len(self.absent)} absent>"
