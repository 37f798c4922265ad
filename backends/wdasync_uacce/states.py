"""The life of an opened queue: an enum, what may follow what, and which call is for which state.

The kernel's answers are the truth: a call that it refuses with ENXIO tells that the queue is a zombie. Older kernels make
one of every queue that is put, newer ones let it start again. Source: Linux ``drivers/misc/uacce/uacce.c``.
"""

from __future__ import annotations

import enum
import errno
from collections.abc import Mapping
from typing import Final

from .errnos import Call

__all__ = ["CALLS", "REFUSALS", "TRANSITIONS", "QueueState"]


class QueueState(enum.Enum):
    """The state of an opened queue."""

    #: The device does not look at its rings.
    INIT = "init"
    #: The device works.
    STARTED = "started"
    #: There is no hardware queue behind it any more: it was put, or the device was removed.
    ZOMBIE = "zombie"
    #: It was closed; there is no file.
    CLOSED = "closed"
    #: This process is a child of the one that opened it.
    FOREIGN = "foreign"


_END: Final = frozenset({QueueState.CLOSED, QueueState.FOREIGN})

#: Which state may follow which.
TRANSITIONS: Final[Mapping[QueueState, frozenset[QueueState]]] = {
    QueueState.INIT: frozenset({QueueState.INIT, QueueState.STARTED, QueueState.ZOMBIE}) | _END,
    QueueState.STARTED: frozenset({QueueState.INIT, QueueState.ZOMBIE}) | _END,
    QueueState.ZOMBIE: frozenset({QueueState.ZOMBIE}) | _END,
    QueueState.CLOSED: frozenset({QueueState.CLOSED}),
    QueueState.FOREIGN: frozenset({QueueState.FOREIGN}),
}

_ALIVE: Final = frozenset({QueueState.INIT, QueueState.STARTED})

#: In which states a call is allowed.
CALLS: Final[Mapping[Call, frozenset[QueueState]]] = {
    Call.SET_TYPE: frozenset({QueueState.INIT}),
    Call.QUEUE_INFO: _ALIVE,
    Call.MAP: _ALIVE,
    Call.RESERVE: _ALIVE,
    Call.SLICE: _ALIVE,
    Call.START: frozenset({QueueState.INIT}),
    Call.PUT: _ALIVE,
}

#: What a call gives in a state in which it is not allowed.
REFUSALS: Final[Mapping[QueueState, int]] = {
    QueueState.STARTED: errno.EINVAL,
    QueueState.ZOMBIE: errno.ENXIO,
    QueueState.CLOSED: errno.EBADF,
    QueueState.FOREIGN: errno.ENXIO,
}
