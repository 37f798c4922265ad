"""How the proxy that polls terminates TLS: who makes the engines, and who signs for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .options import Options
from .signer import Signer
from .tls import BrokenTls, Engine, PlainTls, server_context

__all__ = ["Termination", "termination"]


class Termination(NamedTuple):
    """TLS for all connections.

    :ivar engine: makes one for a connection
    :ivar signer: signs for engines that have no key; ``None``: they have
    """

    engine: Callable[[], Engine]
    signer: Signer | None


def termination(options: Options) -> Termination | None:
    """As the options want it; ``None``: clients speak HTTP in clear.

    :raises OSError: if a file cannot be read
    :raises BackendUnavailable: if no device signs with such a key
    """
    if options.tls == "none":
        return None
    if options.tls == "plain":
        context = server_context(options.cert, options.key)
        return Termination(lambda: PlainTls(context), None)
    from examples import offloaded_tls  # builds its C the first time, so only who wants it needs a compiler

    class Offloaded(offloaded_tls.OffloadedTls):
        """OpenSSL, which leaves the handshake while somebody else signs."""

        def received(self, data: bytes | memoryview = b"") -> tuple[bytes, bool]:
            try:
                return super().received(data)
            except offloaded_tls.BrokenTls as error:
                raise BrokenTls(str(error)) from error

    settings = offloaded_tls.Settings(options.cert)
    return Termination(
        lambda: Offloaded(settings),
        Signer(options.backend, options.key, options.ring, options.policy.limits.device / 2),
    )
