"""A private key on an accelerator: what has to be signed goes into a queue in bursts, and signatures come back in bursts.

A signature of RSA-2048 takes a good millisecond of a CPU. On a device it takes none, and on CPU threads at least not the loop's. The queue
is another than that of compression, perhaps of another device: the best that can sign with this kind of key.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

import wdasync
from wdasync import Kind, Operation, Status
from wdasync.operations import Key, Sign

from .connection import Connection
from .ring import Ring

if TYPE_CHECKING:
    from examples.offloaded_tls import Signing

__all__ = ["Signer"]

#: Names of curves in `cryptography` and here.
CURVES: Final = {"secp256r1": "p256", "secp384r1": "p384", "secp521r1": "p521"}


class Signer:
    """The owner of a private key.

    :param backend: wdasync's backend; ``None``: as configured
    :param key: the file of the key, PEM
    :param ring: slots of the ring before the queue
    :ivar queue: the device's
    :raises OSError: if the file cannot be read
    :raises ValueError: if there is no key in it
    :raises TypeError: if it is neither of RSA nor of one of the curves
    :raises BackendUnavailable: if no device signs with such a key
    """

    def __init__(self, backend: str | None, key: str, ring: int) -> None:
        owned = load_pem_private_key(Path(key).read_bytes(), None)
        self._algorithm = _algorithm(owned)
        self._polled = wdasync.open_device(backend, needs=[(Kind.SIGN, self._algorithm)])
        row = self._polled.device.capabilities.find(Kind.SIGN, self._algorithm)
        assert row is not None
        self._key = Key(owned, "the private key of the proxy")
        self._session = self._key.session(self._polled.device, self._algorithm)
        self.queue = self._polled.open_queue(queue_class=row.queue_class)
        self._asked: Ring[tuple[Connection, Signing]] = Ring(ring)
        self._late: deque[tuple[Connection, Signing]] = deque()
        self._held: list[tuple[int, Operation]] = []
        self._flying: dict[int, Connection] = {}
        self._tag = 0

    @property
    def name(self) -> str:
        """Who signs, for people."""
        return f"{self._polled.backend}/{self._polled.device.info.name}"

    @property
    def waiting(self) -> bool:
        """Whether there is something that the queue has not taken yet: nothing will wake us for that."""
        return bool(self._held or self._late or len(self._asked))

    def ask(self, connection: Connection, signing: Signing) -> None:
        """Something to be signed. What does not fit into the ring, at most one for each connection, waits before it."""
        if self._late or not self._asked.enqueue_bulk([(connection, signing)]):
            self._late.append((connection, signing))

    def submit(self, burst: int) -> int:
        """From the ring into the queue; how much left the ring. Whose client has gone is not signed for."""
        taken = self._asked.dequeue_burst(max(0, burst - len(self._held)))
        for connection, signing in taken:
            if not connection.closed:
                self._tag = (self._tag + 1) & 0xFFFFFFFF
                self._flying[self._tag] = connection
                self._held.append((self._tag, self._operation(signing)))
        while self._late and self._asked.free_count:
            self._asked.enqueue_bulk([self._late.popleft()])
        if self._held and self._polled.device.lost is None:
            del self._held[: self.queue.enqueue_burst(self._held)]
        return len(taken)

    def reap(self, limit: int) -> list[tuple[Connection, bytes | None]]:
        """Signatures that are there, up to a limit; ``None``: it could not be signed."""
        found: list[tuple[Connection, bytes | None]] = []
        for done in self.queue.dequeue_burst(limit):
            signature = done.output if done.status is Status.SUCCESS else None
            found.append((self._flying.pop(done.tag), signature))
        if self._polled.device.lost is not None:
            while self._held and len(found) < limit:
                found.append((self._flying.pop(self._held.pop(0)[0]), None))
        return found

    def close(self) -> None:
        """Give the queue back; then the device knows nothing of the key any more."""
        self.queue.stop()
        while self.queue.statistics().in_flight and self._polled.device.lost is None:
            self.queue.dequeue_burst(64)
        self._key.forget(self._polled.device)
        self._polled.close()

    def _operation(self, signing: Signing) -> Operation:
        operation = Sign(self._key, signing.digest, self._algorithm, signing.padding, signing.hash)
        operation.session = self._session
        return operation


def _algorithm(key: Any) -> str:
    """As a capability table names it."""
    if isinstance(key, rsa.RSAPrivateKey):
        return "rsa"
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in CURVES:
        return f"ecdsa-{CURVES[key.curve.name]}"
    raise TypeError(f"key: expected one of RSA or of {', '.join(CURVES)}, got {type(key).__name__}")
