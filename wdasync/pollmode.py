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
import warnings
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, closing
from types import TracebackType
from typing import Any, Self

from anyio.from_thread import start_blocking_portal

from .backend import Device, Queue
from .config import load
from .errors import BackendUnavailable, ClosedResourceError, InvalidArgument
from .lifecycle import no_device, wanted_backends
from .opener import close_queues
from .operations import Kind, Priority

__all__ = ["PolledDevice", "open_device", "open_devices"]

logger = logging.getLogger("wdasync")

#: Completions that are taken at once while a queue is emptied.
BURST = 64

#: Seconds between two looks at a queue that is being emptied.
NAP = 0.001


class PolledDevice:
    """An opened device, and the queues that were opened of it. ``with`` it, or close it.

    :ivar backend: name of the backend
    :ivar device: the device: its ``info``, ``capabilities``, ``lost``, and ``open_session`` for streams
    :ivar resets: how often it was brought back
    """

    def __init__(self, backend: str, device: Device, depth: int, close_timeout: float) -> None:
        self.backend = backend
        self.device = device
        self.resets = 0
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

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            warnings.warn(
                f"unclosed {self!r}; use `with`, or close() it", ResourceWarning, stacklevel=2, source=self
            )

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

    def stop_queues(self) -> None:
        """Stop its queues, and drop completions that nobody has dequeued. Only the thread that uses them. Blocks, if at all, for
        ``close_timeout`` seconds.
        """
        for queue in self._queues:
            queue.stop()
        deadline = time.monotonic() + self._close_timeout
        for queue in self._queues:
            _empty(queue, deadline)

    def close_queues(self) -> None:
        """Close its queues, which were stopped. Blocks. Any thread, while no other uses them or opens some.

        Afterwards the device touches no memory of an operation, also of those that it has not finished.
        """
        queues, self._queues = self._queues, []
        close_queues(queues)

    def reset(self) -> None:
        """Bring the device back after it was lost, and its queues were stopped. They are closed; new ones can be opened. Blocks. Any thread, as
        :meth:`close_queues`.

        It knows no sessions any more, and no keys.

        :raises BackendUnavailable: if it does not come back; try it again later
        :raises ClosedResourceError: if the device was closed
        """
        if self._closed:
            raise ClosedResourceError
        self.close_queues()
        try:
            self.device.reset()
        except OSError as error:
            raise BackendUnavailable(f"{self.device.info.name}: {error}") from error
        if (reason := self.device.lost) is not None:
            raise BackendUnavailable(
                f"{self.device.info.name}: expected it back after a reset, got: {reason}"
            )
        self.resets += 1

    def close(self) -> None:
        """Stop and close its queues, and give all back. Blocks. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self.stop_queues()
        self.close_queues()
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
    backend: str | Sequence[str] | None = None, *, needs: Iterable[tuple[Kind, str]] = (), **settings: object
) -> PolledDevice:
    """Open one device for a program that polls: the first that can be opened and has what is needed, of the best backend. Blocks.

    :param backend: name of a backend, or several, best first; ``None``: as configured, else the best that is here. If it has no such
        device, one that takes over from others may have, unless ``fallback`` is off
    :param needs: kinds of operation and their algorithms, all of which the device must have
    :param settings: any field of :class:`~wdasync.Config`, or an option of the backend; those about event loops, scheduling
        and page fault handlers are without effect
    :raises ConfigError: if a setting is unknown or of the wrong type
    :raises BackendUnavailable: if a backend is unknown, or no such device can be opened
    """
    with closing(_opened(backend, list(needs), settings, all)) as found:
        return next(found)


def open_devices(
    backend: str | Sequence[str] | None = None, *, needs: Iterable[tuple[Kind, str]] = (), **settings: object
) -> list[PolledDevice]:
    """Open all devices that have something of what is needed, best first, for a program that goes on with the next one where one
    cannot do something, or is lost. Blocks.

    :param backend: as of :func:`open_device`. Those that take over from others come last, unless ``fallback`` is off
    :param needs: kinds of operation and their algorithms, of which a device must have one
    :param settings: as of :func:`open_device`
    :returns: at least one; each is to be closed
    :raises ConfigError: if a setting is unknown or of the wrong type
    :raises BackendUnavailable: if a backend is unknown, or no such device can be opened
    """
    with ExitStack() as stack:
        found = [stack.enter_context(polled) for polled in _opened(backend, list(needs), settings, any)]
        stack.pop_all()
    return found


def _opened(
    backend: str | Sequence[str] | None,
    needs: Sequence[tuple[Kind, str]],
    settings: dict[str, object],
    enough: Callable[[Iterable[object]], bool],
) -> Generator[PolledDevice, None, None]:
    """One device after the other, best first, each opened when it is asked for.

    :param enough: ``all`` or ``any``: how much of what is needed a device must have
    :raises BackendUnavailable: as :func:`open_device`; at the end, if there was none
    """
    if backend is not None:
        settings["backend"] = tuple(backend) if isinstance(backend, list) else backend
    effective = load(settings)
    config = effective.config
    found, lacking = False, list[str]()
    for wanted in wanted_backends(config):
        errors: list[BackendUnavailable] = []
        options = effective.options(wanted.backend.name, wanted.backend.Options)
        for info in wanted.infos:
            try:
                device = wanted.backend.open(info, options)
            except BackendUnavailable as error:
                errors.append(error)
                continue
            if not needs or enough(device.capabilities.find(*row) for row in needs):
                found = True
                yield PolledDevice(wanted.backend.name, device, config.depth, config.close_timeout)
            else:
                device.close()
                lacking.append(f"{wanted.backend.name}/{info.name}")
        if wanted.asked and len(errors) == len(wanted.infos):
            raise errors[0]
    if not found:
        raise _lacking(needs, lacking, " or " if enough is any else ", ")


def _lacking(needs: Sequence[tuple[Kind, str]], names: Sequence[str], joint: str) -> BackendUnavailable:
    """The error where no device has what is needed."""
    if not names:
        return no_device()
    rows = joint.join(f"{kind.name} {algorithm}" for kind, algorithm in needs)
    return BackendUnavailable(
        f"needs: expected a device with {rows}, got {', '.join(names)}; see `python -m wdasync devices`"
    )
