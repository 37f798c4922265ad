"""The SEC user driver on the emulated engine: buffers of all shapes, sizes that do not fit, tags that are wrong, and queues that end."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM

from wdasync.backend import Completion, Status
from wdasync.errors import UnsupportedOperation
from wdasync.operations import Compress, Decrypt, Digest, Encrypt, KeySpec, Kind, Mac, Nop, Open, Seal
from wdasync.paged import PagedBuffer
from wdasync_hip08.engines import sec as sec_engine
from wdasync_hip08.functions import SEC
from wdasync_hip08.tasks import Work
from wdasync_uacce.sec_algorithms import CIPHERS, DIGESTS, MACS, SEALS
from wdasync_uacce.sec_keys import SecKey
from wdasync_uacce.trials import try_device

from .drivers import Bench, bench

IV = bytes(range(16))
NONCE = bytes(range(12))


@pytest.fixture(
    params=[
        (2, "sva"),
        (3, "sva"),
        (2, "reserved"),
        (3, "private"),
    ],
    ids=lambda value: f"v{value[0]} {value[1]}",
)
def sec(request: pytest.FixtureRequest) -> Iterator[Bench]:
    generation, memory = request.param
    with bench(SEC, generation=generation, memory=memory) as opened:
        yield opened


@pytest.fixture
def quick() -> Iterator[Bench]:
    with bench(SEC) as opened:
        yield opened


def output(completion: Completion) -> bytes:
    assert completion.status is Status.SUCCESS, completion
    assert completion.output is not None
    return completion.output


def cbc(key: bytes, data: bytes) -> bytes:
    work = Cipher(algorithms.AES(key), modes.CBC(IV)).encryptor()
    return work.update(data)


SIZES = [16, 1024, 4096, 16_384, 16_400, 100_000]


def in_pieces(data: bytes) -> list[Any]:
    """The same, cut at places that suit nothing."""
    return [
        data[:3],
        b"",
        bytearray(data[3:17]),
        memoryview(data)[17 : len(data) // 2],
        data[len(data) // 2 :],
    ]


@pytest.mark.parametrize("size", SIZES)
def test_ciphers_of_all_shapes(sec: Bench, size: int) -> None:
    size -= size % 16
    data, secret = os.urandom(size), os.urandom(32)
    key, expected = sec.key(secret), cbc(secret, data)
    assert output(sec.run(Encrypt(key, data, "aes-256-cbc", iv=IV))) == expected
    if size > 40:
        assert output(sec.run(Encrypt(key, in_pieces(data), "aes-256-cbc", iv=IV))) == expected
    for source in (expected, in_pieces(expected) if size > 40 else expected):
        memory = bytearray(b"\xee" * (size + 64))
        completion = sec.run(Decrypt(key, source, "aes-256-cbc", iv=IV, into=memoryview(memory)[32:]))
        assert (completion.status, completion.output, completion.produced) == (Status.SUCCESS, None, size)
        assert memory == b"\xee" * 32 + data + b"\xee" * 32


@pytest.mark.parametrize("size", [1, *SIZES, 100_003])
def test_digests_of_all_shapes(sec: Bench, size: int) -> None:
    data = os.urandom(size)
    assert output(sec.run(Digest(data, "sha384"))) == hashlib.sha384(data).digest()
    if size > 40:
        assert (
            output(sec.run(Digest(in_pieces(data), "sha512-256"))) == hashlib.new("sha512_256", data).digest()
        )
    for secret in (b"k", b"k" * 64, b"k" * 129, b"k" * 301):
        found = output(sec.run(Mac(sec.key(secret), data, "hmac-sha512-224")))
        assert found == hmac.digest(secret, data, "sha512_224")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("aad", [0, 1, 20, 20_000, 0xFFFF])
def test_gcm_of_all_shapes(sec: Bench, size: int, aad: int) -> None:
    data, associated, secret = os.urandom(size), os.urandom(aad), os.urandom(16)
    key, expected = sec.key(secret), AESGCM(secret).encrypt(NONCE, data, associated)
    assert output(sec.run(Seal(key, NONCE, data, "aes-128-gcm", aad=associated))) == expected
    memory = bytearray(b"\xee" * (size + 80))
    if size > 40:
        completion = sec.run(
            Seal(key, NONCE, in_pieces(data), "aes-128-gcm", aad=associated, into=memoryview(memory)[32:])
        )
        assert (completion.status, completion.produced) == (Status.SUCCESS, size + 16)
        assert memory == b"\xee" * 32 + expected + b"\xee" * 32
        assert output(sec.run(Open(key, NONCE, in_pieces(expected), "aes-128-gcm", aad=associated))) == data
    memory[:] = b"\xee" * len(memory)
    completion = sec.run(
        Open(key, NONCE, expected, "aes-128-gcm", aad=associated, into=memoryview(memory)[32:])
    )
    assert (completion.status, completion.output, completion.produced) == (Status.SUCCESS, None, size)
    assert memory[:-48] == b"\xee" * 32 + data
    assert memory[-48:] == b"\xee" * 48


@pytest.mark.parametrize("nonce", range(7, 14))
@pytest.mark.parametrize("tag", [4, 10, 16])
def test_ccm(quick: Bench, nonce: int, tag: int) -> None:
    data, associated, secret = os.urandom(1000), os.urandom(33), os.urandom(24)
    key, number = quick.key(secret), os.urandom(nonce)
    expected = AESCCM(secret, tag).encrypt(number, data, associated)
    assert (
        output(quick.run(Seal(key, number, data, "aes-192-ccm", aad=associated, tag_length=tag))) == expected
    )
    assert (
        output(quick.run(Open(key, number, expected, "aes-192-ccm", aad=associated, tag_length=tag))) == data
    )


def test_much_associated_data_of_ccm(quick: Bench) -> None:
    """From 0xff00 bytes on their length is written in another way."""
    data, associated, secret = os.urandom(100), os.urandom(0xFF80), os.urandom(16)
    expected = AESCCM(secret).encrypt(NONCE, data, associated)
    assert output(quick.run(Seal(quick.key(secret), NONCE, data, "aes-128-ccm", aad=associated))) == expected
    empty = AESCCM(secret).encrypt(NONCE, b"", associated)
    assert output(quick.run(Seal(quick.key(secret), NONCE, b"", "aes-128-ccm", aad=associated))) == empty


def test_a_counter_that_overflows() -> None:
    data, secret, iv = os.urandom(100), os.urandom(16), b"\xff" * 15 + b"\xfe"
    expected = Cipher(algorithms.AES(secret), modes.CTR(iv)).encryptor().update(data)
    with bench(SEC, generation=3) as opened:
        key = opened.key(secret)
        assert output(opened.run(Encrypt(key, data, "aes-128-ctr", iv=iv))) == expected
        assert output(opened.run(Decrypt(key, expected, "aes-128-ctr", iv=iv))) == data


def test_the_longest_text_with_the_most_before_it(quick: Bench) -> None:
    """The hash is of both, and its length is a field of 24 bits."""
    algorithm, key = "aes-128-cbc-hmac-sha1", quick.key(bytes(36))
    row = quick.device.capabilities.find(Kind.SEAL, algorithm)
    assert row is not None
    assert row.max_input is not None
    data, associated = bytes(row.max_input // 16 * 16), bytes(0xFFFF - len(IV))
    sealed = output(quick.run(Seal(key, IV, data, algorithm, aad=associated, tag_length=20)))
    assert sealed[-20:] == hmac.digest(bytes(20), associated + IV + sealed[:-20], "sha1")
    longer = Seal(key, IV, data + bytes(16), algorithm, aad=associated, tag_length=20)
    assert quick.run(longer).status is Status.INVALID_ARGS


@pytest.mark.parametrize("digest", ["sha1", "sha256", "sha384", "sha512"])
@pytest.mark.parametrize("tag", [10, 12, 15, 16, 20])
def test_cbc_and_hmac(sec: Bench, digest: str, tag: int) -> None:
    """As IPsec composes them: the code covers associated data, initial value and ciphertext."""
    size = hashlib.new(digest).digest_size
    secret, data, associated = os.urandom(16 + size), os.urandom(2048), os.urandom(12)
    ciphertext = cbc(secret[:16], data)
    expected = ciphertext + hmac.digest(secret[16:], associated + IV + ciphertext, digest)[:tag]
    key, algorithm = sec.key(secret), f"aes-128-cbc-hmac-{digest}"
    assert output(sec.run(Seal(key, IV, data, algorithm, aad=associated, tag_length=tag))) == expected
    assert output(sec.run(Open(key, IV, expected, algorithm, aad=associated, tag_length=tag))) == data
    for wrong in (expected[:-1] + bytes([expected[-1] ^ 1]), bytes([expected[0] ^ 1]) + expected[1:]):
        completion = sec.run(Open(key, IV, wrong, algorithm, aad=associated, tag_length=tag))
        assert (completion.status, completion.output) == (Status.CHECKSUM_FAILED, None)
    completion = sec.run(Open(key, IV[::-1], expected, algorithm, aad=associated, tag_length=tag))
    assert completion.status is Status.CHECKSUM_FAILED


@pytest.mark.parametrize("size", [100, 50_000])
def test_a_wrong_tag_leaves_no_text(sec: Bench, size: int) -> None:
    data, secret = os.urandom(size), os.urandom(32)
    key, good = sec.key(secret), AESGCM(secret).encrypt(NONCE, data, b"header")
    for wrong, associated, nonce in (
        (good[:-1] + bytes([good[-1] ^ 1]), b"header", NONCE), (bytes([good[0] ^ 1]) + good[1:], b"header", NONCE),
        (good, b"Header", NONCE), (good, b"header", NONCE[::-1]), (good, b"", NONCE), (good[1:], b"header", NONCE),
    ):  # fmt: skip
        memory = bytearray(b"\xee" * size)
        completion = sec.run(Open(key, nonce, wrong, "aes-256-gcm", aad=associated, into=memory))
        assert completion.status is Status.CHECKSUM_FAILED
        assert set(memory) <= {0, 0xEE}, "no byte of the text"
        completion = sec.run(Open(key, nonce, wrong, "aes-256-gcm", aad=associated))
        assert (completion.status, completion.output) == (Status.CHECKSUM_FAILED, None)


@pytest.mark.parametrize("error", [0xE3, 0x55])
def test_a_failure_after_the_text_was_written_leaves_none(
    quick: Bench, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    answer = sec_engine._answer
    monkeypatch.setattr(sec_engine, "_answer", lambda entry, *_, **__: answer(entry, error))  # type: ignore[arg-type]
    secret, memory = bytes(16), bytearray(b"\xee" * 3000)
    sealed = AESGCM(secret).encrypt(NONCE, bytes(range(200)) * 15, b"x")
    completion = quick.run(Open(quick.key(secret), NONCE, sealed, "aes-128-gcm", aad=b"x", into=memory))
    assert completion.status is (Status.PAGE_FAULT if error == 0xE3 else Status.DEVICE_ERROR)
    assert set(memory) <= {0, 0xEE}


def test_a_queue_that_ends_after_the_text_was_written_leaves_none(
    quick: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has said whether the tag is right."""

    def endless(self: Any, tag: bytes, *, verify: bool) -> Any:
        yield Work(lambda: None, 0, endless=True)

    monkeypatch.setattr(sec_engine._Job, "_judge", endless)
    memory = bytearray(b"\xee" * 3000)
    sealed = AESGCM(bytes(16)).encrypt(NONCE, bytes(range(200)) * 15, b"")
    queue = quick.submit(Open(quick.key(bytes(16)), NONCE, sealed, "aes-128-gcm", into=memory))
    quick.machine.run()
    assert memory == bytes(range(200)) * 15
    queue.stop()
    assert [completion.status for completion in queue.dequeue_burst(4)] == [Status.ABORTED]
    queue.close()
    quick.queues.clear()
    assert not any(memory)


@pytest.mark.parametrize("icv", [0, 2, 3])
def test_a_tag_that_the_device_does_not_call_right(
    quick: Bench, monkeypatch: pytest.MonkeyPatch, icv: int
) -> None:
    answer = sec_engine._answer
    monkeypatch.setattr(sec_engine, "_answer", lambda entry, **f: answer(entry, **f | {"icv": icv}))
    sealed = AESGCM(bytes(16)).encrypt(NONCE, b"a text", b"")
    completion = quick.run(Open(quick.key(bytes(16)), NONCE, sealed, "aes-128-gcm"))
    assert (completion.status, completion.output) == (Status.CHECKSUM_FAILED, None)


def test_a_sealed_text_whose_pages_are_to_come(quick: Bench) -> None:
    """The tag stands behind it, and is needed at once."""

    async def pager(offset: int, nbytes: int) -> bytes:
        raise AssertionError("nobody asks")

    completion = quick.run(Open(quick.key(bytes(16)), NONCE, PagedBuffer(5000, pager), "aes-128-gcm"))
    assert completion.status is Status.INVALID_ARGS
    assert "pages to be fetched" in completion.detail.message


def test_a_text_that_is_shorter_than_its_tag(quick: Bench) -> None:
    completion = quick.run(Open(quick.key(bytes(16)), NONCE, bytes(15), "aes-128-gcm"))
    assert completion.status is Status.CHECKSUM_FAILED


@pytest.mark.parametrize("size", [0, 15, 16, 21, 36, 37, 63])
def test_a_text_that_nobody_sealed_has_a_wrong_tag_whatever_its_length(quick: Bench, size: int) -> None:
    key = quick.key(bytes(48))
    completion = quick.run(Open(key, IV, bytes(size), "aes-128-cbc-hmac-sha256"))
    assert completion.status is Status.CHECKSUM_FAILED
    assert not completion.detail.message


def test_half_a_block_cannot_be_sealed_with_cbc(quick: Bench) -> None:
    completion = quick.run(Seal(quick.key(bytes(48)), IV, bytes(17), "aes-128-cbc-hmac-sha256"))
    assert completion.status is Status.INVALID_ARGS
    assert "data: expected a multiple of 16 bytes, got 17" in completion.detail.message


def test_a_key_of_xts_whose_halves_are_equal(quick: Bench) -> None:
    completion = quick.run(Encrypt(quick.key(bytes(32)), bytes(16), "aes-128-xts", iv=IV))
    assert completion.status is Status.INVALID_ARGS
    assert completion.detail.message == "key: expected two halves that differ, got one twice"


@pytest.mark.parametrize("algorithm", ["aes-128-gcm", "aes-128-ccm", "aes-128-cbc-hmac-sha256"])
def test_empty_texts(quick: Bench, algorithm: str) -> None:
    """The engine of queue manager v2 takes none, so they are the host's."""
    secret = os.urandom(16 if "hmac" not in algorithm else 48)
    nonce = IV if "hmac" in algorithm else NONCE
    expected = {
        "aes-128-gcm": lambda: AESGCM(secret).encrypt(NONCE, b"", b"header"),
        "aes-128-ccm": lambda: AESCCM(secret).encrypt(NONCE, b"", b"header"),
        "aes-128-cbc-hmac-sha256": lambda: hmac.digest(secret[16:], b"header" + IV, "sha256")[:16],
    }[algorithm]()
    key = quick.key(secret)
    assert output(quick.run(Seal(key, nonce, b"", algorithm, aad=b"header"))) == expected
    assert output(quick.run(Open(key, nonce, expected, algorithm, aad=b"header"))) == b""
    memory = bytearray(16)
    assert quick.run(Seal(key, nonce, b"", algorithm, aad=b"header", into=memory)).produced == 16
    assert memory == expected
    assert quick.run(Open(key, nonce, bytes(16), algorithm, aad=b"header")).status is Status.CHECKSUM_FAILED


def test_empty_messages(quick: Bench) -> None:
    assert output(quick.run(Digest(b"", "sm3"))) == hashlib.new("sm3").digest()
    assert output(quick.run(Mac(quick.key(b"k"), b"", "hmac-md5"))) == hmac.digest(b"k", b"", "md5")
    assert output(quick.run(Encrypt(quick.key(bytes(16)), b"", "aes-128-ecb"))) == b""


@pytest.mark.parametrize(
    ("make", "status", "message"),
    [
        (lambda key: Encrypt(key, bytes(17), "aes-128-cbc", iv=IV), Status.INVALID_ARGS, "data: expected a multiple of 16 bytes, got 17"),
        (lambda key: Encrypt(key, bytes(16), "aes-128-cbc", iv=IV[1:]), Status.INVALID_ARGS, "iv: expected 16 bytes, got 15"),
        (lambda key: Encrypt(key, bytes(16), "aes-128-ecb", iv=IV), Status.INVALID_ARGS, "iv: expected 0 bytes, got 16"),
        (lambda key: Encrypt(key, bytes(16), "aes-128-ctr", iv=IV), Status.INVALID_ARGS, "Encrypt aes-128-ctr: there is none here"),
        (lambda key: Encrypt(key, bytes(32), "aes-128-cbc", iv=IV, into=bytearray(31)), Status.OUT_OF_SPACE_TERMINATED, "into: expected at least 32 bytes, got 31"),
        (lambda key: Seal(key, NONCE, b"x", "aes-128-gcm", into=bytearray(16)), Status.OUT_OF_SPACE_TERMINATED, "into: expected at least 17 bytes, got 16"),
        (lambda key: Seal(key, bytes(16), b"x", "aes-128-gcm"), Status.INVALID_ARGS, "nonce: expected 12 bytes, got 16"),
        (lambda key: Seal(key, bytes(14), b"x", "aes-128-ccm"), Status.INVALID_ARGS, "nonce: expected 7 to 13 bytes, got 14"),
        (lambda key: Seal(key, bytes(13), bytes(1 << 16), "aes-128-ccm"), Status.INVALID_ARGS, "expected at most 65535 bytes with a nonce of 13"),
        (lambda key: Seal(key, NONCE, b"x", "aes-128-gcm", tag_length=17), Status.INVALID_ARGS, "tag_length: expected one of 4, 5,"),
        (lambda key: Seal(key, NONCE, b"x", "aes-128-ccm", tag_length=5), Status.INVALID_ARGS, "tag_length: expected one of 4, 6,"),
        (lambda key: Seal(key, NONCE, b"x", "aes-128-gcm", aad=bytes(1 << 16)), Status.INVALID_ARGS, "aad: expected 0 to 65535 bytes, got 65536"),
        (lambda key: Digest(bytes((16 << 20) - 511), "sha256"), Status.INVALID_ARGS, "expected at most 16776704 bytes"),
        (lambda key: Compress(b"x", "gzip"), Status.INVALID_ARGS, "Compress gzip: there is none here"),
    ],
)  # fmt: skip
def test_arguments_that_do_not_fit(quick: Bench, make: Any, status: Status, message: str) -> None:
    operation = make(quick.key(bytes(16)))
    if operation.algorithm == "aes-128-ctr":
        operation.session = SecKey(KeySpec("aes-128-ctr", bytes(16)))
    completion = quick.run(operation)
    assert completion.status is status
    assert message in completion.detail.message


@pytest.mark.parametrize(
    ("algorithm", "material", "message"),
    [
        ("aes-128-cbc", bytes(15), "expected a key of 16 bytes, got 15"), ("aes-256-xts", bytes(32), "expected a key of 64 bytes, got 32"),
        ("hmac-sha256", b"", "at least 1 byte"), ("aes-128-cbc-hmac-sha1", bytes(16), "at least 1 byte"),
        ("aes-128-cbc-hmac-sha1", bytes(3), "at least 1 byte|16 bytes"), ("aes-128-gcm", "text", "expected a key of bytes, got str"),
        ("aes-128-ctr", bytes(16), "there is no aes-128-ctr here"), ("sha256", b"", "there is no sha256 here|expected a key"),
    ],
)  # fmt: skip
def test_keys_that_the_engine_cannot_have(quick: Bench, algorithm: str, material: Any, message: str) -> None:
    with pytest.raises(UnsupportedOperation, match=message):
        quick.device.open_key(KeySpec(algorithm, material))  # type: ignore[attr-defined]


def test_a_closed_key_is_wiped() -> None:
    key = SecKey(KeySpec("aes-128-cbc-hmac-sha1", b"c" * 16 + b"h" * 18))
    cipher, hashed = key.cipher, key.hash
    assert cipher == b"c" * 16
    assert hashed == b"h" * 18 + bytes(2)
    assert "c" * 16 not in repr(key)
    key.close()
    key.close()
    assert not any(cipher + hashed)


def test_an_operation_whose_key_the_device_does_not_know(quick: Bench) -> None:
    operation = Encrypt(quick.key(bytes(16)), bytes(16), "aes-128-ecb")
    operation.session = SecKey(KeySpec("aes-128-cbc", bytes(16)))
    completion = quick.run(operation)
    assert completion.status is Status.INVALID_ARGS
    assert "expected a key for aes-128-ecb" in completion.detail.message


@pytest.mark.parametrize(
    "make",
    [
        lambda key: Mac(key, b"", "hmac-sha256"),
        lambda key: Mac(key, b"data", "hmac-sha256"),
        lambda key: Encrypt(key, bytes(16), "aes-128-cbc", iv=IV),
        lambda key: Seal(key, NONCE, b"", "aes-128-gcm"),
        lambda key: Seal(key, NONCE, b"data", "aes-128-gcm"),
    ],
)
def test_an_operation_whose_key_was_wiped(quick: Bench, make: Any) -> None:
    """Nothing is done with an empty key in its place."""
    key = quick.key(bytes(16))
    operation = make(key)
    operation.session = key.session(quick.device, operation.algorithm)
    key.revoke()
    completion = quick.run(operation)
    assert completion.status is Status.INVALID_ARGS
    assert "is not to forget" in completion.detail.message


def test_rows_of_each_generation() -> None:
    found: dict[int, set[tuple[Kind, str]]] = {}
    for generation in (2, 3):
        with bench(SEC, generation=generation) as opened:
            found[generation] = {(row.kind, row.algorithm) for row in opened.device.capabilities}
    older, newer = found.values()
    assert older < newer
    assert {name for _, name in newer} == {"nop", *DIGESTS, *MACS, *CIPHERS, *SEALS}
    assert (Kind.ENCRYPT, "aes-256-xts") in older
    assert (Kind.OPEN, "aes-256-gcm") in older
    assert {name.rpartition("-")[2] for _, name in newer - older} == {
        "cfb",
        "ofb",
        "ctr",
        "cmac",
        "gcm",
        "ccm",
    }


def test_an_engine_with_digests_alone() -> None:
    with bench(SEC, ("digest",)) as opened:
        assert {row.kind for row in opened.device.capabilities} == {Kind.NOP, Kind.DIGEST, Kind.MAC}
        assert output(opened.run(Digest(b"abc", "sha1"))) == hashlib.sha1(b"abc").digest()  # what it is for


def test_many_at_once(sec: Bench) -> None:
    """More than the tags of 16 bits that are in flight at a time, and each gets its own."""
    queue = sec.queue(Nop())
    done: dict[int, Completion] = {}
    for first in range(0, 600, 60):
        entries = [
            (tag, Digest(b"%d" % tag, "sha256") if tag % 7 else Nop()) for tag in range(first, first + 60)
        ]
        assert queue.enqueue_burst(entries) == 60
        sec.machine.run()
        done |= {completion.tag: completion for completion in queue.dequeue_burst(100)}
    assert sorted(done) == list(range(600))
    for tag, completion in done.items():
        assert completion.status is Status.SUCCESS
        assert completion.output == (hashlib.sha256(b"%d" % tag).digest() if tag % 7 else None)
    assert queue.statistics().extra["bad_tags"] == 0


def test_every_trial_of_the_doctor_passes(sec: Bench) -> None:
    checks = {check.name: check for check in try_device(sec.device)}
    assert [check for check in checks.values() if not check.passed] == []
    assert {
        "hisi_sec2-0 digest sm3", "hisi_sec2-0 mac hmac-sha512", "hisi_sec2-0 open aes-256-gcm", "hisi_sec2-0 encrypt 3des-cbc",
    } <= set(checks)  # fmt: skip


def test_a_device_that_is_gone(quick: Bench) -> None:
    queue = quick.submit(Digest(bytes(5000), "sha256"))
    quick.machine.remove(SEC.name)
    (completion,) = queue.dequeue_burst(4)
    assert completion.status is Status.DEVICE_ERROR


def test_a_queue_that_is_stopped(quick: Bench) -> None:
    queue = quick.submit(Seal(quick.key(bytes(16)), NONCE, bytes(5000), "aes-128-gcm", aad=b"x"))
    queue.stop()
    (completion,) = queue.dequeue_burst(4)
    assert completion.status is Status.ABORTED


def test_pages_that_come_when_they_are_touched() -> None:
    with bench(SEC, residency="cold") as opened:
        completion = opened.run(Digest(os.urandom(50_000), "sha256"))
        assert completion.status is Status.SUCCESS
        assert completion.detail.faults > 0
