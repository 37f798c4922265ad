"""The CPU, the emulated engines and a second opinion, on random input: all say the same.

The second opinion is no library of theirs: AES and its modes by integers, Python's own hashes. With public keys the two sides are it for
each other: the engine computes with integers, the CPU with OpenSSL.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dh, ec, padding, rsa, x448, x25519
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tests.cpu.support import run
from tests.crypto import arithmetic
from wdasync import registry
from wdasync.backend import Completion, Device, Status
from wdasync.operations import (
    CIPHERS,
    Decrypt,
    Digest,
    Encrypt,
    Exchange,
    Key,
    Mac,
    Open,
    Operation,
    PrivateDecrypt,
    PublicEncrypt,
    Seal,
    Sign,
    Verify,
)
from wdasync_hip08.functions import HPRE, SEC

from .drivers import Bench, bench

SIZES = (0, 1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 500)


class Cpu:
    """The CPU's device, and one queue of it."""

    def __init__(self) -> None:
        backend = registry.get_backend("cpu")
        self.device: Device = backend.open(backend.devices()[0], backend.Options())
        self.queue = self.device.open_queue(16)

    def run(self, operation: Operation) -> Completion:
        if operation.key is not None:
            operation.session = operation.key.session(self.device, operation.algorithm)
        (completion,) = run(self.queue, [operation])
        return completion

    def close(self, keys: list[Key]) -> None:
        self.queue.stop()
        self.queue.close()
        for key in keys:
            key.forget(self.device)
        self.device.close()


class Both:
    """The CPU and an engine, with the same keys."""

    def __init__(self, engine: Bench) -> None:
        self.cpu, self.engine = Cpu(), engine

    def key(self, material: object) -> Key:
        return self.engine.key(material)

    def run(self, make: Any) -> bytes:
        """What both give."""
        one, other = self.cpu.run(make()), self.engine.run(make())
        assert one.status is other.status is Status.SUCCESS, (one, other)
        assert one.output == other.output
        assert one.output is not None
        return one.output


@pytest.fixture(scope="module")
def sec() -> Iterator[Both]:
    with bench(SEC, generation=3) as engine:
        both = Both(engine)
        yield both
        both.cpu.close(engine.keys)


@pytest.fixture(scope="module")
def hpre() -> Iterator[Both]:
    with bench(HPRE, generation=3) as engine:
        both = Both(engine)
        yield both
        both.cpu.close(engine.keys)


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """The same in each run."""
    return random.Random(request.node.name)


def own_hash(name: str, data: bytes) -> bytes:
    """Python's own, which is not OpenSSL's."""
    digest: bytes = hashlib.__get_builtin_constructor(name)(data).digest()  # type: ignore[attr-defined]
    return digest


def own_hmac(name: str, key: bytes, data: bytes) -> bytes:
    """RFC 2104."""
    block = 128 if name in ("sha384", "sha512") else 64
    key = (own_hash(name, key) if len(key) > block else key).ljust(block, b"\0")
    inner = own_hash(name, bytes(byte ^ 0x36 for byte in key) + data)
    return own_hash(name, bytes(byte ^ 0x5C for byte in key) + inner)


@pytest.mark.parametrize("name", ["md5", "sha1", "sha224", "sha256", "sha384", "sha512"])
def test_digests_and_their_codes(sec: Both, name: str, chance: random.Random) -> None:
    for size in (*SIZES, 70_000):
        data = chance.randbytes(size)
        assert sec.run(lambda data=data: Digest(data, name)) == own_hash(name, data)
        secret = chance.randbytes(chance.choice((1, 20, 64, 65, 128, 129, 200)))
        key = sec.key(secret)
        code = sec.run(lambda data=data, key=key: Mac(key, data, f"hmac-{name}"))
        assert code == own_hmac(name, secret, data)


@pytest.mark.parametrize("name", [name for name in CIPHERS if name.startswith("aes-")])
def test_ciphers(sec: Both, name: str, chance: random.Random) -> None:
    suite, mode = CIPHERS[name], name.rpartition("-")[2]
    for size in SIZES:
        if size % suite.unit or size < max(suite.least, 1):
            continue
        secret, iv = chance.randbytes(suite.key[0]), chance.randbytes(suite.iv[0])
        key, data = sec.key(secret), chance.randbytes(size)
        made = sec.run(lambda key=key, data=data, iv=iv: Encrypt(key, data, name, iv=iv))
        assert made == arithmetic.cipher(mode, secret, iv, data), (name, size)
        assert sec.run(lambda key=key, made=made, iv=iv: Decrypt(key, made, name, iv=iv)) == data


@pytest.mark.parametrize("bits", [128, 192, 256])
def test_cmac(sec: Both, bits: int, chance: random.Random) -> None:
    for size in SIZES:
        secret, data = chance.randbytes(bits // 8), chance.randbytes(size)
        key = sec.key(secret)
        code = sec.run(lambda key=key, data=data: Mac(key, data, f"aes-{bits}-cmac"))
        assert code == arithmetic.cmac(secret, data)


@pytest.mark.parametrize("bits", [128, 192, 256])
@pytest.mark.parametrize("mode", ["gcm", "ccm", "cbc-hmac-sha256"])
def test_seals(sec: Both, bits: int, mode: str, chance: random.Random) -> None:
    name = f"aes-{bits}-{mode}"
    for size in (size for size in SIZES if mode in ("gcm", "ccm") or size % 16 == 0):
        data, aad = chance.randbytes(size), chance.randbytes(chance.choice((0, 1, 13, 16, 40)))
        secret, nonce = chance.randbytes(bits // 8), chance.randbytes(12)
        whole = secret
        if mode == "gcm":
            expected = arithmetic.gcm(secret, nonce, data, aad)
        elif mode == "ccm":
            expected = arithmetic.ccm(secret, nonce, data, aad, 16)
        else:
            nonce, hashed = chance.randbytes(16), chance.randbytes(32)
            whole, text = secret + hashed, arithmetic.cipher("cbc", secret, nonce, data)
            expected = text + own_hmac("sha256", hashed, aad + nonce + text)[:16]
        key = sec.key(whole)
        sealed = sec.run(
            lambda key=key, data=data, nonce=nonce, aad=aad: Seal(key, nonce, data, name, aad=aad)
        )
        assert sealed == expected, (name, size)
        back = sec.run(
            lambda key=key, text=sealed, nonce=nonce, aad=aad: Open(key, nonce, text, name, aad=aad)
        )
        assert back == data


def sm4(key: bytes, block: bytes) -> bytes:
    """One block; the modes are the second opinion's."""
    return Cipher(algorithms.SM4(key), modes.ECB()).encryptor().update(block)


def test_xts_of_sm4(sec: Both, chance: random.Random) -> None:
    for size in (*(size for size in SIZES if size >= 16), 5000):
        secret, iv, data = chance.randbytes(32), chance.randbytes(16), chance.randbytes(size)
        key = sec.key(secret)
        made = sec.run(lambda key=key, data=data, iv=iv: Encrypt(key, data, "sm4-xts", iv=iv))
        assert made == arithmetic.cipher("xts", secret, iv, data, sm4), size
        assert sec.run(lambda key=key, made=made, iv=iv: Decrypt(key, made, "sm4-xts", iv=iv)) == data


@pytest.mark.parametrize("tag", [4, 8, 16])
def test_ccm_of_sm4(sec: Both, tag: int, chance: random.Random) -> None:
    for size in (*SIZES, 5000):
        secret, nonce = chance.randbytes(16), chance.randbytes(chance.choice((7, 12, 13)))
        data, aad = chance.randbytes(size), chance.randbytes(chance.choice((0, 1, 13, 14, 16, 40)))
        key, expected = sec.key(secret), arithmetic.ccm(secret, nonce, data, aad, tag, sm4)

        def seal(key: Key = key, nonce: bytes = nonce, data: bytes = data, aad: bytes = aad) -> Seal:
            return Seal(key, nonce, data, "sm4-ccm", aad=aad, tag_length=tag)

        def opened(key: Key = key, nonce: bytes = nonce, text: bytes = expected, aad: bytes = aad) -> Open:
            return Open(key, nonce, text, "sm4-ccm", aad=aad, tag_length=tag)

        assert sec.run(seal) == expected
        assert sec.run(opened) == data
        wrong = expected[:-1] + bytes([expected[-1] ^ 1])
        for side in (sec.cpu, sec.engine):
            completion = side.run(opened(text=wrong))
            assert (completion.status, completion.output) == (Status.CHECKSUM_FAILED, None)


# -- public keys --------------------------------------------------------------------------------------------------------

SHA = hashes.SHA256()
CURVES = {"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1(), "secp256k1": ec.SECP256K1()}


def output(completion: Completion) -> bytes:
    assert completion.status is Status.SUCCESS, completion
    assert completion.output is not None
    return completion.output


def sign_and_verify(both: Both, material: Any, algorithm: str, how: Any) -> None:
    """What one side signs the other finds right, and nothing else."""
    key, data = both.key(material), b"signed by one, verified by another"
    for signer, verifier in ((both.cpu, both.engine), (both.engine, both.cpu)):
        signature = output(signer.run(Sign(key, data, algorithm, how, SHA)))
        output(verifier.run(Verify(key, signature, data, algorithm, how, SHA)))
        wrong = verifier.run(Verify(key, signature, data + b".", algorithm, how, SHA))
        assert wrong.status is Status.CHECKSUM_FAILED


@pytest.mark.parametrize("bits", [1024, 1536, 2048])
@pytest.mark.parametrize("how", [padding.PKCS1v15(), padding.PSS(padding.MGF1(SHA), 32)], ids=["v15", "pss"])
def test_rsa_signatures(hpre: Both, bits: int, how: Any) -> None:
    material = rsa.generate_private_key(65537, bits)
    sign_and_verify(hpre, material, "rsa", how)
    if isinstance(how, padding.PKCS1v15):  # nothing in it is random
        key = hpre.key(material)
        hpre.run(lambda: Sign(key, b"the same", "rsa", how, SHA))


def test_rsa_encryption(hpre: Both) -> None:
    key = hpre.key(rsa.generate_private_key(65537, 1024))
    for how in (padding.PKCS1v15(), padding.OAEP(padding.MGF1(SHA), SHA, b"a label")):
        for one, other in ((hpre.cpu, hpre.engine), (hpre.engine, hpre.cpu)):
            text = output(one.run(PublicEncrypt(key, b"a message", "rsa", how)))
            assert output(other.run(PrivateDecrypt(key, text, "rsa", how))) == b"a message"


@pytest.mark.parametrize("name", CURVES)
def test_curves(hpre: Both, name: str) -> None:
    ours, theirs = (ec.generate_private_key(CURVES[name]) for _ in range(2))
    sign_and_verify(hpre, ours, f"ecdsa-{name}", None)
    key, other = hpre.key(ours), hpre.key(theirs)
    secret = hpre.run(lambda: Exchange(key, theirs.public_key(), f"ecdh-{name}"))
    assert secret == hpre.run(lambda: Exchange(other, ours.public_key(), f"ecdh-{name}"))


@pytest.mark.parametrize("kind", [x25519.X25519PrivateKey, x448.X448PrivateKey], ids=["x25519", "x448"])
def test_ladders(hpre: Both, kind: Any) -> None:
    name = "x25519" if kind is x25519.X25519PrivateKey else "x448"
    for _ in range(3):
        ours, theirs = kind.generate(), kind.generate()
        key, other = hpre.key(ours), hpre.key(theirs)
        secret = hpre.run(lambda key=key, peer=theirs: Exchange(key, peer.public_key(), name))
        assert secret == hpre.run(lambda key=other, peer=ours: Exchange(key, peer.public_key(), name))


@pytest.mark.filterwarnings("ignore:Diffie-Hellman")
def test_dh(hpre: Both) -> None:
    group = dh.generate_parameters(2, 512)
    ours, theirs = group.generate_private_key(), group.generate_private_key()
    key, other = hpre.key(ours), hpre.key(theirs)
    secret = hpre.run(lambda: Exchange(key, theirs.public_key(), "dh"))
    assert secret == hpre.run(lambda: Exchange(other, ours.public_key(), "dh"))
