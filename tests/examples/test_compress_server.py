"""The web example, started as a user would start it and asked from outside."""

import gzip
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import brotli
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(params=["cpu", "hip08"])
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """Its address, while it runs on a free port of the loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-W",
        "error::ResourceWarning",
        "-m",
        "uvicorn",
        "--port",
        str(port),
        "--app-dir",
    ]
    process = subprocess.Popen(
        [*command, str(EXAMPLES), "compress_server:app"],
        env={**os.environ, "WDASYNC_BACKEND": request.param},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        _, log = process.communicate(timeout=20)
    assert "Finished server process" in log
    assert "Traceback" not in log


def wait_for(port: int) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail("the server does not listen")


def get(url: str, accept: str) -> tuple[dict[str, str], bytes]:
    request = urllib.request.Request(url, headers={"Accept-Encoding": accept})
    with urllib.request.urlopen(request, timeout=20) as response:
        return {name.lower(): value for name, value in response.headers.items()}, response.read()


def test_pages_are_compressed_for_those_who_want_it(server: str) -> None:
    headers, plain = get(server + "/", "identity")
    assert "content-encoding" not in headers
    assert 45_000 < len(plain) < 60_000
    for accept in ("gzip", "br;q=0.1, GZIP;q=0.5"):
        headers, body = get(server + "/", accept)
        assert headers["content-encoding"] == "gzip"
        assert headers["vary"] == "accept-encoding"
        assert gzip.decompress(body) == plain
    headers, body = get(server + "/", "br")
    assert (headers["content-encoding"], brotli.decompress(body)) == ("br", plain)
    for accept in ("gzip;q=0", "supergzip", "identity"):
        assert get(server + "/", accept)[1] == plain


def test_events_can_be_read_as_they_come(server: str) -> None:
    request = urllib.request.Request(server + "/events", headers={"Accept-Encoding": "gzip"})
    decode = zlib.decompressobj(31).decompress
    with urllib.request.urlopen(request, timeout=20) as response:
        for number in range(5):
            text = b""
            while not text:
                text = decode(response.read1())
            assert text == b"data: event %d\n\n" % number
        assert decode(response.read()) == b""


def test_requests_may_come_compressed(server: str) -> None:
    headers = {"Content-Encoding": "gzip"}
    body = gzip.compress(b"x" * 54_321)
    request = urllib.request.Request(server + "/length", body, headers, method="POST")
    with urllib.request.urlopen(request, timeout=20) as response:
        assert response.read() == b"54321\n"
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(server + "/nothing", "gzip")


def test_many_at_once(server: str) -> None:
    with ThreadPoolExecutor(16) as pool:
        bodies = list(pool.map(lambda _: get(server + "/", "gzip")[1], range(200)))
    assert len({gzip.decompress(body) for body in bodies}) == 1
    status = json.loads(get(server + "/status", "identity")[1])
    assert status["completed"] >= 200
