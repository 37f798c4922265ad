"""A queue of the HiSilicon queue manager, seen from the host: two rings and a doorbell.

The host writes entries into the submission ring and rings the SQ doorbell with the new tail. The device updates
the entry in place, then posts a completion entry whose phase bit tells that it is new: memory starts as zero, the
first lap writes 1, and every wrap flips it. The host answers with a CQ doorbell that carries the new head and, if it
wants one, the request for an interrupt. Both doorbells are one 64-bit store to one address.

A slot is free again when a completion entry names it, not when enough completions were counted: a device
that finishes out of order would otherwise have its entries overwritten. The index of a doorbell has no wrap bit, so
a ring that is full would look empty: one slot stays free.

When the kernel resets the device it sets two words at the very end of the DUS region, the last one for the
send side and the one before for the receive side. A queue that sees one of them is over. So is one whose device was
removed: then there is nothing where its regions were.

Everything here is synchronous, looks at no clock and knows no event loop. Source: Linaro UADK
``drv/hisi_qm_udrv.c``.
"""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from ._native import ffi, lib
from .errnos import DeviceGone, ForeignQueue, UacceError
from .files import QueueFile, QueueInfo, Region, RegionKind
from .memory import MemoryRegion, fence
from .qm_records import CQE, DOORBELL_OFFSETS, DOORBELLS, Command

__all__ = ["QueueLayoutError", "QueuePair", "qm_version"]

C = TypeVar("C")

#: What a queue has when the kernel does not know the ioctl that tells it.
DEFAULT_DEPTH: Final = 1024

#: The slot in the upper half of a completion entry.
_SLOT_MASK: Final = CQE["sq_head"].mask

#: Both status words, at the end of the DUS region; the upper one is the send side.
_STATUS_BYTES: Final = 8
_API: Final = re.compile(r"hisi_qm_v(\d+)(_noiommu)?")


class QueueLayoutError(Exception):
    """Raised when the rings of a queue are not what the driver was written for."""


def _told(error: UacceError) -> str:
    return f"{error.cause}; {error.advice}"


def qm_version(api: str) -> int | None:
    """The queue manager's version from the attribute ``api``; ``None`` if it is not one that is known here."""
    found = _API.fullmatch(api.strip())
    version = int(found[1]) if found else 0
    return version if version in DOORBELLS else None


class QueuePair(Generic[C]):
    """One started queue. A cookie of the caller's goes with each entry and comes back with its completion.

    :param file: the open node; belongs to the queue pair from now on
    :param version: of the queue manager
    :param queue_type: what the queue does
    :param sqe_size: bytes of an entry, as the driver writes them
    :raises OSError: from the file layer; the file is closed then
    :raises QueueLayoutError: the rings have another shape; the file is closed then

    :ivar number: of the hardware queue
    :ivar depth: slots of the submission ring; one less may be in flight
    :ivar tail: the slot that the next entry gets
    :ivar in_flight: entries that the device has
    :ivar armed: an interrupt was asked for, and no completion was seen since
    :ivar failure: why nothing can be sent any more; ``None`` while all is well
    :ivar strays: completions that belong to no entry: they come twice, or name a slot that is empty or is none.
        They are dropped; whoever waits for the one that was meant has a deadline
    :ivar entries: copies of the entries that the last :meth:`reap` found
    """

    def __init__(self, file: QueueFile, version: int, queue_type: int, sqe_size: int) -> None:
        self._file = file
        self._regions: list[Region] = []
        self.tail = 0
        self.in_flight = 0
        self.armed = False
        self._unpolled = 0
        self.failure: str | None = None
        self.strays = 0
        try:
            self._set_up(version, queue_type, sqe_size)
        except BaseException:
            self._tear_down()
            raise

    def _set_up(self, version: int, queue_type: int, sqe_size: int) -> None:
        dus = self._map(RegionKind.DUS)
        if not isinstance(dus, MemoryRegion):
            raise QueueLayoutError(f"expected a DUS region that is memory, got {dus!r}")
        self._mmio = self._map(RegionKind.MMIO)
        self.number = self._file.set_queue_type(queue_type)
        self._shape(dus, self._queue_info(sqe_size), sqe_size)
        self._doorbell = DOORBELL_OFFSETS[version]
        doorbell = DOORBELLS[version]
        number = self.number & doorbell["queue"].mask
        self._sq_doorbell = doorbell.number(queue=number, command=Command.SQ)
        self._cq_doorbell = doorbell.number(queue=number, command=Command.CQ)
        self._arm = doorbell.number(priority=1)
        self._file.start()

    def _map(self, kind: RegionKind) -> Region:
        region = self._file.map(kind)
        self._regions.append(region)
        return region

    def _queue_info(self, sqe_size: int) -> QueueInfo:
        try:
            return self._file.queue_info()
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTTY):
                raise
            return QueueInfo(sqe_size, DEFAULT_DEPTH, DEFAULT_DEPTH)

    def _shape(self, dus: MemoryRegion, info: QueueInfo, sqe_size: int) -> None:
        needed = sqe_size * info.sq_depth + CQE.size * info.cq_depth + _STATUS_BYTES
        if info.sqe_size != sqe_size or not 2 <= info.sq_depth <= info.cq_depth or dus.size < needed:
            raise QueueLayoutError(
                f"queue {self.number}: expected entries of {sqe_size} bytes, at least 2, and as many completions, "
                f"in a DUS region of {needed} bytes; got {info} in {dus.size} bytes"
            )
        self._dus = dus
        self.depth = info.sq_depth
        self._cq_depth = info.cq_depth
        self._sqe_size = sqe_size
        self._memory = dus.handle
        self._cq = sqe_size * info.sq_depth
        self._head = 0
        self._phase = 1
        self._slots: list[C | None] = [None] * self.depth
        self._completions = ffi.new("uint64_t[]", info.cq_depth)
        self._copies = ffi.new("char[]", info.cq_depth * sqe_size)
        self.entries = memoryview(ffi.buffer(self._copies))

    def room(self, wanted: int) -> int:
        """How many of ``wanted`` entries fit now: free slots in a row, all but one of the ring at most."""
        room = min(wanted, self.depth - 1 - self.in_flight)
        slots, slot = self._slots, self.tail
        for count in range(room):
            if slots[slot] is not None:
                return count
            slot = slot + 1 if slot + 1 < self.depth else 0
        return max(room, 0)

    def push(self, entries: bytes, cookies: Sequence[C]) -> bool:
        """Give entries to the device: copy all, ring once. The caller has asked for :meth:`room`.

        :returns: False if the queue is disabled; nothing was sent, and :attr:`failure` says why
        """
        if self.failed():
            return False
        count, tail = len(cookies), self.tail
        # Cannot be exceeded by reaping, which moves from one to the other.
        if self._unpolled + self.in_flight + count > self._cq_depth:
            self._catch_up()
        if lib.wdu_ring_put(self._memory, self.depth, self._sqe_size, tail, entries, count):
            return self._fail()
        end = (tail + count) % self.depth
        if not self._ring(self._sq_doorbell | end << 32):
            return False
        for cookie in cookies:
            self._slots[tail] = cookie
            tail = tail + 1 if tail + 1 < self.depth else 0
        self.tail = tail
        self.in_flight += count
        return True

    def _catch_up(self) -> None:
        """Before more than a lap of completions could come since the kernel looked last. A wake that this takes away is ordered
        again: there will be another completion, of what is just being pushed.
        """
        self._unpolled = 0
        self._file.catch_up()
        if self.armed:
            self._ring(self._cq_doorbell | self._head << 32 | self._arm)

    def _ring(self, doorbell: int) -> bool:
        """Whether the doorbell was there to be rung."""
        try:
            self._mmio.store64(self._doorbell, doorbell)
        except (DeviceGone, ForeignQueue) as error:
            self.failure = self.failure or _told(error)
            return False
        return True

    def _fail(self) -> bool:
        """The rings are not there any more. False."""
        self.failure = self.failure or _told(self._dus.missing())
        return False

    def reap(self, limit: int) -> list[tuple[C, int]]:
        """Take up to ``limit`` completions, oldest first.

        :returns: the cookie, and where in :attr:`entries` its entry was copied to. Empty: there are none
        """
        finished: list[tuple[C, int]] = []
        while self._regions and not finished and (words := self._take(limit)):
            for position, word in enumerate(words):
                cookie = self._free(word & _SLOT_MASK)
                if cookie is not None:
                    finished.append((cookie, position * self._sqe_size))
        return finished

    def _take(self, limit: int) -> list[int]:
        """The upper half of each new completion entry; the ring's new head is told to the device."""
        limit = min(limit, self._cq_depth)
        count = lib.wdu_ring_reap(
            self._memory, self._cq, self._cq_depth, self._head, self._phase, limit,
            self.depth, self._sqe_size, self._completions, self._copies,
        )  # fmt: skip
        if count <= 0:
            if count:
                self._fail()
            return []
        self.armed = False
        self._unpolled += count
        self._head += count
        if self._head >= self._cq_depth:
            self._head -= self._cq_depth
            self._phase ^= 1
        self._ring(self._cq_doorbell | self._head << 32)
        words: list[int] = ffi.unpack(self._completions, count)
        return words

    def _free(self, slot: int) -> C | None:
        """The cookie of a finished entry; ``None`` if there is none in this slot."""
        cookie = self._slots[slot] if slot < self.depth else None
        if cookie is None:
            self.strays += 1
            return None
        self._slots[slot] = None
        self.in_flight -= 1
        return cookie

    def waiting(self) -> bool:
        """Whether a completion is there."""
        if not self._regions:
            return False
        found = lib.wdu_ring_waiting(self._memory, self._cq, self._head, self._phase)
        return found > 0 or (found < 0 and self._fail())

    def arm(self) -> bool:
        """Ask for one interrupt, then look again: a completion may have come in between. False: one is there.

        A device that is gone interrupts nobody: :attr:`failure` tells.
        """
        if self.waiting():
            return False
        self._file.acknowledge()
        self._ring(self._cq_doorbell | self._head << 32 | self._arm)
        fence()
        self.armed = True
        return not self.waiting()

    def failed(self) -> bool:
        """Whether the queue is over: it broke, or the kernel has disabled it for a reset."""
        if self.failure is None:
            words = self._status()
            if words:
                sides = "send" * bool(words >> 32), "receive" * bool(words & 0xFFFFFFFF)
                self.failure = f"the device is in reset ({' and '.join(filter(None, sides))} side disabled)"
        return self.failure is not None

    def _status(self) -> int:
        """The two words at the end of the region; 0 if the region is gone."""
        try:
            return self._dus.load64(self._dus.size - _STATUS_BYTES)
        except (DeviceGone, ForeignQueue) as error:
            self.failure = _told(error)
            return 0

    def slot_of(self, wanted: Callable[[C], bool]) -> int | None:
        """The slot of an entry that the device has, by its cookie."""
        for slot, cookie in enumerate(self._slots):
            if cookie is not None and wanted(cookie):
                return slot
        return None

    @property
    def slots(self) -> list[int]:
        """The slots of all entries that the device has."""
        return [slot for slot, cookie in enumerate(self._slots) if cookie is not None]

    def abandon(self) -> list[C]:
        """The cookies of all entries that the device still has, oldest first. For a queue that is over."""
        order = self._slots[self.tail :] + self._slots[: self.tail]
        self._slots = [None] * self.depth
        self.in_flight = 0
        self.failure = self.failure or "the queue was stopped"
        return [cookie for cookie in order if cookie is not None]

    def close(self) -> None:
        """Stop the hardware and give everything back; may wait. Afterwards the device touches nothing.

        :raises OSError: the file could not be closed, so the device may still work
        """
        self.failure = self.failure or "the queue was closed"
        with contextlib.suppress(
            OSError
        ):  # ENXIO: a zombie already. Whatever it is, closing stops the queue too.
            self._file.put()
        self._tear_down()

    def _tear_down(self) -> None:
        while self._regions:
            self._file.unmap(self._regions.pop())
        self._file.close()

    def __repr__(self) -> str:
        state = self.failure or f"{self.in_flight} in flight, tail {self.tail}, head {self._head}"
        return f"<{type(self).__name__} {self.number} depth {self.depth}: {state}>"
