"""Contexts and ring entries of the queue manager, byte for byte.

=======  =====  ====================================================================================
SQC      bytes  content
=======  =====  ====================================================================================
head     0      entries fetched, modulo depth
tail     2      as the last doorbell said
base     4      address of the ring, without a PASID
dw3      12     depth - 1 in 11:0, log2 of the entry size in 15:12
tag      16     must come with every doorbell
pasid    20     PASID of the data of this queue
w11      22     bit 7 PASID enable (v3), bit 6 wrap of the tail
cq       24     number of the completion queue
w13      26     priority 3:0, orders 7:4, algorithm 11:8
=======  =====  ====================================================================================

A CQC is the same up to byte 23 (entries of 16 bytes; w11 bit 0 PASID enable, bit 6 wrap); at 24: phase in bit 0,
interrupt armed in bit 1. EQC and AEQC have the base at 4 and, at 24, depth - 1 with the phase in bit 16.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass

__all__ = ["AeqType", "CqContext", "EqContext", "SqContext", "pack_cqe", "unpack_cqe"]

CONTEXT_BYTES = 32
CQE_BYTES = 16
EQE_BYTES = 4

_SQC = struct.Struct("<HHQHHHHHHHHI")
_CQC = struct.Struct("<HHQHHHHHHII")
_EQC = struct.Struct("<IQIIII")
_CQE = struct.Struct("<IHHHHHH")


class AeqType(enum.IntEnum):
    """Types of abnormal events."""

    CQ_OVERFLOW = 0
    EQ_OVERFLOW = 1
    CQE_ERROR = 2


@dataclass(slots=True)
class SqContext:
    """A submission queue as the chip keeps it."""

    base: int
    depth: int
    entry_bytes: int
    pasid: int = 0
    cq: int = 0
    algorithm: int = 0
    tag: int = 0
    head: int = 0
    tail: int = 0
    pasid_enable: bool = False
    wrap: bool = False

    def pack(self) -> bytes:
        """32 bytes."""
        dw3 = self.depth - 1 | (self.entry_bytes.bit_length() - 1) << 12
        w11 = self.pasid_enable << 7 | self.wrap << 6
        return _SQC.pack(
            self.head, self.tail, self.base, dw3, 0, self.tag, 0, self.pasid, w11, self.cq, 0x10 | self.algorithm << 8, 0
        )  # fmt: skip

    @classmethod
    def unpack(cls, data: bytes) -> SqContext:
        """From 32 bytes."""
        head, tail, base, dw3, _, tag, _, pasid, w11, cq, w13, _ = _SQC.unpack(data)
        return cls(
            base, (dw3 & 0xFFF) + 1, 1 << (dw3 >> 12), pasid, cq, w13 >> 8 & 0xF, tag, head, tail,
            bool(w11 >> 7 & 1), bool(w11 >> 6 & 1),
        )  # fmt: skip


@dataclass(slots=True)
class CqContext:
    """A completion queue as the chip keeps it."""

    base: int
    depth: int
    pasid: int = 0
    head: int = 0
    tail: int = 0
    phase: bool = True
    armed: bool = False
    wrap: bool = False
    tag: int = 0
    pasid_enable: bool = False

    def pack(self) -> bytes:
        """32 bytes."""
        return _CQC.pack(
            self.head, self.tail, self.base, self.depth - 1 | 4 << 12, 0, self.tag, 0, self.pasid,
            self.wrap << 6 | self.pasid_enable,
            self.phase | self.armed << 1, 0,
        )  # fmt: skip

    @classmethod
    def unpack(cls, data: bytes) -> CqContext:
        """From 32 bytes."""
        head, tail, base, dw3, _, tag, _, pasid, w11, dw6, _ = _CQC.unpack(data)
        return cls(
            base, (dw3 & 0xFFF) + 1, pasid, head, tail, bool(dw6 & 1), bool(dw6 >> 1 & 1), bool(w11 >> 6 & 1), tag,
            bool(w11 & 1),
        )  # fmt: skip


@dataclass(slots=True)
class EqContext:
    """An event queue (normal or abnormal) as the chip keeps it."""

    base: int
    depth: int
    phase: bool = True
    head: int = 0
    tail: int = 0

    def pack(self) -> bytes:
        """28 bytes."""
        return _EQC.pack(0, self.base, 0, 0, 0, self.depth - 1 | self.phase << 16)

    @classmethod
    def unpack(cls, data: bytes) -> EqContext:
        """From 28 bytes."""
        _, base, _, _, _, dw6 = _EQC.unpack(data[:28])
        return cls(base, (dw6 & 0xFFFF) + 1, bool(dw6 >> 16 & 1))


def pack_cqe(sq_head: int, queue: int) -> bytes:
    """The first 14 bytes of a completion; the phase halfword is stored after them.

    :param sq_head: SQ index of the entry that is finished
    :param queue: number of the submission queue
    """
    return _CQE.pack(0, 0, 0, sq_head, queue, 0, 0)[:14]


def unpack_cqe(data: bytes) -> tuple[int, int, int]:
    """(SQ head, SQ number, phase) of 16 bytes."""
    _, _, _, sq_head, queue, _, status = _CQE.unpack(data)
    return sq_head, queue, status & 1
