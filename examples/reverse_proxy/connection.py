"""A client, its upstream, and the relay between them."""

from __future__ import annotations

from .port import Port
from .relay import Relay
from .tls import Engine
from .work import Stream, Work

__all__ = ["Connection"]


class Connection:
    """What the poll-mode proxy knows of one client.

    :ivar client: the client's port
    :ivar upstream: the upstream's; ``None``: there is none
    :ivar number: which of the relay's connections that is
    :ivar relay: what it is about
    :ivar engine: TLS; ``None``: without
    :ivar signing: its handshake waits for a signature
    :ivar work: what the accelerator has been given of it
    :ivar stream: the body that is compressed in pieces; ``None``: none is
    :ivar queued: it is in the ring of those that may have something to send
    :ivar lingers: until when the client may go on sending after the end; ``None``: it has not ended
    :ivar closed: there is nothing left of it
    """

    __slots__ = (
        "client", "closed", "engine", "lingers", "number", "queued", "relay", "signing", "stream", "upstream", "work",
    )  # fmt: skip

    client: Port

    def __init__(self, relay: Relay, engine: Engine | None) -> None:
        self.relay, self.engine = relay, engine
        self.upstream: Port | None = None
        self.number = 0
        self.work: Work | None = None
        self.stream: Stream | None = None
        self.queued = self.closed = self.signing = False
        self.lingers: float | None = None
