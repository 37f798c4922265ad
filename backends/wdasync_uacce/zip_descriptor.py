"""The ZIP engine's descriptor, its formats and its status codes, as tables.

A submission entry has 128 bytes. The device updates it in place: what the host owns must come back as it was,
what the device owns is valid once the completion entry's phase says so. The direction is not in it: the type
that the queue was given says whether it compresses or decompresses.

Two descriptor types differ in where the tag lies: type 0 (queue manager v2, zlib and gzip) and type 3 (raw
deflate, and everything from queue manager v3 on). Source: Linaro UADK ``drv/hisi_comp.c``.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

from wdasync.backend import DataCause, Status

from .layout import Field, Layout, Owner

__all__ = [
    "MAX_LENGTH",
    "SQE",
    "SQE_SIZE",
    "STATUSES",
    "WINDOWS",
    "Format",
    "QueueType",
    "StatusRow",
    "ZipStatus",
]

SQE_SIZE: Final = 128

#: Bytes of input, and of output, of one descriptor.
MAX_LENGTH: Final = 8 << 20


class QueueType(enum.IntEnum):
    """What a queue does; told once, by ioctl."""

    COMPRESS = 0
    DECOMPRESS = 1


class Format(enum.IntEnum):
    """Field ``format``. The device makes and checks the trailer, the driver writes and skips the header."""

    DEFLATE = 1
    ZLIB = 2
    GZIP = 3


#: Field ``window``: base-2 logarithm of the history in bytes -> code. (Code 3 is 24 KiB.)
WINDOWS: Final = {12: 0, 13: 1, 14: 2, 15: 4}


_HOST, _DEVICE, _BOTH = Owner.HOST, Owner.DEVICE, Owner.BOTH

#: name, dword, lowest bit, highest bit, owner, meaning
_FIELDS: Final = (
    ("consumed", 0, 0, 31, _DEVICE, "input bytes used, trailer included, header not"),
    ("produced", 1, 0, 31, _DEVICE, "output bytes made, trailer included, header not"),
    ("literals", 2, 0, 31, _DEVICE, "LZ77 only: number of literals"),
    ("status", 3, 0, 7, _DEVICE, "see the table of status codes"),
    ("last_block", 3, 8, 8, _DEVICE, "the final block was seen"),
    ("input_length", 4, 0, 31, _HOST, "bytes, at most 8 MiB"),
    ("lba_low", 5, 0, 31, _HOST, "data integrity, unused"),
    ("lba_high", 6, 0, 31, _HOST, "data integrity, unused"),
    ("source_offset", 7, 0, 23, _HOST, "bytes to skip in the source's scatter list"),
    ("finish", 7, 25, 25, _HOST, "flush: 0 sync flush, 1 finish"),
    ("stateful", 7, 26, 26, _HOST, "a step of a stream"),
    ("first", 7, 27, 27, _HOST, "first request of a stream; also in block mode"),
    ("sqe_type", 7, 28, 31, _HOST, "descriptor type: 0 or 3"),
    ("destination_offset", 8, 0, 23, _HOST, "bytes to skip in the destination's scatter list"),
    ("format", 9, 0, 7, _HOST, "1 raw deflate, 2 zlib, 3 gzip"),
    ("buffer_type", 9, 8, 11, _HOST, "both buffers: 0 flat, 1 scatter list"),
    ("window", 9, 12, 15, _HOST, "0 4k, 1 8k, 2 16k, 3 24k, 4 32k"),
    ("tag0", 13, 0, 31, _HOST, "the host's tag in type 0; LZ77: capacity for literals"),
    ("capacity", 14, 0, 31, _HOST, "room in the destination in bytes"),
    ("context_state", 15, 0, 3, _BOTH, "stream state"),
    ("context_final", 15, 7, 7, _BOTH, "final block seen"),
    ("context_bits", 15, 10, 15, _BOTH, "cached head bits"),
    ("source", 18, 0, 63, _HOST, "address of the data or of the scatter list"),
    ("destination", 20, 0, 63, _HOST, "address of the data or of the scatter list"),
    ("context", 22, 0, 63, _HOST, "stream context + 64; 0 in block mode"),
    ("literal_buffer", 24, 0, 63, _HOST, "LZ77 only: address of the literals"),
    ("tag3", 26, 0, 31, _HOST, "the host's tag in type 3"),
    ("stored_left", 28, 0, 18, _BOTH, "bytes left in a stored block"),
    ("window_length", 29, 0, 15, _BOTH, "bytes of history"),
    ("isize", 30, 0, 31, _BOTH, "uncompressed bytes so far"),
    ("checksum", 31, 0, 31, _BOTH, "running check value; gzip: bits reversed and complemented"),
)

SQE: Final = Layout(
    "ZIP SQE",
    SQE_SIZE,
    (
        Field(name, dword * 32 + low, high - low + 1, owner, meaning)
        for name, dword, low, high, owner, meaning in _FIELDS
    ),
)


class ZipStatus(enum.IntEnum):
    """Field ``status``."""

    OK = 0x00
    CORRUPT = 0x01
    INVALID_DESCRIPTOR = 0x02
    PAGE_FAULT = 0x03
    NEGATIVE_COMPRESSION = 0x0D
    OUTPUT_FULL = 0x0E
    INTEGRITY_SOURCE = 0x0F
    CHECK_VALUE = 0x10
    INTEGRITY_DESTINATION = 0x12
    STREAM_END = 0x13


class StatusRow(NamedTuple):
    """What a status code means here.

    :ivar status: for the queue contract
    :ivar message: for people
    :ivar cause: what is wrong with the data
    """

    status: Status
    message: str
    cause: DataCause | None = None


#: OK and the codes from 0x0d on are what is known of silicon; the rest of its codes is not published. CORRUPT,
#: INVALID_DESCRIPTOR and PAGE_FAULT are the emulated chip's. An input that ends too early has no code: the engine has
#: done all that it was given and has not seen the end.
STATUSES: Final[dict[int, StatusRow]] = {
    ZipStatus.OK: StatusRow(Status.SUCCESS, ""),
    ZipStatus.CORRUPT: StatusRow(Status.DATA_ERROR, "invalid deflate data", DataCause.CORRUPT),
    ZipStatus.INVALID_DESCRIPTOR: StatusRow(Status.INVALID_ARGS, "the device refuses the descriptor"),
    ZipStatus.PAGE_FAULT: StatusRow(Status.PAGE_FAULT, "an access to memory was refused"),
    ZipStatus.NEGATIVE_COMPRESSION: StatusRow(Status.SUCCESS, "the output is larger than the input"),
    ZipStatus.OUTPUT_FULL: StatusRow(Status.OUT_OF_SPACE_TERMINATED, "the output does not fit"),
    ZipStatus.INTEGRITY_SOURCE: StatusRow(Status.DEVICE_ERROR, "integrity check of the source failed"),
    ZipStatus.CHECK_VALUE: StatusRow(
        Status.CHECKSUM_FAILED, "check value or length in the trailer is another", DataCause.CHECKSUM
    ),
    ZipStatus.INTEGRITY_DESTINATION: StatusRow(
        Status.DEVICE_ERROR, "integrity check of the destination failed"
    ),
    ZipStatus.STREAM_END: StatusRow(Status.SUCCESS, ""),
}
