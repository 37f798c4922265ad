"""Real clients and servers: curl, OpenSSL, nginx, and TLS in between."""

import gzip
import hashlib
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.examples.certificates import make
from tests.examples.offloaded_tls.headers import needed
from tests.examples.reverse_proxy.conftest import Proxy, proxy, receive_all
from tests.examples.reverse_proxy.origin import Origin, eventually, text
from tests.programs import needs

Files = tuple[str, str]


def make_certificate(folder: Path, kind: str) -> Files:
    _, (certificate, key) = make(folder, kind)
    return str(certificate), str(key)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return make_certificate(tmp_path_factory.mktemp("tls"), "rsa")


@contextmanager
def secured(server: Origin, model: str, engine: str, files: Files, *arguments: str) -> Iterator[Proxy]:
    if engine == "offloaded":
        needed()
    words = ("--model", model, "--tls", engine, "--cert", files[0], "--key", files[1])
    with proxy(server.address, *words, *arguments) as it:
        yield it


#: Which engine each model can have.
ENGINES = [
    ("rtc", "plain"),
    ("rtc", "offloaded"),
    ("pipeline", "plain"),
    ("pipeline", "offloaded"),
    ("plain", "plain"),
    ("plain", "offloaded"),
]


@pytest.fixture(scope="module", params=ENGINES, ids="-".join)
def secure(request: pytest.FixtureRequest, server: Origin, certificate: Files) -> Iterator[Proxy]:
    with secured(server, *request.param, certificate, "--limit-head", "2", "--limit-idle", "2") as it:
        yield it


def curl(*arguments: str) -> bytes:
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--max-time", "30", *arguments], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs("curl")
def test_curl(shared: Proxy) -> None:
    url = f"http://localhost:{shared.port}"
    assert curl("-4", "--compressed", f"{url}/chunked/100000", f"{url}/text/50000") == text(100_000) + text(
        50_000
    )
    answer = curl(
        "-4", "--data-binary", "@-", "-H", "Expect: 100-continue", "--data", "x" * 5000, f"{url}/continue"
    )
    assert b'"length": 5' in answer
    assert b"413" in curl("-4", "-i", "-T", __file__, f"{url}/refuse")


@needs("curl")
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_tls_with_curl(secure: Proxy, certificate: Files, version: str) -> None:
    url = f"https://localhost:{secure.port}"
    arguments = ["-4", "--cacert", certificate[0], f"--tlsv{version}", "--tls-max", version, "--compressed"]
    body = curl(*arguments, f"{url}/text/60000", f"{url}/chunked/300000", f"{url}/echo")
    assert body.startswith(text(60_000) + text(300_000))
    assert b'"x-forwarded-proto": "https"' in body


@needs("openssl")
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_tls_with_openssl(secure: Proxy, version: str) -> None:
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{secure.port}", version, "-quiet", "-ign_eof"],
        input=b"GET /text/70000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", capture_output=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.stdout.endswith(text(70_000)), done.stderr


def test_tls_ends_in_order(secure: Proxy, certificate: Files) -> None:
    context = ssl.create_default_context(cafile=certificate[0])
    with context.wrap_socket(
        secure.connect(), server_hostname="localhost", suppress_ragged_eofs=False
    ) as client:
        assert client.selected_alpn_protocol() is None
        client.sendall(b"GET /text/9 HTTP/1.0\r\n\r\n")
        found = b""
        while data := client.recv(1000):  # an end without a farewell would raise
            found += data
    assert found.endswith(text(9))


def test_a_tunnel_within_tls(secure: Proxy, certificate: Files) -> None:
    context = ssl.create_default_context(cafile=certificate[0])
    with context.wrap_socket(secure.connect(), server_hostname="localhost") as client:
        client.sendall(b"GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\n")
        found = b""
        while not found.endswith(b"WELCOME\n"):
            found += client.recv(1000)
        client.sendall(b"one\nbye\n")
        while data := client.recv(1000):
            found += data
    assert found.endswith(b"WELCOME\nONE\nBYE\nGOODBYE\n")


def test_a_body_within_tls(secure: Proxy, certificate: Files) -> None:
    """More than one record, in both directions, while the client reads and writes in turns."""
    context = ssl.create_default_context(cafile=certificate[0])
    with context.wrap_socket(secure.connect(), server_hostname="localhost") as client:
        for size in (0, 100_000, 1_000_000):
            client.sendall(
                b"POST /digest HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + text(size)
            )
            found = b""
            while not found.endswith(hashlib.sha256(text(size)).hexdigest().encode()):
                found += client.recv(1000)


def test_what_is_no_tls(secure: Proxy) -> None:
    answer = secure.ask(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert not answer.startswith(b"HTTP"), "nothing in clear"
    with secure.connect() as silent:
        assert receive_all(silent) == b""
    with secure.connect() as half:
        half.sendall(b"\x16\x03\x01\x02\x00")
        half.shutdown(socket.SHUT_WR)
        receive_all(half)


def shake(proxy: Proxy, certificate: Files, version: ssl.TLSVersion) -> bytes:
    """A handshake, and one request."""
    context = ssl.create_default_context(cafile=certificate[0])
    context.maximum_version = version
    with context.wrap_socket(proxy.connect(), server_hostname="localhost") as client:
        client.sendall(b"GET /text/30000 HTTP/1.0\r\n\r\n")
        found = b""
        while data := client.recv(1 << 16):
            found += data
    return found


@pytest.mark.parametrize("kind", ["rsa", "p256"])
def test_a_storm_of_handshakes(server: Origin, tmp_path: Path, model: str, kind: str) -> None:
    """Signatures are made in a queue, from a ring of one slot, while clients leave in the middle of it."""
    files = make_certificate(tmp_path, kind)
    with secured(server, model, "offloaded", files, "--ring", "1") as running, ThreadPoolExecutor(8) as pool:
        assert ("signatures by cpu/cpu0" in running.greeting) == (model != "plain")
        hello = ssl.MemoryBIO()
        greeting = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), hello, server_hostname="localhost")
        with pytest.raises(ssl.SSLWantReadError):
            greeting.do_handshake()
        first = hello.read()
        for _ in range(20):
            with running.connect() as leaving:
                leaving.sendall(first)
        versions = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3] * 20
        for found in pool.map(lambda version: shake(running, files, version), versions):
            assert found.endswith(text(30000))


def test_a_certificate_of_another_key(server: Origin, model: str, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    mine, other = make_certificate(tmp_path, "p256"), make_certificate(tmp_path / "other", "rsa")
    with secured(server, model, "offloaded", (mine[0], other[1])) as running:
        for _ in range(3):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                shake(running, mine, ssl.TLSVersion.TLSv1_3)


NGINX = """
daemon off; worker_processes 1; pid nginx.pid; error_log stderr;
events { worker_connections 64; }
http {
    access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi; keepalive_requests 5;
    server { listen 127.0.0.1:PORT; root .; types { text/plain txt; } }
}
"""


@contextmanager
def nginx(folder: Path) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    user = "" if os.geteuid() else "user root;"  # the folder is ours alone
    (folder / "nginx.conf").write_text(user + NGINX.replace("PORT", str(port)))
    process = subprocess.Popen(
        ["nginx", "-p", str(folder), "-c", "nginx.conf", "-e", "stderr"], stderr=subprocess.PIPE, cwd=folder
    )

    def listening() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        eventually(listening)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        _, complaints = process.communicate(timeout=30)
    assert process.returncode == 0, complaints


@needs("curl", "nginx")
def test_before_nginx(model: str, tmp_path: Path) -> None:
    (tmp_path / "page.txt").write_bytes(text(50_000))
    (tmp_path / "large.txt").write_bytes(text(2_000_000))
    with nginx(tmp_path) as address, proxy(address, "--model", model) as running:
        url = f"http://127.0.0.1:{running.port}"
        # nginx closes its connection after five requests, and the client's lives on
        urls = [f"{url}/{name}.txt" for name in ("page", "large", *["page"] * 12)]
        assert curl("--compressed", *urls) == text(50_000) + text(2_000_000) + text(50_000) * 12
        packed = curl("-H", "Accept-Encoding: gzip", urls[0])
        assert len(packed) < 20_000
        assert gzip.decompress(packed) == text(50_000)
        assert b" 304 " in curl(
            "-i",
            "-H",
            f"If-Modified-Since: {time.strftime('%a, %d %b %Y %H:%M:%S GMT', time.gmtime())}",
            urls[0],
        )
        assert curl("-r", "10-19", "--compressed", urls[0]) == text(50_000)[10:20]
        assert b" 404 " in curl("-i", f"{url}/none")
        assert b"Content-Length: 50000" in curl("-I", urls[0]).replace(b"content-length", b"Content-Length")
