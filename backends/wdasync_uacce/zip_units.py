"""Whole units, as requests to the ZIP engine: memory for input and output, one descriptor after the other.

The engine works in *block mode*: one descriptor is one whole unit with its trailer, in and out. What an operation
is more than that takes further descriptors:

* concatenated members: the engine stops after one, the next descriptor begins where it stopped;
* output of unknown size: a first guess, and more room if the engine says that it was too little.
"""

from __future__ import annotations

import abc
from typing import ClassVar, Final, TypeVar

from wdasync.backend import Capability, Completion, Status
from wdasync.operations import Operation

from .outputs import Output
from .requests import Answer, Settled, Shortage, paged_input
from .zip_descriptor import SQE, STATUSES, Format, ZipStatus
from .zip_requests import SLACK, TAG_BITS, ZipRequest, ZipWorkshop, template

__all__ = ["FORMATS", "UnitRequest"]

OperationT = TypeVar("OperationT", bound=Operation)

#: Name of an algorithm, here and in the attributes of a device -> format in the descriptor.
FORMATS: Final = {"gzip": Format.GZIP, "zlib": Format.ZLIB, "deflate": Format.DEFLATE}

#: How much more room there is after what was too little.
GROWTH: Final = 4

_NOTHING: Final = memoryview(b"")

# The fields that change from descriptor to descriptor, as shifts.
_INPUT: Final = SQE["input_length"].bit
_CAPACITY: Final = SQE["capacity"].bit
_SOURCE: Final = SQE["source"].bit
_SOURCE_OFFSET: Final = SQE["source_offset"].bit
_DESTINATION: Final = SQE["destination"].bit
_DESTINATION_OFFSET: Final = SQE["destination_offset"].bit


class UnitRequest(ZipRequest[OperationT]):
    """One unit after the other, from one input into one output.

    All positions are bytes. The present unit's body lies in the input from ``skip`` on, and is ``left`` long at most;
    its output begins at ``at`` in the memory ``view``, and may have ``room``. The device was let write from ``origin``
    on.
    """

    __slots__ = (
        "_at", "_beyond", "_bound", "_fixed", "_least", "_left", "_limit", "_origin", "_output", "_room", "_scattered",
        "_skip", "_source", "_source_grants", "_target", "_view",
    )  # fmt: skip

    #: What a status means that is in no table.
    unknown: ClassVar[Status]

    def __init__(self, tag: int, operation: OperationT, shop: ZipWorkshop) -> None:
        super().__init__(tag, operation, shop)
        self._output: Output | None = None
        self._source_grants = self._skip = self._at = self._least = 0
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
        if self.operation.dictionary is not None:
            raise Settled(Status.INVALID_ARGS, "dictionary: the engine takes none")
        if row.max_input is not None and self.operation.nbytes > row.max_input:
            raise Settled(
                Status.INVALID_ARGS, f"expected at most {row.max_input} bytes, got {self.operation.nbytes}"
            )
        return row, FORMATS[row.algorithm]

    def _reach_source(self, unit: Format, window: int) -> None:
        if unit is Format.DEFLATE:
            self.sqe_type, self.tag_bit = 3, TAG_BITS[3]
        source = self.operation.source
        if isinstance(source, tuple):
            source = self.few(source)
        self._scattered = isinstance(source, tuple)
        if isinstance(source, tuple):
            self._source = self.chain([(self.grant(piece, False), len(piece)) for piece in source])
        elif (paged := paged_input(self.operation)) is not None:
            self._source = self.grant(paged, False)
        else:
            self._source = self.grant(self.reachable(source), False)
        self._source_grants = len(self._grants)
        self._fixed = template(unit, window, self._scattered, self.sqe_type)

    # -- output -----------------------------------------------------------------------------------------------

    def _reach_target(self, bound: int | None, guess: int, enough: bool = False) -> None:
        """Choose memory for the output.

        :param bound: the most that the operation may produce; ``None``: what one descriptor can
        :param guess: what it will produce, where the memory is not the caller's
        :param enough: the guess is the most that it can be; else the device is given all room that there happens to be
        """
        shop, destination = self._shop, self.operation.destination
        most = shop.max_output
        if bound is None:
            self._bound, self._limit, self._beyond = most, most, True
        else:
            wanted = bound if destination is not None else bound + SLACK
            self._bound, self._limit, self._beyond = min(bound, most), min(wanted, most), wanted > most
        if destination is not None and shop.space.direct:
            self._aim(destination[: self._limit])
        else:
            room = self._limit if destination is not None else min(max(guess, self._least), self._limit)
            self._output = shop.outputs.room(room, self.whole)
            self._aim(self._output.view[: room if enough else self._limit])

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
        # Of an input in pages, the faults are to be those that ask the program for a page.
        self._target = self.grant(part, True, paged_input(self.operation) is not None)
        if self._scattered:
            self._target = self.chain([(self._target, len(part))])

    def _grow(self) -> bool:
        """Make more room, if there may be more. What earlier members produced is kept."""
        if self._output is None or self.operation.destination is not None or len(self._view) >= self._limit:
            return False
        old, size = self._output, min(len(self._view) * GROWTH, self._limit)
        self._least = size
        self._output = self._shop.outputs.room(size, self.whole)
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
            self.keep(output)
        elif self._output is not None:
            self.store(destination[:produced], bytes(self._output.view[:produced]))
        return self.success(output, consumed, produced)

    # -- trips ------------------------------------------------------------------------------------------------

    def number(self) -> int:
        offset = self._at - self._origin
        number = self._fixed | self._left << _INPUT | (self._room or SLACK) << _CAPACITY
        if self._scattered:
            number |= self._source << _SOURCE | self._skip << _SOURCE_OFFSET
            return number | self._target << _DESTINATION | offset << _DESTINATION_OFFSET
        return number | self._source + self._skip << _SOURCE | self._target + offset << _DESTINATION

    def finish(self, answer: Answer, entry: memoryview) -> Completion | None:
        status, consumed, produced = answer
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
            if not self._shop.space.direct:
                raise Shortage from error
            return self.failure(Status.INVALID_ARGS, f"no memory for the output: {error}")

    def restart(self) -> None:
        self._at = self._skip = 0
        self._left = self.operation.nbytes
        self._shop.counters.shortages += 1
        self.prepare()

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
            self._output = None
        self._view = _NOTHING
