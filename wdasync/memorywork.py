"""Calls of an accelerator that work on memory as it is: copy, fill, compare, and checksums."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .operations import Checksum, Compare, Copy, Fill, Operation, Priority

if TYPE_CHECKING:
    from .backend import Completion
    from .buffers import Source
    from .execution import Execution
    from .paged import PagedBuffer

__all__ = ["MemoryWork"]


class MemoryWork:
    """A part of :class:`~wdasync.Accelerator`."""

    _execution: Execution

    async def crc32(
        self,
        data: Source | PagedBuffer,
        initial: int | None = None,
        *,
        timeout: float | None = None,
        priority: Priority = Priority.NORMAL,
    ) -> int:
        """The checksum of gzip and zip (RFC 1952).

        :param data: bytes-like, a list of them, or a :class:`~wdasync.PagedBuffer`
        :param initial: the checksum of what came before, as :func:`zlib.crc32` takes it
        """
        return await self._checksum(data, "crc32", initial, timeout, priority)

    async def crc32c(
        self,
        data: Source | PagedBuffer,
        initial: int | None = None,
        *,
        timeout: float | None = None,
        priority: Priority = Priority.NORMAL,
    ) -> int:
        """The checksum of iSCSI, ext4 and many storage formats (RFC 3720). See :meth:`crc32`."""
        return await self._checksum(data, "crc32c", initial, timeout, priority)

    async def adler32(
        self,
        data: Source | PagedBuffer,
        initial: int | None = None,
        *,
        timeout: float | None = None,
        priority: Priority = Priority.NORMAL,
    ) -> int:
        """The checksum of zlib (RFC 1950). See :meth:`crc32`."""
        return await self._checksum(data, "adler32", initial, timeout, priority)

    async def _checksum(
        self, data: object, algorithm: str, initial: int | None, timeout: float | None, priority: Priority
    ) -> int:
        done = await self._work(Checksum(data, algorithm, initial=initial), timeout, priority)
        return int.from_bytes(done.output or b"", "big")

    async def copy(
        self,
        data: Source | PagedBuffer,
        buffer: object,
        *,
        timeout: float | None = None,
        priority: Priority = Priority.NORMAL,
    ) -> int:
        """Copy ``data`` into memory of the caller's; returns the bytes copied.

        A cancelled call returns only after the device has let go of ``buffer``.

        :param data: as of :meth:`crc32`; only where it is in one piece it may overlap ``buffer``
        :param buffer: writable, contiguous, at least as long
        """
        return (await self._work(Copy(data, buffer), timeout, priority)).produced

    async def fill(
        self,
        buffer: object,
        value: int = 0,
        *,
        timeout: float | None = None,
        priority: Priority = Priority.NORMAL,
    ) -> int:
        """Fill memory of the caller's with one byte; returns the bytes written. See :meth:`copy`."""
        return (await self._work(Fill(buffer, value), timeout, priority)).produced

    async def compare(
        self,
        data: Source | PagedBuffer,
        other: Source,
        *,
        timeout: float | None = None,
        priority: Priority = Priority.NORMAL,
    ) -> bool:
        """Whether two inputs have the same content. The time it takes may tell where they differ: not for secrets."""
        return (await self._work(Compare(data, other), timeout, priority)).output == b"\x01"

    async def _work(self, operation: Operation, timeout: float | None, priority: Priority) -> Completion:
        return await self._execution.run(operation, timeout, priority)
