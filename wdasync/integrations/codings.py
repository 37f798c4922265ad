"""The content codings of HTTP, and which of them an accelerator offers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from ..errors import InvalidArgument
from ..operations import Kind, Level

if TYPE_CHECKING:
    from ..accelerator import Accelerator

__all__ = ["ALGORITHMS", "PREFERENCE", "check_codings", "offers", "window_of"]

#: Content coding -> our name for the format. HTTP's ``deflate`` is RFC 1950, not RFC 1951 (RFC 9110 section 8.4.1.2).
ALGORITHMS: Final = {"gzip": "gzip", "zstd": "zstd", "br": "br", "deflate": "zlib"}

#: Our order of preference: what a chip can do, then what costs least for its size.
PREFERENCE: Final = ("gzip", "zstd", "br")

#: The largest history of zstd as a content coding, 8 MiB, as a base-2 logarithm (RFC 9659 section 3); and the level from which on
#: compressors take a larger one by themselves.
ZSTD_WINDOW: Final = 23
ZSTD_LARGE: Final = 20

_offers: WeakKeyDictionary[Accelerator, dict[Kind, frozenset[str]]] = WeakKeyDictionary()


def check_codings(codings: Iterable[str]) -> tuple[str, ...]:
    """The codings, if they are some.

    :raises InvalidArgument: if one of them is none of ours
    """
    names = (codings,) if isinstance(codings, str) else tuple(codings)
    for name in names:
        if name not in ALGORITHMS:
            raise InvalidArgument(f"codings: expected some of {', '.join(ALGORITHMS)}, got {name!r}")
    return names


def window_of(coding: str, level: Level) -> int | None:
    """The history to ask for; ``None``: what the level has, which no coding forbids."""
    large = coding == "zstd" and isinstance(level, int) and level >= ZSTD_LARGE
    return ZSTD_WINDOW if large else None


def offers(accelerator: Accelerator, kind: Kind) -> frozenset[str]:
    """The codings that some device of the accelerator can do, in one call or as a stream as the kind says."""
    kinds = _offers.get(accelerator)
    if kinds is None:
        kinds = _offers[accelerator] = {}
    if kind not in kinds:
        tables = accelerator.capabilities().values()
        able = {row.algorithm for table in tables for row in table if row.kind is kind}
        kinds[kind] = frozenset(coding for coding, algorithm in ALGORITHMS.items() if algorithm in able)
    return kinds[kind]
