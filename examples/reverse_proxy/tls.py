"""TLS between the socket and the relay, behind an interface that another engine may fill.

An engine has no socket: ciphertext goes in and comes out as bytes, so the loop that moves them is the same for all. An engine whose private
key is elsewhere says what it wants signed, and goes on when it gets an answer; meanwhile the loop serves others.
"""

from __future__ import annotations

import ssl
from typing import Any, Protocol

__all__ = ["BrokenTls", "Engine", "PlainTls", "server_context"]

#: Bytes of plaintext that are read at once.
SIZE = 1 << 16


class BrokenTls(Exception):
    """The peer does not speak TLS, or not ours."""


class Engine(Protocol):
    """One connection's TLS."""

    @property
    def signing(self) -> Any:
        """What has to be signed before the handshake can go on; ``None``: nothing."""

    def answer(self, signature: bytes | None) -> None:
        """The signature; ``None``: there is none, and the handshake fails. Then call ``received`` with nothing."""

    def received(self, data: bytes | memoryview) -> tuple[bytes | memoryview, bool]:
        """Ciphertext came in, or nothing. What it was in clear, and whether the peer has said that no more will come.

        :raises BrokenTls: if it makes no sense; what is ``outgoing`` then tells the peer
        """

    def send(self, data: bytes | memoryview) -> None:
        """Clear text is to go out. Only after the handshake: nobody has anything to say before."""

    def outgoing(self) -> bytes:
        """Ciphertext that is to go out now; empty: none."""

    def end(self) -> None:
        """Nothing more will be sent: tells the peer."""

    def close(self) -> None:
        """Forget it, also in the middle of a handshake."""


class PlainTls:
    """Python's ``ssl``, between two memory buffers. The private key's operation is done inside, while everything else waits.

    :param context: from :func:`server_context`
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._greeted = False

    @property
    def signing(self) -> None:
        return None

    def answer(self, signature: bytes | None) -> None:
        raise ValueError("signature: expected none, this engine has the key itself")

    def received(self, data: bytes | memoryview) -> tuple[bytes | memoryview, bool]:
        self._incoming.write(data)
        found: list[bytes] = []
        try:
            if not self._greeted:
                self._tls.do_handshake()
                self._greeted = True
            while piece := self._tls.read(SIZE):
                found.append(piece)
        except ssl.SSLWantReadError:
            return b"".join(found), False
        except ssl.SSLZeroReturnError:
            pass
        except ssl.SSLError as error:
            raise BrokenTls(str(error)) from error
        return b"".join(found), True

    def send(self, data: bytes | memoryview) -> None:
        self._tls.write(data)

    def outgoing(self) -> bytes:
        return self._outgoing.read()

    def end(self) -> None:
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            pass  # it waits for the peer's farewell, which nobody needs

    def close(self) -> None:
        pass  # Python does


def server_context(certificate: str, key: str) -> ssl.SSLContext:
    """TLS 1.2 and 1.3, HTTP/1.1 alone.

    :raises OSError: if a file cannot be read
    :raises ssl.SSLError: if they do not belong together
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["http/1.1"])
    return context
