"""Both middleware in real servers, under real frameworks, asked by real clients."""

import gzip
import http.client
import json
import socket
import subprocess
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import brotli
import pytest

from tests.integrations.servers.apps import MAKERS, PAGE
from tests.programs import needs

FRAMEWORKS = ["plain", *MAKERS]
#: What runs on trio too.
ON_TRIO = ("plain", "starlette", "fastapi", "litestar")

Served = tuple[str, int]


@contextmanager
def answer_to(
    port: int, path: str, method: str = "GET", body: bytes | None = None, **headers: str
) -> Iterator[http.client.HTTPResponse]:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(
            method, path, body, {name.replace("_", "-"): value for name, value in headers.items()}
        )
        yield connection.getresponse()
    finally:
        connection.close()


def get(port: int, path: str, **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
    with answer_to(port, path, **headers) as response:
        return response, response.read()


def status(port: int) -> dict[str, int]:
    found: dict[str, int] = json.loads(get(port, "/status/")[1])
    return found


@pytest.fixture(params=FRAMEWORKS)
def framework(request: pytest.FixtureRequest, served: Served) -> str:
    if served[0] == "hypercorn-trio" and request.param not in ON_TRIO:
        pytest.skip(f"{request.param} is for asyncio")
    return str(request.param)


def test_a_page(served: Served, framework: str) -> None:
    path = f"/{framework}/page"
    for accept, decode in (("gzip", gzip.decompress), ("br;q=1, gzip;q=0.5", brotli.decompress)):
        response, body = get(served[1], path, accept_encoding=accept)
        assert (response.status, decode(body)) == (200, PAGE)
        assert response.headers["vary"].lower() == "accept-encoding"
        assert response.headers["content-length"] == str(len(body))
    for accept in ("gzip;q=0", "identity"):
        response, body = get(served[1], path, accept_encoding=accept)
        assert (response.headers["content-encoding"], body) == (None, PAGE)


def test_head(served: Served) -> None:
    with answer_to(served[1], "/plain/page", "HEAD", accept_encoding="gzip") as response:
        assert (response.read(), response.headers["content-encoding"]) == (b"", None)
        assert response.headers["vary"] == "accept-encoding"


def test_a_stream_arrives_piece_by_piece(served: Served, framework: str) -> None:
    """The next piece is made only after the one before has been read."""
    name = f"{framework}-{time.monotonic_ns()}"
    decode = zlib.decompressobj(31).decompress
    get(served[1], f"/go/{name}")
    with answer_to(served[1], f"/{framework}/{name}", accept_encoding="gzip") as response:
        assert response.headers["content-encoding"] == "gzip"
        for number in range(3):
            text = b""
            while not text:
                text = decode(response.read1())
            assert text == b"piece %d\n" % number
            get(served[1], f"/go/{name}")
        assert decode(response.read()) == b""


def test_a_compressed_request(served: Served, framework: str) -> None:
    path = f"/{framework}/length"

    def post(body: bytes, coding: str) -> tuple[int, bytes]:
        with answer_to(served[1], path, "POST", body, content_encoding=coding) as response:
            return response.status, response.read()

    assert post(gzip.compress(PAGE), "gzip") == (200, str(len(PAGE)).encode())
    assert post(brotli.compress(PAGE, quality=3), "br") == (200, str(len(PAGE)).encode())
    assert post(gzip.compress(bytes(2 << 20)), "gzip")[0] == 413
    assert post(gzip.compress(PAGE)[:-3], "gzip")[0] == 400
    assert post(b"nonsense", "gzip")[0] == 400
    assert post(PAGE, "compress")[0] == 415
    assert status(served[1])["busy"] == 0


def test_a_file(served: Served) -> None:
    """With granian it would be ``http.response.pathsend``, which is for the server to read."""
    with open(json.__file__, "rb") as file:  # noqa: PTH123
        content = file.read()
    response, body = get(served[1], "/starlette/file", accept_encoding="gzip")
    assert (response.headers["content-encoding"], gzip.decompress(body)) == ("gzip", content)
    assert response.headers["etag"].startswith('W/"')
    assert "accept-ranges" not in response.headers
    response, body = get(served[1], "/starlette/file", accept_encoding="identity")
    assert (response.headers["content-encoding"], body) == (None, content)
    response, body = get(served[1], "/starlette/file", accept_encoding="gzip", range="bytes=10-19")
    assert (response.status, response.headers["content-encoding"], body) == (206, None, content[10:20])


def test_many_at_once(served: Served) -> None:
    before = status(served[1])["completed"]
    with ThreadPoolExecutor(16) as pool:
        bodies = list(
            pool.map(lambda _: get(served[1], "/plain/page", accept_encoding="gzip")[1], range(100))
        )
    assert {gzip.decompress(body) for body in bodies} == {PAGE}
    told = status(served[1])
    assert (told["completed"] - before, told["busy"], told["rescues"]) == (100, 0, 0)


def test_a_client_that_leaves(served: Served) -> None:
    """Starlette's streams end when the client has gone, with or without the middleware; and nothing is left on a device."""
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", served[1]), timeout=60) as client:
            client.sendall(b"GET /starlette/endless HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n")
            assert client.recv(100)
    for _ in range(600):
        told = status(served[1])
        if (told["running"], told["busy"]) == (0, 0):
            return
        time.sleep(0.05)
    pytest.fail(f"still at work for nobody: {told}")


@needs("curl")
@pytest.mark.parametrize("accept", ["", "gzip", "br", "zstd", "deflate, gzip, br, zstd", "gzip;q=0, *;q=0.1"])
def test_curl(served: Served, accept: str) -> None:
    """A client that is not Python's: curl decodes by itself what it asked for."""
    words = ["--compressed", "-H", f"Accept-Encoding: {accept}"]
    done = subprocess.run(
        ["curl", "-sS", *words, f"http://127.0.0.1:{served[1]}/plain/page"], capture_output=True, check=False
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, b"", PAGE)


@needs("curl")
def test_curl_on_http_2(served: Served) -> None:
    """By prior knowledge, where the server speaks it."""
    if served[0] not in ("hypercorn", "hypercorn-trio", "granian"):
        pytest.skip(f"{served[0]} speaks no HTTP/2 without TLS")
    url = f"http://127.0.0.1:{served[1]}/plain/"
    words = ["curl", "-sS", "--http2-prior-knowledge", "--compressed"]
    for _ in range(3):
        page = subprocess.run([*words, f"{url}page"], capture_output=True, check=True)
        assert page.stdout == PAGE
    sent = subprocess.run(
        [*words, "-H", "Content-Encoding: gzip", "--data-binary", "@-", f"{url}length"],
        input=gzip.compress(PAGE),
        capture_output=True,
        check=True,
    )
    assert sent.stdout == str(len(PAGE)).encode()
