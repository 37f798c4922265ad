"""What the mock's device does with one operation: checks it against the capability table, runs the codec."""

from __future__ import annotations

from typing import Protocol

from ..backend import Capabilities, Capability, Detail, Direction, StreamSpec
from ..buffers import join
from ..errors import InvalidState, Status
from ..operations import Compress, CompressChunk, Decompress, DecompressChunk, Flush, Nop, Operation
from ._codecs import CODECS, Decoder, Encoder, Outcome, begins_a_member, later_member
from ._digests import work_on_digests

__all__ = ["MockSession", "maps_level", "work"]


class Owner(Protocol):
    """The device of a session."""

    @property
    def capabilities(self) -> Capabilities: ...


class MockSession:
    """A stream on a mock device.

    :ivar busy: an operation of it is in flight
    :ivar ended: no more steps until a reset: the stream is finished, or broken; a decompressing stream that has come
        to the end of a unit may go on with the next member
    """

    def __init__(self, owner: Owner, spec: StreamSpec, row: Capability) -> None:
        self.owner = owner
        self.spec = spec
        self.busy = False
        self.ended = False
        self.closed = False
        self._row = row
        self._encoder: Encoder | None = None
        self._decoder: Decoder | None = None
        self._begin()

    def _begin(self) -> None:
        self._between_members = self._later = False
        codec = CODECS[self.spec.algorithm]
        window = self.spec.window or self._row.window
        if self.spec.direction is Direction.COMPRESS:
            self._encoder = codec.encoder(self._row.level(self.spec.level), window)
        else:
            self._decoder = codec.decoder(window)

    def step(self, operation: Operation) -> Outcome:
        """One step; after the last one, or a failure, nothing goes on until a reset."""
        data = bytes(join(operation.source))
        if self._between_members and not self.closed:
            if not self._next_member(data):
                return Outcome(Status.SUCCESS, detail=Detail(final=True))
        elif self.ended or self.closed:
            return Outcome(Status.INVALID_STATE, detail=Detail("the stream has ended"))
        if isinstance(operation, CompressChunk) and self._encoder is not None:
            self.ended = operation.flush is Flush.FINISH
            outcome = Outcome(Status.SUCCESS, self._encoder.step(data, operation.flush), len(data))
        elif isinstance(operation, DecompressChunk) and self._decoder is not None:
            outcome = self._decoder.step(data, operation.max_length)
            if self._later:
                outcome = later_member(outcome)
            self._between_members = outcome.status is Status.SUCCESS and self._decoder.ended
            self.ended = outcome.status is not Status.SUCCESS or self._decoder.ended
        else:
            return _refuse("the stream goes the other way")
        if self.ended and outcome.status is Status.SUCCESS:
            return outcome._replace(detail=Detail(final=True))
        return outcome

    def _next_member(self, data: bytes) -> bool:
        """Begin the next member, if ``data`` is the beginning of one."""
        if not (CODECS[self.spec.algorithm].members and begins_a_member(data)):
            return False
        self._begin()
        self._later = True
        return True

    def poison(self) -> None:
        """A step of it failed: nothing goes on until a reset."""
        self.ended = True
        self._between_members = False

    def reset(self) -> None:
        self._idle("reset")
        self._begin()
        self.ended = False

    def close(self) -> None:
        self._idle("close")
        self.closed = True

    def _idle(self, what: str) -> None:
        if self.busy:
            raise InvalidState(f"{what}: an operation of this stream is in flight; wait for its completion")


def maps_level(operation: Operation, capabilities: Capabilities) -> bool:
    """Whether the device takes another level than the caller asked for."""
    row = capabilities.find(operation.kind, operation.algorithm)
    return (
        row is not None and isinstance(operation.level, int) and row.level(operation.level) != operation.level
    )


def work(operation: Operation, owner: Owner, queue_class: str) -> Outcome:
    """Do it, as the device: everything but its buffers and its session is left as it was."""
    row = owner.capabilities.find(operation.kind, operation.algorithm)
    if row is None or row.queue_class != queue_class:
        return _refuse(
            f"no row for {operation.kind.name} {operation.algorithm} in queue class {queue_class!r}"
        )
    if operation.dictionary is not None:
        return _refuse("a dictionary, and there are none here")
    if row.max_input is not None and operation.nbytes > row.max_input:
        return _refuse(f"{operation.nbytes} bytes of input, at most {row.max_input}")
    match operation:
        case Nop():
            return Outcome(Status.SUCCESS)
        case Compress():
            return _compress(operation, row)
        case Decompress():
            return _decompress(operation, row)
        case CompressChunk() | DecompressChunk():
            session = operation.session
            if isinstance(session, MockSession) and session.owner is owner:
                return session.step(operation)
            return _refuse("the stream is not one of this device")
        case _:
            done = work_on_digests(operation, owner)
            return done or _refuse(f"{type(operation).__name__} is unknown here")


def _compress(operation: Compress, row: Capability) -> Outcome:
    codec = CODECS[row.algorithm]
    window = operation.window or row.window
    if problem := _level_problem(operation.level, row) or _window_problem(window, row):
        return _refuse(problem)
    output = codec.compress(bytes(join(operation.source)), row.level(operation.level), window)
    room = len(output) if operation.destination is None else len(operation.destination)
    if row.max_output is not None:
        room = min(room, row.max_output)
    if len(output) > room:  # A device fills what there is before it gives up.
        return Outcome(
            Status.OUT_OF_SPACE_TERMINATED, output[:room], detail=Detail(f"needs {len(output)} bytes")
        )
    return Outcome(Status.SUCCESS, output, operation.nbytes)


def _decompress(operation: Decompress, row: Capability) -> Outcome:
    limit = operation.max_length
    if operation.destination is not None:
        limit = min(limit, len(operation.destination))
    data = bytes(join(operation.source))
    return CODECS[row.algorithm].decompress(data, row.window, limit, operation.max_members)


def _level_problem(level: object, row: Capability) -> str:
    if isinstance(level, int):
        return "" if row.scale[0] <= level <= row.scale[1] else f"level {level} is outside {row.scale}"
    return "" if level in ("fast", "balanced", "best") else f"level {level!r} is unknown"


def _window_problem(window: int, row: Capability) -> str:
    least = CODECS[row.algorithm].windows[0]
    return "" if least <= window <= row.window else f"window {window} is outside {least} to {row.window}"


def _refuse(message: str) -> Outcome:
    return Outcome(Status.INVALID_ARGS, detail=Detail(message))
