"""What a mock device does, as a handle that a test holds while it does it."""

from __future__ import annotations

import enum
import random
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..backend import Capabilities, PageFaults
from ..config import LONGEST
from ..errors import DataCause, Status
from ..faults import Access
from ..operations import Kind, Operation
from ._wake import Alarm, Readiness

if TYPE_CHECKING:
    from ._mock_queue import MockQueue
    from .mock import MockDevice

__all__ = ["Effect", "Options", "Order", "Program", "Rule"]


class Order(enum.Enum):
    """In which order operations that are ready complete."""

    FIFO = "fifo"
    LIFO = "lifo"
    SHUFFLED = "shuffled"
    #: In the order of submission, always: one that is stuck holds back all behind it.
    STRICT = "strict"


def _option(default: object, text: str, **metadata: object) -> Any:
    return field(default=default, metadata={"help": text, **metadata})


@dataclass(frozen=True, slots=True)
class Options:
    """Settings of the mock. All of it that needs no handle, so that a configuration file can misbehave too."""

    devices: int = _option(1, "devices; more than one needs MockBackend.programmed()", least=1)
    depth: int = _option(1024, "operations that a queue takes, at most", least=1)
    engines: int = _option(
        0, "operations that a queue works on at once, the rest can be withdrawn; 0: all", least=0
    )
    latency: float = _option(0.0, "s that an operation takes", least=0.0, most=LONGEST)
    jitter: float = _option(0.0, "s more that it may take, by chance", least=0.0, most=LONGEST)
    steps: int = _option(
        0, "calls of the queue that an operation takes; while armed, steps pass by themselves", least=0
    )
    order: Order = field(
        default=Order.FIFO, metadata={"help": "order in which operations that are ready complete"}
    )
    seed: int = _option(0, "seed of all chance")
    readiness: Readiness = field(default=Readiness.LEVEL, metadata={"help": "how the descriptor behaves"})
    late: bool = _option(True, "buffers are read and written just before the completion, not at the start")
    lingering: bool = _option(
        False, "operations that stop() aborted still touch their buffers, until close()"
    )
    accept: int = _option(0, "entries that one enqueue takes, at most; 0: no limit", least=0)
    refuse: int = _option(0, "calls of enqueue that take nothing, at the beginning", least=0)
    fail: Status = field(
        default=Status.DEVICE_ERROR,
        metadata={"help": "how operations fail, if fail_interval says that some do"},
    )
    fail_interval: int = _option(0, "every n-th operation fails; 0: none", least=0)
    lose_interval: int = _option(0, "the completion of every n-th operation is lost; 0: none", least=0)
    duplicate_interval: int = _option(0, "every n-th operation completes twice; 0: none", least=0)
    split: bool = _option(False, "separate queues for compression and decompression")
    inline_cost: int = _option(
        0, "ns that an operation costs inline; 0: the device has no inline way", least=0
    )
    page_faults: PageFaults = field(default=PageFaults.NONE, metadata={"help": "who supplies absent pages"})
    fault_deadline: float = _option(1.0, "s that a fault handler may take", least=0.0, most=LONGEST)
    nodes: tuple[int, ...] = _option(
        (), "memory node of each device, the last one for all that follow; none: they are everywhere"
    )
    queues: int = _option(0, "queues that a device has; 0: any number", least=0)


class Effect(enum.Enum):
    """What a rule does to an operation."""

    #: It never completes before ``stop``.
    STICK = "stick"
    #: It completes with the rule's status.
    FAIL = "fail"
    #: One byte of its output is wrong.
    CORRUPT = "corrupt"
    #: It is done, and its completion never comes.
    LOSE = "lose"
    #: Its completion comes twice.
    DUPLICATE = "duplicate"
    #: It touches a page that is absent.
    FAULT = "fault"


@dataclass(slots=True)
class Rule:
    """An injected misfortune.

    :ivar effect: what happens
    :ivar kind: to operations of this kind; ``None``: to all
    :ivar count: to so many; ``None``: without end
    :ivar interval: to every ``interval``-th
    :ivar status: of the completion, for :attr:`Effect.FAIL`
    :ivar message: the device's words
    :ivar cause: what is wrong with the data
    :ivar address: of the page, for :attr:`Effect.FAULT`
    :ivar access: to the page
    :ivar seen: operations that were of this kind
    """

    effect: Effect
    kind: Kind | None = None
    count: int | None = 1
    interval: int = 1
    status: Status = Status.DEVICE_ERROR
    message: str = "injected by the test"
    cause: DataCause | None = None
    address: int = 0x1000
    access: Access = Access.READ
    seen: int = 0

    def strikes(self, operation: Operation) -> bool:
        """Whether this operation, asked about once as it is accepted, is hit."""
        if self.count == 0 or self.kind not in (None, operation.kind):
            return False
        self.seen += 1
        if self.seen % self.interval:
            return False
        if self.count is not None:
            self.count -= 1
        return True


class Program:
    """Decides what mock devices do. Methods may be called at any time, from any thread.

    :ivar options: the settings in force; :meth:`change` replaces some
    :ivar devices: opened and not closed
    :ivar resets: times that a device was reset
    :ivar complaints: what the user of a queue did against the contract; empty, if all is well
    :ivar capabilities: table of newly opened devices; ``None``: what the codecs can do
    :ivar capabilities_of: table of a single device, by its name
    """

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()
        self.devices: list[MockDevice] = []
        self.complaints: list[str] = []
        self.resets = 0
        self.capabilities: Capabilities | None = None
        self.capabilities_of: dict[str, Capabilities] = {}
        self.rules: list[Rule] = _rules_of(self.options)
        self.random = random.Random(self.options.seed)  # noqa: S311  reproducible on purpose
        self.alarm = Alarm()
        self.gate = threading.Event()
        self.gate.set()
        self.open_failure: str | None = None
        self.queue_failures = 0
        self.close_failures = 0
        self.refusals = self.options.refuse
        self.allowance: int | None = None
        self._counting = threading.RLock()  # of the allowance

    def change(self, **options: Any) -> None:
        """Replace some of the options, for what comes."""
        self.options = replace(self.options, **options)

    # Time

    def hold(self) -> None:
        """From now on nothing completes, until :meth:`release`."""
        with self._counting:
            self.allowance = 0

    def release(self, count: int | None = None) -> None:
        """Let ``count`` operations complete, or all, and hold no more.

        Counted ones complete in the order of a device with one engine: those of a queue of higher priority first, but
        one in 16 is of a ``NORMAL`` queue, and one in 64 of a ``LOW`` one, if there are such.
        """
        with self._counting:
            self.allowance = None if count is None else (self.allowance or 0) + count
        self.wake()

    def wake(self) -> None:
        """Ring the queues that are armed, whether or not there is a reason."""
        for device in list(self.devices):
            for queue in list(device.queues):  # another thread may be closing some
                queue.wake.ring()

    # Misfortune

    def inject(self, effect: Effect, **how: Any) -> Rule:
        """Add a :class:`Rule`, for operations that are accepted from now on."""
        rule = Rule(effect, **how)
        self.rules.append(rule)
        return rule

    def fail(self, status: Status = Status.DEVICE_ERROR, **how: Any) -> Rule:
        """Operations complete with ``status``; the keywords are the fields of :class:`Rule`."""
        return self.inject(Effect.FAIL, status=status, **how)

    def stick(self, **how: Any) -> Rule:
        """Operations never complete, until their queue is stopped."""
        return self.inject(Effect.STICK, **how)

    def lose(self, **how: Any) -> Rule:
        """Completions never come."""
        return self.inject(Effect.LOSE, **how)

    def duplicate(self, **how: Any) -> Rule:
        """Completions come twice."""
        return self.inject(Effect.DUPLICATE, **how)

    def corrupt(self, **how: Any) -> Rule:
        """A byte of the output is wrong."""
        return self.inject(Effect.CORRUPT, **how)

    def page_fault(self, **how: Any) -> Rule:
        """Operations touch a page that is absent: answered as :attr:`Options.page_faults` says."""
        return self.inject(Effect.FAULT, **how)

    def crash(self, error: BaseException) -> None:
        """The coroutine of each device that has one raises, as a bug in a device's model would."""
        for device in self.devices:
            device.faults.crash = error
            device.faults.ring()

    def spurious(self, tag: int) -> None:
        """A completion of something that was never asked for appears in every queue."""
        for device in self.devices:
            for queue in list(device.queues):
                queue.post_spurious(tag)

    def refuse(self, times: int) -> None:
        """The next ``times`` calls of ``enqueue_burst`` take nothing."""
        self.refusals += times

    def lose_device(self, reason: str = "unplugged", *, after: int = 0, device: int = 0) -> None:
        """The device goes away, after ``after`` more completions: all in flight end with DEVICE_ERROR.

        It stays away until :meth:`return_device`.
        """
        self.devices[device].absent = True
        self.devices[device].lose(reason, after)

    def return_device(self, device: int = 0) -> None:
        """A device that was lost is there again: the next reset will succeed."""
        self.devices[device].absent = False

    def fail_open(self, reason: str | None) -> None:
        """Devices cannot be opened; ``None``: they can again."""
        self.open_failure = reason

    def fail_open_queue(self, times: int) -> None:
        """No queue is to be had, so many times."""
        self.queue_failures += times

    def fail_close(self, times: int) -> None:
        """``Queue.close`` raises, so many times."""
        self.close_failures += times

    def block_close(self) -> None:
        """``Queue.close`` does not return until :meth:`unblock_close`."""
        self.gate.clear()

    def unblock_close(self) -> None:
        """Let ``Queue.close`` return."""
        self.gate.set()

    # What the queues ask

    def effects(self, operation: Operation) -> dict[Effect, Rule]:
        """Which rules strike an operation that was just accepted; the first of each effect counts."""
        hit = [rule for rule in self.rules if rule.strikes(operation)]
        return {rule.effect: rule for rule in reversed(hit)}

    def may_complete(self, queue: MockQueue) -> bool:
        """Whether one operation of this queue that is ready may complete; if so, it is counted.

        While they are counted, a device serves one after another: its queues by their priority.
        """
        if self.allowance is None:
            return True
        with self._counting:
            if self.allowance is None:
                return True
            if self.allowance == 0 or queue.device.next_queue() is not queue:
                return False
            self.allowance -= 1
            queue.device.served += 1
            more = self.allowance > 0
        if more:
            self.wake()  # it may be another one's turn now
        return True

    def complain(self, text: str) -> None:
        """Record what the user of a queue did against the contract, and raise it at the place."""
        self.complaints.append(text)
        raise RuntimeError(text)


def _rules_of(options: Options) -> list[Rule]:
    intervals = {
        Effect.FAIL: options.fail_interval,
        Effect.LOSE: options.lose_interval,
        Effect.DUPLICATE: options.duplicate_interval,
    }
    return [
        Rule(effect, count=None, interval=interval, status=options.fail)
        for effect, interval in intervals.items()
        if interval
    ]
