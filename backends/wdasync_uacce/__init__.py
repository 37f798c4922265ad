"""The backend of wdasync for the uacce devices of Linux: the file layer's interface, and HiSilicon's user drivers."""

from .backend import UacceBackend, UacceOptions
from .device import ZipDevice, driver_of
from .files import (
    AddressSpace,
    FileLayer,
    NodeFlag,
    NodeInfo,
    QueueFile,
    QueueInfo,
    Region,
    RegionKind,
)
from .host import Host
from .linux import LinuxFiles
from .memory import MemoryRegion, ProcessSpace
from .reserved import ReservedSpace, Slice, read_slices
from .zip_queue import ZipQueue

__all__ = [
    "AddressSpace",
    "FileLayer",
    "Host",
    "LinuxFiles",
    "MemoryRegion",
    "NodeFlag",
    "NodeInfo",
    "ProcessSpace",
    "QueueFile",
    "QueueInfo",
    "Region",
    "RegionKind",
    "ReservedSpace",
    "Slice",
    "UacceBackend",
    "UacceOptions",
    "ZipDevice",
    "ZipQueue",
    "backend",
    "driver_of",
    "read_slices",
]

backend = UacceBackend(LinuxFiles(), Host())
