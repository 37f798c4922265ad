"""A private key on an accelerator: what has to be signed goes into a queue in bursts, and signatures come back in bursts.

A signature of RSA-2048 takes a third of a millisecond of a CPU, or more. On a device it takes none, and on CPU threads at least not the loop's. The queue
is another than that of compression, perhaps of another device: the best that can sign with this kind of key; if that one fails, the next.
"""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

import wdasync
from wdasync import Kind, Operation, PolledDevice, Status, WdasyncError
from wdasync.operations import Key, Sign

from .connection import Connection
from .lanes import Lanes
from .ring import Ring

if TYPE_CHECKING:
    from examples.offloaded_tls import Signing

__all__ = ["Signer"]

#: Names of curves in `cryptography` and here.
CURVES: Final = {"secp256r1": "p256", "secp384r1": "p384", "secp521r1": "p521"}


class _Signature:
    """A signature that is wanted."""

    def __init__(self, connection: Connection, signing: Signing, signer: Signer) -> None:
        self.connection, self._signing, self._signer = connection, signing, signer

    def offer(self, polled: PolledDevice, *, moving: bool) -> Operation | None:
        del moving  # it belongs to none
        return self._signer.operation(self._signing, polled)


class Signer:
    """The owner of a private key.

    :param backend: wdasync's backend; ``None``: as configured
    :param key: the file of the key, PEM
    :param ring: slots of the ring before the queues
    :param patience: seconds after which a device that says nothing is given up
    :ivar lanes: the queues of devices that can sign with it
    :raises OSError: if the file cannot be read
    :raises ValueError: if there is no key in it
    :raises TypeError: if it is neither of RSA nor of one of the curves
    :raises BackendUnavailable: if no device signs with such a key
    """

    def __init__(self, backend: str | None, key: str, ring: int, patience: float = 5.0) -> None:
        owned = load_pem_private_key(Path(key).read_bytes(), None)
        self._algorithm = _algorithm(owned)
        self._key = Key(owned, "the private key of the proxy")
        with ExitStack() as stack:
            found = wdasync.open_devices(backend, needs=[(Kind.SIGN, self._algorithm)])
            self._devices = [stack.enter_context(polled) for polled in found]
            self.lanes: Lanes[_Signature] = Lanes(self._devices, [Kind.SIGN], patience)
            stack.pop_all()
        self._asked: Ring[tuple[Connection, Signing]] = Ring(ring)
        self._late: deque[tuple[Connection, Signing]] = deque()

    @property
    def name(self) -> str:
        """Backend and device of those that sign, best first."""
        return ", then ".join(f"{polled.backend}/{polled.device.info.name}" for polled in self._devices)

    @property
    def waiting(self) -> bool:
        """Whether there is something that nothing will wake us for."""
        return bool(self._late or len(self._asked) or self.lanes.waiting)

    def ask(self, connection: Connection, signing: Signing) -> None:
        """A signature is wanted. What does not fit into the ring waits before it."""
        if self._late or not self._asked.enqueue_bulk([(connection, signing)]):
            self._late.append((connection, signing))

    def submit(self, burst: int) -> int:
        """From the ring into the queues; how much left the ring. Whose client has gone is not signed for."""
        taken = self._asked.dequeue_burst(max(0, burst - self.lanes.held))
        for connection, signing in taken:
            if not connection.closed:
                self.lanes.put(_Signature(connection, signing, self))
        while self._late and self._asked.free_count:
            self._asked.enqueue_bulk([self._late.popleft()])
        self.lanes.submit()
        return len(taken)

    def reap(self, limit: int) -> list[tuple[Connection, bytes | None]]:
        """Signatures that are there, up to a limit; ``None``: it could not be signed."""
        return [
            (job.connection, done.output if done is not None and done.status is Status.SUCCESS else None)
            for job, done in self.lanes.reap(limit)
        ]

    def operation(self, signing: Signing, polled: PolledDevice) -> Operation | None:
        """To sign on a device; ``None``: it cannot have the key."""
        operation = Sign(self._key, signing.digest, self._algorithm, signing.padding, signing.hash)
        try:
            operation.session = self._key.session(polled.device, self._algorithm, polled.resets)
        except WdasyncError:
            return None
        return operation

    def close(self) -> None:
        """Give the queues back; then no device knows anything of the key any more."""
        self.lanes.close()
        for polled in self._devices:
            polled.stop_queues()
            polled.close_queues()
            self._key.forget(polled.device)
            polled.close()


def _algorithm(key: Any) -> str:
    """As a capability table names it."""
    if isinstance(key, rsa.RSAPrivateKey):
        return "rsa"
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in CURVES:
        return f"ecdsa-{CURVES[key.curve.name]}"
    raise TypeError(f"key: expected one of RSA or of {', '.join(CURVES)}, got {type(key).__name__}")
