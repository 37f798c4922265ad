"""Compress an object of a web server whose pages are fetched when the device touches them, not before.

    python examples/paged_object.py http://127.0.0.1:8000/object -o object.gz
    WDASYNC_BACKEND=hip08 python examples/paged_object.py http://127.0.0.1:8000/object -o object.gz

The object is memory that is not there. The compressor runs into its first page: a page fault, on the emulated chip through its
translation unit, on the CPU through the kernel. The fault calls a coroutine, which asks the server for that range of bytes; the device
goes on. Nobody waits for the whole object, and a page that nobody touches is never asked for.
"""

from __future__ import annotations

import argparse
import http.client
import re
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import anyio.to_thread

import wdasync

PAGE = 64 * 1024  # bytes of one request


class RemoteObject:
    """An object behind a URL, read by ranges. The version that was there at first is the only one that counts."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise SystemExit(f"expected a URL that begins with http://, got {url!r}")
        self.host = parts.netloc
        self.path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self.requests = 0
        self.etag = ""

    def ask(self, method: str, **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
        """One request. It blocks, so it is made in a thread."""
        connection = http.client.HTTPConnection(self.host, timeout=30)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, self.path, headers={"Accept-Encoding": "identity", **named})
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()

    async def length(self) -> int:
        """How long it is."""
        response, _ = await anyio.to_thread.run_sync(self.ask, "HEAD")
        length = response.headers.get("Content-Length", "")
        if response.status != 200 or not length.isdigit():
            raise SystemExit(f"expected 200 and a Content-Length, got {response.status} and {length!r}")
        self.etag = response.headers.get("ETag", "")
        return int(length)

    async def pager(self, offset: int, length: int) -> bytes:
        """Called once for each page that the device touches."""
        self.requests += 1
        wanted = f"bytes={offset}-{offset + length - 1}"
        strong = {"If_Range": self.etag} if self.etag.startswith('"') else {}  # RFC 9110 section 13.1.5
        ask = partial(self.ask, "GET", Range=wanted, **strong)
        response, data = await anyio.to_thread.run_sync(ask)
        found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
        right = response.status == 206 and found is not None and int(found[1]) == offset
        if not right or response.headers.get("ETag", self.etag) != self.etag:
            raise OSError(f"expected 206 and {wanted}, got {response.status}; has the object changed?")
        return data


async def main(url: str, output: Path, algorithm: str) -> None:
    """Compress the object into a file."""
    remote = RemoteObject(url)
    buffer = wdasync.PagedBuffer(await remote.length(), remote.pager, page_size=PAGE)
    async with wdasync.open_accelerator() as acc:
        result = await acc.execute(wdasync.Compress(buffer, algorithm), timeout=600.0)
    assert result.output is not None
    assert result.paging is not None
    await anyio.Path(output).write_bytes(result.output)
    print(
        f"{len(buffer):,} bytes -> {result.produced:,} on {result.backend}/{result.device}; "
        f"pages fetched {result.paging.value}: {remote.requests} requests, {result.faults} faults"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Compress an object of a web server, page by page.")
    parser.add_argument("url")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--algorithm", default="gzip", choices=["gzip", "zlib", "deflate", "br", "zstd"])
    arguments = parser.parse_args()
    anyio.run(main, arguments.url, arguments.output, arguments.algorithm)
