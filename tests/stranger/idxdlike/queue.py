"""The queue of wdasync over portals and records.

There is no completion ring to look into: each operation in flight has a slot with a record, and looking means
reading the status byte of every slot in flight, the oldest first.

A descriptor that the portal took has been seen by the device, so nothing can be withdrawn. Stopping completes as
ABORTED, by software, what has no status yet; the device may be at work on it, so its memory is held until
``close()`` has waited for the device.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from wdasync.backend import Capability, Completion, Detail, QueueStatistics
from wdasync.buffers import join
from wdasync.errors import DataCause, Status
from wdasync.operations import Compress, Decompress, Nop, Operation

from .layout import Completed, DataProblem, Descriptor, Flag, Opcode, Record, Wrapper
from .memory import Pinned, Records, lazily

if TYPE_CHECKING:
    from mmap import mmap

    from .backend import IdxdDevice

#: Status of a record -> ours, where the error code does not matter.
STATUSES: Final = {
    Completed.SUCCESS: Status.SUCCESS,
    Completed.OUTBUF_OVERFLOW: Status.OUT_OF_SPACE_TERMINATED,
    Completed.BAD_OPCODE: Status.INVALID_ARGS,
    Completed.INVALID_FLAGS: Status.INVALID_ARGS,
    Completed.INVALID_SIZE: Status.INVALID_ARGS,
    Completed.TRANSLATION_FAIL: Status.PAGE_FAULT,
}

CAUSES: Final = {
    DataProblem.CORRUPT: DataCause.CORRUPT,
    DataProblem.TRUNCATED: DataCause.TRUNCATED,
    DataProblem.TRAILING: DataCause.TRAILING_DATA,
    DataProblem.WRONG_FORMAT: DataCause.WRONG_FORMAT,
    DataProblem.CHECKSUM: DataCause.CHECKSUM,
}

WRAPPERS: Final = {"deflate": Wrapper.RAW, "zlib": Wrapper.ZLIB, "gzip": Wrapper.GZIP}


class Flight:
    """An operation in flight, and the memory that its descriptor names."""

    __slots__ = ("operation", "output", "pins", "slot", "tag")

    def __init__(self, tag: int, operation: Operation, slot: int) -> None:
        self.tag = tag
        self.operation = operation
        self.slot = slot
        self.output: bytearray | mmap | None = None
        self.pins: list[Pinned] = []

    def pin(self, owner: bytes | bytearray | memoryview | mmap, *, writable: bool = False) -> Pinned:
        pinned = Pinned(owner, writable=writable)
        self.pins.append(pinned)
        return pinned

    def release(self) -> None:
        for pinned in self.pins:
            pinned.release()
        self.pins.clear()


class IdxdQueue:
    """A queue pair: slots with records, and a portal that is shared."""

    def __init__(self, device: IdxdDevice, depth: int) -> None:
        self._device = device
        self._depth = depth
        self._records = Records(depth)
        self._slots = deque(range(depth))
        self._flying: dict[int, Flight] = {}
        # The operation stays with its completion: whoever holds it may count on its buffers until it was dequeued.
        self._done: deque[tuple[Completion, Operation]] = deque()
        self._undead: list[Flight] = []
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._bell = threading.Lock()
        self._armed = False
        self._stopped = False
        self._closed = False
        self._handle = device.hardware.connect(self.interrupt)
        self._enqueued = self._dequeued = self._rejected = self._wakes = self._mapped = self._retries = 0

    @property
    def depth(self) -> int:
        return self._depth

    # In

    def enqueue_burst(self, entries: Sequence[tuple[int, Operation]]) -> int:
        count = 0
        while count < len(entries) and self._room() and self._submit(*entries[count]):
            count += 1
        self._enqueued += count
        self._rejected += len(entries) - count
        return count

    def _room(self) -> bool:
        return not self._stopped and len(self._flying) + len(self._done) < self._depth

    def _submit(self, tag: int, operation: Operation) -> bool:
        row = self._device.capabilities.find(operation.kind, operation.algorithm)
        problem = "no such work here" if row is None else self._problem(operation, row)
        if row is None or problem:
            self._complete(Completion(tag, Status.INVALID_ARGS, detail=Detail(problem)), operation)
            return True
        if self._device.lost is not None:
            self._complete(_lost(tag, self._device.lost), operation)
            return True
        flight = Flight(tag, operation, self._slots[0])
        self._records.clear(flight.slot)
        if self._device.hardware.enqcmd(self._descriptor(flight, row).pack()):
            flight.release()
            self._retries += 1
            return False
        self._slots.popleft()
        self._flying[tag] = flight
        self._mapped += isinstance(operation.level, int) and row.level(operation.level) != operation.level
        return True

    def _complete(self, completion: Completion, operation: Operation) -> None:
        """By software: the device has not seen it."""
        self._done.append((completion, operation))
        self._ring()

    def _problem(self, operation: Operation, row: Capability) -> str:
        level = operation.level
        if isinstance(level, int) and not row.scale[0] <= level <= row.scale[1]:
            return f"level {level} is outside {row.scale}"
        if isinstance(level, str) and level not in ("fast", "balanced", "best"):
            return f"level {level!r} is unknown"
        if isinstance(operation, Compress) and operation.window not in (None, row.window):
            return f"the window is always {row.window}"
        if row.max_input is not None and operation.nbytes > row.max_input:
            return f"at most {row.max_input} bytes"
        return "there are no dictionaries here" if operation.dictionary is not None else ""

    def _descriptor(self, flight: Flight, row: Capability) -> Descriptor:
        operation = flight.operation
        flags = Flag.RECORD_VALID | Flag.REQUEST_RECORD | Flag.REQUEST_INTERRUPT
        if isinstance(operation, Nop):
            return self._command(flight, Opcode.NOOP, flags)
        source = flight.pin(join(operation.source))
        if isinstance(operation, Compress):
            opcode, members = Opcode.COMPRESS, 1
            room = operation.nbytes + operation.nbytes // 8 + operation.nbytes // 64 + 64
        else:
            assert isinstance(operation, Decompress)
            opcode, members = Opcode.DECOMPRESS, operation.max_members
            room = min(operation.max_length, row.max_output or operation.max_length)
        if operation.destination is None:
            flight.output = bytearray(room) if opcode is Opcode.COMPRESS else lazily(room)
            target = flight.pin(flight.output, writable=True)
        else:
            target = flight.pin(operation.destination, writable=True)
            room = target.nbytes if opcode is Opcode.COMPRESS else min(room, target.nbytes)
        return self._command(flight, opcode, flags)._replace(
            source=source.address,
            source_size=source.nbytes,
            destination=target.address,
            room=room,
            compression=WRAPPERS[operation.algorithm] | row.level(operation.level) << 4,
            members=members,
        )

    def _command(self, flight: Flight, opcode: Opcode, flags: Flag) -> Descriptor:
        record = self._records.address(flight.slot)
        return Descriptor(self._device.pasid, opcode << 24 | flags, record, interrupt=self._handle)

    # Out

    def dequeue_burst(self, limit: int) -> Sequence[Completion]:
        self._look()
        taken = [self._done.popleft()[0] for _ in range(min(limit, len(self._done)))]
        self._dequeued += len(taken)
        if not self._done:
            self._quiet()
        return taken

    def _look(self) -> None:
        """Turn every record that has a status into a completion, the oldest operation first."""
        for flight in list(self._flying.values()):
            if self._records.status(flight.slot):
                self._finish(flight)
        if self._device.lost is not None:
            self._give_up(lambda tag: _lost(tag, self._device.lost or ""))

    def _finish(self, flight: Flight) -> None:
        record = Record.unpack(self._records.read(flight.slot))
        del self._flying[flight.tag]
        self._slots.append(flight.slot)
        flight.release()
        self._done.append((_completion(flight, record), flight.operation))

    def _give_up(self, completion: Callable[[int], Completion]) -> None:
        """Complete everything by software. The device may still be at it: its memory is held until close()."""
        self._done.extend((completion(tag), flight.operation) for tag, flight in self._flying.items())
        self._undead += self._flying.values()
        self._flying.clear()

    # Waking

    def fileno(self) -> int:
        return self._event

    def arm(self) -> bool:
        self._quiet()
        self._armed = True
        self._look()  # After arming: what finished in between has raised no interrupt.
        if self._done:
            self._armed = False
            return False
        return True

    def interrupt(self) -> None:
        """A record was written. In the thread of an engine."""
        self._ring()

    def _ring(self) -> None:
        with self._bell:
            if self._armed and not self._closed:
                self._armed = False
                self._wakes += 1
                os.eventfd_write(self._event, 1)

    def _quiet(self) -> None:
        try:
            os.eventfd_read(self._event)
        except BlockingIOError:
            pass

    # Ends

    def withdraw(self, tag: int) -> bool:
        del tag
        return False

    def stop(self) -> None:
        self._stopped = True
        self._look()
        self._give_up(lambda tag: Completion(tag, Status.ABORTED, detail=Detail("the queue was stopped")))
        self._ring()

    def close(self) -> None:
        if self._closed:
            return
        self._stopped = True
        self._device.hardware.disconnect(self._handle)
        self._give_up(lambda tag: Completion(tag, Status.ABORTED))
        for flight in self._undead:
            flight.release()
        self._undead.clear()
        self._done.clear()
        with self._bell:
            self._closed = True
            os.close(self._event)
        self._records.close()
        self._device.forget(self)

    def statistics(self) -> QueueStatistics:
        return QueueStatistics(
            depth=self._depth,
            in_flight=self._enqueued - self._dequeued,
            enqueued=self._enqueued,
            dequeued=self._dequeued,
            rejected=self._rejected,
            wakes=self._wakes,
            levels_mapped=self._mapped,
            extra={"portal_retries": self._retries},
        )


def _completion(flight: Flight, record: Record) -> Completion:
    tag = flight.tag
    if record.status == Completed.ANALYTICS_ERROR:
        cause = CAUSES[DataProblem(record.problem)]
        status = Status.CHECKSUM_FAILED if cause is DataCause.CHECKSUM else Status.DATA_ERROR
        return Completion(tag, status, detail=Detail(cause.value, cause=cause))
    status = STATUSES[Completed(record.status)]
    if status is not Status.SUCCESS:
        return Completion(tag, status, detail=Detail(Completed(record.status).name.lower()))
    output = bytes(memoryview(flight.output)[: record.output_size]) if flight.output is not None else None
    return Completion(tag, status, output, record.consumed, record.output_size)


def _lost(tag: int, reason: str) -> Completion:
    return Completion(tag, Status.DEVICE_ERROR, detail=Detail(reason))
