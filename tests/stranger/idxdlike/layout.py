"""Descriptors and completion records, byte for byte.

The shape is that of ``include/uapi/linux/idxd.h`` (``struct iax_hw_desc``, ``struct dsa_completion_record``);
opcodes and statuses that exist there have its numbers. What the fields of flags and error codes mean is ours.
"""

from __future__ import annotations

import enum
import struct
from typing import Final, NamedTuple

DESCRIPTOR: Final = struct.Struct("<IIQQQIHHQIIII")
RECORD: Final = struct.Struct("<BBBBIQIIII")

DESCRIPTOR_SIZE: Final = 64
RECORD_SIZE: Final = 32
assert DESCRIPTOR.size == DESCRIPTOR_SIZE
assert RECORD.size == RECORD_SIZE

PASID_BITS: Final = 20
NO_ADDRESS: Final = 0


class Opcode(enum.IntEnum):
    """What to do; bits 31 to 24 of the second word."""

    NOOP = 0x00
    DECOMPRESS = 0x42
    COMPRESS = 0x43


class Flag(enum.IntFlag):
    """Bits 23 to 0 of the second word."""

    RECORD_VALID = 0x4
    REQUEST_RECORD = 0x8
    REQUEST_INTERRUPT = 0x10


class Wrapper(enum.IntEnum):
    """Bits 1 and 0 of the compression flags; bits 7 to 4 are the level."""

    RAW = 0
    ZLIB = 1
    GZIP = 2


class Completed(enum.IntEnum):
    """The status byte of a completion record. It is 0 until everything else has been written."""

    NONE = 0x00
    SUCCESS = 0x01
    ANALYTICS_ERROR = 0x0A
    OUTBUF_OVERFLOW = 0x0B
    BAD_OPCODE = 0x10
    INVALID_FLAGS = 0x11
    INVALID_SIZE = 0x13
    TRANSLATION_FAIL = 0x22


class DataProblem(enum.IntEnum):
    """The error code beside :attr:`Completed.ANALYTICS_ERROR`."""

    NONE = 0
    CORRUPT = 1
    TRUNCATED = 2
    TRAILING = 3
    WRONG_FORMAT = 4
    CHECKSUM = 5


class Descriptor(NamedTuple):
    """64 bytes, which go to a portal in one store.

    :ivar pasid: whose address space the addresses are of
    :ivar command: opcode and flags
    :ivar record: address of the completion record, a multiple of 32
    :ivar source: address of the input
    :ivar destination: address of the memory for the output
    :ivar source_size: bytes
    :ivar interrupt: handle of the interrupt that was asked for
    :ivar compression: wrapper and level
    :ivar second_source: not used
    :ivar room: bytes at ``destination``
    :ivar second_size: not used
    :ivar filters: not used
    :ivar members: concatenated members allowed
    """

    pasid: int
    command: int
    record: int = NO_ADDRESS
    source: int = NO_ADDRESS
    destination: int = NO_ADDRESS
    source_size: int = 0
    interrupt: int = 0
    compression: int = 0
    second_source: int = NO_ADDRESS
    room: int = 0
    second_size: int = 0
    filters: int = 0
    members: int = 1

    @property
    def opcode(self) -> int:
        return self.command >> 24

    @property
    def flags(self) -> Flag:
        return Flag(self.command & 0xFFFFFF)

    def pack(self) -> bytes:
        return DESCRIPTOR.pack(*self)

    @classmethod
    def unpack(cls, data: bytes) -> Descriptor:
        return cls(*DESCRIPTOR.unpack(data))


class Record(NamedTuple):
    """32 bytes that the device writes into user memory, the status byte last.

    :ivar consumed: bytes of the input
    :ivar output_size: bytes written
    """

    status: int
    problem: int = 0
    fault_info: int = 0
    reserved: int = 0
    consumed: int = 0
    fault_address: int = 0
    output_size: int = 0
    crc: int = 0
    invalid_flags: int = 0
    reserved_end: int = 0

    def pack(self) -> bytes:
        return RECORD.pack(*self)

    @classmethod
    def unpack(cls, data: bytes) -> Record:
        return cls(*RECORD.unpack(data))
