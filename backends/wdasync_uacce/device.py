"""The devices that there are drivers for: a table, and the ZIP engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from wdasync.backend import Capabilities, Capability
from wdasync.operations import Kind

from .engine_device import EngineDevice, copies, device_info, unavailable
from .files import NodeInfo, QueueFile
from .hpre_device import HpreDevice
from .outputs import MAX_COPY
from .sec_device import SecDevice
from .zip_descriptor import MAX_LENGTH, QueueType
from .zip_operations import MAX_COMPRESS_INPUT
from .zip_queue import ZipQueue
from .zip_units import FORMATS

__all__ = ["DRIVERS", "ZipDevice", "device_info", "driver_of", "unavailable", "zip_capabilities"]

COMPRESS: Final = "compress"
DECOMPRESS: Final = "decompress"


def zip_capabilities(node: NodeInfo) -> Capabilities:
    """What the ZIP engine behind a node can do, in block mode.

    The engine has one level, which is its own; it makes histories of 4 to 32 KiB and reads any. Where there is only a
    reserved region everything is copied, and long copies are not made on an event loop.
    """
    copied = copies(node)
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


class ZipDevice(EngineDevice):
    """A ZIP engine."""

    needs = ("zlib", "gzip", "deflate")

    table = staticmethod(zip_capabilities)

    def _open(self, file: QueueFile, queue_class: str, depth: int) -> ZipQueue:
        queue_type = QueueType.DECOMPRESS if queue_class == DECOMPRESS else QueueType.COMPRESS
        kind = Kind.DECOMPRESS if queue_type is QueueType.DECOMPRESS else Kind.COMPRESS
        rows = {row.algorithm: row for row in self.capabilities if row.kind is kind}
        return ZipQueue(file, self._version, queue_type, rows, depth, self._lose)


#: Name of the kernel's driver, with which a node's name begins -> device.
DRIVERS: Final[Mapping[str, type[EngineDevice]]] = {
    "hisi_zip": ZipDevice,
    "hisi_hpre": HpreDevice,
    "hisi_sec2": SecDevice,
}


def driver_of(node: NodeInfo) -> type[EngineDevice] | None:
    """The device class for a node; ``None`` if there is none."""
    return DRIVERS.get(node.name.rpartition("-")[0])
