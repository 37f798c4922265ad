"""One connection's TLS between Python's ssl and ours, in memory."""

import gc
import random
import resource
import ssl
from pathlib import Path

import pytest

from tests.examples.offloaded_tls.headers import needed

needed()

from examples.offloaded_tls import BrokenTls, OffloadedTls, Settings  # noqa: E402  after the check
from tests.examples.offloaded_tls.support import KINDS, VERSIONS, Pair, owner  # noqa: E402


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_handshake(kind: str, version: str) -> None:
    pair = Pair(kind, version, ("h2", "http/1.1"))
    asked = pair.until_asked()
    assert not pair.server.shaken
    assert asked.padding is None if kind != "rsa" else asked.padding is not None
    pair.server.answer(owner(kind).sign(asked))
    pair.finish()
    assert (pair.server.version, pair.client.tls.version()) == (version, version)
    assert pair.client.tls.selected_alpn_protocol() == "http/1.1"
    assert pair.server.signing is None


@pytest.mark.parametrize("version", VERSIONS)
def test_much_in_both_directions(version: str) -> None:
    pair = Pair("rsa", version).shake()
    data = random.Random(1).randbytes(1_000_000)
    pair.server.send(memoryview(data))
    pair.client.incoming.write(pair.server.outgoing())
    found = b""
    while len(found) < len(data):
        found += pair.client.tls.read(1 << 20)
    assert found == data
    pair.client.tls.write(data)
    sent, found = pair.client.outgoing.read(), b""
    for at in range(0, len(sent), 5000):
        piece, ended = pair.server.received(sent[at : at + 5000])
        found += piece
        assert not ended
    assert found == data


def test_byte_by_byte() -> None:
    pair = Pair("p256", "TLSv1.2")
    for byte in pair.client.go_on():
        pair.server.received(bytes([byte]))
    asked = pair.server.signing
    assert asked is not None
    pair.server.answer(pair.owner.sign(asked))
    pair.server.received()
    for byte in pair.server.outgoing():
        pair.client.incoming.write(bytes([byte]))
    for byte in pair.client.go_on():
        pair.server.received(bytes([byte]))
    pair.client.incoming.write(pair.server.outgoing())
    pair.client.go_on()
    assert pair.server.shaken
    assert pair.client.shaken


def test_both_ends_say_farewell() -> None:
    pair = Pair().shake()
    pair.client.tls.write(b"last words")
    with pytest.raises(ssl.SSLWantReadError):
        pair.client.tls.unwrap()
    assert pair.server.received(pair.client.outgoing.read()) == (b"last words", True)
    pair.server.send(b"mine")
    pair.server.end()
    pair.client.incoming.write(pair.server.outgoing())
    with pytest.raises(ssl.SSLError, match="APPLICATION_DATA_AFTER_CLOSE_NOTIFY"):
        pair.client.tls.unwrap()


def test_many_wait_at_the_same_time() -> None:
    """Their signatures come in another order."""
    pairs = [Pair(KINDS[number % 3]) for number in range(60)]
    asked = [pair.until_asked() for pair in pairs]
    for pair, what in sorted(zip(pairs, asked, strict=True), key=lambda item: item[1].digest):
        pair.server.answer(pair.owner.sign(what))
    for pair in pairs:
        pair.finish()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_signature(kind: str, version: str) -> None:
    """The client finds out, and says so."""
    pair = Pair(kind, version)
    signature = bytearray(pair.owner.sign(pair.until_asked()))
    signature[-1] ^= 1
    pair.server.answer(bytes(signature))
    pair.server.received()
    pair.client.incoming.write(pair.server.outgoing())
    with pytest.raises(ssl.SSLError):
        pair.client.go_on()
    with pytest.raises(BrokenTls, match="alert"):
        pair.server.received(pair.client.outgoing.read())


def test_no_signature() -> None:
    pair = Pair()
    pair.until_asked()
    pair.server.answer(None)
    with pytest.raises(BrokenTls):
        pair.server.received()
    pair.client.incoming.write(pair.server.outgoing())
    with pytest.raises(ssl.SSLError, match=r"(?i)alert internal error"):
        pair.client.go_on()
    with pytest.raises(BrokenTls):
        pair.server.received(b"more")


def test_answers_that_nobody_asked_for() -> None:
    pair = Pair()
    for answer in (b"x", None):
        with pytest.raises(ValueError, match="expected one of at most 1024 bytes, while signing is not None"):
            pair.server.answer(answer)
    pair.until_asked()
    with pytest.raises(ValueError, match="at most 1024"):
        pair.server.answer(bytes(1025))
    assert pair.server.received() == (b"", False), "it still waits"
    pair.server.answer(bytes(1024))
    with pytest.raises(BrokenTls):
        pair.server.received()


@pytest.mark.parametrize(
    "garbage", [b"GET / HTTP/1.1\r\n\r\n", bytes(100), b"\x16\x03\x01\x00\x05hello" * 20]
)
def test_garbage(garbage: bytes) -> None:
    with pytest.raises(BrokenTls):
        OffloadedTls(Settings(owner("rsa").certificate)).received(garbage)


def test_garbage_after_the_handshake() -> None:
    pair = Pair().shake()
    with pytest.raises(BrokenTls):
        pair.server.received(b"\x17\x03\x03\x00\x20" + bytes(32))


def test_an_old_protocol() -> None:
    """No RSA key exchange either: the key only signs."""
    pair = Pair("rsa", "TLSv1.2")
    context = ssl.create_default_context(cafile=pair.owner.certificate)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AES128-GCM-SHA256")
    tls = context.wrap_bio(pair.client.incoming, pair.client.outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    with pytest.raises(BrokenTls, match="no shared cipher"):
        pair.server.received(pair.client.outgoing.read())


def test_files_that_are_no_certificate(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Settings(tmp_path / "missing")
    (tmp_path / "wrong").write_text("nothing\n")
    with pytest.raises(BrokenTls, match="expected a chain of certificates for RSA or ECDSA in PEM"):
        Settings(tmp_path / "wrong")
    with pytest.raises(BrokenTls, match="expected a chain"):
        Settings(owner("rsa").private)


def test_other_tls_of_this_process_is_left_alone() -> None:
    """Python's ssl signs with an RSA key of its own, through the same library."""
    pair = Pair()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pair.owner.certificate, pair.owner.private)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = server.wrap_bio(incoming, outgoing, server_side=True)
    for _ in range(4):
        incoming.write(pair.client.go_on())
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        pair.client.incoming.write(outgoing.read())
    assert pair.client.shaken


def test_connections_that_are_left_in_the_middle() -> None:
    """Also those that wait for a signature: neither their memory nor their stacks are lost."""
    settings = Settings(owner("p256").certificate)
    hello = Pair("p256").client.go_on()

    def leave(count: int) -> int:
        for _ in range(count):
            server = OffloadedTls(settings)
            server.received(hello)
            assert server.signing is not None
            server.close()
        gc.collect()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = leave(300)
    assert leave(3000) - before < 20_000, "KiB; a stack alone has 32"
