"""Conditional requests: what a client has, or relies on, against what there is (RFC 9110 section 13).

Pure functions of header values. Of the conditions only ``If-Range`` is not here: it goes with ranges.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_tz

__all__ = ["evaluate", "parse_date"]


def evaluate(headers: Mapping[str, str], etag: str, modified: float) -> int:
    """The status of a ``GET`` or ``HEAD`` of something that is there (section 13.2.2): 200, 304 or 412.

    :param headers: of the request: name, lower case -> value; lines of one name joined by commas
    :param etag: of what would be sent, strong, with its quotes
    :param modified: when it was last modified, seconds since the epoch
    """
    if (tags := headers.get("if-match")) is not None:
        if not _named(tags, etag, weak=False):
            return 412
    elif (since := parse_date(headers.get("if-unmodified-since", ""))) is not None and int(modified) > since:
        return 412
    if (tags := headers.get("if-none-match")) is not None:
        return 304 if _named(tags, etag, weak=True) else 200
    since = parse_date(headers.get("if-modified-since", ""))
    return 304 if since is not None and int(modified) <= since else 200


def _named(tags: str, etag: str, *, weak: bool) -> bool:
    """Whether a list of tags has this one.

    :param weak: the weak form of a tag means the same (section 8.8.3.2)
    """
    named = [tag.strip() for tag in tags.split(",")]
    return "*" in named or etag in named or (weak and f"W/{etag}" in named)


def parse_date(text: str) -> float | None:
    """Seconds since the epoch, of any of the three forms of section 5.6.7; ``None``: it is no date of HTTP."""
    parts = parsedate_tz(text)
    if parts is None or parts[9]:  # another zone than Greenwich
        return None
    try:
        return datetime(*parts[:6], tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        return None
