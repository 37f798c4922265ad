"""Operations check what they are made of, pin what a device reads, and let go of it."""

import pickle
from typing import Any

import pytest

from wdasync import errors
from wdasync.backend import DigestSpec
from wdasync.buffers import overlap
from wdasync.errors import DataCause, InvalidArgument, InvalidSignature, InvalidTag, Status
from wdasync.operations import (
    KINDS,
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
    KeyedOperation,
    Kind,
    Mac,
    Open,
    Operation,
    PrivateDecrypt,
    PublicEncrypt,
    Seal,
    Sign,
    Verify,
)

KEY = Key(b"k" * 16, "a test's key")


class Session:
    """Of a digest."""

    spec = DigestSpec("sha256")

    def reset(self) -> None: ...

    def close(self) -> None: ...


def some_of_each(data: Any) -> list[Operation]:
    """Each operation that has an input."""
    return [
        Copy(data, bytearray(9)),
        Compare(data, data),
        Checksum(data, "crc32"),
        Digest(data, "sha256"),
        DigestChunk(Session(), data),
        Mac(KEY, data, "hmac-sha256"),
        Encrypt(KEY, data, "aes-128-ecb"),
        Decrypt(KEY, data, "aes-128-ecb"),
        Seal(KEY, bytes(12), data, "aes-128-gcm"),
        Open(KEY, bytes(12), data, "aes-128-gcm"),
        Sign(KEY, data, "rsa", None, None),
        Verify(KEY, b"signature", data, "rsa", None, None),
        PublicEncrypt(KEY, data, "rsa", None),
        PrivateDecrypt(KEY, data, "rsa", None),
    ]


def test_the_table_of_kinds_is_complete() -> None:
    assert list(KINDS) == list(Kind)
    assert all(operation.kind is kind for kind, operation in KINDS.items())


@pytest.mark.parametrize("number", range(14))
def test_an_input_is_pinned_until_it_is_released(number: int) -> None:
    data = bytearray(b"12345678")
    operation = some_of_each(data)[number]
    others = [made for place, made in enumerate(some_of_each(data)) if place != number]
    for other in others:
        other.release()
    assert operation.nbytes == (16 if isinstance(operation, Compare) else 8)
    assert not operation.immutable
    assert not operation.detachable
    with pytest.raises(BufferError):
        data.append(1)
    operation.release()
    data.append(1)


@pytest.mark.parametrize("number", range(14))
def test_an_input_of_bytes_can_be_left_to_the_device(number: int) -> None:
    operation = some_of_each(b"12345678")[number]
    assert operation.immutable
    assert operation.detachable == (not isinstance(operation, Copy))
    assert operation.paged is None
    assert operation.dictionary is None
    assert (operation.key is KEY) == isinstance(operation, KeyedOperation)
    assert repr(operation).startswith(f"<{type(operation).__name__} ")


def test_operations_with_a_key_stay_stateless() -> None:
    operation = Mac(KEY, b"", "hmac-sha256")
    assert operation.stateless
    operation.session = Session()
    assert operation.stateless
    assert not DigestChunk(Session(), b"").stateless
    assert Generate("rsa", 2048).stateless
    assert Exchange(KEY, None, "x25519").stateless


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Checksum(b"", "crc32", initial=-1), "initial: expected an int from 0"),
        (lambda: Checksum(b"", "crc32", initial=1 << 32), "initial: expected an int from 0"),
        (lambda: Checksum(b"", "crc32", initial=True), "initial: expected an int from 0"),
        (lambda: Checksum("text", "crc32"), "data: expected a bytes-like"),
        (lambda: Copy(b"1234", bytearray(3)), "into: expected at least 4 bytes, got 3"),
        (lambda: Copy(b"1234", b"1234"), "into: expected a writable"),
        (lambda: Copy(b"1234", None), "into: expected a writable"),
        (lambda: Fill(bytearray(3), 256), "value: expected an int from 0 to 255"),
        (lambda: Fill(bytearray(3), -1), "value: expected an int from 0 to 255"),
        (lambda: Fill(bytearray(3), True), "value: expected an int from 0 to 255"),
        (lambda: Fill(None), "into: expected a writable"),
        (lambda: Compare(b"", "text"), "other: expected a bytes-like"),
        (lambda: Encrypt(KEY, b"", "aes-128-cbc", iv="text"), "iv: expected a bytes-like"),
        (lambda: Seal(KEY, 12, b"", "aes-128-gcm"), "nonce: expected a bytes-like"),
        (lambda: Seal(bytes(16), b"", b"", "aes-128-gcm"), "key: expected a Key, got bytes"),  # type: ignore[arg-type]
        (lambda: Sign(None, b"", "rsa", None, None), "key: expected a Key, got NoneType"),  # type: ignore[arg-type]
        (lambda: Generate("rsa", "2048"), "bits: expected an int of at least 0, got '2048'"),  # type: ignore[arg-type]
        (lambda: Generate("rsa", 2048, 1), "exponent: expected an int of at least 3, got 1"),
        (lambda: Seal(KEY, b"", b"", "aes-128-gcm", aad="text"), "aad: expected a bytes-like"),
        (lambda: Seal(KEY, b"", b"", "aes-128-gcm", tag_length=3), "tag_length: expected an int from 4 to 64"),
        (lambda: Open(KEY, b"", b"", "aes-128-gcm", tag_length=65), "tag_length: expected an int from 4"),
        (lambda: Verify(KEY, "text", b"", "rsa", None, None), "signature: expected a bytes-like"),
    ],
)  # fmt: skip
def test_what_an_operation_cannot_be_made_of(make: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        make()


def test_a_refused_operation_holds_no_buffer() -> None:
    data = bytearray(8)
    for make in (lambda: Copy(data, bytearray(3)), lambda: Compare(data, "text"), lambda: Copy(data, b"")):
        with pytest.raises(InvalidArgument) as caught:
            make()
        data.append(1)
        del caught


def test_short_arguments_are_copied() -> None:
    nonce, aad = bytearray(12), bytearray(b"header")
    operation = Seal(KEY, nonce, b"", "aes-128-gcm", aad=[b"the ", aad])
    nonce[0], aad[:] = 1, b"HEADER"
    assert (operation.nonce, operation.aad) == (bytes(12), b"the header")
    assert Seal(KEY, b"", b"", "aes-128-gcm", aad=None).aad == b""


@pytest.mark.parametrize("mine", [InvalidTag, InvalidSignature])
def test_a_refused_tag_is_everybody_s_error(mine: type[errors.DataError]) -> None:
    import cryptography.exceptions

    error = errors.error_for(Status.CHECKSUM_FAILED, "open aes-128-gcm on cpu", error_class=mine)
    theirs: type[Exception] = getattr(cryptography.exceptions, mine.__name__)
    for caught in (mine, theirs, errors.DataError, ValueError):
        assert isinstance(error, caught)
    assert isinstance(error, errors.DataError)
    assert (error.status, error.cause) == (Status.CHECKSUM_FAILED, DataCause.CHECKSUM)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), again.status, again.cause) == (str(error), error.status, error.cause)
    assert type(error).__name__ == mine.__name__


def test_a_refused_tag_where_cryptography_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    monkeypatch.setattr(errors, "_as_cryptography", errors._as_cryptography.__wrapped__)
    error = errors.error_for(Status.CHECKSUM_FAILED, "open aes-128-gcm on cpu", error_class=InvalidTag)
    assert type(error) is InvalidTag


def test_what_is_input_and_output() -> None:
    memory, other = bytearray(100), bytearray(100)
    view = memoryview(memory)
    for source, into, both in (
        (view, view, True), (view[:50], view[50:], False), (view[:51], view[50:], True), (view[50:], view[:51], True),
        (view, memoryview(other), False), (view[:50].toreadonly(), view, True), (view.toreadonly(), memoryview(other), False),
        ((b"a", memoryview(other), view[99:]), view, True), ((b"a", memoryview(other)), view, False), (view, view[:0], False),
        (view[:0], view, False), (b"", view, False),
    ):  # fmt: skip
        assert overlap(source, into) is both, (source, into)
