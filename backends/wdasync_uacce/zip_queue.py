"""One queue of the ZIP engine, as the queue contract wants it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from wdasync.backend import Capability
from wdasync.operations import Operation

from .engine_queue import EngineQueue
from .files import AddressSpace, QueueFile
from .requests import Answer, Request, Settled
from .zip_descriptor import SQE, SQE_SIZE, QueueType
from .zip_operations import make_request
from .zip_requests import Carrier, ZipWorkshop

__all__ = ["ZipQueue"]

#: What a finished descriptor is asked for.
_ANSWER: Final = SQE.struct("consumed", "produced", "status", "tag0", "tag3")
_TAG_0: Final = SQE["tag0"].bit


class ZipQueue(EngineQueue[ZipWorkshop]):
    """A queue of the ZIP engine.

    :param queue_type: compress or decompress
    :param rows: capabilities of this direction, by algorithm

    The other parameters, and what is raised, are :class:`~wdasync_uacce.engine_queue.EngineQueue`'s.
    """

    sqe_size = SQE_SIZE

    def __init__(
        self,
        file: QueueFile,
        version: int,
        queue_type: QueueType,
        rows: Mapping[str, Capability],
        depth: int,
        on_lost: Callable[[str], None],
    ) -> None:
        self._queue_type = queue_type
        self._rows = rows
        super().__init__(file, version, queue_type, depth, on_lost)

    def _open_shop(self, space: AddressSpace, version: int, where: str) -> ZipWorkshop:
        return ZipWorkshop(space, self._queue_type, 0 if version < 3 else 3, self._rows, where)

    def _request(self, tag: int, operation: Operation) -> Request[Any, ZipWorkshop]:
        return make_request(tag, operation, self._shop)

    def _carrier(self, tag: int, operation: Operation, settled: Settled | None) -> Carrier:
        return Carrier(tag, operation, self._shop, settled)

    def _read(self, request: Request[Any, ZipWorkshop], entry: memoryview) -> tuple[int, int, Answer]:
        consumed, produced, status, tag0, tag3 = _ANSWER.unpack(entry)
        return tag0 if request.tag_bit == _TAG_0 else tag3, status, (status, consumed, produced)
