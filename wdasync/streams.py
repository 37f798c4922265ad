"""Streams: compression and decompression of data that does not come at once.

The methods are named as in :mod:`zlib`, :mod:`bz2` and :mod:`compression.zstd`, and are coroutines. The steps of a
stream run in order on the device where it was opened; if that is lost, some go on elsewhere (see :mod:`.handover`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Literal, NoReturn, Self

from .buffers import Segment, listed, pin_source
from .errors import (
    BackendUnavailable,
    DataCause,
    DataError,
    DeviceError,
    InvalidArgument,
    InvalidState,
    LimitExceeded,
    OperationAborted,
)
from .handover import WRAPPERS, Ledger
from .operations import CompressChunk, DecompressChunk, Flush, check_bound
from .sessions import PinnedSession

if TYPE_CHECKING:
    from .buffers import Source

__all__ = ["Compressor", "Decompressor", "compress_all", "decompress_all"]

#: Bytes of output that one step of a decompression may make.
STEP = 1 << 18

#: Formats whose units may be followed by zero bytes, as tapes and block devices leave them. RFC 1952 does not speak of it;
#: gzip(1) and Python's gzip module skip them, and so does a decompression in one call.
PADDED = frozenset({"gzip"})

#: How often one step may go on elsewhere.
MOVES = 4

#: The stream has failed for no fault of its own.
_LOSSES = (BackendUnavailable, DeviceError, OperationAborted)

_FLUSHES = {"sync": Flush.SYNC, "full": Flush.FULL}


class _Stream:
    """What both directions share. Made by :class:`~wdasync.Accelerator`, not by users."""

    def __init__(self, session: PinnedSession) -> None:
        self._session = session

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._session!r}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self!r} can be neither copied nor pickled: its state is on a device")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    @property
    def algorithm(self) -> str:
        """As it was asked for."""
        return self._session.spec.algorithm

    @property
    def device(self) -> str:
        """Backend and device where the stream lives."""
        return self._session.place.name

    async def reset(self) -> None:
        """Begin anew, as if just opened; also makes a poisoned stream usable again.

        :raises ClosedResourceError: if the stream is closed
        :raises BusyResourceError: if another task uses it
        :raises DeviceError: if its device was lost, and no other can begin it; it stays poisoned
        """
        await self._session.reset()

    async def aclose(self) -> None:
        """Give the stream back. Unfinished output is lost. Idempotent."""
        self._session.close()


class Compressor(_Stream):
    """A compressing stream. One task at a time uses it.

    Every method raises :exc:`ClosedResourceError` if it is closed, :exc:`BusyResourceError` if another task uses it,
    :exc:`InvalidState` if it is finished or poisoned. A cancelled call poisons the stream until :meth:`reset`.

    A stream of raw deflate, gzip or zlib goes on elsewhere if its device is lost and another one can do it; then output
    comes at least after every 256 KiB of input, and after each flush. Other streams end with :exc:`DeviceError`.
    """

    def __init__(self, session: PinnedSession) -> None:
        super().__init__(session)
        ledger = Ledger(session.spec, session.window) if session.spec.algorithm in WRAPPERS else None
        self._ledger = ledger if ledger is not None and session.can_become(ledger.plain) else None

    async def reset(self) -> None:
        """Begin anew, as if just opened; also makes a poisoned stream usable again. See :meth:`Decompressor.reset`."""
        await super().reset()
        if self._ledger is not None:
            self._ledger.forget()

    async def compress(self, data: Source, *, timeout: float | None = None) -> bytes:
        """Take ``data``; returns what output there is so far, often nothing."""
        return await self._step(data, Flush.NONE, timeout)

    async def flush(
        self, mode: Literal["sync", "full"] = "sync", data: Source = b"", *, timeout: float | None = None
    ) -> bytes:
        """Make everything taken so far decodable, after ``data`` if given; returns the output held back.

        :param mode: ``"full"`` also forgets the history, so that decoding can begin here
        """
        if type(mode) is not str or mode not in _FLUSHES:
            raise InvalidArgument(f'mode: expected "sync" or "full", got {mode!r}; finish() ends the stream')
        return await self._step(data, _FLUSHES[mode], timeout)

    async def finish(self, data: Source = b"", *, timeout: float | None = None) -> bytes:
        """End the stream, after ``data`` if given; returns the rest of the output, check value included."""
        output = await self._step(data, Flush.FINISH, timeout)
        self._session.finished = True
        return output

    async def _step(self, data: Source, flush: Flush, timeout: float | None) -> bytes:
        with self._session.use(timeout):
            if self._ledger is not None:
                return await self._movable_step(self._ledger, data, flush)
            completion = await self._session.run(CompressChunk(self._session.session, data, flush))
        return completion.output or b""

    async def _movable_step(self, ledger: Ledger, data: Source, flush: Flush) -> bytes:
        """A step whose output may be held back, so that it can be made once more elsewhere."""
        segments, _, _ = pin_source(data)
        try:
            content = await self._session.join(listed(segments))
            del segments  # an error lives on with this frame
            flush = ledger.take(content, flush)
            ledger.made(await self._insist(ledger, content, flush))
            if flush is Flush.NONE:
                return b""
            output = await self._session.compute(ledger.pending, partial(ledger.deliver, flush))
        except BaseException:
            # The ledger and the device may have gone different ways.
            self._session.poisoned = self._session.poisoned or "a call of it was cancelled"
            raise
        if flush is not Flush.FINISH and self._session.follow_policy(ledger.specs()):
            ledger.moved()
        return output

    async def _insist(self, ledger: Ledger, content: bytes, flush: Flush) -> bytes:
        """The output of a step; if the device fails, on others everything since the last boundary."""
        for _ in range(MOVES):
            try:
                operation = CompressChunk(self._session.session, content, flush)
                return (await self._session.run(operation)).output or b""
            except _LOSSES:
                if not self._session.move(ledger.specs()):
                    raise
                ledger.moved()
                content = await self._session.join(ledger.again())
        operation = CompressChunk(self._session.session, content, flush)
        return (await self._session.run(operation)).output or b""


class Decompressor(_Stream):
    """A decompressing stream. One task at a time uses it. Raises as :class:`Compressor` does.

    Input that was not used yet is kept: with a ``max_length``, call :meth:`decompress` with no data for the next piece,
    while :attr:`needs_input` is false. A call that raises because it could not begin has kept nothing. Zeros after a
    gzip member are padding, and are skipped.
    """

    def __init__(self, session: PinnedSession, bound: int) -> None:
        super().__init__(session)
        self._bound = bound
        self._forget()

    def _forget(self) -> None:
        self._kept: list[Segment] = []
        self._more = False
        self._eof = False
        self._members = 0

    async def reset(self) -> None:
        """Begin anew; what was kept is forgotten. See :meth:`Compressor.reset`."""
        await super().reset()
        self._forget()

    @property
    def eof(self) -> bool:
        """Whether the input given so far ends where a unit (member, frame) ends."""
        return self._eof

    @property
    def members(self) -> int:
        """How many units (members, frames) have ended so far."""
        return self._members

    @property
    def needs_input(self) -> bool:
        """Whether there is no more output without more input."""
        return not self._more

    @property
    def unused_data(self) -> bytes:
        """Input after the end of the stream.

        What begins as another member or frame does is taken for one. If it turns out to be none, it is here if it came with
        enough of what follows to see that, and else a :exc:`DataError` with the cause ``TRAILING_DATA``.
        """
        return b"".join(self._kept) if self._eof and not self._more else b""

    async def decompress(
        self, data: Source = b"", *, max_length: int | None = None, timeout: float | None = None
    ) -> bytes:
        """Take ``data``; returns output.

        :param max_length: at most so many bytes are returned, and the rest kept for the next call; ``None``: all of
            it, but no more than the accelerator's ``max_length``
        :raises LimitExceeded: if there is no ``max_length`` and the output passes the accelerator's
        :raises DataError: if the input is not valid
        """
        if max_length is not None:
            check_bound(max_length, "max_length", 1)
        segments, _, immutable = pin_source(data)
        with self._session.use(timeout):
            try:
                self._kept += [segment for segment in listed(segments) if segment]
                del segments  # an error lives on with this frame
                pieces = await self._take(self._bound if max_length is None else max_length)
                if self._more and max_length is None and await self._step(1):
                    self._session.poisoned = "its output passed the bound"
                    raise LimitExceeded(
                        f"decompress {self.algorithm}: output passes max_length of {self._bound} bytes; "
                        "take it in pieces by giving max_length here, or raise the accelerator's max_length"
                    )
                if self._kept and not immutable:
                    self._kept = [await self._session.join(self._kept)]
                return await self._session.join(pieces)
            except BaseException:
                # Nobody knows what was used of the input, and output that steps have made is lost.
                self._kept = []
                self._session.poisoned = self._session.poisoned or "a call of it was cancelled"
                raise

    async def _take(self, room: int) -> list[bytes]:
        """Output, until there is no more or ``room`` bytes are reached."""
        pieces: list[bytes] = []
        while True:
            piece = await self._step(min(room, STEP))
            pieces.append(piece)
            room -= len(piece)
            if not self._more or room <= 0:
                return pieces

    async def _step(self, limit: int) -> bytes:
        """One operation: at most ``limit`` bytes of output."""
        operation = DecompressChunk(self._session.session, tuple(self._kept) or b"", max(limit, 1))
        completion = await self._session.run(operation)
        output = completion.output or b""
        self._drop(completion.consumed)
        progress = bool(completion.consumed or output)
        if completion.detail.final or progress:
            self._eof = completion.detail.final
        self._members += completion.detail.final and progress
        if self._eof and self.algorithm in PADDED:
            progress |= self._drop_zeros()
        full = len(output) >= limit and not (self._eof and not self._kept)
        self._more = full or (bool(self._kept) and progress)
        return output

    def _drop(self, count: int) -> None:
        """So many bytes of what is kept were used."""
        while self._kept and count >= len(self._kept[0]):
            count -= len(self._kept.pop(0))
        if count:
            self._kept[0] = memoryview(self._kept[0])[count:]

    def _drop_zeros(self) -> bool:
        """Padding after a unit; whether there was any."""
        before = sum(map(len, self._kept))
        while self._kept and self._kept[0][0] == 0:
            first = self._kept[0]
            self._drop(len(first) - len(bytes(first).lstrip(b"\0")))
        return sum(map(len, self._kept)) < before

    async def finish(self) -> None:
        """Say that no more input comes.

        :raises InvalidState: if there is more output to take; the stream stays usable
        :raises DataError: if the input ended in the middle
        """
        with self._session.use():
            if self._more:
                raise InvalidState(
                    f"decompress {self.algorithm}: expected all output to be taken, got the end of the input while there may be "
                    "more; call decompress() until needs_input is true"
                )
            if not self._eof:
                raise DataError(
                    f"decompress {self.algorithm}: expected the end of the stream, got the end of the input; "
                    "the input is truncated",
                    cause=DataCause.TRUNCATED,
                )
            self._session.finished = True


async def compress_all(
    open_stream: Callable[[], Compressor],
    source: AsyncIterable[Source],
    *,
    flush: bool,
    timeout: float | None = None,
) -> AsyncGenerator[bytes, None]:
    """Everything that ``source`` yields, compressed.

    :param flush: after each piece, everything so far is decodable
    :param timeout: seconds for each step
    """
    async with open_stream() as stream:
        async for data in source:
            step = (
                stream.flush(data=data, timeout=timeout) if flush else stream.compress(data, timeout=timeout)
            )
            if output := await step:
                yield output
        yield await stream.finish(timeout=timeout)


async def decompress_all(
    open_stream: Callable[[], Decompressor], source: AsyncIterable[Source], *, timeout: float | None = None
) -> AsyncGenerator[bytes, None]:
    """Everything that ``source`` yields, decompressed, in pieces of at most 256 KiB.

    :param timeout: seconds for each step
    """
    async with open_stream() as stream:
        async for data in source:
            output = await stream.decompress(data, max_length=STEP, timeout=timeout)
            if output:
                yield output
            while not stream.needs_input:
                output = await stream.decompress(max_length=STEP, timeout=timeout)
                if output:
                    yield output
            if rest := stream.unused_data:
                raise DataError(
                    f"decompress {stream.algorithm}: expected the end, got {len(rest)} bytes or more after the end of "
                    "the stream; cut them off",
                    cause=DataCause.TRAILING_DATA,
                )
        await stream.finish()
