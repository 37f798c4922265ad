"""The way in: what sockets have, in bursts, each in a buffer."""

from __future__ import annotations

import select
from collections.abc import Callable, Iterator
from typing import NamedTuple

from .figures import Figures
from .mempool import Mbuf, Mempool
from .poller import Poller
from .port import Port

__all__ = ["Received", "Receiver"]

BAD = select.EPOLLERR | select.EPOLLHUP

#: Clients that are taken in at once, if each of them costs a handshake.
ARRIVALS = 8


class Received(NamedTuple):
    """Something that came from a port.

    :ivar mbuf: bytes, none of them at the end; ``None``: nothing to read, but there may be something to send
    """

    port: Port
    mbuf: Mbuf | None


class Receiver:
    """Reads sockets.

    :param pool: the buffers
    :param accept: takes new clients, so many at most
    :param broke: is told of ports from which nothing more comes, and why
    """

    def __init__(
        self,
        poller: Poller,
        pool: Mempool,
        figures: Figures,
        accept: Callable[[int], None],
        broke: Callable[[Port, str], None],
    ) -> None:
        self._poller, self._pool, self._figures = poller, pool, figures
        self._accept, self._broke = accept, broke

    def receive(self, burst: int) -> list[Received]:
        """What sockets have. Without a buffer it stays in the kernel, and the peer is held up by that."""
        found: list[Received] = []
        for port, mask in self._poller.ready(burst):
            if port is None:
                self._accept(burst)
                continue
            if port.unread:
                continue
            item = self._look(port, mask)
            if item is not None:
                port.unread = True
                found.append(item)
        return found

    def greetings(self, burst: int) -> Iterator[Received]:
        """So too, of clients whose handshakes are not over; each is read when it is its turn, since others are served in between."""
        for port, mask in self._poller.greetings(burst):
            if port is None:
                self._accept(min(burst, ARRIVALS))
            elif not port.unread and not port.connection.closed and (item := self._look(port, mask)):
                port.unread = True
                yield item

    def _look(self, port: Port, mask: int) -> Received | None:
        wanted = port.mask or 0
        if port.opening:
            return Received(port, None) if mask & (select.EPOLLOUT | BAD) else None
        if wanted & select.EPOLLIN and mask & (select.EPOLLIN | BAD):
            return self._read(port)
        if mask & BAD:  # nobody reads it now, and nothing can be sent
            self._poller.leave(port)
            if mask & select.EPOLLERR:
                self._broke(port, "the connection was reset")
        return Received(port, None)

    def _read(self, port: Port) -> Received | None:
        mbuf = self._pool.get()
        if mbuf is None:
            self._figures.nombuf += 1
            return None
        try:
            mbuf.append(port.sock.recv_into(mbuf.room()))
        except BlockingIOError:
            mbuf.free()
            return None
        except OSError as error:
            mbuf.free()
            self._broke(port, f"the upstream is gone: {error.strerror}")
            return Received(port, None)
        if not port.upstream:
            self._figures.received += len(mbuf)
        return Received(port, mbuf)
