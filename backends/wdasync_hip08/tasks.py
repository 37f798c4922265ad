"""What the engines work on: one task for each submission entry, driven step by step.

A task is a generator. It yields a :class:`~wdasync_hip08.smmu.Stall` and is sent the verdict, or a :class:`Work` and is
sent its result. Nothing of it runs by itself: :meth:`Tasks.step` runs one task up to its next yield.

======== =====================================================
state    may become
======== =====================================================
READY    RUNNING, DEAD
RUNNING  STALLED, WORKING, DONE, DEAD
STALLED  READY, DEAD
WORKING  READY, DEAD
DONE     —
DEAD     —  (its queue was reset: whatever still comes for it is dropped)
======== =====================================================
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeAlias

from wdasync_hip08.smmu import Stall, Verdict

__all__ = ["TRANSITIONS", "Entry", "Life", "Task", "TaskState", "Tasks", "Work"]


@dataclass(slots=True)
class Work:
    """Something that takes time and touches no shared state: it may run in another thread.

    :ivar run: what to do; must not raise
    :ivar nbytes: how much data, for the choice where to run it
    :ivar endless: it is never done; for tests of what happens then
    """

    run: Callable[[], object]
    nbytes: int
    endless: bool = False


#: What a task yields, what it is sent, and what it returns: the entry to write back.
Life: TypeAlias = Generator[Stall | Work, Verdict | object, bytes]


#: A submission entry in work: StreamID of the function, number of the queue, slot in its ring.
Entry: TypeAlias = tuple[int, int, int]


class TaskState(enum.Enum):
    """Where a task is."""

    READY = "ready"
    RUNNING = "running"
    STALLED = "stalled"
    WORKING = "working"
    DONE = "done"
    DEAD = "dead"


_S = TaskState
TRANSITIONS: dict[TaskState, frozenset[TaskState]] = {
    _S.READY: frozenset({_S.RUNNING, _S.DEAD}),
    _S.RUNNING: frozenset({_S.STALLED, _S.WORKING, _S.DONE, _S.DEAD}),
    _S.STALLED: frozenset({_S.READY, _S.DEAD}),
    _S.WORKING: frozenset({_S.READY, _S.DEAD}),
    _S.DONE: frozenset(),
    _S.DEAD: frozenset(),
}


class Task:
    """One submission entry in work.

    :ivar stream: StreamID of its function
    :ivar queue: number of its queue
    :ivar slot: index in the submission ring
    :ivar faults: accesses of it that software was told of, for a page, and answered
    :ivar result: the entry to write back, once DONE
    """

    __slots__ = ("_send", "faults", "life", "queue", "result", "slot", "stall", "state", "stream")

    def __init__(self, stream: int, queue: int, slot: int) -> None:
        self.stream = stream
        self.queue = queue
        self.slot = slot
        self.faults = 0
        self.stall: Stall | None = None
        self.result = b""
        self.state = TaskState.READY
        self.life: Life | None = None
        self._send: Verdict | object = None

    def to(self, state: TaskState) -> None:
        """Change the state.

        :raises ValueError: it may not follow the present one
        """
        if state not in TRANSITIONS[self.state]:
            raise ValueError(
                f"{self!r}: expected {self.state.value} to be left for another state than {state.value}"
            )
        self.state = state

    @property
    def entry(self) -> Entry:
        """Which entry it is, in the whole chip."""
        return self.stream, self.queue, self.slot

    @property
    def number(self) -> int:
        """The same as one number, for traces."""
        return self.stream << 32 | self.queue << 16 | self.slot

    @property
    def over(self) -> bool:
        """Nothing more will come of it."""
        return self.state in (TaskState.DONE, TaskState.DEAD)

    def wake(self, value: Verdict | object) -> None:
        """What it waited for is there."""
        self.to(TaskState.READY)
        self.stall = None
        self._send = value

    def take(self) -> Verdict | object:
        """What it is to be sent."""
        value, self._send = self._send, None
        return value

    def __repr__(self) -> str:
        where = f" at {self.stall.access.va:#x}" if self.stall is not None else ""
        return f"<Task of stream {self.stream:#x} queue {self.queue} slot {self.slot}: {self.state.value}{where}, {self.faults} faults>"


class Tasks:
    """All tasks of the chip.

    :param start_work: does a :class:`Work` sometime and then calls :meth:`finish`; or at once
    :param done: called with a task that is DONE
    """

    def __init__(self, start_work: Callable[[Task, Work], None], done: Callable[[Task], None]) -> None:
        self._start_work = start_work
        self._done = done
        self._ready: deque[Task] = deque()
        self.alive: set[Task] = set()

    def start(self, task: Task, life: Life) -> None:
        """Take up a task."""
        task.life = life
        self.alive.add(task)
        self._ready.append(task)

    def step(self) -> bool:
        """Run one task up to its next yield; False if none is ready."""
        while self._ready:
            task = self._ready.popleft()
            if task.state is TaskState.READY:
                self._run(task)
                return True
        return False

    def _run(self, task: Task) -> None:
        assert task.life is not None
        task.to(TaskState.RUNNING)
        try:
            waits = task.life.send(task.take())
        except StopIteration as end:
            task.result = end.value
            task.to(TaskState.DONE)
            self.alive.discard(task)
            self._done(task)
            return
        if isinstance(waits, Stall):
            task.stall = waits
            task.to(TaskState.STALLED)
        else:
            task.to(TaskState.WORKING)
            self._start_work(task, waits)

    def resume(self, stall: Stall) -> None:
        """The SMMU is through with this stall."""
        task = stall.access.tag
        if isinstance(task, Task) and task.stall is stall and task.state is TaskState.STALLED:
            task.faults += not stall.stale
            task.wake(stall.verdict)
            self._ready.append(task)

    def finish(self, task: Task, result: object) -> None:
        """The work of this task is done."""
        if task.state is TaskState.WORKING:
            task.wake(result)
            self._ready.append(task)

    def kill(self, task: Task) -> None:
        """Its queue was reset. A stall that it waits for stays the SMMU's until it is answered."""
        if not task.over:
            task.to(TaskState.DEAD)
            self.alive.discard(task)
            if task.life is not None:
                task.life.close()

    def entry_of(self, stag: int) -> Entry | None:
        """The entry of the task whose stall has this tag; ``None``: it was killed."""
        for task in self.alive:
            if task.stall is not None and task.stall.stag == stag:
                return task.entry
        return None

    @property
    def stalled(self) -> int:
        """Tasks that wait for a page."""
        return sum(1 for task in self.alive if task.state is TaskState.STALLED)

    def __repr__(self) -> str:
        return f"<Tasks {len(self.alive)} alive, {len(self._ready)} ready, {self.stalled} stalled>"
