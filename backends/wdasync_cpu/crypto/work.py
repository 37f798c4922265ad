"""One operation, from its plan to its outcome."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from wdasync.errors import Status
from wdasync.operations import Kind, Operation

from .. import packages
from ..binding import Outcome
from ..packages import Stop
from . import ciphers, digests, publickeys
from .digests import CpuDigest
from .inputs import Refused
from .keys import key_of

__all__ = ["run"]

#: Kind -> what does it with data, of any length.
_LONG: Final[dict[Kind, Callable[..., Outcome]]] = {
    Kind.MAC: digests.code,
    Kind.ENCRYPT: ciphers.cipher,
    Kind.DECRYPT: ciphers.cipher,
    Kind.SEAL: ciphers.seal,
    Kind.OPEN: ciphers.open_sealed,
}

#: Kind -> what does it with a public or private key.
_SHORT: Final[dict[Kind, Callable[..., Outcome]]] = {
    Kind.SIGN: publickeys.sign,
    Kind.VERIFY: publickeys.verify,
    Kind.PUBLIC_ENCRYPT: publickeys.encrypt,
    Kind.PRIVATE_DECRYPT: publickeys.decrypt,
    Kind.EXCHANGE: publickeys.exchange,
}


def run(operation: Any, stop: Stop) -> Outcome:
    """Do it, in this thread.

    :raises Stopped: the queue is being stopped
    """
    try:
        return _run(operation, stop)
    except Refused as error:
        return packages.failed(Status.INVALID_ARGS, str(error))
    except (OverflowError, TypeError, ValueError) as error:
        return packages.failed(Status.INVALID_ARGS, _words(error))
    except Exception as error:
        if type(error).__name__ != "UnsupportedAlgorithm":
            raise
        return packages.failed(Status.INVALID_ARGS, _words(error))


def _run(operation: Any, stop: Stop) -> Outcome:
    kind = operation.kind
    if kind is Kind.DIGEST:
        return digests.digest(operation, stop)
    if kind is Kind.DIGEST_CHUNK:
        return _step(operation, stop)
    if kind is Kind.GENERATE:
        return publickeys.generate(operation)
    key = key_of(operation)
    return _LONG[kind](operation, key, stop) if kind in _LONG else _SHORT[kind](operation, key)


def _step(operation: Operation, stop: Stop) -> Outcome:
    session = operation.session
    if not isinstance(session, CpuDigest):
        raise Refused("not a digest of this backend")
    return session.step(operation, stop)


def _words(error: Exception) -> str:
    """The library's words; its arguments, which it may quote, are none of them."""
    return f"cryptography: {error}"
