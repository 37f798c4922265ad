"""What a middleware may be told, checked once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from inspect import isawaitable
from typing import Any

from ...accelerator import Accelerator
from ...errors import InvalidArgument
from ...lifecycle import default_accelerator
from ...operations import Level, check_bound, check_level
from .. import media
from ..codings import ALGORITHMS, PREFERENCE, check_codings
from ..padding import MOST
from .types import Scope

__all__ = ["Options", "Provider", "check_timeout", "provided"]

#: The accelerator, a function that finds it (in ``scope["state"]``, say), or ``None``: the default one of the event loop.
Provider = Accelerator | Callable[[Scope], Any] | None


class Options:
    """The options of :class:`~wdasync.integrations.asgi.CompressionMiddleware`, which has their meaning."""

    __slots__ = (
        "codings",
        "compressible",
        "flush",
        "levels",
        "minimum_size",
        "padding",
        "provider",
        "strict",
        "timeout",
    )

    def __init__(
        self,
        *,
        accelerator: Provider = None,
        codings: Iterable[str] = PREFERENCE,
        level: Level | Mapping[str, Level] | None = None,
        minimum_size: int = 500,
        compressible: Callable[[str], bool] = media.compressible,
        flush: bool = True,
        padding: int = 0,
        strict: bool = False,
        timeout: float | None = None,
    ) -> None:
        self.provider = accelerator
        self.codings = check_codings(codings)
        self.levels = _levels(level)
        self.minimum_size = check_bound(minimum_size, "minimum_size", 0)
        self.compressible = compressible
        self.flush = flush
        self.padding = check_bound(padding, "padding", 0)
        self.strict = strict
        self.timeout = check_timeout(timeout)
        if not callable(compressible):
            raise InvalidArgument(f"compressible: expected a function of a media type, got {compressible!r}")
        if self.padding > MOST:
            raise InvalidArgument(f"padding: expected at most {MOST} bytes, got {padding}")


def _levels(level: Level | Mapping[str, Level] | None) -> dict[str, Level | None]:
    if isinstance(level, Mapping):
        check_codings(level)
        return {coding: check_level(level[coding]) if coding in level else None for coding in ALGORITHMS}
    return dict.fromkeys(ALGORITHMS, None if level is None else check_level(level))


def check_timeout(timeout: float | None) -> float | None:
    """``timeout`` if it can be one.

    :raises InvalidArgument: otherwise
    """
    if timeout is None or (type(timeout) in (int, float) and timeout > 0):
        return timeout
    raise InvalidArgument(f"timeout: expected seconds, a number above 0, or None, got {timeout!r}")


async def provided(provider: Provider, scope: Scope) -> Accelerator:
    """The accelerator for a request.

    :raises InvalidArgument: if the provider gives something else
    """
    if provider is None:
        return await default_accelerator()
    if isinstance(provider, Accelerator):
        return provider
    found = provider(scope)
    if isawaitable(found):
        found = await found
    if not isinstance(found, Accelerator):
        raise InvalidArgument(f"accelerator: expected the function to give an Accelerator, got {found!r}")
    return found
