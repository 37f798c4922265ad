"""The loop of the poll-mode proxy: sockets, buffers and relays, turn by turn, and what it does when there is nothing to do."""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

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
from .receiver import Received, Receiver
from .relay import Relay
from .sender import Sender
from .sleeper import Sleeper
from .termination import Termination
from .tls import BrokenTls, Engine

__all__ = ["Lcore"]

#: Seconds between two looks at the clock of all connections.
TICK = 0.1

#: Steps of handshakes after which others are served.
STEPS = 4

#: Seconds until a queue that was full is asked again.
RETRY = 0.001


class Lcore:
    """One core's worth of proxy. A model, see ``models.py``, says in which order its parts are called."""

    def __init__(self, options: Options, offload: Offload, figures: Figures, tls: Termination | None) -> None:
        self.options, self.offload, self.figures = options, offload, figures
        self.pool = Mempool(options.mbufs, options.policy.room)
        self._tls = tls
        self._policy: Policy = options.policy
        self._connections: set[Connection] = set()
        self._poller = Poller(clear=tls is None)
        self._sleeper = Sleeper(*self._poller.descriptors)
        self._receiver = Receiver(self._poller, self.pool, figures, self._accept, self._broke)
        self._sender = Sender(self._poller, figures, options.policy.limits.linger, self._close)
        self._listener = Listener(self._poller, (options.host, options.port), clear=tls is None)
        self._stopped: float | None = None
        self._signer = tls.signer if tls else None
        self._lanes: list[Lanes[Any]] = [offload.lanes, *([self._signer.lanes] if self._signer else [])]
        self.port = self._listener.port

    # -- the loop -----------------------------------------------------------------------------------------------

    def run(self, model: Model) -> None:
        """Until told to stop, and then until everybody is served, or ``grace`` is over."""
        self._sleeper.heed(signal.SIGINT, signal.SIGTERM)
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
        if (
            not self._sleeper.arm([queue for lanes in self._lanes for queue in lanes.queues])
            or model.completions()
        ):
            return
        self.figures.sleeps += 1
        waiting = self.offload.waiting or (self._signer is not None and self._signer.waiting)
        if self._sleeper.sleep(RETRY if waiting else timeout):
            self._end()

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
        """What sockets have, each in a buffer."""
        return self._receiver.receive(burst)

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
            if connection.client.greeting:
                self._poller.greeted(connection.client)
            relay.client_sent(clear)
        if over:
            relay.client_sent(b"")

    def greet(self, burst: int, serve: Callable[[], int]) -> int:
        """A step of each of so many handshakes; how many that were.

        :param serve: serves those who are through theirs, for whom a burst of such steps would be a long time
        """
        steps = 0
        for item in self._receiver.greetings(burst):
            self.advance(self.handle(item))
            steps += 1
            if steps % STEPS == 0:
                serve()
        return steps + self.sign(burst, serve)

    def sign(self, burst: int, serve: Callable[[], int] | None = None) -> int:
        """Handshakes that have their signatures go on; and what others want signed is submitted. How many that were."""
        if self._signer is None:
            return 0
        signed = self._signer.reap(burst)
        for number, (connection, signature) in enumerate(signed, 1):
            if connection.engine is not None and not connection.closed:
                connection.signing = False
                connection.engine.answer(signature)
                self._decrypt(connection, connection.engine, b"")
                self.advance(connection)
            if serve is not None and number % STEPS == 0:
                serve()
        return len(signed) + self._signer.submit(burst)

    def _accept(self, burst: int) -> None:
        clients, refused = self._listener.accept(burst, self.options.connections - len(self._connections))
        self.figures.refused += refused
        for sock, peer in clients:
            engine = self._tls.engine() if self._tls else None
            relay = Relay(self._policy, peer, self.options.authority, "https" if engine else "http")
            connection = Connection(relay, engine)
            greeting = engine is not None
            connection.client = self._poller.add(Port(sock, connection, upstream=False, greeting=greeting))
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
            sent = self._sender.send(connection)
            self.figures.requests(relay.latencies)
            if not sent and connection.number == relay.connection:
                break
            relay.pump()
        self._sender.settle(connection)

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
