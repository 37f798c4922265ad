"""The accelerator: what users hold.

The way of one await: arguments are checked, the schedule picks a device, the operation gets a slot in a lane (or
waits for one: that is the back-pressure), the lane sends it in a burst, one wake-up brings everything that has
finished, and the task goes on.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, overload

import anyio

from . import forks
from .backend import Capabilities, Completion, Counting, Direction, StreamSpec
from .config import Effective
from .cryptowork import CryptoWork
from .dispatch import Lane, LaneState, Reaper
from .errors import InvalidArgument, InvalidState, WdasyncError
from .execution import Execution, Trip, close_devices, close_devices_here, within
from .faults import FaultStream, PageFault, serving_fault
from .memorywork import MemoryWork
from .operations import Compress, Decompress, Dictionary, Level, Nop, Operation, Priority, as_dictionary
from .paged import PagedBuffer
from .results import Result
from .scheduling import Place, Reason
from .sequences import OperationSequence
from .sessions import PinnedSession, open_session
from .statistics import AcceleratorStatistics, DeviceStatistics, LaneStatistics
from .streams import Compressor, Decompressor, compress_all, decompress_all

if TYPE_CHECKING:
    from .buffers import Source

__all__ = ["Accelerator", "insist"]

logger = logging.getLogger("wdasync")

#: Inputs of one burst of :meth:`Accelerator.compress_many`: more would keep the event loop from everything else.
SLICE = 1024


class Accelerator(MemoryWork, CryptoWork):
    """Devices, their queues, and a policy; for one event loop and one thread. See :func:`open_accelerator`.

    Every coroutine of it is cancellable. A cancelled operation is withdrawn if the device has not begun; otherwise it
    is left to finish by itself where the framework owns all its memory, and waited for where the caller does. In
    either case nothing is written into a buffer of the caller's after the await has ended.

    All operations raise :exc:`ClosedResourceError` if the accelerator is closed, :exc:`ForeignLoopError` if it belongs
    to another event loop, thread or process, :exc:`OperationTimeout` if ``timeout`` seconds are over,
    :exc:`InvalidArgument` for a value that cannot be right, :exc:`UnsupportedOperation` if no backend can do it, and
    :exc:`DeviceError` if the device failed and nobody was allowed to take over.
    """

    def __init__(
        self, effective: Effective, places: Sequence[Place], reaper: Reaper, execution: Execution
    ) -> None:
        self._effective = effective
        self._config = effective.config
        self._places = tuple(places)
        self._reaper = reaper
        self._execution = execution
        self._run = execution.run
        self._generation = forks.generation
        self._closing = False
        self._closed = anyio.Event()
        self._faults = 0
        self._fault_streams: list[FaultStream] = []

    # -- life -----------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        state = "open" if self._execution.open else "closed"
        places = ", ".join(place.name for place in self._places)
        return f"<Accelerator {state} on {self._execution.loop.name}: {places}>"

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        if hasattr(self, "_execution"):
            self._forget(_warn)

    def loop_closed(self, in_order: bool) -> None:
        """Its event loop was closed: give everything back, and say so unless that is in order."""
        self._forget(None if in_order else warnings.warn)

    def _forget(self, warn: Callable[..., None] | None) -> None:
        execution = self._execution
        if not execution.open or self._generation != forks.generation:
            return
        message = f"unclosed {self!r}; use `async with`, or await aclose()"
        execution.forget()
        self._reaper.forget()
        execution.forget_keys()
        execution.loop.forget(partial(close_devices_here, self._places))
        if warn is not None:
            warn(message, ResourceWarning, source=self, stacklevel=3)

    async def aclose(self) -> None:
        """Close it. What is on the devices gets ``close_timeout`` seconds to finish; callers that wait for a slot, and
        what does not finish, end with :exc:`ClosedResourceError`. Idempotent; a second call waits for the first.

        Cancelling it does not undo it: it only stops waiting for the devices.
        """
        if self._generation != forks.generation:
            self._execution.open = False  # the parent's queues are not ours to close
            return
        self._execution.check_loop()
        if serving_fault.get():
            raise InvalidState(
                "aclose: expected outside of fault handlers and pagers, got a call from one; closing waits for them"
            )
        if self._closing:
            await self._closed.wait()
            return
        self._closing = True
        self._execution.open = False
        self._execution.stop_fetching()
        cancelled: BaseException | None = None
        try:
            await self._reaper.drain(self._config.close_timeout)
        except anyio.get_cancelled_exc_class() as error:
            cancelled = error
        # The service task ends before the devices do: it may be waiting for their descriptors, whose numbers others get.
        for step in (
            self._execution.stop_opening,
            self._reaper.close,
            self._execution.loop.stop,
            self._close_devices,
        ):
            cancelled = await insist(step) or cancelled
        for stream in list(self._fault_streams):
            stream.close()
        self._closed.set()
        logger.info("closed %r", self)
        if cancelled is not None:
            raise cancelled

    async def _close_devices(self) -> None:
        self._execution.forget_keys()
        await close_devices(self._execution.loop, self._places)

    # -- one operation ----------------------------------------------------------------------------------------

    async def compress(
        self,
        data: Source | PagedBuffer,
        algorithm: str = "gzip",
        *,
        level: Level | None = None,
        window: int | None = None,
        dictionary: Source | Dictionary | None = None,
        timeout: float | None = None,
        priority: Priority = Priority.NORMAL,
    ) -> bytes:
        """Compress ``data`` into one whole unit.

        :param data: bytes-like, a list of them, or a :class:`~wdasync.PagedBuffer`
        :param algorithm: ``gzip`` (RFC 1952), ``zlib`` (RFC 1950), ``deflate`` (RFC 1951, raw), ``br`` (RFC 7932),
            ``zstd`` (RFC 8878), ``lz4`` (its frame format), …
        :param level: ``"fast"``, ``"balanced"``, ``"best"`` or a number; default: the accelerator's ``level``
        :param window: base-2 logarithm of the history in bytes
        :param dictionary: bytes-like, or a :class:`~wdasync.Dictionary`: what the decompressor will know, too
        :param timeout: seconds
        :param priority: which queue it waits in
        """
        level = self._config.level if level is None else level
        operation = Compress(data, algorithm, level=level, window=window, dictionary=dictionary)
        completion = await self._run(operation, timeout, priority)
        return completion[2] or b""

    async def decompress(
        self,
        data: Source | PagedBuffer,
        algorithm: str = "gzip",
        *,
        max_length: int | None = None,
        max_members: int = 1024,
        dictionary: Source | Dictionary | None = None,
        timeout: float | None = None,
        priority: Priority = Priority.NORMAL,
    ) -> bytes:
        """Decompress one whole unit, concatenated members included.

        :param max_length: bytes of output allowed; default: the accelerator's ``max_length``
        :param max_members: concatenated members (gzip) or frames (zstd, lz4) allowed
        :param dictionary: bytes-like, or a :class:`~wdasync.Dictionary`: what the compressor knew
        :raises LimitExceeded: if one of the bounds would be passed
        :raises DataError: if the input is not valid; its ``cause`` says in what way
        """
        bound = self._config.max_length if max_length is None else max_length
        operation = Decompress(
            data, algorithm, max_length=bound, max_members=max_members, dictionary=dictionary
        )
        completion = await self._run(operation, timeout, priority)
        return completion[2] or b""

    async def compress_into(
        self,
        data: Source | PagedBuffer,
        buffer: object,
        algorithm: str = "gzip",
        *,
        level: Level | None = None,
        window: int | None = None,
        dictionary: Source | Dictionary | None = None,
        timeout: float | None = None,
        priority: Priority = Priority.NORMAL,
    ) -> int:
        """Compress ``data`` into memory of the caller's; returns the bytes produced.

        A cancelled call returns only after the device has let go of ``buffer``.

        :param buffer: writable, contiguous; no part of ``data``, which is read while it is written
        :raises OutOfSpace: if the output does not fit
        """
        level = self._config.level if level is None else level
        operation = Compress(
            data, algorithm, level=level, window=window, into=_given(buffer), dictionary=dictionary
        )
        return (await self._run(operation, timeout, priority))[4]

    async def decompress_into(
        self,
        data: Source | PagedBuffer,
        buffer: object,
        algorithm: str = "gzip",
        *,
        max_members: int = 1024,
        dictionary: Source | Dictionary | None = None,
        timeout: float | None = None,
        priority: Priority = Priority.NORMAL,
    ) -> int:
        """Decompress into memory of the caller's; returns the bytes produced. See :meth:`compress_into`."""
        operation = Decompress(
            data,
            algorithm,
            max_length=self._config.max_length,
            max_members=max_members,
            into=_given(buffer),
            dictionary=dictionary,
        )
        return (await self._run(operation, timeout, priority))[4]

    async def nop(self, *, timeout: float | None = None, priority: Priority = Priority.NORMAL) -> None:
        """Nothing, through the whole way to a device and back: what an await costs."""
        await self._run(Nop(), timeout, priority)

    @overload
    async def compress_many(
        self,
        items: Sequence[Source | PagedBuffer],
        algorithm: str = "gzip",
        *,
        level: Level | None = None,
        window: int | None = None,
        dictionary: Source | Dictionary | None = None,
        timeout: float | None = None,
        priority: Priority = Priority.NORMAL,
        return_exceptions: Literal[False] = False,
    ) -> list[bytes]: ...

    @overload
    async def compress_many(
        self,
        items: Sequence[Source | PagedBuffer],
        algorithm: str = "gzip",
        *,
        level: Level | None = None,
        window: int | None = None,
        dictionary: Source | Dictionary | None = None,
        timeout: float | None = None,
        priority: Priority = Priority.NORMAL,
        return_exceptions: bool,
    ) -> list[bytes | WdasyncError]: ...

    async def compress_many(
        self,
        items: Sequence[Source | PagedBuffer],
        algorithm: str = "gzip",
        *,
        level: Level | None = None,
        window: int | None = None,
        dictionary: Source | Dictionary | None = None,
        timeout: float | None = None,
        priority: Priority = Priority.NORMAL,
        return_exceptions: bool = False,
    ) -> list[bytes] | list[bytes | WdasyncError]:
        """Compress many inputs, each into its own unit, in one burst. The order is kept.

        :param timeout: seconds for all of them; when it is over that is raised, whatever ``return_exceptions`` says
        :param return_exceptions: give an error as the result of its item; otherwise the first one is raised, after all
            have ended
        """
        level = self._config.level if level is None else level
        items, known = _listed(items), as_dictionary(dictionary)
        self._execution.check(timeout)
        results: list[bytes | WdasyncError] = []
        with within(timeout, f"{len(items)} operations"):
            for start in range(0, len(items), SLICE):
                part = items[start : start + SLICE]
                made = [
                    _made(data, algorithm, level, window, known, number)
                    for number, data in enumerate(part, start)
                ]
                good = [operation for operation in made if isinstance(operation, Compress)]
                if len(good) < len(made) and not return_exceptions:
                    for operation in good:
                        operation.release()
                    raise next(error for error in made if isinstance(error, InvalidArgument))
                ended = iter(await self._execution.run_many(good, timeout, priority))
                results += [
                    _output(next(ended)) if isinstance(operation, Compress) else operation
                    for operation in made
                ]
        if not return_exceptions:
            for result in results:
                if isinstance(result, WdasyncError):
                    raise result
        return results

    async def execute(
        self, operation: Operation, *, timeout: float | None = None, priority: Priority = Priority.NORMAL
    ) -> Result:
        """Run an operation object; the result tells where it ran, why, how long it took, with how many faults.

        The operation is the caller's, and so are its buffers: they stay pinned as long as it lives, also after an error.
        """
        _check_operation(operation)
        trip = Trip()
        started = time.perf_counter()
        completion = await self._execution.run_traced(operation, timeout, priority, trip)
        latency = time.perf_counter() - started
        assert trip.place is not None
        return Result(
            output=completion.output,
            produced=completion.produced,
            consumed=completion.consumed,
            backend=trip.place.backend,
            device=trip.place.device.info.name,
            queue=trip.queue,
            where=completion.detail.where,
            reason=trip.reason,
            latency=latency,
            faults=completion.detail.faults,
            paging=trip.paging,
        )

    def sequence(self) -> OperationSequence:
        """Several operations in one go: ``await acc.sequence().decompress("gzip").crc32c().run(data)``."""
        self._execution.check()
        return OperationSequence(self._execution, self._config.max_length, self._config.level)

    # -- streams ----------------------------------------------------------------------------------------------

    def compressor(
        self,
        algorithm: str = "gzip",
        *,
        level: Level | None = None,
        window: int | None = None,
        dictionary: Source | Dictionary | None = None,
        priority: Priority = Priority.NORMAL,
    ) -> Compressor:
        """Open a compressing stream. Use it with ``async with``, or call its ``aclose()``.

        :param priority: which queue its steps wait in
        """
        level = self._config.level if level is None else level
        spec = StreamSpec(Direction.COMPRESS, algorithm, level, window, as_dictionary(dictionary))
        return Compressor(self._open_session(spec, priority))

    def decompressor(
        self,
        algorithm: str = "gzip",
        *,
        window: int | None = None,
        dictionary: Source | Dictionary | None = None,
        priority: Priority = Priority.NORMAL,
    ) -> Decompressor:
        """Open a decompressing stream. Use it with ``async with``, or call its ``aclose()``.

        :param window: base-2 logarithm of the largest history in bytes that the data may want; ``None``: the device's
            largest. It bounds the memory that a frame of Zstandard can claim; one that wants more ends with
            :exc:`UnsupportedOperation`. Of other formats, whose history is small, a device may read more
        """
        spec = StreamSpec(
            Direction.DECOMPRESS, algorithm, window=window, dictionary=as_dictionary(dictionary)
        )
        session = self._open_session(spec, priority)
        return Decompressor(session, self._config.max_length)

    def compress_stream(
        self,
        source: AsyncIterable[Source],
        algorithm: str = "gzip",
        *,
        level: Level | None = None,
        window: int | None = None,
        dictionary: Source | Dictionary | None = None,
        flush: bool = False,
        timeout: float | None = None,
        priority: Priority = Priority.NORMAL,
    ) -> AsyncGenerator[bytes, None]:
        """Compress what an async iterable or an anyio byte stream yields.

        Whoever leaves the result before its end closes it, and the source, which it never closes: it is the caller's, who may want
        the rest of it. :func:`contextlib.aclosing` does that for an async generator.

        :param flush: after each piece of input, everything so far is decodable
        :param timeout: seconds that each step of the stream may take; the source may take any time
        """
        _check_source(source)
        known = as_dictionary(dictionary)

        def open_stream() -> Compressor:
            return self.compressor(algorithm, level=level, window=window, dictionary=known, priority=priority)

        return compress_all(open_stream, source, flush=flush, timeout=timeout)

    def decompress_stream(
        self,
        source: AsyncIterable[Source],
        algorithm: str = "gzip",
        *,
        window: int | None = None,
        dictionary: Source | Dictionary | None = None,
        timeout: float | None = None,
        priority: Priority = Priority.NORMAL,
    ) -> AsyncGenerator[bytes, None]:
        """Decompress what an async iterable or an anyio byte stream yields, in pieces of at most 256 KiB. Who closes what is as in
        :meth:`compress_stream`.

        :param window: as of :meth:`decompressor`
        :param timeout: seconds that each step of the stream may take; the source may take any time
        :raises DataError: if the input is not valid, ends in the middle, or goes on after the end
        """
        _check_source(source)
        known = as_dictionary(dictionary)

        def open_stream() -> Decompressor:
            return self.decompressor(algorithm, window=window, dictionary=known, priority=priority)

        return decompress_all(open_stream, source, timeout=timeout)

    def _open_session(self, spec: StreamSpec, priority: Priority) -> PinnedSession:
        self._execution.check()
        place, row, session = open_session(self._execution, spec, priority)
        self._execution.reasons[Reason.STREAM] += 1
        return PinnedSession(self._execution, place, row, priority, session)

    # -- being looked at ----------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether it takes operations."""
        return self._execution.open

    @property
    def effective(self) -> Effective:
        """The settings that hold here, and where each came from."""
        return self._effective

    def capabilities(self) -> Mapping[str, Capabilities]:
        """What each device can do: ``backend/device`` -> its table."""
        return {place.name: place.device.capabilities for place in self._places}

    def statistics(self) -> AcceleratorStatistics:
        """Everything counted since it was opened; also after it was closed."""
        execution = self._execution
        names = {lane: place.name for place in self._places for lane in place.every}
        inline = sum(lane.ran_inline for lane in self._reaper.lanes)
        reasons = {reason.name.lower(): execution.reasons[reason] for reason in Reason}
        return AcceleratorStatistics(
            lanes=tuple(_lane_statistics(lane, names.get(lane, "")) for lane in self._reaper.lanes),
            reasons=reasons | {Reason.INLINE.name.lower(): inline},
            inline=inline,
            retries=execution.retries,
            faults=self._faults,
            devices={
                place.name: dict(place.device.counters())
                for place in self._places
                if isinstance(place.device, Counting)
            },
            places=tuple(_device_statistics(place) for place in self._places),
        )

    @asynccontextmanager
    async def faults(self) -> AsyncIterator[FaultStream]:
        """Observe page faults: ``async with acc.faults() as faults: async for fault in faults: …``"""
        self._execution.check()
        stream = FaultStream()
        self._fault_streams.append(stream)
        try:
            yield stream
        finally:
            self._fault_streams.remove(stream)
            stream.close()
            stream.discard()

    def _report_fault(self, fault: PageFault) -> None:
        self._faults += 1
        for place in self._places:
            if place.device.info.name == fault.device:
                place.goes_on()
        for stream in self._fault_streams:
            stream.report(fault)


def _given(buffer: object) -> object:
    """A buffer for the output; ``None`` would mean that there is none."""
    if buffer is None:
        raise InvalidArgument("buffer: expected a writable bytes-like object, got None; use a bytearray")
    return buffer


def _listed(items: object) -> list[Source | PagedBuffer]:
    if not isinstance(items, Iterable) or isinstance(items, bytes | bytearray | memoryview | str):
        raise InvalidArgument(f"items: expected a list of inputs, got {type(items).__name__}")
    return list(items)


def _check_operation(operation: object) -> None:
    if not isinstance(operation, Operation) or not hasattr(operation, "session"):
        raise InvalidArgument(
            f"operation: expected an object such as Compress(data, 'gzip'), got {type(operation).__name__}"
        )
    if not operation.stateless:
        raise InvalidArgument(
            "operation: expected a stateless one, got a step of a stream; use the stream's methods"
        )


def _made(
    data: object, algorithm: str, level: Level, window: int | None, dictionary: Dictionary | None, number: int
) -> Compress | InvalidArgument:
    try:
        return Compress(data, algorithm, level=level, window=window, dictionary=dictionary)
    except InvalidArgument as error:
        return InvalidArgument(f"items[{number}]: {error}")


def _output(outcome: Completion | WdasyncError) -> bytes | WdasyncError:
    return outcome if isinstance(outcome, WdasyncError) else outcome[2] or b""


def _check_source(source: object) -> None:
    if not isinstance(source, AsyncIterable):
        raise InvalidArgument(
            f"source: expected an async iterable of bytes-like objects, got {type(source).__name__}; "
            "compress() and decompress() take what is there already"
        )


async def insist(step: Callable[[], Awaitable[None]]) -> BaseException | None:
    """Do a step of closing to its end, for the next one relies on it; returns a cancellation that came meanwhile.

    asyncio's own cancellations come through the shield; each step can be begun again.
    """
    cancelled: BaseException | None = None
    while True:
        try:
            with anyio.CancelScope(shield=True):
                await step()
        except anyio.get_cancelled_exc_class() as error:
            cancelled = error
        else:
            return cancelled


def _device_statistics(place: Place) -> DeviceStatistics:
    lanes, lost = place.every, place.lost
    closed = [lane for lane in lanes if lane.state is LaneState.CLOSED]
    working = [lane for lane in lanes if lane.state not in (LaneState.LOST, LaneState.CLOSED)]
    inline = sum(lane.ran_inline for lane in lanes)
    return DeviceStatistics(
        name=place.name,
        state="closed" if closed else "lost" if lost else "open" if lanes else "no queue",
        reason=lost or "",
        numa_node=place.device.info.numa_node,
        distance=place.distance,
        queues=len(working),
        missing=sum(place.missing.values()),
        in_flight=sum(lane.in_flight for lane in lanes),
        completed=inline + sum(lane.completed for lane in lanes),
        inline=inline,
        bytes_in=sum(lane.bytes_in for lane in lanes),
        bytes_out=sum(lane.bytes_out for lane in lanes),
        losses=place.losses,
        returns=place.returns,
        attempts=place.attempts,
    )


def _lane_statistics(lane: Lane, device: str) -> LaneStatistics:
    return LaneStatistics(
        name=lane.name,
        device=device,
        state=lane.state.value,
        depth=lane.depth,
        in_flight=lane.in_flight,
        parked=lane.parked,
        submitted=lane.submitted,
        completed=lane.completed,
        inline=lane.ran_inline,
        statuses=lane.statuses,
        bytes_in=lane.bytes_in,
        bytes_out=lane.bytes_out,
        bursts=lane.bursts,
        wakes=lane.wakes,
        withdrawn=lane.withdrawn,
        detached=lane.detached,
        outstayed=lane.outstayed,
        spurious=lane.spurious,
        rescues=lane.rescues,
        resets=lane.resets,
        returns=lane.returns,
        queue=lane.queue.statistics(),
    )
