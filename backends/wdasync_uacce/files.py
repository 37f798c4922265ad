"""The file layer: everything that a user driver asks of Linux, as interfaces.

A uacce device is a character device with a directory of attributes. Each open of its node is one hardware
queue; a few ioctls set it up, its regions are mapped, and from then on a driver works on mapped memory. The
drivers of this package know only the protocols below, so the same driver runs over the kernel and over a
model of the chip.

Every error is an :exc:`OSError` with the number that the kernel gives. The states of an opened queue:

========  =======================  ==============================================
state     allowed                  what else gives
========  =======================  ==============================================
INIT      all but a second map     ``put`` before ``start`` is allowed
STARTED   ``put``, ``map``         ``start``, ``set_queue_type``: EINVAL
ZOMBIE    ``close``, ``unmap``     every other call: ENXIO; the descriptor is never readable
========  =======================  ==============================================

Older kernels go to ZOMBIE on ``put``; newer ones go back to INIT and allow another ``start``. A device that
was removed leaves its queues in ZOMBIE. Source: Linux ``drivers/misc/uacce/uacce.c``, ``uapi/misc/uacce``.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from wdasync.backend import PageFaults
from wdasync.buffers import Segment

__all__ = [
    "AddressSpace",
    "FileLayer",
    "NodeFlag",
    "NodeInfo",
    "QueueFile",
    "QueueInfo",
    "Refusal",
    "Region",
    "RegionKind",
]


class NodeFlag(enum.IntFlag):
    """Bits of the attribute ``flags``. Unknown bits are kept."""

    #: The device works with virtual addresses. Only ``open`` shows whether that is true here.
    SVA = 1 << 0
    #: No IOMMU in front of the device: a reserved region of physical memory (out-of-tree kernels).
    NO_IOMMU = 1 << 1
    #: Each process has a table of its own, for IOVAs that it maps: PASIDs without shared addresses (early WarpDrive).
    PASID = 1 << 2
    #: An IOMMU without shared addresses: a reserved region with IOVAs (out-of-tree kernels).
    IOMMU = 1 << 7


class RegionKind(enum.IntEnum):
    """Which part of a queue is mapped; the page number of the mapping's offset."""

    #: The doorbell.
    MMIO = 0
    #: Device-user share: submission ring, completion ring, status words.
    DUS = 1
    #: Reserved memory that the device can reach, without SVA.
    STATIC_SHARE = 2


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """One device as its attributes tell it, at the moment of ``discover``.

    :ivar name: of the class entry and of the node, such as ``hisi_zip-0``
    :ivar api: attribute ``api``, such as ``hisi_qm_v2``; ``_noiommu`` may follow
    :ivar flags: attribute ``flags``
    :ivar algorithms: attribute ``algorithms``, one name a line
    :ivar available_instances: free hardware queues
    :ivar mmio_size: bytes of the MMIO region
    :ivar dus_size: bytes of the DUS region; a mapping must have exactly this size
    :ivar numa_node: where it sits; ``None`` if the attribute is missing or negative
    :ivar isolated: it broke too often and takes no new queues
    :ivar isolate_strategy: errors within an hour after which that happens, 0 for never; ``None`` if the driver does not say
    :ivar attributes: everything as it was read, for people
    :ivar problems: attributes that are missing or cannot be read, in words
    """

    name: str
    api: str
    flags: NodeFlag
    algorithms: tuple[str, ...]
    available_instances: int
    mmio_size: int
    dus_size: int
    numa_node: int | None = None
    isolated: bool = False
    isolate_strategy: int | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


class QueueInfo(NamedTuple):
    """Answer to the ioctl 0xC010480B: the shape of the rings in the DUS region.

    :ivar sqe_size: bytes of one submission entry
    :ivar sq_depth: entries of the submission ring
    :ivar cq_depth: entries of the completion ring
    """

    sqe_size: int
    sq_depth: int
    cq_depth: int


class Refusal(NamedTuple):
    """Why the program gave no page.

    :ivar words: for people
    :ivar raised: what its pager or fault handler raised; ``None``: nothing, it took too long
    """

    words: str
    raised: BaseException | None = None


class Region(Protocol):
    """A mapped region. Offsets are in bytes, from its start.

    ``load*`` and ``store*`` are one aligned access each: a load with acquire semantics, a store that nothing
    before it passes, writes to memory shared with a device included. A doorbell region may have no memory
    behind it: its stores are then calls, each of which reaches the model, in order.

    :raises ValueError: (all methods) offset outside the region, or not aligned to the access
    """

    @property
    def kind(self) -> RegionKind:
        """Which region it is."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def address(self) -> int | None:
        """Where it begins in this process; ``None`` if it is not memory. The DUS region always is."""

    @property
    def view(self) -> memoryview | None:
        """The bytes, writable, for people and tests; never for words that the other side reads."""

    def load32(self, offset: int) -> int: ...

    def load64(self, offset: int) -> int: ...

    def store32(self, offset: int, value: int) -> None: ...

    def store64(self, offset: int, value: int) -> None: ...

    def read(self, offset: int, nbytes: int) -> bytes:
        """Copy out. No order and no atomicity within it."""

    def write(self, offset: int, data: bytes) -> None:
        """Copy in. No order and no atomicity within it."""


class AddressSpace(Protocol):
    """How memory of this process becomes addresses in descriptors.

    With shared virtual addressing an address is the buffer's own, and the calls are there for models that
    want to know which bytes the device may touch. Grants count: a byte range that was granted twice is
    granted until it was revoked twice.
    """

    @property
    def direct(self) -> bool:
        """The device can reach any memory of this process, by its pointers or because ``grant`` maps it.

        False: only memory of ``allocate``.
        """

    @property
    def shared(self) -> bool:
        """Addresses in descriptors are the program's own, and the same for all devices behind the same file layer."""

    def grant(self, buffer: Sized, writable: bool, resident: bool = False) -> int:
        """Let the device read (and write) a buffer, until ``revoke``.

        :param buffer: contiguous and bytes-like, of at least one byte; or an object of the layer's own with a
            length, such as memory whose pages are supplied on demand. The caller keeps it alive and in place
        :param resident: a page fault of the device would come at a bad time: where the program is asked for pages, they
            are all brought in now
        :returns: its address as the device uses it
        :raises OSError: EFAULT: the device cannot reach it, or a page of it cannot be had
        """

    def revoke(self, address: int, nbytes: int, writable: bool) -> None:
        """Take back one grant: the same address, length and permission. Afterwards the bytes are the host's."""

    def peek(self, pieces: Sequence[Segment]) -> bytes:
        """Copy out memory of the caller's, one piece after another, whatever is behind it.

        A file that was mapped may have shrunk since: where a page cannot be had, the copy ends, and not the process.

        :returns: the bytes; fewer where one cannot be reached: all before the first that cannot
        """

    def poke(self, memory: memoryview, data: bytes) -> int:
        """Copy into memory of the caller's, as carefully as :meth:`peek`.

        :param memory: as long as ``data``
        :returns: bytes that were stored
        """

    def allocate(self, nbytes: int) -> memoryview | None:
        """Memory of the reserved region, aligned to 64 bytes; ``None`` if ``direct``: any memory will do.

        It goes back when nothing refers to the view any more.

        :raises OSError: ENOMEM: the region is used up
        """


class QueueFile(Protocol):
    """An open node: one hardware queue."""

    @property
    def space(self) -> AddressSpace:
        """The address space that this queue was bound to when it was opened."""

    def fileno(self) -> int:
        """Readable at least once for each completion event while armed; polling may consume it.

        A layer that can tell also makes it readable when the device is lost; the kernel does not. The driver
        never reads it: see :meth:`acknowledge`.
        """

    def set_queue_type(self, queue_type: int) -> int:
        """Say what the queue will be used for; before ``start``, once (ioctl 0xC004480A).

        :param queue_type: 0 or 1; for ZIP 0 is compress, 1 is decompress
        :returns: the number of the hardware queue
        :raises OSError: EINVAL: another type, or not INIT; ENXIO: gone
        """

    def queue_info(self) -> QueueInfo:
        """The shape of the rings (ioctl 0xC010480B).

        :raises OSError: EINVAL or ENOTTY: a kernel that does not know; ENXIO: gone
        """

    def map(self, kind: RegionKind) -> Region:
        """Map a region; each one once.

        :raises OSError: EEXIST: mapped already; EINVAL: no such region; ENXIO: gone; ENOMEM
        """

    def unmap(self, region: Region) -> None:
        """Take a mapping away. Every later access to it raises ValueError."""

    def start(self) -> None:
        """Let the device work on the rings (ioctl 0x5700).

        :raises OSError: EINVAL: not INIT; ENXIO: gone
        """

    def put(self) -> None:
        """Stop the queue (ioctl 0x5701). The device fetches no further entries; may wait for a drain.

        :raises OSError: ENXIO: already a zombie
        """

    def close(self) -> None:
        """Give it back. It stops first if it must; afterwards the device touches nothing. Idempotent."""

    def acknowledge(self) -> None:
        """Take away old readiness of ``fileno``: before arming, and while idle. Nothing to do where polling does it."""

    def catch_up(self) -> None:
        """Let the kernel know the completions that were taken without a wake; nothing to do where it need not know.

        It tells readiness by a reader of its own, which goes on in the completion ring when the descriptor is polled, as
        long as it finds the phase that it expects. A phase is the same again after two laps. So when more than one lap has come
        since it was polled last, it takes new completions for old ones, and a wake is lost. Whoever calls this takes the readiness away.
        """

    def faults(self, slot: int) -> int:
        """Page faults taken for the submission entry in this slot; asked once, when it has completed.

        0 where nobody counts them for each entry, as on silicon.
        """

    def refusal(self, slot: int) -> Refusal | None:
        """Why the program gave no page to the entry in this slot, in words; asked before :meth:`faults`.

        ``None`` where nobody knows, or the program is not asked.
        """

    def give_up(self, slot: int) -> None:
        """Nobody waits for the entry in this slot any more: ask the program for no more pages of it.

        It ends when it wants to, and nothing happens where the program is not asked.
        """

    def pump(self) -> None:
        """Let whoever is behind the file go on a little, in this thread. Nothing to do on silicon."""


class FileLayer(Protocol):
    """The devices of one machine, real or modelled."""

    @property
    def page_faults(self) -> PageFaults:
        """Who supplies a page that a device finds absent."""

    @property
    def serve(self) -> Callable[[], Awaitable[None]] | None:
        """A coroutine function that must run while a device is used; ``None``: nothing has to."""

    def discover(self) -> Sequence[NodeInfo]:
        """All devices, sorted by name, without opening them. Quick, never raises."""

    def open(self, name: str) -> QueueFile:
        """Open a node: take a hardware queue and bind this process's address space to it.

        :raises OSError: EBUSY: no queue left; ENODEV, EOPNOTSUPP: shared addresses refused; EACCES; ENOENT:
            no such node; ENOMEM; EINVAL: the device vanished meanwhile
        """

    def lost(self, name: str) -> str | None:
        """Why a device is gone or isolated, in words; ``None`` while it is there."""
