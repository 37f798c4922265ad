"""HiSilicon devices behind the file layer, as the queue contract wants them.

A device here is a name, a table of capabilities, and a way to open queues. Whether the kernel or a model of the chip
is behind the file layer makes no difference to anything in it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from wdasync.backend import Capabilities, Capability, DeviceInfo, Inline, PageFaults, Session, StreamSpec
from wdasync.errors import BackendUnavailable, UnsupportedOperation
from wdasync.operations import Kind, Priority

from .errnos import Row, UacceError, name_of, row_of
from .files import FileLayer, NodeFlag, NodeInfo
from .outputs import MAX_COPY
from .qm import QueueLayoutError, qm_version
from .zip_descriptor import MAX_LENGTH, QueueType
from .zip_operations import MAX_COMPRESS_INPUT
from .zip_queue import ZipQueue
from .zip_units import FORMATS

__all__ = ["DRIVERS", "ZipDevice", "device_info", "driver_of", "unavailable", "zip_capabilities"]

COMPRESS: Final = "compress"
DECOMPRESS: Final = "decompress"

#: The oldest queue manager that has the doorbells and descriptors of this driver.
OLDEST_VERSION: Final = 2


def zip_capabilities(node: NodeInfo) -> Capabilities:
    """What the ZIP engine behind a node can do, in block mode.

    The engine has one level, which is its own; it makes histories of 4 to 32 KiB and reads any. Where there is only a
    reserved region everything is copied, and long copies are not made on an event loop.
    """
    copied = not node.flags & NodeFlag.SVA and bool(node.flags & (NodeFlag.IOMMU | NodeFlag.NO_IOMMU))
    rows = [Capability(Kind.NOP, "nop", queue_class=COMPRESS)]
    for algorithm in node.algorithms:
        if algorithm not in FORMATS:
            continue
        for kind, longest in ((Kind.COMPRESS, MAX_COMPRESS_INPUT), (Kind.DECOMPRESS, MAX_LENGTH)):
            rows.append(
                Capability(
                    kind,
                    algorithm,
                    levels=(1, 1),
                    default=1,
                    balanced=1,
                    best=1,
                    max_input=min(longest, MAX_COPY // 2) if copied else longest,
                    max_output=MAX_COPY if copied else MAX_LENGTH,
                    queue_class=COMPRESS if kind is Kind.COMPRESS else DECOMPRESS,
                )
            )
    return Capabilities(rows)


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


class ZipDevice:
    """A ZIP engine.

    :param layer: the file layer
    :param node: which of its devices
    :param backend: name of the backend that it belongs to
    :raises BackendUnavailable: the queue manager is one that this driver does not know

    :ivar node: the device's attributes, as they were when it was opened
    """

    inline: Inline | None = None

    def __init__(self, layer: FileLayer, node: NodeInfo, backend: str = "uacce") -> None:
        version = qm_version(node.api)
        if version is None or version < OLDEST_VERSION:
            raise BackendUnavailable(
                f"{node.name}: expected api hisi_qm_v2 or later, got {node.api!r}; there is no driver for it here"
            )
        self.node = node
        self.info = device_info(backend, node)
        self.capabilities = zip_capabilities(node)
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

    def open_queue(self, depth: int, priority: Priority = Priority.NORMAL, queue_class: str = "") -> ZipQueue:
        """Open a hardware queue. User space cannot give it a priority, so all have the same.

        :raises BackendUnavailable: with the error number's meaning
        """
        if queue_class not in ("", COMPRESS, DECOMPRESS):
            raise BackendUnavailable(
                f"{self.node.name}: expected queue class {COMPRESS!r} or {DECOMPRESS!r}, got {queue_class!r}"
            )
        queue_type = QueueType.DECOMPRESS if queue_class == DECOMPRESS else QueueType.COMPRESS
        kind = Kind.DECOMPRESS if queue_type is QueueType.DECOMPRESS else Kind.COMPRESS
        rows = {row.algorithm: row for row in self.capabilities if row.kind is kind}
        try:
            file = self._layer.open(self.node.name)
            queue = ZipQueue(file, self._version, queue_type, rows, depth, self._lose)
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

    def close(self) -> None:
        """Nothing: a device is open as long as its queues are."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.node.name} {self.node.api}{' lost' if self.lost else ''}>"


#: Name of the kernel's driver, with which a node's name begins -> device.
DRIVERS: Final[Mapping[str, type[ZipDevice]]] = {"hisi_zip": ZipDevice}


def driver_of(node: NodeInfo) -> type[ZipDevice] | None:
    """The device class for a node; ``None`` if there is none."""
    return DRIVERS.get(node.name.rpartition("-")[0])
