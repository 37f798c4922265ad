"""Every error number that Linux gives for a uacce node: what it means, what to do, and which exception it becomes.

The kernel's words for a number (``Device or resource busy``) say nothing of the device. One table here does, for each call
that may fail. Drivers, ``doctor`` and the documentation read it.

Sources: Linux ``drivers/misc/uacce/uacce.c``, ``drivers/crypto/hisilicon/qm.c``, ``drivers/iommu/iommu-sva.c``; what a guest
kernel answered.
"""

from __future__ import annotations

import enum
import errno
import os
from typing import Final, NamedTuple

__all__ = [
    "ROWS",
    "AccessDenied",
    "Call",
    "CallRefused",
    "DeviceFailed",
    "DeviceGone",
    "DeviceIsolated",
    "ForeignQueue",
    "MappedTwice",
    "NoSuchNode",
    "OutOfFiles",
    "OutOfMemory",
    "QueuesTaken",
    "Row",
    "SharingRefused",
    "UacceError",
    "name_of",
    "row_of",
]


class Call(enum.Enum):
    """What was asked of the kernel."""

    OPEN = "open"
    SET_TYPE = "set the queue's type"
    QUEUE_INFO = "get the queue's shape"
    MAP = "map a region"
    RESERVE = "map the reserved region"
    SLICE = "get a slice of the reserved region"
    START = "start"
    PUT = "put"
    ACCESS = "touch a region"


#: Calls on a queue that is open.
_LATER: Final = (
    Call.SET_TYPE,
    Call.QUEUE_INFO,
    Call.MAP,
    Call.RESERVE,
    Call.SLICE,
    Call.START,
    Call.PUT,
)


class UacceError(OSError):
    """Raised when the kernel refuses a call, with a number that says no more than that; base of the other errors here.

    :ivar node: whose queue it is about
    :ivar call: what was asked
    :ivar cause: what it means
    :ivar advice: what to do
    """

    def __init__(self, number: int, node: str, call: Call, cause: str, advice: str) -> None:
        super().__init__(number, f"{node}: {call.value}: {cause}; {advice}")
        self.node = node
        self.call = call
        self.cause = cause
        self.advice = advice

    @classmethod
    def of(cls, error: OSError, node: str, call: Call) -> UacceError:
        """The error that a number deserves, when ``call`` gave it."""
        number = error.errno or 0
        row = row_of(number, call)
        return row.error(number, node, call, row.cause, row.advice)


class QueuesTaken(UacceError):
    """Raised when the device has no queue to give now."""


class AccessDenied(UacceError, PermissionError):
    """Raised when this process may not use the node."""


class NoSuchNode(UacceError, FileNotFoundError):
    """Raised when there is no such file."""


class SharingRefused(UacceError):
    """Raised when the device cannot get this process's address space. The attribute ``flags`` proves nothing: only this does."""


class DeviceGone(UacceError):
    """Raised when the device was removed, or the queue was put; what is mapped of it is not there any more."""


class DeviceIsolated(DeviceGone):
    """Raised when the kernel has taken the device out of use, because it broke too often or could not be reset."""


class DeviceFailed(UacceError):
    """Raised when the device did not do what its driver in the kernel asked."""


class ForeignQueue(UacceError):
    """Raised in a forked child for a queue of its parent's."""


class MappedTwice(UacceError, FileExistsError):
    """Raised when a region is mapped already."""


class CallRefused(UacceError):
    """Raised when the call is not one for the state that the queue is in, or the kernel's driver does not know it."""


class OutOfMemory(UacceError):
    """Raised when the kernel, or the reserved region, has no memory left."""


class OutOfFiles(UacceError):
    """Raised when the process, or the machine, has too many files open."""


class Row(NamedTuple):
    """What one number means when one of some calls gives it.

    :ivar number: of the error; 0: any other
    :ivar calls: which may give it
    :ivar error: our exception
    :ivar cause: what it means
    :ivar advice: what to do
    """

    number: int
    calls: tuple[Call, ...]
    error: type[UacceError]
    cause: str
    advice: str


_CHECK_SVA: Final = (
    "check that the SMMU is on in the firmware, that the kernel has CONFIG_IOMMU_SVA and CONFIG_ARM_SMMU_V3_SVA, and "
    "that the driver's module was loaded with uacce_mode=1"
)
_SEE_LOG: Final = "see the kernel's log (dmesg)"
_OPEN_ANEW: Final = "open another queue when the device is back"

ROWS: Final = (
    Row(
        errno.EBUSY, (Call.OPEN,), QueuesTaken,
        "all its hardware queues are taken",
        "close other users of the device, or open fewer queues; the attribute available_instances says how many are free",
    ),
    Row(
        errno.EAGAIN, (Call.OPEN,), QueuesTaken,
        "the device gives no queues now: it is stopping, or being reset",
        "wait until that is over",
    ),
    Row(
        errno.EACCES, (Call.OPEN,), AccessDenied,
        "this user may not open the node for reading and writing",
        "give its group the node by a udev rule, and this user the group",
    ),
    Row(
        errno.EPERM, (Call.OPEN,), AccessDenied,
        "this process may not open the node: a container's device rules forbid it, or the device is stopping",
        "pass the device into the container; otherwise wait until its reset is over",
    ),
    Row(
        errno.EPERM, _LATER, AccessDenied,
        "a sandbox forbids the call",
        "let its filter (seccomp) pass ioctl and mmap for the node",
    ),
    Row(
        errno.ENOENT, (Call.OPEN,), NoSuchNode,
        "there is no such node",
        "load the driver's module; in a container, pass the device in",
    ),
    Row(
        errno.ENODEV, (Call.OPEN,), SharingRefused,
        "shared addresses are refused: the IOMMU cannot give the device this process's page table",
        _CHECK_SVA,
    ),
    Row(
        errno.EOPNOTSUPP, (Call.OPEN,), SharingRefused,
        "shared addresses are refused: this kernel does not do that with this IOMMU",
        _CHECK_SVA,
    ),
    Row(
        errno.ENOSPC, (Call.OPEN,), SharingRefused,
        "shared addresses are refused: all PASIDs are taken",
        "end other programs that use such devices",
    ),
    Row(
        errno.EOVERFLOW, (Call.OPEN,), SharingRefused,
        "shared addresses are refused: the PASID does not fit into the 16 bits of a queue's context",
        "end other programs that use such devices",
    ),
    Row(
        errno.EINVAL, (Call.OPEN,), DeviceGone,
        "the device vanished while it was opened",
        _OPEN_ANEW,
    ),
    Row(
        errno.ENXIO, _LATER, DeviceGone,
        "the device went away, or the queue was put on a kernel where that is final",
        _OPEN_ANEW,
    ),
    Row(
        errno.ENXIO, (Call.OPEN,), DeviceGone,
        "the node is there, and no driver behind it",
        "load the driver's module again; remove the stale node",
    ),
    Row(
        errno.EMFILE, (Call.OPEN,), OutOfFiles,
        "this process has too many files open",
        "raise its limit (ulimit -n): each queue is one file",
    ),
    Row(
        errno.ENFILE, (Call.OPEN,), OutOfFiles,
        "the machine has too many files open",
        "raise fs.file-max",
    ),
    Row(
        errno.ENOMEM, (Call.OPEN, Call.MAP, Call.RESERVE, Call.START), OutOfMemory,
        "the kernel has no memory for the queue",
        "free some; queues need memory in one piece",
    ),
    Row(
        errno.EINVAL, (Call.SET_TYPE,), CallRefused,
        "the type is not 0 or 1, or the queue has one already",
        "set it once, before start",
    ),
    Row(
        errno.EINVAL, (Call.QUEUE_INFO,), CallRefused,
        "the kernel's driver does not know this call",
        "nothing: 1,024 entries are taken for granted then",
    ),
    Row(
        errno.ENOTTY, (Call.QUEUE_INFO,), CallRefused,
        "the kernel's driver does not know this call",
        "nothing: 1,024 entries are taken for granted then",
    ),
    Row(
        errno.EEXIST, (Call.MAP, Call.RESERVE), MappedTwice,
        "the region is mapped already",
        "use that mapping, or unmap it first",
    ),
    Row(
        errno.EINVAL, (Call.MAP,), CallRefused,
        "the device has no such region, or it has another size",
        "compare the attributes region_mmio_size and region_dus_size",
    ),
    Row(
        errno.EACCES, (Call.MAP, Call.RESERVE), AccessDenied,
        "the node was opened for reading only",
        "open it for reading and writing",
    ),
    Row(
        errno.EINVAL, (Call.RESERVE,), CallRefused,
        "this kernel's driver reserves no memory for the device",
        "only patched kernels do, for a queue that was started; for shared addresses " + _CHECK_SVA,
    ),
    Row(
        errno.EINVAL, (Call.SLICE,), CallRefused,
        "there is no slice with this number, or no reserved region",
        "map the reserved region first",
    ),
    Row(
        errno.EINVAL, (Call.START,), CallRefused,
        "the queue was started already",
        "start it once; put it before another start",
    ),
    *(
        Row(
            number, (Call.START, Call.PUT), DeviceFailed,
            "the queue manager did not answer the kernel's driver",
            _SEE_LOG + "; a device that keeps failing has to be reset",
        )
        for number in (errno.EIO, errno.ETIMEDOUT, errno.EBUSY)
    ),
    Row(0, (), UacceError, "nobody knows what this number means here", _SEE_LOG),
)  # fmt: skip


def row_of(number: int, call: Call | None = None) -> Row:
    """What ``number`` means as an answer to ``call``; to any call, if this one is not known to give it."""
    same = [row for row in ROWS if row.number == number]
    return next((row for row in same if call in row.calls), same[0] if same else ROWS[-1])


def name_of(number: int) -> str:
    """``EBUSY`` and the like."""
    return _NAMES.get(number) or errno.errorcode.get(number, f"errno {number} ({os.strerror(number)})")


#: Of two names for one number, the one that the kernel's sources use.
_NAMES: Final = {errno.EAGAIN: "EAGAIN", errno.EOPNOTSUPP: "EOPNOTSUPP"}
