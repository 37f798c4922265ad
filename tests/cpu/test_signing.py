"""Signatures that need no Python, beside those of `cryptography`; what is out of the ordinary goes to that, and what that does faster."""

from __future__ import annotations

import hashlib
import signal
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from tests.cpu.support import PATIENCE, drain, good, open_device, run
from tests.cpu.test_gone import gone
from wdasync.backend import Completion, Status
from wdasync.operations import Key, KeySpec, Sign
from wdasync_cpu import binding
from wdasync_cpu.crypto import signers
from wdasync_cpu.crypto.keys import CpuKey
from wdasync_cpu.devices import CpuDevice
from wdasync_cpu.queues import CpuQueue

pytestmark = pytest.mark.skipif(
    bool(binding.library_problem("openssl")) or not binding.library_signs(),
    reason="no OpenSSL that can be called: all is cryptography's",
)

RSA = {bits: rsa.generate_private_key(65537, bits) for bits in (1024, 2048)}
EC = {
    f"ecdsa-{name}": ec.generate_private_key(curve())
    for name, curve in {
        "p256": ec.SECP256R1,
        "p384": ec.SECP384R1,
        "p521": ec.SECP521R1,
        "secp256k1": ec.SECP256K1,
    }.items()
}
HASHES = [hashes.SHA1(), hashes.SHA224(), hashes.SHA256(), hashes.SHA384(), hashes.SHA512()]
MESSAGE = b"what is signed " * 40


def pss(kind: hashes.HashAlgorithm, salt: Any, mask: hashes.HashAlgorithm | None = None) -> padding.PSS:
    return padding.PSS(padding.MGF1(mask or kind), salt)


@pytest.fixture(autouse=True)
def worth_it(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, int], bool]:
    """Whatever is quicker here."""
    everything: dict[tuple[str, int], bool] = {("rsa", bits): True for bits in RSA}
    everything |= {(name, key.key_size): True for name, key in EC.items()}
    monkeypatch.setattr(signers, "_worth_it", everything)
    return everything


@pytest.fixture(scope="module")
def device() -> CpuDevice:
    return open_device(threads=2)


@pytest.fixture
def queue(device: CpuDevice) -> Iterator[CpuQueue]:
    queue = device.open_queue(128)
    yield queue
    queue.close()


class Signer:
    """A key that the device was told of, and what it signs."""

    def __init__(self, queue: CpuQueue, key: Any, algorithm: str = "rsa") -> None:
        self.key, self.queue, self.algorithm = key, queue, algorithm
        self.session = CpuKey(KeySpec(algorithm, key), natively=True)

    def operation(self, how: Any = None, kind: Any = None, data: object = MESSAGE) -> Sign:
        operation = Sign(Key(self.key, "a key"), data, self.algorithm, how, kind)
        operation.session = self.session
        return operation

    def one(self, *what: Any) -> Completion:
        (done,) = run(self.queue, [self.operation(*what)])
        return done

    def warm(self) -> None:
        """Once, by Python, which reads the key."""
        usual = padding.PKCS1v15() if self.algorithm == "rsa" else None
        good(self.one(usual, hashes.SHA256()))
        assert self.session.signer is not None

    @property
    def by_python(self) -> int:
        return int(self.queue.statistics().extra["python"])


def signer(queue: CpuQueue, key: Any, algorithm: str = "rsa") -> Signer:
    made = Signer(queue, key, algorithm)
    made.warm()
    return made


@pytest.mark.parametrize("bits", RSA)
@pytest.mark.parametrize("kind", HASHES, ids=lambda kind: kind.name)
def test_rsa(queue: CpuQueue, bits: int, kind: hashes.HashAlgorithm) -> None:
    it, public = signer(queue, RSA[bits]), RSA[bits].public_key()
    done = it.one(padding.PKCS1v15(), kind)
    assert good(done) == RSA[bits].sign(MESSAGE, padding.PKCS1v15(), kind)  # there is only one
    assert (done.consumed, done.produced) == (len(MESSAGE), bits // 8)
    assert done.detail.where.startswith("thread ")
    for salt in (0, 1, 20, padding.PSS.DIGEST_LENGTH, padding.PSS.MAX_LENGTH):
        if kind.digest_size + 2 + (salt if type(salt) is int else kind.digest_size) <= bits // 8:
            public.verify(good(it.one(pss(kind, salt), kind)), MESSAGE, pss(kind, salt), kind)
    assert it.by_python == 1


@pytest.mark.parametrize("algorithm", EC)
@pytest.mark.parametrize("kind", HASHES[1:], ids=lambda kind: kind.name)
def test_ecdsa(queue: CpuQueue, algorithm: str, kind: hashes.HashAlgorithm) -> None:
    it = signer(queue, EC[algorithm], algorithm)
    first, second = good(it.one(None, kind)), good(it.one(None, kind))
    for signature in (first, second):
        EC[algorithm].public_key().verify(signature, MESSAGE, ec.ECDSA(kind))
    assert first != second, "each has a number of its own"
    assert it.by_python == 1


@pytest.mark.parametrize("kind", HASHES, ids=lambda kind: kind.name)
def test_a_digest_that_others_have_made(queue: CpuQueue, kind: hashes.HashAlgorithm) -> None:
    digest = hashlib.new(kind.name, MESSAGE).digest()
    it = signer(queue, RSA[2048])
    expected = RSA[2048].sign(MESSAGE, padding.PKCS1v15(), kind)
    assert good(it.one(padding.PKCS1v15(), Prehashed(kind), digest)) == expected
    signature = good(it.one(pss(kind, 9), Prehashed(kind), digest))
    RSA[2048].public_key().verify(signature, MESSAGE, pss(kind, 9), kind)
    other = signer(queue, EC["ecdsa-p256"], "ecdsa-p256")
    signature = good(other.one(None, Prehashed(kind), digest))
    EC["ecdsa-p256"].public_key().verify(signature, MESSAGE, ec.ECDSA(kind))
    assert it.by_python == 2, "each key once"


def test_who_signs_again_in_another_way(queue: CpuQueue) -> None:
    """What was remembered of the last signature is not taken for this one's."""
    it, key = signer(queue, RSA[2048]), RSA[2048]
    how, kind, shorter = padding.PKCS1v15(), hashes.SHA256(), hashes.SHA1()
    ready = Prehashed(kind)
    digest = hashlib.sha256(MESSAGE).digest()
    for _ in range(3):
        for each in (kind, shorter, hashes.SHA256()):
            assert good(it.one(how, each)) == key.sign(MESSAGE, how, each)
            assert good(it.one(how, each)) == key.sign(MESSAGE, how, each)
        key.public_key().verify(good(it.one(pss(kind, 9), kind)), MESSAGE, pss(kind, 9), kind)
        assert good(it.one(how, ready, digest)) == key.sign(MESSAGE, how, kind)
        assert it.one(how, ready, digest[1:]).status is Status.INVALID_ARGS
    other = it.operation(how, kind)
    other.algorithm = "ecdsa-p256"
    good(it.one(how, kind))
    assert it.session.way(other) == signers.NO_WAY


@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, 3_000_000])
def test_messages_in_pieces(queue: CpuQueue, length: int) -> None:
    message = bytes(range(251)) * (length // 251 + 1)
    message = message[:length]
    it = signer(queue, RSA[1024])
    pieces = [bytearray(message[:10]), message[10:11], memoryview(message)[11:]]
    for data in (message, pieces):
        done = it.one(padding.PKCS1v15(), hashes.SHA256(), data)
        assert good(done) == RSA[1024].sign(message, padding.PKCS1v15(), hashes.SHA256())
        assert done.consumed == length
    assert it.by_python == 1


UNUSUAL: dict[str, tuple[Any, Any, object]] = {
    "another mask": (pss(hashes.SHA256(), 20, hashes.SHA1()), hashes.SHA256(), MESSAGE),
    "SHA-3": (padding.PKCS1v15(), hashes.SHA3_256(), MESSAGE),
    "SHA-512/256": (padding.PKCS1v15(), hashes.SHA512_256(), MESSAGE),
    "a digest in pieces": (padding.PKCS1v15(), Prehashed(hashes.SHA256()), [bytes(16), bytes(16)]),
}


@pytest.mark.parametrize("what", UNUSUAL)
def test_what_is_out_of_the_ordinary(queue: CpuQueue, what: str) -> None:
    how, kind, data = UNUSUAL[what]
    it = signer(queue, RSA[2048])
    whole = b"".join(data) if isinstance(data, list) else data
    RSA[2048].public_key().verify(good(it.one(how, kind, data)), whole, how, kind)
    assert it.by_python == 2


def test_other_keys_are_for_python(queue: CpuQueue) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    it = Signer(queue, key, "ed25519")
    for _ in range(2):
        key.public_key().verify(good(it.one()), MESSAGE)
    assert it.session.signer is None
    assert it.by_python == 2


def test_deterministic_ecdsa(queue: CpuQueue) -> None:
    it = signer(queue, EC["ecdsa-p256"], "ecdsa-p256")
    how = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
    assert good(it.one(how, hashes.SHA256())) == good(it.one(how, hashes.SHA256()))
    assert it.by_python == 3


@pytest.mark.parametrize(
    ("how", "kind", "data"),
    [
        (padding.PKCS1v15(), Prehashed(hashes.SHA256()), bytes(31)),
        (pss(hashes.SHA512(), 200), hashes.SHA512(), MESSAGE),
        (pss(hashes.SHA256(), padding.PSS.AUTO), hashes.SHA256(), MESSAGE),
    ],
    ids=["no digest", "too much salt", "any salt"],
)
def test_what_is_wrong_python_says(queue: CpuQueue, how: Any, kind: Any, data: bytes) -> None:
    cold, warm = Signer(queue, RSA[2048]), signer(queue, RSA[2048])
    first, second = cold.one(how, kind, data), warm.one(how, kind, data)
    assert first.status is second.status is Status.INVALID_ARGS
    assert first.detail.message == second.detail.message != ""


def test_what_openssl_cannot_do_python_does(queue: CpuQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here, for more salt than there is room for."""
    it = signer(queue, RSA[1024])
    much = signers.way_of(it.operation(pss(hashes.SHA256(), 90), hashes.SHA256()), RSA[1024]) + (5000 << 11)
    monkeypatch.setattr(it.session, "way", lambda _: much)
    for _ in range(3):
        done = it.one(padding.PKCS1v15(), hashes.SHA256())
        assert good(done) == RSA[1024].sign(MESSAGE, padding.PKCS1v15(), hashes.SHA256())
    assert hashlib.sha256(b"").digest(), "its errors were forgotten"


class Sealed:
    """A key that does not leave its hardware."""

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        self._key = key
        self.key_size = key.key_size

    def sign(self, *words: Any) -> bytes:
        return self._key.sign(*words)

    def private_bytes(self, *_: Any) -> bytes:
        raise RuntimeError("it stays where it is")


rsa.RSAPrivateKey.register(Sealed)


def by_python_alone(it: Signer) -> None:
    for _ in range(2):
        expected = RSA[2048].sign(MESSAGE, padding.PKCS1v15(), hashes.SHA256())
        assert good(it.one(padding.PKCS1v15(), hashes.SHA256())) == expected
    assert it.session.signer is None
    assert it.by_python == 2


def test_a_key_that_cannot_be_read(queue: CpuQueue) -> None:
    by_python_alone(Signer(queue, Sealed(RSA[2048])))


def test_a_very_long_key(queue: CpuQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signers, "_MOST_BITS", 2047)
    by_python_alone(Signer(queue, RSA[2048]))


def test_another_cryptography(queue: CpuQueue) -> None:
    """What is not where it was is out of the ordinary, and no mistake."""
    nameless = type("PSS", (padding.PSS,), {"_mgf": property(lambda _: [].name)})  # type: ignore[attr-defined]
    operation = Signer(queue, RSA[2048]).operation(pss(hashes.SHA256(), 20), hashes.SHA256())
    assert signers.way_of(operation, RSA[2048]) != signers.NO_WAY
    operation.padding = object.__new__(nameless)
    assert signers.way_of(operation, RSA[2048]) == signers.NO_WAY


def test_left_to_cryptography_where_the_option_says_so() -> None:
    device = open_device(native_codecs=False)
    queue = device.open_queue(8)
    it = Signer(queue, RSA[2048])
    it.session = device.open_key(KeySpec("rsa", RSA[2048]))
    by_python_alone(it)
    queue.close()


def test_the_device_says_who_signs(device: CpuDevice, queue: CpuQueue) -> None:
    it = Signer(queue, RSA[2048])
    it.session = device.open_key(KeySpec("rsa", RSA[2048]))
    it.warm()
    it.one(padding.PKCS1v15(), hashes.SHA256())
    assert it.by_python == 1


def test_an_interrupt_while_it_is_read(queue: CpuQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is for the caller: the operation is done nevertheless."""
    it = signer(queue, RSA[2048])
    with monkeypatch.context() as patch:
        patch.setattr(it.session, "way", lambda _: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            queue.enqueue_burst([(0, it.operation(padding.PKCS1v15(), hashes.SHA256()))])
    (done,) = drain(queue, 1)
    assert good(done) == RSA[2048].sign(MESSAGE, padding.PKCS1v15(), hashes.SHA256())


def test_what_a_signal_handler_raises(queue: CpuQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """As SIGTERM's does in many servers; nothing of it is lost, whatever it is."""

    def leave(*_: object) -> None:
        raise SystemExit("terminated")

    it = signer(queue, RSA[2048])
    before = signal.signal(signal.SIGTERM, leave)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(it.session, "way", lambda _: signal.raise_signal(signal.SIGTERM))
            with pytest.raises(SystemExit, match="terminated"):
                queue.enqueue_burst([(0, it.operation(padding.PKCS1v15(), hashes.SHA256()))])
    finally:
        signal.signal(signal.SIGTERM, before)
    (done,) = drain(queue, 1)
    assert good(done) == RSA[2048].sign(MESSAGE, padding.PKCS1v15(), hashes.SHA256())


class TestWorth:
    """Once for each kind of keys, it is seen who signs."""

    def tried(self, queue: CpuQueue, worth_it: dict[tuple[str, int], bool]) -> bool:
        worth_it.clear()
        it = Signer(queue, RSA[1024])
        for _ in range(2):
            expected = RSA[1024].sign(MESSAGE, padding.PKCS1v15(), hashes.SHA256())
            assert good(it.one(padding.PKCS1v15(), hashes.SHA256())) == expected
        assert it.by_python == (1 if worth_it["rsa", 1024] else 2)
        return worth_it["rsa", 1024]

    @pytest.fixture
    def slowly(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
        """Makes one of the two slow."""

        def make(who: str) -> None:
            turns = iter([0, 5, 5] if who == "native" else [5, 0, 5])
            monkeypatch.setattr(signers, "_shortest", lambda _: next(turns) * 1000 + 1)

        return make

    def test_native_code_is_slower(
        self, queue: CpuQueue, worth_it: dict[tuple[str, int], bool], slowly: Callable[[str], None]
    ) -> None:
        slowly("python")
        assert not self.tried(queue, worth_it)

    def test_it_is_not(
        self, queue: CpuQueue, worth_it: dict[tuple[str, int], bool], slowly: Callable[[str], None]
    ) -> None:
        slowly("native")
        assert self.tried(queue, worth_it)

    @pytest.mark.parametrize("signature", [None, bytes(128)])
    def test_what_it_makes_is_no_signature(
        self,
        queue: CpuQueue,
        worth_it: dict[tuple[str, int], bool],
        monkeypatch: pytest.MonkeyPatch,
        signature: bytes | None,
    ) -> None:
        monkeypatch.setattr(binding, "try_signing", lambda *_: signature)
        assert not self.tried(queue, worth_it)

    def test_as_it_is(self, queue: CpuQueue, worth_it: dict[tuple[str, int], bool]) -> None:
        self.tried(queue, worth_it)


def test_a_key_that_is_closed(queue: CpuQueue) -> None:
    """What is in flight ends well; no more comes."""
    it = signer(queue, RSA[2048])
    work = [it.operation(padding.PKCS1v15(), hashes.SHA256()) for _ in range(32)]
    assert queue.enqueue_burst(list(enumerate(work))) == 32
    it.session.close()
    assert it.session.signer is None
    expected = RSA[2048].sign(MESSAGE, padding.PKCS1v15(), hashes.SHA256())
    assert [good(done) for done in drain(queue, 32)] == [expected] * 32
    done = it.one(padding.PKCS1v15(), hashes.SHA256())
    assert (done.status, done.detail.message) == (Status.INVALID_ARGS, "the key was closed")


def test_a_key_that_is_closed_while_it_is_read(queue: CpuQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    it = Signer(queue, RSA[2048])
    read = signers.binding.new_signer

    def new_signer(der: bytes) -> object | None:
        it.session.close()
        return read(der)

    monkeypatch.setattr(binding, "new_signer", new_signer)
    good(it.one(padding.PKCS1v15(), hashes.SHA256()))
    assert it.session.signer is None


def test_a_burst_is_shared_by_the_threads(queue: CpuQueue) -> None:
    """The first of them takes one, and sees that there are more. Both sign with one key at once."""
    it, seen, end = signer(queue, RSA[2048]), set[str](), time.monotonic() + PATIENCE
    expected = RSA[2048].sign(MESSAGE, padding.PKCS1v15(), hashes.SHA256())
    while len(seen) < 2:
        assert time.monotonic() < end
        work = [it.operation(padding.PKCS1v15(), hashes.SHA256()) for _ in range(64)]
        assert queue.enqueue_burst(list(enumerate(work))) == 64
        for done in drain(queue, 64):
            assert good(done) == expected
            seen.add(done.detail.where)
    assert seen == {"thread 0", "thread 1"}


def test_memory_that_goes_away(queue: CpuQueue) -> None:
    """Of a message, from the beginning or in the middle, and of a digest."""
    it, usual = signer(queue, RSA[2048]), hashes.SHA256()
    for kind, data, byte in [
        (usual, gone(bytes(20_000)), 0),
        (usual, gone(bytes(3 << 20), 2 << 20), 2 << 20),
        (Prehashed(usual), gone(bytes(32)), 0),
    ]:
        done = it.one(padding.PKCS1v15(), kind, data)
        assert (done.status, done.output, done.consumed) == (Status.PAGE_FAULT, None, 0)
        assert f"at byte {byte} of the input" in done.detail.message
        good(it.one(padding.PKCS1v15(), usual))
    assert it.by_python == 1


def test_a_queue_that_is_stopped(device: CpuDevice) -> None:
    queue = device.open_queue(64)
    it = signer(queue, RSA[2048])
    long = bytes(200 << 20)
    queue.enqueue_burst(
        [(number, it.operation(padding.PKCS1v15(), hashes.SHA256(), long)) for number in range(6)]
    )
    queue.stop()
    assert Status.ABORTED in {done.status for done in drain(queue, 6)}
    queue.close()


def test_inline_it_is_pythons(device: CpuDevice, queue: CpuQueue) -> None:
    """Nobody asks for that: its cost is out of every budget. But it can be asked for."""
    assert device.inline is not None
    it = signer(queue, RSA[2048])
    operation = it.operation(padding.PKCS1v15(), hashes.SHA256())
    assert device.inline.cost(operation) > 1 << 39
    expected = RSA[2048].sign(MESSAGE, padding.PKCS1v15(), hashes.SHA256())
    assert device.inline.run(operation).output == expected


class TestBinding:
    """The C side refuses what is none."""

    def test_no_key(self) -> None:
        assert binding.new_signer(b"") is None
        assert binding.new_signer(b"\x30\x03\x02\x01\x00") is None
        with pytest.raises(TypeError, match="expected bytes"):
            binding.new_signer(bytearray(3))  # type: ignore[arg-type]

    def test_a_key_is_wiped_unless_others_have_it(self) -> None:
        content = b"\x30\x01" + bytes(range(1, 100))
        binding.new_signer(content)
        assert content[2:] == bytes(range(1, 100))

    @pytest.mark.parametrize("way", [-1, 9, 255])
    def test_no_way(self, queue: CpuQueue, way: int) -> None:
        it = signer(queue, RSA[1024])
        assert it.session.signer is not None
        with pytest.raises(ValueError, match="no way"):
            binding.try_signing(it.session.signer, way, b"")
        expected = RSA[1024].sign(MESSAGE, padding.PKCS1v15(), hashes.SHA256())
        it.session.way = lambda _: way  # type: ignore[method-assign]
        assert good(it.one(padding.PKCS1v15(), hashes.SHA256())) == expected

    def test_no_signer(self) -> None:
        with pytest.raises(ValueError, match="PyCapsule"):
            binding.try_signing(SimpleNamespace(), 3, b"")


def test_a_signature_is_of_its_message(queue: CpuQueue) -> None:
    """The tests above could not fail if nothing were verified."""
    it = signer(queue, RSA[2048])
    signature = good(it.one(padding.PKCS1v15(), hashes.SHA256()))
    with pytest.raises(InvalidSignature):
        RSA[2048].public_key().verify(signature, MESSAGE + b".", padding.PKCS1v15(), hashes.SHA256())
