"""The loop of the poll-mode proxy: sockets, buffers and relays, and how it sleeps.

There are two epoll descriptors. The inner one watches the sockets, and is asked every turn, without waiting: it is the receive queue
of this program. The outer one watches the inner one and the accelerator's descriptors, and is only asked to sleep. So while there is work
nobody polls the accelerator's descriptors, and nobody arms; its queues are looked at, which costs no system call.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from contextlib import suppress
from typing import Any, NamedTuple

from wdasync.backend import Queue

from .connection import Connection
from .figures import Figures
from .lanes import Lanes
from .listener import Listener
from .mempool import Mbuf, Mempool
from .models import Model
from .offload import Done, Offload
from .options import Options
from .policy import Policy
from .poller import Poller
from .port import Port
from .relay import Relay
from .termination import Termination
from .tls import BrokenTls, Engine

__all__ = ["Lcore", "Received"]

#: Seconds between two looks at the clock of all connections.
TICK = 0.1

#: Seconds until a queue that was full is asked again.
RETRY = 0.001

BAD = select.EPOLLERR | select.EPOLLHUP


class Received(NamedTuple):
    """Something that came from a port.

    :ivar mbuf: bytes, none of them at the end; ``None``: nothing to read, but there may be something to send
    """

    port: Port
    mbuf: Mbuf | None


class Lcore:
    """One core's worth of proxy. A model, see ``models.py``, says in which order its parts are called."""

    def __init__(self, options: Options, offload: Offload, figures: Figures, tls: Termination | None) -> None:
        self.options, self.offload, self.figures = options, offload, figures
        self.pool = Mempool(options.mbufs, options.policy.room)
        self._tls = tls
        self._policy: Policy = options.policy
        self._connections: set[Connection] = set()
        self._poller, self._outer = Poller(), select.epoll()
        self._listener = Listener(self._poller, (options.host, options.port), clear=tls is None)
        self._stop = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._stopped: float | None = None
        self._signer = tls.signer if tls else None
        self._lanes: list[Lanes[Any]] = [offload.lanes, *([self._signer.lanes] if self._signer else [])]
        self._queues: dict[Queue, int] = {}
        for fd in (self._stop, self._poller.fileno()):
            self._outer.register(fd, select.EPOLLIN)
        self.port = self._listener.port

    # -- the loop -----------------------------------------------------------------------------------------------

    def run(self, model: Model) -> None:
        """Until told to stop, and then until everybody is served, or ``grace`` is over."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: os.eventfd_write(self._stop, 1))
        empty, ticks, lines = 0, 0.0, time.monotonic() + 1.0
        while self._stopped is None or (self._connections and time.monotonic() < self._stopped):
            moved = model.turn()
            self.figures.turns += 1
            now = time.monotonic()
            if now >= ticks:
                self._tick(now)
                ticks = now + TICK
            if now >= lines:
                self.figures.line(connections=len(self._connections), **model.occupancy())
                lines = now + 1.0
            if moved:
                empty = 0
                continue
            self.figures.empty += 1
            empty += 1
            if empty > self.options.spin:
                empty = 0
                self._sleep(model, max(0.0, min(lines, ticks if self._connections else lines) - now))
        for connection in list(self._connections):
            self._close(connection)

    def _sleep(self, model: Model, timeout: float) -> None:
        """Nothing to do. The order of the steps is the contract's: empty, arm, look once more, sleep."""
        self._watch([queue for lanes in self._lanes for queue in lanes.queues])
        armed = [queue.arm() for queue in self._queues]
        if not all(armed) or model.completions():
            return
        self.figures.sleeps += 1
        waiting = self.offload.waiting or (self._signer is not None and self._signer.waiting)
        for fd, _ in self._outer.poll(RETRY if waiting else timeout):
            if fd == self._stop:
                os.eventfd_read(self._stop)
                self._end()

    def _watch(self, queues: list[Queue]) -> None:
        """Sleep on these; devices come and go."""
        for queue in [queue for queue in self._queues if queue not in queues]:
            with suppress(OSError):  # closed already
                self._outer.unregister(self._queues.pop(queue))
        for queue in queues:
            if queue not in self._queues:
                self._queues[queue] = queue.fileno()
                self._outer.register(queue.fileno(), select.EPOLLIN)

    def _end(self) -> None:
        """Told to stop: no new connections, and the last request of each that there is."""
        self._stopped = time.monotonic() + self.options.grace
        self._listener.close()
        for connection in list(self._connections):
            connection.relay.drain()
            self.advance(connection)

    def _tick(self, now: float) -> None:
        for lanes in self._lanes:
            lanes.tick(now)
        policy = self.options.offering(*self.offload.offers).policy
        if policy != self._policy:
            self._policy = policy
            for connection in self._connections:
                connection.relay.policy = policy
        if self._stopped is None:
            self._listener.resume()
        for connection in list(self._connections):
            if connection.lingers is not None and now >= connection.lingers:
                self._close(connection)
            elif connection.relay.tick(now):
                self.advance(connection)

    # -- receiving ----------------------------------------------------------------------------------------------

    def receive(self, burst: int) -> list[Received]:
        """What sockets have, each in a buffer. Without a buffer it stays in the kernel, and the peer is held up by that."""
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
        mbuf = self.pool.get()
        if mbuf is None:
            self.figures.nombuf += 1
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
            self.figures.received += len(mbuf)
        return Received(port, mbuf)

    def handle(self, item: Received) -> Connection:
        """Give the relay what was received."""
        port, mbuf = item
        connection, relay = port.connection, port.connection.relay
        port.unread = False
        if mbuf is None:
            if port.opening and connection.upstream is port:
                self._opened(port)
            return connection
        try:
            if connection.closed or (port.upstream and connection.upstream is not port):
                pass  # it has come too late
            elif port.upstream:
                relay.upstream_sent(mbuf.data())
            elif connection.lingers is not None:
                if not len(mbuf):
                    self._close(connection)
            else:
                self._from_client(connection, mbuf.data())
        finally:
            mbuf.free()
        return connection

    def _from_client(self, connection: Connection, data: memoryview) -> None:
        if connection.engine is None or not data:
            connection.relay.client_sent(data)
        else:
            self._decrypt(connection, connection.engine, data)

    def _decrypt(self, connection: Connection, engine: Engine, data: bytes | memoryview) -> None:
        """Give the relay what ciphertext was in clear; or the handshake goes on, or waits for a signature."""
        relay = connection.relay
        try:
            clear, over = engine.received(data)
        except BrokenTls:
            relay.drain()
            return
        if self._signer is not None and engine.signing is not None and not connection.signing:
            connection.signing = True
            self._signer.ask(connection, engine.signing)
        if clear:
            relay.client_sent(clear)
        if over:
            relay.client_sent(b"")

    def sign(self, burst: int) -> int:
        """Handshakes that have their signatures go on; and what others want signed is submitted. How many that were."""
        if self._signer is None:
            return 0
        signed = self._signer.reap(burst)
        for connection, signature in signed:
            if connection.engine is not None and not connection.closed:
                connection.signing = False
                connection.engine.answer(signature)
                self._decrypt(connection, connection.engine, b"")
                self.advance(connection)
        return len(signed) + self._signer.submit(burst)

    def _accept(self, burst: int) -> None:
        clients, refused = self._listener.accept(burst, self.options.connections - len(self._connections))
        self.figures.refused += refused
        for sock, peer in clients:
            engine = self._tls.engine() if self._tls else None
            relay = Relay(self._policy, peer, self.options.authority, "https" if engine else "http")
            connection = Connection(relay, engine)
            connection.client = self._poller.add(Port(sock, connection, upstream=False))
            self._connections.add(connection)
            self._poller.watch(connection.client, select.EPOLLIN)

    # -- what follows -------------------------------------------------------------------------------------------

    def complete(self, done: Done) -> Connection:
        """Give the relay what the accelerator made."""
        wanted = done.connection.relay.compressed(done.work, done.output)
        if not wanted and isinstance(done.output, Mbuf):
            done.output.free()
        return done.connection

    def advance(self, connection: Connection) -> None:
        """Whatever the relay wants now: connections, work, sending; until it wants nothing more, or the kernel takes nothing more."""
        relay = connection.relay
        while not connection.closed:
            if connection.number != relay.connection:
                self._connect(connection)
            if relay.work is not None and relay.work is not connection.work:
                self.offload.put(connection, relay.work)
            sent = self._send_client(connection)
            if connection.upstream is not None and not connection.upstream.opening:
                sent += self._send_upstream(connection, connection.upstream)
            self.figures.requests(relay.latencies)
            if not sent and connection.number == relay.connection:
                break
            relay.pump()
        self._settle(connection)

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
            self.figures.sent += sent
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

    def _settle(self, connection: Connection) -> None:
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
            connection.lingers = time.monotonic() + self.options.policy.limits.linger

    def _broke(self, port: Port, reason: str) -> None:
        """Nothing more comes from this port."""
        connection = port.connection
        if not port.upstream:
            connection.relay.abort()
        elif connection.upstream is port:
            connection.relay.upstream_failed(reason)

    # -- ports --------------------------------------------------------------------------------------------------

    def _connect(self, connection: Connection) -> None:
        """The upstream connection that the relay wants, in place of the one that is there."""
        if connection.upstream is not None:
            self._poller.drop(connection.upstream)
            connection.upstream = None
        connection.number = connection.relay.connection
        if not connection.number:
            return
        family = socket.AF_INET6 if ":" in self.options.upstream[0] else socket.AF_INET
        try:
            sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:  # no descriptors
            connection.relay.upstream_failed(f"the upstream cannot be reached: {error.strerror}")
            return
        port = connection.upstream = self._poller.add(Port(sock, connection, upstream=True))
        port.opening = True
        sock.connect_ex(self.options.upstream)
        self._poller.watch(port, select.EPOLLOUT)

    def _opened(self, port: Port) -> None:
        port.opening = False
        if error := port.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            port.connection.relay.upstream_failed(f"the upstream cannot be reached: {os.strerror(error)}")
        else:
            port.connection.relay.upstream_opened()

    def _close(self, connection: Connection) -> None:
        connection.closed = True
        if connection.engine is not None:
            connection.engine.close()
        self._connections.discard(connection)
        self.offload.forget(connection)
        for piece in connection.relay.to_client.clear():
            if isinstance(piece, Mbuf):
                piece.free()
        for port in (connection.client, connection.upstream):
            if port is not None:
                self._poller.drop(port)
        connection.upstream = None
