"""Known answers, for a machine whose doctor asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, Final, NamedTuple

from wdasync.backend import Check, Completion
from wdasync.errors import Status
from wdasync.operations import Checksum, Digest, Exchange, Key, KeyedOperation, KeySpec, Operation, Seal

from .keys import CpuKey
from .table import ADVICE

__all__ = ["known_answers"]


class Answer(NamedTuple):
    """A question and its answer.

    :ivar source: who publishes it
    :ivar make: makes the operation
    :ivar output: what must come
    """

    source: str
    make: Callable[[], Operation]
    output: str


def _x25519() -> Operation:
    kinds = import_module("cryptography.hazmat.primitives.asymmetric.x25519")
    scalar = "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"
    peer = "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c"
    key = Key(kinds.X25519PrivateKey.from_private_bytes(bytes.fromhex(scalar)), "a published key")
    return Exchange(key, kinds.X25519PublicKey.from_public_bytes(bytes.fromhex(peer)), "x25519")


ANSWERS: Final = {
    "crc32c": Answer("RFC 3720", lambda: Checksum(bytes(32), "crc32c"), "8a9136aa"),
    "sha256": Answer(
        "FIPS 180-4",
        lambda: Digest(b"abc", "sha256"),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    ),
    "aes-128-gcm": Answer(
        "NIST",
        lambda: Seal(Key(bytes(16), "a published key"), bytes(12), bytes(16), "aes-128-gcm"),
        "0388dace60b6a392f328c2b971b2fe78ab6e47d42cec13bdf53a67b21257bddf",
    ),
    "x25519": Answer("RFC 7748", _x25519, "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"),
}


def known_answers(run: Callable[[Operation], Completion], *, cryptography: bool) -> Iterator[Check]:
    """Ask for each.

    :param run: runs an operation here and now
    :param cryptography: the package is installed
    """
    if not cryptography:
        yield Check("package cryptography", None, "not found; no ciphers and no public keys", ADVICE)
    for name, answer in ANSWERS.items():
        if cryptography or name in ("crc32c", "sha256"):
            yield _ask(name, answer, run)


def _ask(name: str, answer: Answer, run: Callable[[Operation], Completion]) -> Check:
    operation: Any = answer.make()
    if isinstance(operation, KeyedOperation):
        operation.session = CpuKey(KeySpec(operation.algorithm, operation.key.material))
    done = run(operation)
    if done.status is Status.SUCCESS and done.output == bytes.fromhex(answer.output):
        return Check(f"known answer {name}", True, f"as in {answer.source}")
    found = done.detail.message or "another answer came"
    return Check(f"known answer {name}", False, found, "reinstall wdasync and cryptography")
