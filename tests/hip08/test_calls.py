"""What programs call, on the emulated chip alone: its engines do it, and the package `cryptography` agrees."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, x448, x25519
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM

import wdasync
from wdasync import Accelerator
from wdasync.errors import (
    DataError,
    InvalidArgument,
    InvalidSignature,
    InvalidTag,
    Status,
    UnsupportedOperation,
)
from wdasync.paged import PagedBuffer
from wdasync_hip08.engines import hpre as hpre_engine

pytestmark = pytest.mark.anyio

DATA = b"what a program signs, hashes and encrypts; " * 40
RSA = rsa.generate_private_key(65537, 2048)
OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
PSS = padding.PSS(padding.MGF1(hashes.SHA256()), 32)


@pytest.fixture
async def acc() -> AsyncIterator[Accelerator]:
    async with wdasync.open_accelerator("hip08", fallback=False, generation=3) as opened:
        yield opened
        assert opened.statistics().rescues == 0
        assert opened.statistics().devices["hip08/hisi_sec2-0"]["guard_violations"] == 0


async def test_digests_and_codes(acc: Accelerator) -> None:
    for name in ("md5", "sha1", "sha256", "sha512"):
        assert await acc.digest(DATA, name) == hashlib.new(name, DATA).digest()
        assert await acc.hmac(b"a key", DATA, name) == hmac.digest(b"a key", DATA, name)
    assert await acc.digest(bytearray(DATA)) == await acc.digest([DATA[:9], DATA[9:]])


async def test_ciphers(acc: Accelerator) -> None:
    secret, iv = os.urandom(32), os.urandom(16)
    expected = Cipher(algorithms.AES(secret), modes.CTR(iv)).encryptor().update(DATA)
    cipher = acc.cipher("aes-256-ctr", secret)
    assert await cipher.encrypt(iv, DATA) == expected
    assert await cipher.decrypt(iv, expected) == DATA
    for name, theirs in (("aes-256-gcm", AESGCM(secret)), ("aes-256-ccm", AESCCM(secret))):
        aead, nonce = acc.aead(name, secret), os.urandom(12)
        sealed = await aead.encrypt(nonce, DATA, b"header")
        assert theirs.decrypt(nonce, sealed, b"header") == DATA
        assert await aead.decrypt(nonce, sealed, b"header") == DATA
        with pytest.raises(InvalidTag):
            await aead.decrypt(nonce, sealed, b"Header")
        aead.revoke()


async def test_pages_that_the_program_supplies(acc: Accelerator) -> None:
    """The engine touches them, and asks; with associated data before them, too."""
    content = os.urandom(5 * 4096 + 100)
    asked: list[int] = []

    async def pager(offset: int, length: int) -> bytes:
        asked.append(offset)
        return content[offset : offset + length]

    assert await acc.digest(PagedBuffer(len(content), pager), "sha512") == hashlib.sha512(content).digest()
    assert sorted(asked) == [page * 4096 for page in range(6)]
    secret, nonce = os.urandom(16), os.urandom(12)
    sealed = await acc.aead("aes-128-gcm", secret).encrypt(nonce, PagedBuffer(len(content), pager), b"header")
    assert AESGCM(secret).decrypt(nonce, sealed, b"header") == content
    assert len(asked) == 12


async def test_rsa(acc: Accelerator) -> None:
    private, public = acc.private_key(RSA), acc.public_key(RSA.public_key())
    signature = await private.sign(DATA, PSS, hashes.SHA256())
    RSA.public_key().verify(signature, DATA, PSS, hashes.SHA256())
    await public.verify(signature, DATA, PSS, hashes.SHA256())
    with pytest.raises(InvalidSignature):
        await public.verify(signature, DATA + b".", PSS, hashes.SHA256())
    assert await private.decrypt(await public.encrypt(b"text", OAEP), OAEP) == b"text"
    with pytest.raises(DataError):
        await private.decrypt(bytes(256), OAEP)
    private.revoke()


async def test_a_new_rsa_key(acc: Accelerator) -> None:
    """Some hundred descriptors; other work goes on in between."""
    keys = []

    async def make() -> None:
        keys.append(await acc.generate_private_key("rsa", bits=1024))

    async with anyio.create_task_group() as group:
        group.start_soon(make)
        group.start_soon(make)
        assert await acc.digest(DATA, "sha256") == hashlib.sha256(DATA).digest()
    signatures = [await key.sign(DATA, PSS, hashes.SHA256()) for key in keys]
    for key, signature in zip(keys, signatures, strict=True):
        key.public_key().public_object().verify(signature, DATA, PSS, hashes.SHA256())
    with pytest.raises(InvalidArgument, match="bits: expected 1024 to 4096, got 8192"):
        await acc.generate_private_key("rsa", bits=8192)


async def test_a_signature_with_a_fault_is_made_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    crt = hpre_engine.OPERATIONS[0x1]
    monkeypatch.setitem(hpre_engine.OPERATIONS, 0x1, crt._replace(calculate=lambda *numbers: (2,)))
    async with wdasync.open_accelerator("hip08") as acc:
        signature = await acc.private_key(RSA).sign(DATA, PSS, hashes.SHA256())
        RSA.public_key().verify(signature, DATA, PSS, hashes.SHA256())
        assert acc.statistics().retries == 1
    async with wdasync.open_accelerator("hip08", fallback=False) as acc:
        with pytest.raises(wdasync.DeviceError, match="the public key refutes"):
            await acc.private_key(RSA).sign(DATA, PSS, hashes.SHA256())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda acc: acc.aead("aes-256-gcm", bytes(32)).encrypt(bytes(16), b"x"), "nonce: expected 12 bytes, got 16"),
        (lambda acc: acc.cipher("aes-128-xts", bytes(32)).encrypt(bytes(16), bytes(16)), "two halves that differ"),
        (lambda acc: acc.public_key(RSA.public_key()).encrypt(bytes(200), OAEP), "data: expected at most 190 bytes"),
        (lambda acc: acc.private_key(RSA).sign(DATA, padding.PSS(PSS._mgf, 999), hashes.SHA256()), "modulus of at least"),
        (lambda acc: acc.private_key(RSA).sign(DATA, OAEP, hashes.SHA256()), "padding: expected PKCS1v15 or PSS"),
    ],
)  # fmt: skip
async def test_what_only_a_device_finds(acc: Accelerator, make: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message) as caught:
        await make(acc)
    assert caught.value.status is Status.INVALID_ARGS


async def test_a_key_that_the_engine_does_not_take(acc: Accelerator) -> None:
    """That is no argument that is wrong: another device may have it."""
    large = rsa.generate_private_key(65537, 4104).public_key()
    with pytest.raises(UnsupportedOperation, match="1024 to 4096 bits"):
        await acc.public_key(large).encrypt(b"x", OAEP)


async def test_curves(acc: Accelerator) -> None:
    ours = await acc.generate_private_key("ec-p384")
    signature = await ours.sign(DATA, ec.ECDSA(hashes.SHA384()))
    ours.public_key().public_object().verify(signature, DATA, ec.ECDSA(hashes.SHA384()))
    theirs = ec.generate_private_key(ec.SECP384R1())
    shared = theirs.exchange(ec.ECDH(), ours.public_key().public_object())
    assert await ours.exchange(theirs.public_key()) == shared
    for kind in (x25519.X25519PrivateKey, x448.X448PrivateKey):
        mine, other = kind.generate(), kind.generate()
        secret = other.exchange(mine.public_key())  # type: ignore[arg-type]  # of one kind, both
        assert await acc.private_key(mine).exchange(other.public_key()) == secret


async def test_many_at_once_on_all_engines(acc: Accelerator) -> None:
    private, aead = acc.private_key(RSA), acc.aead("aes-128-gcm", bytes(16))
    done: list[object] = []

    async def work(number: int) -> None:
        nonce = number.to_bytes(12, "big")
        signature = await private.sign(DATA, padding.PKCS1v15(), hashes.SHA256())
        sealed = await aead.encrypt(nonce, DATA)
        packed = await acc.compress(sealed)
        assert await acc.decompress(packed) == sealed
        assert await aead.decrypt(nonce, sealed) == DATA
        done.append(signature)

    async with anyio.create_task_group() as group:
        for number in range(12):
            group.start_soon(work, number)
    assert len(done) == 12
    assert len(set(map(str, done))) == 1
