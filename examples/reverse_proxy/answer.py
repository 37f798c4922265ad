"""A response on its way to the client: as it is, compressed whole, or compressed in pieces.

The rules of content negotiation are those of the ASGI middleware: the same tables decide. A body whose length is known and that fits into a
buffer is collected and compressed in one operation. One that is longer, or of which nobody knows how long it will be, is compressed in
pieces, each flushed: what the upstream has said, the client can read.
"""

from __future__ import annotations

import enum

import h11

from wdasync import Flush
from wdasync.integrations.decisions import Exchange, decide, fields_of_plain
from wdasync.integrations.negotiation import choose, parse_accept_encoding

from .fields import Lines, coded, folded, kept_as_it_is, length_of, returned, values
from .policy import Policy
from .work import Outbox, Stream, Work

__all__ = ["Answer"]


class _Way(enum.Enum):
    """How the body goes."""

    PLAIN = "plain"
    WHOLE = "whole"
    PIECES = "pieces"


class Answer:
    """One response.

    :param server: h11's view of the client
    :param request: what is answered
    :param response: the upstream's
    :param policy: what is compressed
    :param outbox: where it goes
    :param last: the client is told that the connection ends
    :ivar work: what the accelerator is to do; ``None``: nothing now
    :ivar complete: all of it is in the outbox
    """

    def __init__(
        self,
        server: h11.Connection,
        request: h11.Request,
        response: h11.Response,
        policy: Policy,
        outbox: Outbox,
        *,
        last: bool,
    ) -> None:
        self.work: Work | None = None
        self.complete = False
        self._server = server
        self._response = response
        self._policy = policy
        self._outbox = outbox
        self._pieces: list[bytes] = []
        self._waiting = 0
        self._ended = False
        self._coding, self._plain, lines = _decide(request, response, policy)
        if last:
            self._plain, lines = (
                [*self._plain, (b"connection", b"close")],
                [*lines, (b"connection", b"close")],
            )
        self._lines = lines
        self._stream: Stream | None = None
        size = length_of(folded(response.headers))
        self._way = _Way.PLAIN
        if self._coding is not None:
            self._way = _Way.WHOLE if size is not None and size <= policy.room else _Way.PIECES
        if self._way is _Way.PIECES:
            assert self._coding is not None
            self._stream = Stream(self._coding)
            self._begin(coded(lines, self._coding, None))
        elif self._way is _Way.PLAIN:
            self._begin(self._plain)

    @property
    def hungry(self) -> bool:
        """Whether there is room for more of the body."""
        return self._way is not _Way.PIECES or self._waiting < self._policy.limits.high_water

    def data(self, data: bytes) -> None:
        """More of the body."""
        if self._way is _Way.PLAIN:
            self._send(data)
        else:
            self._pieces.append(data)
            self._waiting += len(data)
            self._step()

    def end(self) -> None:
        """The body is all there."""
        self._ended = True
        if self._way is _Way.PLAIN:
            self._finish()
        else:
            self._step()

    def compressed(self, output: object) -> bool:
        """The accelerator's output for ``work``; ``None``: it failed. False: then nothing can be done any more."""
        work, self.work = self.work, None
        assert work is not None
        if self._way is _Way.WHOLE:
            self._whole(work, output)
        elif output is None:
            return False
        else:
            self._send(output)
            self._finish() if work.flush is Flush.FINISH else self._step()
        return True

    def _whole(self, work: Work, output: object) -> None:
        if output is None:
            self._begin(self._plain)
            for piece in work.pieces:
                self._send(piece)
        else:
            assert self._coding is not None
            self._begin(coded(self._lines, self._coding, len(output)))  # type: ignore[arg-type]  # it has a length
            self._send(output)
        self._finish()

    def _step(self) -> None:
        """The next operation, if there is one and none is under way."""
        if self.work is not None or self._coding is None or (self._stream is None and not self._ended):
            return
        if self._pieces or self._ended:
            pieces, self._pieces, self._waiting = self._pieces, [], 0
            flush = Flush.FINISH if self._ended else Flush.SYNC
            self.work = Work(self._coding, pieces, self._stream, flush)

    def _begin(self, lines: Lines) -> None:
        it = self._response
        head = h11.Response(status_code=it.status_code, headers=lines, reason=it.reason)
        self._outbox.put(self._server.send(head))

    def _send(self, data: object) -> None:
        """Data as they are, between what frames them: h11 wants only their length."""
        for piece in self._server.send_with_data_passthrough(h11.Data(data=data)) or ():  # type: ignore[arg-type]
            self._outbox.put(piece)

    def _finish(self) -> None:
        self._outbox.put(self._server.send(h11.EndOfMessage()))
        self.complete = True


def _decide(request: h11.Request, response: h11.Response, policy: Policy) -> tuple[str | None, Lines, Lines]:
    """The coding, ``None``: as it is; the fields if it goes as it is; those from which the coded ones are made."""
    named = folded(response.headers)
    size = length_of(named)
    preferences = parse_accept_encoding(values(request.headers, b"accept-encoding"))
    offered = policy.whole if size is not None and size <= policy.room else policy.streams
    if kept_as_it_is(request):
        named["cache-control"] = ", ".join([named.get("cache-control", ""), "no-transform"])
    exchange = Exchange(
        request.method.decode(),
        response.status_code,
        named,
        size,
        choose(preferences, offered),
        policy.minimum,
        preferences.identity == 0,
    )
    row, coding = decide(exchange)
    lines = returned(response)
    tags = values(request.headers, b"if-none-match")
    return coding, fields_of_plain(row, response.status_code, lines, tags), lines
