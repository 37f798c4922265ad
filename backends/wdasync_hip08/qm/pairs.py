"""Queue pairs, and what the queue manager and an engine say to each other about them."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from wdasync_hip08.qm.contexts import SqContext
from wdasync_hip08.tasks import Life, Task

__all__ = ["Engine", "QueuePair", "User"]


class User:
    """Who a queue's data belong to: what the engine says with each access.

    ``None``: the access has no PASID.
    """

    __slots__ = ("read", "scatter_list", "write")

    def __init__(self, scatter_list: int | None, read: int | None, write: int | None) -> None:
        self.scatter_list = scatter_list
        self.read = read
        self.write = write

    def __repr__(self) -> str:
        return (
            f"<User PASID {self.read} to read, {self.write} to write, {self.scatter_list} for scatter lists>"
        )


class Engine(Protocol):
    """What works on entries.

    :ivar entry_bytes: size of its submission entries
    :ivar stuck: what it begins now it never ends; for tests of what happens then
    """

    entry_bytes: int
    stuck: bool

    def process(self, entry: bytes, context: SqContext, user: User, task: Task) -> Life:
        """Work on one entry; the generator returns the entry to write back."""
        ...


class QueuePair:
    """A submission queue and what it has in work."""

    __slots__ = ("completed", "faults", "halted", "in_flight", "number", "scheduled", "sq")

    def __init__(self, number: int, sq: SqContext) -> None:
        self.number = number
        self.sq = sq
        self.in_flight: deque[Task] = deque()
        self.halted = False
        self.completed = 0
        self.scheduled = False
        #: Page faults by slot, of entries that are finished.
        self.faults: dict[int, int] = {}

    def __repr__(self) -> str:
        state = "halted" if self.halted else "running"
        return f"<QueuePair {self.number} {state}, head {self.sq.head}, tail {self.sq.tail}, {list(self.in_flight)}>"
