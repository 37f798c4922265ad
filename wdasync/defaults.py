"""The module-level functions: the methods of the default accelerator of the running event loop."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal, overload

from .lifecycle import default_accelerator
from .operations import Level, Priority

if TYPE_CHECKING:
    from .buffers import Source
    from .errors import WdasyncError
    from .operations import Dictionary
    from .paged import PagedBuffer

__all__ = ["compress", "compress_into", "compress_many", "decompress", "decompress_into"]


async def compress(
    data: Source | PagedBuffer,
    algorithm: str = "gzip",
    *,
    level: Level | None = None,
    window: int | None = None,
    dictionary: Source | Dictionary | None = None,
    timeout: float | None = None,
    priority: Priority = Priority.NORMAL,
) -> bytes:
    """As :meth:`Accelerator.compress`, on the default accelerator of this event loop."""
    accelerator = await default_accelerator()
    return await accelerator.compress(
        data, algorithm, level=level, window=window, dictionary=dictionary, timeout=timeout, priority=priority
    )


async def decompress(
    data: Source | PagedBuffer,
    algorithm: str = "gzip",
    *,
    max_length: int | None = None,
    max_members: int = 1024,
    dictionary: Source | Dictionary | None = None,
    timeout: float | None = None,
    priority: Priority = Priority.NORMAL,
) -> bytes:
    """As :meth:`Accelerator.decompress`, on the default accelerator of this event loop."""
    accelerator = await default_accelerator()
    return await accelerator.decompress(
        data,
        algorithm,
        max_length=max_length,
        max_members=max_members,
        dictionary=dictionary,
        timeout=timeout,
        priority=priority,
    )


async def compress_into(
    data: Source | PagedBuffer,
    buffer: object,
    algorithm: str = "gzip",
    *,
    level: Level | None = None,
    window: int | None = None,
    dictionary: Source | Dictionary | None = None,
    timeout: float | None = None,
    priority: Priority = Priority.NORMAL,
) -> int:
    """As :meth:`Accelerator.compress_into`, on the default accelerator of this event loop."""
    accelerator = await default_accelerator()
    return await accelerator.compress_into(
        data,
        buffer,
        algorithm,
        level=level,
        window=window,
        dictionary=dictionary,
        timeout=timeout,
        priority=priority,
    )


async def decompress_into(
    data: Source | PagedBuffer,
    buffer: object,
    algorithm: str = "gzip",
    *,
    max_members: int = 1024,
    dictionary: Source | Dictionary | None = None,
    timeout: float | None = None,
    priority: Priority = Priority.NORMAL,
) -> int:
    """As :meth:`Accelerator.decompress_into`, on the default accelerator of this event loop."""
    accelerator = await default_accelerator()
    return await accelerator.decompress_into(
        data,
        buffer,
        algorithm,
        max_members=max_members,
        dictionary=dictionary,
        timeout=timeout,
        priority=priority,
    )


@overload
async def compress_many(
    items: Sequence[Source | PagedBuffer],
    algorithm: str = "gzip",
    *,
    level: Level | None = None,
    window: int | None = None,
    dictionary: Source | Dictionary | None = None,
    timeout: float | None = None,
    priority: Priority = Priority.NORMAL,
    return_exceptions: Literal[False] = False,
) -> list[bytes]: ...


@overload
async def compress_many(
    items: Sequence[Source | PagedBuffer],
    algorithm: str = "gzip",
    *,
    level: Level | None = None,
    window: int | None = None,
    dictionary: Source | Dictionary | None = None,
    timeout: float | None = None,
    priority: Priority = Priority.NORMAL,
    return_exceptions: bool,
) -> list[bytes | WdasyncError]: ...


async def compress_many(
    items: Sequence[Source | PagedBuffer],
    algorithm: str = "gzip",
    *,
    level: Level | None = None,
    window: int | None = None,
    dictionary: Source | Dictionary | None = None,
    timeout: float | None = None,
    priority: Priority = Priority.NORMAL,
    return_exceptions: bool = False,
) -> list[bytes] | list[bytes | WdasyncError]:
    """As :meth:`Accelerator.compress_many`, on the default accelerator of this event loop."""
    accelerator = await default_accelerator()
    compress_all = partial(
        accelerator.compress_many,
        items,
        algorithm,
        level=level,
        window=window,
        dictionary=dictionary,
        timeout=timeout,
        priority=priority,
    )
    # What it gives depends on the literal.
    return await (compress_all(return_exceptions=True) if return_exceptions else compress_all())
