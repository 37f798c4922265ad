"""Heads of requests, looked at closely before the parser gets them.

h11 parses, and is generous in a few places where RFC 9112 lets a recipient be: it takes a bare LF for the end of a line, unfolds folded
lines, and lets ``Transfer-Encoding`` win over ``Content-Length``. A server may be so generous. A proxy may not: where it and the server
behind it disagree about the end of a request, somebody's second request is hidden in the first (*request smuggling*). So whatever two parsers
were seen to read differently is refused here, and all that goes on to the upstream was written anew by h11.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["HOST", "MAX_FIELDS", "MAX_HEAD", "Heads", "Refused", "check_head"]

#: Bytes of a request line and its fields together.
MAX_HEAD: Final = 16384

#: Fields of a request.
MAX_FIELDS: Final = 100

#: Where a head ends, for the most generous of parsers.
_END: Final = re.compile(rb"\n\r?\n")
_VERSION: Final = re.compile(rb"HTTP/1\.[01]")

#: ``Host``, and of a target: a name, an address, brackets for IPv6, and a port (RFC 9110 section 7.2). Nothing that another parser might cut.
HOST: Final = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+;=%-]*|\[[0-9A-Fa-f:.]+\])(?::\d{0,5})?")


class Refused(Exception):
    """A request that goes no further.

    :ivar status: what the client is answered
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Heads:
    """Bytes of a client that belong to no request yet."""

    __slots__ = ("_data", "_searched")

    def __init__(self) -> None:
        self._data = bytearray()
        self._searched = 0

    def __len__(self) -> int:
        return len(self._data)

    def receive(self, data: bytes | memoryview) -> None:
        """More of them."""
        self._data += data

    def take_head(self) -> bytes | None:
        """The next head, up to its empty line; ``None``: it is not all there.

        :raises Refused: if it is none, or too long
        """
        if self._data[:2] == b"\r\n":  # section 2.2: one empty line before a request is nothing
            del self._data[:2]
            self._searched = 0
        if self._data and self._data[0] <= 0x20:
            raise Refused(400, "a request begins with a method")
        found = _END.search(self._data, self._searched)
        if (len(self._data) if found is None else found.end()) > MAX_HEAD:
            raise Refused(431, f"a request has at most {MAX_HEAD} bytes of header fields")
        if found is None:
            self._searched = max(0, len(self._data) - 3)
            return None
        head = bytes(self._data[: found.end()])
        del self._data[: found.end()]
        self._searched = 0
        check_head(head)
        return head

    def take_rest(self) -> bytes:
        """All that there is."""
        rest = bytes(self._data)
        self._data.clear()
        return rest


def check_head(head: bytes) -> None:
    """What h11 would let pass.

    :raises Refused: if two parsers might read it differently
    """
    if not head.count(b"\r\n") == head.count(b"\n") == head.count(b"\r"):
        raise Refused(400, "a line ends with CR LF, and nothing else does")
    request, *lines = head[:-4].split(b"\r\n")
    if len(lines) > MAX_FIELDS:
        raise Refused(431, f"a request has at most {MAX_FIELDS} header fields")
    if any(line[:1] in (b" ", b"\t") for line in lines):
        raise Refused(400, "a header field is one line")
    fields: dict[bytes, list[bytes]] = {}
    for line in lines:
        name, _, value = line.partition(b":")
        fields.setdefault(name.strip().lower(), []).append(value.strip(b" \t"))
    version = request.rpartition(b" ")[2]
    if not _VERSION.fullmatch(version):
        raise Refused(505 if version.startswith(b"HTTP/") else 400, "this is HTTP/1.1")
    _check_framing(fields, version)
    hosts = fields.get(b"host", [])
    if len(hosts) > 1 or not all(HOST.fullmatch(host) for host in hosts):
        raise Refused(400, "a request has one Host, a name or an address, and perhaps a port")


def _check_framing(fields: dict[bytes, list[bytes]], version: bytes) -> None:
    """One way to tell where the request ends, or none (RFC 9112 section 6)."""
    lengths, codings = fields.get(b"content-length", []), fields.get(b"transfer-encoding", [])
    if len(lengths) + len(codings) > 1:
        raise Refused(400, "a request has one Content-Length or one Transfer-Encoding")
    if lengths and not (lengths[0].isdigit() and len(lengths[0]) <= 18):
        raise Refused(400, "a Content-Length is a number")
    if codings and version == b"HTTP/1.0":
        raise Refused(400, "HTTP/1.0 has no Transfer-Encoding")
