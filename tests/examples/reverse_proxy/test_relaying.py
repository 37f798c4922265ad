"""What HTTP asks of a proxy, from outside: in both models that poll, and in the plain one."""

import gzip
import http.client
import json
import re
import socket
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime

import h11
import pytest

from tests.examples.reverse_proxy.conftest import CHECKOUT, Proxy, Start, receive_all
from tests.examples.reverse_proxy.origin import Origin, eventually, text


def ask(
    proxy: Proxy, path: str, method: str = "GET", body: object = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request(method, path, body, fields)  # type: ignore[arg-type]
        response = connection.getresponse()
        return (
            response.status,
            {name.lower(): value for name, value in response.getheaders()},
            response.read(),
        )
    finally:
        connection.close()


@pytest.mark.parametrize("size", [500, 5000, 60_000, 300_000])
@pytest.mark.parametrize("path", ["text", "chunked", "until-close"])
def test_bodies_plain_and_compressed(shared: Proxy, path: str, size: int) -> None:
    status, headers, body = ask(shared, f"/{path}/{size}")
    assert (status, body) == (200, text(size))
    assert "content-encoding" not in headers
    assert headers["vary"] == "accept-encoding"
    status, headers, body = ask(shared, f"/{path}/{size}", accept_encoding="gzip")
    assert (status, headers["content-encoding"], headers["vary"]) == (200, "gzip", "accept-encoding")
    assert gzip.decompress(body) == text(size)
    assert ("content-length" in headers) == (path == "text" and size < 65536)
    if path == "text":
        assert headers["etag"] == 'W/"abc"'
        assert "accept-ranges" not in headers


def test_negotiation(shared: Proxy) -> None:
    assert "content-encoding" not in ask(shared, "/text/5000", accept_encoding="gzip;q=0")[1]
    assert ask(shared, "/text/5000", accept_encoding="gzip;q=0.1, br")[1]["content-encoding"] == "br"
    assert "content-encoding" not in ask(shared, "/text/400", accept_encoding="gzip")[1]
    assert "content-encoding" not in ask(shared, "/image", accept_encoding="gzip")[1]
    assert "vary" not in ask(shared, "/image", accept_encoding="gzip")[1]


def test_what_does_not_get_smaller_stays_as_it_is(shared: Proxy, server: Origin) -> None:
    _, headers, body = ask(shared, "/noise/40000", accept_encoding="gzip")
    assert body == server.noise[:40000]
    assert "content-encoding" not in headers
    assert headers["content-length"] == "40000"


def test_no_bodies(shared: Proxy) -> None:
    status, headers, body = ask(shared, "/text/5000", "HEAD")
    assert (status, headers["content-length"], headers["etag"], body) == (200, "5000", '"abc"', b"")
    assert ask(shared, "/status/204", accept_encoding="gzip")[::2] == (204, b"")
    status, headers, body = ask(shared, "/status/304", accept_encoding="gzip", if_none_match='W/"abc"')
    assert (status, headers["etag"], headers["vary"], body) == (304, 'W/"abc"', "accept-encoding", b"")


@pytest.mark.parametrize(("path", "size"), [("text", 5000), ("text", 300_000), ("chunked", 5000)])
def test_head_has_the_fields_of_a_compressed_page(shared: Proxy, path: str, size: int) -> None:
    """A length or a strong tag of the plain body would make a cache throw away what it has (RFC 9111 section 4.3.5)."""
    connection = http.client.HTTPConnection("127.0.0.1", shared.port, timeout=30)
    found = []
    for method in ("HEAD", "GET", "HEAD"):
        connection.request(method, f"/{path}/{size}", headers={"Accept-Encoding": "gzip"})
        response = connection.getresponse()
        body = response.read()
        assert (gzip.decompress(body) if method == "GET" else body) == (
            text(size) if method == "GET" else b""
        )
        found.append({name.lower(): value for name, value in response.getheaders()})
    connection.close()
    other = {"content-length", "transfer-encoding", "content-encoding", "date"}  # it may be a second later
    for head in (found[0], found[2]):
        assert "content-length" not in head
        assert {k: v for k, v in head.items() if k not in other} == {
            k: v for k, v in found[1].items() if k not in other
        }
    assert ask(shared, f"/{path}/{size}", "HEAD", accept_encoding="identity")[1].get("content-length") == (
        str(size) if path == "text" else None
    )


@pytest.mark.parametrize("size", [0, 1, 10_000, 1_000_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_of_requests(shared: Proxy, size: int, chunked: bool) -> None:
    data = text(size)
    body = (data[start : start + 7000] for start in range(0, size, 7000)) if chunked else data
    status, _, answer = ask(shared, "/echo", "POST", body)
    seen = json.loads(answer)
    assert (status, seen["method"], seen["length"], seen["body"]) == (200, "POST", size, data[:100].decode())
    assert ("transfer-encoding" in seen["fields"]) == chunked


def test_fields_of_one_connection_go_no_further(shared: Proxy, server: Origin) -> None:
    request = (
        b"GET /echo HTTP/1.1\r\nHost: there\r\nConnection: close, X-Secret, Host\r\nX-Secret: 1\r\nKeep-Alive: 5\r\n"
        b"TE: trailers\r\nProxy-Connection: keep-alive\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: gopher\r\n"
        b"Upgrade: websocket\r\nX-Kept: 2\r\n\r\n"
    )
    answer = shared.ask(request)
    fields = json.loads(answer.partition(b"\r\n\r\n")[2])["fields"]
    assert fields == {
        "host": "there", "x-kept": "2", "via": "1.1 wdasync-proxy", "x-forwarded-for": "192.0.2.7, 127.0.0.1",
        "x-forwarded-proto": "http", "x-forwarded-host": "there",
    }  # fmt: skip
    assert b"connection: close" in answer.lower()


def test_a_client_that_wants_no_transformation(shared: Proxy) -> None:
    """RFC 9111 section 5.2.1.6: it is for proxies."""
    for field in ("no-transform", "max-age=0, No-Transform"):
        status, headers, body = ask(shared, "/text/5000", accept_encoding="gzip", cache_control=field)
        assert (status, headers.get("content-encoding"), headers["etag"], body) == (
            200,
            None,
            '"abc"',
            text(5000),
        )
    assert ask(shared, "/text/5000", accept_encoding="gzip", cache_control="no-cache")[1]["content-encoding"]


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE"])
def test_as_far_as_a_client_wants_it_to_go(shared: Proxy, server: Origin, method: str) -> None:
    """RFC 9110 section 7.6.2."""
    before = len(server.heads)
    status, _, _ = ask(shared, "/echo", method, max_forwards="0")
    assert status == (200 if method == "OPTIONS" else 405)
    assert len(server.heads) == before, "it went on"
    status, _, answer = ask(shared, "/echo", method, max_forwards="7")
    assert (status, json.loads(answer)["fields"]["max-forwards"]) == (200, "6")
    assert ask(shared, "/echo", method, max_forwards="-1")[0] == 400
    assert json.loads(ask(shared, "/echo", max_forwards="0")[2])["fields"]["max-forwards"] == "0", (
        "it is for others"
    )


def test_who_has_asked(shared: Proxy) -> None:
    """Each message names those whom it came by, and in which version (RFC 9110 section 7.6.3)."""
    for version, via in ((b"1.0", "1.0 wdasync-proxy"), (b"1.1", "1.1 wdasync-proxy")):
        answer = shared.ask(
            b"GET /via HTTP/%b\r\nHost: x\r\nVia: 1.1 other\r\nConnection: close\r\n\r\n" % version
        )
        assert answer.endswith(f"1.1 other, {via}".encode())


def test_each_answer_has_a_date(shared: Proxy) -> None:
    """Whoever sends on an answer without one puts it in (RFC 9110 section 6.6.1)."""
    for path, count in (("/text/9", 1), ("/text/5000", 1), ("/vanish", 1), ("/dated", 1)):
        answer = shared.ask(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        dates = re.findall(rb"\r\ndate: (.*?)\r\n", answer)
        assert len(dates) == count
        then = parsedate_to_datetime(dates[0].decode()).timestamp()
        assert then == 0 if path == "/dated" else abs(time.time() - then) < 100


def test_options_of_the_server_itself(shared: Proxy, server: Origin) -> None:
    """RFC 9112 section 3.2.4."""
    for target in (b"http://there.example", b"*"):
        request = b"OPTIONS %b HTTP/1.1\r\nHost: there.example\r\nConnection: close\r\n\r\n" % target
        assert shared.ask(request).startswith(b"HTTP/1.1 200")
        assert server.heads[-1].startswith(b"OPTIONS * HTTP/1.1\r\n")


def test_absolute_targets(shared: Proxy, server: Origin) -> None:
    request = b"GET http://there.example:81/echo?a=b HTTP/1.1\r\nHost: elsewhere\r\nConnection: close\r\n\r\n"
    assert shared.ask(request).startswith(b"HTTP/1.1 200")
    assert server.heads[-1].startswith(b"GET /echo?a=b HTTP/1.1\r\n")
    assert b"\r\nhost: there.example:81\r\n" in server.heads[-1]


def test_old_clients(shared: Proxy, server: Origin) -> None:
    for fields in (b"", b"Accept-Encoding: gzip\r\n"):
        head, _, body = shared.ask(b"GET /chunked/9000 HTTP/1.0\r\n%s\r\n" % fields).partition(b"\r\n\r\n")
        assert b"transfer-encoding" not in head.lower()
        assert (gzip.decompress(body) if fields else body) == text(9000)
    assert f"\r\nhost: {server.address}\r\n".encode() in server.heads[-1]


def test_one_connection_for_many(shared: Proxy, server: Origin) -> None:
    before = server.connections
    connection = http.client.HTTPConnection("127.0.0.1", shared.port, timeout=30)
    for number in range(30):
        size = (200, 5000, 60_000, 200_000)[number % 4]
        path = ("text", "chunked")[number % 2]
        connection.request(
            "GET", f"/{path}/{size}", headers={"Accept-Encoding": "gzip"} if number % 3 else {}
        )
        response = connection.getresponse()
        body = response.read()
        assert (gzip.decompress(body) if response.getheader("content-encoding") else body) == text(size)
    connection.close()
    assert server.connections == before + 1, "the upstream's connection is kept, too"


def test_pipelined_requests_are_answered_in_their_order(shared: Proxy) -> None:
    sizes = [60_000, 10, 3000, 200_000, 5, 700]
    request = b"".join(
        b"GET /text/%d HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n" % size for size in sizes
    )
    last = b"GET /text/77 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    data = shared.ask(request + last)
    for size in [*sizes, 77]:
        response, body, data = parsed(data)
        assert (
            gzip.decompress(body) if (b"content-encoding", b"gzip") in response.headers else body
        ) == text(size)
    assert data == b""


def parsed(data: bytes) -> tuple[h11.Response, bytes, bytes]:
    """The first response in it, its body, and what follows."""
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    reader.send(h11.EndOfMessage())
    reader.receive_data(data)
    response, body = reader.next_event(), b""
    assert isinstance(response, h11.Response)
    while isinstance(event := reader.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    return response, body, reader.trailing_data[0]


def test_bytes_one_by_one(shared: Proxy) -> None:
    request = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    with shared.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in request:
            client.sendall(bytes([byte]))
        assert json.loads(receive_all(client).partition(b"\r\n\r\n")[2])["body"] == "abc"


def test_an_empty_line_before_a_request(shared: Proxy) -> None:
    assert shared.ask(b"\r\nGET /text HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").startswith(
        b"HTTP/1.1 200"
    )


def test_a_slow_response_delays_nobody_else(start: Start, server: Origin) -> None:
    server.released.clear()
    proxy = start()
    waiting = server.waiting
    slow = [proxy.connect() for _ in range(5)]
    for client in slow:
        client.sendall(b"GET /wait HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    eventually(lambda: server.waiting == waiting + 5)
    with ThreadPoolExecutor(8) as pool:
        bodies = list(pool.map(lambda _: ask(proxy, "/text/30000", accept_encoding="gzip")[2], range(40)))
    assert {gzip.decompress(body) for body in bodies} == {text(30000)}
    assert ask(proxy, "/release")[0] == 200
    for client in slow:
        assert receive_all(client).endswith(b"released\n")
        client.close()


def test_expect_continue(shared: Proxy) -> None:
    with shared.connect() as client:
        client.sendall(
            b"POST /continue HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"
        )
        assert client.recv(1000).startswith(b"HTTP/1.1 100 ")
        client.sendall(b"hello")
        assert json.loads(receive_all(client).partition(b"\r\n\r\n")[2])["body"] == "hello"


def test_a_body_that_is_refused_before_it_is_sent(shared: Proxy) -> None:
    with shared.connect() as client:
        client.sendall(
            b"POST /refuse HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
        )
        answer = receive_all(client)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in answer.lower()


def test_a_body_that_is_refused_while_it_is_sent(shared: Proxy) -> None:
    with shared.connect() as client:
        client.sendall(
            b"POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n" + bytes(100_000)
        )
        answer = receive_all(client)
    assert answer.startswith(b"HTTP/1.1 413")
    assert answer.endswith(b"too large")


def test_early_hints(shared: Proxy) -> None:
    answer = shared.ask(b"GET /hints HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 103 Early Hints\r\n")
    assert answer.endswith(b"hinted")
    answer = shared.ask(b"GET /hints HTTP/1.0\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")


def test_events_are_readable_as_they_come(start: Start, server: Origin) -> None:
    server.released.clear()
    proxy = start()
    with proxy.connect() as client:
        client.sendall(b"GET /events HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n")
        stream = client.makefile("rb")
        while stream.readline() != b"\r\n":
            pass
        unzip, seen = zlib.decompressobj(31), b""
        while seen != b"data: first\n\n":
            seen += unzip.decompress(stream.read1(100))
        server.released.set()
        seen += unzip.decompress(stream.read())
        stream.close()
    assert seen == b"data: first\n\ndata: second\n\n"
    assert unzip.eof


UPGRADE = b"GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\n"


def test_an_upgrade_is_a_tunnel(shared: Proxy) -> None:
    with shared.connect() as client:
        client.sendall(UPGRADE + b"early\n")
        stream = client.makefile("rb")
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += stream.readline()
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"upgrade: shout" in head.lower()
        assert [stream.readline(), stream.readline()] == [b"WELCOME\n", b"EARLY\n"]
        for word in (b"one\n", b"two\n", b"x" * 300_000 + b"\n"):
            client.sendall(word)
            assert stream.readline() == word.upper()
        client.shutdown(socket.SHUT_WR)
        assert stream.read() == b"GOODBYE\n"
        stream.close()


def test_no_tunnel_to_http2(shared: Proxy, server: Origin) -> None:
    request = b"GET /echo HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\n\r\n"
    assert shared.ask(request).startswith(b"HTTP/1.1 200")
    assert b"upgrade" not in server.heads[-1].lower()


def test_a_client_that_has_said_all(shared: Proxy) -> None:
    request = b"GET /text/60000 HTTP/1.1\r\nHost: x\r\n\r\nGET /text/9 HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = shared.ask(request, end=True)
    assert answer.count(b"HTTP/1.1 200") == 2
    assert answer.endswith(text(9))


def test_a_kept_connection_that_the_upstream_has_closed(shared: Proxy, server: Origin) -> None:
    before = server.connections
    connection = http.client.HTTPConnection("127.0.0.1", shared.port, timeout=30)
    for path in ("/die/once", "/die/again", "/die/again", "/text/7"):
        connection.request("GET", path)
        assert connection.getresponse().read() in (b"alive", text(7))
    connection.close()
    assert server.connections >= before + 3


def test_an_answer_that_nobody_has_asked_for(shared: Proxy) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", shared.port, timeout=30)
    for path, expected in (("/unasked", b"asked"), ("/text/7", text(7)), ("/unasked", b"asked")):
        connection.request("GET", path)
        assert connection.getresponse().read() == expected
    connection.close()


def test_many_clients_at_once(shared: Proxy) -> None:
    def one(number: int) -> bool:
        size = 100 * number
        return gzip.decompress(ask(shared, f"/chunked/{size}", accept_encoding="gzip")[2]) == text(size)

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(one, range(1, 101)))


LINE = (
    r"req/s (\d+) \| rx \d+ \w+/s \| tx \d+ \w+/s \| ops/s (\d+) \| p50 (\S+)( ms)? \| p99 (\S+)( ms)? \| connections \d+"
    r".* \| drops 0 \| nombuf 0 \| empty \d+/\d+ \| sleeps \d+ \| cpu \d+%\n"
)


def test_a_line_a_second(start: Start, model: str) -> None:
    proxy = start()
    for _ in range(20):
        ask(proxy, "/text/9000", accept_encoding="gzip")
    assert proxy.process.stdout is not None
    said = [proxy.process.stdout.readline() for _ in range(2)]
    lines = [re.fullmatch(LINE, line) for line in said]
    assert all(lines), said
    assert any(line and int(line[1]) and int(line[2]) and float(line[3]) <= float(line[5]) for line in lines)
    if model != "plain":
        assert f"{model}, burst 32, ring 1024" in proxy.greeting
    if model == "rtc":
        page = (CHECKOUT / "docs" / "explanation" / "reverse-proxy.md").read_text()
        (shown,) = re.findall("^req/s .*\n", page, re.MULTILINE)
        assert re.fullmatch(LINE, shown)
        assert names(shown) == names(said[0])


def names(line: str) -> list[str]:
    """What a line of figures has figures of."""
    return [part.split()[0] for part in line.split(" | ")]
