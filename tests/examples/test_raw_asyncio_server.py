"""The server on bare asyncio streams, asked from outside."""

import asyncio
import gzip
import http.client
import os
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType

import pytest

import wdasync
from tests.examples.support import EXAMPLES, Running, running
from wdasync.testing.mock import backend

#: Lengths of the bodies that came compressed.
COMPRESSED: list[int] = []


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running("raw_asyncio_server.py") as example:
        yield example
    found = re.search(r"(\d+) compressed, 0 of them in the loop", example.said)
    assert found is not None, example.said
    assert int(found[1]) >= len(COMPRESSED)


def ask(
    server: Running, path: str = "/", method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request(
            method, path, headers={name.replace("_", "-"): text for name, text in headers.items()}
        )
        response = connection.getresponse()
        fields, body = dict(response.getheaders()), response.read()
        if "content-encoding" in fields:
            COMPRESSED.append(len(body))
        return response.status, fields, body
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
    assert (status, headers.get("content-length"), headers["vary"], body) == (
        200,
        None,
        "accept-encoding",
        b"",
    )
    status, headers, body = ask(server, method="HEAD")
    assert (status, headers["content-length"], body) == (200, str(len(plain)), b"")


def test_a_client_that_waits_to_be_told_to_go_on(server: Running) -> None:
    """RFC 9110, section 10.1.1."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"hello")
        assert client.recv(1000).startswith(b"HTTP/1.1 200 ")


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


# -- in this process: what cannot be had from outside ------------------------------------------------------------


@pytest.fixture
def example() -> ModuleType:
    spec = spec_from_file_location("raw_asyncio_server", EXAMPLES / "raw_asyncio_server.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def asked(example: ModuleType, acc: wdasync.Accelerator, *, reading: bool) -> bytes:
    """What one client gets; it may read nothing."""
    served = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await example.Connection(acc, reader, writer).serve()
        served.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        address = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(*address, limit=1)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n")
        received = await reader.read() if reading else b""
        await asyncio.wait_for(served.wait(), 60)
        writer.close()
    return received


def test_a_device_that_fails(example: ModuleType) -> None:
    """The plain body is sent."""

    async def main() -> None:
        with backend.programmed() as program:
            async with wdasync.open_accelerator("mock", fallback=False) as acc:
                program.fail(count=1)
                head, _, body = (await asked(example, acc, reading=True)).partition(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200")
                assert b"content-encoding" not in head.lower()
                assert body == example.PAGE

    asyncio.run(main())


def test_a_client_that_takes_nothing(example: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection is closed after a while."""

    async def main() -> None:
        async with wdasync.open_accelerator("cpu") as acc:
            monkeypatch.setattr(example, "PAGE", os.urandom(32 << 20))
            monkeypatch.setattr(example, "IDLE", 0.2)
            await asked(example, acc, reading=False)

    asyncio.run(main())
