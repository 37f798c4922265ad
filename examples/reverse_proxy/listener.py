"""Where clients come in, and how many may."""

from __future__ import annotations

import socket

from .poller import Poller

__all__ = ["Listener"]

#: What a client is told for which there is no place.
FULL = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\nretry-after: 1\r\n\r\n"


class Listener:
    """A listening socket that never waits.

    :param poller: who watches it
    :param clear: clients speak HTTP at once, so that they can be told something
    :ivar port: its number
    """

    def __init__(self, poller: Poller, address: tuple[str, int], *, clear: bool) -> None:
        self._poller, self._clear = poller, clear
        self._socket = socket.create_server(address, backlog=1024)
        self._socket.setblocking(False)
        self._open = False
        self.port = int(self._socket.getsockname()[1])
        self.resume()

    def resume(self) -> None:
        """Take clients."""
        if not self._open:
            self._poller.listen(self._socket)
            self._open = True

    def pause(self) -> None:
        """Take none for now; they wait in the kernel."""
        if self._open:
            self._poller.listen(None)
            self._open = False

    def close(self) -> None:
        """Take no more."""
        self.pause()
        self._socket.close()

    def accept(self, limit: int, places: int) -> tuple[list[tuple[socket.socket, str]], int]:
        """New clients and their addresses, and how many were sent away because there were more than places."""
        found: list[tuple[socket.socket, str]] = []
        refused = 0
        for _ in range(limit):
            try:
                client, address = self._socket.accept()
            except BlockingIOError:
                break
            except OSError:  # no descriptors: others have to end first
                self.pause()
                return found, refused + 1
            client.setblocking(False)
            if len(found) < places:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                found.append((client, address[0]))
            else:
                refused += 1
                self._refuse(client)
        return found, refused

    def _refuse(self, client: socket.socket) -> None:
        try:
            if self._clear:
                client.send(FULL)
        except OSError:
            pass  # gone already
        client.close()
