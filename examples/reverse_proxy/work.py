"""Work for an accelerator, and bytes that wait to be sent: what the relay and its drivers hand each other."""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

from wdasync import Flush

__all__ = ["Outbox", "Piece", "Stream", "Work"]


class Piece(Protocol):
    """Bytes to be sent; the relay only wants to know how many. What it is, is its driver's affair."""

    def __len__(self) -> int:
        """Bytes."""


class Stream:
    """A body that is compressed in pieces.

    :ivar coding: the content coding
    :ivar handle: the driver's: its session on a device, or its compressor; ``None``: not opened yet
    """

    __slots__ = ("coding", "handle")

    def __init__(self, coding: str) -> None:
        self.coding = coding
        self.handle: Any = None


class Work:
    """One operation. A connection has one at a time.

    :ivar coding: the content coding
    :ivar pieces: the input
    :ivar nbytes: its length
    :ivar stream: the body that it is a piece of; ``None``: it is a whole body
    :ivar flush: for a piece of a stream
    """

    __slots__ = ("coding", "flush", "nbytes", "pieces", "stream")

    def __init__(
        self, coding: str, pieces: list[bytes], stream: Stream | None = None, flush: Flush = Flush.FINISH
    ) -> None:
        self.coding = coding
        self.pieces = pieces
        self.nbytes = sum(map(len, pieces))
        self.stream = stream
        self.flush = flush


class Outbox:
    """Pieces that wait to be sent, in their order. ``len()`` is in bytes."""

    __slots__ = ("_length", "_pieces")

    def __init__(self) -> None:
        self._pieces: deque[Piece] = deque()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def put(self, piece: Piece | None) -> None:
        """One more. Nothing is no piece."""
        if piece:
            self._pieces.append(piece)
            self._length += len(piece)

    def take(self) -> Piece | None:
        """The first; ``None``: there is none."""
        if not self._pieces:
            return None
        piece = self._pieces.popleft()
        self._length -= len(piece)
        return piece

    def peek(self) -> Piece | None:
        """The first, which stays; ``None``: there is none."""
        return self._pieces[0] if self._pieces else None

    def clear(self) -> list[Piece]:
        """All of them."""
        pieces = list(self._pieces)
        self._pieces.clear()
        self._length = 0
        return pieces
