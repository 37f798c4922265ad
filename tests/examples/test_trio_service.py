"""The service on trio, from outside."""

import gzip
import socket
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.examples.support import Running, running


@pytest.fixture(scope="module")
def service() -> Iterator[Running]:
    with running("trio_service.py") as example:
        yield example
    assert "0 clients and 0 operations left" in example.said
    assert "22 served" in example.said, "20 at once, one with patience, one with nothing"


def connect(service: Running) -> socket.socket:
    return socket.create_connection(("127.0.0.1", service.port), timeout=30)


def packed(service: Running, data: bytes) -> bytes:
    """What comes back for some data."""
    with connect(service) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        received = b""
        while piece := client.recv(65536):
            received += piece
    return received


def test_many_at_once(service: Running) -> None:
    texts = [b"line %d of a log\n" % number * 3000 for number in range(20)]
    with ThreadPoolExecutor(20) as pool:
        assert [
            gzip.decompress(body) for body in pool.map(lambda text: packed(service, text), texts)
        ] == texts


def test_what_a_pause_ends_can_be_read(service: Running) -> None:
    decode = zlib.decompressobj(31).decompress
    with connect(service) as client:
        for number in range(3):
            client.sendall(b"line %d\n" % number)
            text = b""
            while not text:
                text = decode(client.recv(65536))
            assert text == b"line %d\n" % number
        client.shutdown(socket.SHUT_WR)
        assert decode(client.recv(65536)) == b""


def test_nothing(service: Running) -> None:
    assert gzip.decompress(packed(service, b"")) == b""


def test_clients_that_leave(service: Running) -> None:
    for _ in range(5):
        with connect(service) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
            client.sendall(b"x" * 500_000)
