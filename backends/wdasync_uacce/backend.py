"""The backend object: nodes of a file layer, as devices of the framework."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from wdasync.backend import Check, DeviceInfo, PageFaults
from wdasync.errors import BackendUnavailable
from wdasync.faults import FaultHandler, FaultReporter

from .device import ZipDevice, device_info, driver_of, unavailable
from .files import FileLayer, NodeInfo
from .qm import qm_version

__all__ = ["UacceBackend", "UacceOptions"]


@dataclass(frozen=True, slots=True)
class UacceOptions:
    """There is nothing to set: all that matters is what the kernel offers."""


class UacceBackend:
    """Devices that Linux shows through uacce.

    :param layer: the file layer
    """

    name: ClassVar[str] = "uacce"
    Options: ClassVar[type[Any]] = UacceOptions
    automatic: ClassVar[int | None] = 100
    fallback: ClassVar[bool] = False

    def __init__(self, layer: FileLayer) -> None:
        self._layer = layer

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
    ) -> ZipDevice:
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
        """Take a queue and give it back: no attribute tells whether this process gets one.

        Who did not ask for this backend then goes on without it, and who did is told why.
        """
        try:
            self._layer.open(node.name).close()
        except OSError as error:
            raise unavailable(node.name, error) from error

    def diagnose(self, options: Any) -> Iterable[Check]:
        nodes = self._layer.discover()
        names = ", ".join(node.name for node in nodes)
        yield Check(
            "uacce devices",
            bool(nodes),
            names or "none in /sys/class/uacce",
            "" if nodes else "load the driver's module, such as hisi_zip with uacce_mode=1",
        )
        for node in nodes:
            yield from _checks(node)


def _checks(node: NodeInfo) -> Iterable[Check]:
    driver = driver_of(node)
    yield Check(f"{node.name} driver", driver is not None or None, driver.__name__ if driver else "none here")
    if driver is None:
        return
    known = (qm_version(node.api) or 0) >= 2
    yield Check(f"{node.name} api", known, node.api, "" if known else "hisi_qm_v2 or later is needed")
    free = node.available_instances
    yield Check(
        f"{node.name} free queues", free > 0, str(free), "" if free else "close other users of the device"
    )
    yield Check(
        f"{node.name} isolation",
        not node.isolated,
        "isolated" if node.isolated else "no",
        "reset the device: it broke too often" if node.isolated else "",
    )
