"""The HPRE engine as a device: what it can do, and its keys."""

from __future__ import annotations

from typing import Final

from wdasync.backend import Capabilities, Capability
from wdasync.errors import UnsupportedOperation
from wdasync.operations import KeySpec, Kind

from .curves import CURVES
from .engine_device import EngineDevice
from .files import NodeInfo, QueueFile
from .hpre_keys import BITS, HpreKey
from .hpre_queue import HpreQueue
from .outputs import MAX_COPY

__all__ = ["HpreDevice", "hpre_capabilities"]

_RSA: Final = (Kind.SIGN, Kind.VERIFY, Kind.PUBLIC_ENCRYPT, Kind.PRIVATE_DECRYPT)

#: Name in the attribute ``algorithms`` -> kinds of operations, names of our algorithms, queue class.
_OFFERS: Final[dict[str, tuple[tuple[Kind, ...], tuple[str, ...], str]]] = {
    "rsa": (_RSA, ("rsa",), "rsa"),
    "dh": ((Kind.EXCHANGE,), ("dh",), "rsa"),
    "ecdsa": ((Kind.SIGN, Kind.VERIFY), tuple(f"ecdsa-{name}" for name in CURVES), "curves"),
    "ecdh": ((Kind.EXCHANGE,), tuple(f"ecdh-{name}" for name in CURVES), "curves"),
    "x25519": ((Kind.EXCHANGE,), ("x25519",), "curves"),
    "x448": ((Kind.EXCHANGE,), ("x448",), "curves"),
}


def hpre_capabilities(node: NodeInfo) -> Capabilities:
    """What the HPRE engine behind a node can do.

    Messages are hashed here, in the thread that submits, so a long one is left to others.
    """
    rows = [
        Capability(kind, name, bits=BITS.get(name), max_input=MAX_COPY, queue_class=queue_class)
        for offered in node.algorithms
        if offered in _OFFERS
        for kinds, names, queue_class in (_OFFERS[offered],)
        for name in names
        for kind in kinds
    ]
    if "rsa" in node.algorithms:  # A new key is its primes, and they are found by powers.
        rows.append(Capability(Kind.GENERATE, "rsa", bits=BITS["rsa"], queue_class="rsa"))
    if "ecdh" in node.algorithms:  # A new key is a point many times, too.
        rows += [Capability(Kind.GENERATE, f"ec-{name}", queue_class="curves") for name in CURVES]
    return Capabilities(
        [Capability(Kind.NOP, "nop", queue_class=rows[0].queue_class if rows else "rsa"), *rows]
    )


class HpreDevice(EngineDevice):
    """An HPRE engine."""

    needs = tuple(_OFFERS)

    table = staticmethod(hpre_capabilities)

    def _open(self, file: QueueFile, queue_class: str, depth: int) -> HpreQueue:
        return HpreQueue(file, self._version, queue_class, self.capabilities, depth, self._lose)

    def open_key(self, spec: KeySpec) -> HpreKey:
        """Make the engine's block of numbers of a key.

        :raises UnsupportedOperation: the engine has no such algorithm, or takes no such key
        """
        keyless = (Kind.NOP, Kind.GENERATE)
        if not any(row.algorithm == spec.algorithm for row in self.capabilities if row.kind not in keyless):
            raise UnsupportedOperation(f"{self.node.name}: there is no {spec.algorithm} here")
        return HpreKey(spec)
