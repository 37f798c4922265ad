"""A private key in a thread of its own: what has to be signed goes there through a ring, and signatures come back through another.

A signature of RSA-2048 takes a good millisecond of a CPU, outside of the interpreter's lock. In this thread it holds up nobody else's
connection; in the loop it would hold up all. Each of the two rings has one producer and one consumer, in different threads.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from .connection import Connection
from .ring import Ring

if TYPE_CHECKING:
    from examples.offloaded_tls import Signing

__all__ = ["Signer"]


class Signer:
    """The owner of a private key.

    :param key: its file, PEM, RSA or of an elliptic curve
    :param ring: slots of each ring
    :raises OSError: if the file cannot be read
    :raises ValueError: if it is no key
    :raises TypeError: if it is another kind of key
    """

    def __init__(self, key: str, ring: int) -> None:
        owned = load_pem_private_key(Path(key).read_bytes(), None)
        if not isinstance(owned, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
            raise TypeError(
                f"{key}: expected a key of RSA or of an elliptic curve, got {type(owned).__name__}"
            )
        self._key = owned
        self._asked: Ring[tuple[Connection, Any]] = Ring(ring)
        self._signed: Ring[tuple[Connection, bytes | None]] = Ring(ring)
        self._late: deque[tuple[Connection, Any]] = deque()
        self._flying = 0
        self._work = threading.Semaphore(0)
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="signer", daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        """Readable when there are signatures; :meth:`woken` makes it quiet again."""
        return self._wake

    def woken(self) -> None:
        """Who slept on the descriptor is awake."""
        os.eventfd_read(self._wake)

    def ask(self, connection: Connection, signing: Signing) -> None:
        """Something to be signed. No more than the ring has slots are under way, so the ring back is never full."""
        if self._flying == self._asked.capacity:
            self._late.append((connection, signing))
            return
        self._flying += 1
        self._asked.enqueue_bulk([(connection, signing)])
        self._work.release()

    def reap(self, limit: int) -> list[tuple[Connection, bytes | None]]:
        """Signatures that are there, up to a limit; ``None``: it could not be signed."""
        found = self._signed.dequeue_burst(limit)
        self._flying -= len(found)
        for _ in range(min(len(found), len(self._late))):
            self.ask(*self._late.popleft())
        return found

    def close(self) -> None:
        """End the thread, after what it was asked before."""
        self._work.release()  # once more than there are questions
        self._thread.join()
        os.close(self._wake)

    def _run(self) -> None:
        while self._work.acquire() and (items := self._asked.dequeue_burst(1)):
            (connection, signing) = items[0]
            self._signed.enqueue_bulk([(connection, self._sign(signing))])
            os.eventfd_write(self._wake, 1)

    def _sign(self, signing: Signing) -> bytes | None:
        try:
            if isinstance(self._key, rsa.RSAPrivateKey):
                return self._key.sign(signing.digest, signing.padding, signing.hash)
            return self._key.sign(signing.digest, ec.ECDSA(signing.hash))
        except (TypeError, ValueError, UnsupportedAlgorithm):  # the certificate is another key's
            return None
