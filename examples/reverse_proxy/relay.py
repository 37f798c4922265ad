"""One client connection, without a socket: what came in goes in here, and what has to be done can be read off.

The poll-mode proxy and the plain one share this. A driver calls ``client_sent``, ``client_took``, ``upstream_opened``, ``upstream_sent``,
``upstream_failed``, ``compressed`` and ``tick`` when those things have happened, then looks at what the relay wants: pieces in ``to_client``
and ``to_upstream`` (after sending some it calls ``pump``), a ``connection`` to the upstream, ``work`` for the accelerator, and
whether more may be read (``wants_client``, ``wants_upstream``). Nothing else passes between them.

Requests of a connection are answered one after the other, so their order needs no bookkeeping; a pipelined request waits in ``Heads``.
A request and its response are relayed at the same time, as they come, at most ``high_water`` bytes ahead of who receives them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import h11

from .answer import Answer
from .fields import forwarded, returned
from .heads import MAX_HEAD, Heads, Refused
from .policy import Limits, Policy
from .work import Outbox, Work

__all__ = ["Relay"]

#: Methods that may be sent again on another connection (RFC 9110 section 9.2.2), if they have no body.
IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})


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
        self._server: h11.Connection | None = None  # towards the client, for one request
        self._origin: h11.Connection | None = None  # towards the upstream, for the same
        self._answer: Answer | None = None
        self._request: h11.Request | None = None
        self._again: bytes | None = None  # the request, if it may be sent again
        self._connections = 0
        self._last = self._tunnel = self._upstream_over = False
        self._since = self._began = clock()
        self._unsent: list[float] = []

    # -- what has happened --------------------------------------------------------------------------------------

    def client_sent(self, data: bytes | memoryview) -> None:
        """Bytes of the client; empty: it sends no more."""
        if self.closing:
            return
        if not (len(self._heads) and self._server is None):
            self._since = self._clock()  # a head that trickles in has one limit for all of it
        self.client_over = self.client_over or not data
        if self._tunnel:
            self.to_upstream.put(bytes(data))
        elif self._server is not None and self._server.their_state is h11.SEND_BODY:
            self._server.receive_data(data)  # type: ignore[arg-type]  # a view will do
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
        origin = self._origin
        if self._tunnel:
            self._upstream_over = self._upstream_over or not data
            self.to_client.put(bytes(data))
        elif origin is None or origin.their_state in (h11.DONE, h11.MUST_CLOSE, h11.CLOSED):
            self._disconnect()  # nobody has asked
        elif not data and self._again is not None:
            self._resend()
        elif not data and origin.their_state is h11.SEND_RESPONSE:
            self._disconnect()
            self._fail(502, "the upstream closed the connection without an answer")
        else:
            self._again = None
            origin.receive_data(data)  # type: ignore[arg-type]
        self.pump()

    def upstream_failed(self, reason: str) -> None:
        """There is no connection, or it broke."""
        if self._tunnel:
            self.abort()
        elif self._again is not None and self.connected:
            self._resend()
        elif self._origin is not None and self._origin.their_state not in (
            h11.DONE,
            h11.MUST_CLOSE,
            h11.CLOSED,
        ):
            self._disconnect()
            self._fail(502, reason)
        else:
            self._disconnect()

    def compressed(self, work: Work, output: object) -> bool:
        """The accelerator is done with some work.

        :param output: something with a length; ``None``: it could not
        :returns: whether anybody still waited for it
        """
        answer = self._answer
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
        if self._answer is not None and self._answer.work is not None:
            self.compressed(self._answer.work, None)
        elif status and not self._tunnel:
            self._disconnect()
            self._fail(status, reason)
        elif self._server is None and not self.finished:
            self._end()
        else:
            self.abort()
        return True

    def abort(self) -> None:
        """End at once: the client is gone, or what it got cannot be completed."""
        self.aborted = True
        self._answer = None
        self._disconnect()

    def drain(self) -> None:
        """No more requests after this one: the proxy is about to end."""
        self._last = True
        if self._server is None and not self.closing:
            self._end()

    # -- what is wanted -----------------------------------------------------------------------------------------

    @property
    def closing(self) -> bool:
        """Whether what the client says is of no interest any more."""
        return self.finished or self.aborted

    @property
    def work(self) -> Work | None:
        """What the accelerator is to do."""
        return self._answer.work if self._answer is not None else None

    @property
    def wants_client(self) -> bool:
        """Whether more of the client may be read."""
        if self.client_over or self.closing:
            return False
        if self._tunnel or (self._server is not None and self._server.their_state is h11.SEND_BODY):
            return len(self.to_upstream) < self.policy.limits.high_water
        return self._server is None

    @property
    def wants_upstream(self) -> bool:
        """Whether more of the upstream may be read."""
        if not self.connected or self._upstream_over or self.aborted:
            return False
        return len(self.to_client) < self.policy.limits.high_water and (
            self._answer is None or self._answer.hungry
        )

    @property
    def half_closed(self) -> tuple[bool, bool]:
        """Whether nothing more will come for the client, for the upstream, though the other way is open: a tunnel's ends."""
        return self._tunnel and self._upstream_over, self._tunnel and self.client_over

    def _limit(self) -> tuple[float, int, str]:
        """What is waited for: how long, and what the client is told; status 0: nothing."""
        limits: Limits = self.policy.limits
        server = self._server
        if self._tunnel:
            return limits.tunnel, 0, ""
        if len(self.to_client) or self.behind:
            return limits.stall, 0, ""
        if self.finished or server is None:
            return (
                (limits.head, 408, "the request came too slowly")
                if len(self._heads)
                else (limits.idle, 0, "")
            )
        if self._answer is not None and self._answer.work is not None:
            return limits.device, 0, ""
        if not self.connected:
            return limits.connect, 504, "the upstream could not be reached in time"
        if server.their_state is h11.SEND_BODY and not len(self.to_upstream):
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
            server = self._server
            try:
                if server is None:
                    self._next_request()
                else:
                    self._relay_request(server)
            except Refused as error:
                self._fail(error.status, str(error))
            except h11.RemoteProtocolError as error:
                self._fail(error.error_status_hint if server is None else 400, str(error))
            if self._server is not None and not self.closing:
                self._relay_response(self._server)
            if self._server is server:
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
        server = self._server = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self._since = self._began = self._clock()
        server.receive_data(head)
        request = server.next_event()
        assert isinstance(request, h11.Request), request
        if request.method == b"CONNECT":
            raise Refused(405, "this is no forward proxy")
        self._request = request
        self._origin = h11.Connection(h11.CLIENT, max_incomplete_event_size=4 * MAX_HEAD)
        sent = self._origin.send(forwarded(request, self._peer, self._scheme, self._authority))
        self.to_upstream.put(sent)
        if rest := self._heads.take_rest():
            server.receive_data(rest)
        if self.client_over:
            server.receive_data(b"")
        self._again = sent if self.connected and request.method in IDEMPOTENT else None
        if not self.connection:
            self._connect()

    def _relay_request(self, server: h11.Connection) -> None:
        """The body of the request, as far as it is there and there is room."""
        origin = self._origin
        while (
            origin is not None
            and server.their_state is h11.SEND_BODY
            and len(self.to_upstream) < self.policy.limits.high_water
        ):
            event = server.next_event()
            if isinstance(event, h11.Data):
                self._again = None
                if origin.our_state is h11.SEND_BODY:
                    self.to_upstream.put(origin.send(h11.Data(data=bytes(event.data))))
            elif isinstance(event, h11.EndOfMessage):
                if origin.our_state is h11.SEND_BODY:
                    self.to_upstream.put(origin.send(h11.EndOfMessage()))  # without trailers
            else:
                return

    def _relay_response(self, server: h11.Connection) -> None:
        """The response, as far as it is there and there is room."""
        origin = self._origin
        try:
            while (
                origin is not None
                and origin.their_state in (h11.SEND_RESPONSE, h11.SEND_BODY)
                and len(self.to_client) < self.policy.limits.high_water
                and (self._answer is None or self._answer.hungry)
            ):
                event = origin.next_event()
                if event is h11.NEED_DATA:
                    return
                self._take(server, origin, event)
        except h11.RemoteProtocolError as error:
            self._disconnect()
            self._fail(502, f"the upstream breaks the rules: {error}")
            return
        if self._answer is not None and self._answer.complete:
            self._next(server)

    def _take(self, server: h11.Connection, origin: h11.Connection, event: object) -> None:
        """One event of the upstream."""
        assert self._request is not None
        if isinstance(event, h11.InformationalResponse):
            if event.status_code == 101:
                self._begin_tunnel(server, origin, event)
            elif self._request.http_version == b"1.1":
                reply = h11.InformationalResponse(
                    status_code=event.status_code, headers=returned(event), reason=event.reason
                )
                self.to_client.put(server.send(reply))
        elif isinstance(event, h11.Response):
            last = self._last or server.they_are_waiting_for_100_continue
            self._answer = Answer(server, self._request, event, self.policy, self.to_client, last=last)
        elif self._answer is not None and isinstance(event, h11.Data):
            self._answer.data(bytes(event.data))
        elif self._answer is not None and isinstance(event, h11.EndOfMessage):
            self._answer.end()

    def _begin_tunnel(
        self, server: h11.Connection, origin: h11.Connection, event: h11.InformationalResponse
    ) -> None:
        """Both sides speak something else from now on."""
        reply = h11.InformationalResponse(status_code=101, headers=returned(event), reason=event.reason)
        self.to_client.put(server.send(reply))
        self.to_client.put(origin.trailing_data[0])
        self.to_upstream.put(server.trailing_data[0])
        self._upstream_over = origin.trailing_data[1]
        self._tunnel, self._again = True, None

    def _next(self, server: h11.Connection) -> None:
        """A response is complete; on to the next request, if the connection may live on."""
        origin = self._origin
        assert origin is not None
        states = (origin.our_state, origin.their_state)
        if states != (h11.DONE, h11.DONE) or origin.trailing_data != (b"", False):
            self._disconnect()
        self._unsent.append(self._began)
        if (server.our_state, server.their_state) == (h11.DONE, h11.DONE) and not self._last:
            self._heads.receive(server.trailing_data[0])
            self._server = self._origin = self._answer = None
        else:
            self._end()

    # -- connections and endings --------------------------------------------------------------------------------

    def _connect(self) -> None:
        self._connections += 1
        self.connection, self.connected = self._connections, False

    def _disconnect(self) -> None:
        self.connection, self.connected, self._again = 0, False, None
        self.to_upstream.clear()

    def _resend(self) -> None:
        """A kept connection ended when it was used again: the upstream had closed it just before. Once more, on a new one."""
        again, self._again = self._again, None
        self.to_upstream.clear()
        self.to_upstream.put(again)
        self._connect()

    def _end(self) -> None:
        self.finished = True
        self._disconnect()

    def _fail(self, status: int, reason: str) -> None:
        """Answer with an error, if nothing was answered yet, and end."""
        server = self._server or h11.Connection(h11.SERVER)
        if server.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.abort()
            return
        text = f"{reason}\n".encode()
        fields = [("content-type", "text/plain"), ("content-length", str(len(text))), ("connection", "close")]
        phrase = HTTPStatus(status).phrase
        self.to_client.put(server.send(h11.Response(status_code=status, headers=fields, reason=phrase)))
        if self._request is None or self._request.method != b"HEAD" or self._server is None:
            self.to_client.put(text)
        self._answer = None
        self._end()
