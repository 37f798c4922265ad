"""Compressed bodies of a client, for requests and of responses."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING, Any

from aiohttp import ClientResponse

from ...errors import LimitExceeded
from ...lifecycle import default_accelerator
from ...operations import DEFAULT_MAX_LENGTH, Level, check_bound
from ..codings import ALGORITHMS, WINDOWS, check_codings, check_layers, layers

if TYPE_CHECKING:
    from ...accelerator import Accelerator
    from ...buffers import Source

__all__ = ["decoded", "encoded", "read"]


async def encoded(
    data: Source,
    coding: str = "gzip",
    *,
    accelerator: Accelerator | None = None,
    level: Level | None = None,
    timeout: float | None = None,
) -> dict[str, Any]:
    """A compressed body for a request.

    Used as ``await session.post(url, **await encoded(data, "gzip"))``.

    :param coding: ``gzip``, ``zstd``, ``br``, ``deflate``
    :returns: the arguments ``data`` and ``headers``
    :raises InvalidArgument: if the coding is none of these
    :raises UnsupportedOperation: if no backend has it
    """
    check_codings(coding)
    accelerator = accelerator or await default_accelerator()
    body = await accelerator.compress(data, ALGORITHMS[coding], level=level, timeout=timeout)
    return {"data": body, "headers": {"Content-Encoding": coding}}


async def decoded(
    response: ClientResponse, *, accelerator: Accelerator | None = None, timeout: float | None = None
) -> AsyncGenerator[bytes, None]:
    """The body of a response piece by piece, decompressed, however large it is.

    Only for sessions that leave it to us: ``aiohttp.ClientSession(auto_decompress=False)``.

    :raises DataError: if the body is not what its ``Content-Encoding`` says
    :raises InvalidArgument: if that names a coding that is none of ours, or too many of them
    :raises UnsupportedOperation: if no backend has that coding, or the body wants more history than the coding may have (RFC 9659)
    """
    codings = check_layers(layers(response.headers.getall("Content-Encoding", [])))
    accelerator = accelerator or await default_accelerator()
    async with AsyncExitStack() as stack:
        source: AsyncIterable[bytes] = response.content.iter_any()
        for coding in reversed(codings):
            stream = accelerator.decompress_stream(
                source, ALGORITHMS[coding], window=WINDOWS.get(coding), timeout=timeout
            )
            source = await stack.enter_async_context(aclosing(stream))
        async for piece in source:
            yield piece


async def read(
    response: ClientResponse,
    *,
    accelerator: Accelerator | None = None,
    max_length: int = DEFAULT_MAX_LENGTH,
    timeout: float | None = None,
) -> bytes:
    """The whole body of a response, decompressed, and no more than ``max_length`` bytes of it. See :func:`decoded`.

    :raises LimitExceeded: if it is longer
    """
    check_bound(max_length, "max_length", 0)
    pieces, length = [], 0
    async with aclosing(decoded(response, accelerator=accelerator, timeout=timeout)) as body:
        async for piece in body:
            pieces.append(piece)
            length += len(piece)
            if length > max_length:
                raise LimitExceeded(
                    f"read: expected a body of at most {max_length} bytes, got more; give a larger max_length"
                )
    return b"".join(pieces)
