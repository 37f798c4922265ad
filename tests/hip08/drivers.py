"""The user drivers on the emulated engines, without a framework between."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from wdasync.backend import Completion
from wdasync.operations import Key, Operation
from wdasync_hip08.functions import Function
from wdasync_hip08.options import Options
from wdasync_uacce.device import driver_of
from wdasync_uacce.engine_device import EngineDevice

from .lone_machine import LoneMachine

__all__ = ["Bench", "bench"]


class Bench:
    """A device, and one queue of each class, opened when it is needed."""

    def __init__(self, machine: LoneMachine, function: Function) -> None:
        node = machine.nodes[function.name].info()
        driver = driver_of(node)
        assert driver is not None
        self.machine = machine
        self.device: EngineDevice = driver(machine.program, node)
        self.queues: dict[str, Any] = {}
        self.keys: list[Key] = []

    def key(self, material: object) -> Key:
        """A key of the program."""
        self.keys.append(Key(material, "a key"))
        return self.keys[-1]

    def queue(self, operation: Operation) -> Any:
        """The queue that takes such operations."""
        row = self.device.capabilities.find(operation.kind, operation.algorithm)
        queue_class = row.queue_class if row else self.device.capabilities.queue_classes[0]
        if queue_class not in self.queues:
            self.queues[queue_class] = self.device.open_queue(64, queue_class=queue_class)
        return self.queues[queue_class]

    def submit(self, operation: Operation, tag: int = 0) -> Any:
        """Submit one; its queue."""
        if operation.key is not None and operation.session is None:
            operation.session = operation.key.session(self.device, operation.algorithm)
        queue = self.queue(operation)
        assert queue.enqueue_burst([(tag, operation)]) == 1
        return queue

    def run(self, operation: Operation) -> Completion:
        """Its completion, however many descriptors it takes."""
        queue = self.submit(operation)
        done: Sequence[Completion] = ()
        doorbells = -1
        while not done and doorbells != (doorbells := queue.statistics().extra["doorbells"]):
            self.machine.run()
            done = queue.dequeue_burst(4)
        (completion,) = done
        return completion

    def close(self) -> None:
        """Give everything back."""
        for queue in self.queues.values():
            queue.stop()
            queue.dequeue_burst(64)
            queue.close()
        for key in self.keys:
            key.revoke()


@contextlib.contextmanager
def bench(function: Function, algorithms: Sequence[str] = (), **options: Any) -> Iterator[Bench]:
    """A chip that has this function alone, under a virtual clock.

    :param algorithms: instead of the function's
    """
    if algorithms:
        function = dataclasses.replace(function, algorithms=tuple(algorithms))
    settings: dict[str, Any] = {"clock": "virtual", "depth": 64, "ram": 32} | options
    machine = LoneMachine(Options(**settings), (function,))
    bench = Bench(machine, function)
    try:
        yield bench
    finally:
        bench.close()
        assert not any(page.grants for space in machine.spaces.values() for page in space.pages.values())
        machine.close()
