"""The device: this machine's cores."""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from wdasync.backend import (
    Capabilities,
    Completion,
    Detail,
    DeviceInfo,
    DigestSpec,
    Inline,
    PageFaults,
    StreamSpec,
    Tiny,
)
from wdasync.errors import BackendUnavailable, UnsupportedOperation
from wdasync.operations import KINDS, Compress, KeySpec, Kind, Operation, Priority

from . import binding, codecs, threads
from .crypto import table
from .crypto.digests import CpuDigest, check_spec
from .crypto.keys import CpuKey
from .paging import FaultLine
from .plans import Plan, number_of, plan_of
from .queues import CpuQueue
from .sequences import runner
from .sessions import CpuSession
from .trials import OWN_FORMAT

__all__ = ["CpuDevice", "CpuInline", "Planner", "crews"]

#: Slots that the C side's numbers reach.
MAX_DEPTH = 1 << 16


#: Kinds of which there may be tiny work.
_TINY: Final = frozenset({Kind.DIGEST, Kind.SEAL, Kind.OPEN})


class CpuInline:
    """Small work in the caller's thread, with the same C code that the workers run."""

    def __init__(self, desk: object, planner: Planner) -> None:
        self._cost, self._run = binding.methods(desk)
        self._planner = planner

    def cost(self, operation: Operation) -> int:
        return self._cost(operation)  # type: ignore[no-any-return]  # a builtin function of the C side

    def run(self, operation: Operation) -> Completion:
        return self._run(operation)  # type: ignore[no-any-return]  # a builtin function of the C side

    def tiny(self, kind: Kind, algorithm: str) -> Tiny | None:
        """See :class:`wdasync.backend.TinyWork`."""
        number = self._planner.other(kind, algorithm) if kind in _TINY else ""
        found = binding.tiny(number) if isinstance(number, int) else None
        return None if found is None else Tiny(*found)


class Planner:
    """Finds the plan of an operation that is asked for the first time.

    The C side remembers the answers in the two tables, and asks nobody again. It holds this object and not the device,
    which holds it: what it holds, the garbage collector does not see.

    :ivar compress: (algorithm, level, window) -> number of a plan; with a dictionary, a True follows
    :ivar decompress: algorithm, or with a dictionary (algorithm, True) -> number of a plan
    :ivar others: (class, algorithm) -> number of a plan
    """

    def __init__(self, available: frozenset[str], *, paged: bool) -> None:
        rows = codecs.capabilities(available, paged=paged)
        self.capabilities = Capabilities([*rows, *table.capabilities(available)])
        self.compress: dict[tuple[object, ...], int] = {}
        self.decompress: dict[object, int] = {}
        self.others: dict[tuple[type[Operation], str], int] = {}
        self._available = available

    def resolve(self, operation: Operation) -> int | Detail:
        """The number of a plan, or a detail that says what is wrong."""
        dictionary = operation.dictionary is not None
        number: int | str
        if operation.kind >= Kind.COPY:
            number = self.other(operation.kind, operation.algorithm)
            if isinstance(number, int):
                self.others[KINDS[operation.kind], operation.algorithm] = number
        elif isinstance(operation, Compress):
            key = (operation.algorithm, operation.level, operation.window)
            number = self.plan(Kind.COMPRESS, *key, dictionary=dictionary)
            if isinstance(number, int):
                self.compress[(*key, True) if dictionary else key] = number
        else:
            name = operation.algorithm
            number = self.plan(Kind.DECOMPRESS, name, "fast", None, dictionary=dictionary)
            if isinstance(number, int):
                self.decompress[(name, True) if dictionary else name] = number
        return Detail(number) if isinstance(number, str) else number

    def other(self, kind: Kind, algorithm: str) -> int | str:
        """The number of a plan for what is no compression, or what is wrong."""
        if self.capabilities.find(kind, algorithm) is None:
            return self._unknown(kind, algorithm)
        implementation = table.work_of(kind, algorithm, self._available).implementation
        return number_of(Plan(kind, algorithm, implementation, 0, 0))

    def _unknown(self, kind: Kind, algorithm: object) -> str:
        known = ", ".join(row.algorithm for row in self.capabilities if row.kind is kind)
        return f"algorithm: expected one of {known}, got {algorithm!r}"

    def plan(
        self, kind: Kind, algorithm: str, level: object, window: object, *, dictionary: bool = False
    ) -> int | str:
        """The number of a plan, or what is wrong."""
        row = self.capabilities.find(kind, algorithm)
        if row is None:
            return self._unknown(kind, algorithm)
        if isinstance(level, bool) or not isinstance(level, int | str):
            return f"level: expected a name or an int, got {level!r}"
        if isinstance(level, int) and not row.scale[0] <= level <= row.scale[1]:
            return f"level: expected {row.scale[0]}..{row.scale[1]}, got {level}"
        try:
            found = row.level(level)
        except ValueError as error:
            return str(error)
        low, high = codecs.ALGORITHMS[algorithm].windows
        bits = window if isinstance(window, int) else codecs.ALGORITHMS[algorithm].window
        if window is not None and (type(window) is not int or not low <= window <= high):
            return f"window: expected {low}..{high}, got {window!r}"
        if dictionary and not row.dictionary:
            return f"dictionary: {algorithm} has none here"
        choice = codecs.choose(kind, algorithm, found, bits, self._available, dictionary=dictionary)
        if choice is None:
            return f"window: nothing that is installed here makes one of 2**{bits} bytes"
        own = choice[1] if dictionary and kind in (Kind.COMPRESS, Kind.COMPRESS_CHUNK) else found
        mapped = isinstance(level, int) and own != level
        return number_of(Plan(kind, algorithm, *choice, bits, mapped, dictionary))


#: Error number of a queue that cannot be opened -> what to do.
ADVICE = dict.fromkeys(
    (errno.EPERM, errno.ENOSYS), "in a container, allow the system call eventfd2 (seccomp)"
)


class CpuDevice:
    """See :class:`wdasync.backend.Device`. Any number of them share the workers of the process.

    :param available: the implementations that there are and that may be used
    :param workers: native workers wished for
    :param spare: those at low priority wished for
    :param paged_workers: the most of those that wait for pages
    :param line: its page faults; ``None``: it takes no input whose pages come when they are touched
    """

    def __init__(
        self,
        info: DeviceInfo,
        available: frozenset[str],
        workers: int,
        spare: int,
        paged_workers: int,
        line: FaultLine | None,
    ) -> None:
        self.info = info
        self.sva = True
        self.page_faults = PageFaults.KERNEL
        self.serve: Callable[[], Awaitable[None]] | None = line.serve if line else None
        self._line = line
        self._workers, self._spare = workers, spare
        self._planner = planner = Planner(available, paged=line is not None)
        self.capabilities = planner.capabilities
        self._available = available
        self._desk = binding.open_desk(
            planner.compress,
            planner.decompress,
            planner.others,
            planner.resolve,
            threads.ensure,
            runner(self),
            line.line if line else None,
            paged_workers,
        )
        self.inline: Inline | None = CpuInline(self._desk, planner)

    def __repr__(self) -> str:
        return f"<CpuDevice {self.info.name}>"

    @property
    def lacking(self) -> Mapping[str, str]:
        """Algorithms whose library is not here -> what to type to get it. See :class:`wdasync.backend.Lacking`."""
        return {
            name: binding.LIBRARIES[library].advice
            for name, library in (*OWN_FORMAT.items(), ("lz4-block", "lz4"))
            if self.capabilities.find(Kind.COMPRESS, name) is None
        } | table.lacking(self._available)

    @property
    def lost(self) -> str | None:
        return None

    def open_queue(self, depth: int, priority: Priority = Priority.NORMAL, queue_class: str = "") -> CpuQueue:
        if queue_class:
            raise BackendUnavailable(
                f"queue_class: expected '', got {queue_class!r}; the cpu has one class of queues"
            )
        try:
            binding.start_workers(self._workers, self._spare)  # Again here: a forked child has none.
            return CpuQueue(self._desk, min(max(depth, 1), MAX_DEPTH), priority)
        except OSError as error:
            advice = ADVICE.get(error.errno or 0, "close others, or raise the limit")
            raise BackendUnavailable(f"cpu: no queue to be had: {error}; {advice}") from error

    def open_session(self, spec: StreamSpec) -> CpuSession:
        known = spec.dictionary
        number = self._planner.plan(
            spec.kind, spec.algorithm, spec.level, spec.window, dictionary=known is not None
        )
        if isinstance(number, str):
            raise UnsupportedOperation(f"{spec.direction.value} {spec.algorithm} on cpu: {number}")
        content, raw = (None, False) if known is None else (known.content, known.raw)
        return CpuSession(spec, binding.open_session(self._desk, number, content, raw), plan_of(number))

    def open_digest(self, spec: DigestSpec) -> CpuDigest:
        number = self._planner.other(spec.kind, spec.algorithm)
        problem = number if isinstance(number, str) else check_spec(spec)
        if problem or isinstance(number, str):
            raise UnsupportedOperation(f"digest {spec.algorithm} on cpu: {problem}")
        return CpuDigest(spec, binding.open_session(self._desk, number, None, False))

    def open_key(self, spec: KeySpec) -> CpuKey:
        return CpuKey(
            spec, natively="openssl-sign" in self._available, sealed="openssl-seal" in self._available
        )

    def allocate(self, nbytes: int) -> memoryview | None:
        return None

    def reset(self) -> None:
        """Nothing can break here that a new queue does not mend."""

    def close(self) -> None:
        """The workers belong to the process, and stay."""
        if self._line is not None:
            self._line.close()


def crews(workers: int | None = None, spare: int | None = None) -> tuple[int, int]:
    """How many native workers, and how many at low priority.

    By default the former leave a core to the event loop, and a spare one lives on what the loop leaves of it.
    """
    cores = usable_cores()
    full = workers or max(1, cores - 1)
    return full, int(full < cores) if spare is None else spare


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))
