"""What the mock can besides compression: memory work, checksums, digests, and codes with a key, by the standard library."""

from __future__ import annotations

import hashlib
import hmac
import zlib
from collections.abc import Callable
from typing import Any, Final

from ..backend import Capability, Detail, DigestSpec
from ..buffers import join
from ..errors import InvalidState, Status, UnsupportedOperation
from ..operations import Checksum, Compare, Copy, Digest, DigestChunk, Fill, KeySpec, Kind, Mac, Operation
from ._codecs import Outcome

__all__ = ["MockDigest", "MockKey", "digest_rows", "work_on_digests"]

DIGESTS: Final = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512")

CHECKSUMS: Final[dict[str, Callable[[bytes, int], int]]] = {"crc32": zlib.crc32, "adler32": zlib.adler32}

#: What the checksum of nothing is.
EMPTY: Final = {"crc32": 0, "adler32": 1}

_MAC: Final = "hmac-"


def digest_rows(queue_class: str) -> list[Capability]:
    """The rows of all that is here."""
    named = [(Kind.COPY, "copy"), (Kind.FILL, "fill"), (Kind.COMPARE, "compare")]
    named += [(Kind.CHECKSUM, name) for name in CHECKSUMS]
    named += [(kind, name) for name in DIGESTS for kind in (Kind.DIGEST, Kind.DIGEST_CHUNK)]
    named += [(kind, _MAC + name) for name in DIGESTS for kind in (Kind.MAC, Kind.DIGEST_CHUNK)]
    return [Capability(kind, name, queue_class=queue_class) for kind, name in named]


def _hash(algorithm: str, key: bytes | bytearray | None) -> Any:
    name = algorithm.removeprefix(_MAC)
    if name not in DIGESTS or (key is not None) != algorithm.startswith(_MAC):
        raise UnsupportedOperation(f"expected one of {', '.join(DIGESTS)}, got {algorithm!r}")
    return hashlib.new(name) if key is None else hmac.new(key, digestmod=name)


class MockKey:
    """A key, as the mock's device knows it.

    :ivar owner: the device
    """

    def __init__(self, owner: object, spec: KeySpec) -> None:
        _hash(spec.algorithm, b"")
        self.owner = owner
        self.spec = spec
        self.closed = False

    def close(self) -> None:
        self.closed = True


class MockDigest:
    """A digest that is computed piece by piece on a mock device.

    :ivar busy: an operation of it is in flight
    """

    def __init__(self, owner: object, spec: DigestSpec) -> None:
        self.owner = owner
        self.spec = spec
        self.busy = False
        self.closed = False
        self._begin()

    def _begin(self) -> None:
        self._state: Any = _hash(self.spec.algorithm, self.spec.material)
        self.ended = False

    def step(self, operation: DigestChunk) -> Outcome:
        """One step; after the last one, or a failure, nothing goes on until a reset."""
        if self.ended or self.closed:
            return Outcome(Status.INVALID_STATE, detail=Detail("the digest has ended"))
        self._state.update(join(operation.source))
        self.ended = operation.final
        return Outcome(Status.SUCCESS, self._state.digest() if operation.final else b"", operation.nbytes)

    def poison(self) -> None:
        """A step of it failed: nothing goes on until a reset."""
        self.ended = True

    def reset(self) -> None:
        self._idle("reset")
        self._begin()

    def close(self) -> None:
        self._idle("close")
        self.closed = True
        self._state = None

    def _idle(self, what: str) -> None:
        if self.busy:
            raise InvalidState(f"{what}: an operation of this digest is in flight; wait for its completion")


def work_on_digests(operation: Operation, owner: object) -> Outcome | None:
    """Do it, as the device; ``None``: it is none of these."""
    data = bytes(join(operation.source))
    match operation:
        case Copy():
            output = data
        case Fill():
            output = bytes([operation.value]) * len(operation.destination or b"")
        case Compare():
            output = bytes([data == join(operation.other)])
        case Checksum():
            start = EMPTY[operation.algorithm] if operation.initial is None else operation.initial
            output = CHECKSUMS[operation.algorithm](data, start).to_bytes(4, "big")
        case Digest():
            output = hashlib.new(operation.algorithm, data).digest()
        case Mac():
            session = operation.session
            if not isinstance(session, MockKey) or session.owner is not owner or session.closed:
                return Outcome(Status.INVALID_ARGS, detail=Detail("the key is not one of this device"))
            output = hmac.digest(bytes(session.spec.material), data, operation.algorithm.removeprefix(_MAC))
        case DigestChunk(session=MockDigest() as stream) if stream.owner is owner:
            return stream.step(operation)
        case _:
            return None
    return Outcome(Status.SUCCESS, output, len(data))
