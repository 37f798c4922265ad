"""What goes wrong: upstreams, clients, and the accelerator."""

import gzip
import socket
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.examples.reverse_proxy.conftest import CHECKOUT, Proxy, Start, proxy, receive_all
from tests.examples.reverse_proxy.origin import Origin, eventually, text
from tests.examples.reverse_proxy.test_relaying import UPGRADE, ask, parsed


def get(path: str, fields: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n{fields}\r\n".encode()


def reset(client: socket.socket) -> None:
    """End a connection with a reset."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


# -- the upstream -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/vanish", "/garbage", "/two-lengths"])
def test_an_upstream_that_breaks_the_rules(shared: Proxy, path: str) -> None:
    answer = shared.ask(get(path))
    assert answer.startswith(b"HTTP/1.1 502 "), answer
    assert b"connection: close" in answer.lower()
    head, _, body = shared.ask(f"HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 502 ")
    assert body == b""


@pytest.mark.parametrize("length", [0, 5, 6, 7])
@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_an_upstream_with_two_ways_to_tell_the_end(shared: Proxy, length: int, coding: str) -> None:
    """RFC 9112, section 6.3, rule 3: chunks are meant, and who hands it on takes the length away."""
    answer = shared.ask(get(f"/both/{length}", f"Accept-Encoding: {coding}\r\nConnection: close\r\n"))
    response, body, rest = parsed(answer)
    assert (response.status_code, rest) == (200, b"")
    assert (gzip.decompress(body) if coding == "gzip" else body) == b"abcdef"
    assert dict(response.headers).get(b"content-length", b"none") == b"none"
    alone = shared.ask(f"HEAD /both/{length} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert b"content-length" not in alone.lower()


def test_no_content_has_no_length(shared: Proxy) -> None:
    """RFC 9110, section 8.6."""
    answer = shared.ask(get("/nothing", "Connection: close\r\n"))
    assert answer.startswith(b"HTTP/1.1 204 ")
    assert b"content-length" not in answer.lower()


def test_an_upstream_that_wants_another_protocol_says_which(shared: Proxy) -> None:
    """RFC 9110, section 15.5.22."""
    answer = shared.ask(get("/other-protocol", "Connection: close\r\n"))
    assert answer.startswith(b"HTTP/1.1 426 ")
    assert b"\r\nupgrade: shout\r\n" in answer.lower()


@pytest.mark.parametrize("path", ["/truncated", "/truncated-chunks"])
@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_an_upstream_that_says_half_of_it(shared: Proxy, path: str, coding: str) -> None:
    answer = shared.ask(get(path, f"Accept-Encoding: {coding}\r\n"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 502 "))
    if head.startswith(b"HTTP/1.1 200"):
        assert not body.endswith(b"0\r\n\r\n"), "a response that is not complete must not look so"
        assert b"content-length: %d\r\n" % len(body) not in head.lower() + b"\r\n"


def test_no_upstream(model: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
    with proxy(address, "--model", model) as running:
        answer = running.ask(get("/"))
        assert answer.startswith(b"HTTP/1.1 502 ")
        assert b"cannot be reached" in answer


def test_an_upstream_that_never_answers(start: Start) -> None:
    running = start("--limit-response", "2")  # long enough for a head on a busy machine
    assert running.ask(get("/hang")).startswith(b"HTTP/1.1 504 ")
    head, _, body = running.ask(get("/stall")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert body == text(100_000)


def test_an_upstream_that_never_accepts(model: str) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1) as listener:
        port = listener.getsockname()[1]
        fill = [socket.socket() for _ in range(4)]
        for filler in fill:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        with proxy(f"127.0.0.1:{port}", "--model", model, "--limit-connect", "0.3") as running:
            assert running.ask(get("/")).startswith(b"HTTP/1.1 504 ")
        for filler in fill:
            filler.close()


# -- clients ----------------------------------------------------------------------------------------------------


def test_clients_that_are_slow_to_ask(start: Start) -> None:
    running = start("--limit-head", "0.3", "--limit-body", "0.3", "--limit-idle", "0.3")
    assert running.ask(b"GET / HT").startswith(b"HTTP/1.1 408 ")
    assert running.ask(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel").startswith(
        b"HTTP/1.1 408 "
    )
    assert running.ask(b"") == b""
    with running.connect() as client:
        with pytest.raises(OSError, match=r"reset|Broken pipe"):
            trickle(client)


def trickle(client: socket.socket) -> None:
    """Send, a byte at a time, for a while."""
    for _ in range(400):
        client.sendall(b"X")
        time.sleep(0.05)


def test_half_a_request(shared: Proxy) -> None:
    for half in (b"GET / HT", b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel"):
        assert shared.ask(half, end=True).startswith(b"HTTP/1.1 400 ")
    assert shared.ask(b"", end=True) == b""


def test_clients_that_reset(start: Start, server: Origin) -> None:
    server.released.clear()
    running = start()
    assert ask(running, "/text/9000")[0] == 200
    before = running.descriptors
    for request in (
        b"", b"GET / HT", get("/wait"), get("/text/30000", "Accept-Encoding: gzip\r\n"), get("/hang"), UPGRADE,
        get("/chunked/5000000", "Accept-Encoding: gzip\r\n"), get("/text/5000000"), get("/events"),
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhel",
    ):  # fmt: skip
        for pause in (0.0, 0.02):
            client = running.connect()
            client.sendall(request)
            time.sleep(pause)
            reset(client)
    server.released.set()
    eventually(lambda: running.descriptors <= before)
    assert gzip.decompress(ask(running, "/text/30000", accept_encoding="gzip")[2]) == text(30000)


@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_slow_readers_fill_no_memory(start: Start, coding: str) -> None:
    running = start("--mbufs", "32", "--limit-stall", "60")
    assert ask(running, "/text/60000", accept_encoding="gzip")[0] == 200
    before = running.memory
    clients = []
    for _ in range(20):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", running.port))
        client.sendall(get("/text/20000000", f"Accept-Encoding: {coding}\r\n"))
        clients.append(client)
    for _ in range(20):
        assert gzip.decompress(ask(running, "/text/60000", accept_encoding="gzip")[2]) == text(60000)
    assert running.memory - before < 20 * 1_500_000
    for client in clients:
        client.close()


def test_slow_readers_are_cut_off(start: Start) -> None:
    running = start("--limit-stall", "0.3")
    before = running.descriptors
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", running.port))
        client.sendall(get("/text/20000000"))
        assert client.recv(10) == b"HTTP/1.1 2"
        eventually(lambda: running.descriptors <= before)


def test_more_clients_than_places(start: Start) -> None:
    running = start("--connections", "4")
    clients = [running.connect() for _ in range(4)]
    for client in clients:
        client.sendall(get("/text/7"))
        assert client.recv(100).startswith(b"HTTP/1.1 200")
    late = running.connect()
    assert late.recv(100).startswith(b"HTTP/1.1 503 ") if "asyncio" not in running.greeting else True
    late.close()
    for client in clients:
        client.close()
    eventually(lambda: _served(running))


def _served(running: Proxy) -> bool:
    try:
        return ask(running, "/text/7")[0] == 200
    except OSError:
        return False


def test_told_to_stop_while_busy(start: Start, server: Origin) -> None:
    server.released.clear()
    running = start("--grace", "20")
    with running.connect() as busy, running.connect() as idle:
        waiting = server.waiting
        busy.sendall(get("/wait"))
        eventually(lambda: server.waiting == waiting + 1)
        idle.sendall(get("/text/7"))
        seen = b""
        while not seen.endswith(text(7)):
            seen += idle.recv(1000)
        running.process.terminate()
        assert receive_all(idle) == b""
        server.released.set()
        answer = receive_all(busy)
        assert answer.endswith(b"released\n")
        assert b"connection: close" in answer.lower()
        assert running.process.wait(30) == 0


# -- the proxy's own bounds -------------------------------------------------------------------------------------


TINY = ("--ring", "1", "--mbufs", "1", "--burst", "1", "--spin", "0", "--quiet")


@pytest.mark.parametrize("path", ["chunked", "text"])
def test_tiny_rings_and_pools(server: Origin, model: str, path: str) -> None:
    with proxy(server.address, "--model", model, *TINY, WDASYNC_DEPTH="1") as running:
        with ThreadPoolExecutor(16) as pool:
            sizes = range(0, 60000, 1000)
            found = pool.map(lambda size: ask(running, f"/{path}/{size}", accept_encoding="gzip"), sizes)
            for size, (status, headers, body) in zip(sizes, found, strict=True):
                plain = gzip.decompress(body) if "content-encoding" in headers else body
                assert (status, plain) == (200, text(size))


@pytest.mark.parametrize("spin", ["0", "64"])
def test_an_idle_proxy_sleeps(start: Start, spin: str) -> None:
    running = start("--spin", spin)
    with running.connect() as client:
        client.sendall(get("/text/30000", "Accept-Encoding: gzip\r\n"))
        assert client.recv(10)
        time.sleep(0.3)
        before = running.cpu
        time.sleep(2.0)
        assert running.cpu - before < 0.4, "a loop that spins would have used 2 s"


@pytest.mark.parametrize("backend", ["cpu", "hip08", "mock"])
def test_backends(start: Start, backend: str) -> None:
    running = start("--backend", backend)
    for path in ("text", "chunked"):
        for size in (600, 60_000, 200_000):
            _, headers, body = ask(running, f"/{path}/{size}", accept_encoding="gzip")
            assert (gzip.decompress(body) if "content-encoding" in headers else body) == text(size)
            assert "content-encoding" in headers or path == "chunked" or size > 65536


#: What there is to say about a device.
LOST = "is lost, and others do its work|is back$|: lost: |: back, after|no completion within the deadline"


def test_an_accelerator_that_fails(server: Origin, model: str) -> None:
    """Whatever it does, bodies arrive, and compressed, since another one can do that."""
    with proxy(
        server.address, "--model", model, "--limit-device", "30", "--backend", "mock", tells=LOST,
        WDASYNC_MOCK_FAIL_INTERVAL="2", WDASYNC_MOCK_LOSE_INTERVAL="5", WDASYNC_DEADLINE="0.2",
    ) as running:  # fmt: skip
        for _ in range(10):
            _, headers, body = ask(running, "/text/9000", accept_encoding="gzip")
            assert (headers["content-encoding"], gzip.decompress(body)) == ("gzip", text(9000))


def test_an_accelerator_that_fails_and_is_the_only_one(server: Origin, model: str) -> None:
    """Bodies arrive as they are, if need be."""
    with proxy(
        server.address, "--model", model, "--limit-device", "0.3", "--backend", "mock", tells=LOST,
        WDASYNC_MOCK_FAIL_INTERVAL="2", WDASYNC_MOCK_LOSE_INTERVAL="5", WDASYNC_FALLBACK="false",
    ) as running:  # fmt: skip
        codings = set()
        for _ in range(10):
            _, headers, body = ask(running, "/text/9000", accept_encoding="gzip")
            codings.add(headers.get("content-encoding"))
            assert (gzip.decompress(body) if "content-encoding" in headers else body) == text(9000)
        assert codings == {None, "gzip"}


@pytest.mark.parametrize("backend", ["hip08", "mock"])
def test_an_accelerator_that_goes_away_under_load(server: Origin, model: str, backend: str) -> None:
    """No request notices: each is compressed, whole or in pieces, by the device or by the CPU."""
    paths = ["/text/30000", "/chunked/200000", "/text/60000"]

    def one(number: int) -> None:
        path = paths[number % len(paths)]
        status, headers, body = ask(running, path, accept_encoding="gzip")
        assert (status, headers.get("content-encoding")) == (200, "gzip")
        assert gzip.decompress(body) == text(int(path.rpartition("/")[2]))

    with proxy(
        server.address, "--model", model, "--backend", backend, module="tests.examples.reverse_proxy.mortal", tells=LOST
    ) as running, ThreadPoolExecutor(8) as pool:  # fmt: skip
        for _ in range(3):
            asked = [pool.submit(one, number) for number in range(40)]
            eventually(lambda: sum(it.done() for it in asked) > 10)  # noqa: B023  (it is over before the next)
            running.lose()
            for it in asked:
                it.result()
    assert [line for line in running.told if "lost" in line]


# -- the command line -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "--upstream"),
        (["--upstream", "nowhere"], "expected HOST:PORT, got 'nowhere'"),
        (["--upstream", "x:1", "--ring", "1000"], "expected a power of two, got '1000'"),
        (["--upstream", "x:1", "--burst", "0"], "expected a whole number above 0, got '0'"),
        (["--upstream", "x:1", "--tls", "plain"], "--cert and --key"),
    ],
)
def test_wrong_words(arguments: list[str], expected: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples.reverse_proxy", *arguments], cwd=CHECKOUT, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert expected in done.stderr
