"""The sockets that are watched: epoll descriptors that are asked without waiting.

One is for the clients whose handshakes are not over, and the listener for such. A step of a handshake takes as long as many requests of
others, and hundreds of clients may come at once. So who looks at the others has not to look at these.
"""

from __future__ import annotations

import select
import socket

from .port import Port

__all__ = ["Poller"]


class Poller:
    """Ports, and one listener.

    :param clear: clients need no handshake
    """

    def __init__(self, *, clear: bool = True) -> None:
        self._epoll, self._greetings = select.epoll(), select.epoll()
        self._listening = self._epoll if clear else self._greetings
        self._ports: dict[int, Port] = {}
        self._listener: int | None = None

    @property
    def descriptors(self) -> tuple[int, int]:
        """Readable when :meth:`ready`, or :meth:`greetings`, would give something."""
        return self._epoll.fileno(), self._greetings.fileno()

    def ready(self, limit: int) -> list[tuple[Port | None, int]]:
        """Up to so many that have something to say, and which events; ``None`` is the listener. It goes round: nobody is left out."""
        if not limit:
            return []
        return self._known(self._epoll.poll(0, limit))

    def greetings(self, limit: int) -> list[tuple[Port | None, int]]:
        """So too, those whose handshakes are not over."""
        return self._known(self._greetings.poll(0, limit)) if limit else []

    def _known(self, found: list[tuple[int, int]]) -> list[tuple[Port | None, int]]:
        return [
            (self._ports.get(fd), mask) for fd, mask in found if fd in self._ports or fd == self._listener
        ]

    def listen(self, listener: socket.socket | None) -> None:
        """Watch for new clients there; ``None``: for none at all."""
        if self._listener is not None:
            self._listening.unregister(self._listener)
        self._listener = None if listener is None else listener.fileno()
        if self._listener is not None:
            self._listening.register(self._listener, select.EPOLLIN)

    def add(self, port: Port) -> Port:
        """One more, which is watched for nothing yet."""
        self._ports[port.fd] = port
        return port

    def watch(self, port: Port, mask: int) -> None:
        """From now on for these events. A port that was left alone and still is for nothing is not even asked whether it broke."""
        if port.mask is None and mask:
            self._of(port).register(port.fd, mask)
        elif port.mask is None or port.mask == mask:
            return
        else:
            self._of(port).modify(port.fd, mask)
        port.mask = mask

    def greeted(self, port: Port) -> None:
        """Its handshake is over: it is looked at with all others."""
        mask = port.mask
        self.leave(port)
        port.greeting = False
        if mask is not None:
            self.watch(port, mask)

    def leave(self, port: Port) -> None:
        """Watch it for nothing, not even for its end."""
        if port.mask is not None:
            self._of(port).unregister(port.fd)
            port.mask = None

    def _of(self, port: Port) -> select.epoll:
        return self._greetings if port.greeting else self._epoll

    def drop(self, port: Port) -> None:
        """Close it. What it was about to send is lost."""
        self.leave(port)
        port.discard()
        del self._ports[port.fd]
        port.sock.close()
