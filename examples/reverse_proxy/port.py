"""A socket that never waits, and what is on its way out of it."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from .mempool import Mbuf

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["Port"]

#: Pieces that go out in one system call, and bytes of them that may wait here, at most.
GATHER = 16
BYTES = 1 << 17


class Port:
    """One end of a connection: the client's, or the upstream's.

    :ivar connection: whose it is
    :ivar upstream: which end it is
    :ivar opening: ``connect`` is under way
    :ivar greeting: it is a client's, whose handshake is not over
    :ivar unread: something that was read from it waits to be looked at
    :ivar mask: the events that epoll watches for; ``None``: it is not registered
    :ivar shut: nothing more is sent
    :ivar broken: what is sent gets lost; there may still be something to read
    """

    __slots__ = (
        "_sending", "_waiting", "broken", "connection", "fd", "greeting", "mask", "opening", "shut", "sock", "unread", "upstream",
    )  # fmt: skip

    def __init__(
        self, sock: socket.socket, connection: Connection, *, upstream: bool, greeting: bool = False
    ) -> None:
        self.sock, self.fd, self.greeting = sock, sock.fileno(), greeting
        self.connection, self.upstream = connection, upstream
        self.opening = self.unread = self.shut = self.broken = False
        self.mask: int | None = None
        self._sending: list[Mbuf | memoryview] = []
        self._waiting = 0

    @property
    def idle(self) -> bool:
        """Whether everything that was put has been sent."""
        return not self._sending

    @property
    def room(self) -> bool:
        """Whether another piece would go out with the next call."""
        return len(self._sending) < GATHER and self._waiting < BYTES

    def put(self, piece: object) -> None:
        """Something to be sent. What stands before an :class:`Mbuf` moves into its headroom, if it fits."""
        self._waiting += len(piece)  # type: ignore[arg-type]  # a piece has a length
        if not isinstance(piece, Mbuf):
            self._sending.append(memoryview(piece))  # type: ignore[arg-type]
            return
        before = self._sending[-1] if self._sending else None
        if isinstance(before, memoryview) and len(before) <= piece.headroom:
            piece.prepend(before)
            self._sending.pop()
        self._sending.append(piece)

    def send(self) -> int:
        """As much as the kernel takes now; how much that was.

        :raises OSError: if the connection is broken; BlockingIOError if the kernel takes nothing
        """
        views = [piece.data() if isinstance(piece, Mbuf) else piece for piece in self._sending]
        count = sent = self.sock.sendmsg(views, (), socket.MSG_NOSIGNAL)
        self._waiting -= sent
        while count:
            first = self._sending[0]
            taken = min(count, len(first))
            count -= taken
            if taken == len(first):
                _let_go(self._sending.pop(0))
            elif isinstance(first, Mbuf):
                first.drop(taken)
            else:
                self._sending[0] = first[taken:]
        return sent

    def discard(self) -> None:
        """Nothing of it will be sent."""
        for piece in self._sending:
            _let_go(piece)
        self._sending.clear()
        self._waiting = 0

    def end(self) -> None:
        """No more will be sent; the other way stays open."""
        self.shut = True
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.broken = True  # the peer is gone already


def _let_go(piece: Mbuf | memoryview) -> None:
    if isinstance(piece, Mbuf):
        piece.free()
