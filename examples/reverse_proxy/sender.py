"""The way out: what a relay has for its client and for its upstream, as far as the kernel takes it, and what epoll is to watch for then."""

from __future__ import annotations

import select
import time
from collections.abc import Callable

from .connection import Connection
from .figures import Figures
from .mempool import Mbuf
from .poller import Poller
from .port import Port

__all__ = ["Sender"]


class Sender:
    """Writes sockets.

    :param linger: seconds that a client is listened to after the end
    :param close: ends a connection at once
    """

    def __init__(
        self, poller: Poller, figures: Figures, linger: float, close: Callable[[Connection], None]
    ) -> None:
        self._poller, self._figures = poller, figures
        self._linger, self._close = linger, close

    def send(self, connection: Connection) -> int:
        """Both ways; how much the kernel took."""
        sent = self._send_client(connection)
        if connection.upstream is not None and not connection.upstream.opening:
            sent += self._send_upstream(connection, connection.upstream)
        return sent

    def settle(self, connection: Connection) -> None:
        """Endings, and what epoll is to watch for."""
        relay, client, upstream = connection.relay, connection.client, connection.upstream
        if connection.closed:
            return
        if relay.aborted:
            self._close(connection)
            return
        if relay.finished and client.idle and not len(relay.to_client) and connection.lingers is None:
            self._farewell(connection)
            if connection.closed:
                return
        client_over, upstream_over = relay.half_closed
        if client_over and client.idle and not len(relay.to_client) and not client.shut:
            client.end()
        reading = relay.wants_client or connection.lingers is not None
        self._poller.watch(client, select.EPOLLIN * reading | select.EPOLLOUT * (not client.idle))
        if upstream is not None:
            if upstream_over and upstream.idle and not len(relay.to_upstream) and not upstream.shut:
                upstream.end()
            writing = upstream.opening or not upstream.idle
            self._poller.watch(upstream, select.EPOLLIN * relay.wants_upstream | select.EPOLLOUT * writing)

    def _send_client(self, connection: Connection) -> int:
        port, relay, engine = connection.client, connection.relay, connection.engine
        while port.room and (piece := relay.to_client.take()) is not None:
            if engine is None:
                port.put(piece)
                continue
            engine.send(piece.data() if isinstance(piece, Mbuf) else piece)  # type: ignore[arg-type]
            if isinstance(piece, Mbuf):
                piece.free()
            port.put(engine.outgoing())
        if engine is not None and (greeting := engine.outgoing()):
            port.put(greeting)
        sent = self._send(port)
        relay.behind = not port.idle
        if sent:
            relay.client_took()
            self._figures.sent += sent
        return sent

    def _send_upstream(self, connection: Connection, port: Port) -> int:
        outbox = connection.relay.to_upstream
        while port.room and (piece := outbox.take()) is not None:
            port.put(piece)
        return self._send(port)

    def _send(self, port: Port) -> int:
        if port.broken:
            port.discard()
        if port.idle:
            return 0
        try:
            return port.send()
        except BlockingIOError:
            return 0
        except OSError:
            port.broken = True
            port.discard()
            if not port.upstream:
                port.connection.relay.abort()
            return 0

    def _farewell(self, connection: Connection) -> None:
        """All is sent. A client that still sends would never read it if the socket were closed now, so it is listened to a little."""
        if connection.engine is not None:
            connection.engine.end()
            connection.client.put(connection.engine.outgoing())
            self._send(connection.client)
        connection.client.end()
        if connection.relay.client_over or connection.client.broken:
            self._close(connection)
        else:
            connection.lingers = time.monotonic() + self._linger
