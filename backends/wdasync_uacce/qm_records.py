"""The queue manager's records, as tables: doorbells, ring entries, queue contexts.

A user driver needs the doorbells and the completion entry. Event entries and contexts are between the kernel's
driver and the chip; they are written down here because whoever reads a dump, or builds the other side, wants one
table. Sources: Linux ``drivers/crypto/hisilicon/qm.c``, Linaro UADK ``drv/hisi_qm_udrv.c``.
"""

from __future__ import annotations

import enum
from typing import Final

from .layout import Field, Layout, Owner

__all__ = [
    "AEQE",
    "CQC",
    "CQE",
    "DOORBELLS",
    "DOORBELL_OFFSETS",
    "EQC",
    "EQE",
    "SQC",
    "Command",
    "dus_size",
]

_HOST, _DEVICE, _BOTH = Owner.HOST, Owner.DEVICE, Owner.BOTH


class Command(enum.IntEnum):
    """Which ring a doorbell is for. Only the first two are for user space."""

    SQ = 0
    CQ = 1
    EQ = 2
    AEQ = 3


#: One 64-bit store. For SQ the index is the new tail, else the new head; in CQ doorbells ``priority`` is the
#: request to raise an interrupt at the next completion. The index has no wrap bit. ``random`` must match the tag in
#: the queue's context; Linux uses 0.
_DOORBELL_1: Final = Layout(
    "doorbell v1",
    8,
    (
        Field("queue", 0, 16, _HOST, "queue number"),
        Field("command", 16, 16, _HOST, "ring"),
        Field("index", 32, 16, _HOST, "new tail or head"),
        Field("priority", 48, 16, _HOST, "SQ: priority; else 1: arm the interrupt"),
    ),
)
_DOORBELL_2: Final = Layout(
    "doorbell v2",
    8,
    (
        Field("queue", 0, 10, _HOST, "queue number"),
        Field("command", 12, 4, _HOST, "ring"),
        Field("random", 16, 16, _HOST, "tag of the queue's context"),
        Field("index", 32, 16, _HOST, "new tail or head"),
        Field("priority", 48, 16, _HOST, "SQ: priority; else 1: arm the interrupt"),
    ),
)

#: Version of the queue manager -> layout, and offset of SQ and CQ doorbells in the MMIO region.
DOORBELLS: Final = {1: _DOORBELL_1, 2: _DOORBELL_2, 3: _DOORBELL_2, 4: _DOORBELL_2, 5: _DOORBELL_2}
DOORBELL_OFFSETS: Final = {1: 0x340, 2: 0x1000, 3: 0x1000, 4: 0x1000, 5: 0x1000}

CQE: Final = Layout(
    "CQE",
    16,
    (
        Field("command_id", 32, 16, _DEVICE, "ignored"),
        Field("sq_head", 64, 16, _DEVICE, "slot of the finished submission entry"),
        Field("queue", 80, 16, _DEVICE, "queue number"),
        Field("phase", 112, 1, _DEVICE, "1 in the first lap, then flips at each wrap; written last"),
        Field("status", 113, 15, _DEVICE, "ignored"),
    ),
)

EQE: Final = Layout(
    "EQE",
    4,
    (Field("cqn", 0, 16, _DEVICE, "completion queue"), Field("phase", 16, 1, _DEVICE, "as in a CQE")),
)

AEQE: Final = Layout(
    "AEQE",
    4,
    (
        Field("queue", 0, 16, _DEVICE, "queue number"),
        Field("phase", 16, 1, _DEVICE, "as in a CQE"),
        Field("type", 17, 15, _DEVICE, "0 CQ overflow, 1 EQ overflow, 2 CQE error"),
    ),
)

SQC: Final = Layout(
    "SQC",
    32,
    (
        Field("head", 0, 16, _BOTH, "next entry to fetch"),
        Field("tail", 16, 16, _BOTH, "as the last doorbell said"),
        Field("base", 32, 64, _HOST, "address of the ring"),
        Field("depth", 96, 12, _HOST, "entries - 1"),
        Field("entry_log2", 108, 4, _HOST, "log2 of the bytes of an entry"),
        Field("random", 128, 16, _HOST, "must come with each doorbell"),
        Field("pasid", 160, 16, _HOST, "address space of the data"),
        Field("tail_wrap", 182, 1, _BOTH, "lap of the tail"),
        Field("pasid_valid", 183, 1, _HOST, "use the PASID"),
        Field("cq", 192, 16, _HOST, "completion queue"),
        Field("priority", 208, 4, _HOST, ""),
        Field("orders", 212, 4, _HOST, ""),
        Field("algorithm", 216, 4, _HOST, "queue type: ZIP 0 compress, 1 decompress"),
    ),
)

CQC: Final = Layout(
    "CQC",
    32,
    (
        Field("head", 0, 16, _BOTH, "as the last doorbell said"),
        Field("tail", 16, 16, _BOTH, "next entry to write"),
        Field("base", 32, 64, _HOST, "address of the ring"),
        Field("depth", 96, 12, _HOST, "entries - 1"),
        Field("entry_log2", 108, 4, _HOST, "log2 of the bytes of an entry"),
        Field("pasid", 160, 16, _HOST, "address space"),
        Field("pasid_valid", 176, 1, _HOST, "use the PASID"),
        Field("phase", 192, 1, _BOTH, "phase of this lap"),
        Field("armed", 193, 1, _BOTH, "raise an interrupt at the next completion"),
    ),
)

#: Contexts of the event queue and of the queue of abnormal events.
EQC: Final = Layout(
    "EQC",
    28,
    (
        Field("head", 0, 16, _BOTH, ""),
        Field("tail", 16, 16, _BOTH, ""),
        Field("base", 32, 64, _HOST, "address of the ring"),
        Field("depth", 192, 16, _HOST, "entries - 1"),
        Field("phase", 208, 1, _HOST, "phase of this lap"),
    ),
)


def dus_size(sqe_size: int, sq_depth: int, cq_depth: int, page: int) -> int:
    """Bytes of a DUS region: both rings rounded up to a page, and one page whose end holds the status words."""
    rings = sqe_size * sq_depth + CQE.size * cq_depth
    return -(-rings // page) * page + page
