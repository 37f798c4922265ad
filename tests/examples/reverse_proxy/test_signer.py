"""The thread that has the private key."""

import select
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from examples.offloaded_tls import Signing
from examples.reverse_proxy.connection import Connection
from examples.reverse_proxy.policy import Policy
from examples.reverse_proxy.relay import Relay
from examples.reverse_proxy.signer import Signer

HASH = Prehashed(hashes.SHA256())
PEM = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.fixture
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def signer(key: ec.EllipticCurvePrivateKey, tmp_path: Path) -> Iterator[Signer]:
    (tmp_path / "key.pem").write_bytes(key.private_bytes(*PEM))
    it = Signer(str(tmp_path / "key.pem"), ring=4)
    yield it
    it.close()
    assert not it._thread.is_alive()


def connection() -> Connection:
    return Connection(Relay(Policy(), "127.0.0.1", b"there"), None)


def test_in_order_and_more_than_the_rings_hold(signer: Signer, key: ec.EllipticCurvePrivateKey) -> None:
    asked = [(connection(), Signing(bytes([number]) * 32, None, HASH)) for number in range(50)]
    for it in asked:
        signer.ask(*it)
    found: list[tuple[Connection, bytes | None]] = []
    while len(found) < 50:
        assert select.select([signer], [], [], 30)[0], "nobody woke us"
        signer.woken()
        found += signer.reap(3)
        while some := signer.reap(3):
            found += some
    assert [it for it, _ in found] == [it for it, _ in asked]
    for (_, signing), (_, signature) in zip(asked, found, strict=True):
        assert signature is not None
        key.public_key().verify(signature, signing.digest, ec.ECDSA(HASH))


def test_what_cannot_be_signed(signer: Signer) -> None:
    signer.ask(connection(), Signing(b"too short", None, HASH))
    assert select.select([signer], [], [], 30)[0]
    ((_, signature),) = signer.reap(4)
    assert signature is None


def test_closed_with_work_in_hand(signer: Signer) -> None:
    for _ in range(20):
        signer.ask(connection(), Signing(bytes(32), None, HASH))


def test_keys_that_are_none(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_text("nothing")
    with pytest.raises(ValueError):
        Signer(str(file), 4)
    file.write_bytes(ed25519.Ed25519PrivateKey.generate().private_bytes(*PEM))
    with pytest.raises(TypeError, match="expected a key of RSA or of an elliptic curve, got Ed25519"):
        Signer(str(file), 4)
    with pytest.raises(FileNotFoundError):
        Signer(str(tmp_path / "none"), 4)
