"""Digests and message authentication codes, by hashlib; those made with a block cipher by `cryptography`."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from wdasync.backend import DigestSpec
from wdasync.errors import Status
from wdasync.operations import Digest, DigestChunk, Mac, Operation

from .. import binding, packages
from ..binding import Outcome
from ..packages import Stop
from .inputs import delivered, pieces
from .keys import CpuKey
from .table import hashlib_name

__all__ = ["CpuDigest", "check_spec", "code", "digest"]


def _begin(algorithm: str, key: bytes | bytearray | None) -> Any:
    """The state of a digest, or of a code with a key, before any data."""
    name = hashlib_name(algorithm.removeprefix("hmac-"))
    if key is None:
        return hashlib.new(name, usedforsecurity=False)
    return hmac.new(key, digestmod=name)


def digest(operation: Digest, stop: Stop) -> Outcome:
    """A digest, whole."""
    state = _begin(operation.algorithm, None)
    for piece in pieces(operation.source, stop):
        state.update(piece)
    return delivered(operation, state.digest())


def code(operation: Mac, key: CpuKey, stop: Stop) -> Outcome:
    """A message authentication code, whole."""
    if operation.algorithm.startswith("hmac-"):
        state = key.made("hmac", lambda secret: _begin(operation.algorithm, secret)).copy()
        for piece in pieces(operation.source, stop):
            state.update(piece)
        return delivered(operation, state.digest())
    from cryptography.hazmat.primitives.cmac import CMAC

    from .ciphers import block_cipher

    state = CMAC(key.made("cipher", lambda secret: block_cipher(operation.algorithm, secret)))
    for piece in pieces(operation.source, stop):
        state.update(bytes(piece))
    return delivered(operation, state.finalize())


class CpuDigest:
    """A digest, or code, piece by piece. See :class:`wdasync.backend.DigestSession`.

    :ivar spec: what was asked for
    :ivar state: the C side's handle, which knows whether a step is under way
    """

    _key: bytearray | None = None

    def __init__(self, spec: DigestSpec, state: object) -> None:
        self.spec = spec
        self.state = state
        self._key = None if spec.material is None else bytearray(spec.material)
        self._begin()

    def __del__(self) -> None:
        self._wipe()

    def _wipe(self) -> None:
        if self._key is not None:
            self._key[:] = bytes(len(self._key))

    def __repr__(self) -> str:
        return f"<CpuDigest {self.spec.algorithm}>"

    def _begin(self) -> None:
        self._digest: Any = _begin(self.spec.algorithm, self._key)
        self._over = ""

    def reset(self) -> None:
        binding.reset_session(self.state)
        self._begin()

    def close(self) -> None:
        binding.close_session(self.state)
        self._wipe()
        self._digest = None
        self._over = "the digest is closed"

    def step(self, operation: Operation, stop: Stop) -> Outcome:
        """One step.

        :raises Exception: what the library raises
        """
        if self._over:
            return packages.failed(Status.INVALID_STATE, self._over)
        if not isinstance(operation, DigestChunk):
            return packages.failed(Status.INVALID_ARGS, "not a step of a digest")
        self._over = "the digest has failed"
        for piece in pieces(operation.source, stop):
            self._digest.update(piece)
        self._over = "the digest has ended" if operation.final else ""
        output = self._digest.digest() if operation.final else b""
        return Status.SUCCESS, output, operation.nbytes, len(output), False, None


def check_spec(spec: DigestSpec) -> str:
    """Why there can be no such digest; empty if there can."""
    with_key = spec.algorithm.startswith("hmac-")
    if with_key != (spec.material is not None):
        return f"key: expected {'one' if with_key else 'none'} for {spec.algorithm}"
    return "" if spec.material is None or len(spec.material) else "key: expected at least 1 byte, got none"
