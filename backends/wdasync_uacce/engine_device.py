"""HiSilicon devices behind the file layer, as the queue contract wants them: what all engines have in common.

A device here is a name, a table of capabilities, and a way to open queues. Whether the kernel or a model of the chip
is behind the file layer makes no difference to anything in it.
"""

from __future__ import annotations

import abc
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Final

from wdasync.backend import Capabilities, DeviceInfo, Inline, PageFaults, Session, StreamSpec
from wdasync.errors import BackendUnavailable, UnsupportedOperation
from wdasync.operations import Priority

from .engine_queue import EngineQueue
from .errnos import Row, UacceError, name_of, row_of
from .files import FileLayer, NodeFlag, NodeInfo, QueueFile
from .qm import QueueLayoutError, qm_version

__all__ = ["EngineDevice", "copies", "device_info", "unavailable"]

#: The oldest queue manager that has the doorbells and descriptors of these drivers.
OLDEST_VERSION: Final = 2


def copies(node: NodeInfo) -> bool:
    """Whether there is only a reserved region, so that everything is copied."""
    return not node.flags & NodeFlag.SVA and bool(node.flags & (NodeFlag.IOMMU | NodeFlag.NO_IOMMU))


def unavailable(name: str, error: OSError) -> BackendUnavailable:
    """What programs are told when no queue can be had, with the meaning of the error's number."""
    number = error.errno or 0
    told: UacceError | Row = error if isinstance(error, UacceError) else row_of(number)
    return BackendUnavailable(
        f"{name}: no queue could be opened: {name_of(number)}: {told.cause}; {told.advice}"
    )


def device_info(backend: str, node: NodeInfo) -> DeviceInfo:
    """A node, as the framework knows devices."""
    return DeviceInfo(
        backend,
        node.name,
        f"HiSilicon {node.name.partition('-')[0].removeprefix('hisi_')}, {node.api.replace('_', ' ')}",
        node.numa_node,
        node.attributes,
    )


class EngineDevice(abc.ABC):
    """An engine.

    :param layer: the file layer
    :param node: which of its devices
    :param backend: name of the backend that it belongs to
    :raises BackendUnavailable: the queue manager is one that this driver does not know

    :cvar needs: one of these algorithms, of the attribute of that name, at least
    :ivar node: the device's attributes, as they were when it was opened
    """

    needs: ClassVar[tuple[str, ...]]

    inline: Inline | None = None

    def __init__(self, layer: FileLayer, node: NodeInfo, backend: str = "uacce") -> None:
        version = qm_version(node.api)
        if version is None or version < OLDEST_VERSION:
            raise BackendUnavailable(
                f"{node.name}: expected api hisi_qm_v2 or later, got {node.api!r}; there is no driver for it here"
            )
        self.node = node
        self.info = device_info(backend, node)
        self.capabilities = self.table(node)
        self.sva = bool(node.flags & NodeFlag.SVA)
        self.page_faults: PageFaults = layer.page_faults
        self.serve: Callable[[], Awaitable[None]] | None = layer.serve
        self._layer = layer
        self._version = version
        self._lost: str | None = None
        self._queues_opened = self._queues_lost = 0

    @property
    def lost(self) -> str | None:
        return self._lost or self._layer.lost(self.node.name)

    @staticmethod
    @abc.abstractmethod
    def table(node: NodeInfo) -> Capabilities:
        """What the engine behind a node can do."""

    @abc.abstractmethod
    def _open(self, file: QueueFile, queue_class: str, depth: int) -> EngineQueue[Any]:
        """A queue of a class that there is."""

    def open_queue(
        self, depth: int, priority: Priority = Priority.NORMAL, queue_class: str = ""
    ) -> EngineQueue[Any]:
        """Open a hardware queue. User space cannot give it a priority, so all have the same.

        :raises BackendUnavailable: with the error number's meaning
        """
        classes = self.capabilities.queue_classes
        if queue_class and queue_class not in classes:
            known = " or ".join(map(repr, classes))
            raise BackendUnavailable(f"{self.node.name}: expected queue class {known}, got {queue_class!r}")
        try:
            queue = self._open(self._layer.open(self.node.name), queue_class or classes[0], depth)
        except OSError as error:
            raise self._unavailable(error) from error
        except QueueLayoutError as error:
            raise BackendUnavailable(
                f"{self.node.name}: {error}; the driver was not written for it"
            ) from error
        self._queues_opened += 1
        return queue

    def _unavailable(self, error: OSError) -> BackendUnavailable:
        return unavailable(self.node.name, error)

    def _lose(self, reason: str) -> None:
        self._queues_lost += 1
        self._lost = self._lost or reason

    def counters(self) -> dict[str, int]:
        """Queues that were opened, and those that ended because the device was reset or removed."""
        return {"queues_opened": self._queues_opened, "queues_lost": self._queues_lost}

    def open_session(self, spec: StreamSpec) -> Session:
        """Streams are not done on the device.

        :raises UnsupportedOperation: always
        """
        raise UnsupportedOperation(
            f"{self.node.name}: expected whole units, got a stream ({spec.direction.value} {spec.algorithm}); "
            "let another backend take streams"
        )

    def allocate(self, nbytes: int) -> memoryview | None:
        """``None``: with shared addresses any memory will do, without them queues copy through their own."""
        return None

    def reset(self) -> None:
        """Forget that the device was lost. The kernel resets the hardware itself; new queues show whether it is back."""
        self._lost = None

    def close(self) -> None:  # noqa: B027  # not abstract: that is all there is to do
        """Nothing: a device is open as long as its queues are."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.node.name} {self.node.api}{' lost' if self.lost else ''}>"
