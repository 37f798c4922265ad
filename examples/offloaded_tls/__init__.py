"""TLS for servers whose private key's operation is awaited: on an accelerator, in a thread, on another machine.

Python's ``ssl`` signs inside of the handshake, while the event loop waits; with RSA-2048 that is a third of a millisecond or more for each client. Here
OpenSSL leaves the handshake in the middle, and goes on when the signature is there. :class:`OffloadedTls` has no socket and waits for
nothing; :class:`TlsStream` is one around an anyio byte stream.
"""

from __future__ import annotations

from .engine import BrokenTls, OffloadedTls, Settings, Signing
from .stream import TlsStream

__all__ = ["BrokenTls", "OffloadedTls", "Settings", "Signing", "TlsStream"]
