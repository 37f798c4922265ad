"""The event loops, and what each offers by itself for running work elsewhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from importlib.util import find_spec
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import anyio

from ..commands import Failure

__all__ = ["LOOPS", "Loop", "Natives", "find_loops", "run_on"]

T = TypeVar("T")


class Natives(Protocol):
    """What an event loop offers by itself."""

    def to_thread(self, function: Callable[..., object], *arguments: object) -> Awaitable[object]:
        """Call it in a thread, as this loop does it if nothing else is said."""

    def in_pool(self, function: Callable[..., object], *arguments: object) -> Awaitable[object]:
        """Call it in one of a fixed number of threads."""

    def checkpoint(self) -> Awaitable[object]:
        """Let the other tasks run."""

    def park(self) -> Awaitable[object]:
        """Sleep until the loop has run all other tasks, as cheaply as can be: woken in a batch with all that parked."""

    def close(self) -> None:
        """Give back the threads."""


class Loop(NamedTuple):
    """One event loop.

    :ivar name: as users write it
    :ivar package: what must be installed
    :ivar backend: anyio's name for its kind
    :ivar options: anyio's options for it
    """

    name: str
    package: str
    backend: str
    options: dict[str, Any]

    @property
    def installed(self) -> bool:
        """Whether its package is there."""
        return find_spec(self.package) is not None

    def natives(self, threads: int) -> Natives:
        """What it offers; called in the loop.

        :param threads: of the pool
        """
        if self.backend == "trio":
            from .trio_natives import TrioNatives

            return TrioNatives(threads)
        from .asyncio_natives import AsyncioNatives

        return AsyncioNatives(threads)


LOOPS: Final[dict[str, Loop]] = {
    loop.name: loop
    for loop in (
        Loop("asyncio", "asyncio", "asyncio", {"use_uvloop": False}),
        Loop("uvloop", "uvloop", "asyncio", {"use_uvloop": True}),
        Loop("trio", "trio", "trio", {}),
    )
}


def find_loops(names: tuple[str, ...]) -> list[Loop]:
    """The loops of these names; of no names, those that are installed.

    :raises Failure: if one that is named is not installed
    """
    for name in names:
        if not LOOPS[name].installed:
            raise Failure(f"{name} is not installed; type: pip install 'wdasync[{name}]'")
    return [LOOPS[name] for name in dict.fromkeys(names)] or [
        loop for loop in LOOPS.values() if loop.installed
    ]


def run_on(loop: Loop, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run ``main`` on this loop.

    :raises KeyboardInterrupt: if it was interrupted; trio's would come in a group
    """
    try:
        return anyio.run(main, backend=loop.backend, backend_options=loop.options)
    except BaseExceptionGroup as group:
        if group.subgroup(KeyboardInterrupt) is not None:
            raise KeyboardInterrupt from None
        raise
