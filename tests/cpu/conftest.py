"""Devices and queues of the CPU backend, closed after each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.cpu.support import VARIANTS, open_device
from wdasync.operations import Priority
from wdasync_cpu.devices import CpuDevice
from wdasync_cpu.queues import CpuQueue


@pytest.fixture(scope="session", params=VARIANTS)
def device(request: pytest.FixtureRequest) -> CpuDevice:
    """The device, with each set of implementations."""
    return open_device(request.param)


@pytest.fixture(scope="session")
def whole_device() -> CpuDevice:
    """The device with everything that this machine has."""
    return open_device()


def opener(device: CpuDevice) -> Iterator[Callable[..., CpuQueue]]:
    queues: list[CpuQueue] = []

    def open_one(depth: int = 64, priority: Priority = Priority.NORMAL) -> CpuQueue:
        queues.append(device.open_queue(depth, priority))
        return queues[-1]

    yield open_one
    for queue in queues:
        queue.close()


@pytest.fixture
def open_queue(whole_device: CpuDevice) -> Iterator[Callable[..., CpuQueue]]:
    """Opens queues of :func:`whole_device`."""
    yield from opener(whole_device)


@pytest.fixture
def queue(device: CpuDevice) -> Iterator[CpuQueue]:
    """A queue of each :func:`device`."""
    for open_one in opener(device):
        yield open_one()


@pytest.fixture
def whole_queue(open_queue: Callable[..., CpuQueue]) -> CpuQueue:
    """A queue of :func:`whole_device`."""
    return open_queue()
