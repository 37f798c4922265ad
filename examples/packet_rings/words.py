"""Words in memory that the kernel reads and writes meanwhile, and the system calls that Python's modules lack.

An index that another agent reads is one aligned store, after everything that it announces; Python's own ways to write into memory
promise neither. The compiler's run-time library has such loads and stores as functions.
"""

from __future__ import annotations

import mmap
import os
import socket
from typing import Any, Final

from cffi import FFI

__all__ = ["Words", "bind", "enter_namespace", "system_call"]

ffi = FFI()
ffi.cdef("""
    uint32_t __atomic_load_4(const volatile void *at, int order);
    void __atomic_store_4(volatile void *at, uint32_t value, int order);
    int bind(int descriptor, const void *address, unsigned length);
    int setns(int descriptor, int kind);
    long syscall(long number, ...);
""")
_atomic: Any = ffi.dlopen("libatomic.so.1")
_load, _store = _atomic.__atomic_load_4, _atomic.__atomic_store_4
_libc: Final[Any] = ffi.dlopen(None)

#: Memory orders of GCC's built-in functions.
ACQUIRE, RELEASE = 2, 3

CLONE_NEWNET: Final = 0x4000_0000


class Words:
    """Memory that is shared with the kernel.

    :ivar view: its bytes, for everything that nobody looks at before an index says so
    """

    def __init__(self, memory: mmap.mmap) -> None:
        self.view = memoryview(memory)
        self._memory = memory
        self._base = ffi.from_buffer("char[]", memory, require_writable=True)

    @property
    def address(self) -> int:
        """Where it lies."""
        return int(ffi.cast("uintptr_t", self._base))

    def load(self, offset: int) -> int:
        """A word of 32 bits; what its writer wrote before is seen after it."""
        return int(_load(self._base + offset, ACQUIRE))

    def store(self, offset: int, value: int) -> None:
        """A word of 32 bits; whoever sees it sees what was written before."""
        _store(self._base + offset, value, RELEASE)

    def close(self) -> None:
        """Unmap it."""
        self.view.release()
        ffi.release(self._base)
        self._memory.close()


def _check(result: int) -> int:
    if result < 0:
        raise OSError(ffi.errno, os.strerror(ffi.errno))
    return result


def bind(descriptor: socket.socket, address: bytes) -> None:
    """Give a socket an address of a family that Python does not know."""
    _check(_libc.bind(descriptor.fileno(), address, len(address)))


def enter_namespace(descriptor: int) -> None:
    """Go into another network namespace, with this thread."""
    _check(_libc.setns(descriptor, CLONE_NEWNET))


def system_call(number: int, command: int, attributes: bytes) -> int:
    """A system call of the shape of bpf(2)."""
    memory = ffi.from_buffer(attributes)
    return _check(
        _libc.syscall(number, ffi.cast("int", command), memory, ffi.cast("unsigned", len(attributes)))
    )
