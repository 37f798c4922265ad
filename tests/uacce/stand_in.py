"""A stand-in for the kernel and the chip: one ZIP device behind the file layer, for tests of the user driver.

It shares no table with the driver: offsets and bits are written down again here, from what is known of the hardware.
It is strict where a chip would only misbehave: an entry that the host changes while the device has it, a completion
ring that overflows, a scatter list that is not aligned, and memory that was not granted are failures.

The device works when it is told to: at each doorbell (``auto``), or step by step. ``script`` makes it misbehave.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import queue
import struct
import threading
import weakref
import zlib
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Sequence, Sized
from dataclasses import dataclass

from wdasync.backend import Device, PageFaults
from wdasync.buffers import Segment
from wdasync.paged import PagedBuffer
from wdasync_uacce import MemoryRegion, NodeFlag, NodeInfo, QueueInfo, Region, RegionKind
from wdasync_uacce.errnos import Call, DeviceGone
from wdasync_uacce.files import Refusal
from wdasync_uacce.memory import address_of

SQE_BYTES, CQE_BYTES, PAGE, MAX_BYTES = 128, 16, 4096, 8 << 20

OK, EXPANDED, NO_SPACE, BAD_CHECK, STREAM_END = 0x00, 0x0D, 0x0E, 0x10, 0x13
CORRUPT, BAD_DESCRIPTOR, NO_TRANSLATION = 0x01, 0x02, 0x03

#: format -> bytes of trailer; window code -> what zlib calls it.
TRAILERS = {1: 0, 2: 4, 3: 8}
WINDOWS = {0: 12, 1: 13, 2: 14, 3: 14, 4: 15}

#: Dwords that belong to the host and must survive.
HOST_WORDS = (4, 7, 8, 9, 13, 14, 18, 19, 20, 21, 22, 23, 26)

#: Without shared addresses the device sees the reserved region here, not where the process has it.
IOVA = 1 << 40


class ViolationError(AssertionError):
    """The driver did what no driver may do."""


class DmaFault(Exception):
    """The device touched memory that it may not."""


@dataclass
class Mishap:
    """What goes wrong with one entry.

    :ivar status: instead of the work
    :ivar produced: instead of what was produced
    :ivar consumed: instead of what was used
    :ivar tag: instead of the entry's
    :ivar completions: how often it is completed: 0 loses it, 2 completes it twice
    :ivar slot: which slot its completion names
    :ivar interrupt: False: no interrupt for it
    :ivar last_block: bit 8 of the status word
    :ivar final_block: bit 7 of the context word
    :ivar faults: page faults on the way
    """

    status: int | None = None
    produced: int | None = None
    consumed: int | None = None
    tag: int | None = None
    completions: int = 1
    slot: int | None = None
    interrupt: bool = True
    last_block: bool = False
    final_block: bool = False
    faults: int = 0


class Space:
    """The address space: counts grants, and lets the device touch nothing else.

    :param sva: the process's own addresses
    :param reserved: bytes of the reserved region, without
    """

    def __init__(self, sva: bool = True, reserved: int = 1 << 20) -> None:
        self.direct = self.shared = sva
        self.reserved = reserved
        self.grants: Counter[tuple[int, int, bool]] = Counter()
        self.refuse: Callable[[Sized], int] = lambda buffer: 0
        self.takes_paged = True
        #: Bytes of the caller's memory that can be copied; ``None``: all.
        self.reach: int | None = None
        self._pool: dict[int, int] = {}

    def grant(self, buffer: Sized, writable: bool, resident: bool = False) -> int:
        if number := self.refuse(buffer):
            raise OSError(number, os.strerror(number))
        if not len(buffer):
            raise ViolationError("a grant of nothing")
        address = address_of(
            buffer.memory if isinstance(buffer, PagedBuffer) and self.takes_paged else buffer
        )
        if not self.direct:
            if not any(a <= address and address + len(buffer) <= a + n for a, n in self._pool.items()):
                raise OSError(errno.EFAULT, "not in the reserved region")
            address += IOVA
        self.grants[address, len(buffer), writable] += 1
        return address

    def revoke(self, address: int, nbytes: int, writable: bool) -> None:
        key = address, nbytes, writable
        if not self.grants[key]:
            raise ViolationError(f"revoked what was not granted: {key}")
        self.grants[key] -= 1
        if not self.grants[key]:
            del self.grants[key]

    def peek(self, pieces: Sequence[Segment]) -> bytes:
        return b"".join(pieces)[: self.reach]

    def poke(self, memory: memoryview, data: bytes) -> int:
        data = data[: self.reach]
        memory[: len(data)] = data
        return len(data)

    def allocate(self, nbytes: int) -> memoryview | None:
        if self.direct:
            return None
        if nbytes > self.reserved:
            raise OSError(errno.ENOMEM, "the reserved region is used up")
        memory = (ctypes.c_char * nbytes)()
        address = ctypes.addressof(memory)
        self._pool[address] = nbytes
        self.reserved -= nbytes
        weakref.finalize(memory, self._give_back, address)
        return memoryview(memory).cast("B")

    def _give_back(self, address: int) -> None:
        self.reserved += self._pool.pop(address)

    def read(self, address: int, nbytes: int) -> bytes:
        return ctypes.string_at(self._check(address, nbytes, False), nbytes)

    def write(self, address: int, data: bytes) -> None:
        ctypes.memmove(self._check(address, len(data), True), data, len(data))

    def _check(self, address: int, nbytes: int, writing: bool) -> int:
        for first, size, writable in list(self.grants):
            if first <= address and address + nbytes <= first + size and (writable or not writing):
                return address if self.direct else address - IOVA
        raise DmaFault(f"{nbytes} bytes at {address:#x}")


class Doorbells:
    """The MMIO region: each store is a call."""

    kind = RegionKind.MMIO
    address = None
    view = None

    def __init__(self, size: int, ring: Callable[[int, int], None]) -> None:
        self.size = size
        self._ring = ring
        self.stores: list[tuple[int, int]] = []

    def store64(self, offset: int, value: int) -> None:
        if not self.size:
            raise ValueError("not mapped any more")
        self.stores.append((offset, value))
        self._ring(offset, value)

    def store32(self, offset: int, value: int) -> None:
        raise ViolationError("a doorbell is one store of 64 bits")

    def load32(self, offset: int) -> int:
        return 0

    def load64(self, offset: int) -> int:
        return 0

    def read(self, offset: int, nbytes: int) -> bytes:
        raise ViolationError("nobody copies from doorbells")

    def write(self, offset: int, data: bytes) -> None:
        raise ViolationError("nobody copies to doorbells")


class StandInFile:
    """An open node, and the hardware queue behind it."""

    def __init__(self, layer: StandIn) -> None:
        self.layer = layer
        self.space = layer.space
        self.state = "INIT"
        self.type: int | None = None
        self.number = layer.first_number + len(layer.files)
        self.mapped: dict[RegionKind, Region] = {}
        self.calls: list[str] = []
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.dus_bytes = layer.node().dus_size
        memory = os.memfd_create("dus", os.MFD_CLOEXEC)
        os.ftruncate(memory, self.dus_bytes)
        self._host = mmap.mmap(memory, self.dus_bytes)
        self.alias = mmap.mmap(memory, self.dus_bytes)
        self._memory = memory
        self.removed = False
        self.tail = self.fetched = 0
        self.pending: deque[tuple[int, list[int]]] = deque()
        self.cq_tail = self.cq_head = 0
        self.phase = 1
        self.unseen = 0
        self.seen, self.seen_phase = 0, 1
        #: Completions that are due; and whether the device made some up, with which no driver can reckon.
        self.owed, self.inventive = 0, False
        self.armed = False
        self.interrupts = self.pumps = 0
        self._faults: dict[int, int] = {}
        self.refusals: dict[int, Refusal] = {}
        self.given_up: list[int] = []
        self.lock = threading.RLock()
        self.chores: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self.worker = threading.Thread(target=self._worker, daemon=True) if layer.threaded else None
        if self.worker is not None:
            self.worker.start()

    # -- the kernel's part --------------------------------------------------------------------------------------

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.state in ("ZOMBIE", "CLOSED"):
            raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))
        if number := self.layer.errors.get(name):
            raise OSError(number, os.strerror(number))

    def fileno(self) -> int:
        return self.fd

    def set_queue_type(self, queue_type: int) -> int:
        self._call("set_queue_type")
        if self.state != "INIT" or queue_type not in (0, 1):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self.type = queue_type
        return self.number

    def queue_info(self) -> QueueInfo:
        self._call("queue_info")
        return self.layer.shape

    def map(self, kind: RegionKind) -> Region:
        self._call(f"map {kind.name}")
        if kind in self.mapped:
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
        if kind is RegionKind.MMIO:
            self.mapped[kind] = Doorbells(self.layer.node().mmio_size, self._ring)
        else:
            address = address_of(self._host)
            self.mapped[kind] = MemoryRegion(kind, address, self.dus_bytes, self._host)
        return self.mapped[kind]

    def unmap(self, region: Region) -> None:
        self.calls.append(f"unmap {region.kind.name}")
        assert self.mapped.pop(region.kind) is region
        if isinstance(region, MemoryRegion):
            region.forget()
        else:
            assert isinstance(region, Doorbells)
            region.size = 0

    def start(self) -> None:
        self._call("start")
        if self.state != "INIT" or self.type is None:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self.state = "STARTED"

    def put(self) -> None:
        self._call("put")
        self.state = "INIT" if self.layer.restartable else "ZOMBIE"

    def close(self) -> None:
        self.calls.append("close")
        if number := self.layer.errors.get("close"):
            raise OSError(number, os.strerror(number))
        if self.state != "CLOSED":
            self.state = "CLOSED"
            if self.worker is not None:
                self.chores.put(False)
                self.worker.join()
            self.alias.close()
            self._host.close()
            os.close(self._memory)
            os.close(self.fd)

    def remove(self) -> None:
        """The device goes away: what is mapped has nothing behind it, and nobody is woken."""
        with self.lock:
            self.removed = True
            self.state = "ZOMBIE"
            self.pending.clear()
            os.ftruncate(self._memory, 0)

    def acknowledge(self) -> None:
        try:
            os.eventfd_read(self.fd)
        except BlockingIOError:
            pass

    def faults(self, slot: int) -> int:
        return self._faults.pop(slot, 0)

    def refusal(self, slot: int) -> Refusal | None:
        return self.refusals.get(slot)

    def give_up(self, slot: int) -> None:
        self.given_up.append(slot)

    def catch_up(self) -> None:
        self.kernel_looks()

    def kernel_looks(self) -> bool:
        """What the kernel's poll says: it walks on in the completion ring, as long as a phase is the one that it expects."""
        found = False
        while self.alias[self.cq + self.seen * CQE_BYTES + 14] & 1 == self.seen_phase:
            found = True
            self.seen = (self.seen + 1) % self.layer.shape.cq_depth
            self.seen_phase ^= self.seen == 0
        return found

    def pump(self) -> None:
        self.pumps += 1
        if self.layer.pumped:
            self.work()

    # -- the chip's part ----------------------------------------------------------------------------------------

    @property
    def cq(self) -> int:
        return self.layer.shape.sqe_size * self.layer.shape.sq_depth

    def _ring(self, offset: int, value: int) -> None:
        if self.removed:
            raise DeviceGone(errno.ENXIO, "stand-in", Call.ACCESS, "there is no doorbell any more", "wait")
        if self.state != "STARTED":
            raise ViolationError("a doorbell for a queue that is not started")
        number, command = value & 0x3FF, value >> 12 & 0xF
        index, priority = value >> 32 & 0xFFFF, value >> 48
        if (
            offset != 0x1000
            or number != self.number
            or command > 1
            or value >> 10 & 3
            or value >> 16 & 0xFFFF
        ):
            raise ViolationError(f"doorbell {value:#018x} at {offset:#x}")
        with self.lock:
            if command == 0:
                self._submitted(index, priority)
            else:
                self._acknowledged(index, priority)

    def _submitted(self, index: int, priority: int) -> None:
        depth = self.layer.shape.sq_depth
        if priority or index >= depth:
            raise ViolationError(f"SQ doorbell with index {index}, priority {priority}")
        if any(struct.unpack_from("<2I", self.alias, self.dus_bytes - 8)):
            raise ViolationError("a doorbell for a queue that is disabled")
        self.tail = index
        taken = {slot for slot, _ in self.pending}
        while self.fetched != self.tail:
            entry = self.alias[self.fetched * SQE_BYTES : (self.fetched + 1) * SQE_BYTES]
            if self.fetched in taken:
                raise ViolationError(f"slot {self.fetched} was filled before it was free")
            self.pending.append((self.fetched, list(struct.unpack("<32I", entry))))
            self.owed += 1
            self.fetched = (self.fetched + 1) % depth
        if self.worker is not None:
            self.chores.put(True)
        elif self.layer.auto:
            self.work()

    def _worker(self) -> None:
        while self.chores.get():
            while self.state == "STARTED" and self.work(1):
                pass

    def _acknowledged(self, index: int, priority: int) -> None:
        moved = (index - self.cq_head) % self.layer.shape.cq_depth
        if moved > self.unseen or priority > 1:
            raise ViolationError(
                f"CQ doorbell with index {index}, priority {priority}, {self.unseen} were posted"
            )
        self.cq_head = index
        self.unseen -= moved
        self.armed = bool(priority)
        if self.armed and self.unseen:
            self._interrupt()

    def _interrupt(self) -> None:
        if self.armed:
            self.armed = False
            self.interrupts += 1
            os.eventfd_write(self.fd, 1)

    def work(self, count: int | None = None, *, last_first: bool = False) -> int:
        """Finish up to ``count`` of the entries that were fetched."""
        done = 0
        while count is None or done < count:
            with self.lock:
                if self.layer.stuck or not self.pending:  # one look at both: what comes later is not begun
                    break
                slot, words = self.pending.pop() if last_first else self.pending.popleft()
                self._finish(slot, words, self.layer.script.popleft() if self.layer.script else Mishap())
            done += 1
        return done

    def _finish(self, slot: int, words: list[int], mishap: Mishap) -> None:
        at = slot * SQE_BYTES
        if list(struct.unpack_from("<32I", self.alias, at)) != words:
            raise ViolationError(f"slot {slot} was changed while the device had it")
        host = [words[word] for word in HOST_WORDS]
        if mishap.status is None:
            self._execute(words)
        else:
            words[0] = words[1] = 0
            words[3] = mishap.status
        assert host == [words[word] for word in HOST_WORDS]
        words[3] |= mishap.last_block << 8
        words[15] |= mishap.final_block << 7
        words[0] = words[0] if mishap.consumed is None else mishap.consumed
        words[1] = words[1] if mishap.produced is None else mishap.produced
        if mishap.tag is not None:
            words[13] = words[26] = mishap.tag
        self._faults[slot] = mishap.faults
        struct.pack_into("<32I", self.alias, at, *words)
        for _ in range(mishap.completions):
            self.post(slot if mishap.slot is None else mishap.slot, interrupt=mishap.interrupt)

    def post(self, slot: int, *, interrupt: bool = True) -> None:
        """A completion entry: all but the phase, then the phase."""
        if self.unseen == self.layer.shape.cq_depth:
            raise ViolationError("the completion ring overflows")
        at = self.cq + self.cq_tail * CQE_BYTES
        struct.pack_into("<HHH", self.alias, at + 8, slot, self.number, 0xBEEF)
        struct.pack_into("<H", self.alias, at + 14, self.phase | 0x2A << 1)
        self.cq_tail += 1
        self.unseen += 1
        if self.cq_tail == self.layer.shape.cq_depth:
            self.cq_tail = 0
            self.phase ^= 1
        self.owed -= 1
        self.inventive |= self.owed < 0
        if interrupt:
            if self.armed and not self.kernel_looks() and not self.inventive:
                raise ViolationError(
                    "a wake is lost: more than a lap of completions came that the kernel did not look at"
                )
            self._interrupt()

    def disable(self, send: int = 1, receive: int = 1) -> None:
        """What the kernel does when it begins to reset the device."""
        struct.pack_into("<2I", self.alias, self.dus_bytes - 8, receive, send)

    # -- the engine -----------------------------------------------------------------------------------------------

    def _execute(self, words: list[int]) -> None:
        words[0] = words[1] = 0
        try:
            words[3] = self._unit(words)
        except DmaFault:
            words[3] = NO_TRANSLATION

    def _unit(self, words: list[int]) -> int:
        unit, scattered, window = words[9] & 0xFF, words[9] >> 8 & 15, WINDOWS.get(words[9] >> 12 & 15)
        kind, control = words[7] >> 28, words[7] >> 25 & 7
        wanted = 0 if self.layer.version == 2 and unit != 1 else 3
        if (
            unit not in self.layer.formats or window is None or scattered > 1 or kind != wanted or control != 0b101
            or not 0 < words[4] <= MAX_BYTES or not words[14]
        ):  # fmt: skip
            return BAD_DESCRIPTOR
        source, destination = words[18] | words[19] << 32, words[20] | words[21] << 32
        skip, offset = words[7] & 0xFFFFFF, words[8] & 0xFFFFFF
        if scattered:
            data = b"".join(self.space.read(a, n) for a, n in _cut(self._chain(source), skip, words[4]))
        else:
            if skip or offset:
                return BAD_DESCRIPTOR
            data = self.space.read(source, words[4])
        if len(data) < words[4]:
            return NO_TRANSLATION
        status, used, output, ended = (_compress if self.type == 0 else _decompress)(unit, window, data)
        words[0] = used
        if status not in (OK, EXPANDED):
            return status
        plain = data if self.type == 0 else output
        words[30] = len(plain)
        words[31] = _running_check(unit, plain)
        if len(output) > min(words[14], MAX_BYTES):
            return NO_SPACE
        for address, piece in self._pieces(destination, offset, output, bool(scattered)):
            self.space.write(address, piece)
        words[1] = len(output)
        return status | (ended and self.layer.tells_end) << 8

    def _pieces(
        self, destination: int, offset: int, output: bytes, scattered: bool
    ) -> Iterator[tuple[int, bytes]]:
        if not scattered:
            yield destination, output
            return
        done = 0
        for address, nbytes in _cut(self._chain(destination), offset, len(output)):
            yield address, output[done : done + nbytes]
            done += nbytes
        if done < len(output):
            raise DmaFault("the scatter list is shorter than the capacity")

    def _chain(self, address: int) -> Iterator[tuple[int, int]]:
        for _ in range(256):
            if address % 64:
                raise ViolationError(f"scatter list at {address:#x}")
            following, total, valid, capacity = struct.unpack("<QHHH", self.space.read(address, 14))
            if not 0 < valid <= capacity <= 255 or total < valid:
                raise ViolationError(f"scatter list of {total}, {valid} here, room for {capacity}")
            for entry in range(valid):
                piece, _, nbytes = struct.unpack("<QQI", self.space.read(address + 64 + 32 * entry, 20))
                if not 0 < nbytes <= MAX_BYTES:
                    raise ViolationError(f"scatter list entry of {nbytes} bytes")
                yield piece, nbytes
            if not following:
                return
            address = following
        raise ViolationError("a chain of more than 256 lists")


def _cut(spans: Iterator[tuple[int, int]], skip: int, wanted: int) -> Iterator[tuple[int, int]]:
    for address, nbytes in spans:
        inside = max(nbytes - skip, 0)
        here = min(inside, wanted)
        if here:
            yield address + nbytes - inside, here
        skip = max(skip - nbytes, 0)
        wanted -= here
        if not wanted:
            return


def _trailer(unit: int, output: bytes) -> bytes:
    if unit == 3:
        return struct.pack("<II", zlib.crc32(output), len(output) & 0xFFFFFFFF)
    return struct.pack(">I", zlib.adler32(output)) if unit == 2 else b""


def _running_check(unit: int, plain: bytes) -> int:
    if unit == 2:
        return zlib.adler32(plain)
    reversed_bits = int("".join(reversed(format(zlib.crc32(plain), "032b"))), 2)
    return reversed_bits ^ 0xFFFFFFFF if unit == 3 else 0


def _compress(unit: int, window: int, data: bytes) -> tuple[int, int, bytes, bool]:
    worker = zlib.compressobj(1, zlib.DEFLATED, -window)
    output = worker.compress(data) + worker.flush() + _trailer(unit, data)
    return (EXPANDED if len(output) > len(data) else OK), len(data), output, False


def _decompress(unit: int, window: int, data: bytes) -> tuple[int, int, bytes, bool]:
    """Status, bytes used, output, whether the end was seen. An end that is missing is no error of the engine."""
    worker = zlib.decompressobj(-15)
    try:
        output = worker.decompress(data, MAX_BYTES + 1)
    except zlib.error:
        return CORRUPT, 0, b"", False
    if len(output) > MAX_BYTES:
        return NO_SPACE, 0, b"", False
    trailer = worker.unused_data[: TRAILERS[unit]]
    if not worker.eof or len(trailer) < TRAILERS[unit]:
        return OK, len(data), output, False
    if trailer != _trailer(unit, output):
        return BAD_CHECK, 0, b"", False
    return OK, len(data) - len(worker.unused_data) + len(trailer), output, True


class StandIn:
    """The file layer with one device.

    :param depth: of the rings
    :param version: of the queue manager
    :param auto: the device works at each doorbell
    :param pumped: the device works when it is pumped
    :param threaded: the device works in a thread of its own
    :param sva: shared addresses
    """

    page_faults = PageFaults.KERNEL
    serve: Callable[[], Awaitable[None]] | None = None

    def __init__(
        self,
        depth: int = 64,
        version: int = 2,
        *,
        auto: bool = False,
        pumped: bool = True,
        threaded: bool = False,
        sva: bool = True,
        reserved: int = 1 << 20,
    ) -> None:
        self.shape = QueueInfo(SQE_BYTES, depth, depth)
        self.version = version
        self.formats = {1, 2, 3} if version > 2 else {2, 3}
        self.auto = auto
        self.pumped = pumped and not threaded
        self.threaded = threaded
        self.restartable = False
        self.tells_end = True
        self.stuck = False
        self.space = Space(sva, reserved)
        self.first_number = 21
        self.files: list[StandInFile] = []
        self.script: deque[Mishap] = deque()
        self.errors: dict[str, int] = {}
        self.gone: str | None = None
        self.present = True
        self.attributes: dict[str, object] = {}

    def node(self) -> NodeInfo:
        """The device as its attributes tell it; ``attributes`` overrides."""
        rings = SQE_BYTES * self.shape.sq_depth + CQE_BYTES * self.shape.cq_depth
        fields: dict[str, object] = {
            "name": "hisi_zip-0",
            "api": f"hisi_qm_v{self.version}",
            "flags": NodeFlag.SVA if self.space.direct else NodeFlag.IOMMU,
            "algorithms": ("zlib", "gzip", "deflate", "lz77_zstd") if self.version > 2 else ("zlib", "gzip"),
            "available_instances": 256 - len(self.files),
            "mmio_size": 8192 if self.version == 2 else 65536,
            "dus_size": -(-rings // PAGE) * PAGE + PAGE,
            "numa_node": 0,
        }
        return NodeInfo(**{**fields, **self.attributes})  # type: ignore[arg-type]  # a test's own values

    def discover(self) -> Sequence[NodeInfo]:
        return [self.node()] if self.present else []

    def remove(self) -> None:
        """The device goes away, and its node; until it is made ``present`` again."""
        self.present = False
        for file in self.files:
            if file.state != "CLOSED":
                file.remove()

    def open(self, name: str) -> StandInFile:
        if not self.present:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        if number := self.errors.get("open"):
            raise OSError(number, os.strerror(number))
        self.files.append(StandInFile(self))
        return self.files[-1]

    def lost(self, name: str) -> str | None:
        return self.gone


class Provoker:
    """Brings trouble on the stand-in, for the conformance checks.

    :param removes: a device that is lost is removed and comes back at once, else the kernel begins to reset it
    """

    def __init__(self, layer: StandIn, *, removes: bool = False) -> None:
        self.layer = layer
        self.removes = self.silent = removes

    @contextlib.contextmanager
    def stick(self, device: Device) -> Iterator[None]:
        """Operations that are submitted inside never complete."""
        self.layer.stuck = True
        try:
            yield
        finally:
            for file in self.layer.files:
                file.pending.clear()
            self.layer.stuck = False

    def lose(self, device: Device) -> None:
        """Every queue that is open is over. A removal wakes nobody."""
        if self.removes:
            self.layer.remove()
            self.layer.present = True
            return
        for file in self.layer.files:
            if file.state != "CLOSED":
                file.pending.clear()
                file.disable()
                os.eventfd_write(file.fd, 1)
