"""What programs call: digests, ciphers and keys of an accelerator, on every event loop."""

from __future__ import annotations

import gc
import hashlib
import hmac
import logging
import pickle
import subprocess
import sys
import threading
import traceback
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import cryptography.exceptions
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import wdasync
from wdasync import Accelerator, Priority, Reason
from wdasync.errors import DataError, InvalidArgument, InvalidState, Status, UnsupportedOperation
from wdasync.eventloop import threads as module
from wdasync.operations import Key, Kind, Sign
from wdasync.testing.mock import backend as mock
from wdasync_cpu.crypto import publickeys as work

pytestmark = pytest.mark.anyio

DATA = b"what a program signs, hashes and encrypts; " * 40
OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
ODD_MASK = padding.PSS(padding.MGF1(hashes.BLAKE2s(32)), 20)
PSS = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
RSA = rsa.generate_private_key(65537, 2048)
RSA_PEM = RSA.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)


@pytest.fixture
async def acc() -> AsyncIterator[Accelerator]:
    async with wdasync.open_accelerator("cpu") as opened:
        yield opened
        assert opened.statistics().rescues == 0


# -- memory and digests -------------------------------------------------------------------------------------------------


async def test_checksums(acc: Accelerator) -> None:
    assert await acc.crc32(DATA) == zlib.crc32(DATA)
    assert await acc.adler32([DATA[:7], bytearray(DATA[7:])]) == zlib.adler32(DATA)
    assert await acc.crc32(DATA[9:], zlib.crc32(DATA[:9])) == zlib.crc32(DATA)
    assert await acc.adler32(DATA[9:], zlib.adler32(DATA[:9])) == zlib.adler32(DATA)
    assert (await acc.crc32(b""), await acc.adler32(b""), await acc.crc32c(b"")) == (0, 1, 0)
    large = DATA * 2000
    assert await acc.crc32(large) == zlib.crc32(large)
    assert await acc.crc32c(large[5:], await acc.crc32c(large[:5])) == await acc.crc32c(large)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"123456789", 0xE3069283),
    ],
)
async def test_crc32c_of_the_rfc(acc: Accelerator, data: bytes, expected: int) -> None:
    """RFC 3720, appendix B.4; there the bytes are in the other order."""
    assert await acc.crc32c(data) == expected


async def test_copy_fill_compare(acc: Accelerator) -> None:
    buffer = bytearray(b"\xaa" * (len(DATA) + 20))
    room = memoryview(buffer)[10:-10]
    assert await acc.copy([DATA[:5], b"", DATA[5:]], room) == len(DATA)
    assert bytes(room) == DATA
    assert await acc.fill(room[3:7], 0x5A) == 4
    assert bytes(room) == DATA[:3] + b"ZZZZ" + DATA[7:]
    assert await acc.fill(room) == len(DATA)
    assert bytes(buffer) == b"\xaa" * 10 + bytes(len(DATA)) + b"\xaa" * 10
    for one, other, same in (
        ([DATA[:5], DATA[5:]], [b"", DATA[:50], DATA[50:], b""], True),
        (DATA, DATA[:-1] + b"x", False),
        (DATA, DATA + b"x", False),
        (b"", [], True),
        ([], b"x", False),
    ):
        assert await acc.compare(one, other) is same
        assert await acc.compare(other, one) is same


@pytest.mark.parametrize("shift", [-1000, -1, 0, 1, 7, 1000])
async def test_a_copy_that_overlaps(acc: Accelerator, shift: int) -> None:
    buffer = bytearray(bytes(1000) + DATA + bytes(1000))
    room = memoryview(buffer)
    await acc.copy(room[1000:-1000], room[1000 + shift :])
    assert buffer[1000 + shift : 1000 + shift + len(DATA)] == DATA


@pytest.mark.parametrize("name", ["md5", "sha1", "sha224", "sha256", "sha384", "sha512", "sm3"])
async def test_digests(acc: Accelerator, name: str) -> None:
    assert await acc.digest(DATA, name) == hashlib.new(name, DATA).digest()
    assert await acc.digest([DATA, bytearray(b"x")], name) == hashlib.new(name, DATA + b"x").digest()
    assert await acc.hmac(b"key", DATA, name) == hmac.digest(b"key", DATA, name)
    for key in (None, b"key"):
        async with acc.digester(name, key=key) as digester:
            await digester.update(DATA[:100])
            await digester.update([])
            output = await digester.finish(DATA[100:])
            with pytest.raises(InvalidState, match="unfinished"):
                await digester.update(b"")
            await digester.reset()
            assert (
                await digester.finish()
                == (hashlib.new(name) if key is None else hmac.new(key, digestmod=name)).digest()
            )
        with pytest.raises(wdasync.ClosedResourceError):
            await digester.update(b"")
        assert output == (await acc.digest(DATA, name) if key is None else await acc.hmac(key, DATA, name))
    assert repr(digester).startswith(f"<Digester <digest hmac-{name} on cpu/cpu0, closed>")


async def test_a_large_digest_leaves_the_loop_free(acc: Accelerator) -> None:
    large = DATA * 5000
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(count)
        assert await acc.digest(large) == hashlib.sha256(large).digest()
        tasks.cancel_scope.cancel()
    assert turns > 3


async def test_a_digest_whose_step_was_cancelled(acc: Accelerator) -> None:
    async with acc.digester() as digester:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await digester.update(DATA)
        assert scope.cancelled_caught
        with pytest.raises(InvalidState, match="reset"):
            await digester.update(DATA)
        await digester.reset()
        assert await digester.finish(DATA) == hashlib.sha256(DATA).digest()


async def test_a_digest_one_task_at_a_time() -> None:
    with mock.programmed() as program:
        async with (
            wdasync.open_accelerator("mock", fallback=False) as acc,
            acc.digester("sha256") as digester,
        ):
            program.hold()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(digester.update, b"x")
                while not program.devices[0].queues[0].statistics().in_flight:
                    await anyio.lowlevel.checkpoint()
                with pytest.raises(wdasync.BusyResourceError):
                    await digester.update(b"y")
                program.release()
            assert await digester.finish() == hashlib.sha256(b"x").digest()


async def test_a_digest_whose_device_is_lost() -> None:
    with mock.programmed(devices=2) as program:
        async with (
            wdasync.open_accelerator("mock", fallback=False) as acc,
            acc.digester("sha256") as digester,
        ):
            await digester.update(b"x")
            program.lose_device(device=int(digester.device[-1]))
            with pytest.raises(wdasync.DeviceError):
                await digester.update(b"y")
            await digester.reset()
            assert await digester.finish(b"z") == hashlib.sha256(b"z").digest()


# -- secret keys --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [128, 192, 256])
async def test_aead(acc: Accelerator, bits: int) -> None:
    secret, nonce = bytes(range(bits // 8)), bytes(12)
    async with acc.aead(f"aes-{bits}-gcm", secret) as aead:
        sealed = await aead.encrypt(nonce, DATA, b"header")
        assert sealed == AESGCM(secret).encrypt(nonce, DATA, b"header")
        assert await aead.decrypt(nonce, [sealed[:9], bytearray(sealed[9:])], [b"head", b"er"]) == DATA
        assert await aead.decrypt(nonce, await aead.encrypt(nonce, b"")) == b""
    assert aead.revoked
    with pytest.raises(InvalidState, match="revoked"):
        await aead.encrypt(nonce, DATA)


SEALS = [
    ("aes-256-gcm", 32, 12), ("aes-128-ccm", 16, 11), ("sm4-gcm", 16, 12), ("sm4-ccm", 16, 13), ("chacha20-poly1305", 32, 12),
    ("aes-128-cbc-hmac-sha256", 48, 16), ("aes-256-cbc-hmac-sha512", 96, 16),
]  # fmt: skip


@pytest.mark.parametrize(("name", "length", "nonce"), SEALS)
async def test_whatever_is_changed_is_noticed(acc: Accelerator, name: str, length: int, nonce: int) -> None:
    aead, number = acc.aead(name, bytes(range(length))), bytes(nonce)
    text = DATA[:160]
    sealed = await aead.encrypt(number, text, b"header")
    assert await aead.decrypt(number, sealed, b"header") == text
    other = acc.aead(name, bytes(range(1, length + 1)))
    changed: list[tuple[Any, bytes, bytes, bytes]] = [
        (aead, number, b"\x01" + sealed[1:], b"header"),
        (aead, number, sealed[:-1] + bytes([sealed[-1] ^ 1]), b"header"),
        (aead, number, sealed, b"headeR"),
        (aead, number, sealed, b""),
        (aead, b"\x01" + number[1:], sealed, b"header"),
        (aead, number, sealed[:-16], b"header"),
        (aead, number, sealed[:-1], b"header"),
        (aead, number, sealed[:7], b"header"),
        (aead, number, b"", b"header"),
        (other, number, sealed, b"header"),
    ]
    words = set()
    for key, used, given, header in changed:
        with pytest.raises(wdasync.InvalidTag) as caught:
            await key.decrypt(used, given, header)
        assert isinstance(caught.value, cryptography.exceptions.InvalidTag)
        words.add(str(caught.value))
    assert len(words) == 1, "the message tells what is wrong"


async def test_cbc_and_hmac_are_composed_as_the_page_says(acc: Accelerator) -> None:
    """Both made by other calls."""
    cipher_key, hash_key, iv = bytes(range(16)), bytes(range(32)), bytes(range(1, 17))
    aead = acc.aead("aes-128-cbc-hmac-sha256", cipher_key + hash_key, tag_length=12)
    sealed = await aead.encrypt(iv, DATA[:64], b"header")
    text = await acc.cipher("aes-128-cbc", cipher_key).encrypt(iv, DATA[:64])
    assert sealed == text + hmac.digest(hash_key, b"header" + iv + text, "sha256")[:12]


async def test_what_is_decrypted_is_what_was_checked(
    acc: Accelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody changes the caller's memory just after the code was found right."""
    aead = acc.aead("aes-128-cbc-hmac-sha256", bytes(range(48)))
    sealed = bytearray(await aead.encrypt(bytes(16), DATA[:64]))
    compare = hmac.compare_digest

    def compare_and_change(one: bytes, other: bytes) -> bool:
        right = compare(one, other)
        sealed[5] ^= 0xFF
        return right

    monkeypatch.setattr(hmac, "compare_digest", compare_and_change)
    assert await aead.decrypt(bytes(16), sealed) == DATA[:64]


async def test_codes(acc: Accelerator) -> None:
    handle = acc.mac_key("hmac-sha256", b"secret")
    code = await handle.sign(DATA)
    assert code == hmac.digest(b"secret", DATA, "sha256")
    await handle.verify(code, DATA)
    with pytest.raises(wdasync.InvalidSignature) as caught:
        await handle.verify(code[:-1], DATA)
    assert isinstance(caught.value, cryptography.exceptions.InvalidSignature)
    assert await acc.cmac(bytes(16), DATA) == await acc.mac_key("aes-128-cmac", bytes(16)).sign(DATA)
    assert len(await acc.cmac(bytes(16), DATA, "sm4")) == 16
    assert len(await acc.cmac(bytes(range(24)), DATA, "3des")) == 8


CIPHERS = [
    ("aes-128-ecb", 16, 0), ("aes-192-cbc", 24, 16), ("aes-256-ctr", 32, 16), ("aes-128-cfb", 16, 16),
    ("aes-256-ofb", 32, 16), ("aes-128-xts", 32, 16), ("aes-256-xts", 64, 16), ("sm4-ecb", 16, 0),
    ("sm4-cbc", 16, 16), ("sm4-ctr", 16, 16), ("sm4-xts", 32, 16), ("3des-ecb", 24, 0), ("3des-cbc", 24, 8),
]  # fmt: skip


@pytest.mark.parametrize(("name", "length", "iv"), CIPHERS)
async def test_ciphers(acc: Accelerator, name: str, length: int, iv: int) -> None:
    cipher, number = acc.cipher(name, bytes(range(length))), bytes(range(iv))
    text = DATA[:48]
    hidden = await cipher.encrypt(number, [text[:5], text[5:]])
    assert hidden != text
    assert len(hidden) == len(text)
    assert await cipher.decrypt(number, hidden) == text


#: Bytes that are not copied in the event loop's thread.
LONG = (256 << 10) + 1


@pytest.mark.parametrize("name", ["aes-128-gcm", "aes-128-ccm"])
async def test_long_associated_data(acc: Accelerator, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has to be copied is copied in a thread; one bytes object, and what is short, is not."""
    threads: list[object] = []

    async def in_thread(*arguments: Any) -> Any:
        threads.append(arguments)
        return await real(*arguments)

    real = module.in_thread
    monkeypatch.setattr(module, "in_thread", in_thread)
    key = acc.aead(name, bytes(16))
    for header in (bytes(LONG), bytearray(LONG - 1)):
        assert await key.decrypt(bytes(12), await key.encrypt(bytes(12), DATA, header), header) == DATA
    assert not threads
    sealed = await key.encrypt(bytes(12), DATA, bytes(LONG))
    for header in (bytearray(LONG), [bytes(LONG - 9), b"", memoryview(bytes(9))]):
        assert await key.encrypt(bytes(12), DATA, header) == sealed
        assert await key.decrypt(bytes(12), sealed, header) == DATA
    assert len(threads) == 4
    header = bytearray(LONG)
    with pytest.raises(wdasync.InvalidTag):
        await key.decrypt(bytes(13)[:12], sealed[:-1] + b"x", header)
    header.append(0)  # nobody holds it


async def test_the_longest_key(acc: Accelerator) -> None:
    """Of a longer one its digest is taken, so nobody needs it."""
    key = bytes(range(256)) * 256
    assert await acc.hmac(key, DATA) == hmac.digest(key, DATA, "sha256")
    assert await acc.hmac(hashlib.sha256(key + b"x").digest(), DATA) == hmac.digest(
        key + b"x", DATA, "sha256"
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda acc: acc.aead("aes-256-gcm", bytes(16)), "key: expected 32 bytes, got 16"),
        (lambda acc: acc.aead("aes-256-gcm", "text"), "key: expected a bytes-like"),
        (lambda acc: acc.aead("aes-256-gcm", bytes(32), tag_length=5), "tag_length: expected 4 or"),
        (lambda acc: acc.aead(256, bytes(32)), "algorithm: expected a str"),
        (lambda acc: acc.aead("aes-256-gcm", bytes(32)).encrypt(b"", b""), "nonce: expected 8 to 128 bytes"),
        (lambda acc: acc.aead("aes-256-gcm", bytes(32)).encrypt(bytes(7), b""), "nonce: expected 8 to 128 bytes, got 7"),
        (lambda acc: acc.sequence().encrypt(acc.aead("aes-256-gcm", bytes(32)), bytes(4)), "nonce: expected 8 to 128 bytes, got 4"),
        (lambda acc: acc.aead("aes-128-ccm", bytes(16)).decrypt(bytes(14), b""), "nonce: expected 7 to 13"),
        (lambda acc: acc.aead("aes-128-cbc-hmac-sha1", bytes(36)).encrypt(bytes(16), b"x"), "multiple of 16"),
        (lambda acc: acc.cipher("aes-128-cbc", bytes(17)), "key: expected 16 bytes, got 17"),
        (lambda acc: acc.cipher("aes-128-cbc", bytes(16)).encrypt(bytes(15), b""), "iv: expected 16 bytes"),
        (lambda acc: acc.cipher("aes-128-cbc", bytes(16)).encrypt(bytes(16), b"x"), "multiple of 16 bytes"),
        (lambda acc: acc.cipher("aes-128-ecb", bytes(16)).decrypt(bytes(16), b""), "iv: expected 0 bytes"),
        (lambda acc: acc.cipher("aes-128-xts", bytes(range(32))).encrypt(bytes(16), b"x"), "at least 16"),
        (lambda acc: acc.hmac(b"", b"x"), "key: expected at least 1 byte"),
        (lambda acc: acc.hmac(bytes(65537), b"x"), "key: expected at most 65536 bytes, got 65537; HMAC takes the digest of a longer one"),
        (lambda acc: acc.mac_key("hmac-sm3", [bytes(65536), b"x"]), "key: expected at most 65536 bytes, got 65537"),
        (lambda acc: acc.digester(key=bytearray(65537)), "key: expected at most 65536 bytes, got 65537"),
        (lambda acc: acc.cipher("aes-128-cbc", bytes(1 << 20)), "key: expected 16 bytes, got 1048576"),
        (lambda acc: acc.aead("aes-128-ccm", bytes(16)).encrypt(bytearray(LONG), b""), "nonce: expected at most 262144 bytes"),
        (lambda acc: acc.cipher("aes-128-cbc", bytes(16)).encrypt(bytearray(LONG), b""), "iv: expected at most 262144 bytes"),
        (lambda acc: acc.mac_key("hmac-md5", b"k").verify(bytearray(LONG), b""), "signature: expected at most 262144 bytes"),
        (lambda acc: acc.sequence().encrypt(acc.aead("aes-128-gcm", bytes(16)), bytes(12), bytearray(LONG)), "associated_data: expected at most 262144 bytes, or one `bytes` object, got 262145"),
        (lambda acc: acc.digester("sha256", key=b""), "key: expected at least 1 byte"),
        (lambda acc: acc.cmac(bytes(24), b"x", "sm4"), "key: expected 16 bytes, got 24"),
        (lambda acc: acc.cmac(bytes(17), b"x"), "key: expected 16, 24 or 32 bytes, got 17"),
        (lambda acc: acc.generate_private_key("rsa", bits=512), "bits: expected an int of at least 1024"),
    ],
)  # fmt: skip
async def test_sizes_that_cannot_be(acc: Accelerator, make: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        await make(acc)


@pytest.mark.parametrize(
    "make",
    [
        lambda acc: acc.digest(b"", "sha257"),
        lambda acc: acc.digester("sha257"),
        lambda acc: acc.aead("aes-256-gmc", bytes(32)),
        lambda acc: acc.aead("sm4-ocb", bytes(16)),
        lambda acc: acc.cipher("aes-256-xyz", bytes(32)),
        lambda acc: acc.mac_key("hmac-sha257", bytes(32)),
        lambda acc: acc.generate_private_key("sm2"),
    ],
)
async def test_algorithms_that_are_not_there(acc: Accelerator, make: Any) -> None:
    with pytest.raises(UnsupportedOperation, match="expected one of"):
        await make(acc)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda acc: acc.cipher("aes-128-xts", bytes(32)).encrypt(bytes(16), bytes(16)), "cryptography: "),
        (lambda acc: acc.aead("aes-128-ccm", bytes(16)).encrypt(bytes(13), bytes(65536)), "are too many for a nonce"),
        (lambda acc: acc.aead("sm4-ccm", bytes(16)).encrypt(bytes(13), bytes(65536)), "are too many for a nonce"),
        (lambda acc: acc.cipher("sm4-xts", bytes(32)).encrypt(bytes(16), bytes(16)), "two halves that differ"),
        (lambda acc: acc.public_key(RSA.public_key()).encrypt(bytes(200), OAEP), "cryptography: "),
        (lambda acc: acc.private_key(RSA).sign(DATA, ODD_MASK, "sha256"), "padding: expected MGF1 with a hash that OpenSSL has for it, got blake2s"),
        (lambda acc: acc.public_key(RSA.public_key()).verify(bytes(128), DATA, ODD_MASK, "sha256"), "padding: expected MGF1 with a hash .* got blake2s"),
    ],
)  # fmt: skip
async def test_what_only_a_device_finds(acc: Accelerator, make: Any, message: str) -> None:
    """An argument that no device can work with: it has the algorithm."""
    with pytest.raises(InvalidArgument, match=f"{message}.*; correct the argument") as caught:
        await make(acc)
    assert caught.value.status is Status.INVALID_ARGS


async def test_what_only_a_device_finds_in_a_sequence(acc: Accelerator) -> None:
    cipher = acc.cipher("aes-128-xts", bytes(32))
    with pytest.raises(InvalidArgument, match=r"^step 2 of 2: encrypt .*cryptography: "):
        await acc.sequence().compress().encrypt(cipher, bytes(16)).run(DATA)


# -- public keys --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [padding.PKCS1v15(), PSS], ids=["pkcs1v15", "pss"])
async def test_rsa_signatures(acc: Accelerator, how: Any) -> None:
    async with acc.private_key(RSA) as key:
        signature = await key.sign(DATA, how, hashes.SHA256())
        RSA.public_key().verify(signature, DATA, how, hashes.SHA256())
        public = key.public_key()
        await public.verify(signature, [DATA[:3], DATA[3:]], how, "sha256")
        prehashed = utils.Prehashed(hashes.SHA256())
        signature = await key.sign(hashlib.sha256(DATA).digest(), how, prehashed)
        await public.verify(signature, DATA, how, hashes.SHA256())
        words = set()
        for data, given in (
            (DATA + b"x", signature),
            (DATA, signature[:-1] + bytes([signature[-1] ^ 1])),
            (DATA, bytes(256)),
            (DATA, b""),
        ):
            with pytest.raises(wdasync.InvalidSignature) as caught:
                await public.verify(given, data, how, hashes.SHA256())
            words.add(str(caught.value))
        assert len(words) == 1
    with pytest.raises(InvalidState, match="revoked"):
        key.public_key()


@pytest.mark.parametrize("how", [OAEP, padding.PKCS1v15()], ids=["oaep", "pkcs1v15"])
async def test_rsa_encryption(acc: Accelerator, how: Any) -> None:
    key = acc.private_key(RSA_PEM)
    hidden = await key.public_key().encrypt(b"a key", how)
    assert await key.decrypt(hidden, how) == b"a key"
    assert RSA.decrypt(hidden, how) == b"a key"


async def test_a_failed_decryption_says_nothing(acc: Accelerator) -> None:
    key = acc.private_key(RSA)
    good = await key.public_key().encrypt(b"a key", OAEP)
    words = set()
    for hidden in (bytes(256), good[:-1] + bytes([good[-1] ^ 1]), good[:-1], b"", b"\xff" * 256):
        with pytest.raises(DataError) as caught:
            await key.decrypt(hidden, OAEP)
        words.add(str(caught.value))
        assert caught.value.__cause__ is caught.value.__context__ is None
    assert len(words) == 1


@pytest.mark.parametrize("name", ["p256", "p384", "p521", "secp256k1"])
async def test_elliptic_curves(acc: Accelerator, name: str) -> None:
    one, other = await acc.generate_private_key(f"ec-{name}"), await acc.generate_private_key(f"ec-{name}")
    assert await one.exchange(other.public_key()) == await other.exchange(one.public_key().public_object())
    for how in ((ec.ECDSA(hashes.SHA256()),), (None, "sha256")):
        signature = await one.sign(DATA, *how)
        await one.public_key().verify(signature, DATA, *how)
        with pytest.raises(wdasync.InvalidSignature):
            await other.public_key().verify(signature, DATA, *how)
    with pytest.raises(wdasync.InvalidSignature):
        await one.public_key().verify(b"no DER", DATA, None, "sha256")


async def test_deterministic_signatures(acc: Accelerator) -> None:
    key = await acc.generate_private_key("ec-p256")
    how = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
    assert await key.sign(DATA, how) == await key.sign(DATA, how)


@pytest.mark.parametrize("name", ["x25519", "x448"])
async def test_exchanges(acc: Accelerator, name: str) -> None:
    one, other = await acc.generate_private_key(name), await acc.generate_private_key(name)
    assert await one.exchange(other.public_key()) == await other.exchange(one.public_key())


async def test_a_peer_that_agrees_on_nothing_secret(acc: Accelerator) -> None:
    zero = x25519.X25519PublicKey.from_public_bytes(bytes(32))
    with pytest.raises(DataError, match="nothing secret"):
        await (await acc.generate_private_key("x25519")).exchange(zero)


@pytest.mark.parametrize("name", ["ed25519", "ed448"])
async def test_edwards_curves(acc: Accelerator, name: str) -> None:
    key = await acc.generate_private_key(name)
    signature = await key.sign(DATA)
    await key.public_key().verify(signature, DATA)
    with pytest.raises(wdasync.InvalidSignature):
        await key.public_key().verify(signature, DATA + b"x")


async def test_generated_rsa_keys(acc: Accelerator) -> None:
    key = await acc.generate_private_key("rsa", bits=1024)
    assert repr(key) == "<PrivateKey: <RSA private key, 1024 bits>>"
    await key.public_key().verify(await key.sign(DATA, PSS, "sha256"), DATA, PSS, "sha256")


P256 = ec.generate_private_key(ec.SECP256R1())
PUBLIC_DER = P256.public_key().public_bytes(
    serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
)
ENCRYPTED = P256.private_bytes(
    serialization.Encoding.PEM,
    serialization.PrivateFormat.PKCS8,
    serialization.BestAvailableEncryption(b"password"),
)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda acc: acc.private_key("text"), "expected a private key of cryptography .* got str"),
        (lambda acc: acc.private_key(RSA.public_key()), "expected a private key of cryptography"),
        (lambda acc: acc.public_key(RSA), "expected a public key of cryptography"),
        (lambda acc: acc.private_key(ec.generate_private_key(ec.BrainpoolP256R1())), "one on brainpoolP256r1"),
        (lambda acc: acc.private_key(b"-----BEGIN NOTHING-----"), "the PEM cannot be read"),
        (lambda acc: acc.private_key(b"\x30\x00"), "the DER cannot be read"),
        (lambda acc: acc.private_key(PUBLIC_DER), "the DER cannot be read"),
        (lambda acc: acc.private_key(ENCRYPTED), "it is encrypted: load it with cryptography"),
        (lambda acc: acc.private_key(RSA).sign(DATA, None, hashes.SHA256()), "padding: expected PKCS1v15"),
        (lambda acc: acc.private_key(RSA).sign(DATA, PSS, None), "algorithm: expected a hash"),
        (lambda acc: acc.private_key(RSA).sign(DATA, PSS, "sha"), "algorithm: expected a hash"),
        (lambda acc: acc.private_key(RSA).sign(DATA, PSS, "blake2b"), "algorithm: expected a hash"),
        (lambda acc: acc.private_key(RSA).sign(DATA, PSS, "hashalgorithm"), "algorithm: expected a hash"),
        (lambda acc: acc.private_key(RSA).decrypt(DATA, None), "padding: expected OAEP"),
        (lambda acc: acc.private_key(RSA).exchange(RSA.public_key()), "expected a key for exchanges"),
        (lambda acc: acc.private_key(P256).sign(DATA, PSS, "sha256"), "padding: expected None or ECDSA"),
        (lambda acc: acc.private_key(P256).sign(DATA, ec.ECDSA(hashes.SHA256()), "sha512"), "none beside ECDSA"),
        (lambda acc: acc.private_key(P256).decrypt(DATA, OAEP), "expected an RSA key to decrypt with"),
        (lambda acc: acc.public_key(PUBLIC_DER).encrypt(DATA, OAEP), "expected an RSA key to encrypt with"),
        (lambda acc: acc.private_key(P256).exchange(RSA.public_key()), "peer: expected a public key of the same"),
        (lambda acc: acc.private_key(P256).exchange("text"), "peer: expected a public key of the same .* got str"),
        (lambda acc: acc.private_key(P256).exchange(None), "peer: expected a public key of the same .* got NoneType"),
        (lambda acc: acc.private_key(P256).exchange(b"text"), "peer: expected a public key, got .* the DER cannot be read"),
        (lambda acc: acc.private_key(P256).exchange(RSA.public_key()), "peer: .* got RSA public key"),
        (lambda acc: acc.private_key(P256).exchange(ec.generate_private_key(ec.SECP384R1()).public_key()), "of the same"),
        (lambda acc: acc.private_key(x25519.X25519PrivateKey.generate()).sign(DATA), "expected a key that signs"),
        (lambda acc: acc.private_key(ed25519.Ed25519PrivateKey.generate()).sign(DATA, PSS), "neither padding nor"),
    ],
)  # fmt: skip
async def test_keys_that_do_not_fit(acc: Accelerator, make: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        await make(acc)


@pytest.mark.parametrize(
    "before",
    [
        "Bag Attributes\n    friendlyName: mine\nKey Attributes: <No Attributes>\n",
        "# a line\n\n",
        "\ufeff",
    ],
)
async def test_pem_with_text_before_it(acc: Accelerator, before: str) -> None:
    """RFC 7468, section 2: parsers are to ignore it."""
    pem = P256.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    signature = await acc.private_key(before.encode() + pem).sign(DATA, None, "sha256")
    P256.public_key().verify(signature, DATA, ec.ECDSA(hashes.SHA256()))


async def test_never_in_the_loop_s_thread(acc: Accelerator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that has to do with public keys runs where the event loop does."""
    threads = set()
    for name in ("sign", "verify", "encrypt", "decrypt", "exchange", "generate"):
        function: Callable[..., Any] = getattr(work, name)

        def spy(*arguments: Any, function: Callable[..., Any] = function) -> Any:
            threads.add(threading.current_thread())
            return function(*arguments)

        for table in (work.__dict__, sys.modules["wdasync_cpu.crypto.work"]._SHORT):
            for at, found in list(table.items()):
                if found is function:
                    monkeypatch.setitem(table, at, spy)
    key = acc.private_key(RSA)
    for timeout in (None, 60.0):
        signature = await key.sign(b"", PSS, "sha256", timeout=timeout)
        await key.public_key().verify(signature, b"", PSS, "sha256", timeout=timeout)
        hidden = await key.public_key().encrypt(b"", OAEP, timeout=timeout)
        assert await key.decrypt(hidden, OAEP, timeout=timeout) == b""
        agreeing = await acc.generate_private_key("x25519", timeout=timeout)
        await agreeing.exchange(agreeing.public_key(), timeout=timeout)
    assert threads
    assert threading.current_thread() not in threads


# -- handles ------------------------------------------------------------------------------------------------------------

HANDLES: list[Callable[[Accelerator], Any]] = [
    lambda acc: acc.aead("aes-128-gcm", b"never to be seen"),
    lambda acc: acc.cipher("aes-128-cbc", b"never to be seen"),
    lambda acc: acc.mac_key("hmac-sha256", b"never to be seen"),
    lambda acc: acc.private_key(RSA),
    lambda acc: acc.public_key(RSA.public_key()),
    lambda acc: acc.digester("sha256", key=b"never to be seen"),
]


@pytest.mark.parametrize("make", HANDLES)
async def test_no_secret_gets_out(acc: Accelerator, make: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        handle = make(acc)
        with pytest.raises(TypeError, match="neither copied nor pickled"):
            pickle.dumps(handle)
        texts = [repr(handle), str(handle), *(record.getMessage() for record in caplog.records)]
        await handle.aclose()
        await handle.aclose()
        texts.append(repr(handle))
    number = str(RSA.private_numbers().d)
    assert not any("seen" in text or number in text for text in texts)


async def test_a_secret_is_wiped(acc: Accelerator) -> None:
    handle = acc.aead("aes-128-gcm", b"never to be seen")
    held = handle._key.material
    await handle.encrypt(bytes(12), DATA)
    assert held == b"never to be seen"
    handle.revoke()
    assert held == bytes(16)
    forgotten = acc.mac_key("hmac-sha256", b"never to be seen")
    held = forgotten._key.material
    del forgotten
    gc.collect()
    assert held == bytes(16)
    digester = acc.digester("sha256", key=b"never to be seen")
    held = digester._session.spec.material  # type: ignore[attr-defined]  # a digest's
    await digester.aclose()
    assert held == bytes(16)


async def test_a_forgotten_digest_s_secret_is_wiped(acc: Accelerator) -> None:
    digester = acc.digester("sha256", key=b"never to be seen")
    session: Any = digester._session.session
    copies = session.spec.material, session._key
    assert copies == (b"never to be seen", b"never to be seen")
    await digester.update(DATA)
    del digester, session
    gc.collect()
    assert copies == (bytes(16), bytes(16))


async def test_one_shot_keys_are_wiped(acc: Accelerator, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    before = Key.__init__

    def spy(key: Key, material: object, name: str) -> None:
        before(key, material, name)
        seen.append(key.material)

    monkeypatch.setattr(Key, "__init__", spy)
    await acc.hmac(b"never to be seen", DATA)
    with pytest.raises(UnsupportedOperation):
        await acc.hmac(b"never to be seen", DATA, "none")
    assert [bytes(each) for each in seen] == [bytes(16), bytes(16)]


async def test_closing_waits_for_what_is_in_flight() -> None:
    with mock.programmed() as program:
        async with wdasync.open_accelerator("mock", fallback=False) as acc:
            handle = acc.mac_key("hmac-sha256", b"secret")
            held = handle._key.material
            program.hold()
            outputs: list[bytes] = []

            async def use() -> None:
                outputs.append(await handle.sign(DATA))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(use)
                while handle._key.in_flight < 2:
                    await anyio.lowlevel.checkpoint()
                with anyio.move_on_after(0.01) as scope:
                    await handle.aclose()
                assert scope.cancelled_caught
                assert handle.revoked
                assert held == b"secret"
                tasks.start_soon(handle.aclose)
                tasks.start_soon(handle.aclose)
                program.release()
            assert outputs == [hmac.digest(b"secret", DATA, "sha256")]
            assert held == bytes(6)


async def test_one_who_waits_for_the_wiping_gives_up() -> None:
    """Nobody else waits longer for that."""
    with mock.programmed() as program:
        async with wdasync.open_accelerator("mock", fallback=False) as acc:
            handle = acc.mac_key("hmac-sha256", b"secret")
            program.hold()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(handle.sign, DATA)
                while handle._key.in_flight < 2:
                    await anyio.lowlevel.checkpoint()
                tasks.start_soon(handle.aclose)
                while not handle.revoked:
                    await anyio.lowlevel.checkpoint()
                with anyio.CancelScope() as scope:
                    scope.cancel()
                    await handle.aclose()
                assert scope.cancelled_caught
                program.release()


def pinned(error: BaseException | None) -> list[object]:
    """What the frames of an error's traceback hold of keys that are not wiped."""
    found: list[object] = []
    while error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            keys = [value for value in frame.f_locals.values() if isinstance(value, Key)]
            found += [key for key in keys if key._material is not None]
            found += [value for value in frame.f_locals.values() if value == bytearray(b"never to be seen")]
        error = error.__cause__ or error.__context__
    return found


@pytest.mark.parametrize(
    "make",
    [
        lambda acc: acc.aead("aes-256-gcm", bytes(16)),
        lambda acc: acc.aead("aes-256-gcm", bytes(32), tag_length=5),
        lambda acc: acc.aead("aes-256-gcm", bytes(32), tag_length="x"),
        lambda acc: acc.aead("aes-256-gmc", bytes(32)),
        lambda acc: acc.cipher("aes-256-xyz", bytes(32)),
        lambda acc: acc.mac_key("hmac-sha257", bytes(32)),
        lambda acc: acc.digester("sha257", key=[b"never to be", b" seen"]),
    ],
)
async def test_an_error_keeps_no_key(acc: Accelerator, make: Any) -> None:
    """Who logs an error with its frames' variables finds no secret of ours in them."""
    with pytest.raises((InvalidArgument, UnsupportedOperation)) as caught:
        make(acc)
    assert pinned(caught.value) == []


async def test_used_by_many_tasks(acc: Accelerator) -> None:
    key, aead = acc.private_key(RSA), acc.aead("aes-256-gcm", bytes(32))
    done = []

    async def one(number: int) -> None:
        text = b"%d" % number
        signature = await key.sign(text, PSS, "sha256", priority=Priority(number % 3))
        await key.public_key().verify(signature, text, PSS, "sha256")
        nonce = number.to_bytes(12, "big")
        assert await aead.decrypt(nonce, await aead.encrypt(nonce, text * 9000)) == text * 9000
        done.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(32):
            tasks.start_soon(one, number)
    assert len(done) == 32
    assert key._key.in_flight == aead._key.in_flight == 0


# -- as all operations --------------------------------------------------------------------------------------------------


async def test_a_result_with_its_provenance(acc: Accelerator) -> None:
    result = await acc.execute(Sign(Key(RSA, "a key"), DATA, "rsa", PSS, hashes.SHA256()))
    assert result.output is not None
    RSA.public_key().verify(result.output, DATA, PSS, hashes.SHA256())
    assert (result.backend, result.device, result.reason) == ("cpu", "cpu0", Reason.PREFERRED)
    assert result.where.startswith("thread ")


async def test_a_time_out(acc: Accelerator) -> None:
    with pytest.raises(wdasync.OperationTimeout):
        await acc.generate_private_key("rsa", bits=4096, timeout=0.001)


async def test_an_observer() -> None:
    seen: list[wdasync.Observation] = []
    async with wdasync.open_accelerator("cpu", observer=seen.append) as acc:
        await acc.digest(DATA)
        key = acc.private_key(RSA)
        with pytest.raises(wdasync.InvalidSignature):
            await key.public_key().verify(b"", DATA, PSS, "sha256")
    assert [(each.kind, each.algorithm, each.status) for each in seen] == [
        (Kind.DIGEST, "sha256", wdasync.Status.SUCCESS),
        (Kind.VERIFY, "rsa", wdasync.Status.CHECKSUM_FAILED),
    ]


async def test_what_a_device_lacks_goes_elsewhere() -> None:
    """The mock has digests, and no keys that sign."""
    with mock.programmed():
        async with wdasync.open_accelerator("mock") as acc:
            result = await acc.execute(Sign(Key(RSA, "a key"), DATA, "rsa", PSS, hashes.SHA256()))
            assert (result.backend, result.reason) == ("cpu", Reason.UNSUPPORTED)
            assert await acc.digest(DATA) == hashlib.sha256(DATA).digest()


async def test_closed(acc: Accelerator) -> None:
    key, aead = acc.private_key(RSA), acc.aead("aes-256-gcm", bytes(32))
    await acc.aclose()
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: acc.digest(DATA),
        lambda: acc.crc32(DATA),
        lambda: key.sign(DATA, PSS, "sha256"),
        lambda: aead.encrypt(bytes(12), DATA),
    ]
    for call in calls:
        with pytest.raises(wdasync.ClosedResourceError):
            await call()
    for make in (lambda: acc.private_key(RSA), lambda: acc.aead("aes-256-gcm", bytes(32)), acc.digester):
        with pytest.raises(wdasync.ClosedResourceError):
            make()
    await key.aclose()


def test_without_cryptography() -> None:
    """What needs it says what to install; the rest works."""
    code = """
import sys
sys.modules["cryptography"] = None
from importlib import util
find = util.find_spec
util.find_spec = lambda name, package=None: None if name.startswith("cryptography") else find(name, package)
import asyncio, hashlib, wdasync

async def main():
    async with wdasync.open_accelerator("cpu") as acc:
        assert await acc.digest(b"x") == hashlib.sha256(b"x").digest()
        assert len(await acc.hmac(b"k", b"x")) == 32
        assert await acc.crc32c(b"123456789") == 0xE3069283
        for make in (
            lambda: acc.private_key(b"-----BEGIN"),
            lambda: acc.public_key(object()),
            lambda: acc.aead("aes-256-gcm", bytes(32)),
            lambda: acc.cipher("aes-256-cbc", bytes(32)),
        ):
            try:
                make()
            except wdasync.UnsupportedOperation as error:
                assert 'pip install "wdasync[crypto]"' in str(error), error
            else:
                raise AssertionError("it worked")

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
