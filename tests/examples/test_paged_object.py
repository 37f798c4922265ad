"""The object whose pages come over HTTP, from a server that counts what it is asked for."""

import gzip
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.examples.support import EXAMPLES, run, web

CHANCE = random.Random(3)
OBJECT = b"".join(b"%d: %d\n" % (number, CHANCE.getrandbits(32)) for number in range(50_000))
PAGES = -(-len(OBJECT) // (64 * 1024))


class Store(BaseHTTPRequestHandler):
    """Serves the object by ranges."""

    ranges: ClassVar[list[tuple[int, int]]] = []
    etag = '"first"'
    changes = False

    def log_message(self, *words: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.send_response(200 if self.path == "/object?v=1" else 404)
        self.send_header("Content-Length", str(len(OBJECT)))
        self.send_header("ETag", self.etag)
        self.end_headers()

    def do_GET(self) -> None:
        assert self.headers["If-Range"] == (self.etag if self.etag[0] == '"' else None)
        first, last = map(int, re.findall(r"\d+", self.headers["Range"]))
        self.ranges.append((first, last))
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(OBJECT)}")
        self.send_header("ETag", 'W/"second"' if self.changes else self.etag)
        self.end_headers()
        self.wfile.write(OBJECT[first : last + 1])


@pytest.fixture
def store() -> Iterator[Any]:
    Store.ranges, Store.etag, Store.changes = [], '"first"', False
    with web(Store) as server:
        yield server


@pytest.mark.parametrize("backend", ["cpu", "hip08"])
def test_each_page_is_asked_for_once(store: Any, backend: str, tmp_path: Path) -> None:
    output, url = tmp_path / "object.gz", f"http://127.0.0.1:{store.server_port}/object?v=1"
    done = run("paged_object.py", url, "-o", str(output), WDASYNC_BACKEND=backend)
    assert gzip.decompress(output.read_bytes()) == OBJECT
    assert sorted(Store.ranges) == sorted(set(Store.ranges))
    assert len(Store.ranges) == PAGES
    assert max(last for _, last in Store.ranges) == len(OBJECT) - 1
    found = re.search(
        rf"on {backend}/.*pages fetched (on fault|before): {PAGES} requests, (\d+) faults", done.stdout
    )
    assert found is not None, done.stdout
    if backend == "hip08":
        assert found[1] == "on fault"
        assert int(found[2]) >= PAGES


def test_an_object_that_is_not_there(store: Any, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{store.server_port}/other"
    words = [sys.executable, str(EXAMPLES / "paged_object.py"), url, "-o", str(tmp_path / "x")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "expected 200 and a Content-Length, got 404" in done.stderr
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("changes", [False, True])
def test_a_weak_tag(store: Any, changes: bool, tmp_path: Path) -> None:
    """``If-Range`` must not have one (RFC 9110 section 13.1.5); but an answer with another one is of another version."""
    Store.etag, Store.changes = 'W/"first"', changes
    output, url = tmp_path / "object.gz", f"http://127.0.0.1:{store.server_port}/object?v=1"
    words = [sys.executable, str(EXAMPLES / "paged_object.py"), url, "-o", str(output)]
    environment = {**os.environ, "WDASYNC_BACKEND": "cpu"}
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert (done.returncode != 0) is changes, done.stderr
    if changes:
        assert "has the object changed?" in done.stderr
    else:
        assert gzip.decompress(output.read_bytes()) == OBJECT
