"""Header fields as they are on the wire: a list of pairs of bytes."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

__all__ = [
    "Headers",
    "folded",
    "length_of",
    "of_encoded",
    "of_unmodified",
    "values",
    "varying",
    "weakened",
    "without",
]

#: Names and values, in their order.
Headers = Iterable[tuple[bytes, bytes]]

#: A digit string longer than this is no length of anything.
_DIGITS: Final = 20


def values(headers: Headers, name: bytes) -> list[bytes]:
    """The values of all lines of that name (lower case), in their order."""
    return [bytes(value) for key, value in headers if key.lower() == name]


def folded(headers: Headers) -> dict[str, str]:
    """Name, lower case -> value; lines of one name are joined by commas (RFC 9110 section 5.3)."""
    found: dict[str, str] = {}
    for key, value in headers:
        name, text = bytes(key).decode("latin-1").lower(), bytes(value).decode("latin-1")
        found[name] = f"{found[name]}, {text}" if name in found else text
    return found


def length_of(fields: dict[str, str]) -> int | None:
    """What ``Content-Length`` says; ``None``: nothing that is a number."""
    text = fields.get("content-length", "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else None


def without(headers: Headers, names: Collection[bytes]) -> list[tuple[bytes, bytes]]:
    """All lines but those of these names (lower case)."""
    return [(key, value) for key, value in headers if key.lower() not in names]


def varying(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The fields, with ``Accept-Encoding`` in ``Vary`` (RFC 9110 section 12.5.5)."""
    named = [part.strip().lower() for value in values(headers, b"vary") for part in value.split(b",")]
    if b"*" in named or b"accept-encoding" in named:
        return list(headers)
    before = [part for part in values(headers, b"vary") if part.strip()]
    return [*without(headers, [b"vary"]), (b"vary", b", ".join([*before, b"accept-encoding"]))]


def weakened(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The fields, with a strong ``ETag`` made weak: the bytes are others now, the meaning is not (RFC 9110 section 8.8.1)."""
    return [
        (key, b"W/" + value) if key.lower() == b"etag" and value.startswith(b'"') else (key, value)
        for key, value in headers
    ]


def of_encoded(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The fields of a body in another coding: nothing that counts the plain one's bytes, a weak ``ETag``, and ``Vary``."""
    return weakened(varying(without(headers, (b"content-length", b"content-encoding", b"accept-ranges"))))


def of_unmodified(headers: Headers, tags: Iterable[bytes]) -> list[tuple[bytes, bytes]]:
    """The fields of a 304. A client that asks with the weak form of a strong ``ETag`` has it from an encoded response.

    :param tags: values of ``If-None-Match``
    """
    asked = b",".join(tags)
    weak = any(b"W/" + tag in asked for tag in values(headers, b"etag") if tag.startswith(b'"'))
    return varying(weakened(headers)) if weak else list(headers)
