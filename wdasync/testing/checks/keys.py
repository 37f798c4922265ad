"""Ciphers and public keys: what the device makes, the package `cryptography` reads, and the other way round."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

from ...backend import Capability, Completion, Keyed
from ...errors import Status, UnsupportedOperation
from ...operations import (
    CIPHERS,
    SEALS,
    Decrypt,
    Encrypt,
    Exchange,
    Generate,
    Key,
    Kind,
    Open,
    Operation,
    PrivateDecrypt,
    PublicEncrypt,
    Seal,
    Sign,
    Verify,
)
from .._bench import Bench, NotApplicable, require
from .._checks import check
from .._reference import text
from .digests import fitting, rows
from .units import success

_CIPHERS: Final = "cryptography.hazmat.primitives.ciphers"
_ASYMMETRIC: Final = "cryptography.hazmat.primitives.asymmetric"


def module(name: str) -> Any:
    """A module of `cryptography`.

    :raises NotApplicable: if it is not installed
    """
    if find_spec("cryptography") is None:
        raise NotApplicable("the package cryptography is not installed")
    return import_module(name)


def only(bench: Bench, row: Capability, operation: Operation) -> Completion:
    """The completion of one operation."""
    queue = bench.queue(row)
    (done,) = bench.run(queue, [operation])
    queue.finish()
    return done


def secret(size: int) -> Key:
    """A key of so many bytes."""
    return Key(bytes(range(1, size + 1)), "the suite's key")


def sizes_of(row: Capability, unit: int, least: int) -> list[bytes]:
    """Inputs that the cipher takes."""
    return [data for data in fitting(row) if len(data) >= least and len(data) % unit == 0]


def theirs(algorithm: str, key: bytes, iv: bytes) -> Any:
    """The cipher, by `cryptography`; ``None``: it has none."""
    name, _, mode = algorithm.rpartition("-")
    if name.startswith("3des") or mode not in ("ecb", "cbc", "ctr", "xts") or algorithm == "sm4-xts":
        return None  # These have moved from module to module of the package, or it has none.
    block = getattr(module(f"{_CIPHERS}.algorithms"), name.partition("-")[0].upper())(key)
    modes = module(f"{_CIPHERS}.modes")
    return module(_CIPHERS).Cipher(block, modes.ECB() if mode == "ecb" else getattr(modes, mode.upper())(iv))


@check(
    "Encrypt without authentication.",
    "the initialisation vector, counter block or tweak (one block); empty in ECB mode",
    "whole blocks, where the mode works on blocks: nothing is padded",
)
def ciphers_are_right(bench: Bench) -> None:
    """What the device encrypts is what `cryptography` makes, and it decrypts it; impossible sizes are refused."""
    require(bool(rows(bench, Kind.ENCRYPT, Kind.DECRYPT)) and isinstance(bench.device, Keyed), "no open_key")
    for row in rows(bench, Kind.ENCRYPT, Kind.DECRYPT):
        suite = CIPHERS.get(row.algorithm)
        if suite is None:
            continue
        key, iv = secret(suite.key[0]), bytes(range(suite.iv[0]))
        other = theirs(row.algorithm, bytes(key.material), iv)
        make = Encrypt if row.kind is Kind.ENCRYPT else Decrypt
        queue = bench.queue(row)
        for data in sizes_of(row, suite.unit, suite.least):
            operation = bench.told(make(key, [data[:7], data[7:]], row.algorithm, iv=iv))
            output = success(operation, bench.run(queue, [operation])[0])
            require(len(output) == len(data), f"{operation!r}: {len(output)} bytes of output")
            if other is not None:
                context = other.encryptor() if make is Encrypt else other.decryptor()
                require(output == context.update(data) + context.finalize(), f"{operation!r}: another output")
        wrong = bench.told(make(key, bytes(64), row.algorithm, iv=iv + b"x"))
        done = bench.run(queue, [wrong])[0]
        require(done.status is Status.INVALID_ARGS, f"{wrong!r} with too long an iv: {done.status.name}")
        queue.finish()


@check(
    "Encrypt and authenticate; the output is the ciphertext and then the tag",
    "Check and decrypt what :class:`Seal` made. CHECKSUM_FAILED, and no output, if it was not made so.",
)
def seals_are_right(bench: Bench) -> None:
    """What is sealed opens again, and not if a bit of it, of its nonce or its associated data was changed."""
    for row in rows(bench, Kind.SEAL):
        suite, opening = SEALS.get(row.algorithm), bench.device.capabilities.find(Kind.OPEN, row.algorithm)
        if suite is None or opening is None:
            continue
        key, nonce = secret(suite.key[0]), bytes(max(12, suite.iv[0]) if suite.iv[1] >= 12 else suite.iv[1])
        nonce = nonce[: suite.iv[1]]
        for data in sizes_of(row, suite.unit, suite.least):
            operation = bench.told(Seal(key, nonce, [data[:3], data[3:]], row.algorithm, aad=b"header"))
            sealed = success(operation, only(bench, row, operation))
            require(len(sealed) == len(data) + 16, f"{operation!r}: {len(sealed)} bytes of output")
            require(not data or data != sealed[: len(data)], f"{operation!r}: the output is the input")
            _opens(bench, opening, key, nonce, sealed, data)
            if row.algorithm.startswith("aes") and row.algorithm.endswith("-gcm"):
                gcm = module(f"{_CIPHERS}.aead").AESGCM(bytes(key.material))
                require(sealed == gcm.encrypt(nonce, data, b"header"), f"{operation!r}: another output")


def _opens(bench: Bench, row: Capability, key: Key, nonce: bytes, sealed: bytes, data: bytes) -> None:
    operation = bench.told(Open(key, nonce, sealed, row.algorithm, aad=b"header"))
    require(success(operation, only(bench, row, operation)) == data, f"{operation!r}: the text has changed")
    flipped = bytes([sealed[0] ^ 1]) + sealed[1:]
    for given, used, aad in (
        (flipped, nonce, b"header"),
        (sealed[:-1] + bytes([sealed[-1] ^ 0x80]), nonce, b"header"),
        (sealed, bytes([nonce[0] ^ 1]) + nonce[1:], b"header"),
        (sealed, nonce, b"headeR"),
        (sealed[:7], nonce, b"header"),
    ):
        operation = bench.told(Open(key, used, given, row.algorithm, aad=aad))
        done = only(bench, row, operation)
        require(
            done.status is Status.CHECKSUM_FAILED and done.output is None,
            f"{operation!r} of something that was changed: {done.status.name}",
        )
        require(
            not done.detail.message, f"{operation!r}: the message tells an attacker {done.detail.message!r}"
        )


# -- public keys --------------------------------------------------------------------------------------------------------

_CURVES: Final = {"p256": "SECP256R1", "p384": "SECP384R1", "p521": "SECP521R1", "secp256k1": "SECP256K1"}


def pair(algorithm: str) -> Any:
    """A private and a public key, a tuple, by `cryptography`; ``None``: it makes none."""
    if algorithm == "rsa":
        private = module(f"{_ASYMMETRIC}.rsa").generate_private_key(65537, 1024)
    elif (curve := algorithm.partition("-")[2]) in _CURVES:
        ec = module(f"{_ASYMMETRIC}.ec")
        private = ec.generate_private_key(getattr(ec, _CURVES[curve])())
    elif algorithm in ("x25519", "x448", "ed25519", "ed448"):
        kinds = module(f"{_ASYMMETRIC}.{algorithm}")
        private = getattr(kinds, f"{algorithm.capitalize()}PrivateKey").generate()
    else:
        return None
    return private, private.public_key()


def hows(algorithm: str) -> Sequence[tuple[Any, Any]]:
    """Paddings and hashes to try."""
    hashes = module("cryptography.hazmat.primitives.hashes")
    if algorithm == "rsa":
        padding = module(f"{_ASYMMETRIC}.padding")
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
        return ((padding.PKCS1v15(), hashes.SHA256()), (pss, hashes.SHA256()))
    return ((None, hashes.SHA256()),) if algorithm.startswith("ecdsa-") else ((None, None),)


def their_way(algorithm: str, how: Any, kind: Any) -> tuple[Any, ...]:
    """Padding and hash as the keys of `cryptography` take them."""
    if algorithm.startswith("ecdsa-"):
        return (module(f"{_ASYMMETRIC}.ec").ECDSA(kind),)
    return (how, kind) if algorithm == "rsa" else ()


def told(bench: Bench, operation: Any) -> Any:
    """The same, its device told of its key; ``None``: the device takes no such key."""
    try:
        return bench.told(operation)
    except UnsupportedOperation:
        return None


@check(
    "Sign ``data``.",
    "Check a signature. No output; CHECKSUM_FAILED if it is not one of this key for this data.",
)
def signatures_are_right(bench: Bench) -> None:
    """`cryptography` accepts what the device signs; the device accepts what that signs, and nothing that was changed."""
    data = text(1000)
    for row in rows(bench, Kind.SIGN, Kind.VERIFY):
        if (made := pair(row.algorithm)) is None:
            continue
        private, public = made
        for how, kind in hows(row.algorithm):
            way = their_way(row.algorithm, how, kind)
            if row.kind is Kind.SIGN:
                operation = told(bench, Sign(Key(private, "the suite's key"), data, row.algorithm, how, kind))
                if operation is not None:
                    _accepted(public, success(operation, only(bench, row, operation)), data, way, operation)
                continue
            signature = private.sign(data, *way)
            changed = signature[:-1] + bytes([signature[-1] ^ 1])
            for given, content, good in (
                (signature, data, True),
                (changed, data, False),
                (signature, data[1:], False),
            ):
                key = Key(public, "the suite's key")
                operation = told(bench, Verify(key, given, content, row.algorithm, how, kind))
                if operation is not None:
                    status = only(bench, row, operation).status
                    expected = Status.SUCCESS if good else Status.CHECKSUM_FAILED
                    require(status is expected, f"{operation!r}: expected {expected.name}, got {status.name}")


def _accepted(public: Any, signature: bytes, data: bytes, way: tuple[Any, ...], operation: object) -> None:
    try:
        public.verify(signature, data, *way)
    except module("cryptography.exceptions").InvalidSignature:
        require(False, f"{operation!r}: cryptography does not accept the signature")


@check(
    "Encrypt for the owner of the private key.",
    "Decrypt with a private key. DATA_ERROR, without a reason, if it is nothing that the public key made.",
)
def public_encryption_is_right(bench: Bench) -> None:
    """What one side encrypts, the other decrypts; what was changed is refused without a reason."""
    for row in rows(bench, Kind.PUBLIC_ENCRYPT, Kind.PRIVATE_DECRYPT):
        if (made := pair(row.algorithm)) is None:
            continue
        private, public = made
        hashes, padding = module("cryptography.hazmat.primitives.hashes"), module(f"{_ASYMMETRIC}.padding")
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
        for how in (padding.PKCS1v15(), oaep):
            if row.kind is Kind.PUBLIC_ENCRYPT:
                operation = told(
                    bench, PublicEncrypt(Key(public, "the suite's key"), b"text", row.algorithm, how)
                )
                if operation is not None:
                    hidden = success(operation, only(bench, row, operation))
                    require(private.decrypt(hidden, how) == b"text", f"{operation!r}: the text has changed")
                continue
            key, hidden = Key(private, "the suite's key"), public.encrypt(b"text", how)
            operation = told(bench, PrivateDecrypt(key, hidden, row.algorithm, how))
            if operation is not None:
                output = success(operation, only(bench, row, operation))
                require(output == b"text", f"{operation!r}: the text has changed")
                _refused(bench, row, key, oaep)


def _refused(bench: Bench, row: Capability, key: Key, how: Any) -> None:
    for hidden in (bytes(128), b"\xff" * 128, b"short"):
        operation = bench.told(PrivateDecrypt(key, hidden, row.algorithm, how))
        done = only(bench, row, operation)
        require(done.status is Status.DATA_ERROR, f"{operation!r} of nothing: {done.status.name}")
        require(
            not done.detail.message, f"{operation!r}: the message tells an attacker {done.detail.message!r}"
        )


@check("A shared secret with a peer", "The output is the secret, as long as the field or modulus.")
def exchanges_are_right(bench: Bench) -> None:
    """Both sides get the same secret."""
    for row in rows(bench, Kind.EXCHANGE):
        one, other = pair(row.algorithm), pair(row.algorithm)
        if one is None or other is None:
            continue
        operation = told(bench, Exchange(Key(one[0], "the suite's key"), other[1], row.algorithm))
        if operation is None:
            continue
        output = success(operation, only(bench, row, operation))
        curve = row.algorithm.startswith("ecdh-")
        way = (module(f"{_ASYMMETRIC}.ec").ECDH(), one[1]) if curve else (one[1],)
        require(output == other[0].exchange(*way), f"{operation!r}: the other side has another secret")


@check("Make a private key. The output is its PKCS #8 (RFC 5208) in DER.")
def generated_keys_are_keys(bench: Bench) -> None:
    """What is made can be read, is of the size that was asked for, and is not made twice."""
    load = module("cryptography.hazmat.primitives.serialization").load_der_private_key
    for row in rows(bench, Kind.GENERATE):
        work = [Generate(row.algorithm, 1024 if row.algorithm == "rsa" else 0) for _ in range(2)]
        outputs = [success(operation, only(bench, row, operation)) for operation in work]
        require(outputs[0] != outputs[1], f"{work[0]!r}: the same key twice")
        try:
            key = load(outputs[0], None)
        except ValueError as error:
            require(False, f"{work[0]!r}: cryptography cannot read the key: {error}")
        else:
            size = getattr(key, "key_size", 1024)
            require(row.algorithm != "rsa" or size == 1024, f"{work[0]!r}: the key has {size} bits")


@check("Any number of operations of it may be in flight, on all queues of the device.", "Wipe the key.")
def keys_are_shared(bench: Bench) -> None:
    """Many operations of one key are in flight in two queues at once."""
    found = [row for row in rows(bench, *_WITH_SECRET) if row.algorithm in SEALS or row.algorithm in CIPHERS]
    if not found:
        raise NotApplicable("the device has no ciphers")
    for kind in _WITH_SECRET:
        row = next((row for row in found if row.kind is kind), None)
        if row is not None:
            _is_shared(bench, row)


def _is_shared(bench: Bench, row: Capability) -> None:
    suite = SEALS.get(row.algorithm) or CIPHERS[row.algorithm]
    key, iv = secret(suite.key[0]), bytes(max(suite.iv[0], min(12, suite.iv[1])))
    queues = [bench.queue(row), bench.queue(row)]

    def made() -> Operation:
        if row.kind is Kind.SEAL:
            return bench.told(Seal(key, iv, bytes(4096), row.algorithm))
        return bench.told(Encrypt(key, bytes(4096), row.algorithm, iv=iv))

    for queue in queues:
        queue.fill([(tag, made()) for tag in range(min(8, queue.depth))])
    outputs = {done.output for queue in queues for done in queue.drain()}
    require(len(outputs) == 1 and None not in outputs, f"one input under one key has {len(outputs)} outputs")


_WITH_SECRET: Final = (Kind.SEAL, Kind.ENCRYPT)
