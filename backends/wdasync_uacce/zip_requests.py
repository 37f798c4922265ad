"""Operations on their way through the ZIP engine: what all of them have in common."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Final, TypeVar

from wdasync.backend import Capability, Completion, Status
from wdasync.operations import Operation

from .files import AddressSpace
from .outputs import MAX_COPY
from .requests import Answer, Counters, Request, Settled, Workshop
from .zip_descriptor import MAX_LENGTH, SQE, STATUSES, WINDOWS, Format, QueueType
from .zip_headers import EMPTY_UNIT

__all__ = ["SLACK", "TAG_BITS", "Carrier", "ZipRequest", "ZipWorkshop", "template"]

OperationT = TypeVar("OperationT", bound=Operation)

#: Room beyond what is expected: nobody knows whether the engine takes an exact fit for an overflow.
SLACK: Final = 64

#: Descriptor type -> where its tag is.
TAG_BITS: Final = {0: SQE["tag0"].bit, 3: SQE["tag3"].bit}

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


class ZipCounters(Counters):
    """What only the ZIP driver counts, for one queue.

    :ivar retries: descriptors that were sent again with more room
    :ivar shortages: operations that began anew, since the reserved region had no more room for them
    :ivar members: descriptors for a further member
    """

    __slots__ = ("members", "retries", "shortages")

    retries: int
    shortages: int
    members: int


class ZipWorkshop(Workshop[ZipCounters]):
    """What the requests of one queue share.

    :param queue_type: what the queue does
    :param sqe_type: descriptor type of zlib and gzip here; raw deflate always has type 3
    :param rows: capabilities of this direction, by algorithm

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
        super().__init__(space, where, ZipCounters())
        self.rows = rows
        self.queue_type = queue_type
        self.sqe_type = sqe_type
        self.max_output = MAX_LENGTH if space.direct else MAX_COPY
        cargo = _CARGO[queue_type]
        source, destination = self.hold(cargo, False), self.hold(bytes(SLACK), True)
        self.carrier = template(Format.ZLIB, 15, False, sqe_type) | SQE.number(
            input_length=len(cargo), capacity=SLACK, source=source, destination=destination
        )
        self.toucher = template(Format.ZLIB, 15, False, sqe_type) | SQE.number(
            input_length=1, capacity=SLACK, destination=destination
        )


class ZipRequest(Request[OperationT, ZipWorkshop]):
    """An operation on its way.

    :ivar sqe_type: descriptor type
    """

    __slots__ = ("sqe_type",)

    def __init__(self, tag: int, operation: OperationT, shop: ZipWorkshop) -> None:
        super().__init__(tag, operation, shop, TAG_BITS[shop.sqe_type])
        self.sqe_type = shop.sqe_type


class Carrier(ZipRequest[Operation]):
    """An operation that needs no work of the device, and yet a completion that wakes who waits for it.

    Nothing but the device makes the queue's descriptor readable. So it gets something to finish, with next to
    nothing to do.

    :param settled: how the operation ends; ``None`` for a :class:`~wdasync.operations.Nop`, which is all way
    """

    __slots__ = ("_settled",)

    def __init__(self, tag: int, operation: Operation, shop: ZipWorkshop, settled: Settled | None) -> None:
        super().__init__(tag, operation, shop)
        self._settled = settled and settled.bare()

    def number(self) -> int:
        self._shop.counters.carried += 1
        return self._shop.carrier

    def finish(self, answer: Answer, entry: memoryview) -> Completion | None:
        if self._settled is not None:
            return self.settle(self._settled)
        row = STATUSES.get(answer[0])
        if row is None or row.status is not Status.SUCCESS:
            return self.failure(Status.DEVICE_ERROR, f"the device failed with status {answer[0]:#x}")
        return self.success(None, 0, 0)
