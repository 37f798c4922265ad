"""The device: a work queue that everybody shares, and engines. It knows descriptors, addresses and nothing else.

A descriptor comes in through a portal, 64 bytes in one store. If the work queue has no room the store is not taken
and says so (ENQCMD: zero flag set, retry). An engine takes it out, reads the input where the descriptor says, writes
the output where it says, then the completion record, the status byte of it last, then raises the interrupt.
"""

from __future__ import annotations

import ctypes
import threading
import zlib
from collections import deque
from collections.abc import Callable
from typing import Final

from .layout import DESCRIPTOR_SIZE, Completed, DataProblem, Descriptor, Flag, Opcode, Record, Wrapper

_WBITS: Final = {Wrapper.RAW: -15, Wrapper.ZLIB: 15, Wrapper.GZIP: 31}
_PROBLEMS: Final = {
    "incorrect header check": DataProblem.WRONG_FORMAT,
    "unknown compression method": DataProblem.WRONG_FORMAT,
    "invalid window size": DataProblem.WRONG_FORMAT,
    "unknown header flags": DataProblem.WRONG_FORMAT,
    "incorrect data check": DataProblem.CHECKSUM,
    "incorrect length check": DataProblem.CHECKSUM,
}


class Hardware:
    """One device.

    :param engines: descriptors that are worked on at once
    :param room: descriptors that the shared work queue takes
    :ivar held: descriptors that come now are not worked on until they are aborted: a device that hangs
    """

    def __init__(self, engines: int, room: int) -> None:
        self._room = room
        self._work: deque[Descriptor] = deque()
        self._hung: deque[Descriptor] = deque()
        self._busy: dict[int, int] = {}
        self._spaces: set[int] = set()
        self._interrupts: dict[int, Callable[[], None]] = {}
        self._changed = threading.Condition()
        self._running = True
        self.held = False
        self._threads = [
            threading.Thread(target=self._run, name=f"idxdlike-engine-{number}", daemon=True)
            for number in range(engines)
        ]
        for thread in self._threads:
            thread.start()

    # What the kernel would do

    def bind(self, pasid: int) -> None:
        """This PASID stands for this process."""
        self._spaces.add(pasid)

    def connect(self, raise_interrupt: Callable[[], None]) -> int:
        """A new interrupt handle."""
        with self._changed:
            handle = next(number for number in range(1, 1 << 16) if number not in self._interrupts)
            self._interrupts[handle] = raise_interrupt
            return handle

    def disconnect(self, handle: int) -> None:
        """Abort what came with this handle, and wait for what is at work. Afterwards no memory of it is touched."""
        with self._changed:
            for queue in (self._work, self._hung):
                kept = [descriptor for descriptor in queue if descriptor.interrupt != handle]
                queue.clear()
                queue.extend(kept)
            self._changed.wait_for(lambda: not self._busy.get(handle))
            del self._interrupts[handle]

    def power_off(self) -> None:
        """Stop the engines."""
        with self._changed:
            self._running = False
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    # The portal

    def enqcmd(self, data: bytes) -> bool:
        """One 64-byte store to the portal.

        :returns: whether it has to be tried again: the work queue is full
        """
        if len(data) != DESCRIPTOR_SIZE:
            raise ValueError(f"a store to a portal has {DESCRIPTOR_SIZE} bytes, this one {len(data)}")
        with self._changed:
            if len(self._work) + len(self._hung) >= self._room:
                return True
            (self._hung if self.held else self._work).append(Descriptor.unpack(data))
            self._changed.notify()
        return False

    # The engines

    def _run(self) -> None:
        while (descriptor := self._next()) is not None:
            record = self._execute(descriptor)
            if descriptor.flags & Flag.RECORD_VALID:
                data = record.pack()
                ctypes.memmove(descriptor.record + 1, data[1:], len(data) - 1)
                ctypes.memmove(descriptor.record, data, 1)
            self._done(descriptor)

    def _next(self) -> Descriptor | None:
        with self._changed:
            self._changed.wait_for(lambda: self._work or not self._running)
            if not self._running:
                return None
            descriptor = self._work.popleft()
            self._busy[descriptor.interrupt] = self._busy.get(descriptor.interrupt, 0) + 1
            return descriptor

    def _done(self, descriptor: Descriptor) -> None:
        raise_interrupt = self._interrupts.get(descriptor.interrupt)
        if raise_interrupt is not None and descriptor.flags & Flag.REQUEST_INTERRUPT:
            raise_interrupt()
        with self._changed:
            self._busy[descriptor.interrupt] -= 1
            self._changed.notify_all()

    def _execute(self, descriptor: Descriptor) -> Record:
        if descriptor.pasid not in self._spaces:
            return Record(Completed.TRANSLATION_FAIL, fault_address=descriptor.source)
        match descriptor.opcode:
            case Opcode.NOOP:
                return Record(Completed.SUCCESS)
            case Opcode.COMPRESS:
                return _compress(descriptor)
            case Opcode.DECOMPRESS:
                return _decompress(descriptor)
            case _:
                return Record(Completed.BAD_OPCODE)


def _compress(descriptor: Descriptor) -> Record:
    wrapper = descriptor.compression & 3
    if wrapper not in _WBITS:
        return Record(Completed.INVALID_FLAGS, invalid_flags=descriptor.compression)
    state = zlib.compressobj(descriptor.compression >> 4 & 15, zlib.DEFLATED, _WBITS[Wrapper(wrapper)])
    data = ctypes.string_at(descriptor.source, descriptor.source_size)
    output = state.compress(data) + state.flush()
    return _write(descriptor, output, descriptor.source_size)


def _decompress(descriptor: Descriptor) -> Record:
    wrapper = descriptor.compression & 3
    if wrapper not in _WBITS:
        return Record(Completed.INVALID_FLAGS, invalid_flags=descriptor.compression)
    data = ctypes.string_at(descriptor.source, descriptor.source_size)
    output, position, members = b"", 0, 0
    while True:
        if members == descriptor.members:
            return Record(Completed.OUTBUF_OVERFLOW)
        state = zlib.decompressobj(_WBITS[Wrapper(wrapper)])
        try:
            output += state.decompress(data[position:], descriptor.room - len(output) + 1)
        except zlib.error as error:
            return _explain(str(error), first=members == 0)
        members += 1
        if len(output) > descriptor.room:
            return _write(descriptor, output, position)
        if not state.eof:
            return Record(Completed.ANALYTICS_ERROR, DataProblem.TRUNCATED)
        position = len(data) - len(state.unused_data)
        if position == len(data):
            return _write(descriptor, output, position)
        if wrapper != Wrapper.GZIP:
            return Record(Completed.ANALYTICS_ERROR, DataProblem.TRAILING)


def _explain(message: str, *, first: bool) -> Record:
    found = [problem for words, problem in _PROBLEMS.items() if words in message] or [DataProblem.CORRUPT]
    trailing = not first and found[0] is DataProblem.WRONG_FORMAT
    return Record(Completed.ANALYTICS_ERROR, DataProblem.TRAILING if trailing else found[0])


def _write(descriptor: Descriptor, output: bytes, consumed: int) -> Record:
    """Write as much of the output as there is room for."""
    room = min(len(output), descriptor.room)
    if room:
        ctypes.memmove(descriptor.destination, output, room)
    status = Completed.SUCCESS if room == len(output) else Completed.OUTBUF_OVERFLOW
    return Record(status, consumed=consumed, output_size=room, crc=zlib.crc32(output))
