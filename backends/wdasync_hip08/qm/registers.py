"""The queue manager's registers, as a table, and the words of its mailbox and doorbells.

Offsets are from the start of the function's BAR. A register that is not in the table reads as zero and ignores
writes.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple

__all__ = [
    "REGISTERS",
    "Doorbell",
    "DoorbellCommand",
    "Mailbox",
    "MailboxCommand",
    "QmError",
    "Register",
    "RegisterFile",
]

# Interrupt sources and masks; two words an event queue.
AEQ_SOURCE, AEQ_MASK, EQ_SOURCE, EQ_MASK = 0x0, 0x4, 0x8, 0xC
MAILBOX, MAILBOX_BASE_LOW, MAILBOX_BASE_HIGH = 0x300, 0x304, 0x308
DOORBELL, KERNEL_DOORBELL = 0x1000, 0x2000
MEMORY_INIT_START, MEMORY_INIT_DONE = 0x100040, 0x100044
RANGE_START, RANGE_READ, RANGE_TYPE, RANGE_FUNCTION = 0x100054, 0x100058, 0x10005C, 0x100060
RANGE_DATA_LOW, RANGE_DATA_HIGH, RANGE_READY = 0x100064, 0x100068, 0x10006C
ERROR_SOURCE, ERROR_MASK, ERROR_STATUS, ERROR_SET = 0x100000, 0x100004, 0x100008, 0x10000C
FIFO_DETAIL, DOORBELL_DETAIL = 0x100010, 0x100014
ERROR_CORRECTABLE, ERROR_FATAL, ERROR_NONFATAL = 0x1000EC, 0x1000F0, 0x1000F4
PING, QUEUE_TOTALS = 0x1000D8, 0x100158
SHUTDOWN, SHUTDOWN_DONE = 0x300000, 0x300150
# What user signals the data ports of the engine send with an access; bit 0: it has a PASID. (QM v2.)
SGL_READ_USER, DATA_READ_USER, DATA_WRITE_USER = 0x30111C, 0x301128, 0x301134
CAPABILITIES = 0x3100


class Register(NamedTuple):
    """One row of the register table."""

    offset: int
    name: str
    writable: bool = True
    reset: int = 0


REGISTERS: tuple[Register, ...] = (
    Register(AEQ_SOURCE, "AEQ interrupt source", writable=False),
    Register(AEQ_MASK, "AEQ interrupt mask", reset=1),
    Register(EQ_SOURCE, "EQ interrupt source", writable=False),
    Register(EQ_MASK, "EQ interrupt mask", reset=1),
    Register(0x30, "capability: doorbell isolation", writable=False),
    Register(0x34, "page size"),
    Register(CAPABILITIES, "capability version: 0, the built-in values of the hardware version", writable=False),
    Register(ERROR_SOURCE, "error source, raw; written bits are cleared", writable=False),
    Register(ERROR_MASK, "error mask", reset=0x7FFF),
    Register(ERROR_STATUS, "error status", writable=False),
    Register(ERROR_SET, "error set, for injection"),
    Register(FIFO_DETAIL, "detail of a FIFO overflow", writable=False),
    Register(DOORBELL_DETAIL, "detail of a doorbell time-out", writable=False),
    Register(MEMORY_INIT_START, "memory init: start"),
    Register(MEMORY_INIT_DONE, "memory init: done", writable=False),
    Register(RANGE_START, "queue range: start"),
    Register(RANGE_READ, "queue range: 0 write, 1 read"),
    Register(RANGE_TYPE, "queue range: 0 SQ, 1 CQ, 2 shaper"),
    Register(RANGE_FUNCTION, "queue range: function"),
    Register(RANGE_DATA_LOW, "queue range: data, low"),
    Register(RANGE_DATA_HIGH, "queue range: data, high"),
    Register(RANGE_READY, "queue range: ready", reset=1),
    Register(PING, "ping"),
    Register(ERROR_CORRECTABLE, "errors that are correctable"),
    Register(ERROR_FATAL, "errors that are fatal"),
    Register(ERROR_NONFATAL, "errors that are non-fatal"),
    Register(QUEUE_TOTALS, "queues: of the chip 10:0, of a function 21:11", writable=False, reset=0x400 | 0x400 << 11),
    Register(SHUTDOWN, "bus master shutdown"),
    Register(SHUTDOWN_DONE, "bus master shutdown: 3 done", writable=False),
    Register(SGL_READ_USER, "scatter list reads: user signals"),
    Register(DATA_READ_USER, "data reads: user signals"),
    Register(DATA_WRITE_USER, "data writes: user signals"),
)  # fmt: skip


class QmError(enum.IntFlag):
    """Bits of the error source."""

    BUS_READ = 1 << 0
    BUS_WRITE = 1 << 1
    ECC_MULTI_BIT = 1 << 2
    ECC_SINGLE_BIT = 1 << 3
    FETCH_TIMEOUT = 1 << 4
    TASK_TIMEOUT = 1 << 5
    WRITE_BACK_TIMEOUT = 1 << 6
    RANGE_INVALID = 1 << 7
    CQ_INVALID = 1 << 8
    SQ_INVALID = 1 << 9
    DOORBELL_TIMEOUT = 1 << 10
    FIFO_OVERFLOW = 1 << 11
    DOORBELL_TAG = 1 << 12
    MAILBOX_TIMEOUT = 1 << 13
    FUNCTION_RESET_TIMEOUT = 1 << 14


class RegisterFile:
    """Plain registers: they keep what was stored, if they are writable."""

    def __init__(self) -> None:
        self._rows = {row.offset: row for row in REGISTERS}
        self._values = {row.offset: row.reset for row in REGISTERS}

    def get(self, offset: int) -> int:
        """What software reads there."""
        return self._values.get(offset, 0)

    def put(self, offset: int, value: int) -> bool:
        """What software writes there; False if that is ignored."""
        row = self._rows.get(offset)
        if row is None or not row.writable:
            return False
        self._values[offset] = value & 0xFFFFFFFF
        return True

    def set(self, offset: int, value: int) -> None:
        """What the chip itself puts there."""
        self._values[offset] = value & 0xFFFFFFFF

    def dump(self) -> str:
        """Every register that is not zero, one a line."""
        return "\n".join(
            f"{row.offset:#08x} {self._values[row.offset]:#010x} {row.name}"
            for row in self._rows.values()
            if self._values[row.offset]
        )

    def __repr__(self) -> str:
        shown = sum(self._values[row.offset] != row.reset for row in self._rows.values())
        return f"<RegisterFile {len(self._rows)} registers, {shown} not as after reset>"


class DoorbellCommand(enum.IntEnum):
    """Which queue a doorbell is for."""

    SQ = 0
    CQ = 1
    EQ = 2
    AEQ = 3


@dataclass(frozen=True, slots=True)
class Doorbell:
    """One 64-bit doorbell of QM v2.

    :ivar command: a :class:`DoorbellCommand`, or something that is none
    :ivar tag: must equal the tag in the queue's context
    :ivar index: SQ: new tail; the others: new head
    :ivar priority: CQ: bit 0 arms the interrupt
    """

    queue: int
    command: int
    tag: int
    index: int
    priority: int

    @classmethod
    def decode(cls, word: int) -> Doorbell:
        """From the stored word; the queue number has ten bits."""
        return cls(
            word & 0x3FF, word >> 12 & 0xF, word >> 16 & 0xFFFF, word >> 32 & 0xFFFF, word >> 48 & 0xFFFF
        )

    def encode(self) -> int:
        """The word to store."""
        return self.queue | self.command << 12 | self.tag << 16 | self.index << 32 | self.priority << 48


class MailboxCommand(enum.IntEnum):
    """What the mailbox can be asked."""

    SQ_CONTEXT = 0
    CQ_CONTEXT = 1
    EQ_CONTEXT = 2
    AEQ_CONTEXT = 3
    SQ_TABLE = 4
    CQ_TABLE = 5
    QUEUE_RANGE = 6
    PING = 7


@dataclass(frozen=True, slots=True)
class Mailbox:
    """The 16 bytes of the mailbox.

    :ivar status: 0 is success
    :ivar read: the direction: dump a context, or read something
    :ivar base: address without a PASID, or the data of a command without a buffer
    """

    command: int
    queue: int
    base: int = 0
    read: bool = False
    busy: bool = False
    status: int = 0
    event: int = 0

    @classmethod
    def decode(cls, word: int) -> Mailbox:
        """From the 128 bits that were stored."""
        return cls(
            word & 0xFF,
            word >> 16 & 0xFFFF,
            word >> 32 & (1 << 64) - 1,
            bool(word >> 14 & 1),
            bool(word >> 13 & 1),
            word >> 9 & 0xF,
            word >> 8 & 1,
        )

    def encode(self) -> int:
        """128 bits."""
        head = self.command | self.event << 8 | self.status << 9 | self.busy << 13 | self.read << 14
        return head | self.queue << 16 | self.base << 32
