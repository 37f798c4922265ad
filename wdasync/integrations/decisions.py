"""Whether a response is compressed: one table, read from the top. The first row that holds decides.

Documentation and tests are made from :data:`ROWS`. Pure functions of what is known of the response; the body is not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from . import headers as fields
from .headers import Headers
from .media import compressible
from .negotiation import IDENTITY

__all__ = ["ROWS", "Decision", "Exchange", "Row", "decide", "fields_of_plain"]

#: Fields that hold a check value of the body, which another coding would make wrong (RFC 9530, RFC 3230, RFC 1864).
DIGESTS: Final = ("content-digest", "repr-digest", "digest", "content-md5")

#: Statuses whose response has no content (RFC 9110 sections 15.2, 15.3.5, 15.3.6, 15.4.5).
EMPTY: Final = frozenset({204, 205, 304})


class Exchange(NamedTuple):
    """What is known of a request and its response when the first of the body comes.

    :ivar method: of the request
    :ivar status: of the response
    :ivar headers: of the response: name, lower case -> value; lines of one name joined by commas
    :ivar size: bytes of the whole body; ``None``: it comes in pieces, and nobody said how much that will be. To ``HEAD``, what was
        said, as there is no body
    :ivar coding: what negotiation chose; ``None``: nothing that the client accepts
    :ivar minimum: bytes below which a body is not compressed
    :ivar insists: the client refuses the plain body
    :ivar compressible: says of a ``Content-Type`` whether it is worth it
    """

    method: str
    status: int
    headers: Mapping[str, str]
    size: int | None
    coding: str | None
    minimum: int = 500
    insists: bool = False
    compressible: Callable[[str], bool] = compressible

    def directive(self, field: str, name: str) -> bool:
        """Whether a comma-separated field has this element, whatever its argument."""
        value = self.headers.get(field)
        elements = value.lower().split(",") if value else ()
        return any(element.partition("=")[0].strip() == name for element in elements)


class Row(NamedTuple):
    """One row of the table.

    :ivar name: for statistics, tests and people
    :ivar situation: when it holds, for the documentation
    :ivar behaviour: what is done
    :ivar source: where that is written, or where its lack was reported
    :ivar holds: whether it holds
    :ivar encode: the body is compressed
    :ivar varies: another ``Accept-Encoding`` might have given another answer, so that ``Vary`` names it
    :ivar unseen: the body would be compressed, and is not here
    """

    name: str
    situation: str
    behaviour: str
    source: str
    holds: Callable[[Exchange], bool]
    encode: bool = False
    varies: bool = False
    unseen: bool = False


class Decision(NamedTuple):
    """What to do with a response.

    :ivar row: the row that decided
    :ivar coding: to apply; ``None``: the body stays as it is
    """

    row: Row
    coding: str | None


def _has_digest(exchange: Exchange) -> bool:
    if not exchange.headers.keys().isdisjoint(DIGESTS):
        return True
    return "trailer" in exchange.headers and any(exchange.directive("trailer", name) for name in DIGESTS)


def _is_range(exchange: Exchange) -> bool:
    kind = exchange.headers.get("content-type", "").strip().lower()
    return (
        exchange.status == 206
        or "content-range" in exchange.headers
        or kind.startswith("multipart/byteranges")
    )


ROWS: Final = (
    Row(
        "no content",
        "the status is 1xx, 204, 205 or 304",
        "left alone; a 304 for an `ETag` that we made weak gets it weak again, and `Vary`",
        "RFC 9110 sections 15.3.5, 15.4.5",
        lambda it: it.status < 200 or it.status in EMPTY,
    ),
    Row(
        "tunnel",
        "the method is CONNECT, and it succeeded",
        "left alone: what follows is no content",
        "RFC 9110 section 9.3.6",
        lambda it: it.method == "CONNECT" and 200 <= it.status < 300,
    ),
    Row(
        "encoded",
        "the response has a `Content-Encoding`",
        "left alone",
        "RFC 9110 section 8.4",
        lambda it: it.headers.get("content-encoding", "").strip().lower() not in ("", IDENTITY),
    ),
    Row(
        "packed range",
        "as the next row, and the type is compressed already",
        "left alone",
        "RFC 9110 section 14",
        lambda it: _is_range(it) and not it.compressible(it.headers.get("content-type", "")),
    ),
    Row(
        "range",
        "the status is 206, or there is a `Content-Range`, or the type is `multipart/byteranges`",
        "left alone: ranges count the bytes of what the application chose; with `Vary`, as all of it would have",
        "RFC 9110 sections 14, 15.3.7, starlette#3420",
        _is_range,
        varies=True,
    ),
    Row(
        "no-transform",
        "`Cache-Control: no-transform`",
        "left alone",
        "RFC 9111 section 5.2.2.6",
        lambda it: it.directive("cache-control", "no-transform"),
    ),
    Row(
        "digest",
        "a check value of the body: `Content-Digest`, `Repr-Digest`, `Digest`, `Content-MD5`, also as a trailer",
        "left alone: it would be wrong",
        "RFC 9530 sections 2, 3",
        _has_digest,
    ),
    Row(
        "empty",
        "the body is empty",
        "left alone",
        "bandit#677",
        lambda it: it.size == 0,
    ),
    Row(
        "media type",
        "the type is compressed already: raster images, audio, video, WOFF, archives; not SVG, TTF, OTF",
        "left alone, unless the client refuses the plain body",
        "starlette#3421",
        lambda it: not it.insists and not it.compressible(it.headers.get("content-type", "")),
    ),
    Row(
        "small",
        "the whole body is smaller than `minimum_size`",
        "left alone, unless the client refuses the plain body",
        "as other ASGI middleware: 500 bytes",
        lambda it: not it.insists and it.size is not None and it.size < it.minimum,
    ),
    Row(
        "identity",
        "negotiation chose no coding, or found none",
        "the plain body, with `Vary`",
        "RFC 9110 section 12.5.3",
        lambda it: it.coding in (None, IDENTITY),
        varies=True,
    ),
    Row(
        "HEAD",
        "the method is HEAD",
        "the fields are those of a compressed body, whose length nobody knows: no `Content-Length`, and as below",
        "RFC 9110 sections 8.6, 9.3.2",
        lambda it: it.method == "HEAD",
        varies=True,
        unseen=True,
    ),
    Row(
        "compress",
        "everything else",
        "compressed, with `Vary`; a strong `ETag` becomes weak, `Accept-Ranges` goes; a whole body that does not get "
        "smaller stays as it is",
        "RFC 9110 sections 8.4, 8.8.1, 12.5.5",
        lambda it: True,
        encode=True,
        varies=True,
    ),
)


def decide(exchange: Exchange) -> Decision:
    """The first row that holds."""
    for row in ROWS:
        if row.holds(exchange):
            return Decision(row, exchange.coding if row.encode else None)
    raise AssertionError("the last row always holds")


def fields_of_plain(
    row: Row, status: int, headers: Headers, tags: Iterable[bytes]
) -> list[tuple[bytes, bytes]]:
    """The fields of a response whose body stays as it is.

    :param row: that decided about it
    :param status: of the response
    :param tags: values of ``If-None-Match``: what the client asked with
    """
    if row.unseen:
        return fields.of_encoded(headers)
    if status == 304:
        return fields.of_unmodified(headers, tags)
    return fields.varying(headers) if row.varies else list(headers)
