"""The queue contract: what a backend gives, and the only thing the framework knows of a device.

The shape is that of DPDK's queue pairs, UADK's contexts and SPDK's accel modules: operations go into a
queue in bursts and come out as completions in bursts; a file descriptor tells when to look. A queue never
waits, knows no event loop and starts no task for its caller. One thread owns it.

*Readiness is a hint.* On the real device the descriptor is readable once for each completion event while
the interrupt is armed, and **polling consumes it**: the driver walks the completion ring inside ``poll(2)``,
so every ``poll``, ``EPOLL_CTL_ADD`` or ``EPOLL_CTL_MOD`` takes the readiness with it. The framework therefore dequeues until
the queue is empty, arms, makes sure that its event loop has registered the descriptor, looks once more, and
only then sleeps. Nobody else may poll the descriptor. A poll-mode program never arms.

``wdasync.testing.check_backend()`` holds an implementation to every sentence here.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

from .errors import DataCause, Status
from .faults import FaultHandler, FaultReporter
from .operations import Dictionary, KeySpec, Kind, Operation, Priority

__all__ = [
    "NO_DETAIL",
    "Backend",
    "Capabilities",
    "Capability",
    "Check",
    "Completion",
    "Counting",
    "DataCause",
    "Detail",
    "Device",
    "DeviceInfo",
    "DigestSession",
    "DigestSpec",
    "Digesting",
    "Direction",
    "Inline",
    "KeySession",
    "Keyed",
    "Lacking",
    "PageFaults",
    "Queue",
    "QueueStatistics",
    "Session",
    "Status",
    "StreamSpec",
    "Tiny",
    "TinyWork",
]


class Detail:
    """What a device knows about one operation beyond its status. Most operations share :data:`NO_DETAIL`.

    :ivar message: the device's words for a failure; empty on success
    :ivar cause: what is wrong with the data, where it is
    :ivar where: the part of the device that did the work, such as ``worker 0``
    :ivar faults: page faults that were taken for it
    :ivar final: the stream ended with this step
    :ivar step: of a sequence, the number of the step that failed, from 0; ``None``: none, or it is no sequence
    :ivar raised: what a pager or fault handler of the program raised; it becomes the ``__cause__`` of the error
    """

    __slots__ = ("cause", "faults", "final", "message", "raised", "step", "where")

    def __init__(
        self,
        message: str = "",
        *,
        cause: DataCause | None = None,
        where: str = "",
        faults: int = 0,
        final: bool = False,
        raised: BaseException | None = None,
        step: int | None = None,
    ) -> None:
        self.step = step
        self.raised = raised
        self.message = message
        self.cause = cause
        self.where = where
        self.faults = faults
        self.final = final

    def __repr__(self) -> str:
        given = {name: getattr(self, name) for name in self.__slots__}
        return f"Detail({', '.join(f'{name}={value!r}' for name, value in given.items() if value)})"


#: The detail of an operation about which there is nothing to say.
NO_DETAIL = Detail()


class Completion(NamedTuple):
    """One finished operation. Exactly one for each accepted entry, except after a true ``withdraw``.

    ``consumed`` and ``produced`` follow DPDK: on SUCCESS the input bytes used and the output bytes made; on
    OUT_OF_SPACE_RECOVERABLE as far as the device came; otherwise without meaning.

    :ivar tag: the tag given to ``enqueue_burst``
    :ivar status: how it ended
    :ivar output: the output, if the framework owns it and there is one; ``None`` with caller-owned memory
    :ivar consumed: bytes
    :ivar produced: bytes
    :ivar detail: what else the device knows
    """

    tag: int
    status: Status
    output: bytes | None = None
    consumed: int = 0
    produced: int = 0
    detail: Detail = NO_DETAIL


class PageFaults(enum.Enum):
    """Who supplies a page that a device finds absent."""

    NONE = "none"
    KERNEL = "kernel"
    HANDLER = "handler"


@dataclass(frozen=True, slots=True)
class Capability:
    """One row of a capability table: one kind of operation on one algorithm.

    :ivar kind: kind of operation
    :ivar algorithm: its name, lower case
    :ivar levels: lowest and highest level that the device takes; other levels of the algorithm's own scale
        are mapped to the nearest and counted
    :ivar scale: lowest and highest level of the algorithm's own scale; a level outside is the caller's error
    :ivar default: the level that ``"fast"`` means here
    :ivar balanced: the level that ``"balanced"`` means here
    :ivar best: the level that ``"best"`` means here
    :ivar window: base-2 logarithm of the largest history, in bytes, that the device makes and reads
    :ivar max_input: longest input in bytes of one operation; ``None``: no limit
    :ivar max_output: longest output in bytes of one operation; ``None``: no limit
    :ivar queue_class: operations of one class share a queue; a device with separate queues for compression
        and decompression has two
    :ivar bits: shortest and longest key or modulus in bits, where the algorithm's name does not say it; ``None``: it does
    :ivar dictionary: takes an operation with a dictionary, or a stream with one
    :ivar paged: an operation whose ``paged`` is set is taken as it is, and its pages fetched as the device touches them;
        the completion's ``detail.faults`` counts them. Otherwise the framework fetches all before it submits
    """

    kind: Kind
    algorithm: str
    levels: tuple[int, int] = (0, 9)
    scale: tuple[int, int] = (0, 9)
    default: int = 1
    balanced: int = 6
    best: int = 9
    window: int = 15
    max_input: int | None = None
    max_output: int | None = None
    queue_class: str = ""
    paged: bool = False
    dictionary: bool = False
    bits: tuple[int, int] | None = None

    @property
    def stateful(self) -> bool:
        """Whether this row is about steps of a stream."""
        return self.kind in (Kind.COMPRESS_CHUNK, Kind.DECOMPRESS_CHUNK, Kind.DIGEST_CHUNK)

    def level(self, level: str | int) -> int:
        """The device's level for what the caller asked: a name, or a number of the algorithm's scale."""
        match level:
            case "fast":
                return self.default
            case "balanced":
                return self.balanced
            case "best":
                return self.best
            case int():
                return min(max(level, self.levels[0]), self.levels[1])
            case _:
                raise ValueError(f"level: expected a name or an int, got {level!r}")


class Capabilities(tuple[Capability, ...]):
    """A device's capability table. A tuple of rows with a look-up."""

    __slots__ = ()

    def find(self, kind: Kind, algorithm: str) -> Capability | None:
        """The row for this kind and algorithm, or ``None``."""
        return next((row for row in self if row.kind is kind and row.algorithm == algorithm), None)

    @property
    def queue_classes(self) -> tuple[str, ...]:
        """The distinct queue classes, in the order of the table."""
        return tuple(dict.fromkeys(row.queue_class for row in self))


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """Who a device is; known without opening it.

    :ivar backend: name of the backend
    :ivar name: name of the device, unique within the backend, such as ``hisi_zip-0``
    :ivar description: one line for people
    :ivar numa_node: where it sits; ``None``: everywhere
    :ivar attributes: anything else that a person who looks for trouble wants to see
    """

    backend: str
    name: str
    description: str = ""
    numa_node: int | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)


class Direction(enum.Enum):
    """What a stream does."""

    COMPRESS = "compress"
    DECOMPRESS = "decompress"


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """What a stream is: fixed when its session is opened.

    :ivar direction: compress or decompress
    :ivar algorithm: as the capability table names it
    :ivar level: for compression
    :ivar window: base-2 logarithm of the history in bytes; ``None``: what the device takes for
        that level. For decompression the largest that the data may want; ``None``: the device's largest
    :ivar dictionary: what both sides know before; ``None``: nothing
    """

    direction: Direction
    algorithm: str
    level: str | int = "fast"
    window: int | None = None
    dictionary: Dictionary | None = None

    @property
    def kind(self) -> Kind:
        """The kind of operation that is one step of this stream."""
        return Kind.COMPRESS_CHUNK if self.direction is Direction.COMPRESS else Kind.DECOMPRESS_CHUNK


@dataclass(frozen=True, slots=True)
class DigestSpec:
    """What a digest, or message authentication code, that is computed piece by piece is.

    :ivar algorithm: as the capability table names it
    :ivar material: the key of a message authentication code, of which a device makes a copy of its own when it opens the
        session; ``None``: a digest
    """

    algorithm: str
    material: bytes | bytearray | None = field(default=None, repr=False, compare=False)

    @property
    def kind(self) -> Kind:
        """The kind of operation that is one step of it."""
        return Kind.DIGEST_CHUNK


class Session(Protocol):
    """State on a device that outlives an operation. At most one operation of it is in flight.

    Of a decompressing stream: the step in which a unit (member, frame) ends says ``detail.final``. A later step with
    more input begins the next member, where the format has members (gzip, RFC 1952 section 2.2) and what follows is
    one. Otherwise it succeeds, consumes and produces nothing, and says ``final`` again: the input is not the stream's.
    """

    @property
    def spec(self) -> StreamSpec:
        """What was asked for when it was opened."""

    def reset(self) -> None:
        """Go back to the state just after opening. Only while nothing of it is in flight. Never blocks."""

    def close(self) -> None:
        """Give back what it holds. Only while nothing of it is in flight. Never blocks."""


class DigestSession(Protocol):
    """A digest that is computed piece by piece. At most one operation of it is in flight."""

    @property
    def spec(self) -> DigestSpec:
        """What was asked for when it was opened."""

    def reset(self) -> None:
        """Go back to the state just after opening. Only while nothing of it is in flight. Never blocks."""

    def close(self) -> None:
        """Give back what it holds, and wipe its key. Only while nothing of it is in flight. Never blocks."""


class KeySession(Protocol):
    """What a device knows of a key. Any number of operations of it may be in flight, on all queues of the device."""

    @property
    def spec(self) -> KeySpec:
        """What was asked for when it was opened."""

    def close(self) -> None:
        """Wipe the key. Only while nothing of it is in flight. Never blocks."""


@dataclass(frozen=True, slots=True)
class QueueStatistics:
    """Counters of one queue since it was opened. Whole numbers; they never go back.

    :ivar depth: how many operations fit
    :ivar in_flight: accepted, and not yet dequeued or withdrawn
    :ivar enqueued: accepted
    :ivar dequeued: completions handed out
    :ivar withdrawn: true ``withdraw`` calls
    :ivar rejected: entries that did not fit
    :ivar wakes: times the descriptor was made readable
    :ivar levels_mapped: operations whose level the device could not honour
    :ivar extra: what only this backend counts
    """

    depth: int
    in_flight: int = 0
    enqueued: int = 0
    dequeued: int = 0
    withdrawn: int = 0
    rejected: int = 0
    wakes: int = 0
    levels_mapped: int = 0
    extra: Mapping[str, int] = field(default_factory=dict)


class Queue(Protocol):
    """A queue pair: requests in, completions out. One thread owns it, and no method of it waits."""

    @property
    def depth(self) -> int:
        """How many operations may be in flight."""

    def enqueue_burst(self, entries: Sequence[tuple[int, Operation]]) -> int:
        """Submit as many of ``entries`` as fit, in order.

        :param entries: (tag, operation); a tag is any int below 2**32 that is not in flight here
        :returns: how many were accepted. It may be 0 with nothing in flight, where hardware is shared.

        An operation that the device cannot do is accepted, and completes INVALID_ARGS. The queue keeps the
        operation, and so its buffers, alive until its completion was dequeued.
        """

    def dequeue_burst(self, limit: int) -> Sequence[Completion]:
        """Take up to ``limit`` completions, oldest first. Empty if there are none."""

    def fileno(self) -> int:
        """A descriptor that is readable at least once after completions appear, while armed.

        It may be consuming (see the top of this module). The same number for the life of the queue.
        Of an idle queue it does not stay readable: who has dequeued everything is left alone, armed or not.
        """

    def arm(self) -> bool:
        """Ask for one wake. False: completions wait already, do not sleep.

        Who sleeps asks again now and then: so it learns of a device that went away and woke nobody, as Linux's uacce does it.
        """

    def withdraw(self, tag: int) -> bool:
        """Take an operation back. True: the device never saw it, and no completion follows."""

    def stop(self) -> None:
        """Begin to stop; never blocks. What is not finished completes as ABORTED, without being waited for.

        Completions can still be dequeued; nothing can be enqueued (``enqueue_burst`` returns 0).
        """

    def close(self) -> None:
        """Give everything back. Nothing is in flight any more. May block, so it runs in a thread.

        Afterwards the device touches no memory of an operation. Idempotent.
        """

    def statistics(self) -> QueueStatistics:
        """The counters, at any time, also after close."""


class Inline(Protocol):
    """For devices that can also work in the caller's thread, where a hop costs more than the work."""

    def cost(self, operation: Operation) -> int:
        """Estimated nanoseconds of the operation when run inline; a large number if it must not be."""

    def run(self, operation: Operation) -> Completion:
        """Do it now, in this thread. The completion's tag is 0."""


class Tiny(NamedTuple):
    """How to do work of one kind that is so small that an :class:`~wdasync.operations.Operation` would cost more than the work.

    :ivar run: does it now, in this thread, with exact ``bytes`` of any length, and returns the output; or ``None``: it goes the usual
        way, which says what is wrong, if anything is. Of ``DIGEST`` it takes the data; of ``SEAL`` and ``OPEN`` the key's session
        (:class:`Keyed`), the nonce, the data and the associated data, and the tag is of 16 bytes
    :ivar fixed: estimated nanoseconds, whatever the length
    :ivar per_kib: estimated nanoseconds for each KiB of data
    """

    run: Callable[..., bytes | None]
    fixed: int
    per_kib: int


@runtime_checkable
class TinyWork(Protocol):
    """What an :class:`Inline` may have besides."""

    def tiny(self, kind: Kind, algorithm: str) -> Tiny | None:
        """How to do tiny work of this kind; ``None``: there is no such way."""


@runtime_checkable
class Device(Protocol):
    """An opened device.

    :ivar info: who it is
    :ivar capabilities: what it can do, a table
    :ivar sva: it works with the pointers of this process as they are
    :ivar page_faults: who supplies absent pages
    :ivar inline: how to run small work without a hop; ``None``: never
    :ivar serve: a coroutine function that must run while the device is used (timers, fault handlers, pagers), until
        cancelled; ``None``: nothing has to run. It runs in one thread; queues may be used in others
    """

    info: DeviceInfo
    capabilities: Capabilities
    sva: bool
    page_faults: PageFaults
    inline: Inline | None
    serve: Callable[[], Awaitable[None]] | None

    @property
    def lost(self) -> str | None:
        """Why the device is gone; ``None`` while it is there."""

    def open_queue(self, depth: int, priority: Priority = Priority.NORMAL, queue_class: str = "") -> Queue:
        """Open a queue. May block, so it runs in a thread.

        :param depth: operations in flight wished for; the queue may have fewer
        :param queue_class: one of ``capabilities.queue_classes``
        :raises BackendUnavailable: if there is no queue to be had; ``from`` an ``OSError(EBUSY)`` if that is because all
            are in use, so that there may be one later
        """

    def open_session(self, spec: StreamSpec) -> Session:
        """Open a stream. Never blocks.

        :raises UnsupportedOperation: if the device has no such stream
        """

    def allocate(self, nbytes: int) -> memoryview | None:
        """Memory that the device can reach, where its own is needed; ``None``: any memory will do."""

    def reset(self) -> None:
        """Bring the device back after a failure. May block. All its queues must be closed."""

    def close(self) -> None:
        """Give it back. May block. All its queues must be closed. Idempotent."""


@runtime_checkable
class Counting(Protocol):
    """What a device may have besides: counters of its own, which ``Accelerator.statistics()`` hands out."""

    def counters(self) -> Mapping[str, int]:
        """The counters by name, at any time, also after close. Never blocks for long."""


@runtime_checkable
class Digesting(Protocol):
    """What a device may have besides: digests piece by piece. It has rows of the kind ``DIGEST_CHUNK`` then."""

    def open_digest(self, spec: DigestSpec) -> DigestSession:
        """Open one. Never blocks.

        :raises UnsupportedOperation: if the device has no such digest
        """


@runtime_checkable
class Keyed(Protocol):
    """What a device may have besides: operations with a key (:class:`wdasync.operations.Key`).

    Its sessions of keys are closed before it is. After it was lost and is back, it is told of keys anew.
    """

    def open_key(self, spec: KeySpec) -> KeySession:
        """Tell the device of a key. Never blocks. The framework hands it over in an operation's ``session``.

        :raises UnsupportedOperation: if the device cannot have such a key
        """


@runtime_checkable
class Lacking(Protocol):
    """What a device may have besides: algorithms that it would do if something were installed."""

    @property
    def lacking(self) -> Mapping[str, str]:
        """Algorithm -> what to type to get it. Algorithms of its table are not in it."""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of a health check.

    :ivar name: what was looked at
    :ivar passed: True, False, or ``None`` where it does not apply
    :ivar found: what was seen
    :ivar advice: what to type next; empty if it passed
    """

    name: str
    passed: bool | None
    found: str
    advice: str = ""


class Backend(Protocol):
    """A plug-in: entry-point group ``wdasync.backends``, an object of this shape.

    Two attributes are for commands and tests and may be missing: ``provoker`` (:class:`wdasync.testing.Provoker`), and
    ``variants``, settings by a name, which ``python -m wdasync bench`` compares with the defaults.

    :cvar name: as users write it
    :cvar Options: a frozen dataclass; its fields are the settings that users may give, with their defaults.
        A field's ``metadata["help"]`` is one line for people
    :cvar automatic: rank in the choice when the user names no backend, higher first; ``None``: only by name
    :cvar fallback: may take over what other backends cannot do
    """

    name: ClassVar[str]
    Options: ClassVar[type[Any]]
    automatic: ClassVar[int | None]
    fallback: ClassVar[bool]

    def devices(self) -> Sequence[DeviceInfo]:
        """The devices of this machine, without opening them. Quick, never raises."""

    def open(
        self,
        info: DeviceInfo,
        options: Any,
        *,
        on_fault: FaultHandler | None = None,
        report: FaultReporter | None = None,
    ) -> Device:
        """Open a device. May block, so it runs in a thread.

        :param info: one of ``devices()``
        :param options: an ``Options``
        :param on_fault: answers page faults; only for devices whose ``page_faults`` is ``HANDLER``
        :param report: is told of each fault after it was answered; called in the owner's thread
        :raises BackendUnavailable: if it cannot be opened, with the reason and what to do
        """

    def diagnose(self, options: Any) -> Iterable[Check]:
        """Health checks for ``python -m wdasync doctor``, in the order in which they make sense."""
