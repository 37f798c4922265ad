"""The web applications of README.md and docs/how-to/asgi.md, under a real server, on both of its event loops."""

import gzip
import http.client
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import brotli
import pytest

from tests.docs.test_snippets import CHECKOUT, blocks

ADDRESS = re.compile(r"running on http://127\.0\.0\.1:(\d+)")
PAGE = b"<p>Hello, world.</p>\n" * 5000

Answer = tuple[int, dict[str, str], bytes]


def application(page: str, number: int) -> str:
    """The source of a page's n-th application."""
    found = [
        block.source
        for block in blocks(CHECKOUT / page)
        if re.search(r"^(async def app\(|app = )", block.source, re.MULTILINE)
    ]
    return found[number]


@contextmanager
def served(source: str, folder: Path, loop: str) -> Iterator[int]:
    """The port of a server that runs it. It must end without complaints."""
    (folder / "app.py").write_text(source)
    log = folder / "log"
    command = ["-X", "dev", "-m", "uvicorn", "app:app", "--host=127.0.0.1", "--port=0", f"--loop={loop}"]
    with (
        log.open("w") as writer,
        subprocess.Popen([sys.executable, *command], cwd=folder, stderr=writer) as server,
    ):
        try:
            with log.open() as reader:
                yield port_of(reader.readline, server)
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(30)
    told = log.read_text()
    assert "Traceback" not in told, told
    assert "wdasync" not in told or "Warning" not in told, told


def port_of(readline: Callable[[], str], server: subprocess.Popen[bytes]) -> int:
    """Wait until the server says where it is."""
    while server.poll() is None:
        if found := ADDRESS.search(readline()):
            return int(found[1])
    raise AssertionError("the server ended before it began")


def ask(port: int, method: str = "GET", path: str = "/", body: bytes = b"", **headers: str) -> Answer:
    """One request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> str:
    """Those that uvicorn knows."""
    return str(request.param)


@pytest.mark.parametrize("page", ["README.md", "docs/how-to/asgi.md"])
def test_pages_are_compressed_for_those_who_can_read_it(page: str, tmp_path: Path, loop: str) -> None:
    with served(application(page, 0), tmp_path, loop) as port:
        status, headers, body = ask(port, accept_encoding="gzip, br")
        assert (status, headers["content-encoding"], headers["vary"]) == (200, "gzip", "accept-encoding")
        assert gzip.decompress(body) == PAGE
        assert len(body) < len(PAGE)
        status, headers, body = ask(port)
        assert (status, "content-encoding" in headers, body) == (200, False, PAGE)


def test_uploads(tmp_path: Path, loop: str) -> None:
    with served(application("docs/how-to/asgi.md", 0), tmp_path, loop) as port:
        good, bomb = gzip.compress(PAGE), gzip.compress(bytes(17 << 20))
        answers = [
            ask(port, "POST", "/upload", body, content_encoding="gzip") for body in (good, bomb, good[:-9])
        ]
        assert [answer[0] for answer in answers] == [200, 413, 400]
        assert answers[0][2] == b"%d bytes" % len(PAGE)
        assert b"in the middle of it" in answers[2][2]


def test_settings_of_ones_own(tmp_path: Path, loop: str) -> None:
    with served(application("docs/how-to/asgi.md", 2), tmp_path, loop) as port:
        _, headers, body = ask(port, accept_encoding="gzip, br")
        assert (headers["content-encoding"], brotli.decompress(body)) == ("br", PAGE)


def test_files(tmp_path: Path, loop: str) -> None:
    with served(application("docs/how-to/asgi.md", 4), tmp_path, loop) as port:
        for _ in range(2):
            status, headers, body = ask(port, path="/static/page.html", accept_encoding="gzip")
            assert (status, headers["content-encoding"], gzip.decompress(body)) == (200, "gzip", PAGE)
            assert headers["etag"].startswith('"')


def test_a_stream(tmp_path: Path, loop: str) -> None:
    with served(application("docs/how-to/asgi.md", 3), tmp_path, loop) as port:
        _, headers, body = ask(port, accept_encoding="gzip")
        assert headers["content-encoding"] == "gzip"
        assert gzip.decompress(body) == b"".join(b"tick %d\n" % number for number in range(5))
