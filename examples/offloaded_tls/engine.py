"""One connection's TLS: bytes in, bytes out, and sometimes something to sign."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from .native import ffi, lib

__all__ = ["BrokenTls", "OffloadedTls", "Settings", "Signing"]

#: OpenSSL's name of a hash, which some versions begin with SHA2-, -> the object of `cryptography`.
HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    "SHA1": hashes.SHA1(),
    "SHA224": hashes.SHA224(),
    "SHA256": hashes.SHA256(),
    "SHA384": hashes.SHA384(),
    "SHA512": hashes.SHA512(),
}

#: Bytes that are read from OpenSSL at once: more than a record has.
ROOM: Final = 1 << 16


class BrokenTls(Exception):
    """The peer does not speak TLS, or not ours."""


class Signing(NamedTuple):
    """What a handshake wants signed, as ``private_key.sign(digest, padding, hash)`` takes it.

    :ivar digest: already hashed
    :ivar padding: ``PKCS1v15()`` or ``PSS(…)`` of RSA; ``None`` of elliptic curves
    :ivar hash: ``Prehashed(…)``
    """

    digest: bytes
    padding: Any
    hash: Prehashed


class Settings:
    """What the connections of a server have in common: TLS 1.2 and 1.3, HTTP/1.1, a certificate.

    :param certificate: a file with the chain in PEM, the server's own first. The private key is not asked for: its owner signs
    :raises OSError: if the file cannot be read
    :raises BrokenTls: if there is no certificate in it, or its key is neither RSA nor of an elliptic curve
    """

    def __init__(self, certificate: str | Path) -> None:
        with Path(certificate).open("rb"):  # for an error with a name in it
            pass
        native = lib.settings_new(str(certificate).encode())
        if native == ffi.NULL:
            raise BrokenTls(
                f"{certificate}: expected a chain of certificates for RSA or ECDSA in PEM: {complaint()}"
            )
        self.native = ffi.gc(native, lib.settings_free)


def complaint() -> str:
    """What OpenSSL says of the last thing that went wrong in this thread."""
    text = ffi.new("char[]", 200)
    lib.link_complaint(text, len(text))
    return str(ffi.string(text).decode())


class OffloadedTls:
    """A server's side of one connection. No method waits.

    Give it what comes from the peer with :meth:`received`, send the peer what :meth:`outgoing` says, after each of the others. While
    :attr:`signing` is not ``None``, the handshake waits for :meth:`answer`.

    :param settings: of the server
    """

    def __init__(self, settings: Settings) -> None:
        native = lib.link_new(settings.native)
        if native == ffi.NULL:
            raise MemoryError(complaint())
        self._native = ffi.gc(native, lib.link_free)
        self._settings = settings
        self._shaken = False

    @property
    def shaken(self) -> bool:
        """Whether the handshake is over."""
        return self._shaken

    @property
    def version(self) -> str:
        """``TLSv1.3`` or ``TLSv1.2``."""
        return str(ffi.string(lib.link_version(self._native)).decode())

    @property
    def signing(self) -> Signing | None:
        """What has to be signed before the handshake can go on."""
        asked = lib.link_asked(self._native)
        if asked == ffi.NULL:
            return None
        used = HASHES[ffi.string(asked.hash).decode().replace("SHA2-", "SHA")]
        fill: Any = None
        if asked.scheme == lib.SCHEME_RSA_PKCS1:
            fill = padding.PKCS1v15()
        elif asked.scheme == lib.SCHEME_RSA_PSS:
            fill = padding.PSS(padding.MGF1(used), asked.salt_length)
        return Signing(bytes(ffi.buffer(asked.digest, asked.length)), fill, Prehashed(used))

    def answer(self, signature: bytes | None) -> None:
        """The signature, or ``None``: there is none, and the handshake fails. Then call :meth:`received` with nothing."""
        given = (ffi.NULL, 0) if signature is None else (signature, len(signature))
        if not lib.link_answer(self._native, *given):
            raise ValueError("signature: expected one of at most 1024 bytes, while signing is not None")

    def received(self, data: bytes | memoryview = b"") -> tuple[bytes, bool]:
        """Ciphertext came, or nothing. What it was in clear, and whether the peer has said that no more will come.

        :raises BrokenTls: if it makes no sense; what is :meth:`outgoing` then tells the peer
        """
        if data and lib.link_feed(self._native, ffi.from_buffer(data), len(data)) < 0:
            raise MemoryError(complaint())
        if not self._shaken:
            result = lib.link_handshake(self._native)
            if result == lib.LINK_FAILED:
                raise BrokenTls(complaint())
            if result != lib.LINK_DONE:
                return b"", False
            self._shaken = True
        return self._read()

    def _read(self) -> tuple[bytes, bool]:
        room, found = ffi.new("unsigned char[]", ROOM), []
        while (count := lib.link_read(self._native, room, ROOM)) > 0:
            found.append(bytes(ffi.buffer(room, count)))
        if count == lib.LINK_FAILED:
            raise BrokenTls(complaint())
        return b"".join(found), count == lib.LINK_ENDED

    def send(self, data: bytes | memoryview) -> None:
        """Clear text is to go out. Only after the handshake."""
        sent = 0
        view = memoryview(data)
        while sent < len(view):
            count = lib.link_write(self._native, ffi.from_buffer(view[sent:]), len(view) - sent)
            if count <= 0:
                raise BrokenTls(complaint())
            sent += count

    def outgoing(self) -> bytes:
        """Ciphertext that is to go out now; empty: none."""
        room = ffi.new("unsigned char[]", max(lib.link_pending(self._native), 1))
        return bytes(ffi.buffer(room, lib.link_drain(self._native, room, len(room))))

    def end(self) -> None:
        """Nothing more will be sent: tells the peer."""
        lib.link_end(self._native)

    def close(self) -> None:
        """Forget it, also in the middle of a handshake."""
        ffi.release(self._native)
