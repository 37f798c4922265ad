"""Sequences whose steps are not all native: step after step in one Python thread, each with what there is for it."""

from __future__ import annotations

from typing import Protocol
from weakref import ref

from wdasync.backend import Completion, Detail, Inline
from wdasync.errors import Status
from wdasync.operations import LOOKING, Operation, Sequence

from . import binding, packages, tasks
from .binding import Outcome
from .packages import Stopped

__all__ = ["runner"]


class Able(Protocol):
    """What a device has that runs steps."""

    inline: Inline | None


def runner(device: Able) -> binding.Run:
    """What runs the operations of a device that the C side leaves to Python. It does not hold the device, which holds it."""
    held = ref(device)

    def run(operation: Operation, number: int, hand: object) -> Outcome:
        if not isinstance(operation, Sequence):
            return tasks.run(operation, number, hand)
        found = held()
        if found is None or found.inline is None:
            return packages.failed(Status.DEVICE_ERROR, "the device is gone")
        return _steps(operation, found.inline, hand)

    return run


def _steps(operation: Sequence, inline: Inline, hand: object) -> Outcome:
    data: bytes | None = None
    for number in range(len(operation.steps)):
        if binding.must_stop(hand):
            raise Stopped
        step = operation.feed(number, data)
        done = inline.run(step)
        if done.status:
            return _failed(number, done)
        if step.kind in LOOKING:
            operation.seen[number] = done.output
        else:
            data = done.output or b""
    data = data or b""  # there is none, if all steps only look
    return Status.SUCCESS, data, operation.nbytes, len(data), False, None


def _failed(number: int, done: Completion) -> Outcome:
    told = done.detail
    detail = Detail(told.message, cause=told.cause, step=number)
    return done.status, None, 0, 0, False, detail
