"""The sockets that are watched: an epoll descriptor that is asked without waiting."""

from __future__ import annotations

import select
import socket

from .port import Port

__all__ = ["Poller"]


class Poller:
    """Ports, and one listener."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._ports: dict[int, Port] = {}
        self._listener: int | None = None

    def fileno(self) -> int:
        """Readable when :meth:`ready` would give something."""
        return self._epoll.fileno()

    def ready(self, limit: int) -> list[tuple[Port | None, int]]:
        """Up to so many that have something to say, and which events; ``None`` is the listener. It goes round: nobody is left out."""
        if not limit:
            return []
        found = self._epoll.poll(0, limit)
        return [
            (self._ports.get(fd), mask) for fd, mask in found if fd in self._ports or fd == self._listener
        ]

    def listen(self, listener: socket.socket | None) -> None:
        """Watch for new clients there; ``None``: for none at all."""
        if self._listener is not None:
            self._epoll.unregister(self._listener)
        self._listener = None if listener is None else listener.fileno()
        if self._listener is not None:
            self._epoll.register(self._listener, select.EPOLLIN)

    def add(self, port: Port) -> Port:
        """One more, which is watched for nothing yet."""
        self._ports[port.fd] = port
        return port

    def watch(self, port: Port, mask: int) -> None:
        """From now on for these events. A port that was left alone and still is for nothing is not even asked whether it broke."""
        if port.mask is None and mask:
            self._epoll.register(port.fd, mask)
        elif port.mask is None or port.mask == mask:
            return
        else:
            self._epoll.modify(port.fd, mask)
        port.mask = mask

    def leave(self, port: Port) -> None:
        """Watch it for nothing, not even for its end."""
        if port.mask is not None:
            self._epoll.unregister(port.fd)
            port.mask = None

    def drop(self, port: Port) -> None:
        """Close it. What it was about to send is lost."""
        self.leave(port)
        port.discard()
        del self._ports[port.fd]
        port.sock.close()
