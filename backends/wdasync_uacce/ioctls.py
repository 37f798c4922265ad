"""The calls on an opened node, as a table: number, and the bytes of the argument.

The numbers are those of the encoding that x86-64 and AArch64 have in common. Sources: Linux ``uapi/misc/uacce/uacce.h`` and
``uapi/misc/uacce/hisi_qm.h``; for the reserved region the kernels that ship with Kunpeng machines.
"""

from __future__ import annotations

import enum
from struct import Struct
from typing import Final

__all__ = ["GET_SLICE", "QUEUE_INFO", "QUEUE_TYPE", "Ioctl"]


class Ioctl(enum.IntEnum):
    """Numbers of the calls."""

    #: Begin to work. No argument.
    START = 0x5700
    #: Stop. No argument.
    PUT = 0x5701
    #: Where the device sees a slice of the reserved region; kernels without shared addresses only.
    GET_SLICE = 0x80085703
    #: Say what the queue does, get its number.
    SET_QUEUE_TYPE = 0xC004480A
    #: Get the shape of the rings.
    QUEUE_INFO = 0xC010480B


#: Of SET_QUEUE_TYPE: number of the hardware queue (out), type (in).
QUEUE_TYPE: Final = Struct("=HH")
#: Of QUEUE_INFO, out: bytes of an entry, depth of the submission ring, of the completion ring, reserved.
QUEUE_INFO: Final = Struct("=IHHQ")
#: Of GET_SLICE: number of the slice (in), the word of :class:`~wdasync_uacce.reserved.Slice` (out). A result above 0: there are more.
GET_SLICE: Final = Struct("=Q")
