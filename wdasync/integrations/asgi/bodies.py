"""The messages that carry a body: bytes, and the extensions by which a server reads a file itself.

A file that is to be compressed cannot go past us, so it is read here; one that is not goes to the server untouched.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from typing import Final

from anyio import open_file, to_thread

from .types import Message

__all__ = ["BODIES", "BODY", "chunks"]

BODY: Final = "http.response.body"
PATH: Final = "http.response.pathsend"
FILE: Final = "http.response.zerocopysend"

#: The messages that carry some of a response's body.
BODIES: Final = frozenset({BODY, PATH, FILE})

#: Bytes that are read at once.
READ: Final = 256 * 1024


async def chunks(message: Message) -> AsyncGenerator[tuple[bytes, bool], None]:
    """What one message brings: pieces, and of each whether more of the body follows it."""
    if message["type"] == BODY:
        yield message.get("body", b""), message.get("more_body", False)
    elif message["type"] == PATH:
        async with await open_file(message["path"], "rb") as file:
            while data := await file.read(READ):
                yield data, True
        yield b"", False
    else:
        async for data in _read(message):
            yield data, True
        yield b"", message.get("more_body", False)


async def _read(message: Message) -> AsyncGenerator[bytes, None]:
    """What ``zerocopysend`` asks for: from ``offset``, else from where the file is; ``count`` bytes, else to its end."""
    file, offset, left = message["file"], message.get("offset"), message.get("count")
    number = file if isinstance(file, int) else file.fileno()
    offset = os.lseek(number, 0, os.SEEK_CUR) if offset is None else offset
    while left is None or left > 0:
        data = await to_thread.run_sync(os.pread, number, READ if left is None else min(READ, left), offset)
        if not data:
            return
        yield data
        offset += len(data)
        left = None if left is None else left - len(data)
