"""A backend without hardware, whose misfortunes can be programmed.

It does real work with the standard library, so any program runs on it unchanged: ``WDASYNC_BACKEND=mock``.
All of it happens inside the calls of its queues, in their owner's thread, and chance comes from a seed: a run
repeats exactly. (A ``latency`` in seconds needs a thread that wakes; it does nothing else.)

A test holds a :class:`Program`::

    with backend.programmed(depth=4) as program:
        async with wdasync.open_accelerator("mock") as acc:
            program.stick(count=1)
            ...
"""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Final

from ..backend import (
    Capabilities,
    Capability,
    Check,
    Completion,
    Device,
    DeviceInfo,
    DigestSession,
    DigestSpec,
    Inline,
    KeySession,
    PageFaults,
    Queue,
    Session,
    StreamSpec,
)
from ..errors import BackendUnavailable, InvalidState, Status, UnsupportedOperation
from ..faults import FaultHandler, FaultReporter
from ..operations import KeySpec, Kind, Operation, Priority
from ._codecs import CODECS
from ._digests import MockDigest, MockKey, digest_rows
from ._mock_faults import Faults
from ._mock_queue import MockQueue
from ._wake import Readiness
from ._work import MockSession, work
from .program import Effect, Options, Order, Program, Rule

__all__ = [
    "Effect",
    "MockBackend",
    "MockDevice",
    "MockQueue",
    "MockSession",
    "Options",
    "Order",
    "Program",
    "Readiness",
    "Rule",
    "backend",
]

_COMPRESSION: Final = (Kind.COMPRESS, Kind.DECOMPRESS, Kind.COMPRESS_CHUNK, Kind.DECOMPRESS_CHUNK)
_DECODING: Final = (Kind.DECOMPRESS, Kind.DECOMPRESS_CHUNK)


def _table(split: bool, paged: bool) -> Capabilities:
    rows = [Capability(Kind.NOP, "nop", queue_class="compress" if split else "")]
    rows += [
        Capability(
            kind,
            algorithm,
            levels=codec.levels,
            scale=codec.levels,
            window=codec.windows[1],
            queue_class=("decompress" if kind in _DECODING else "compress") if split else "",
            paged=paged and kind in (Kind.COMPRESS, Kind.DECOMPRESS),
        )
        for algorithm, codec in CODECS.items()
        for kind in _COMPRESSION
    ]
    return Capabilities([*rows, *digest_rows("compress" if split else "")])


class _Inline:
    def __init__(self, device: MockDevice) -> None:
        self._device = device

    def cost(self, operation: Operation) -> int:
        del operation
        return self._device.program.options.inline_cost

    def run(self, operation: Operation) -> Completion:
        row = self._device.capabilities.find(operation.kind, operation.algorithm)
        outcome = work(operation, self._device, row.queue_class if row else "")
        destination, output = operation.destination, outcome.output
        if destination is not None:
            output = output[: len(destination)]
            destination[: len(output)] = output
        own = output if destination is None and outcome.status is Status.SUCCESS else None
        return Completion(0, outcome.status, own, outcome.consumed, len(output), outcome.detail)


class MockDevice:
    """An opened device of the mock.

    :cvar queue_type: class of its queues
    :cvar session_type: class of its streams
    :ivar program: what it does
    :ivar queues: opened and not closed
    :ivar faults: its page faults
    :ivar served: operations that completed while they were counted
    :ivar absent: it is out of reach; a reset does not bring it back
    """

    queue_type: ClassVar[type[MockQueue]] = MockQueue
    session_type: ClassVar[type[MockSession]] = MockSession

    def __init__(
        self,
        info: DeviceInfo,
        program: Program,
        on_fault: FaultHandler | None = None,
        report: FaultReporter | None = None,
    ) -> None:
        options = program.options
        self.info = info
        self.program = program
        paged = options.page_faults is PageFaults.HANDLER
        self.capabilities = (
            program.capabilities_of.get(info.name) or program.capabilities or _table(options.split, paged)
        )
        self.sva = True
        self.page_faults = options.page_faults
        self.inline: Inline | None = _Inline(self) if options.inline_cost else None
        self.faults = Faults(info.name, options.page_faults, options.fault_deadline, on_fault, report)
        self.serve: Callable[[], Awaitable[None]] | None = self.faults.serve if paged else None
        self.queues: list[MockQueue] = []
        self._lost: str | None = None
        self._losing: tuple[str, int] | None = None
        self.absent = False
        self.served = 0

    @property
    def lost(self) -> str | None:
        return self._lost

    def open_queue(self, depth: int, priority: Priority = Priority.NORMAL, queue_class: str = "") -> Queue:
        if self.program.queue_failures or self._lost is not None:
            self.program.queue_failures -= self._lost is None
            raise BackendUnavailable(
                f"{self.info.name}: no queue to be had: {self._lost or 'the test said so'}"
            )
        if self.program.options.queues and len(self.queues) >= self.program.options.queues:
            raise BackendUnavailable(
                f"{self.info.name}: all of its {self.program.options.queues} queues are in use"
            ) from OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        if queue_class not in self.capabilities.queue_classes:
            raise BackendUnavailable(
                f"queue_class: expected one of {self.capabilities.queue_classes}, got {queue_class!r}"
            )
        try:
            queue = self.queue_type(self, min(depth, self.program.options.depth), queue_class)
        except OSError as error:
            raise BackendUnavailable(f"{self.info.name}: no queue to be had: eventfd: {error}") from error
        queue.priority = priority
        self.queues.append(queue)
        return queue

    def open_session(self, spec: StreamSpec) -> Session:
        row = self.capabilities.find(spec.kind, spec.algorithm)
        if row is None:
            raise UnsupportedOperation(
                f"{self.info.name} has no stream that can {spec.direction.value} {spec.algorithm}"
            )
        if spec.dictionary is not None:
            raise UnsupportedOperation(f"{self.info.name} takes no dictionaries")
        least = CODECS[spec.algorithm].windows[0]
        if spec.window is not None and not least <= spec.window <= row.window:
            raise UnsupportedOperation(f"window: expected {least} to {row.window}, got {spec.window}")
        return self.session_type(self, spec, row)

    def open_digest(self, spec: DigestSpec) -> DigestSession:
        self._has(spec.kind, spec.algorithm)
        return MockDigest(self, spec)

    def open_key(self, spec: KeySpec) -> KeySession:
        self._has(Kind.MAC, spec.algorithm)
        return MockKey(self, spec)

    def _has(self, kind: Kind, algorithm: str) -> None:
        if self.capabilities.find(kind, algorithm) is None:
            raise UnsupportedOperation(f"{self.info.name} has no {algorithm}")

    def allocate(self, nbytes: int) -> memoryview | None:
        del nbytes
        return None

    def reset(self) -> None:
        self._all_queues_closed("reset")
        self.program.resets += 1
        if not self.absent:
            self._lost = None

    def close(self) -> None:
        self._all_queues_closed("close")
        if self in self.program.devices:
            self.program.devices.remove(self)

    def lose(self, reason: str, after: int = 0) -> None:
        """Go away, after ``after`` more completions of all queues together. A reset brings it back."""
        self._losing = (reason, after)
        if after == 0:
            self._lose()

    def next_queue(self) -> MockQueue | None:
        """Whose turn it is, while operations are counted."""
        ready = [queue for queue in list(self.queues) if queue.ready()]
        turn = self.served + 1
        lower = Priority.LOW if turn % 64 == 0 else Priority.NORMAL if turn % 16 == 0 else None
        chosen = [queue for queue in ready if queue.priority is lower] or sorted(
            ready, key=lambda queue: -queue.priority
        )
        return chosen[0] if chosen else None

    def completed(self) -> None:
        """One completion was posted."""
        if self._losing is not None:
            self._losing = (self._losing[0], self._losing[1] - 1)
            if self._losing[1] == 0:
                self._lose()

    def forget(self, queue: MockQueue) -> None:
        """The queue was closed."""
        self.queues.remove(queue)

    def _lose(self) -> None:
        if self._losing is not None:
            self._lost, self._losing = self._losing[0], None
        for queue in list(self.queues):  # another thread may be closing some
            queue.wake.ring()

    def _all_queues_closed(self, what: str) -> None:
        if self.queues:
            raise InvalidState(
                f"{what}: {len(self.queues)} queues of {self.info.name} are open; close them first"
            )


class MockProvoker:
    """Brings trouble on mock devices, for those who examine backends."""

    @contextmanager
    def stick(self, device: Device) -> Iterator[None]:
        program = _mock(device).program
        rule = program.stick(count=None)
        try:
            yield
        finally:
            program.rules.remove(rule)

    def lose(self, device: Device) -> None:
        _mock(device).lose("unplugged by the provoker")


def _mock(device: Device) -> MockDevice:
    if not isinstance(device, MockDevice):
        raise TypeError(f"expected a MockDevice, got {device!r}")
    return device


class MockBackend:
    """The mock. :data:`backend` is the one that is installed; a test may make others."""

    name: ClassVar[str] = "mock"
    Options: ClassVar[type[Any]] = Options
    automatic: ClassVar[int | None] = None
    fallback: ClassVar[bool] = False
    provoker: ClassVar[MockProvoker] = MockProvoker()
    device_type: ClassVar[type[MockDevice]] = MockDevice

    def __init__(self, program: Program | None = None) -> None:
        self._program = program

    @contextmanager
    def programmed(self, program: Program | None = None, **options: Any) -> Iterator[Program]:
        """Devices that are opened inside do what this program says.

        :param program: the program; by default a new one, with the given options
        """
        before, self._program = self._program, program or Program(Options(**options))
        try:
            yield self._program
        finally:
            self._program.release()
            self._program.unblock_close()
            self._program = before

    def devices(self) -> Sequence[DeviceInfo]:
        options = self._program.options if self._program else Options()
        nodes = [*options.nodes, *(options.nodes[-1:] or (None,)) * options.devices]
        return [
            DeviceInfo(self.name, f"mock-{index}", "does what a test says", nodes[index])
            for index in range(options.devices)
        ]

    def open(
        self,
        info: DeviceInfo,
        options: Any,
        *,
        on_fault: FaultHandler | None = None,
        report: FaultReporter | None = None,
    ) -> MockDevice:
        """Open a device. Options beat those of the program that holds, if they are not the defaults."""
        if not isinstance(options, Options):
            raise BackendUnavailable(f"options: expected mock.Options, got {options!r}")
        program = self._program or Program(options)
        if options != Options() and options != program.options:
            program.options = options
        known = [device.name for device in self.devices()]
        if info.name not in known or (self._program is None and options.devices != len(known)):
            raise BackendUnavailable(
                f"expected a device of {known}, got {info.name!r} with devices={options.devices}; a backend "
                "lists its devices before it sees options, so say `with backend.programmed(devices=2)`"
            )
        if program.open_failure is not None:
            raise BackendUnavailable(f"{info.name}: {program.open_failure}; as the test asked")
        device = self.device_type(info, program, on_fault, report)
        program.devices.append(device)
        return device

    def diagnose(self, options: Any) -> Iterable[Check]:
        del options
        yield Check("mock", True, "always there")


#: What the entry point names.
backend = MockBackend()
