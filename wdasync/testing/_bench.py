"""Where a backend is examined: opens its devices and queues, watches every call, and cleans up.

A check is a function of a :class:`Bench`. It raises :class:`Violation` for what is against the contract and
:class:`NotApplicable` where the contract asks for nothing. Each runs in a thread of its own, which owns the
queues it opens; another one looks on, so that a call that does not return is found too.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple, NoReturn, Protocol, Self, TypeVar

from ..backend import (
    Backend,
    Capability,
    Completion,
    Detail,
    Device,
    Digesting,
    DigestSession,
    DigestSpec,
    Queue,
    QueueStatistics,
    Session,
    StreamSpec,
)
from ..errors import Status
from ..faults import PageFault
from ..operations import Key, KeyedOperation, Kind, Operation, Priority

__all__ = ["Bench", "NotApplicable", "Provoker", "Violation", "Watched", "require"]

#: An operation with a key.
Told = TypeVar("Told", bound=KeyedOperation)

#: Seconds between two looks at a queue that has nothing to give.
NAP = 0.0002


class Violation(AssertionError):
    """Raised when a backend does something else than the contract says."""


class NotApplicable(Exception):
    """Raised when there is nothing to check."""


class Provoker(Protocol):
    """Brings trouble on a device. A backend that can be asked for trouble has one as its ``provoker``.

    One whose attribute ``silent`` is true takes devices away as Linux removes those of uacce: nobody is woken, and ``arm``
    has to tell who asks again.
    """

    def stick(self, device: Device) -> AbstractContextManager[None]:
        """Operations that are submitted inside never complete by themselves."""

    def lose(self, device: Device) -> None:
        """The device goes away."""


def require(condition: bool, message: str) -> None:
    """:raises Violation: if the condition does not hold"""
    if not condition:
        raise Violation(message)


class Note(NamedTuple):
    """What a check remembers of an operation: not the operation, which the queue has to keep alive.

    :ivar kind: kind of operation
    :ivar nbytes: length of its input
    :ivar room: length of the caller's memory for the output; ``None``: the framework owns it
    :ivar text: what it is called in messages
    """

    kind: Kind
    nbytes: int
    room: int | None
    text: str

    @classmethod
    def of(cls, operation: Operation) -> Note:
        room = None if operation.destination is None else len(operation.destination)
        return cls(operation.kind, operation.nbytes, room, repr(operation))


class Watched:
    """A queue, and what went in and came out of it.

    :ivar flying: tag -> note of each operation in flight
    :ivar closed: ``close`` was called
    """

    def __init__(self, bench: Bench, queue: Queue) -> None:
        self.bench = bench
        self.raw = queue
        self.flying: dict[int, Note] = {}
        self.closed = False
        self._epoll: select.epoll | None = None

    @property
    def depth(self) -> int:
        return self.raw.depth

    def enqueue(self, entries: Sequence[tuple[int, Operation]]) -> int:
        with self.bench.prompt("enqueue_burst"):
            count = self.raw.enqueue_burst(entries)
        require(
            type(count) is int and 0 <= count <= len(entries),
            f"enqueue_burst: expected an int from 0 to {len(entries)}, got {count!r}",
        )
        self.flying.update((tag, Note.of(operation)) for tag, operation in entries[:count])
        require(
            len(self.flying) <= self.depth,
            f"{len(self.flying)} operations are in flight in a queue of depth {self.depth}, or completions were lost",
        )
        return count

    def fill(self, entries: Sequence[tuple[int, Operation]]) -> None:
        """Enqueue all of it, and take nothing out."""
        accepted = 0
        clock = self.bench.stopwatch()
        while accepted < len(entries):
            count = self.enqueue(entries[accepted:])
            accepted += count
            if not count:
                require(
                    not clock(),
                    f"enqueue_burst took {accepted} of {len(entries)} operations, depth {self.depth}",
                )
                self.bench.pause()

    def dequeue(self, limit: int) -> Sequence[Completion]:
        with self.bench.prompt("dequeue_burst"):
            taken = self.raw.dequeue_burst(limit)
        require(len(taken) <= limit, f"dequeue_burst({limit}) gave {len(taken)} completions")
        for completion in taken:
            self._look_at(completion)
        return taken

    def _look_at(self, completion: Completion) -> None:
        require(isinstance(completion, Completion), f"expected a Completion, got {completion!r}")
        tag, status, output, consumed, produced, detail = completion
        require(tag in self.flying, f"a completion of tag {tag}, which is not in flight")
        note = self.flying.pop(tag)
        require(isinstance(status, Status), f"{note.text}: expected a Status, got {status!r}")
        require(isinstance(detail, Detail), f"{note.text}: expected a Detail, got {detail!r}")
        for name, value in (("consumed", consumed), ("produced", produced)):
            require(type(value) is int and value >= 0, f"{note.text}: {name} is {value!r}")
        if note.room is not None:
            require(output is None, f"{note.text}: output for caller-owned memory is {type(output).__name__}")
        if status is Status.SUCCESS:
            _look_at_success(note, completion)

    def arm(self) -> bool:
        with self.bench.prompt("arm"):
            armed = self.raw.arm()
        require(type(armed) is bool, f"arm: expected a bool, got {armed!r}")
        return armed

    def withdraw(self, tag: int) -> bool:
        with self.bench.prompt("withdraw"):
            withdrawn = self.raw.withdraw(tag)
        require(type(withdrawn) is bool, f"withdraw: expected a bool, got {withdrawn!r}")
        if withdrawn:
            require(tag in self.flying, f"withdraw({tag}) is True, and no such tag was in flight")
            del self.flying[tag]
        return withdrawn

    def stop(self) -> None:
        with self.bench.prompt("stop"):
            self.raw.stop()

    def close(self) -> None:
        self.unregister()
        self.closed = True
        self.raw.close()

    def finish(self) -> None:
        """Stop, take what is left, close; unless that was done."""
        if not self.closed:
            self.stop()
            self.drain()
            self.close()

    def statistics(self) -> QueueStatistics:
        with self.bench.prompt("statistics"):
            return self.raw.statistics()

    # Waiting

    def register(self) -> None:
        """Let an epoll set know the descriptor: once, and for the life of the queue."""
        if self._epoll is None:
            self._epoll = select.epoll()
            self._epoll.register(self.raw.fileno(), select.EPOLLIN)

    def unregister(self) -> None:
        if self._epoll is not None:
            self._epoll.close()
            self._epoll = None

    def readable(self, seconds: float) -> bool:
        """Sleep until the descriptor is readable."""
        self.register()
        epoll = self._epoll
        if epoll is None:  # register() has just made it.
            raise RuntimeError("no epoll set")
        if not self.bench.serving:
            return bool(epoll.poll(seconds))
        deadline = time.monotonic() + seconds
        while not (found := epoll.poll(0)) and time.monotonic() < deadline:
            self.bench.pause()
        return bool(found)

    def doze(self) -> bool:
        """As an event loop does: arm, and sleep until the descriptor is readable. The caller looked before.

        :returns: False if it is not to sleep, because completions wait
        """
        self.register()
        if not self.arm():
            return False
        flying = len(self.flying)
        if not self.readable(self.bench.patience):
            waiting = len(self.dequeue(1 << 30))
            raise Violation(
                f"arm() was True with {flying} operations in flight, and the descriptor was not readable within "
                f"{self.bench.patience} s; {waiting} completions wait"
            )
        return True

    def sleep(self, limit: int) -> Sequence[Completion]:
        """Arm, sleep if that is allowed, and dequeue."""
        woken = self.doze()
        taken = self.dequeue(limit)
        require(woken or len(taken) > 0, "arm() was False, and there was nothing to dequeue")
        return taken

    def drain(self) -> list[Completion]:
        """Dequeue until nothing is in flight."""
        taken: list[Completion] = []
        clock = self.bench.stopwatch()
        while self.flying:
            got = self.dequeue(max(1, len(self.flying)))
            taken += got
            if got:
                clock = self.bench.stopwatch()
            elif clock():
                raise Violation(
                    f"no completion within {self.bench.patience} s of {len(self.flying)} operations in flight, "
                    f"such as tag {next(iter(self.flying))}, {next(iter(self.flying.values())).text}"
                )
            else:
                self.bench.pause()
        return taken


def _look_at_success(note: Note, completion: Completion) -> None:
    consumed, produced, output = completion.consumed, completion.produced, completion.output
    require(consumed <= note.nbytes, f"{note.text}: {consumed} of {note.nbytes} bytes consumed")
    if note.room is not None:
        require(produced <= note.room, f"{note.text}: {produced} bytes produced into {note.room}")
    elif note.kind is not Kind.NOP:
        if type(output) is not bytes:
            raise Violation(f"{note.text}: expected bytes as output, got {type(output).__name__}")
        length = len(output)
        require(produced == length, f"{note.text}: produced is {produced}, the output has {length} bytes")


class Bench:
    """A backend under examination.

    :ivar backend: the backend
    :ivar options: its options
    :ivar consuming: whether polling the descriptor consumes its readiness
    :ivar patience: seconds without progress after which something counts as lost
    :ivar provoker: brings trouble; ``None``: this backend cannot be asked for it
    :ivar calling: the call that the check is in, and since when; ``None`` outside
    :ivar failure: what the check raised, and when
    :ivar faults: page faults that devices reported, each with the thread that did
    """

    def __init__(
        self,
        backend: Backend,
        options: Any,
        *,
        consuming: bool = False,
        patience: float = 10.0,
        provoker: Provoker | None = None,
    ) -> None:
        self.backend = backend
        self.options = options
        self.consuming = consuming
        self.patience = patience
        self.provoker = provoker
        self.calling: tuple[str, float] | None = None
        self.failure: tuple[BaseException, float] | None = None
        self.faults: list[tuple[PageFault, int]] = []
        self._devices: dict[int, Device] = {}
        self._queues: list[Watched] = []
        self._sessions: list[Session | DigestSession] = []
        self._keys: list[Key] = []
        self._borrowed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._serving: list[asyncio.Future[None]] = []

    # What a check asks for

    @property
    def device(self) -> Device:
        return self.device_at(0)

    def device_at(self, index: int) -> Device:
        """A device of this backend, opened.

        :raises NotApplicable: if there are not so many
        """
        if index not in self._devices:
            found = self.backend.devices()
            if index >= len(found):
                raise NotApplicable(f"there are {len(found)} devices here")
            device = self.backend.open(found[index], self.options, report=self._take_fault)
            self._devices[index] = device
            if device.serve is not None:
                self._serve(device)
        return self._devices[index]

    def _take_fault(self, fault: PageFault) -> None:
        self.faults.append((fault, threading.get_ident()))

    def borrow(self, device: Device) -> None:
        """Use a device that somebody else opened, and will close."""
        self._devices[0] = device
        self._borrowed = True

    def queue(
        self, row: Capability | None = None, *, depth: int = 64, device: Device | None = None
    ) -> Watched:
        """A new queue, for operations of that row."""
        device = device or self.device
        queue_class = (row or self.row()).queue_class
        watched = Watched(self, device.open_queue(depth, Priority.NORMAL, queue_class))
        self._queues.append(watched)
        return watched

    def session(self, spec: StreamSpec, device: Device | None = None) -> Session:
        with self.prompt("open_session"):
            session = (device or self.device).open_session(spec)
        self._sessions.append(session)
        return session

    def digest(self, spec: DigestSpec) -> DigestSession:
        """A digest in steps. Its device has some."""
        device = self.device
        if not isinstance(device, Digesting):
            raise NotApplicable("the device has no digests in steps")
        with self.prompt("open_digest"):
            session = device.open_digest(spec)
        self._sessions.append(session)
        return session

    def told(self, operation: Told) -> Told:
        """The same operation, after its device was told of its key."""
        with self.prompt("open_key"):
            operation.session = operation.key.session(self.device, operation.algorithm)
        self._keys.append(operation.key)
        return operation

    def row(self, *kinds: Kind) -> Capability:
        """A row of the table for one of these kinds; by default one that is good for plain work.

        :raises NotApplicable: if there is none
        """
        for kind in kinds or (Kind.COMPRESS, Kind.DECOMPRESS, Kind.NOP):
            for row in self.device.capabilities:
                if row.kind is kind:
                    return row
        raise NotApplicable("the device has no row for " + ", ".join(kind.name for kind in kinds))

    def run(
        self,
        queue: Watched,
        operations: Iterable[Operation],
        *,
        tags: Iterable[int] | None = None,
        sleep: bool = False,
        limit: int = 1 << 30,
    ) -> list[Completion]:
        """Put operations through a queue, and give their completions in the order of the operations.

        :param tags: of the operations; by default 0, 1, …
        :param sleep: arm and sleep before each look, instead of looking again and again
        :param limit: what to give to ``dequeue_burst``
        """
        work = list(operations)
        entries = list(zip(tags if tags is not None else range(len(work)), work, strict=False))
        done: dict[int, Completion] = {}
        next_entry = 0
        clock = self.stopwatch()
        while len(done) < len(entries):
            count = queue.enqueue(entries[next_entry:]) if next_entry < len(entries) else 0
            next_entry += count
            got = queue.sleep(limit) if sleep and queue.flying else queue.dequeue(limit)
            done.update((completion.tag, completion) for completion in got)
            if count or got:
                clock = self.stopwatch()
            elif clock():
                self._stuck([tag for tag, _ in entries if tag not in done])
            else:
                self.pause()
        return [done[tag] for tag, _ in entries]

    def _stuck(self, tags: list[int]) -> NoReturn:
        raise Violation(
            f"no completion within {self.patience} s of {len(tags)} operations, such as tag {tags[0]}"
        )

    def stopwatch(self) -> Callable[[], bool]:
        """A function that says whether patience has run out since now."""
        deadline = time.monotonic() + self.patience
        return lambda: time.monotonic() > deadline

    @contextlib.contextmanager
    def prompt(self, name: str) -> Any:
        """Around a call that must not wait."""
        self.calling = (name, time.monotonic())
        try:
            yield
        finally:
            self.calling = None

    def pause(self, seconds: float = NAP) -> None:
        """Let a moment pass; the coroutines of devices go on in it."""
        if self._loop is None:
            time.sleep(seconds)
        else:
            self._loop.run_until_complete(asyncio.sleep(seconds))
            for future in self._serving:
                require(not future.done(), f"Device.serve ended while the device was in use: {future!r}")

    @property
    def serving(self) -> bool:
        """Whether a device has a coroutine that must run."""
        return self._loop is not None

    def _serve(self, device: Device) -> None:
        if device.serve is None:
            return
        self._loop = self._loop or asyncio.new_event_loop()
        self._serving.append(asyncio.ensure_future(device.serve(), loop=self._loop))
        self.pause()

    # Cleaning up

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close everything, in the order that the contract wants. A first error of the check is not hidden."""
        problems: list[Exception] = []
        if error is not None:
            self.failure = error, time.monotonic()
        steps: list[Callable[[], None]] = [queue.finish for queue in self._queues]
        steps += [session.close for session in self._sessions]
        steps += [partial(key.forget, device) for key in self._keys for device in self._devices.values()]
        steps.append(self._stop_serving)
        if not self._borrowed:
            steps += [device.close for device in self._devices.values()]
        for step in steps:
            try:
                step()
            except Exception as problem:  # noqa: BLE001  what follows must be closed too
                problems.append(problem)
        if error is None and problems:
            raise problems[0]

    def _stop_serving(self) -> None:
        if self._loop is not None:
            for future in self._serving:
                future.cancel()
            self._loop.run_until_complete(asyncio.gather(*self._serving, return_exceptions=True))
            self._loop.close()
