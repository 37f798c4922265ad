"""For aiohttp: compressed responses of a server, compressed bodies of a client, and the zlib that aiohttp itself uses.

:func:`compression` is a middleware for ``aiohttp.web`` that follows the same tables as the ASGI middleware. :func:`encoded`,
:func:`decoded` and :func:`read` are for clients. :class:`AcceleratedZlib` goes where none of them reaches:
``aiohttp.set_zlib_backend`` makes aiohttp's own compression, of streamed responses and WebSockets, run on an accelerator.
"""

from __future__ import annotations

from .client import decoded, encoded, read
from .module import AcceleratedZlib
from .server import compression

__all__ = ["AcceleratedZlib", "compression", "decoded", "encoded", "read"]
