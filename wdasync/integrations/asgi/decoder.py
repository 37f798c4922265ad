"""A compressed request body on its way through the accelerator: its end at the client, and one layer for each coding.

Each says with ``piece()`` what comes next. Nothing is lost when that is cancelled while it waits for the client, or when the
client's side fails. Broken off while a device works on it, a layer has no next piece and no end.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

from anyio.lowlevel import checkpoint_if_cancelled

from ...errors import (
    BackendUnavailable,
    DataError,
    DeviceError,
    InvalidState,
    OperationAborted,
    UnsupportedOperation,
)
from ...streams import Decompressor
from .types import Message, Receive

__all__ = ["Bounds", "Departure", "Layer", "Refusal", "Wire"]

#: Bytes of a body that the application gets at once, at most.
STEP: Final = 1 << 18

#: Bytes of input at a time, at most: bounds are looked at after each. An empty member of gzip has 20.
FED: Final = 1 << 14

#: Bytes of input that are kept, at most, in case that a device is lost; and how often a body may begin anew.
KEPT: Final = 1 << 18
MOVES: Final = 4

#: A device has failed, and the body has not.
_LOSSES: Final = (BackendUnavailable, DeviceError, OperationAborted)

#: Bytes of output below which no ratio is looked at: a few bytes of input may well become thousands.
FREE: Final = 1 << 20


class Bounds(NamedTuple):
    """What a decompressed body may be.

    :ivar length: bytes
    :ivar ratio: bytes of output for each byte of input
    :ivar members: concatenated gzip members or zstd frames
    """

    length: int
    ratio: int
    members: int


class Refusal(Exception):
    """Raised when a body cannot be taken: the status to answer with, and why."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Departure(Exception):
    """Raised when something else than the body came from the client's side, such as its leaving.

    :ivar message: what came
    """

    def __init__(self, message: Message) -> None:
        super().__init__(message["type"])
        self.message = message


class Source(Protocol):
    """Where a layer gets its input from."""

    async def piece(self) -> bytes | None:
        """The next piece, never empty; ``None``: the body has ended."""


class Wire:
    """The body as it comes from the client."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._more = True

    async def piece(self) -> bytes | None:
        """The next piece.

        :raises Departure: if it is no part of a body
        """
        while self._more:
            message = await self._receive()
            if message["type"] != "http.request":
                raise Departure(message)
            self._more = message.get("more_body", False)
            if body := message.get("body", b""):
                return bytes(body)
        return None


class Layer:
    """One coding of the body, taken off. An empty body is empty in any coding.

    If the device is lost, the body is decompressed from its beginning on another one, as long as all of its input is still here.

    :param stream: of that coding; whoever opened it closes it
    :param timeout: seconds that one step may take
    :param others: there are other devices
    """

    def __init__(
        self, stream: Decompressor, source: Source, bounds: Bounds, timeout: float | None, *, others: bool
    ) -> None:
        self._stream = stream
        self._source = source
        self._bounds = bounds
        self._timeout = timeout
        self._input = memoryview(b"")
        self._fed: list[memoryview] | None = (
            [] if others else None
        )  # all that the stream was given; None: it is not kept
        self._begun = 0
        self._taken = self._made = self._delivered = 0
        self._broken = False

    async def piece(self) -> bytes | None:
        """The next piece, of at most :data:`STEP` bytes.

        :raises Refusal: if the body cannot be taken
        :raises InvalidState: if a call was broken off while the device worked
        """
        if self._broken:
            raise InvalidState(
                "receive: expected a body that nobody broke off, got one that was cancelled or failed while a device "
                "decompressed it; the rest of the request's body is lost"
            )
        while True:
            if self._stream.needs_input and not self._input:
                data = await self._source.piece()
                if data is None:
                    self._end()
                    return None
                self._taken += len(data)
                self._input = memoryview(data)
            if output := await self._step():
                return output

    async def _step(self) -> bytes:
        """A little of the input, or what is left of the last output."""
        await checkpoint_if_cancelled()  # before anything has begun
        data: bytes | memoryview = b""
        if self._stream.needs_input:
            data, self._input = self._input[:FED], self._input[FED:]
            self._keep(data)
        self._broken = True
        try:
            output = await self._stream.decompress(
                data, max_length=min(STEP, self._bounds.length + 1), timeout=self._timeout
            )
        except DataError as error:
            raise self._refusal(error.cause.value) from error
        except UnsupportedOperation as error:  # a history that no client may ask for
            raise self._refusal(str(error)) from error
        except _LOSSES:
            if self._fed is None or self._begun == MOVES:
                raise
            await self._begin_anew(self._fed)
            self._broken = False
            return b""
        seen = max(0, self._delivered - self._made)  # of what is made once more
        self._made += len(output)
        self._check()
        self._broken = False
        self._delivered = max(self._delivered, self._made)
        return output[seen:]

    def _keep(self, data: memoryview) -> None:
        if self._fed is not None:
            self._fed.append(data)
            if self._taken - len(self._input) > KEPT:
                self._fed = None

    async def _begin_anew(self, fed: list[memoryview]) -> None:
        """The stream begins again, elsewhere if its device is lost; its input is all to come."""
        self._begun += 1
        await self._stream.reset()
        self._input = memoryview(b"".join([*fed, self._input]))
        self._fed, self._made = [], 0

    def _check(self) -> None:
        """Nothing is taken that passes a bound, or follows the end."""
        length, ratio, members = self._bounds
        if self._made > length:
            raise Refusal(413, f"expected a body of at most {length} bytes after decompression, got more")
        if self._made > FREE and self._made > self._taken * ratio:
            raise Refusal(
                413, f"expected at most {ratio} bytes out of one, got {self._made} out of {self._taken}"
            )
        if self._stream.members > members:
            raise Refusal(413, f"expected at most {members} members, got more")
        if rest := self._stream.unused_data:
            raise self._refusal(f"{len(rest) + len(self._input)} bytes after its end")

    def _end(self) -> None:
        """There is no more input."""
        if self._taken and not self._stream.eof:
            raise self._refusal("the end of the body in the middle of it")

    def _refusal(self, got: str) -> Refusal:
        return Refusal(400, f"Content-Encoding: expected {self._stream.algorithm}, got {got}")
