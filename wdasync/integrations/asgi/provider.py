"""Whose accelerator serves a request."""

from __future__ import annotations

from collections.abc import Callable
from inspect import isawaitable
from typing import Any

from ...accelerator import Accelerator
from ...errors import InvalidArgument
from ...lifecycle import default_accelerator
from .types import Scope

__all__ = ["Provider", "provided"]

#: The accelerator, a function that finds it (in ``scope["state"]``, say), or ``None``: the default one of the event loop.
Provider = Accelerator | Callable[[Scope], Any] | None


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
