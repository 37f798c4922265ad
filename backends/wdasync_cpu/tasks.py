"""One operation of a Python codec, from its plan to its outcome."""

from __future__ import annotations

from typing import cast

from wdasync.errors import Status
from wdasync.operations import Compress, Decompress, Kind, Operation

from . import binding, packages
from .binding import Outcome
from .crypto import work
from .guarded import Gone
from .plans import plan_of
from .sessions import CpuSession

__all__ = ["run"]


def run(operation: Operation, number: int, hand: object) -> Outcome:
    """Do it, in this thread.

    :param number: of its plan
    :param hand: the thread's, to be asked whether to stop; ``None``: nobody will stop it
    :raises Exception: what the codec raises
    """
    plan = plan_of(number)

    def stop() -> bool:
        return binding.must_stop(hand)

    try:
        match plan.kind:
            case Kind.COMPRESS:
                return packages.compress(cast("Compress", operation), plan, stop)
            case Kind.DECOMPRESS:
                return packages.decompress(cast("Decompress", operation), plan, stop)
            case kind if kind >= Kind.COPY:
                return work.run(operation, stop)
            case _ if isinstance(operation.session, CpuSession):
                return operation.session.step(operation, stop)
    except packages.BadDictionary as error:
        return packages.failed(Status.INVALID_ARGS, f"dictionary: {error}")
    except Gone as error:
        return packages.failed(Status.PAGE_FAULT, str(error))
    return packages.failed(Status.INVALID_ARGS, "not a stream of this backend")
