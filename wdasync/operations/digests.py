"""Checksums, digests, and message authentication codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..buffers import pin_source
from ..errors import InvalidArgument
from .base import Kind, Operation
from .keys import Key, KeyedOperation

if TYPE_CHECKING:
    from ..backend import DigestSession

__all__ = ["Checksum", "Digest", "DigestChunk", "Mac"]


class Checksum(Operation):
    """A checksum. The output is its 4 bytes, the most significant first.

    :param data: bytes-like, or a list of them
    :param algorithm: ``crc32`` (as gzip's, RFC 1952), ``crc32c`` (Castagnoli, RFC 3720), ``adler32`` (RFC 1950)
    :param initial: the checksum of what came before; ``None``: nothing did
    :raises InvalidArgument: if one of them is not of its type
    """

    __slots__ = ("initial",)
    kind = Kind.CHECKSUM

    initial: int | None

    def __init__(self, data: object, algorithm: str, *, initial: int | None = None) -> None:
        if initial is not None and (type(initial) is not int or not 0 <= initial < 1 << 32):
            raise InvalidArgument(f"initial: expected an int from 0 to 2**32 - 1, got {initial!r}")
        self._begin(data, algorithm)
        self.initial = initial


class Digest(Operation):
    """A digest, whole.

    :param data: bytes-like, or a list of them
    :param algorithm: ``md5``, ``sha1``, ``sha224``, ``sha256``, ``sha384``, ``sha512``, ``sha512-224``, ``sha512-256``, ``sm3``
    """

    __slots__ = ()
    kind = Kind.DIGEST

    def __init__(self, data: object, algorithm: str) -> None:
        self._begin(data, algorithm)


class DigestChunk(Operation):
    """One step of a digest, or of a message authentication code, that is computed piece by piece.

    :param session: the stream, of a :class:`~wdasync.backend.DigestSpec`
    :param data: bytes-like, or a list of them; may be empty
    :param final: it is the last piece: the output is the digest. Otherwise there is no output
    """

    __slots__ = ("final",)
    kind = Kind.DIGEST_CHUNK

    final: bool

    def __init__(self, session: DigestSession, data: object, final: bool = False) -> None:
        self.paged = None
        self.resident = False
        self.chain = None
        self.source, self.nbytes, self.immutable = pin_source(data)
        self.destination = None
        self.session = session
        self.algorithm = session.spec.algorithm
        self.dictionary = None
        self.level = "fast"
        self.window = None
        self.final = final


class Mac(KeyedOperation):
    """A message authentication code, whole; the output is the full tag.

    :param key: a secret
    :param data: bytes-like, or a list of them
    :param algorithm: ``hmac-`` and a digest (RFC 2104), or ``aes-128-cmac`` and the like (NIST SP 800-38B)
    """

    __slots__ = ()
    kind = Kind.MAC

    def __init__(self, key: Key, data: object, algorithm: str) -> None:
        self._take_key(key)
        self._begin(data, algorithm)
