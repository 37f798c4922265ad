"""One request and its response, between two views of HTTP: the client's and the upstream's.

Both are relayed at the same time, as they come, at most ``high_water`` bytes ahead of who receives them. h11 has the framing of both sides; it
lives as long as the exchange does.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import h11

from .answer import Answer
from .fields import date, meant, returned
from .heads import MAX_HEAD, Refused
from .policy import Policy
from .work import Outbox

__all__ = ["Exchange"]

#: Methods that may be sent again on another connection (RFC 9110 section 9.2.2), if they have no body.
IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})

#: The upstream has said all.
OVER: Final = (h11.DONE, h11.MUST_CLOSE, h11.CLOSED)


class Exchange:
    """See the top of this module.

    :param high_water: bytes that wait to be sent on one side, before nothing more is taken from the other
    :param began: when the request's head was there, by the clock
    :ivar answer: the response; ``None``: it has not come
    :ivar again: the request, if it may be sent again
    :ivar tunnel: both sides speak something else from now on
    """

    def __init__(self, to_client: Outbox, to_upstream: Outbox, high_water: int, began: float) -> None:
        self.to_client, self.to_upstream, self.began = to_client, to_upstream, began
        self._high_water = high_water
        self.answer: Answer | None = None
        self.again: bytes | None = None
        self.tunnel = False
        self._client = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self._upstream = h11.Connection(h11.CLIENT, max_incomplete_event_size=4 * MAX_HEAD)
        self._request: h11.Request | None = None

    def begin(self, head: bytes, forwarded: Callable[[h11.Request], h11.Request], *, kept: bool) -> None:
        """The request's head is there.

        :param forwarded: makes of a request the one that the upstream gets
        :param kept: it goes over a connection on which others went before
        :raises Refused: if it goes nowhere
        :raises h11.RemoteProtocolError: if it is none
        """
        self._client.receive_data(head)
        request = self._client.next_event()
        assert isinstance(request, h11.Request), request
        if request.method == b"CONNECT":
            raise Refused(405, "this is no forward proxy")
        self._request = request
        sent = self._upstream.send(forwarded(request))
        self.to_upstream.put(sent)
        self.again = sent if kept and request.method in IDEMPOTENT else None

    # -- what has come ------------------------------------------------------------------------------------------

    def client_sent(self, data: bytes | memoryview) -> None:
        """Bytes of the client; empty: it sends no more."""
        self._client.receive_data(data)  # type: ignore[arg-type]  # a view will do

    def upstream_sent(self, data: bytes | memoryview) -> None:
        """Bytes of the upstream; empty: it sends no more."""
        self.again = None
        self._upstream.receive_data(data)  # type: ignore[arg-type]

    @property
    def sending(self) -> bool:
        """Whether the body of the request is not all there."""
        return self._client.their_state is h11.SEND_BODY

    @property
    def silent(self) -> bool:
        """Whether the upstream has not begun to answer."""
        return self._upstream.their_state is h11.SEND_RESPONSE

    @property
    def answered(self) -> bool:
        """Whether the upstream has said all."""
        return self._upstream.their_state in OVER

    @property
    def hungry(self) -> bool:
        """Whether there is room for more of the response."""
        return len(self.to_client) < self._high_water and (self.answer is None or self.answer.hungry)

    # -- relaying -----------------------------------------------------------------------------------------------

    def relay_request(self) -> None:
        """The body of the request, as far as it is there and there is room.

        :raises h11.RemoteProtocolError: if its framing is wrong
        """
        upstream = self._upstream
        while self.sending and len(self.to_upstream) < self._high_water:
            event = self._client.next_event()
            if isinstance(event, h11.Data):
                self.again = None
                if upstream.our_state is h11.SEND_BODY:
                    self.to_upstream.put(upstream.send(h11.Data(data=bytes(event.data))))
            elif isinstance(event, h11.EndOfMessage):
                if upstream.our_state is h11.SEND_BODY:
                    self.to_upstream.put(upstream.send(h11.EndOfMessage()))  # without trailers
            else:
                return

    def relay_response(self, policy: Policy, *, last: bool) -> None:
        """The response, as far as it is there and there is room.

        :param policy: what is compressed, if the response begins now
        :param last: the client is told that the connection ends
        :raises h11.RemoteProtocolError: if the upstream breaks the rules
        """
        while (
            self._upstream.their_state in (h11.SEND_RESPONSE, h11.SEND_BODY)
            and self.hungry
            and not self.tunnel
        ):
            event = self._upstream.next_event()
            if event is h11.NEED_DATA:
                return
            self._take(event, policy, last=last)

    def _take(self, event: object, policy: Policy, *, last: bool) -> None:
        """One event of the upstream."""
        assert self._request is not None
        client = self._client
        if isinstance(event, h11.InformationalResponse):
            if event.status_code == 101 or self._request.http_version == b"1.1":
                reply = h11.InformationalResponse(
                    status_code=event.status_code, headers=returned(event), reason=event.reason
                )
                self.to_client.put(client.send(reply))
            self.tunnel = event.status_code == 101
        elif isinstance(event, h11.Response):
            last = last or client.they_are_waiting_for_100_continue
            self.answer = Answer(client, self._request, meant(event), policy, self.to_client, last=last)
        elif self.answer is not None and isinstance(event, h11.Data):
            self.answer.data(bytes(event.data))
        elif self.answer is not None and isinstance(event, h11.EndOfMessage):
            self.answer.end()

    # -- the end ------------------------------------------------------------------------------------------------

    def leave(self) -> bool:
        """A tunnel begins: what came after the heads goes through it. Whether the upstream has said all."""
        data, over = self._upstream.trailing_data
        self.to_client.put(data)
        self.to_upstream.put(self._client.trailing_data[0])
        self.again = None
        return over

    @property
    def complete(self) -> bool:
        """Whether all of the response is with the client's outbox."""
        return self.answer is not None and self.answer.complete

    @property
    def upstream_lives(self) -> bool:
        """Whether its connection can have another request."""
        states = (self._upstream.our_state, self._upstream.their_state)
        return states == (h11.DONE, h11.DONE) and self._upstream.trailing_data == (b"", False)

    @property
    def client_lives(self) -> bool:
        """Whether the client's connection can have another request."""
        return (self._client.our_state, self._client.their_state) == (h11.DONE, h11.DONE)

    @property
    def rest(self) -> bytes:
        """What the client has sent beyond its request."""
        return self._client.trailing_data[0]

    def fail(self, status: int, reason: str) -> bool:
        """Answer with an error. False: something was answered already."""
        client = self._client
        if client.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return False
        text = f"{reason}\n".encode()
        fields = [
            (b"content-type", b"text/plain"), (b"content-length", str(len(text)).encode()), date(), (b"connection", b"close"),
        ]  # fmt: skip
        phrase = HTTPStatus(status).phrase
        self.to_client.put(client.send(h11.Response(status_code=status, headers=fields, reason=phrase)))
        if self._request is None or self._request.method != b"HEAD":
            self.to_client.put(text)
        self.answer = None
        return True
