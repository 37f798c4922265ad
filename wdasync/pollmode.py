"""A device for a program that polls: with a loop of its own, in which nothing is awaited.

Most programs await, and the framework takes care of queues and wake-ups. A poll-mode program does so itself, through
:class:`wdasync.backend.Queue`: it enqueues and dequeues in bursts for as long as there is work, and never arms meanwhile.
Before it sleeps, it dequeues until the queue is empty, arms, looks once more, and sleeps on the queue's descriptor::

    with wdasync.open_device() as polled:
        queue = polled.open_queue()
        while queue.enqueue_burst([(1, wdasync.Compress(page, "gzip"))]) == 0:
            pass
        while not (done := queue.dequeue_burst(32)):
            pass

Nothing here knows an event loop. A device that needs one, for its timers or for page faults, gets one in a thread.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from anyio.from_thread import start_blocking_portal

from .backend import Device, Queue
from .config import load
from .errors import BackendUnavailable, ClosedResourceError, InvalidArgument
from .lifecycle import no_device, wanted_backends
from .opener import close_queues
from .operations import Kind, Priority

__all__ = ["PolledDevice", "open_device"]

logger = logging.getLogger("wdasync")

#: Completions that are taken at once while a queue is emptied.
BURST = 64

#: Seconds between two looks at a queue that is being emptied.
NAP = 0.001


class PolledDevice:
    """An opened device, and the queues that were opened of it. ``with`` it, or close it.

    :ivar backend: name of the backend
    :ivar device: the device: its ``info``, ``capabilities``, ``lost``, and ``open_session`` for streams
    """

    def __init__(self, backend: str, device: Device, depth: int, close_timeout: float) -> None:
        self.backend = backend
        self.device = device
        self._depth = depth
        self._close_timeout = close_timeout
        self._queues: list[Queue] = []
        self._closed = False
        self._serving = ExitStack()
        if device.serve is not None:
            self._serve(device.serve)

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self._queues)} queues"
        return f"<PolledDevice {self.backend}/{self.device.info.name}, {state}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def open_queue(
        self,
        depth: int | None = None,
        *,
        priority: Priority = Priority.NORMAL,
        queue_class: str | None = None,
    ) -> Queue:
        """Open a queue. It is closed with the device; only the thread that uses it may call it. Blocks.

        :param depth: operations in flight wished for; ``None``: as configured
        :param queue_class: one of ``device.capabilities.queue_classes``; ``None``: the first
        :raises BackendUnavailable: if there is no queue to be had
        :raises InvalidArgument: if the device has no such class
        :raises ClosedResourceError: if the device was closed
        """
        if self._closed:
            raise ClosedResourceError
        classes = self.device.capabilities.queue_classes
        chosen = classes[0] if queue_class is None else queue_class
        if chosen not in classes:
            raise InvalidArgument(
                f"queue_class: expected one of {', '.join(map(repr, classes))}, got {chosen!r}"
            )
        queue = self.device.open_queue(self._depth if depth is None else depth, priority, chosen)
        self._queues.append(queue)
        return queue

    def close(self) -> None:
        """Stop the queues, wait for what is in flight, give all back. Blocks. Idempotent.

        Completions that nobody has dequeued are dropped. What a device does not finish in ``close_timeout`` seconds, it is
        closed with.
        """
        if self._closed:
            return
        self._closed = True
        for queue in self._queues:
            queue.stop()
        deadline = time.monotonic() + self._close_timeout
        for queue in self._queues:
            _empty(queue, deadline)
        close_queues(self._queues)
        self._serving.close()
        self.device.close()

    def _serve(self, serve: Callable[[], Any]) -> None:
        """Run the device's own coroutine in a thread, until it is closed."""
        portal = self._serving.enter_context(start_blocking_portal())
        running: Future[None] = portal.start_task_soon(serve, name=f"{self!r} serve")
        running.add_done_callback(_served)
        self._serving.callback(running.cancel)


def _served(running: Future[None]) -> None:
    """A device's coroutine has ended; by itself it never does."""
    if not running.cancelled() and (error := running.exception()) is not None:
        logger.error("serve raised; the device's timers and page faults stand still", exc_info=error)


def _empty(queue: Queue, deadline: float) -> None:
    while queue.statistics().in_flight and time.monotonic() < deadline:
        if not queue.dequeue_burst(BURST):
            time.sleep(NAP)


def open_device(
    backend: str | None = None, *, needs: Iterable[tuple[Kind, str]] = (), **settings: object
) -> PolledDevice:
    """Open one device for a program that polls: the first that can be opened and has what is needed, of the best backend. Blocks.

    :param backend: name of a backend; ``None``: as configured, else the best that is here. If it has no such device, one that takes
        over from others may have, unless ``fallback`` is off
    :param needs: kinds of operation and their algorithms, all of which the device must have
    :param settings: any field of :class:`~wdasync.Config`, or an option of the backend; those about event loops, scheduling
        and page fault handlers are without effect
    :raises ConfigError: if a setting is unknown or of the wrong type
    :raises BackendUnavailable: if a backend is unknown, or no such device can be opened
    """
    if backend is not None:
        settings["backend"] = backend
    wanted_rows = list(needs)
    effective = load(settings)
    config = effective.config
    lacking: list[str] = []
    for wanted in wanted_backends(config):
        errors: list[BackendUnavailable] = []
        options = effective.options(wanted.backend.name, wanted.backend.Options)
        for info in wanted.infos:
            try:
                device = wanted.backend.open(info, options)
            except BackendUnavailable as error:
                errors.append(error)
                continue
            if all(device.capabilities.find(*row) for row in wanted_rows):
                return PolledDevice(wanted.backend.name, device, config.depth, config.close_timeout)
            device.close()
            lacking.append(f"{wanted.backend.name}/{info.name}")
        if wanted.asked and len(errors) == len(wanted.infos):
            raise errors[0]
    if lacking:
        rows = ", ".join(f"{kind.name} {algorithm}" for kind, algorithm in wanted_rows)
        raise BackendUnavailable(
            f"needs: expected a device with {rows}, got {', '.join(lacking)}; see `python -m wdasync devices`"
        )
    raise no_device()
