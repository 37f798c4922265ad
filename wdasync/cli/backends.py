"""The installed backends that commands compare: those that have a device here and are meant for use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from .. import registry
from ..errors import BackendUnavailable

__all__ = ["SKIPPED", "find_backends", "settings_for", "with_variants"]

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


def with_variants(names: Iterable[str]) -> list[str]:
    """Each backend, and after it its variants: ``name:variant``.

    A variant is a set of settings that its author wants compared: a backend may have an attribute ``variants``, by their names.
    """
    return [
        found for name in names for found in (name, *(f"{name}:{variant}" for variant in _variants(name)))
    ]


def settings_for(name: str) -> tuple[str, Mapping[str, Any]]:
    """The backend that a name of :func:`with_variants` stands for, and the settings that make the variant."""
    backend, _, variant = name.partition(":")
    return backend, _variants(backend)[variant] if variant else {}


def _variants(backend: str) -> Mapping[str, Mapping[str, Any]]:
    found: Mapping[str, Mapping[str, Any]] = getattr(registry.get_backend(backend), "variants", {})
    return found
