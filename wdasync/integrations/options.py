"""How bodies are compressed: what a middleware may be told of it, checked once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from ..errors import InvalidArgument
from ..operations import Level, check_bound, check_level
from . import media
from .codings import ALGORITHMS, PREFERENCE, check_codings
from .padding import MOST

__all__ = ["Options", "check_timeout"]


class Options:
    """:class:`wdasync.integrations.asgi.CompressionMiddleware` has their meaning."""

    __slots__ = ("codings", "compressible", "levels", "minimum_size", "padding", "timeout")

    def __init__(
        self,
        *,
        codings: Iterable[str] = PREFERENCE,
        level: Level | Mapping[str, Level] | None = None,
        minimum_size: int = 500,
        compressible: Callable[[str], bool] = media.compressible,
        padding: int = 0,
        timeout: float | None = None,
    ) -> None:
        self.codings = check_codings(codings)
        self.levels = _levels(level)
        self.minimum_size = check_bound(minimum_size, "minimum_size", 0)
        self.compressible = compressible
        self.padding = check_bound(padding, "padding", 0)
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
