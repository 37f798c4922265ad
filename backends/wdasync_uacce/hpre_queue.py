"""One queue of the HPRE engine, as the queue contract wants it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from wdasync.backend import Capabilities
from wdasync.operations import Operation

from .engine_queue import EngineQueue
from .files import AddressSpace, QueueFile
from .hpre_descriptor import SQE, SQE_SIZE, HpreQueueType
from .hpre_operations import make_request
from .hpre_requests import HpreCarrier, HpreWorkshop
from .requests import Answer, Request, Settled

__all__ = ["CLASSES", "HpreQueue"]

#: Queue class -> type of the hardware queue.
CLASSES: Final = {"rsa": HpreQueueType.RSA_DH, "curves": HpreQueueType.CURVES}

_DONE, _ERROR, _ERROR1, _OUTPUT, _TAG = (SQE[name] for name in ("done", "error", "error1", "output", "tag"))
_LOW: Final = 0xFFFFFFFF


class HpreQueue(EngineQueue[HpreWorkshop]):
    """A queue of the HPRE engine.

    :param queue_class: a name of :data:`CLASSES`
    :param capabilities: of the device

    The other parameters, and what is raised, are :class:`~wdasync_uacce.engine_queue.EngineQueue`'s.
    """

    sqe_size = SQE_SIZE

    def __init__(
        self,
        file: QueueFile,
        version: int,
        queue_class: str,
        capabilities: Capabilities,
        depth: int,
        on_lost: Callable[[str], None],
    ) -> None:
        self._queue_class = queue_class
        self._capabilities = capabilities
        super().__init__(file, version, CLASSES[queue_class], depth, on_lost)

    def _open_shop(self, space: AddressSpace, version: int, where: str) -> HpreWorkshop:
        return HpreWorkshop(space, self._capabilities, where)

    def _request(self, tag: int, operation: Operation) -> Request[Any, HpreWorkshop]:
        return make_request(tag, operation, self._shop, self._queue_class)

    def _carrier(self, tag: int, operation: Operation, settled: Settled | None) -> HpreCarrier:
        return HpreCarrier(tag, operation, self._shop, settled)

    def _read(self, request: Request[Any, HpreWorkshop], entry: memoryview) -> tuple[int, int, Answer]:
        record = int.from_bytes(entry, "little")
        done, error, error1, output, tag = (
            record >> field.bit & field.mask for field in (_DONE, _ERROR, _ERROR1, _OUTPUT, _TAG)
        )
        return tag, error | error1, (done, error, error1, output & _LOW)
