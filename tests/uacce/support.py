"""What the tests of the uacce drivers share."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from wdasync import registry
from wdasync.backend import Completion
from wdasync.operations import Operation
from wdasync_uacce import UacceBackend, ZipDevice, ZipQueue

from .stand_in import StandIn, StandInFile

__all__ = ["layer_named_uacce", "named_uacce", "run", "running", "sample", "take", "zip_queue"]


@contextlib.contextmanager
def named_uacce(layer: StandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A stand-in that programs can name ``uacce``; afterwards nothing of it may be open or granted."""
    point: Any = SimpleNamespace(load=lambda: UacceBackend(layer), value="tests")
    monkeypatch.setitem(registry._found(), "uacce", point)
    registry.get_backend.cache_clear()
    yield layer
    registry.get_backend.cache_clear()
    assert not layer.space.grants
    assert {file.state for file in layer.files} == {"CLOSED"}


@pytest.fixture(params=[2, 3], ids=["qm v2", "qm v3"])
def layer_named_uacce(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A stand-in whose device works in a thread, and that programs can name ``uacce``."""
    with named_uacce(StandIn(64, request.param, threaded=True), monkeypatch) as layer:
        yield layer


@contextlib.contextmanager
def zip_queue(layer: StandIn, queue_class: str = "compress", depth: int = 4096) -> Iterator[ZipQueue]:
    """A queue on the stand-in; afterwards nothing may be granted any more."""
    queue = ZipDevice(layer, layer.node()).open_queue(depth, queue_class=queue_class)
    try:
        yield queue
    finally:
        layer.errors.clear()
        queue.close()
        assert not layer.space.grants, "the device may still touch memory"
        assert all(file.state == "CLOSED" for file in layer.files)


def take(queue: ZipQueue, limit: int = 4096, rounds: int = 20) -> list[Completion]:
    """Everything that completes while the queue is asked again and again."""
    return [completion for _ in range(rounds) for completion in queue.dequeue_burst(limit)]


def run(queue: ZipQueue, *operations: Operation) -> list[Completion]:
    """Their completions, in the order of the operations."""
    assert queue.enqueue_burst(list(enumerate(operations))) == len(operations)
    found = {completion.tag: completion for completion in take(queue)}
    assert sorted(found) == list(range(len(operations)))
    return [found[tag] for tag in range(len(operations))]


def running(layer: StandIn) -> StandInFile:
    """The hardware behind the queue that was opened last."""
    return layer.files[-1]


def sample(nbytes: int, seed: int = 0) -> bytes:
    """Text-like bytes: they compress to about a third."""
    rng = random.Random(seed)
    words = [bytes(rng.choices(b"abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(200)]
    text = b" ".join(rng.choices(words, k=nbytes // 3 + 1))
    return text[:nbytes]


def pieces(data: bytes, *cuts: int) -> Sequence[Any]:
    """``data`` as a list of segments, cut at these places."""
    edges = [0, *cuts, len(data)]
    return [memoryview(data)[first:last] for first, last in pairwise(edges)]
