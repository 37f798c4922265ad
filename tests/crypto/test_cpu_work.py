"""The CPU's own part: CRC-32C in C, keys and digests at the queue, what completes how."""

from __future__ import annotations

import hashlib
import mmap
import random
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, x25519

from tests.cpu.support import open_device, run
from wdasync.backend import Completion, Detail, DigestSpec, Queue, Status
from wdasync.errors import UnsupportedOperation
from wdasync.operations import (
    Checksum,
    Compare,
    Copy,
    Decrypt,
    Digest,
    DigestChunk,
    Encrypt,
    Exchange,
    Fill,
    Generate,
    Key,
    KeySpec,
    Kind,
    Mac,
    Open,
    Operation,
    Seal,
    Sign,
)
from wdasync_cpu import binding
from wdasync_cpu.crypto.answers import ANSWERS, known_answers
from wdasync_cpu.devices import CpuDevice

RSA = rsa.generate_private_key(65537, 1024)
P256 = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def device() -> Iterator[CpuDevice]:
    device = open_device()
    yield device
    device.close()


@pytest.fixture
def queue(device: CpuDevice) -> Iterator[Queue]:
    queue = device.open_queue(16)
    yield queue
    queue.stop()
    queue.close()


def plain_crc32c(data: bytes, value: int = 0) -> int:
    """Bit by bit, as RFC 3720 has it."""
    value ^= 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


@pytest.mark.parametrize("plainly", [True, False])
def test_crc32c_by_tables_and_by_instruction(plainly: bool) -> None:
    chance = random.Random(1)
    for size in [*range(34), 255, 256, 1000, 3071, 3072, 3073, 4099, 6143, 6144, 9999]:
        data = chance.randbytes(size)
        start = chance.getrandbits(32)
        assert binding.crc32c(start, data, plainly) == plain_crc32c(data, start)


def outcome(queue: Queue, operation: Operation) -> tuple[Status, str]:
    (done,) = run(queue, [operation])
    assert done.output is None
    return done.status, done.detail.message


def told(device: CpuDevice, operation: Any) -> Any:
    operation.session = device.open_key(KeySpec(operation.algorithm, operation.key.material))
    return operation


AES = Key(bytes(16), "a key")


def test_a_key_that_nobody_told_of(device: CpuDevice, queue: Queue) -> None:
    operation = Encrypt(AES, bytes(16), "aes-128-ecb")
    assert outcome(queue, operation) == (
        Status.INVALID_ARGS,
        "the key is not one that this device was told of",
    )
    told(device, operation).session.close()
    assert outcome(queue, operation) == (Status.INVALID_ARGS, "the key was closed")
    operation.session = device.open_key(KeySpec("aes-128-cbc", AES.material))
    status, message = outcome(queue, operation)
    assert status is Status.INVALID_ARGS
    assert "the key is for aes-128-cbc, not for aes-128-ecb" in message


@pytest.mark.parametrize(
    ("algorithm", "material", "message"),
    [
        ("aes-128-ecb", bytes(15), "key: expected 16 bytes, got 15"),
        ("aes-128-ecb", RSA, "key: expected bytes, got"),
        ("hmac-sha256", b"", "key: expected at least 1 byte"),
        ("rsa", b"bytes", "key: expected one of RSA, got bytes"),
        ("ecdsa-p256", RSA, "key: expected one of EllipticCurve"),
        ("ecdsa-p384", P256, "key: expected one on secp384r1, got one on secp256r1"),
        ("ecdh-p521", P256, "key: expected one on secp521r1, got one on secp256r1"),
        ("none", b"bytes", "no keys are used with it"),
    ],
)
def test_what_is_no_key(device: CpuDevice, algorithm: str, material: object, message: str) -> None:
    with pytest.raises(UnsupportedOperation, match=message):
        device.open_key(KeySpec(algorithm, material))


def test_a_small_modulus(device: CpuDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    class Small(rsa.RSAPublicKey):
        key_size = 512

    monkeypatch.setattr(Small, "__abstractmethods__", frozenset())
    with pytest.raises(UnsupportedOperation, match="at least 1024 bits, got 512"):
        device.open_key(KeySpec("rsa", Small()))  # type: ignore[abstract]  # see above


PUBLIC = Key(P256.public_key(), "a public key")
SIGNER = Key(P256, "a private key")
OTHER = ec.generate_private_key(ec.SECP384R1()).public_key()


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (Sign(PUBLIC, b"", "ecdsa-p256", None, hashes.SHA256()), "key: expected one that can sign"),
        (Sign(SIGNER, b"", "ecdsa-p256", None, None), "cryptography: "),
        (Sign(Key(RSA, "a key"), b"", "rsa", padding.PSS(padding.MGF1(hashes.SHA512()), 64), hashes.SHA512()), "cryptography: "),
        (Sign(Key(RSA, "a key"), b"", "rsa", padding.PSS(padding.MGF1(hashes.SHA256()), 1 << 70), hashes.SHA256()), "cryptography: "),
        (Exchange(SIGNER, OTHER, "ecdh-p256"), "peer: expected a public key on the same curve"),
        (Exchange(SIGNER, b"bytes", "ecdh-p256"), "peer: expected a public key on the same curve"),
        (Exchange(Key(x25519.X25519PrivateKey.generate(), "a key"), OTHER, "x25519"), "cryptography: "),
        (Encrypt(AES, b"x", "aes-128-cbc", iv=bytes(16)), "data: expected a multiple of 16 bytes"),
        (Decrypt(AES, b"", "aes-128-cbc", iv=bytes(15)), "iv: expected 16 bytes, got 15"),
        (Seal(AES, bytes(13), b"", "aes-128-gcm", tag_length=5), "tag_length: expected"),
        (Open(AES, bytes(6), bytes(16), "aes-128-ccm"), "nonce: expected 7 to 13 bytes"),
        (Open(AES, bytes(6), b"", "aes-128-ccm"), "nonce: expected 7 to 13 bytes"),
    ],
)  # fmt: skip
def test_what_cannot_be_done(device: CpuDevice, queue: Queue, operation: Any, message: str) -> None:
    status, words = outcome(queue, told(device, operation))
    assert status is Status.INVALID_ARGS
    assert message in words


def test_an_xts_unit_that_is_too_long(device: CpuDevice, queue: Queue) -> None:
    key = Key(bytes(range(32)), "a key")
    status, words = outcome(
        queue, told(device, Encrypt(key, bytes((16 << 20) + 16), "aes-128-xts", iv=bytes(16)))
    )
    assert (status, "at most 2**20 blocks" in words) == (Status.INVALID_ARGS, True)


@pytest.mark.parametrize(
    "operation",
    [
        Digest(b"", "sha257"), Checksum(b"", "crc64"), Generate("ec-p257"), Mac(AES, b"", "none"), Digest(b"", ["a list"]),
    ],
)  # fmt: skip
def test_algorithms_that_are_not_there(queue: Queue, operation: Any) -> None:
    status, words = outcome(queue, operation)
    assert (status, "algorithm: expected one of" in words) == (Status.INVALID_ARGS, True)


@pytest.mark.parametrize("bits", [512, 1023, 16385, 1 << 40])
def test_a_modulus_that_nobody_should_make(queue: Queue, bits: int) -> None:
    """A thread that looks for primes of many thousand bits is gone for hours, and no cancellation ends it."""
    assert outcome(queue, Generate("rsa", bits)) == (
        Status.INVALID_ARGS,
        f"bits: expected 1024 to 16384, got {bits}",
    )


@pytest.fixture(scope="module")
def huge() -> Iterator[memoryview]:
    """A little more than 2 GiB that are never touched, and so take no memory."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000  # MAP_NORESERVE, which Python does not name
    view = memoryview(mmap.mmap(-1, (1 << 31) + 64, flags=flags))
    yield view
    view.release()


@pytest.mark.parametrize(
    ("algorithm", "length", "nonce", "tag"),
    [("aes-128-gcm", 16, 12, 16), ("aes-128-gcm", 16, 12, 12), ("aes-128-ccm", 16, 7, 16),
     ("chacha20-poly1305", 32, 12, 16), ("sm4-gcm", 16, 12, 16)],
)  # fmt: skip
def test_a_message_longer_than_the_library_counts(
    device: CpuDevice, queue: Queue, huge: memoryview, algorithm: str, length: int, nonce: int, tag: int
) -> None:
    """It would raise in the library, or end the thread; now it is refused, and what fits beside it is not."""
    key = Key(bytes(length), "a key")
    for make, size in ((Seal, (1 << 31) - tag), (Open, 1 << 31)):
        operation = make(key, bytes(nonce), huge[:size], algorithm, tag_length=tag)
        status, words = outcome(queue, told(device, operation))
        assert (status, words) == (
            Status.INVALID_ARGS,
            f"data: expected at most {(1 << 31) - 1} bytes, the tag among them, got {1 << 31}; seal it in parts",
        )
        operation = make(key, bytes(nonce), bytes(tag), algorithm, tag_length=tag)
        operation.aad = huge  # type: ignore[assignment]  # as if it had been copied
        status, words = outcome(queue, told(device, operation))
        assert status is Status.INVALID_ARGS
        assert words.startswith("associated data: expected at most")


@pytest.mark.parametrize("inline", [True, False])
def test_outputs_in_memory_of_the_caller_s(device: CpuDevice, queue: Queue, inline: bool) -> None:
    assert device.inline is not None
    text = bytes(range(48))
    for room, status in ((48, Status.SUCCESS), (60, Status.SUCCESS), (47, Status.OUT_OF_SPACE_TERMINATED)):
        buffer = bytearray(b"\xaa" * (room + 8))
        operation = told(
            device, Encrypt(AES, text, "aes-128-cbc", iv=bytes(16), into=memoryview(buffer)[4:-4])
        )
        done = device.inline.run(operation) if inline else run(queue, [operation])[0]
        assert (done.status, done.output) == (status, None)
        assert buffer[:4] == buffer[-4:] == b"\xaa" * 4
        if status is Status.SUCCESS:
            assert done.produced == 48
            back = told(device, Decrypt(AES, bytes(buffer[4:52]), "aes-128-cbc", iv=bytes(16)))
            assert run(queue, [back])[0].output == text
        operation.release()


def test_memory_work_inline(device: CpuDevice) -> None:
    assert device.inline is not None
    buffer = bytearray(6)
    for operation, output in (
        (Copy([b"abc", b"def"], buffer), None),
        (Fill(memoryview(buffer)[2:4], 0x7A), None),
        (Compare([b"ab", b"c"], b"abc"), b"\1"),
        (Checksum(b"123456789", "crc32c"), b"\xe3\x06\x92\x83"),
        (Digest(b"abc", "sha256"), hashlib.sha256(b"abc").digest()),
    ):
        assert device.inline.cost(operation) < 100_000
        done = device.inline.run(operation)
        assert (done.status, done.output, done.detail.where) == (Status.SUCCESS, output, "inline")
        operation.release()
    assert buffer == b"abzzef"


def test_what_never_runs_inline(device: CpuDevice) -> None:
    assert device.inline is not None
    session = device.open_digest(DigestSpec("sha256"))
    for operation in (
        Sign(Key(RSA, "a key"), b"", "rsa", padding.PKCS1v15(), hashes.SHA256()),
        Generate("rsa", 2048),
        Exchange(SIGNER, PUBLIC.material, "ecdh-p256"),
        DigestChunk(session, b""),
        Fill(bytearray(1 << 30)),
        Digest(bytes(8 << 20), "sha256"),
    ):
        assert device.inline.cost(operation) > 1_000_000
    session.close()


def test_a_digest_at_the_queue(device: CpuDevice, queue: Queue) -> None:
    session = device.open_digest(DigestSpec("sha256"))
    tags = [DigestChunk(session, bytes(1 << 20)), DigestChunk(session, b"x")]
    first, second = run(queue, tags)
    assert first.status is Status.SUCCESS
    assert (second.status, second.detail.message) == (
        Status.INVALID_STATE,
        "another step of this stream is under way",
    )
    (done,) = run(queue, [DigestChunk(session, b"y", final=True)])
    assert done.output == hashlib.sha256(bytes(1 << 20) + b"y").digest()
    (done,) = run(queue, [DigestChunk(session, b"")])
    assert (done.status, done.detail.message) == (Status.INVALID_STATE, "the digest has ended")
    session.reset()
    (done,) = run(queue, [DigestChunk(session, b"", final=True)])
    assert done.output == hashlib.sha256().digest()
    session.close()
    (done,) = run(queue, [DigestChunk(session, b"")])
    assert done.status is Status.INVALID_STATE


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (DigestSpec("sha257"), "algorithm: expected one of"),
        (DigestSpec("sha256", b"key"), "key: expected none"),
        (DigestSpec("hmac-sha256"), "key: expected one"),
        (DigestSpec("hmac-sha256", b""), "at least 1 byte"),
    ],
)
def test_digests_that_cannot_be_opened(device: CpuDevice, spec: DigestSpec, message: str) -> None:
    with pytest.raises(UnsupportedOperation, match=message):
        device.open_digest(spec)


def test_a_stopped_queue_ends_long_work(device: CpuDevice) -> None:
    """Between two pieces of an input it looks whether to go on."""
    queue = device.open_queue(4)
    assert queue.enqueue_burst([(1, Digest(bytes(1 << 28), "md5"))]) == 1
    queue.stop()
    queue.close()
    (done,) = queue.dequeue_burst(4)
    assert done.status is Status.ABORTED


def test_known_answers(device: CpuDevice) -> None:
    assert device.inline is not None
    found = list(known_answers(device.inline.run, cryptography=True))
    assert [check.name for check in found] == [f"known answer {name}" for name in ANSWERS]
    assert all(check.passed for check in found), found


def test_answers_that_are_wrong() -> None:
    def run(operation: Operation) -> Completion:
        if operation.kind is Kind.DIGEST:
            return Completion(0, Status.DEVICE_ERROR, detail=Detail("the library is broken"))
        return Completion(0, Status.SUCCESS, bytes(4))

    found = list(known_answers(run, cryptography=True))
    assert not any(check.passed for check in found)
    assert all("reinstall" in check.advice for check in found)
    assert {check.found for check in found} == {"another answer came", "the library is broken"}


def test_answers_without_cryptography(device: CpuDevice) -> None:
    assert device.inline is not None
    missing, *found = known_answers(device.inline.run, cryptography=False)
    assert (missing.passed, missing.advice) == (None, 'pip install "wdasync[crypto]"')
    assert [check.name for check in found] == ["known answer crc32c", "known answer sha256"]
