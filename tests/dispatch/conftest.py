"""A programmable device behind an accelerator, for the tests of dispatch."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

import wdasync
from wdasync.testing.mock import Program, backend

#: Opens an accelerator on the mock; keywords are settings.
Opener = Callable[..., AbstractAsyncContextManager[wdasync.Accelerator]]


@pytest.fixture
def program() -> Iterator[Program]:
    """What the mock does; four slots, and an engine that takes them all at once."""
    with backend.programmed(depth=4) as program:
        yield program
        assert not program.complaints
        assert not program.devices, "a device was left open"


@pytest.fixture
def opener(program: Program) -> Opener:
    """Opens an accelerator on the programmed mock and checks, when it is left, that nothing was lost."""
    del program

    @asynccontextmanager
    async def open_it(**settings: Any) -> AsyncIterator[wdasync.Accelerator]:
        settings = {"fallback": False, "safety_interval": 0.02, **settings}
        async with wdasync.open_accelerator("mock", **settings) as accelerator:
            yield accelerator
        statistics = accelerator.statistics()
        assert statistics.in_flight == 0
        for lane in statistics.lanes:
            assert lane.parked == 0
            assert lane.completed == sum(lane.statuses.values())

    return open_it
