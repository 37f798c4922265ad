"""The installed backends that commands compare: those that have a device here and are meant for use."""

from __future__ import annotations

from typing import Final

from .. import registry
from ..errors import BackendUnavailable

__all__ = ["SKIPPED", "find_backends"]

#: The backend for tests does its work in the calling thread: it shows nothing where backends are compared.
SKIPPED: Final = frozenset({"mock"})


def find_backends() -> tuple[list[str], dict[str, str]]:
    """Names of the backends that have a device, and for each that has not, by its name, why."""
    names: list[str] = []
    left_out: dict[str, str] = {}
    for name in registry.backend_names():
        if name in SKIPPED:
            continue
        try:
            present = bool(registry.get_backend(name).devices())
        except BackendUnavailable as error:
            left_out[name] = str(error)
            continue
        if present:
            names.append(name)
        else:
            left_out[name] = f"backend {name!r} has no device here"
    return names, left_out
