"""Compress without blocking your event loop: on an accelerator chip if there is one, on CPU threads otherwise."""

from __future__ import annotations

from .accelerator import Accelerator
from .backend import Capabilities, Capability
from .ciphers import Aead, Cipher, MacKey
from .config import Config, Rule
from .defaults import compress, compress_into, compress_many, decompress, decompress_into
from .digesters import Digester
from .errors import (
    BackendUnavailable,
    BusyResourceError,
    ClosedResourceError,
    ConfigError,
    DataCause,
    DataError,
    DeviceError,
    ForeignLoopError,
    InvalidArgument,
    InvalidSignature,
    InvalidState,
    InvalidTag,
    LimitExceeded,
    OperationAborted,
    OperationTimeout,
    OutOfSpace,
    PageFaultError,
    Status,
    UnsupportedOperation,
    WdasyncError,
    WouldBlock,
)
from .faults import Access, FaultHandler, FaultResponse, FaultStream, PageFault
from .gzipheader import GzipFlag, GzipHeader, read_gzip_header
from .keyhandles import KeyHandle
from .lifecycle import default_accelerator, open_accelerator
from .operations import Compress, Decompress, Dictionary, Flush, Kind, Nop, Operation, Priority
from .paged import PagedBuffer, Pager
from .pollmode import PolledDevice, open_device, open_devices
from .publickeys import PrivateKey, PublicKey
from .results import Observation, Observer, Paging, Result
from .scheduling import Reason
from .sequences import OperationSequence, SequenceResult
from .statistics import AcceleratorStatistics, DeviceStatistics, LaneStatistics
from .streams import Compressor, Decompressor

__all__ = [
    "Accelerator",
    "AcceleratorStatistics",
    "Access",
    "Aead",
    "BackendUnavailable",
    "BusyResourceError",
    "Capabilities",
    "Capability",
    "Cipher",
    "ClosedResourceError",
    "Compress",
    "Compressor",
    "Config",
    "ConfigError",
    "DataCause",
    "DataError",
    "Decompress",
    "Decompressor",
    "DeviceError",
    "DeviceStatistics",
    "Dictionary",
    "Digester",
    "FaultHandler",
    "FaultResponse",
    "FaultStream",
    "Flush",
    "ForeignLoopError",
    "GzipFlag",
    "GzipHeader",
    "InvalidArgument",
    "InvalidSignature",
    "InvalidState",
    "InvalidTag",
    "KeyHandle",
    "Kind",
    "LaneStatistics",
    "LimitExceeded",
    "MacKey",
    "Nop",
    "Observation",
    "Observer",
    "Operation",
    "OperationAborted",
    "OperationSequence",
    "OperationTimeout",
    "OutOfSpace",
    "PageFault",
    "PageFaultError",
    "PagedBuffer",
    "Pager",
    "Paging",
    "PolledDevice",
    "Priority",
    "PrivateKey",
    "PublicKey",
    "Reason",
    "Result",
    "Rule",
    "SequenceResult",
    "Status",
    "UnsupportedOperation",
    "WdasyncError",
    "WouldBlock",
    "compress",
    "compress_into",
    "compress_many",
    "decompress",
    "decompress_into",
    "default_accelerator",
    "open_accelerator",
    "open_device",
    "open_devices",
    "read_gzip_header",
]
