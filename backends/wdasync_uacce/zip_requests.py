"""Operations on their way through the ZIP engine: what all of them have in common.

A request turns its operation into one descriptor after the other, and the last one's answer into a completion. It
holds its buffers, and the grants that let the device touch them, until :meth:`Request.release`.
"""

from __future__ import annotations

import abc
import errno
from collections.abc import Mapping, Sequence, Sized
from functools import cache
from typing import Final, Generic, TypeVar

from wdasync.backend import Capability, Completion, DataCause, Detail, Status
from wdasync.buffers import Segment
from wdasync.operations import Operation

from .files import AddressSpace
from .outputs import MAX_COPY, OutputPool
from .zip_descriptor import MAX_LENGTH, SQE, STATUSES, WINDOWS, Format, QueueType
from .zip_headers import EMPTY_UNIT

__all__ = ["SLACK", "Carrier", "Counters", "Request", "Settled", "Shortage", "Workshop", "template"]

OperationT = TypeVar("OperationT", bound=Operation)

#: Room beyond what is expected: nobody knows whether the engine takes an exact fit for an overflow.
SLACK: Final = 64

#: What a descriptor without a purpose works on: one byte to compress, or an empty unit to decompress.
_CARGO: Final = {QueueType.COMPRESS: b"\0", QueueType.DECOMPRESS: EMPTY_UNIT[Format.ZLIB][2:]}


@cache
def template(unit: Format, window: int, scattered: bool, sqe_type: int) -> int:
    """The fields that are the same in all descriptors of a sort, as an integer.

    :param window: base-2 logarithm of the history in bytes
    """
    return SQE.number(
        finish=1, first=1, sqe_type=sqe_type, format=unit, buffer_type=scattered, window=WINDOWS[window]
    )


class Settled(Exception):
    """Raised when it is known how an operation ends without asking the device.

    :ivar status: of its completion
    :ivar cause: what is wrong with the data
    :ivar output: on success
    """

    def __init__(
        self, status: Status, message: str = "", cause: DataCause | None = None, output: bytes = b""
    ) -> None:
        super().__init__(message)
        self.status = status
        self.cause = cause
        self.output = output

    def bare(self) -> Settled:
        """The same without the frames that it came through: they hold the other operations of the burst."""
        self.__cause__ = self.__context__ = None
        return self.with_traceback(None)


class Shortage(Exception):
    """Raised when an operation that has begun needs more memory of the reserved region than is free now."""


class Counters:
    """What only this driver counts, for one queue.

    :ivar retries: descriptors that were sent again with more room
    :ivar shortages: operations that began anew, since the reserved region had no more room for them
    :ivar members: descriptors for a further member
    :ivar carried: descriptors that only carried an operation which needed no device
    :ivar chains: scatter lists
    :ivar joined: inputs in pieces that were copied into one
    :ivar levels_mapped: levels that the device does not have
    """

    __slots__ = ("carried", "chains", "joined", "levels_mapped", "members", "retries", "shortages")

    def __init__(self) -> None:
        self.shortages = self.retries = self.members = self.carried = self.chains = self.joined = (
            self.levels_mapped
        ) = 0

    def as_dict(self) -> dict[str, int]:
        """The counters by name."""
        return {name: getattr(self, name) for name in self.__slots__}


class Workshop:
    """What the requests of one queue share.

    :param space: how buffers become addresses
    :param queue_type: what the queue does
    :param sqe_type: descriptor type of zlib and gzip here; raw deflate always has type 3
    :param rows: capabilities of this direction, by algorithm
    :param where: the part of the device that does the work, for the completions

    :ivar carrier: a descriptor without a purpose
    :ivar toucher: a descriptor that makes the device read one byte, once it has a source
    """

    def __init__(
        self,
        space: AddressSpace,
        queue_type: QueueType,
        sqe_type: int,
        rows: Mapping[str, Capability],
        where: str,
    ) -> None:
        self.space = space
        self.queue_type = queue_type
        self.sqe_type = sqe_type
        self.rows = rows
        self.outputs = OutputPool(space)
        self.max_output = MAX_LENGTH if space.direct else MAX_COPY
        self.counters = Counters()
        self.plain = Detail(where=where)
        cargo = _CARGO[queue_type]
        self._scratch: tuple[memoryview, ...] = (self.memory(cargo), self.memory(bytes(SLACK)))
        source, destination = self._grants = [
            (space.grant(memory, writable, resident=True), len(memory), writable)
            for memory, writable in zip(self._scratch, (False, True), strict=True)
        ]
        self.carrier = template(Format.ZLIB, 15, False, sqe_type) | SQE.number(
            input_length=len(cargo), capacity=SLACK, source=source[0], destination=destination[0]
        )
        self.toucher = template(Format.ZLIB, 15, False, sqe_type) | SQE.number(
            input_length=1, capacity=SLACK, destination=destination[0]
        )

    def memory(self, content: bytes) -> memoryview:
        """New memory that the device can reach, with this content.

        :raises OSError: ENOMEM
        """
        memory = self.space.allocate(len(content))
        if memory is None:
            return memoryview(bytearray(content))
        memory[: len(content)] = content
        return memory[: len(content)]

    def close(self) -> None:
        """Take the grants back. The device touches nothing any more."""
        for grant in self._grants:
            self.space.revoke(*grant)
        self._grants.clear()
        self._scratch = ()


class Request(abc.ABC, Generic[OperationT]):
    """An operation on its way.

    :ivar tag: the caller's
    :ivar operation: keeps its buffers alive
    :ivar sqe_type: descriptor type
    :ivar wire_tag: what stands in the tag field of its present descriptor
    :ivar faults: page faults so far
    """

    __slots__ = ("_grants", "_shop", "faults", "operation", "sqe_type", "tag", "wire_tag")

    def __init__(self, tag: int, operation: OperationT, shop: Workshop) -> None:
        self.tag = tag
        self.operation = operation
        self.sqe_type = shop.sqe_type
        self.wire_tag = 0
        self.faults = 0
        self._shop = shop
        self._grants: list[tuple[int, int, bool]] = []

    @abc.abstractmethod
    def number(self) -> int:
        """The next descriptor as an integer, without its tag."""

    @abc.abstractmethod
    def finish(self, status: int, consumed: int, produced: int, entry: memoryview) -> Completion | None:
        """A descriptor is finished.

        :param entry: all of it; the other arguments are the fields that are always needed
        :returns: ``None``: there is a next one
        :raises Shortage: there may be, once other operations have given memory back: see :meth:`restart`
        """

    def restart(self) -> None:
        """Begin anew, after a :exc:`Shortage` and :meth:`release`.

        :raises Settled: it is known now how it ends
        :raises OSError: ENOMEM: there is still no memory for it
        """

    def failure(
        self,
        status: Status,
        message: str,
        cause: DataCause | None = None,
        raised: BaseException | None = None,
    ) -> Completion:
        """The completion of an operation that has failed."""
        where = self._shop.plain.where
        detail = Detail(message, cause=cause, where=where, faults=self.faults, raised=raised)
        return Completion(self.tag, status, None, 0, 0, detail)

    def success(self, output: bytes | None, consumed: int, produced: int) -> Completion:
        """The completion of an operation that has not."""
        detail = self._shop.plain
        if self.faults:
            detail = Detail(where=detail.where, faults=self.faults)
        return Completion(self.tag, Status.SUCCESS, output, consumed, produced, detail)

    def grant(self, buffer: Sized, writable: bool, resident: bool = False) -> int:
        """Let the device touch a buffer until :meth:`release`.

        :param resident: without page faults
        :raises Settled: it cannot reach it
        :raises OSError: ENOMEM
        """
        resident = resident or self.operation.resident
        try:
            address = self._shop.space.grant(buffer, writable, resident)
        except OSError as error:
            if error.errno == errno.ENOMEM:
                raise
            status = Status.PAGE_FAULT if resident else Status.INVALID_ARGS
            raise Settled(status, f"the device cannot reach the buffer: {error}") from error
        except TypeError as error:  # an object that only other file layers know
            raise Settled(Status.INVALID_ARGS, f"the device cannot reach such a buffer: {error}") from error
        self._grants.append((address, len(buffer), writable))
        return address

    def copy(self, pieces: Sequence[Segment]) -> bytes:
        """Join memory of the caller's.

        :raises Settled: some of it is not there: the file that was mapped has shrunk, for one
        """
        if all(map(_surely_there, pieces)):
            return b"".join(pieces)
        data = self._shop.space.peek(pieces)
        if len(data) < sum(map(len, pieces)):
            raise Settled(Status.PAGE_FAULT, "a page of the input cannot be had")
        return data

    def store(self, memory: memoryview, data: bytes) -> None:
        """Write into memory that may be the caller's. Raises as :meth:`copy`."""
        if _surely_there(memory):
            memory[:] = data
        elif self._shop.space.poke(memory, data) < len(data):
            raise Settled(Status.PAGE_FAULT, "a page of the output buffer cannot be had")

    def release(self) -> None:
        """Take back what the device was allowed. Only when it has no descriptor of this request."""
        for grant in self._grants:
            self._shop.space.revoke(*grant)
        self._grants.clear()


def _surely_there(segment: Segment) -> bool:
    """Whether its memory is Python's own, and not a mapping of a file."""
    return isinstance(segment if isinstance(segment, bytes) else segment.obj, bytes | bytearray)


class Carrier(Request[Operation]):
    """An operation that needs no work of the device, and yet a completion that wakes who waits for it.

    Nothing but the device makes the queue's descriptor readable. So it gets something to finish, with next to
    nothing to do.

    :param settled: how the operation ends; ``None`` for a :class:`~wdasync.operations.Nop`, which is all way
    """

    __slots__ = ("_settled",)

    def __init__(self, tag: int, operation: Operation, shop: Workshop, settled: Settled | None) -> None:
        super().__init__(tag, operation, shop)
        self._settled = settled and settled.bare()

    def number(self) -> int:
        self._shop.counters.carried += 1
        return self._shop.carrier

    def finish(self, status: int, consumed: int, produced: int, entry: memoryview) -> Completion | None:
        settled = self._settled
        if settled is None:
            row = STATUSES.get(status)
            if row is None or row.status is not Status.SUCCESS:
                return self.failure(Status.DEVICE_ERROR, f"the device failed with status {status:#x}")
            return self.success(None, 0, 0)
        if settled.status is not Status.SUCCESS:
            return self.failure(settled.status, str(settled), settled.cause)
        if self.operation.destination is None:
            return self.success(settled.output, 0, len(settled.output))
        try:
            self.store(self.operation.destination[: len(settled.output)], settled.output)
        except Settled as fault:
            return self.failure(fault.status, str(fault))
        return self.success(None, 0, len(settled.output))
