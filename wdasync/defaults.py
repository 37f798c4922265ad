"""The module-level functions: the methods of the default accelerator of the running event loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .lifecycle import default_accelerator
from .operations import Level, Priority

if TYPE_CHECKING:
    from .buffers import Source
    from .paged import PagedBuffer

__all__ = ["compress", "compress_into", "compress_many", "decompress", "decompress_into"]


async def compress(
    data: Source | PagedBuffer,
    algorithm: str = "gzip",
    *,
    level: Level | None = None,
    window: int | None = None,
    timeout: float | None = None,
    priority: Priority = Priority.NORMAL,
) -> bytes:
    """As :meth:`Accelerator.compress`, on the default accelerator of this event loop."""
    accelerator = await default_accelerator()
    return await accelerator.compress(
        data, algorithm, level=level, window=window, timeout=timeout, priority=priority
    )


async def decompress(
    data: Source | PagedBuffer,
    algorithm: str = "gzip",
    *,
    max_length: int | None = None,
    max_members: int = 1024,
    timeout: float | None = None,
    priority: Priority = Priority.NORMAL,
) -> bytes:
    """As :meth:`Accelerator.decompress`, on the default accelerator of this event loop."""
    accelerator = await default_accelerator()
    return await accelerator.decompress(
        data, algorithm, max_length=max_length, max_members=max_members, timeout=timeout, priority=priority
    )


async def compress_into(
    data: Source | PagedBuffer,
    buffer: object,
    algorithm: str = "gzip",
    *,
    level: Level | None = None,
    window: int | None = None,
    timeout: float | None = None,
    priority: Priority = Priority.NORMAL,
) -> int:
    """As :meth:`Accelerator.compress_into`, on the default accelerator of this event loop."""
    accelerator = await default_accelerator()
    return await accelerator.compress_into(
        data, buffer, algorithm, level=level, window=window, timeout=timeout, priority=priority
    )


async def decompress_into(
    data: Source | PagedBuffer,
    buffer: object,
    algorithm: str = "gzip",
    *,
    max_members: int = 1024,
    timeout: float | None = None,
    priority: Priority = Priority.NORMAL,
) -> int:
    """As :meth:`Accelerator.decompress_into`, on the default accelerator of this event loop."""
    accelerator = await default_accelerator()
    return await accelerator.decompress_into(
        data, buffer, algorithm, max_members=max_members, timeout=timeout, priority=priority
    )


async def compress_many(
    items: Sequence[Source | PagedBuffer],
    algorithm: str = "gzip",
    *,
    level: Level | None = None,
    timeout: float | None = None,
    priority: Priority = Priority.NORMAL,
) -> list[bytes]:
    """As :meth:`Accelerator.compress_many`, on the default accelerator of this event loop."""
    accelerator = await default_accelerator()
    return await accelerator.compress_many(items, algorithm, level=level, timeout=timeout, priority=priority)
