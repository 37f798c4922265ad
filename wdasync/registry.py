"""Finds backends: our own and strangers' alike, through the entry-point group ``wdasync.backends``."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from .backend import Backend
from .errors import BackendUnavailable

__all__ = ["GROUP", "backend_names", "get_backend", "nearest"]

GROUP = "wdasync.backends"


@cache
def _found() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def backend_names() -> tuple[str, ...]:
    """Names of all installed backends, sorted."""
    return tuple(sorted(_found()))


@cache
def get_backend(name: str) -> Backend:
    """The backend with this name.

    :raises BackendUnavailable: if there is none, or it cannot be imported
    """
    point = _found().get(name)
    if point is None:
        known = backend_names()
        raise BackendUnavailable(
            f"backend: expected one of {', '.join(known)}, got {name!r}{nearest(name, known)}; "
            f"a backend is a package with an entry point in the group {GROUP!r}"
        )
    try:
        backend: Backend = point.load()
    except (ImportError, AttributeError) as error:
        raise BackendUnavailable(
            f"backend {name!r} ({point.value}) cannot be imported: {error}; reinstall the package"
        ) from error
    except Exception as error:  # a stranger's code: a library that it loads, a file that it reads
        raise BackendUnavailable(
            f"backend {name!r} ({point.value}) cannot be imported: {type(error).__name__}: {error}; reinstall the package, "
            "or report it to its authors"
        ) from error
    return backend


def nearest(name: str, known: Iterable[str], prefix: str = "") -> str:
    """``" (did you mean …?)"`` if one of ``known`` is like ``name``, in small letters or large ones, else nothing.

    :param prefix: what all names begin with, left out of both and of the comparison
    """
    spelt = {other.lower(): other for other in known}
    close = difflib.get_close_matches(name.lower(), list(spelt), n=1)
    return f" (did you mean {prefix + spelt[close[0]]!r}?)" if close else ""
