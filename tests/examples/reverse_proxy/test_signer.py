"""The private key on an accelerator."""

import select
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import wdasync
from tests.examples.offloaded_tls.headers import needed
from tests.examples.reverse_proxy.origin import eventually
from wdasync import registry

needed()

from examples.offloaded_tls import Signing  # noqa: E402  after the check
from examples.reverse_proxy import places  # noqa: E402
from examples.reverse_proxy.connection import Connection  # noqa: E402
from examples.reverse_proxy.policy import Policy  # noqa: E402
from examples.reverse_proxy.relay import Relay  # noqa: E402
from examples.reverse_proxy.signer import Signer  # noqa: E402

HASH = Prehashed(hashes.SHA256())
PEM = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
Found = list[tuple[Connection, bytes | None]]


@pytest.fixture
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def signer(key: ec.EllipticCurvePrivateKey, tmp_path: Path) -> Iterator[Signer]:
    (tmp_path / "key.pem").write_bytes(key.private_bytes(*PEM))
    it = Signer("cpu", str(tmp_path / "key.pem"), ring=4)
    yield it
    it.close()


def connection() -> Connection:
    return Connection(Relay(Policy(), "127.0.0.1", b"there"), None)


def reap(signer: Signer, count: int) -> Found:
    """So many, as a loop would: submit, look, and sleep when there is nothing."""
    found: Found = []
    deadline = time.monotonic() + 30
    while len(found) < count:
        signer.submit(3)
        found += (some := signer.reap(3))
        queues = signer.lanes.queues
        armed = [queue.arm() for queue in queues if not some and not signer.waiting]
        if armed and all(armed):
            if more := signer.reap(3):
                found += more
            else:
                assert select.select(queues, [], [], 30)[0], "nobody woke us"
        assert time.monotonic() < deadline
    return found


def test_more_than_the_ring_holds(signer: Signer, key: ec.EllipticCurvePrivateKey) -> None:
    asked = [(connection(), Signing(bytes([number]) * 32, None, HASH)) for number in range(50)]
    for it in asked:
        signer.ask(*it)
    digests = {it: signing.digest for it, signing in asked}
    found = reap(signer, 50)
    assert {it for it, _ in found} == set(digests)
    for it, signature in found:
        assert signature is not None
        key.public_key().verify(signature, digests[it], ec.ECDSA(HASH))
    assert not signer.waiting
    assert signer.name == "cpu/cpu0"


def test_what_cannot_be_signed(signer: Signer) -> None:
    signer.ask(connection(), Signing(b"too short", None, HASH))
    ((_, signature),) = reap(signer, 1)
    assert signature is None


def test_a_client_that_has_gone_is_not_signed_for(signer: Signer) -> None:
    gone, there = connection(), connection()
    gone.closed = True
    for it in (gone, there):
        signer.ask(it, Signing(bytes(32), None, HASH))
    assert [it for it, _ in reap(signer, 1)] == [there]
    assert signer.lanes.flying == 0
    assert signer.lanes.queues[0].statistics().in_flight == 0


def test_closed_with_work_in_hand(signer: Signer) -> None:
    for _ in range(20):
        signer.ask(connection(), Signing(bytes(32), None, HASH))
    signer.submit(4)


def test_a_backend_that_does_not_sign(key: ec.EllipticCurvePrivateKey, tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(key.private_bytes(*PEM))
    it = Signer("mock", str(tmp_path / "key.pem"), ring=4)
    assert it.name == "cpu/cpu0"
    it.close()


def test_a_device_that_is_lost_leaves_signing_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is told of the key anew when it comes back."""
    monkeypatch.setattr(places, "PAUSE", 0.001)
    owned = rsa.generate_private_key(65537, 2048)
    (tmp_path / "key.pem").write_bytes(owned.private_bytes(*PEM))
    it = Signer("hip08", str(tmp_path / "key.pem"), ring=4)
    assert it.name == "hip08/hisi_hpre-0, then cpu/cpu0"
    provoker = registry.get_backend("hip08").provoker  # type: ignore[attr-defined]  # for those who examine backends

    def check(count: int) -> None:
        for _, signature in reap(it, count):
            assert signature is not None
            owned.public_key().verify(signature, bytes(32), padding.PKCS1v15(), HASH)

    for _ in range(4):
        it.ask(connection(), Signing(bytes(32), padding.PKCS1v15(), HASH))
    it.submit(4)
    provoker.lose(it.lanes.devices[0].device)
    it.ask(connection(), Signing(bytes(32), padding.PKCS1v15(), HASH))
    check(5)
    assert it.lanes.moved >= 1
    eventually(lambda: it.lanes.tick(time.monotonic()))
    moved = it.lanes.moved
    it.ask(connection(), Signing(bytes(32), padding.PKCS1v15(), HASH))
    check(1)
    assert [polled.backend for polled in it.lanes.devices] == ["hip08", "cpu"]
    assert it.lanes.moved == moved, "it signs again"
    it.close()


def test_keys_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "key.pem"
    file.write_text("nothing")
    with pytest.raises(ValueError):
        Signer(None, str(file), 4)
    for made in (ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256K1())):
        file.write_bytes(made.private_bytes(*PEM))
        with pytest.raises(TypeError, match="expected one of RSA or of secp256r1, secp384r1, secp521r1, got"):
            Signer(None, str(file), 4)
    with pytest.raises(FileNotFoundError):
        Signer(None, str(tmp_path / "none"), 4)
    file.write_bytes(ec.generate_private_key(ec.SECP256R1()).private_bytes(*PEM))
    monkeypatch.setenv("WDASYNC_FALLBACK", "false")
    with pytest.raises(wdasync.BackendUnavailable, match="expected a device with SIGN ecdsa-p256"):
        Signer("mock", str(file), 4)
