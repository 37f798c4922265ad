"""One queue of the SEC engine, as the queue contract wants it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wdasync.backend import Capabilities
from wdasync.operations import Operation

from .engine_queue import EngineQueue
from .files import AddressSpace, QueueFile
from .requests import Answer, Request, Settled
from .sec_descriptor import SQE_SIZE, SQES
from .sec_operations import make_request
from .sec_requests import SecCarrier, SecWorkshop

__all__ = ["SecQueue"]


class SecQueue(EngineQueue[SecWorkshop]):
    """A queue of the SEC engine.

    :param capabilities: of the device

    The other parameters, and what is raised, are :class:`~wdasync_uacce.engine_queue.EngineQueue`'s.
    """

    sqe_size = SQE_SIZE

    def __init__(
        self,
        file: QueueFile,
        version: int,
        capabilities: Capabilities,
        depth: int,
        on_lost: Callable[[str], None],
    ) -> None:
        self._capabilities = capabilities
        layout = SQES[2 if version < 3 else 3]
        self._wanted = [layout[name] for name in ("tag", "done", "icv", "error")]
        super().__init__(file, version, 0, depth, on_lost)

    def _tag_bits(self, version: int) -> int:
        return self._wanted[0].width

    def _open_shop(self, space: AddressSpace, version: int, where: str) -> SecWorkshop:
        return SecWorkshop(space, version, self._capabilities, where)

    def _request(self, tag: int, operation: Operation) -> Request[Any, SecWorkshop]:
        return make_request(tag, operation, self._shop)

    def _carrier(self, tag: int, operation: Operation, settled: Settled | None) -> SecCarrier:
        return SecCarrier(tag, operation, self._shop, settled)

    def _read(self, request: Request[Any, SecWorkshop], entry: memoryview) -> tuple[int, int, Answer]:
        record = int.from_bytes(entry, "little")
        tag, done, icv, error = (record >> field.bit & field.mask for field in self._wanted)
        return tag, error, (done, icv, error)
