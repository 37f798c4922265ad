"""Header fields as ASGI has them: a list of pairs of bytes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from .types import Headers

__all__ = ["folded", "length_of", "values", "varying", "weakened", "without"]

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
