"""The SEC engine as a device: what it can do, and its keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from wdasync.backend import Capabilities, Capability
from wdasync.errors import UnsupportedOperation
from wdasync.operations import KeySpec, Kind

from .engine_device import EngineDevice, copies
from .files import NodeInfo, QueueFile
from .outputs import MAX_COPY
from .qm import qm_version
from .sec_algorithms import CIPHERS, DIGESTS, MACS, SEALS
from .sec_descriptor import MAX_ASSOCIATED, MAX_LENGTH
from .sec_keys import SecKey
from .sec_queue import SecQueue

__all__ = ["SecDevice", "sec_capabilities"]

_CLASS: Final = "sec"


def _offers(node: NodeInfo) -> Iterator[tuple[Sequence[Kind], str]]:
    version = qm_version(node.api) or 2
    if "digest" in node.algorithms:
        for kind, codes in ((Kind.DIGEST, DIGESTS), (Kind.MAC, MACS)):
            yield from (((kind,), name) for name, code in codes.items() if code.version <= version)
    if "cipher" in node.algorithms:
        both = (Kind.ENCRYPT, Kind.DECRYPT)
        yield from ((both, name) for name, code in CIPHERS.items() if code.version <= version)
    if "aead" in node.algorithms:
        both = (Kind.SEAL, Kind.OPEN)
        yield from ((both, name) for name, code in SEALS.items() if code.cipher.version <= version)


def sec_capabilities(node: NodeInfo) -> Capabilities:
    """What the SEC engine behind a node can do.

    The engine has one queue for everything. Where there is only a reserved region everything is copied, and long copies are not
    made on an event loop.
    """
    longest = MAX_COPY // 2 if copies(node) else MAX_LENGTH
    rows = [
        Capability(kind, name, max_input=min(longest, _longest(name)), queue_class=_CLASS)
        for kinds, name in _offers(node)
        for kind in kinds
    ]
    return Capabilities([Capability(Kind.NOP, "nop", queue_class=_CLASS), *rows])


def _longest(name: str) -> int:
    """Most bytes of text: where a hash covers what lies before it too, the sum of both is the limit."""
    seal = SEALS.get(name)
    return MAX_LENGTH - MAX_ASSOCIATED if seal is not None and seal.hash is not None else MAX_LENGTH


class SecDevice(EngineDevice):
    """A SEC engine."""

    needs = ("cipher", "digest", "aead")

    table = staticmethod(sec_capabilities)

    def _open(self, file: QueueFile, queue_class: str, depth: int) -> SecQueue:
        return SecQueue(file, self._version, self.capabilities, depth, self._lose)

    def open_key(self, spec: KeySpec) -> SecKey:
        """Put a key where the engine finds it.

        :raises UnsupportedOperation: the engine has no such algorithm, or takes no such key
        """
        if not any(row.algorithm == spec.algorithm for row in self.capabilities):
            raise UnsupportedOperation(f"{self.node.name}: there is no {spec.algorithm} here")
        return SecKey(spec)
