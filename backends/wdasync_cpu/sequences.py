"""Sequences: step after step in one thread, in one go if there is C for all of them, else each with what there is for it."""

from __future__ import annotations

from typing import Protocol
from weakref import ref

from wdasync.backend import Completion, Detail, Inline
from wdasync.errors import Status
from wdasync.operations import LOOKING, Operation, Sequence

from . import binding, packages, tasks
from .binding import Chained, Outcome
from .packages import Stopped

__all__ = ["runner"]


class Chaining(Inline, Protocol):
    """What runs a step, or all of them if they are native; see :meth:`wdasync_cpu.devices.CpuInline.chain`."""

    def chain(self, steps: tuple[Operation, ...], hand: object) -> Chained | None: ...


class Able(Protocol):
    """What a device has that runs steps."""

    @property
    def chaining(self) -> Chaining: ...


def runner(device: Able) -> binding.Run:
    """What runs the operations of a device that the C side leaves to Python. It does not hold the device, which holds it."""
    held = ref(device)

    def run(operation: Operation, number: int, hand: object) -> Outcome:
        if not isinstance(operation, Sequence):
            return tasks.run(operation, number, hand)
        found = held()
        if found is None:
            return packages.failed(Status.DEVICE_ERROR, "the device is gone")
        return _in_one_go(operation, found.chaining, hand) or _steps(operation, found.chaining, hand)

    return run


def _in_one_go(operation: Sequence, chaining: Chaining, hand: object) -> Outcome | None:
    """All steps in native code; ``None``: one of them is not for that."""
    operation.feed(0)
    try:
        found = chaining.chain(operation.steps, hand)
    finally:
        operation.starve(0)
    if found is None:
        return None
    number, done, operation.seen[:] = found
    if done is not None and done.status:
        if done.status is Status.ABORTED:
            raise Stopped
        return _failed(number, done)
    data = (done.output if done is not None else None) or b""
    return Status.SUCCESS, data, operation.nbytes, len(data), False, None


def _steps(operation: Sequence, inline: Inline, hand: object) -> Outcome:
    data: bytes | None = None
    for number in range(len(operation.steps)):
        if binding.must_stop(hand):
            raise Stopped
        step = operation.feed(number, data)
        try:
            done = inline.run(step)
        finally:
            operation.starve(number)
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
