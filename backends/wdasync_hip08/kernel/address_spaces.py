"""What an opened queue gives its program as address space: one class for each way to reach memory."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from typing import TYPE_CHECKING

from wdasync.buffers import Segment
from wdasync.paged import PagedBuffer
from wdasync_hip08.backings import OwnProcess
from wdasync_hip08.kernel.mappings import Mappings
from wdasync_hip08.kernel.spaces import Space
from wdasync_hip08.memory import PAGE_SHIFT, pages_of
from wdasync_uacce import ReservedSpace, Slice
from wdasync_uacce.memory import address_of

if TYPE_CHECKING:
    from wdasync_hip08.machine import Machine

__all__ = ["MappedSpace", "RegionSpace", "SharedSpace"]


def _place(buffer: Sized) -> tuple[int, int]:
    """Where a bytes-like object is, and its bytes.

    Nothing that exports the buffer may be in the frame of somebody who raises: once the two are garbage of one cycle, the
    collector clears the buffer first, and CPython (3.11) falls over a memoryview that was cleared with exports.
    """
    return address_of(buffer), memoryview(buffer).nbytes  # type: ignore[arg-type]  # bytes-like, whatever it is typed as


class _Host:
    """Copies of memory of the program's, whatever is behind it."""

    def __init__(self, own: OwnProcess) -> None:
        self._own = own

    def peek(self, pieces: Sequence[Segment]) -> bytes:
        return self._own.read([(address_of(piece), len(piece)) for piece in pieces])

    def poke(self, memory: memoryview, data: bytes) -> int:
        return self._own.write([(address_of(memory), len(data))], data)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._own!r}>"


class SharedSpace(_Host):
    """Shared addresses: a buffer is granted where it is."""

    direct = shared = True

    def __init__(self, machine: Machine, space: Space) -> None:
        super().__init__(machine.own)
        self._machine = machine
        self._space = space

    def grant(self, buffer: Sized, writable: bool, resident: bool = False) -> int:
        if isinstance(buffer, PagedBuffer):
            return self._grant_paged(buffer, writable)
        address, nbytes = _place(buffer)
        with self._machine.lock:
            self._space.grant(address, nbytes, writable, resident)
        return address

    def _grant_paged(self, buffer: PagedBuffer, writable: bool) -> int:
        address = address_of(buffer.memory)
        with self._machine.lock:
            self._space.supply(address >> PAGE_SHIFT, pages_of(len(buffer.memory)), self._own, buffer)
            self._space.grant(address, len(buffer), writable)
        return address

    def revoke(self, address: int, nbytes: int, writable: bool) -> None:
        with self._machine.lock:
            self._space.revoke(address, nbytes, writable)
            self._space.supply_no_more(address >> PAGE_SHIFT)

    def allocate(self, nbytes: int) -> memoryview | None:
        return None

    def __repr__(self) -> str:
        return f"<SharedSpace {self._space!r}>"


class MappedSpace(_Host):
    """DMA mappings: a buffer is mapped at an IOVA as long as it is granted."""

    direct, shared = True, False

    def __init__(self, machine: Machine, mappings: Mappings) -> None:
        super().__init__(machine.own)
        self._machine = machine
        self._mappings = mappings

    def grant(self, buffer: Sized, writable: bool, resident: bool = False) -> int:
        address, nbytes = _place(buffer)
        with self._machine.lock:
            return self._mappings.map(self._own, address, nbytes, writable)

    def revoke(self, address: int, nbytes: int, writable: bool) -> None:
        with self._machine.lock:
            self._mappings.unmap(address)

    def allocate(self, nbytes: int) -> memoryview | None:
        return None

    def __repr__(self) -> str:
        return f"<MappedSpace {self._mappings!r}>"


class RegionSpace(_Host, ReservedSpace):
    """A reserved region: mapped once, for program and device, and everything is copied."""

    def __init__(self, machine: Machine, memory: memoryview, slices: Sequence[Slice]) -> None:
        _Host.__init__(self, machine.own)
        ReservedSpace.__init__(self, memory, slices)

    def __repr__(self) -> str:
        return ReservedSpace.__repr__(self)
