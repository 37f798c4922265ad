"""The server on bare asyncio streams, asked from outside."""

import gzip
import http.client
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.examples.support import Running, running


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running("raw_asyncio_server.py") as example:
        yield example
    found = re.search(r"(\d+) compressed, 0 of them in the loop", example.said)
    assert found is not None, example.said
    assert int(found[1]) >= 50


def ask(
    server: Running, path: str = "/", method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request(
            method, path, headers={name.replace("_", "-"): text for name, text in headers.items()}
        )
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


def test_negotiation(server: Running) -> None:
    _, headers, plain = ask(server)
    assert "content-encoding" not in headers
    status, headers, body = ask(server, accept_encoding="gzip, br;q=0.1")
    assert (status, headers["content-encoding"], headers["vary"]) == (200, "gzip", "accept-encoding")
    assert gzip.decompress(body) == plain
    assert ask(server, accept_encoding="gzip;q=0")[2] == plain
    assert ask(server, "/nothing", accept_encoding="gzip")[::2] == (404, b"There is nothing here.\n")
    status, headers, body = ask(server, method="HEAD", accept_encoding="gzip")
    assert (status, headers["content-length"], body) == (200, str(len(plain)), b"")


def test_one_connection_for_many_requests(server: Running) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    for method in ("GET", "POST", "GET"):
        body = b"x" * 100_000 if method == "POST" else None
        connection.request(method, "/", body, {"Accept-Encoding": "gzip"})
        assert len(gzip.decompress(connection.getresponse().read())) > 40_000
    connection.close()


def test_pipelined_requests(server: Running) -> None:
    request = b"GET / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n%s\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(request % b"" + request % b"Connection: close\r\n")
        received = b""
        while data := client.recv(65536):
            received += data
    assert received.count(b"HTTP/1.1 200") == 2


def test_many_at_once(server: Running) -> None:
    with ThreadPoolExecutor(16) as pool:
        bodies = list(pool.map(lambda _: ask(server, accept_encoding="gzip")[2], range(50)))
    assert len({gzip.decompress(body) for body in bodies}) == 1


@pytest.mark.parametrize("nonsense", [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\0" * 200_000])
def test_nonsense(server: Running, nonsense: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(nonsense)
        assert client.recv(100).startswith(b"HTTP/1.1 4")
    assert ask(server)[0] == 200


def test_a_client_that_says_half_of_it(server: Running) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(b"GET / HT")
    assert ask(server)[0] == 200
