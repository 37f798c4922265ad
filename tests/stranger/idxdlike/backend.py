"""The plug-in: devices, their tables, and somebody who can bring trouble on them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any, ClassVar, Final

from wdasync.backend import (
    Capabilities,
    Capability,
    Check,
    Device,
    DeviceInfo,
    Inline,
    PageFaults,
    Queue,
    Session,
    StreamSpec,
)
from wdasync.errors import BackendUnavailable, UnsupportedOperation
from wdasync.faults import FaultHandler, FaultReporter
from wdasync.operations import Kind, Priority

from .hardware import Hardware
from .layout import PASID_BITS
from .queue import WRAPPERS, IdxdQueue

#: The largest transfer of one descriptor, in bytes.
MAX_TRANSFER: Final = 1 << 26

TABLE: Final = Capabilities(
    [
        Capability(Kind.NOP, "nop"),
        *(
            Capability(kind, algorithm, levels=(1, 9), max_input=MAX_TRANSFER, max_output=MAX_TRANSFER)
            for algorithm in WRAPPERS
            for kind in (Kind.COMPRESS, Kind.DECOMPRESS)
        ),
    ]
)


@dataclass(frozen=True, slots=True)
class Options:
    """Settings."""

    engines: int = field(default=2, metadata={"help": "descriptors that are worked on at once", "least": 1})
    room: int = field(default=16, metadata={"help": "descriptors in the shared work queue", "least": 1})


class IdxdDevice:
    """An opened device. Its work queue is shared by all of its queues."""

    sva: bool = True
    page_faults: PageFaults = PageFaults.KERNEL
    inline: Inline | None = None
    serve: Callable[[], Awaitable[None]] | None = None
    _pasids: ClassVar[count[int]] = count(1)

    def __init__(self, info: DeviceInfo, options: Options) -> None:
        self.info = info
        self.capabilities = TABLE
        self.hardware = Hardware(options.engines, options.room)
        self.pasid = next(self._pasids) & ((1 << PASID_BITS) - 1)
        self.hardware.bind(self.pasid)
        self._queues: list[IdxdQueue] = []
        self._lost: str | None = None
        self._closed = False

    @property
    def lost(self) -> str | None:
        return self._lost

    def lose(self, reason: str) -> None:
        self._lost = reason
        for queue in self._queues:
            queue.interrupt()

    def open_queue(self, depth: int, priority: Priority = Priority.NORMAL, queue_class: str = "") -> Queue:
        del priority
        if queue_class or self._lost is not None or self._closed:
            raise BackendUnavailable(
                f"{self.info.name}: no queue of class {queue_class!r}: {self._lost or 'unknown'}"
            )
        queue = IdxdQueue(self, min(depth, 256))
        self._queues.append(queue)
        return queue

    def forget(self, queue: IdxdQueue) -> None:
        self._queues.remove(queue)

    def open_session(self, spec: StreamSpec) -> Session:
        raise UnsupportedOperation(f"{self.info.name} keeps no state: no stream of {spec.algorithm}")

    def allocate(self, nbytes: int) -> memoryview | None:
        del nbytes
        return None

    def reset(self) -> None:
        self._lost = None

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.hardware.power_off()


class Provoker:
    """Brings trouble on a device; see :func:`wdasync.testing.check_backend`."""

    @contextmanager
    def stick(self, device: Device) -> Iterator[None]:
        assert isinstance(device, IdxdDevice)
        device.hardware.held = True
        try:
            yield
        finally:
            device.hardware.held = False

    def lose(self, device: Device) -> None:
        assert isinstance(device, IdxdDevice)
        device.lose("taken out of its slot")


class IdxdBackend:
    """The plug-in."""

    name: ClassVar[str] = "idxdlike"
    Options: ClassVar[type[Any]] = Options
    automatic: ClassVar[int | None] = None
    fallback: ClassVar[bool] = False
    provoker: ClassVar[Provoker] = Provoker()

    def devices(self) -> Sequence[DeviceInfo]:
        return [DeviceInfo(self.name, f"iax{number}", "a model in threads", numa_node=0) for number in (1, 3)]

    def open(
        self,
        info: DeviceInfo,
        options: Any,
        *,
        on_fault: FaultHandler | None = None,
        report: FaultReporter | None = None,
    ) -> IdxdDevice:
        del on_fault, report
        if info not in self.devices():
            raise BackendUnavailable(
                f"expected iax1 or iax3, got {info.name!r}; see `python -m wdasync devices`"
            )
        return IdxdDevice(info, options)

    def diagnose(self, options: Any) -> Iterable[Check]:
        del options
        yield Check("portal", True, "mapped")
