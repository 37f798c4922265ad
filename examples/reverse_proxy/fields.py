"""Header fields on their way through the proxy (RFC 9110 section 7.6).

Some fields are about one connection and end here: those named below, and those that ``Connection`` names. Framing is written anew by
h11 on the other side. ``Via`` and ``X-Forwarded-*`` tell the upstream who asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from email.utils import formatdate
from typing import Final

import h11

from wdasync.integrations.headers import folded, length_of, of_encoded, values, without

from .heads import HOST, Refused

__all__ = [
    "Lines",
    "coded",
    "date",
    "folded",
    "forwarded",
    "kept_as_it_is",
    "length_of",
    "meant",
    "returned",
    "upgrade_of",
    "values",
]

Lines = list[tuple[bytes, bytes]]

#: About one connection, whatever ``Connection`` says.
HOP_BY_HOP: Final = frozenset({
    b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade",
})  # fmt: skip

#: What ``Connection`` cannot take away: whoever asks, they are for the upstream.
KEPT: Final = frozenset({b"host", b"content-length", b"authorization", b"cookie", b"expect"})

#: Who was asked, and how, is for this proxy to say.
FORWARDED: Final = (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host")

#: What ends the host of a target in absolute form (RFC 3986 section 3.2).
_AFTER_HOST: Final = re.compile(rb"[/?#]")

#: This proxy in ``Via``, behind the version in which it was asked.
NAME: Final = b"wdasync-proxy"


def _tokens(lines: Iterable[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    return [
        part.strip().lower() for value in values(lines, name) for part in value.split(b",") if part.strip()
    ]


def _end_to_end(lines: Lines) -> Lines:
    named = {token for token in _tokens(lines, b"connection") if token not in KEPT}
    return without(lines, HOP_BY_HOP | named)


def upgrade_of(request: h11.Request) -> bytes | None:
    """The protocol that the client wants to go over to. HTTP/2 is not among them: what is in it, this proxy could not see."""
    lines = list(request.headers)
    wanted = [token for token in _tokens(lines, b"upgrade") if not token.startswith(b"h2")]
    return b", ".join(wanted) if wanted and b"upgrade" in _tokens(lines, b"connection") else None


def forwarded(request: h11.Request, peer: str, scheme: str, authority: bytes) -> h11.Request:
    """The request as the upstream gets it.

    :param peer: the client's address
    :param scheme: in which it came
    :param authority: the upstream's, for a client that names no host
    :raises Refused: if its target is none for a reverse proxy
    """
    lines = _counted(request.method, _end_to_end(list(request.headers)))
    target, host = _target(request.method, request.target)
    if host is not None:
        lines = [*without(lines, (b"host",)), (b"host", host)]
    elif request.http_version == b"1.0" and not values(lines, b"host"):
        lines.append((b"host", authority))
    before = values(lines, b"x-forwarded-for")
    lines = without(lines, FORWARDED)
    lines += [
        (b"via", request.http_version + b" " + NAME),
        (b"x-forwarded-for", b", ".join([*before, peer.encode()])),
        (b"x-forwarded-proto", scheme.encode()),
        (b"x-forwarded-host", values(lines, b"host")[0]),
    ]
    if (protocol := upgrade_of(request)) is not None:
        lines += [(b"connection", b"upgrade"), (b"upgrade", protocol)]
    if values(request.headers, b"transfer-encoding"):
        lines.append((b"transfer-encoding", b"chunked"))
    return h11.Request(method=request.method, target=target, headers=lines)


def _counted(method: bytes, lines: Lines) -> Lines:
    """``Max-Forwards``: how many proxies such a request may still come by (RFC 9110 section 7.6.2)."""
    found = values(lines, b"max-forwards") if method in (b"OPTIONS", b"TRACE") else []
    if not found:
        return lines
    if len(found) > 1 or not (found[0].isdigit() and len(found[0]) <= 9):
        raise Refused(400, "Max-Forwards is a number")
    if int(found[0]) == 0:
        raise Refused(200 if method == b"OPTIONS" else 405, "this is as far as the request was to go")
    return [*without(lines, (b"max-forwards",)), (b"max-forwards", str(int(found[0]) - 1).encode())]


def _target(method: bytes, target: bytes) -> tuple[bytes, bytes | None]:
    """The form for an origin, and the host that an absolute form names, which beats ``Host`` (RFC 9112 section 3.2.2)."""
    if target.startswith(b"/") or target == b"*":
        return target, None
    scheme, _, rest = target.partition(b"://")
    host = _AFTER_HOST.split(rest, 1)[0]
    if scheme.lower() not in (b"http", b"https") or host[:1] in (b"", b":") or not HOST.fullmatch(host):
        raise Refused(400, "a target is a path, or a URL with a host")
    path = rest[len(host) :].partition(b"#")[0]
    if not path and method == b"OPTIONS":
        return b"*", host  # section 3.2.4: of the server itself
    return path if path.startswith(b"/") else b"/" + path, host


def kept_as_it_is(request: h11.Request) -> bool:
    """Whether the client asks proxies to transform nothing (RFC 9111 section 5.2.1.6)."""
    return b"no-transform" in _tokens(request.headers, b"cache-control")


def meant(response: h11.Response) -> h11.Response:
    """The response without a length that is not its body's: beside chunks (RFC 9112 section 6.3), or of no content
    (RFC 9110 section 8.6).
    """
    if response.status_code != 204 and not values(response.headers, b"transfer-encoding"):
        return response
    lines = without(list(response.headers), (b"content-length",))
    return h11.Response(status_code=response.status_code, headers=lines, reason=response.reason)


def returned(response: h11.Response | h11.InformationalResponse) -> Lines:
    """The fields of a response as the client gets them, but for the coding."""
    lines = _end_to_end(list(response.headers))
    if response.status_code in (101, 426):
        lines += [(b"connection", b"upgrade"), *(
            (b"upgrade", value) for value in values(response.headers, b"upgrade")
        )]  # fmt: skip
    return lines if response.status_code < 200 or values(lines, b"date") else [*lines, date()]


def date() -> tuple[bytes, bytes]:
    """The field that each response has, or gets on its way (RFC 9110 section 6.6.1)."""
    return b"date", formatdate(usegmt=True).encode()


def coded(lines: Lines, coding: str, length: int | None) -> Lines:
    """The fields of a compressed body.

    :param length: ``None``: it goes in chunks
    """
    found = of_encoded(lines)
    found.append((b"content-encoding", coding.encode()))
    if length is not None:
        found.append((b"content-length", str(length).encode()))
    return found
