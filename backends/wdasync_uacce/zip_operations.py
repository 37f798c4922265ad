"""Compress and decompress, as requests to the ZIP engine: headers, levels and windows, members, the end of a unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from wdasync.backend import Capability, Completion, DataCause, Status
from wdasync.buffers import Segment
from wdasync.operations import Compress, Decompress, Nop, Operation

from .requests import Answer, Request, Settled, paged_input
from .zip_descriptor import SQE, WINDOWS, Format, QueueType
from .zip_headers import EMPTY_UNIT, HEADERS, HeaderError, gzip_trailer, header_length, peek
from .zip_requests import SLACK, Carrier, ZipWorkshop
from .zip_units import UnitRequest

__all__ = ["MAX_COMPRESS_INPUT", "CompressRequest", "DecompressRequest", "make_request"]

#: Incompressible data grows. The driver leaves an eighth and a little, so that the output of the longest input still
#: fits into what one descriptor can produce.
MAX_COMPRESS_INPUT: Final = 7 << 20

#: A deflate stream expands by less than MOST_EXPANSION. Output of unknown size is first taken to be FIRST_GUESS times
#: its input.
MOST_EXPANSION: Final = 1032
FIRST_GUESS: Final = 4

#: Bytes after a member that are looked at together for zeros.
PADDING: Final = 4096

# Where the engine says that it has seen the last block.
_LAST_BYTE, _LAST_BIT = divmod(SQE["last_block"].bit, 8)
_SOURCE: Final = SQE["source"].bit


class CompressRequest(UnitRequest[Compress]):
    """Compress into one unit."""

    __slots__ = ("_header",)

    unknown = Status.DEVICE_ERROR

    def prepare(self) -> None:
        operation = self.operation
        row, unit = self._row()
        self._check_level(row)
        window = self._window(row)
        self._header = HEADERS[unit, window]
        destination = operation.destination
        bound = None if destination is None else len(destination)
        output = EMPTY_UNIT[unit]
        if bound is not None and bound < max(len(self._header) + 1, len(output) * (not operation.nbytes)):
            raise Settled(Status.OUT_OF_SPACE_TERMINATED, f"the output is longer than {bound} bytes")
        if not operation.nbytes:  # Nobody knows how the engine takes an empty input, and the output is known.
            raise Settled(Status.SUCCESS, output=output)
        self._reach_source(unit, window)
        self._at = len(self._header)
        self._reach_target(bound, self._at + operation.nbytes + (operation.nbytes >> 3) + 512, enough=True)

    def _check_level(self, row: Capability) -> None:
        level = self.operation.level
        try:
            mapped = row.level(level)
        except ValueError as error:
            raise Settled(Status.INVALID_ARGS, str(error)) from None
        if isinstance(level, int):
            if not row.scale[0] <= level <= row.scale[1]:
                raise Settled(Status.INVALID_ARGS, f"level: expected one of {row.scale}, got {level}")
            self._shop.counters.levels_mapped += mapped != level

    def _window(self, row: Capability) -> int:
        window = row.window if self.operation.window is None else self.operation.window
        if window not in WINDOWS:
            raise Settled(
                Status.INVALID_ARGS, f"window: expected {min(WINDOWS)} to {max(WINDOWS)}, got {window}"
            )
        return window

    def unit_done(self, consumed: int, produced: int, entry: memoryview) -> Completion | None:
        if consumed != self._left:
            return self.failure(Status.DEVICE_ERROR, f"the device used {consumed} of {self._left} bytes")
        self.store(self._view[: self._at], self._header)
        self._at += produced
        return self._whole(consumed)


class DecompressRequest(UnitRequest[Decompress]):
    """Decompress a unit, and what is concatenated to it.

    Of an input whose pages come when the device touches them, a header may lie in a page that is not there. The driver
    asks nobody for pages: it makes the device read one byte of that page, and looks again.
    """

    __slots__ = ("_members", "_missing", "_position", "_unit")

    unknown = Status.DATA_ERROR

    def prepare(self) -> None:
        row, self._unit = self._row()
        self._members = self._position = 0
        self._missing: int | None = None
        has_header = self._has_header()
        self._reach_source(self._unit, row.window)
        if has_header:
            self._begin()

    def number(self) -> int:
        if self._missing is None:
            return super().number()
        return self._shop.toucher | self._source + self._missing << _SOURCE

    def finish(self, answer: Answer, entry: memoryview) -> Completion | None:
        if self._missing is None:
            return super().finish(answer, entry)
        before, self._missing = self._missing, None
        try:
            completion = self._go_on() if self._members else self._begin() if self._has_header() else None
        except Settled as settled:
            return self.failure(settled.status, str(settled), settled.cause)
        if self._missing == before:
            return self.failure(Status.PAGE_FAULT, "a page of the input did not come")
        return completion

    def _begin(self) -> Completion | None:
        """Begin the unit whose header was read."""
        operation, destination = self.operation, self.operation.destination
        if not self._members:
            bound = (
                operation.max_length if destination is None else min(len(destination), operation.max_length)
            )
            self._reach_target(bound, self._guess())
            return None
        if self._members == operation.max_members:
            return self.failure(Status.OUT_OF_SPACE_TERMINATED, f"more than {self._members} members")
        self._shop.counters.members += 1
        self._room = len(self._view) - self._at
        if self._room < SLACK and not self._grow() and not self._room:
            self._aim(self._view)
        return None

    def _has_header(self) -> bool:
        """Read the header of the unit at the position; False: as far as its page is ``missing``."""
        segments, position = self._readable(), self._position
        try:
            header = header_length(self._unit, segments, position, self.copy)
        except HeaderError as error:
            readable = sum(map(len, segments))
            if error.cause is DataCause.TRUNCATED and readable < self.operation.nbytes:
                self._missing = readable
                return False
            if position and error.cause is DataCause.WRONG_FORMAT:
                message = (
                    f"{self.operation.nbytes - position} bytes after the last member are not another one"
                )
                raise Settled(Status.DATA_ERROR, message, DataCause.TRAILING_DATA) from None
            raise Settled(error.status, str(error), error.cause) from None
        self._skip = position + header
        self._left = self.operation.nbytes - self._skip
        if self._left <= 0:
            raise Settled(Status.DATA_ERROR, "the input ends after its header", DataCause.TRUNCATED)
        return True

    def _readable(self) -> Sequence[Segment]:
        """The input as far as the driver can read it: of one whose pages come later, those that are there."""
        source = self.operation.source
        paged = paged_input(self.operation)
        if paged is None:
            return source if isinstance(source, tuple) else (source,)
        absent = next((page for page in range(paged.pages) if not paged.is_present(page)), paged.pages)
        return (memoryview(paged.memory)[: min(absent * paged.page_size, paged.length)],)

    def _guess(self) -> int:
        """Bytes of output. gzip tells in its last four bytes, unless members are concatenated."""
        if self._unit is Format.GZIP:
            told = peek(self._readable(), self.operation.nbytes - 4, 4, self.copy)
            if len(told) == 4 and int.from_bytes(told, "little") < MOST_EXPANSION * self._left:
                return int.from_bytes(told, "little") + SLACK
        return self._left * FIRST_GUESS + SLACK

    def _ends_at(self, position: int, entry: memoryview) -> bool:
        """Whether a unit ends there, where the engine does not say that it has seen the last block.

        Nobody knows whether silicon sets that bit in block mode. Its check value tells as well: where it stands
        in the input too, that is the trailer.
        """
        fields = SQE.unpack(bytes(entry))
        if fields["context_final"] or position < self.operation.nbytes:
            return True
        trailer = peek(self._readable(), max(position - 8, 0), 8, self.copy)
        if self._unit is Format.ZLIB:
            return trailer[4:] == fields["checksum"].to_bytes(4, "big")
        if self._unit is Format.GZIP:
            return trailer == gzip_trailer(fields["checksum"], fields["isize"])
        return False

    def unit_done(self, consumed: int, produced: int, entry: memoryview) -> Completion | None:
        operation = self.operation
        position = self._skip + consumed
        if not entry[_LAST_BYTE] >> _LAST_BIT & 1 and not self._ends_at(position, entry):
            return self.failure(Status.DATA_ERROR, "the input ends too early", DataCause.TRUNCATED)
        self._members += 1
        self._at += produced
        if self._at > operation.max_length:
            message = f"more than max_length {operation.max_length} bytes"
            return self.failure(Status.OUT_OF_SPACE_TERMINATED, message)
        if position == operation.nbytes:
            return self._whole(position)
        if self._unit is not Format.GZIP:
            message = f"{operation.nbytes - position} bytes after the end"
            return self.failure(Status.DATA_ERROR, message, DataCause.TRAILING_DATA)
        self._position = position
        return self._go_on()

    def _go_on(self) -> Completion | None:
        """Begin the next member, if there is one. Zeros after a member are padding, as gzip(1) has it."""
        while zeros := peek(self._readable(), self._position, PADDING, self.copy):
            rest = zeros.lstrip(b"\0")
            self._position += len(zeros) - len(rest)
            if rest:
                break
        if self._position == self.operation.nbytes:
            return self._whole(self._position)
        return self._begin() if self._has_header() else None


def make_request(tag: int, operation: Operation, shop: ZipWorkshop) -> Request[Any, ZipWorkshop]:
    """The request for an operation, ready for its first descriptor. What needs no device is carried by it.

    :raises OSError: ENOMEM: the reserved region is used up for now
    """
    request: CompressRequest | DecompressRequest
    if isinstance(operation, Compress) and shop.queue_type is QueueType.COMPRESS:
        request = CompressRequest(tag, operation, shop)
    elif isinstance(operation, Decompress) and shop.queue_type is QueueType.DECOMPRESS:
        request = DecompressRequest(tag, operation, shop)
    elif isinstance(operation, Nop):
        return Carrier(tag, operation, shop, None)
    else:
        message = f"{type(operation).__name__} is nothing for a {shop.queue_type.name.lower()} queue"
        return Carrier(tag, operation, shop, Settled(Status.INVALID_ARGS, message))
    try:
        request.prepare()
    except Settled as settled:
        request.release()
        return Carrier(tag, operation, shop, settled)
    except BaseException:
        request.release()
        raise
    return request
