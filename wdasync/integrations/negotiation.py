"""Which content coding a client gets: what it asked for, against what the accelerator offers (RFC 9110 section 12.5.3).

Pure functions of header values; no server, no accelerator.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

__all__ = [
    "ALIASES",
    "EXAMPLES",
    "IDENTITY",
    "Example",
    "Preferences",
    "choose",
    "parse_accept_encoding",
]

#: No coding: the body as it is.
IDENTITY: Final = "identity"

#: Old name -> the registered name (RFC 9110 section 8.4.1).
ALIASES: Final = {"x-gzip": "gzip", "x-compress": "compress"}

#: One element of the field: a token, and a weight or not. The grammar of sections 5.6.2, 12.4.2 and 12.5.3.
_ELEMENT: Final = re.compile(
    r"(?P<coding>[!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*(?:;[ \t]*[qQ]=(?P<weight>0(?:\.\d{0,3})?|1(?:\.0{0,3})?))?",
    re.ASCII,
)
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)


#: Characters of a field that is worth remembering, at most.
REMEMBERED: Final = 256


class Preferences:
    """What a client said about codings. Nobody changes it: requests with the same field share it.

    :ivar weights: coding, lower case -> weight from 0 to 1000; aliases are resolved
    :ivar others: the weight of ``*``: codings that are not named; ``None``: there is no ``*``
    """

    __slots__ = ("others", "weights")

    def __init__(self, weights: dict[str, int], others: int | None) -> None:
        self.weights = weights
        self.others = others

    def __repr__(self) -> str:
        return f"Preferences({self.weights}, others={self.others})"

    def weight(self, coding: str) -> int:
        """How much the client wants a coding that is not ``identity``; 0: not at all."""
        return self.weights.get(coding, self.others or 0)

    @property
    def identity(self) -> int | None:
        """How much it wants no coding; 0: not at all, ``None``: it said nothing, so it will do."""
        return self.weights.get(IDENTITY, self.others)


def parse_accept_encoding(values: Iterable[bytes | str]) -> Preferences:
    """Read the field.

    A weight that cannot be read counts as 0, except that of identity and ``*``, which must not take the plain body away. An
    element whose coding cannot be read is not there. Of a coding that is named twice
    the lower weight holds: who refuses it somewhere does not get it. Without the field nothing but identity is wanted: a
    client that does not speak of codings may not know any.

    :param values: of each line of the field, in their order
    """
    field = ",".join(_text(value) for value in values)
    return _parsed(field) if len(field) <= REMEMBERED else _parse(field)


def _parse(field: str) -> Preferences:
    weights: dict[str, int] = {}
    for element in field.split(","):
        element = element.strip(" \t")
        whole = _ELEMENT.fullmatch(element)
        token = whole or _TOKEN.match(element)
        if token is None:
            continue
        coding = (whole["coding"] if whole else token[0]).lower()
        coding = ALIASES.get(coding, coding)
        if whole is None and coding in (IDENTITY, "*"):
            continue
        weight = _thousandths(whole["weight"]) if whole else 0
        weights[coding] = min(weight, weights.get(coding, weight))
    others = weights.pop("*", None)
    return Preferences(weights, others)


#: Browsers send few values again and again.
_parsed = lru_cache(maxsize=256)(_parse)


def _text(value: bytes | str) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _thousandths(weight: str | None) -> int:
    """``0.5`` -> 500; without a weight it is 1."""
    if weight is None:
        return 1000
    whole, _, part = weight.partition(".")
    return int(whole) * 1000 + int(part.ljust(3, "0"))


def choose(preferences: Preferences, offered: Sequence[str]) -> str | None:
    """The coding to use.

    The highest weight wins; of equal ones a coding before identity, and among codings the one offered first.

    :param offered: best first
    :returns: one of ``offered``, ``"identity"``, or ``None``: the client accepts none of these
    """
    best, most = None, 0
    for coding in offered:
        weight = preferences.weight(coding)
        if weight > most:
            best, most = coding, weight
    identity = preferences.identity
    if best is None:
        return IDENTITY if identity != 0 else None
    return IDENTITY if identity is not None and identity > most else best


class Example(NamedTuple):
    """One row of the table of negotiation: documentation and tests are made from it.

    :ivar field: the value of ``Accept-Encoding``; ``None``: there is no such field
    :ivar offered: what the accelerator offers, best first
    :ivar chosen: what :func:`choose` says
    :ivar why: for people
    """

    field: str | None
    offered: tuple[str, ...]
    chosen: str | None
    why: str


_ALL = ("gzip", "zstd", "br")

#: What RFC 9110 section 12.5.3 asks for, and what clients were seen to send.
EXAMPLES: Final = (
    Example("gzip", _ALL, "gzip", "the plain case"),
    Example("gzip, deflate, br, zstd", _ALL, "gzip", "equal weights: our order of preference"),
    Example("gzip, deflate, br, zstd", ("br", "gzip"), "br", "equal weights: our order of preference"),
    Example("br;q=1.0, gzip;q=0.8", _ALL, "br", "the higher weight wins"),
    Example("GZIP;Q=0.5", _ALL, "gzip", "case does not matter"),
    Example("x-gzip", _ALL, "gzip", "the old name of the same coding"),
    Example("supergzip, x-gzip-really, gzip2", _ALL, "identity", "other tokens, whatever is in them"),
    Example(None, _ALL, "identity", "who does not speak of codings may not know any"),
    Example("", _ALL, "identity", "an empty field accepts nothing else"),
    Example("identity", _ALL, "identity", "as asked"),
    Example("gzip;q=0", _ALL, "identity", "a weight of 0 refuses"),
    Example("gzip;q=0.000, br;q=0.001", _ALL, "br", "the smallest weight that accepts"),
    Example("identity, gzip;q=0", _ALL, "identity", "a weight of 0 refuses"),
    Example("gzip, gzip;q=0", _ALL, "identity", "named twice: refused once is refused"),
    Example("gzip;q=0, x-gzip", _ALL, "identity", "an alias is the same coding"),
    Example("*", _ALL, "gzip", "anything: our first choice"),
    Example("*;q=0", _ALL, None, "nothing at all, not even identity"),
    Example("gzip;q=0, *", _ALL, "zstd", "`*` stands for what is not named"),
    Example("gzip;q=0.5, *;q=0.1", _ALL, "gzip", "a name beats `*`"),
    Example("br, *;q=0", _ALL, "br", "everything else is refused"),
    Example("deflate, *;q=0", _ALL, None, "what is left is not offered"),
    Example("identity;q=0", _ALL, None, "identity refused, and nothing else accepted"),
    Example("identity;q=0, br", _ALL, "br", "it has to be a coding"),
    Example("identity;q=1, gzip;q=0.5", _ALL, "identity", "it would rather have no coding"),
    Example("identity;q=0.5, gzip;q=0.5", _ALL, "gzip", "equal weights: a coding saves bytes"),
    Example("identity;q=0.9, *;q=0.5", _ALL, "identity", "it would rather have no coding"),
    Example("*;q=0, identity;q=0.1", _ALL, "identity", "a name beats `*`"),
    Example("gzip;q=oops, br", _ALL, "br", "a weight that cannot be read counts as 0"),
    Example("gzip;q=1.5", _ALL, "identity", "a weight that cannot be read counts as 0"),
    Example("gzip;q=0.1234", _ALL, "identity", "three digits are all there may be"),
    Example("identity;q=oops, *;q=x", _ALL, "identity", "nonsense does not take the plain body away"),
    Example("gzip;level=9", _ALL, "identity", "a coding has no parameters but its weight"),
    Example("gzip ; q=0.5 ,, br", _ALL, "br", "spaces and empty elements"),
    Example("dcb, dcz", _ALL, "identity", "dictionary codings are not ours to send"),
    Example("gzip, br", (), "identity", "the accelerator offers nothing"),
)
