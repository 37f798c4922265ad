"""An ASGI application that serves a folder, each file compressed once."""

from __future__ import annotations

import mimetypes
import os
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from typing import Final

from anyio import to_thread

from ...errors import InvalidArgument
from .. import media
from ..conditions import evaluate
from ..headers import folded, values
from ..negotiation import parse_accept_encoding
from ..variants import Variant, VariantCache
from .bodies import BODY
from .provider import Provider, provided
from .replies import reply
from .types import Receive, Scope, Send

__all__ = ["CompressedFiles"]

#: Bytes that are read and sent at once.
READ: Final = 256 * 1024

#: What guess_type() says of files that are compressed already.
_PACKED: Final = {
    "gzip": "application/gzip",
    "bzip2": "application/x-bzip2",
    "xz": "application/x-xz",
    "br": "application/x-brotli",
}


class CompressedFiles:
    """Serves the files of a folder. What a client accepts compressed is compressed at the first request, and kept.

    ``GET`` and ``HEAD``; ``ETag`` and ``Last-Modified`` with their conditional requests (RFC 9110 section 13, but for ``If-Range``); each
    coding has a strong ``ETag`` of its own. ``Range`` is ignored, as RFC 9110 section 14.2 allows. Nothing outside of the folder is served, neither by
    ``..`` nor through a symbolic link.

    :param directory: the folder
    :param cache: keeps what was compressed; it must not lie below ``directory``
    :param accelerator: as of :class:`CompressionMiddleware`
    :param index: the file that stands for a folder; empty: none does
    :param headers: says which further header fields a path gets, such as ``Cache-Control``
    :raises InvalidArgument: if the folder is none, or the cache lies in it
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        cache: VariantCache,
        *,
        accelerator: Provider = None,
        index: str = "index.html",
        headers: Callable[[str], list[tuple[bytes, bytes]]] | None = None,
    ) -> None:
        self.directory = Path(directory).resolve()
        self.cache = cache
        self._provider = accelerator
        self._index = index
        self._headers = headers
        if not self.directory.is_dir():
            raise InvalidArgument(f"directory: expected a folder, got {os.fspath(directory)!r}")
        if cache.folder.resolve().is_relative_to(self.directory):
            raise InvalidArgument(f"cache: expected a folder outside of {self.directory}, which is served")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI has it."""
        if scope["type"] != "http":
            raise InvalidArgument(
                f"scope: expected http, got {scope['type']}; serve files below a path of your application"
            )
        if scope["method"] not in ("GET", "HEAD"):
            return await reply(send, 405, "only GET and HEAD\n", [(b"allow", b"GET, HEAD")])
        path = await to_thread.run_sync(self._find, scope["path"].removeprefix(scope.get("root_path", "")))
        if path is None:
            return await reply(send, 404, "there is nothing here\n")
        kind = content_type(path)
        preferences = parse_accept_encoding(values(scope["headers"], b"accept-encoding"))
        accelerator = await provided(self._provider, scope)
        try:
            variant = await self.cache.open(accelerator, path, preferences, kind)
        except (OSError, InvalidArgument):
            return await reply(send, 404, "there is nothing here\n")
        with variant.file:
            await self._send(scope, send, variant, kind)
        return None

    def _find(self, path: str) -> Path | None:
        """The file behind the path of a URL; ``None``: there is none that may be served."""
        if "\0" in path:
            return None
        try:
            found = (self.directory / path.lstrip("/")).resolve()
            if self._index and found.is_dir():
                found = (found / self._index).resolve()
            return found if found.is_relative_to(self.directory) and found.is_file() else None
        except (OSError, RuntimeError, ValueError):  # too long, a circle of links, or no name of a file
            return None

    async def _send(self, scope: Scope, send: Send, variant: Variant, kind: str) -> None:
        status = evaluate(folded(scope["headers"]), variant.etag, variant.modified)
        if status == 412:
            return await reply(send, 412, "it is another one by now\n")
        lines = self._lines(scope, variant)
        if status == 304:
            await send({"type": "http.response.start", "status": 304, "headers": lines})
            return await send({"type": BODY, "body": b""})
        lines += [(b"content-type", kind.encode()), (b"content-length", str(variant.length).encode())]
        if variant.coding != "identity":
            lines.append((b"content-encoding", variant.coding.encode()))
        await send({"type": "http.response.start", "status": 200, "headers": lines})
        if scope["method"] == "GET":
            await self._send_body(send, variant)
        return await send({"type": BODY, "body": b""})

    def _lines(self, scope: Scope, variant: Variant) -> list[tuple[bytes, bytes]]:
        """The fields that a 304 has, too."""
        modified = formatdate(min(variant.modified, time.time()), usegmt=True)  # RFC 9110 section 8.8.2.1
        lines = [(b"etag", variant.etag.encode()), (b"last-modified", modified.encode())]
        if variant.varies:
            lines.append((b"vary", b"accept-encoding"))
        if self._headers is not None:
            lines += self._headers(scope["path"])
        return lines

    async def _send_body(self, send: Send, variant: Variant) -> None:
        """As much as was announced, though the file may have grown.

        :raises EOFError: if it has become shorter
        """
        left = variant.length
        while left:
            piece = await to_thread.run_sync(variant.file.read, min(READ, left))
            if not piece:
                sent = variant.length - left
                raise EOFError(
                    f"{variant.file.name}: expected {variant.length} bytes, got {sent}; it was truncated while it was sent"
                )
            left -= len(piece)
            await send({"type": BODY, "body": piece, "more_body": True})


def content_type(path: Path) -> str:
    """What a file is, by its name."""
    kind, packed = mimetypes.guess_type(path)
    if packed is not None:
        return _PACKED.get(packed, "application/octet-stream")
    kind = kind or "application/octet-stream"
    return f"{kind}; charset=utf-8" if media.essence(kind).startswith("text/") else kind
