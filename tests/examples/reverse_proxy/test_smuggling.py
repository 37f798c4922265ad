"""Requests that two parsers read differently go no further: 400 or 431, and the end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.reverse_proxy.heads import MAX_FIELDS, MAX_HEAD, Heads, Refused, check_head
from tests.examples.reverse_proxy.conftest import Proxy
from tests.examples.reverse_proxy.origin import Origin

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /echo HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

REFUSED = {
    "both": (400, POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "both, the other way round": (
        400,
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    ),
    "two lengths": (400, POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
    "the same length twice": (400, POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
    "a list of lengths": (400, POST + b"Content-Length: 5, 5\r\n\r\nhello"),
    "a length with a sign": (400, POST + b"Content-Length: +5\r\n\r\nhello"),
    "a negative length": (400, POST + b"Content-Length: -5\r\n\r\nhello"),
    "a length in hexadecimal": (400, POST + b"Content-Length: 0x5\r\n\r\nhello"),
    "an empty length": (400, POST + b"Content-Length: \r\n\r\nhello"),
    "a length beyond all bounds": (400, POST + b"Content-Length: 99999999999999999999\r\n\r\nhello"),
    "a length in other digits": (400, POST + "Content-Length: ５\r\n\r\nhello".encode()),
    "a space before the colon": (400, POST + b"Content-Length : 5\r\n\r\nhello"),
    "a space before the colon of the coding": (400, POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    "two codings": (400, POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "two codings, one unknown": (
        400,
        POST + b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    "an unknown coding": (501, POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    "a coding before chunked": (501, POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "a vertical tab in the coding": (400, POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    "chunked in HTTP/1.0": (400, b"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "a folded field": (400, POST + b"X: a\r\n b\r\n\r\n"),
    "a folded coding": (400, POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    "a first field that begins with a space": (400, b"GET / HTTP/1.1\r\n Host: x\r\nHost: x\r\n\r\n"),
    "bare LF everywhere": (400, b"GET / HTTP/1.1\nHost: x\n\n"),
    "bare LF after one field": (400, b"GET / HTTP/1.1\r\nHost: x\nX: y\r\n\r\n"),
    "bare LF before the end": (400, b"GET / HTTP/1.1\r\nHost: x\n\r\n"),
    "bare LF at the end": (400, b"GET / HTTP/1.1\r\nHost: x\r\n\n"),
    "bare CR in a field": (400, b"GET / HTTP/1.1\r\nHost: x\r\nX: a\rTransfer-Encoding: chunked\r\n\r\n"),
    "NUL in a field": (400, b"GET / HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n"),
    "no colon": (400, b"GET / HTTP/1.1\r\nHost: x\r\nX\r\n\r\n"),
    "no name": (400, b"GET / HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n"),
    "no Host": (400, b"GET / HTTP/1.1\r\n\r\n"),
    "two Hosts": (400, b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n"),
    "a Host that is two": (400, b"GET / HTTP/1.1\r\nHost: x, y\r\n\r\n"),
    "a Host with a path": (400, b"GET / HTTP/1.1\r\nHost: x/y\r\n\r\n"),
    "a Host with a user": (400, b"GET / HTTP/1.1\r\nHost: x@y\r\n\r\n"),
    "a target with a user": (400, b"GET http://a@b/ HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a target with half an address": (400, b"GET http://[x/ HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a target with an address that is none": (400, b"GET http://[xyz]/ HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a target with the end of an address": (400, b"GET http://a]/ HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a target with a backslash": (400, b"GET http://a\\b/x HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a target with brackets": (400, b'GET http://a"b<c>/x HTTP/1.1\r\nHost: x\r\n\r\n'),
    "a target that is two": (400, b"GET http://a,b/x HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a target with a port that is none": (400, b"GET http://a:99999999x/x HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a target with a port alone": (400, b"GET http://:80/x HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a target that is none": (400, b"GET nonsense HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a target with a space": (400, b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n"),
    "HTTP/2": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "HTTP/1.2": (505, b"GET / HTTP/1.2\r\nHost: x\r\n\r\n"),
    "no version": (400, b"GET /\r\n\r\n"),
    "TLS where there is none": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200)),
    "a tunnel": (405, b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n"),
    "a chunk size that is none": (400, CHUNKED + b"zz\r\nhello\r\n0\r\n\r\n"),
    "a chunk size with a sign": (400, CHUNKED + b"+5\r\nhello\r\n0\r\n\r\n"),
    "a chunk size with 0x": (400, CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n"),
    "a chunk size with a space before": (400, CHUNKED + b" 5\r\nhello\r\n0\r\n\r\n"),
    "a chunk size beyond all bounds": (400, CHUNKED + b"f" * 30 + b"\r\nhello\r\n0\r\n\r\n"),
    "an empty chunk size": (400, CHUNKED + b"\r\nhello\r\n0\r\n\r\n"),
    "a chunk longer than its size": (400, CHUNKED + b"3\r\nhello\r\n0\r\n\r\n"),
    "a chunk without its end": (400, CHUNKED + b"5\r\nhello0\r\n\r\n"),
    "bare LF after a chunk size": (400, CHUNKED + b"5\nhello\r\n0\r\n\r\n"),
    "bare LF in an extension": (400, CHUNKED + b"5;\nxx\r\nhello\r\n0\r\n\r\n"),
    "an extension without an end": (400, CHUNKED + b"5;" + b"x" * 100_000),
    "trailers without an end": (400, CHUNKED + b"0\r\n" + b"X: y\r\n" * 20_000),
    "fields without an end": (431, b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 20_000),
    "a long field": (431, b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * MAX_HEAD + b"\r\n\r\n"),
    "a long target": (431, b"GET /" + b"y" * MAX_HEAD + b" HTTP/1.1\r\nHost: x\r\n\r\n"),
    "many fields": (431, b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * MAX_FIELDS + b"\r\n"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_and_closed(shared: Proxy, server: Origin, name: str) -> None:
    status, request = REFUSED[name]
    before = len(server.heads)
    answer = shared.ask(request + SMUGGLED)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"connection: close\r\n" in answer.lower()
    assert not any(b"smuggled" in head for head in server.heads[before:])


def test_what_is_only_unusual_passes(shared: Proxy) -> None:
    for request in (
        b'POST /echo HTTP/1.1\r\nHost:x\r\nConnection:close\r\ntransfer-ENCODING:\t CHUNKED \r\n\r\n05;a="b"\r\nhello\r\n000\r\nX: y\r\n\r\n',
        b"OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\nConnection: close\r\n\r\n",
        b'GET /text?a=%00&b="{}|\\ HTTP/1.1\r\nHost: a_b.example.:8080\r\nConnection: close\r\n\r\n',
        b"GET /text HTTP/1.1\r\nHost: x\r\nX:\r\nX: \xe4\r\nConnection: close\r\n\r\n",
    ):
        assert shared.ask(request).startswith(b"HTTP/1.1 200"), request


@given(st.lists(st.sampled_from([b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"X", b"Host: x", b"Content-Length: 5",
    b"Transfer-Encoding: chunked", b"0", b","]), max_size=12))  # fmt: skip
def test_what_passes_is_read_by_all_in_one_way(parts: list[bytes]) -> None:
    head = b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(parts) + b"\r\n\r\n"
    heads = Heads()
    heads.receive(head)
    try:
        taken = heads.take_head()
        assert taken is not None
        check_head(taken)
    except Refused:
        return
    assert taken.endswith(b"\r\n\r\n")
    assert b"\r\n\r\n" not in taken[:-2]
    assert not {b"\r", b"\n"} & set(taken.replace(b"\r\n", b""))
    names = [line.partition(b":")[0].strip().lower() for line in taken.split(b"\r\n")[1:]]
    assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1
    assert names.count(b"host") == 1
