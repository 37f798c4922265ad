"""The backend object: nodes of a file layer, as devices of the framework."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from wdasync.backend import Check, DeviceInfo, PageFaults
from wdasync.errors import BackendUnavailable
from wdasync.faults import FaultHandler, FaultReporter

from .device import device_info, driver_of, unavailable
from .diagnosis import diagnose
from .engine_device import EngineDevice
from .files import FileLayer, NodeInfo
from .host import Host

__all__ = ["UacceBackend", "UacceOptions"]


@dataclass(frozen=True, slots=True)
class UacceOptions:
    """There is nothing to set: all that matters is what the kernel offers."""


class UacceBackend:
    """Devices that Linux shows through uacce.

    :param layer: the file layer
    :param host: the machine round its devices, for ``diagnose``; ``None``: they are no machine's
    """

    name: ClassVar[str] = "uacce"
    Options: ClassVar[type[Any]] = UacceOptions
    automatic: ClassVar[int | None] = 100
    fallback: ClassVar[bool] = False

    def __init__(self, layer: FileLayer, host: Host | None = None) -> None:
        self._layer = layer
        self._host = host

    def _nodes(self) -> list[NodeInfo]:
        return [node for node in self._layer.discover() if driver_of(node) is not None]

    def devices(self) -> Sequence[DeviceInfo]:
        return [device_info(self.name, node) for node in self._nodes() if not node.isolated]

    def open(
        self,
        info: DeviceInfo,
        options: Any,
        *,
        on_fault: FaultHandler | None = None,
        report: FaultReporter | None = None,
    ) -> EngineDevice:
        if on_fault is not None and self._layer.page_faults is not PageFaults.HANDLER:
            raise BackendUnavailable(
                f"{info.name}: expected no on_fault, got one; the kernel answers this device's page faults itself: "
                "leave it out, or use an emulated device"
            )
        for node in self._nodes():
            driver = driver_of(node)
            if node.name == info.name and driver is not None:
                if node.isolated:
                    raise BackendUnavailable(f"{node.name}: isolated by the kernel after too many errors")
                device = driver(self._layer, node, self.name)
                self._prove(node)
                return device
        raise BackendUnavailable(f"{info.name}: there is no such device any more; ask devices() again")

    def _prove(self, node: NodeInfo) -> None:
        """Take a queue and give it back: no attribute tells whether this process may have one.

        Who did not ask for this backend then goes on without it, and who did is told why. That others use all queues is no
        reason: there may be one later.
        """
        try:
            self._layer.open(node.name).close()
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.EAGAIN):
                raise unavailable(node.name, error) from error

    def diagnose(self, options: Any) -> Iterable[Check]:
        yield from diagnose(self._layer, self._host)
