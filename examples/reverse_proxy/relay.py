"""One client connection, without a socket: what came in goes in here, and what has to be done can be read off.

The poll-mode proxy and the plain one share this. A driver calls ``client_sent``, ``client_took``, ``upstream_opened``, ``upstream_sent``,
``upstream_failed``, ``compressed`` and ``tick`` when those things have happened, then looks at what the relay wants: pieces in ``to_client``
and ``to_upstream`` (after sending some it calls ``pump``), a ``connection`` to the upstream, ``work`` for the accelerator, and
whether more may be read (``wants_client``, ``wants_upstream``). Nothing else passes between them.

Requests of a connection are answered one after the other, so their order needs no bookkeeping; a pipelined request waits in ``Heads``. One
request and its response are an ``Exchange``.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import h11

from .exchange import Exchange
from .fields import forwarded
from .heads import Heads, Refused
from .policy import Limits, Policy
from .work import Outbox, Work

__all__ = ["Relay"]


class Relay:
    """See the top of this module.

    :param peer: the client's address
    :param authority: the upstream's ``Host`` for clients without
    :param scheme: ``http`` or ``https``: how the client came
    :ivar to_client: what is to be sent to the client
    :ivar to_upstream: what is to be sent to the upstream
    :ivar connection: number of the upstream connection that is wanted; 0: none. Any other is to be closed
    :ivar connected: it is open
    :ivar finished: when ``to_client`` is empty, the connection ends in order
    :ivar aborted: it ends at once
    :ivar policy: what is compressed, and the limits; may be exchanged; a response under way keeps its own
    :ivar behind: a driver has taken something from ``to_client`` that the kernel has not taken yet
    :ivar latencies: seconds that each request took until its response was with the kernel; a driver empties it
    """

    def __init__(
        self,
        policy: Policy,
        peer: str,
        authority: bytes,
        scheme: str = "http",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.to_client, self.to_upstream = Outbox(), Outbox()
        self.connection, self.connected = 0, False
        self.finished = self.aborted = self.client_over = False
        self.behind = False
        self.latencies: list[float] = []
        self.policy, self._clock = policy, clock
        self._peer, self._authority, self._scheme = peer, authority, scheme
        self._heads = Heads()
        self._exchange: Exchange | None = None
        self._connections = 0
        self._last = self._tunnel = self._upstream_over = False
        self._since = clock()
        self._unsent: list[float] = []

    # -- what has happened --------------------------------------------------------------------------------------

    def client_sent(self, data: bytes | memoryview) -> None:
        """Bytes of the client; empty: it sends no more."""
        if self.closing:
            return
        exchange = self._exchange
        if not (len(self._heads) and exchange is None):
            self._since = self._clock()  # a head that trickles in has one limit for all of it
        self.client_over = self.client_over or not data
        if self._tunnel:
            self.to_upstream.put(bytes(data))
        elif exchange is not None and exchange.sending:
            exchange.client_sent(data)
        else:
            self._heads.receive(data)
        self.pump()

    def client_took(self) -> None:
        """The kernel has taken something for the client: it reads."""
        self._since = self._clock()

    def upstream_opened(self) -> None:
        """The wanted connection is there."""
        self.connected, self._since = True, self._clock()

    def upstream_sent(self, data: bytes | memoryview) -> None:
        """Bytes of the upstream; empty: it sends no more."""
        self._since = self._clock()
        exchange = self._exchange
        if self._tunnel:
            self._upstream_over = self._upstream_over or not data
            self.to_client.put(bytes(data))
        elif exchange is None or exchange.answered:
            self._disconnect()  # nobody has asked
        elif not data and exchange.again is not None:
            self._resend(exchange.again)
        elif not data and exchange.silent:
            self._disconnect()
            self._fail(502, "the upstream closed the connection without an answer")
        else:
            exchange.upstream_sent(data)
        self.pump()

    def upstream_failed(self, reason: str) -> None:
        """There is no connection, or it broke."""
        exchange = self._exchange
        if self._tunnel:
            self.abort()
        elif exchange is not None and exchange.again is not None and self.connected:
            self._resend(exchange.again)
        elif exchange is not None and not exchange.answered:
            self._disconnect()
            self._fail(502, reason)
        else:
            self._disconnect()

    def compressed(self, work: Work, output: object) -> bool:
        """The accelerator is done with some work.

        :param output: something with a length; ``None``: it could not
        :returns: whether anybody still waited for it
        """
        answer = self._exchange.answer if self._exchange is not None else None
        if answer is None or answer.work is not work or self.aborted:
            return False
        self._since = self._clock()
        if answer.compressed(output):
            self.pump()
        else:
            self.abort()
        return True

    def tick(self, now: float) -> bool:
        """Time goes by. Something like every 100 ms. Whether it changed anything."""
        limit, status, reason = self._limit()
        if now - self._since <= limit or self.aborted:
            return False
        self._since = now
        if (work := self.work) is not None:
            self.compressed(work, None)
        elif status and not self._tunnel:
            self._disconnect()
            self._fail(status, reason)
        elif self._exchange is None and not self.finished:
            self._end()
        else:
            self.abort()
        return True

    def abort(self) -> None:
        """End at once: the client is gone, or what it got cannot be completed."""
        self.aborted = True
        self._disconnect()
        self._exchange = None

    def drain(self) -> None:
        """No more requests after this one: the proxy is about to end."""
        self._last = True
        if self._exchange is None and not self.closing:
            self._end()

    # -- what is wanted -----------------------------------------------------------------------------------------

    @property
    def closing(self) -> bool:
        """Whether what the client says is of no interest any more."""
        return self.finished or self.aborted

    @property
    def work(self) -> Work | None:
        """What the accelerator is to do."""
        answer = self._exchange.answer if self._exchange is not None else None
        return answer.work if answer is not None else None

    @property
    def wants_client(self) -> bool:
        """Whether more of the client may be read."""
        if self.client_over or self.closing:
            return False
        if self._tunnel or (self._exchange is not None and self._exchange.sending):
            return len(self.to_upstream) < self.policy.limits.high_water
        return self._exchange is None

    @property
    def wants_upstream(self) -> bool:
        """Whether more of the upstream may be read."""
        if not self.connected or self._upstream_over or self.aborted:
            return False
        if self._exchange is not None:
            return self._exchange.hungry
        return len(self.to_client) < self.policy.limits.high_water

    @property
    def half_closed(self) -> tuple[bool, bool]:
        """Whether nothing more will come for the client, for the upstream, though the other way is open: a tunnel's ends."""
        return self._tunnel and self._upstream_over, self._tunnel and self.client_over

    def _limit(self) -> tuple[float, int, str]:
        """What is waited for: how long, and what the client is told; status 0: nothing."""
        limits: Limits = self.policy.limits
        exchange = self._exchange
        if self._tunnel:
            return limits.tunnel, 0, ""
        if len(self.to_client) or self.behind:
            return limits.stall, 0, ""
        if self.finished or exchange is None:
            return (
                (limits.head, 408, "the request came too slowly")
                if len(self._heads)
                else (limits.idle, 0, "")
            )
        if self.work is not None:
            return limits.device, 0, ""
        if not self.connected:
            return limits.connect, 504, "the upstream could not be reached in time"
        if exchange.sending and not len(self.to_upstream):
            return limits.body, 408, "the body came too slowly"
        return limits.response, 504, "the upstream did not answer in time"

    # -- relaying -----------------------------------------------------------------------------------------------

    def pump(self) -> None:
        """Go on with everything that can go on."""
        if not len(self.to_client) and not self.behind:
            now = self._clock()
            self.latencies += [now - began for began in self._unsent]
            self._unsent.clear()
        if self._tunnel:
            self.finished = self.finished or (
                self.client_over and self._upstream_over and not len(self.to_upstream)
            )
        while not self.closing and not self._tunnel:
            exchange = self._exchange
            try:
                if exchange is None:
                    self._next_request()
                else:
                    exchange.relay_request()
            except Refused as error:
                self._fail(error.status, str(error))
            except h11.ProtocolError as error:
                self._fail(error.error_status_hint if exchange is None else 400, str(error))
            if self._exchange is not None and not self.closing:
                self._relay_response(self._exchange)
            if self._exchange is exchange:
                return

    def _next_request(self) -> None:
        head = self._heads.take_head()
        if head is not None:
            self._begin(head)
        elif self.client_over and len(self._heads):
            raise Refused(400, "the request is not complete")
        elif self.client_over or self._last:
            self._end()

    def _begin(self, head: bytes) -> None:
        """A request's head is there."""
        self._since = self._clock()
        exchange = self._exchange = self._new_exchange()
        exchange.begin(
            head, lambda it: forwarded(it, self._peer, self._scheme, self._authority), kept=self.connected
        )
        if rest := self._heads.take_rest():
            exchange.client_sent(rest)
        if self.client_over:
            exchange.client_sent(b"")
        if not self.connection:
            self._connect()

    def _new_exchange(self) -> Exchange:
        return Exchange(self.to_client, self.to_upstream, self.policy.limits.high_water, self._since)

    def _relay_response(self, exchange: Exchange) -> None:
        """The response, as far as it is there and there is room."""
        try:
            exchange.relay_response(self.policy, last=self._last)
        except h11.ProtocolError as error:
            self._disconnect()
            self._fail(502, f"the upstream breaks the rules: {error}")
            return
        if exchange.tunnel:
            self._tunnel, self._upstream_over = True, exchange.leave()
        elif exchange.complete:
            self._next(exchange)

    def _next(self, exchange: Exchange) -> None:
        """A response is complete; on to the next request, if the connection may live on."""
        if not exchange.upstream_lives:
            self._disconnect()
        self._unsent.append(exchange.began)
        if exchange.client_lives and not self._last:
            self._heads.receive(exchange.rest)
            self._exchange = None
        else:
            self._end()

    # -- connections and endings --------------------------------------------------------------------------------

    def _connect(self) -> None:
        self._connections += 1
        self.connection, self.connected = self._connections, False

    def _disconnect(self) -> None:
        self.connection, self.connected = 0, False
        self.to_upstream.clear()
        if self._exchange is not None:
            self._exchange.again = None

    def _resend(self, again: bytes) -> None:
        """A kept connection ended when it was used again: the upstream had closed it just before. Once more, on a new one."""
        self._disconnect()
        self.to_upstream.put(again)
        self._connect()

    def _end(self) -> None:
        self.finished = True
        self._disconnect()

    def _fail(self, status: int, reason: str) -> None:
        """Answer with an error, if nothing was answered yet, and end."""
        exchange = self._exchange or self._new_exchange()
        if exchange.fail(status, reason):
            self._end()
        else:
            self.abort()
