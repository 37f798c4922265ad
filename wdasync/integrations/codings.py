"""The content codings of HTTP, and which of them an accelerator offers."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from ..errors import InvalidArgument
from ..operations import Kind, Level
from .negotiation import ALIASES, IDENTITY

if TYPE_CHECKING:
    from ..accelerator import Accelerator

__all__ = [
    "ALGORITHMS",
    "PREFERENCE",
    "WINDOWS",
    "check_codings",
    "check_layers",
    "layers",
    "offers",
    "window_of",
]

#: Content coding -> our name for the format. HTTP's ``deflate`` is RFC 1950, not RFC 1951 (RFC 9110 section 8.4.1.2).
ALGORITHMS: Final = {"gzip": "gzip", "zstd": "zstd", "br": "br", "deflate": "zlib"}

#: Our order of preference: what a chip can do, then what costs least for its size.
PREFERENCE: Final = ("gzip", "zstd", "br")

#: Content coding -> the largest history that it allows, as a base-2 logarithm, where the format itself has larger ones: 8 MiB
#: (RFC 9659 section 3).
WINDOWS: Final = {"zstd": 23}

#: The level of zstd from which on compressors take a larger one by themselves.
ZSTD_LARGE: Final = 20

#: Codings on top of each other, at most. Nobody has use for more than one; each multiplies what a bomb can do.
LAYERS: Final = 2

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


def layers(lines: Iterable[bytes | str]) -> tuple[str, ...]:
    """The codings of a body, in the order in which they were applied (RFC 9110 section 8.4).

    :param lines: the values of ``Content-Encoding``, one for each line of that name
    """
    texts = [line.decode("latin-1") if isinstance(line, bytes) else line for line in lines]
    names = [name.strip().lower() for text in texts for name in text.split(",")]
    return tuple(ALIASES.get(name, name) for name in names if name not in ("", IDENTITY))


def check_layers(named: tuple[str, ...], taken: Collection[str] = tuple(ALGORITHMS)) -> tuple[str, ...]:
    """The codings of a body, if they are few, and each one is taken.

    :raises InvalidArgument: otherwise
    """
    if len(named) > LAYERS or not set(named) <= set(taken):
        expected = f"at most {LAYERS} of {', '.join(taken)}" if taken else IDENTITY
        raise InvalidArgument(f"Content-Encoding: expected {expected}, got {', '.join(named)}")
    return named


def window_of(coding: str, level: Level) -> int | None:
    """The history to ask for; ``None``: what the level has, which no coding forbids."""
    large = coding == "zstd" and isinstance(level, int) and level >= ZSTD_LARGE
    return WINDOWS[coding] if large else None


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
