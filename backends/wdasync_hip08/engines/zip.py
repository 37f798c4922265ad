"""The ZIP engine in block mode: one submission entry is one whole unit, zlib or gzip.

A descriptor is 32 words of 32 bits. The engine writes words 0 to 3, 15 and 28 to 31; the others go back as they came,
tag and addresses included. The driver writes headers and skips them; trailers are the engine's. The direction is not
in the descriptor: it is the queue's.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Generator
from dataclasses import dataclass

from wdasync_hip08.engines.buffers import MAX_BYTES, BadDescriptorError, Buffers, Ranges, cut, total
from wdasync_hip08.engines.deflate import Check, Deflation, Inflater, Progress, hardware_checksum
from wdasync_hip08.port import DmaAbort, Port
from wdasync_hip08.qm.contexts import SqContext
from wdasync_hip08.qm.pairs import User
from wdasync_hip08.smmu import Stall, Verdict
from wdasync_hip08.tasks import Life, Task, Work
from wdasync_hip08.trace import Trace

__all__ = ["ENTRY_BYTES", "Descriptor", "ZipEngine", "ZipStatus", "dump_entry"]

ENTRY_BYTES = 128
_WORDS = struct.Struct("<32I")

#: Input is fetched so many bytes at a time, so that what comes behind the end of a stream is never touched.
CHUNK = 64 << 10

COMPRESS, DECOMPRESS = 0, 1
STATEFUL = 1 << 26
LAST_BLOCK = 1 << 8
FINAL_SEEN = 1 << 7
#: Code of the window in word 9 → base-2 logarithm of the history that the deflater uses (24 KiB: the next below).
WINDOWS = {0: 12, 1: 13, 2: 14, 3: 14, 4: 15}
FORMATS = {2: Check.ADLER32, 3: Check.CRC32_SIZE}
#: Name and word of each field that is worth showing.
FIELDS = {
    "consumed": 0, "produced": 1, "status": 3, "input length": 4, "control": 7, "destination offset": 8, "request": 9,
    "tag (type 0)": 13, "output capacity": 14, "context 0": 15, "source low": 18, "source high": 19,
    "destination low": 20, "destination high": 21, "stream context low": 22, "stream context high": 23,
    "tag (type 3)": 26, "context 1": 28, "context 2": 29, "isize": 30, "checksum": 31,
}  # fmt: skip


class ZipStatus(enum.IntEnum):
    """Bits 7:0 of word 3.

    The first five are the silicon's. For what the silicon's documents give no code, the model has its own below
    0x0d; to a driver they are what every unknown code is, a failure of the hardware.
    """

    OK = 0x00
    #: The output is larger than the input; it is good.
    EXPANDED = 0x0D
    NO_SPACE = 0x0E
    BAD_CHECK = 0x10
    STREAM_END = 0x13
    #: The input is no deflate data.
    BAD_DATA = 0x01
    #: The descriptor asks for something that the engine does not do.
    BAD_DESCRIPTOR = 0x02
    #: An access to memory was refused, by the SMMU or by the bus.
    MEMORY = 0x03


@dataclass(slots=True)
class Descriptor:
    """What the host asks, out of the 32 words of an entry."""

    words: list[int]

    @classmethod
    def unpack(cls, entry: bytes) -> Descriptor:
        """From 128 bytes."""
        return cls(list(_WORDS.unpack(entry)))

    def pack(self) -> bytes:
        """128 bytes."""
        return _WORDS.pack(*self.words)

    @property
    def input_length(self) -> int:
        """Bytes of input."""
        return self.words[4]

    @property
    def source(self) -> tuple[int, int]:
        """Address, and offset into the scatter list."""
        return self.words[18] | self.words[19] << 32, self.words[7] & 0xFFFFFF

    @property
    def destination(self) -> tuple[int, int]:
        """Address, and offset into the scatter list."""
        return self.words[20] | self.words[21] << 32, self.words[8] & 0xFFFFFF

    @property
    def capacity(self) -> int:
        """Bytes of room for output."""
        return min(self.words[14], MAX_BYTES)

    @property
    def scattered(self) -> bool:
        """Source and destination are scatter lists.

        :raises BadDescriptorError: a buffer type that is none
        """
        kind = self.words[9] >> 8 & 0xF
        if kind > 1:
            raise BadDescriptorError(f"buffer type {kind}")
        return kind == 1

    @property
    def check(self) -> Check:
        """The format, by its check value.

        :raises BadDescriptorError: a format that this generation does not have
        """
        check = FORMATS.get(self.words[9] & 0xFF)
        if check is None:
            raise BadDescriptorError(f"format {self.words[9] & 0xFF:#x}")
        return check

    @property
    def window_bits(self) -> int:
        """Base-2 logarithm of the history.

        :raises BadDescriptorError: a code that is none
        """
        bits = WINDOWS.get(self.words[9] >> 12 & 0xF)
        if bits is None:
            raise BadDescriptorError(f"window code {self.words[9] >> 12 & 0xF}")
        return bits

    def verify(self) -> None:
        """Check what is not checked where it is used.

        :raises BadDescriptorError: it asks for what this engine does not do
        """
        if self.words[7] >> 28 not in (0, 3):
            raise BadDescriptorError(f"descriptor type {self.words[7] >> 28}")
        if self.words[7] & STATEFUL:
            raise BadDescriptorError("a stateful stream")
        if self.input_length > MAX_BYTES:
            raise BadDescriptorError(f"{self.input_length} bytes of input, more than {MAX_BYTES}")

    def answer(
        self,
        status: ZipStatus,
        consumed: int = 0,
        produced: int = 0,
        last: bool = False,
        size: int = 0,
        check: int = 0,
    ) -> bytes:
        """The entry with the engine's words filled in."""
        words = self.words
        words[0:4] = [consumed, produced, 0, status | (LAST_BLOCK if last else 0)]
        words[15] = FINAL_SEEN if last else 0
        words[28:32] = [0, 0, size & 0xFFFFFFFF, check]
        return self.pack()


class ZipEngine:
    """Compresses and decompresses.

    :ivar refused: descriptors that it would not work on
    :ivar stuck: what it begins now it never ends
    """

    entry_bytes = ENTRY_BYTES

    def __init__(self, port: Port, trace: Trace) -> None:
        self.refused = 0
        self.stuck = False
        self._port = port
        self._trace = trace

    def process(self, entry: bytes, context: SqContext, user: User, task: Task) -> Life:
        """Work on one entry; returns the entry to write back."""
        descriptor = Descriptor.unpack(entry)
        job = _Job(self._port, descriptor, user, task, self._trace)
        if self.stuck:
            yield Work(lambda: None, 0, endless=True)
        try:
            descriptor.verify()
            if context.algorithm == DECOMPRESS:
                return (yield from job.decompress())
            return (yield from job.compress())
        except DmaAbort as abort:
            self._trace.instant("engine", "refused", reason=str(abort))
            return descriptor.answer(ZipStatus.MEMORY)
        except BadDescriptorError as error:
            self.refused += 1
            self._trace.instant("engine", "refused", reason=str(error))
            return descriptor.answer(ZipStatus.BAD_DESCRIPTOR)

    def __repr__(self) -> str:
        return f"<ZipEngine, {self.refused} descriptors refused>"


class _Job:
    """One entry in work."""

    def __init__(self, port: Port, descriptor: Descriptor, user: User, task: Task, trace: Trace) -> None:
        self._memory = Buffers(port, user, task)
        self._descriptor = descriptor
        self._trace = trace
        self._number = task.number

    def compress(self) -> Life:
        descriptor = self._descriptor
        check, window = descriptor.check, descriptor.window_bits
        source = yield from self._ranges(descriptor.source)
        destination = yield from self._ranges(descriptor.destination)
        data = yield from self._memory.read(cut(source, 0, descriptor.input_length))
        self._trace.begin("engine", "deflate", self._number, nbytes=len(data))
        result = yield Deflation(data, window, check)
        assert isinstance(result, tuple)
        output, value = result
        self._trace.end("engine", "deflate", self._number, nbytes=len(output))
        room = min(descriptor.capacity, total(destination)) if descriptor.scattered else descriptor.capacity
        if len(output) > room:
            return descriptor.answer(ZipStatus.NO_SPACE, len(data), 0)
        yield from self._memory.write(destination, output)
        status = ZipStatus.EXPANDED if len(output) > len(data) else ZipStatus.OK
        return descriptor.answer(
            status, len(data), len(output), size=len(data), check=hardware_checksum(value, check)
        )

    def decompress(self) -> Life:
        descriptor = self._descriptor
        source = yield from self._ranges(descriptor.source)
        destination = yield from self._ranges(descriptor.destination)
        room = min(descriptor.capacity, total(destination)) if descriptor.scattered else descriptor.capacity
        inflater = Inflater(descriptor.check, room)
        at = 0
        while at < descriptor.input_length and inflater.progress is Progress.RUNNING:
            n = min(CHUNK, descriptor.input_length - at)
            data = yield from self._memory.read(cut(source, at, n))
            self._trace.begin("engine", "inflate", self._number, nbytes=n)
            yield Work(lambda data=data: inflater.feed(data), len(data))  # type: ignore[misc]  # bound at once
            self._trace.end("engine", "inflate", self._number, produced=inflater.produced)
            at += n
        return (yield from self._inflated(inflater, destination))

    def _inflated(self, inflater: Inflater, destination: Ranges) -> Life:
        status = {
            Progress.BAD_DATA: ZipStatus.BAD_DATA,
            Progress.NO_SPACE: ZipStatus.NO_SPACE,
            Progress.BAD_CHECK: ZipStatus.BAD_CHECK,
        }.get(inflater.progress, ZipStatus.OK)
        if status is not ZipStatus.OK:
            return self._descriptor.answer(status, inflater.consumed)
        yield from self._memory.write(destination, inflater.output())
        return self._descriptor.answer(
            status,
            inflater.consumed,
            inflater.produced,
            # Without the last-block bit the stream goes on behind the input: it was cut off.
            last=inflater.progress is Progress.ENDED,
            size=inflater.produced,
            check=hardware_checksum(inflater.value, inflater.check),
        )

    def _ranges(self, where: tuple[int, int]) -> Generator[Stall, Verdict, Ranges]:
        """A flat buffer, or what a chain of scatter lists names from an offset on."""
        if not self._descriptor.scattered:
            return [(where[0], MAX_BYTES)]
        return (yield from self._memory.scatter_list(*where))

    def __repr__(self) -> str:
        return f"<_Job {self._descriptor!r}: {self._memory!r}>"


def dump_entry(entry: bytes) -> str:
    """The fields of a descriptor that are not zero, one a line."""
    words = _WORDS.unpack(entry)
    return "\n".join(f"dw{word:<3}{words[word]:#010x} {name}" for name, word in FIELDS.items() if words[word])
