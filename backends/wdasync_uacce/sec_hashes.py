"""Digests and message authentication codes, as requests to the SEC engine."""

from __future__ import annotations

from wdasync.backend import Completion, Status
from wdasync.operations import Digest, Mac

from .requests import Settled
from .sec_algorithms import DIGESTS, MACS
from .sec_descriptor import Auth
from .sec_empty import hash_of_nothing
from .sec_requests import SecRequest

__all__ = ["HashRequest"]


class HashRequest(SecRequest[Digest | Mac]):
    """A digest, or a message authentication code."""

    __slots__ = ("_code", "_mac")

    def prepare(self) -> None:
        operation, fields = self.operation, self._fields
        keyed = isinstance(operation, Mac)
        self._code = code = (MACS if keyed else DIGESTS)[operation.algorithm]
        key = self.key().hash if keyed else None
        if not operation.nbytes:  # There is none for the engine of queue manager v2.
            raise Settled(Status.SUCCESS, output=hash_of_nothing(operation.algorithm, key))
        fields |= {
            "auth": Auth.COMPUTE,
            "hash": code.code,
            "hash_length": operation.nbytes,
            "mac_words": code.size // 4,
        }
        if key is not None:
            fields |= {"hash_key": self.reach_secret(key), "hash_key_words": len(key) // 4}
        self.reach_source(self.pieces())
        self._mac = self.reach_mac(bytes(code.size), True)

    def done(self, icv: int) -> Completion:
        return self.success(bytes(self._mac), self.operation.nbytes, self._code.size)
