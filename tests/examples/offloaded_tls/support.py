"""An owner of a key, and a client to shake hands with: Python's ssl, in memory."""

import ssl
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from cryptography.hazmat.primitives.asymmetric import ec

from examples.offloaded_tls import OffloadedTls, Settings, Signing
from tests.examples.certificates import PrivateKey, make

KINDS = ("rsa", "p256", "p384")
VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}


@dataclass(frozen=True)
class Owner:
    """Who has a private key, and the certificate for it."""

    key: PrivateKey
    certificate: Path
    private: Path

    def sign(self, asked: Signing) -> bytes:
        if isinstance(self.key, ec.EllipticCurvePrivateKey):
            assert asked.padding is None
            return self.key.sign(asked.digest, ec.ECDSA(asked.hash))
        return self.key.sign(asked.digest, asked.padding, asked.hash)


@cache
def owner(kind: str) -> Owner:
    key, files = make(Path(mkdtemp(prefix="wdasync-tls-")), kind)
    return Owner(key, *files)


class Client:
    """Python's own side of TLS."""

    def __init__(self, kind: str, version: str = "TLSv1.3", protocols: tuple[str, ...] = ()) -> None:
        context = ssl.create_default_context(cafile=owner(kind).certificate)
        context.minimum_version = context.maximum_version = VERSIONS[version]
        if protocols:
            context.set_alpn_protocols(protocols)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.shaken = False

    def go_on(self) -> bytes:
        """As far as it gets; what it wants to tell the server."""
        try:
            self.tls.do_handshake()
            self.shaken = True
        except ssl.SSLWantReadError:
            pass
        return self.outgoing.read()


class Pair:
    """A client and a server that have not met."""

    def __init__(self, kind: str = "rsa", version: str = "TLSv1.3", protocols: tuple[str, ...] = ()) -> None:
        self.owner = owner(kind)
        self.client = Client(kind, version, protocols)
        self.server = OffloadedTls(Settings(self.owner.certificate))

    def until_asked(self) -> Signing:
        """Up to where the server wants something signed."""
        for _ in range(5):
            assert self.server.received(self.client.go_on()) == (b"", False)
            if (asked := self.server.signing) is not None:
                return asked
            self.client.incoming.write(self.server.outgoing())
        raise AssertionError("nothing was to be signed")

    def finish(self) -> None:
        """From there to the end."""
        for _ in range(5):
            self.server.received()
            self.client.incoming.write(self.server.outgoing())
            self.server.received(self.client.go_on())
            self.client.incoming.write(self.server.outgoing())
            if self.server.shaken and self.client.shaken:
                return
        raise AssertionError("the handshake does not end")

    def shake(self) -> "Pair":
        self.server.answer(self.owner.sign(self.until_asked()))
        self.finish()
        return self
