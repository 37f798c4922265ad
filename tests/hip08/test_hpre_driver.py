"""The HPRE user driver on the emulated engine: what it makes, `cryptography` takes, and the other way round."""

from __future__ import annotations

import itertools
import math
import random
import re
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dh, ec, padding, rsa, utils, x448, x25519

from wdasync.backend import Completion, PageFaults, Status
from wdasync.errors import UnsupportedOperation
from wdasync.operations import (
    Compress,
    Exchange,
    Generate,
    Key,
    KeySpec,
    Kind,
    Nop,
    PrivateDecrypt,
    PublicEncrypt,
    Sign,
    Verify,
)
from wdasync.paged import PagedBuffer
from wdasync_hip08.engines import hpre as hpre_engine
from wdasync_hip08.functions import HPRE
from wdasync_uacce import rsa_primes
from wdasync_uacce.curves import CURVES as KNOWN_CURVES
from wdasync_uacce.hpre_keys import HpreKey
from wdasync_uacce.signing_numbers import told_number
from wdasync_uacce.trials import try_device

from .drivers import Bench, bench

MESSAGE = b"attack at dawn"
PKCS1 = padding.PKCS1v15()


@pytest.fixture(params=[{}, {"memory": "reserved"}], ids=["shared", "reserved"])
def hpre(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with bench(HPRE, generation=3, **request.param) as opened:
        yield opened


@pytest.fixture(scope="module", params=[1024, 1032, 2048, 2056, 3072, 4096])
def rsa_key(request: pytest.FixtureRequest) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, request.param)


@pytest.fixture(scope="module")
def short_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(3, 1024)


def output(completion: Completion) -> bytes:
    assert completion.status is Status.SUCCESS, completion
    assert completion.output is not None
    assert completion.produced == len(completion.output)
    return completion.output


def pss(algorithm: hashes.HashAlgorithm, salt: Any = padding.PSS.DIGEST_LENGTH) -> padding.PSS:
    return padding.PSS(padding.MGF1(algorithm), salt)


def oaep(
    algorithm: hashes.HashAlgorithm, mask: hashes.HashAlgorithm | None = None, label: bytes | None = None
) -> padding.OAEP:
    return padding.OAEP(padding.MGF1(mask or algorithm), algorithm, label)


# -- RSA --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", [PKCS1, pss(hashes.SHA256())], ids=["PKCS1v15", "PSS"])
def test_rsa_signatures_of_all_sizes(hpre: Bench, rsa_key: rsa.RSAPrivateKey, scheme: Any) -> None:
    public, key = rsa_key.public_key(), hpre.key(rsa_key)
    signature = output(hpre.run(Sign(key, MESSAGE, "rsa", scheme, hashes.SHA256())))
    public.verify(signature, MESSAGE, scheme, hashes.SHA256())
    theirs = rsa_key.sign(MESSAGE, scheme, hashes.SHA256())
    for who in (key, hpre.key(public)):
        assert output(hpre.run(Verify(who, theirs, MESSAGE, "rsa", scheme, hashes.SHA256()))) == b""
        for wrong in (
            theirs[:-1] + bytes([theirs[-1] ^ 1]),
            theirs + b"\0",
            theirs[:-1],
            b"",
            b"\xff" * len(theirs),
        ):
            completion = hpre.run(Verify(who, wrong, MESSAGE, "rsa", scheme, hashes.SHA256()))
            assert completion.status is Status.CHECKSUM_FAILED
    completion = hpre.run(Verify(key, theirs, b"attack at dusk", "rsa", scheme, hashes.SHA256()))
    assert completion.status is Status.CHECKSUM_FAILED


def test_rsa_encryption_of_all_sizes(hpre: Bench, rsa_key: rsa.RSAPrivateKey) -> None:
    public, key = rsa_key.public_key(), hpre.key(rsa_key)
    for scheme in (PKCS1, oaep(hashes.SHA256()), oaep(hashes.SHA1(), hashes.SHA256(), b"a label")):
        for data in (MESSAGE, b"", b"\0" * 20):
            theirs = public.encrypt(data, scheme)
            assert output(hpre.run(PrivateDecrypt(key, theirs, "rsa", scheme))) == data
            ours = output(hpre.run(PublicEncrypt(hpre.key(public), data, "rsa", scheme)))
            assert rsa_key.decrypt(ours, scheme) == data


HASHES = [
    hashes.MD5(), hashes.SHA1(), hashes.SHA224(), hashes.SHA256(), hashes.SHA384(), hashes.SHA512(), hashes.SHA512_224(),
    hashes.SHA512_256(), hashes.SHA3_256(), hashes.SM3(),
]  # fmt: skip


@pytest.mark.parametrize("algorithm", HASHES, ids=lambda algorithm: algorithm.name)
@pytest.mark.parametrize("scheme", ["PKCS1v15", "PSS"])
def test_hashes_of_signatures(
    hpre: Bench, short_key: rsa.RSAPrivateKey, algorithm: hashes.HashAlgorithm, scheme: str
) -> None:
    chosen: Any = PKCS1 if scheme == "PKCS1v15" else pss(algorithm, 20)
    key = hpre.key(short_key)
    signature = output(hpre.run(Sign(key, [b"attack ", b"at dawn"], "rsa", chosen, algorithm)))
    short_key.public_key().verify(signature, MESSAGE, chosen, algorithm)
    assert output(hpre.run(Verify(key, signature, MESSAGE, "rsa", chosen, algorithm))) == b""
    theirs = short_key.sign(MESSAGE, chosen, algorithm)
    assert output(hpre.run(Verify(key, theirs, MESSAGE, "rsa", chosen, algorithm))) == b""


@pytest.mark.parametrize("salt", [0, 7, padding.PSS.MAX_LENGTH, padding.PSS.DIGEST_LENGTH])
def test_salts(hpre: Bench, short_key: rsa.RSAPrivateKey, salt: Any) -> None:
    scheme, key = pss(hashes.SHA256(), salt), hpre.key(short_key)
    signature = output(hpre.run(Sign(key, MESSAGE, "rsa", scheme, hashes.SHA256())))
    short_key.public_key().verify(signature, MESSAGE, scheme, hashes.SHA256())
    for whatever in (padding.PSS.AUTO, padding.PSS.MAX_LENGTH):  # the package, too, takes any with both
        how = pss(hashes.SHA256(), whatever)
        short_key.public_key().verify(signature, MESSAGE, how, hashes.SHA256())
        assert output(hpre.run(Verify(key, signature, MESSAGE, "rsa", how, hashes.SHA256()))) == b""
    other = pss(hashes.SHA256(), 9)
    assert (
        hpre.run(Verify(key, signature, MESSAGE, "rsa", other, hashes.SHA256())).status
        is Status.CHECKSUM_FAILED
    )


def test_messages_that_are_digests(hpre: Bench, short_key: rsa.RSAPrivateKey) -> None:
    work = hashes.Hash(hashes.SHA256())
    work.update(MESSAGE)
    digest, key = work.finalize(), hpre.key(short_key)
    signature = output(hpre.run(Sign(key, digest, "rsa", PKCS1, utils.Prehashed(hashes.SHA256()))))
    short_key.public_key().verify(signature, MESSAGE, PKCS1, hashes.SHA256())
    completion = hpre.run(Sign(key, digest[1:], "rsa", PKCS1, utils.Prehashed(hashes.SHA256())))
    assert completion.status is Status.INVALID_ARGS
    assert "expected a digest of 32 bytes, got 31" in completion.detail.message


def test_nothing_is_said_of_what_is_wrong_with_a_ciphertext(
    hpre: Bench, short_key: rsa.RSAPrivateKey
) -> None:
    key, n = hpre.key(short_key), short_key.public_key().public_numbers().n
    told = set()
    for scheme in (PKCS1, oaep(hashes.SHA256())):
        good = short_key.public_key().encrypt(MESSAGE, scheme)
        of_no_message = [bytes(128), b"\0" * 127 + b"\1", good[:-1] + bytes([good[-1] ^ 1])]
        for wrong in (
            n.to_bytes(128, "big"),
            b"",
            good[1:],
            good + b"\0",
            *(of_no_message if scheme is not PKCS1 else ()),
        ):
            completion = hpre.run(PrivateDecrypt(key, wrong, "rsa", scheme))
            assert (completion.status, completion.output, completion.detail.cause) == (
                Status.DATA_ERROR,
                None,
                None,
            )
            told.add(completion.detail.message)
    assert told == {""}


def test_a_message_of_pkcs1_that_is_none_is_no_error(hpre: Bench, short_key: rsa.RSAPrivateKey) -> None:
    """An error would tell who sends many what another message says; the answer is the same as OpenSSL's."""
    key, n = hpre.key(short_key), short_key.public_key().public_numbers().n
    chance = random.Random(7)
    for number in (0, 1, n - 1, *(chance.randrange(n) for _ in range(12))):
        wrong = number.to_bytes(128, "big")
        completion = hpre.run(PrivateDecrypt(key, wrong, "rsa", PKCS1))
        assert (completion.status, completion.output) == (Status.SUCCESS, short_key.decrypt(wrong, PKCS1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda key: Sign(key, MESSAGE, "rsa", oaep(hashes.SHA256()), hashes.SHA256()), "padding: expected PKCS1v15 or PSS"),
        (lambda key: Sign(key, MESSAGE, "rsa", None, hashes.SHA256()), "padding: expected PKCS1v15 or PSS"),
        (lambda key: Sign(key, MESSAGE, "rsa", PKCS1, "sha256"), "hash: expected a hash of the package cryptography, got str"),
        (lambda key: Verify(key, b"", MESSAGE, "rsa", PKCS1, None), "hash: expected a hash"),
        (lambda key: Sign(key, MESSAGE, "rsa", PKCS1, hashes.BLAKE2s(32)), "hash: expected one with an identifier"),
        (lambda key: Sign(key, MESSAGE, "rsa", pss(hashes.SHA256(), 95), hashes.SHA256()), "expected a modulus of at least 129 bytes"),
        (lambda key: Sign(key, MESSAGE, "rsa", pss(hashes.SHA256(), padding.PSS.AUTO), hashes.SHA256()), "salt_length"),
        (lambda key: PublicEncrypt(key, bytes(118), "rsa", PKCS1), "data: expected at most 117 bytes, got 118"),
        (lambda key: PublicEncrypt(key, bytes(63), "rsa", oaep(hashes.SHA256())), "data: expected at most 62 bytes, got 63"),
        (lambda key: PublicEncrypt(key, MESSAGE, "rsa", pss(hashes.SHA256())), "padding: expected PKCS1v15 or OAEP"),
        (lambda key: PrivateDecrypt(key, bytes(128), "rsa", None), "padding: expected PKCS1v15 or OAEP"),
        (lambda key: Sign(key, bytes(300_000), "rsa", PKCS1, hashes.SHA256()), "expected at most 262144 bytes"),
    ],
)  # fmt: skip
def test_arguments_that_do_not_fit(
    hpre: Bench, short_key: rsa.RSAPrivateKey, make: Any, message: str
) -> None:
    completion = hpre.run(make(hpre.key(short_key)))
    assert completion.status is Status.INVALID_ARGS
    assert message in completion.detail.message


def test_only_the_owner_signs(hpre: Bench, short_key: rsa.RSAPrivateKey) -> None:
    completion = hpre.run(Sign(hpre.key(short_key.public_key()), MESSAGE, "rsa", PKCS1, hashes.SHA256()))
    assert completion.status is Status.INVALID_ARGS
    assert "expected a private key, got a public one" in completion.detail.message


class Fault:
    """The engine's power modulo the second prime is wrong; what it gave is kept."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.given: list[int] = []
        right = hpre_engine.OPERATIONS[0x1]

        def wrong(dq: int, dp: int, q: int, p: int, qinv: int, base: int) -> tuple[int]:
            of_p, of_q = pow(base, dp, p), pow(base, dq, q) ^ 1
            self.given.append(of_q + q * (qinv * (of_p - of_q) % p))
            return (self.given[-1],)

        monkeypatch.setitem(hpre_engine.OPERATIONS, 0x1, right._replace(calculate=wrong))


@pytest.mark.parametrize("scheme", [PKCS1, pss(hashes.SHA256())], ids=["PKCS1v15", "PSS"])
def test_a_signature_with_a_fault_does_not_leave(
    hpre: Bench, short_key: rsa.RSAPrivateKey, monkeypatch: pytest.MonkeyPatch, scheme: Any
) -> None:
    """It would give the primes away: here is how."""
    fault, key = Fault(monkeypatch), hpre.key(short_key)
    completion = hpre.run(Sign(key, MESSAGE, "rsa", scheme, hashes.SHA256()))
    assert (completion.status, completion.output) == (Status.DEVICE_ERROR, None)
    assert "the public key refutes" in completion.detail.message
    (signature,) = fault.given
    numbers = short_key.private_numbers()
    n, e = numbers.public_numbers.n, numbers.public_numbers.e
    monkeypatch.undo()
    good = output(hpre.run(Sign(key, MESSAGE, "rsa", PKCS1, hashes.SHA256())))
    short_key.public_key().verify(good, MESSAGE, PKCS1, hashes.SHA256())
    if scheme is PKCS1:
        message = pow(int.from_bytes(good, "big"), e, n)
        assert math.gcd(pow(signature, e, n) - message, n) == numbers.p


@pytest.mark.parametrize("scheme", [PKCS1, oaep(hashes.SHA256())], ids=["PKCS1v15", "OAEP"])
def test_a_message_with_a_fault_does_not_leave(
    hpre: Bench, short_key: rsa.RSAPrivateKey, monkeypatch: pytest.MonkeyPatch, scheme: Any
) -> None:
    Fault(monkeypatch)
    text = short_key.public_key().encrypt(MESSAGE, scheme)
    completion = hpre.run(PrivateDecrypt(hpre.key(short_key), text, "rsa", scheme))
    assert (completion.status, completion.output) == (Status.DEVICE_ERROR, None)


def test_a_fault_of_the_check_itself(
    hpre: Bench, short_key: rsa.RSAPrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    power = hpre_engine.OPERATIONS[0x0]
    monkeypatch.setitem(hpre_engine.OPERATIONS, 0x0, power._replace(calculate=lambda *numbers: None))
    completion = hpre.run(Sign(hpre.key(short_key), MESSAGE, "rsa", PKCS1, hashes.SHA256()))
    assert (completion.status, completion.output) == (Status.DEVICE_ERROR, None)


def test_a_power_above_the_modulus(
    hpre: Bench, short_key: rsa.RSAPrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    crt, n = hpre_engine.OPERATIONS[0x1], short_key.public_key().public_numbers().n
    monkeypatch.setitem(hpre_engine.OPERATIONS, 0x1, crt._replace(calculate=lambda *numbers: (n,)))
    completion = hpre.run(Sign(hpre.key(short_key), MESSAGE, "rsa", PKCS1, hashes.SHA256()))
    assert (completion.status, completion.output) == (Status.DEVICE_ERROR, None)


def test_primes_of_different_length(hpre: Bench) -> None:
    """They do not fit the halves of the engine's block: then it works without them."""
    q = rsa.generate_private_key(65537, 1024).private_numbers()
    p, other, e = q.p * 0 + _prime(600), _prime(424), 65537
    d = pow(e, -1, (p - 1) * (other - 1))
    numbers = rsa.RSAPrivateNumbers(
        p, other, d, d % (p - 1), d % (other - 1), pow(other, -1, p), rsa.RSAPublicNumbers(e, p * other)
    )
    key = numbers.private_key()
    signature = output(hpre.run(Sign(hpre.key(key), MESSAGE, "rsa", PKCS1, hashes.SHA256())))
    key.public_key().verify(signature, MESSAGE, PKCS1, hashes.SHA256())


def _prime(bits: int) -> int:
    """The first that Fermat's test with a few bases does not know from a prime, and whose predecessor suits e."""
    for number in itertools.count((1 << bits) - (1 << bits - 3) + 1, 2):
        if all(pow(base, number - 1, number) == 1 for base in (2, 3, 5, 7)) and (number - 1) % 65537:
            return number
    raise AssertionError


# -- new RSA keys -------------------------------------------------------------------------------------------------------

DER = (serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


@pytest.mark.parametrize(
    ("bits", "exponent"), [(1024, 65537), (1025, 3), (1032, 65537), (1536, 17), (2048, 65537)]
)
def test_new_rsa_keys(hpre: Bench, bits: int, exponent: int) -> None:
    """`cryptography` tests the primes when it reads a key, and writes the same bytes."""
    made = [output(hpre.run(Generate("rsa", bits, exponent))) for _ in range(2 if bits < 2000 else 1)]
    assert len(set(made)) == len(made)
    for encoded in made:
        key = serialization.load_der_private_key(encoded, None)
        assert isinstance(key, rsa.RSAPrivateKey)
        numbers = key.private_numbers()
        assert (key.key_size, numbers.public_numbers.e) == (bits, exponent)
        assert numbers.d == pow(exponent, -1, math.lcm(numbers.p - 1, numbers.q - 1)) > 1 << bits // 2
        assert numbers.p > numbers.q
        assert numbers.p.bit_length() + numbers.q.bit_length() == bits
        assert key.private_bytes(*DER) == encoded
        key.public_key().verify(key.sign(MESSAGE, PKCS1, hashes.SHA256()), MESSAGE, PKCS1, hashes.SHA256())


@pytest.mark.parametrize(
    ("bits", "exponent", "message"),
    [
        (1023, 65537, "bits: expected 1024 to 4096, got 1023"), (4097, 65537, "got 4097"), (0, 3, "got 0"),
        (1024, 4, "exponent: expected an odd number below 2\\*\\*256, got 4"), (1024, 1 << 256 | 1, "exponent"),
    ],
)  # fmt: skip
def test_rsa_keys_that_cannot_be(hpre: Bench, bits: int, exponent: int, message: str) -> None:
    completion = hpre.run(Generate("rsa", bits, exponent))
    assert completion.status is Status.INVALID_ARGS
    assert re.search(message, completion.detail.message)


@pytest.mark.parametrize("place", range(5))
def test_a_device_that_makes_an_rsa_key_wrong(
    hpre: Bench, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    right = hpre_engine.OPERATIONS[0x3]

    def wrong(*given: int) -> list[int]:
        numbers = list(right.calculate(*given))
        numbers[place] ^= 2
        return numbers

    monkeypatch.setitem(hpre_engine.OPERATIONS, 0x3, right._replace(calculate=wrong))
    completion = hpre.run(Generate("rsa", 1024))
    assert (completion.status, completion.output) == (Status.DEVICE_ERROR, None)
    assert "of other numbers than it was given" in completion.detail.message


def test_a_device_that_calls_everything_a_prime(hpre: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fermat's little theorem holds for primes only: a key of others is found out."""
    power = hpre_engine.OPERATIONS[0x0]
    half = 1 << 513

    def wrong(exponent: int, modulus: int, base: int) -> tuple[int]:
        return (1 if modulus < half else pow(base, exponent, modulus),)

    monkeypatch.setitem(hpre_engine.OPERATIONS, 0x0, power._replace(calculate=wrong))
    completion = hpre.run(Generate("rsa", 1024))
    assert (completion.status, completion.output) == (Status.DEVICE_ERROR, None)
    assert "does not decrypt what it encrypts" in completion.detail.message


def test_what_looks_like_a_prime_and_is_none() -> None:
    """Carmichael's numbers, and a number that passes for some bases: more rounds find them out. Primes pass all of them."""

    def verdict(number: int) -> int:
        steps = rsa_primes._looks_prime(number, 128)
        asked = next(steps)
        while True:
            power = pow(asked.given["base"], asked.key["exponent"], asked.key["modulus"])
            try:
                asked = steps.send([power])
            except StopIteration as done:
                return int(done.value)

    chance = random.Random(3)
    composites = [
        561,
        1105,
        3215031751,
        3825123056546413051,
        *(chance.getrandbits(64) | 1 for _ in range(50)),
    ]
    for number in composites:
        is_prime = all(number % d for d in range(3, 2000, 2)) and pow(2, number - 1, number) == 1
        if number in composites[:4] or not is_prime:
            assert verdict(number) == 0
    for number in (7, 65537, 2**61 - 1, 2**127 - 1, 2**521 - 1, 2**255 - 19):
        assert verdict(number) == 1


def test_a_new_rsa_key_keeps_back_nobody_and_ends_with_its_queue(hpre: Bench) -> None:
    queue = hpre.submit(Generate("rsa", 1024), 7)
    for _ in range(3):
        hpre.machine.run()
        assert not queue.dequeue_burst(4)
    other = hpre.key(rsa.generate_private_key(65537, 1024))
    assert output(hpre.run(Sign(other, MESSAGE, "rsa", PKCS1, hashes.SHA256())))
    queue.stop()
    assert [(done.tag, done.status) for done in queue.dequeue_burst(4)] == [(7, Status.ABORTED)]
    queue.close()
    hpre.queues.clear()


# -- curves and groups ------------------------------------------------------------------------------------------------

CURVES = {"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1(), "secp256k1": ec.SECP256K1()}
each_curve = pytest.mark.parametrize("name", CURVES)


@each_curve
@pytest.mark.parametrize(
    "algorithm", [hashes.SHA1(), hashes.SHA256(), hashes.SHA512()], ids=lambda algorithm: algorithm.name
)
def test_ecdsa(hpre: Bench, name: str, algorithm: hashes.HashAlgorithm) -> None:
    private = ec.generate_private_key(CURVES[name])
    public, key, kind = private.public_key(), hpre.key(private), f"ecdsa-{name}"
    signature = output(hpre.run(Sign(key, MESSAGE, kind, None, algorithm)))
    public.verify(signature, MESSAGE, ec.ECDSA(algorithm))
    theirs = private.sign(MESSAGE, ec.ECDSA(algorithm))
    for who in (key, hpre.key(public)):
        assert output(hpre.run(Verify(who, theirs, MESSAGE, kind, None, algorithm))) == b""
    for wrong, message in (
        (theirs, b"attack at dusk"), (theirs[:-1], MESSAGE), (b"", MESSAGE), (utils.encode_dss_signature(0, 1), MESSAGE),
        (utils.encode_dss_signature(1, 1), MESSAGE), (utils.encode_dss_signature(1, 1 << 600), MESSAGE),
    ):  # fmt: skip
        completion = hpre.run(Verify(key, wrong, message, kind, None, algorithm))
        assert completion.status is Status.CHECKSUM_FAILED
    with pytest.raises(InvalidSignature):
        public.verify(signature, b"attack at dusk", ec.ECDSA(algorithm))


@each_curve
@pytest.mark.parametrize(
    "algorithm",
    [hashes.SHA1(), hashes.SHA256(), hashes.SHA384(), hashes.SHA512()],
    ids=lambda algorithm: algorithm.name,
)
def test_signatures_that_are_told_by_key_and_message(
    hpre: Bench, name: str, algorithm: hashes.HashAlgorithm
) -> None:
    private = ec.generate_private_key(CURVES[name])
    how = ec.ECDSA(algorithm, deterministic_signing=True)
    key, kind = hpre.key(private), f"ecdsa-{name}"
    for message in (MESSAGE, b"", bytes(1000)):
        expected = private.sign(message, how)
        assert output(hpre.run(Sign(key, message, kind, how, algorithm))) == expected
        digest = hashes.Hash(algorithm)
        digest.update(message)
        ready = utils.Prehashed(algorithm)
        done = hpre.run(
            Sign(key, digest.finalize(), kind, ec.ECDSA(ready, deterministic_signing=True), ready)
        )
        assert output(done) == expected


@pytest.mark.parametrize(
    ("curve", "secret", "algorithm", "number"),
    [
        (
            "p256",
            "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721",
            hashes.SHA256(),
            "a6e3c57dd01abe90086538398355dd4c3b17aa873382b0f24d6129493d8aad60",
        ),
        (
            "p256",
            "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721",
            hashes.SHA1(),
            "882905f1227fd620fbf2abf21244f0ba83d0dc3a9103dbbee43a1fb858109db4",
        ),
        (
            "p521",
            "00fad06daa62ba3b25d2fb40133da757205de67f5bb0018fee8c86e1b68c7e75caa896eb32f1f47c70855836a6d16fcc1466f6d8fbec67db89ec0c08b0e996b83538",
            hashes.SHA512(),
            "01dae2ea071f8110dc26882d4d5eae0621a3256fc8847fb9022e2b7d28e6f10198b1574fdd03a9053c08a1854a168aa5a57470ec97dd5ce090124ef52a2f7ecbffd3",
        ),
    ],
)
def test_the_number_of_the_rfc(curve: str, secret: str, algorithm: hashes.HashAlgorithm, number: str) -> None:
    """RFC 6979, appendices A.2.5 and A.2.7: k of the message "sample"."""
    digest = hashes.Hash(algorithm)
    digest.update(b"sample")
    order = KNOWN_CURVES[curve].n
    assert told_number(order, int(secret, 16), digest.finalize(), algorithm) == int(number, 16)


def test_a_hash_that_tells_no_number(hpre: Bench) -> None:
    private = ec.generate_private_key(CURVES["p256"])
    algorithm = hashes.SHAKE128(32)
    how = ec.ECDSA(algorithm, deterministic_signing=True)
    completion = hpre.run(Sign(hpre.key(private), MESSAGE, "ecdsa-p256", how, algorithm))
    assert completion.status is Status.INVALID_ARGS
    assert "expected one that HMAC takes" in completion.detail.message


@each_curve
def test_ecdh(hpre: Bench, name: str) -> None:
    ours, theirs = (ec.generate_private_key(CURVES[name]) for _ in range(2))
    completion = hpre.run(Exchange(hpre.key(ours), theirs.public_key(), f"ecdh-{name}"))
    assert output(completion) == ours.exchange(ec.ECDH(), theirs.public_key())


@each_curve
def test_new_keys(hpre: Bench, name: str) -> None:
    made = [output(hpre.run(Generate(f"ec-{name}"))) for _ in range(2)]
    assert made[0] != made[1]
    for encoded in made:
        key = serialization.load_der_private_key(encoded, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        assert key.curve.name == CURVES[name].name
        key.public_key().verify(
            key.sign(MESSAGE, ec.ECDSA(hashes.SHA256())), MESSAGE, ec.ECDSA(hashes.SHA256())
        )
        whole = (serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        assert key.private_bytes(*whole) == encoded


def test_a_new_key_whose_point_is_none(hpre: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    point = hpre_engine.OPERATIONS[0xD]
    monkeypatch.setitem(hpre_engine.OPERATIONS, 0xD, point._replace(calculate=lambda *numbers: (1, 1)))
    completion = hpre.run(Generate("ec-p256"))
    assert completion.status is Status.DEVICE_ERROR
    assert "not on the curve" in completion.detail.message


@pytest.mark.parametrize(
    ("name", "kind"), [("x25519", x25519.X25519PrivateKey), ("x448", x448.X448PrivateKey)]
)
def test_ladders(hpre: Bench, name: str, kind: Any) -> None:
    ours, theirs = kind.generate(), kind.generate()
    assert output(hpre.run(Exchange(hpre.key(ours), theirs.public_key(), name))) == ours.exchange(
        theirs.public_key()
    )
    public = x25519.X25519PublicKey if name == "x25519" else x448.X448PublicKey
    nothing = public.from_public_bytes(bytes(32 if name == "x25519" else 56))
    completion = hpre.run(Exchange(hpre.key(ours), nothing, name))
    assert completion.status is Status.DATA_ERROR


@pytest.mark.filterwarnings("ignore:Diffie-Hellman")
def test_dh(hpre: Bench) -> None:
    parameters = dh.generate_parameters(2, 512)
    ours, theirs = parameters.generate_private_key(), parameters.generate_private_key()
    key = hpre.key(ours)
    assert output(hpre.run(Exchange(key, theirs.public_key(), "dh"))) == ours.exchange(
        theirs.public_key()
    ).rjust(64, b"\0")
    stranger = dh.generate_parameters(2, 512).generate_private_key().public_key()
    completion = hpre.run(Exchange(key, stranger, "dh"))
    assert completion.status is Status.INVALID_ARGS
    assert "same group" in completion.detail.message


@pytest.mark.parametrize(
    ("algorithm", "mine", "peer"),
    [
        (
            "ecdh-p256",
            ec.generate_private_key(ec.SECP256R1()),
            ec.generate_private_key(ec.SECP384R1()).public_key(),
        ),
        ("ecdh-p256", ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())),
        ("ecdh-p256", ec.generate_private_key(ec.SECP256R1()), None),
        (
            "ecdh-p256",
            ec.generate_private_key(ec.SECP256R1()),
            rsa.generate_private_key(3, 1024).public_key(),
        ),
        ("x25519", x25519.X25519PrivateKey.generate(), x448.X448PrivateKey.generate().public_key()),
        ("x25519", x25519.X25519PrivateKey.generate(), b"\0" * 32),
    ],
)
def test_peers_of_another_group(hpre: Bench, algorithm: str, mine: Any, peer: Any) -> None:
    completion = hpre.run(Exchange(hpre.key(mine), peer, algorithm))
    assert completion.status is Status.INVALID_ARGS
    assert completion.detail.message.startswith("peer: expected")


# -- keys and queues --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("algorithm", "material", "message"),
    [
        ("rsa", b"secret", "expected a key for rsa"),
        ("rsa", ec.generate_private_key(ec.SECP256R1()), "expected a modulus|expected a key for rsa"),
        (
            "ecdsa-p256",
            ec.generate_private_key(ec.SECP384R1()),
            "a key on secp256r1, as .*, got one on secp384r1",
        ),
        ("ecdsa-p256", rsa.generate_private_key(3, 1024), "expected a key for ecdsa-p256"),
        ("x25519", x448.X448PrivateKey.generate(), "a key of 32 bytes"),
        ("x25519", x25519.X25519PrivateKey.generate().public_key(), "expected a key for x25519"),
        ("sm2", b"", "there is no sm2 here"),
        ("nop", b"", "there is no nop here"),
    ],
)
def test_keys_that_the_engine_cannot_have(hpre: Bench, algorithm: str, material: Any, message: str) -> None:
    with pytest.raises(UnsupportedOperation, match=message):
        hpre.device.open_key(KeySpec(algorithm, material))  # type: ignore[attr-defined]


@pytest.mark.filterwarnings("ignore:Diffie-Hellman")
def test_a_private_number_above_its_modulus(hpre: Bench) -> None:
    parameters = dh.generate_parameters(2, 512).parameter_numbers()
    x = 1 << 600
    public = dh.DHPublicNumbers(pow(2, x, parameters.p), parameters)
    material = dh.DHPrivateNumbers(x, public).private_key()
    with pytest.raises(UnsupportedOperation, match="expected a private number below the modulus"):
        hpre.device.open_key(KeySpec("dh", material))  # type: ignore[attr-defined]


def test_a_message_whose_pages_are_to_come(hpre: Bench, short_key: rsa.RSAPrivateKey) -> None:
    """Nothing is signed in its place."""

    async def pager(offset: int, nbytes: int) -> bytes:
        raise AssertionError("nobody asks")

    completion = hpre.run(Sign(hpre.key(short_key), PagedBuffer(5000, pager), "rsa", PKCS1, hashes.SHA256()))
    assert completion.status is Status.INVALID_ARGS
    assert "pages to be fetched" in completion.detail.message


def test_a_modulus_that_is_too_long(hpre: Bench) -> None:
    material = rsa.RSAPublicNumbers(65537, (1 << 4097) + 1).public_key()
    with pytest.raises(UnsupportedOperation, match=r"1024 to 4096 bits, as .*, got 4098"):
        hpre.device.open_key(KeySpec("rsa", material))  # type: ignore[attr-defined]


def test_a_closed_key_is_wiped(short_key: rsa.RSAPrivateKey) -> None:
    key = HpreKey(KeySpec("rsa", short_key))
    assert key.private is not None
    assert key.public is not None
    blocks = key.private[1], key.public[1], key.rejecting
    assert all(map(any, blocks))
    assert str(short_key.private_numbers().p) not in repr(key)
    key.close()
    key.close()
    assert not any(map(any, blocks))


def test_what_was_secret_is_wiped_in_the_memory_of_the_device(
    hpre: Bench, short_key: rsa.RSAPrivateKey
) -> None:
    wiped: list[memoryview] = []
    queue = hpre.queue(Sign(Key(b"", ""), b"", "rsa", PKCS1, hashes.SHA256()))
    inner = queue._shop.memory

    def memory(content: bytes) -> memoryview:
        wiped.append(inner(content))
        return wiped[-1]

    queue._shop.memory = memory
    output(hpre.run(Sign(hpre.key(short_key), MESSAGE, "rsa", PKCS1, hashes.SHA256())))
    assert len(wiped) >= 2
    assert not any(map(any, wiped))


def test_operations_for_another_queue(hpre: Bench, short_key: rsa.RSAPrivateKey) -> None:
    queue = hpre.device.open_queue(4, queue_class="curves")
    hpre.queues["curves"] = queue
    operations = [Sign(hpre.key(short_key), b"", "rsa", PKCS1, hashes.SHA256()), Compress(b"", "gzip"), Nop()]
    assert queue.enqueue_burst(list(enumerate(operations))) == 3
    hpre.machine.run()
    found = queue.dequeue_burst(4)
    assert [completion.status for completion in found] == [
        Status.INVALID_ARGS,
        Status.INVALID_ARGS,
        Status.SUCCESS,
    ]
    assert "Sign rsa is nothing for a queue of curves" in found[0].detail.message


def test_an_operation_whose_key_the_device_does_not_know(hpre: Bench, short_key: rsa.RSAPrivateKey) -> None:
    operation = Sign(hpre.key(short_key), b"", "rsa", PKCS1, hashes.SHA256())
    operation.session = HpreKey(KeySpec("ecdh-p256", ec.generate_private_key(ec.SECP256R1())))
    completion = hpre.run(operation)
    assert completion.status is Status.INVALID_ARGS
    assert "expected a key for rsa" in completion.detail.message


def test_rows() -> None:
    with bench(HPRE) as opened:
        rows = {(row.kind, row.algorithm): row for row in opened.device.capabilities}
        assert set(rows) == {
            (Kind.NOP, "nop"), (Kind.SIGN, "rsa"), (Kind.VERIFY, "rsa"), (Kind.PUBLIC_ENCRYPT, "rsa"),
            (Kind.PRIVATE_DECRYPT, "rsa"), (Kind.EXCHANGE, "dh"), (Kind.GENERATE, "rsa"),
        }  # fmt: skip
        assert rows[Kind.SIGN, "rsa"].bits == (1024, 4096)
        assert opened.device.page_faults is PageFaults.HANDLER


def test_a_device_that_is_gone(hpre: Bench, short_key: rsa.RSAPrivateKey) -> None:
    queue = hpre.submit(Sign(hpre.key(short_key), MESSAGE, "rsa", PKCS1, hashes.SHA256()))
    hpre.machine.remove(HPRE.name)
    (completion,) = queue.dequeue_burst(4)
    assert completion.status is Status.DEVICE_ERROR
    assert hpre.device.lost


def test_a_queue_that_is_stopped(hpre: Bench, short_key: rsa.RSAPrivateKey) -> None:
    with_key = Sign(hpre.key(short_key), MESSAGE, "rsa", PKCS1, hashes.SHA256())
    queue = hpre.submit(with_key)
    queue.stop()
    (completion,) = queue.dequeue_burst(4)
    assert completion.status is Status.ABORTED


def test_every_trial_of_the_doctor_passes(hpre: Bench) -> None:
    checks = {check.name: check for check in try_device(hpre.device)}
    assert [check for check in checks.values() if not check.passed] == []
    assert {
        "hisi_hpre-0 sign rsa",
        "hisi_hpre-0 private decrypt rsa",
        "hisi_hpre-0 verify ecdsa-p521",
        "hisi_hpre-0 exchange x448",
    } <= set(checks)
    assert {"hisi_hpre-0 generate rsa", "hisi_hpre-0 generate ec-p521"} <= set(checks)
    assert len(checks) == 5 + 8 + 4 + 2 + 4


def test_a_trial_that_fails(hpre: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for code in (0x1, 0x10):
        wrong = hpre_engine.OPERATIONS[code]._replace(calculate=lambda *numbers: (5,))
        monkeypatch.setitem(hpre_engine.OPERATIONS, code, wrong)
    checks = {check.name: check for check in try_device(hpre.device)}
    assert "the public key refutes" in checks["hisi_hpre-0 sign rsa"].found
    assert checks["hisi_hpre-0 exchange x25519"].found == "the answer is wrong"
    assert "WDASYNC_BACKEND=cpu" in checks["hisi_hpre-0 exchange x25519"].advice
    assert checks["hisi_hpre-0 verify rsa"].passed
