"""Compression and decompression of whole units, as requests to the ZIP engine.

The engine works in *block mode*: one descriptor is one whole unit with its trailer, in and out. What an operation
is more than that is done here, in as many descriptors as it takes:

* headers, which the engine neither writes nor reads;
* concatenated members: the engine stops after one, the next descriptor begins where it stopped;
* output of unknown size: a first guess, and more room if the engine says that it was too little.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, ClassVar, Final, TypeVar

from wdasync.backend import Capability, Completion, DataCause, Status
from wdasync.buffers import Segment
from wdasync.operations import Compress, Decompress, Nop, Operation
from wdasync.paged import PagedBuffer

from .memory import address_of
from .outputs import Output
from .scatter import ALIGNMENT, chain_size, write_chain
from .zip_descriptor import SQE, STATUSES, WINDOWS, Format, QueueType, ZipStatus
from .zip_headers import EMPTY_UNIT, HEADERS, HeaderError, gzip_trailer, header_length, peek
from .zip_requests import SLACK, Carrier, Request, Settled, Workshop, template

__all__ = ["FORMATS", "MAX_COMPRESS_INPUT", "CompressRequest", "DecompressRequest", "make_request"]

OperationT = TypeVar("OperationT", bound=Operation)

#: Name of an algorithm, here and in the attributes of a device -> format in the descriptor.
FORMATS: Final = {"gzip": Format.GZIP, "zlib": Format.ZLIB, "deflate": Format.DEFLATE}

#: Incompressible data grows. The driver leaves an eighth and a little, so that the output of the longest input still
#: fits into what one descriptor can produce.
MAX_COMPRESS_INPUT: Final = 7 << 20

#: Inputs in pieces of up to so many bytes are joined: the copy costs less than a scatter list.
JOIN_LIMIT: Final = 16 << 10

#: A deflate stream expands by less than MOST_EXPANSION. Output of unknown size is first taken to be FIRST_GUESS times
#: its input, and then GROWTH times what was too little.
MOST_EXPANSION: Final = 1032
FIRST_GUESS: Final = 4
GROWTH: Final = 4

# The fields that change from descriptor to descriptor, as shifts.
_INPUT: Final = SQE["input_length"].bit
_CAPACITY: Final = SQE["capacity"].bit
_SOURCE: Final = SQE["source"].bit
_SOURCE_OFFSET: Final = SQE["source_offset"].bit
_DESTINATION: Final = SQE["destination"].bit
_DESTINATION_OFFSET: Final = SQE["destination_offset"].bit

# Where the engine says that it has seen the last block.
_LAST_BYTE, _LAST_BIT = divmod(SQE["last_block"].bit, 8)


class UnitRequest(Request[OperationT]):
    """One unit after the other, from one input into one output.

    All positions are bytes. The present unit's body lies in the input from ``skip`` on, and is ``left`` long at most;
    its output begins at ``at`` in the memory ``view``, and may have ``room``. The device was let write from ``origin``
    on.
    """

    __slots__ = (
        "_at", "_beyond", "_bound", "_fixed", "_keep", "_left", "_limit", "_origin", "_output", "_room", "_scattered",
        "_skip", "_source", "_source_grants", "_target", "_view",
    )  # fmt: skip

    #: What a status means that is in no table.
    unknown: ClassVar[Status]

    def __init__(self, tag: int, operation: OperationT, shop: Workshop) -> None:
        super().__init__(tag, operation, shop)
        self._keep: list[Segment] = []
        self._output: Output | None = None
        self._source_grants = self._skip = self._at = 0
        self._left = operation.nbytes

    @abc.abstractmethod
    def prepare(self) -> None:
        """Look at the operation, and let the device reach its memory.

        :raises Settled: nothing is left to do for the device
        :raises OSError: ENOMEM: the reserved region is used up for now
        """

    @abc.abstractmethod
    def unit_done(self, consumed: int, produced: int, entry: memoryview) -> Completion | None:
        """The engine has done one unit. ``None``: there is another one."""

    # -- input ------------------------------------------------------------------------------------------------

    def _row(self) -> tuple[Capability, Format]:
        row = self._shop.rows.get(self.operation.algorithm)
        if row is None:
            known = ", ".join(self._shop.rows)
            raise Settled(
                Status.INVALID_ARGS,
                f"algorithm: expected one of {known} here, got {self.operation.algorithm!r}",
            )
        if row.max_input is not None and self.operation.nbytes > row.max_input:
            raise Settled(
                Status.INVALID_ARGS, f"expected at most {row.max_input} bytes, got {self.operation.nbytes}"
            )
        return row, FORMATS[row.algorithm]

    def _reach_source(self, unit: Format, window: int) -> None:
        if unit is Format.DEFLATE:
            self.sqe_type = 3
        source = self.operation.source
        if isinstance(source, tuple):
            source = self._few(source)
        self._scattered = isinstance(source, tuple)
        if isinstance(source, tuple):
            self._source = self._chain([(self.grant(piece, False), len(piece)) for piece in source])
        elif (paged := paged_input(self.operation)) is not None:
            self._source = self.grant(paged, False)
        else:
            self._source = self.grant(self._reachable(source), False)
        self._source_grants = len(self._grants)
        self._fixed = template(unit, window, self._scattered, self.sqe_type)

    def _few(self, source: tuple[Segment, ...]) -> Segment | tuple[Segment, ...]:
        """Pieces without empty ones; one piece if there are few bytes, or if they are copied anyway."""
        pieces = tuple(piece for piece in source if len(piece))
        if len(pieces) == 1:
            return pieces[0]
        if self.operation.nbytes > JOIN_LIMIT and self._shop.space.sva:
            return pieces
        self._shop.counters.joined += 1
        return b"".join(pieces)

    def _reachable(self, source: Segment) -> Segment:
        """The input itself, or a copy where the device can reach it; kept alive."""
        memory = self._shop.space.allocate(len(source))
        if memory is not None:
            memory[: len(source)] = source
            source = memory[: len(source)]
        self._keep.append(source)
        return source

    def _chain(self, spans: Sequence[tuple[int, int]]) -> int:
        """A scatter list, as an address."""
        size = chain_size(len(spans))
        memory = memoryview(bytearray(size + ALIGNMENT))
        start = -address_of(memory) % ALIGNMENT
        memory = memory[start : start + size]
        address = self.grant(memory, False)
        write_chain(memory, address, spans)
        self._keep.append(memory)
        self._shop.counters.chains += 1
        return address

    # -- output -----------------------------------------------------------------------------------------------

    def _reach_target(self, bound: int | None, guess: int) -> None:
        """Choose memory for the output.

        :param bound: the most that the operation may produce; ``None``: what one descriptor can
        :param guess: what it will produce, where the memory is not the caller's
        """
        shop, destination = self._shop, self.operation.destination
        most = shop.max_output
        if bound is None:
            self._bound, self._limit, self._beyond = most, most, True
        else:
            wanted = bound if destination is not None else bound + SLACK
            self._bound, self._limit, self._beyond = min(bound, most), min(wanted, most), wanted > most
        if destination is not None and shop.space.sva:
            self._aim(destination[: self._limit])
        else:
            room = self._limit if destination is not None else min(guess, self._limit)
            self._output = shop.outputs.room(room)
            self._aim(self._output.view[: self._limit])

    def _aim(self, view: memoryview) -> None:
        """Let the device write into ``view`` from ``at`` on, and nowhere else."""
        for grant in self._grants[self._source_grants :]:
            self._shop.space.revoke(*grant)
        del self._grants[self._source_grants :]
        self._view = view
        self._origin = self._at
        self._room = len(view) - self._at
        part = view[self._at :]
        if not self._room:
            # Full, and what comes may be empty: nobody knows how the engine takes a capacity of 0.
            part = self._shop.memory(bytes(SLACK))
            self._keep.append(part)
        self._target = self.grant(part, True)
        if self._scattered:
            self._target = self._chain([(self._target, len(part))])

    def _grow(self) -> bool:
        """Make more room, if there may be more. What earlier members produced is kept."""
        if self._output is None or self.operation.destination is not None or len(self._view) >= self._limit:
            return False
        old, size = self._output, min(len(self._view) * GROWTH, self._limit)
        self._output = self._shop.outputs.room(size)
        view = self._output.view[: self._limit]
        view[: self._at] = old.view[: self._at]
        self._aim(view)
        old.drop()
        return True

    def _whole(self, consumed: int) -> Completion:
        """The completion of a success."""
        destination, produced = self.operation.destination, self._at
        output = None
        if destination is None:
            assert self._output is not None
            output = self._output.take(produced)
        elif self._output is not None:
            destination[:produced] = self._output.view[:produced]
        return self.success(output, consumed, produced)

    # -- trips ------------------------------------------------------------------------------------------------

    def number(self) -> int:
        offset = self._at - self._origin
        number = self._fixed | self._left << _INPUT | (self._room or SLACK) << _CAPACITY
        if self._scattered:
            number |= self._source << _SOURCE | self._skip << _SOURCE_OFFSET
            return number | self._target << _DESTINATION | offset << _DESTINATION_OFFSET
        return number | self._source + self._skip << _SOURCE | self._target + offset << _DESTINATION

    def finish(self, status: int, consumed: int, produced: int, entry: memoryview) -> Completion | None:
        try:
            if status == ZipStatus.OUTPUT_FULL:
                return self._full()
            row = STATUSES.get(status)
            if row is None:
                return self.failure(self.unknown, f"status {status:#x}, which is in no public list")
            if row.status is not Status.SUCCESS:
                return self.failure(row.status, row.message, row.cause)
            if consumed > self._left or produced > (self._room or SLACK):
                return self.failure(
                    Status.DEVICE_ERROR,
                    f"the device says that it used {consumed} of {self._left} bytes and made {produced} in {self._room}",
                )
            if produced > self._room:
                return self._full()
            return self.unit_done(consumed, produced, entry)
        except Settled as settled:
            return self.failure(settled.status, str(settled), settled.cause)
        except (OSError, MemoryError) as error:
            return self.failure(Status.INVALID_ARGS, f"no memory for the output: {error}")

    def _full(self) -> Completion | None:
        if self._grow():
            self._shop.counters.retries += 1
            return None
        message = f"the output is longer than {self._bound} bytes"
        if self._beyond:
            return self.failure(Status.INVALID_ARGS, f"{message}, the most that can be done here")
        return self.failure(Status.OUT_OF_SPACE_TERMINATED, message)

    def release(self) -> None:
        super().release()
        if self._output is not None:
            self._output.drop()
        self._keep.clear()


def paged_input(operation: Operation) -> PagedBuffer | None:
    """The input, if its pages come only when the device touches them."""
    return operation.paged if operation.nbytes and not operation.source else None


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
        self._reach_target(bound, self._at + operation.nbytes + (operation.nbytes >> 3) + 512)

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
        self._view[: self._at] = self._header
        self._at += produced
        return self._whole(consumed)


class DecompressRequest(UnitRequest[Decompress]):
    """Decompress a unit, and what is concatenated to it."""

    __slots__ = ("_members", "_unit")

    unknown = Status.DATA_ERROR

    def prepare(self) -> None:
        operation = self.operation
        row, self._unit = self._row()
        self._members = 0
        self._begin(0)
        self._reach_source(self._unit, row.window)
        destination = operation.destination
        bound = operation.max_length if destination is None else min(len(destination), operation.max_length)
        self._reach_target(bound, self._guess())

    def _begin(self, position: int) -> None:
        """The next unit begins at ``position``."""
        segments = self._readable()
        try:
            header = header_length(self._unit, segments, position)
        except HeaderError as error:
            if error.cause is DataCause.TRUNCATED and sum(map(len, segments)) < self.operation.nbytes:
                message = f"the header at {position} lies in pages that are not there yet"
                raise Settled(Status.INVALID_ARGS, message) from None
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
            told = peek(self._readable(), self.operation.nbytes - 4, 4)
            if told and int.from_bytes(told, "little") < MOST_EXPANSION * self._left:
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
        trailer = peek(self._readable(), max(position - 8, 0), 8)
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
        self._begin(position)
        if self._members == operation.max_members:
            return self.failure(Status.OUT_OF_SPACE_TERMINATED, f"more than {self._members} members")
        self._shop.counters.members += 1
        self._room = len(self._view) - self._at
        if self._room < SLACK and not self._grow() and not self._room:
            self._aim(self._view)
        return None


def make_request(tag: int, operation: Operation, shop: Workshop) -> Request[Any]:
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
