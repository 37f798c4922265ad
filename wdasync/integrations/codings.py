"""The content codings of HTTP, and which of them an accelerator offers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from ..errors import InvalidArgument
from ..operations import Kind

if TYPE_CHECKING:
    from ..accelerator import Accelerator

__all__ = ["ALGORITHMS", "PREFERENCE", "WINDOWS", "check_codings", "offers"]

#: Content coding -> our name for the format. HTTP's ``deflate`` is RFC 1950, not RFC 1951 (RFC 9110 section 8.4.1.2).
ALGORITHMS: Final = {"gzip": "gzip", "zstd": "zstd", "br": "br", "deflate": "zlib"}

#: Our order of preference: what a chip can do, then what costs least for its size.
PREFERENCE: Final = ("gzip", "zstd", "br")

#: Base-2 logarithm of the largest window that a coding allows, where its format allows more (RFC 9659 section 3).
WINDOWS: Final = {"zstd": 23}

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
