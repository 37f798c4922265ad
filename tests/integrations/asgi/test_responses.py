"""What becomes of the fields and the bytes of a response."""

import gzip
import os
import zlib

import brotli
import pytest

import wdasync
from tests.integrations.asgi.support import DECODERS, PAGE, Server, answering, ask, scope_of
from wdasync.backend import Capabilities, Capability
from wdasync.integrations.asgi import CompressionMiddleware
from wdasync.integrations.asgi.types import Receive, Scope, Send
from wdasync.integrations.codings import offers, window_of
from wdasync.operations import Kind
from wdasync.testing.mock import backend

pytestmark = pytest.mark.anyio


# -- fields -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], "accept-encoding"),
        (["Cookie"], "Cookie, accept-encoding"),
        (["Cookie", "Origin"], "Cookie, Origin, accept-encoding"),
        (["Cookie, Accept-Encoding"], "Cookie, Accept-Encoding"),
        (["*"], "*"),
        ([""], "accept-encoding"),
        (["X-Accept-Encoding"], "X-Accept-Encoding, accept-encoding"),
    ],
)
@pytest.mark.parametrize("accept", ["gzip", "identity"])
async def test_vary(before: list[str], after: str, accept: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        lines = [(b"Vary", value.encode()) for value in before]
        await send({"type": "http.response.start", "status": 200, "headers": lines})
        await send({"type": "http.response.body", "body": PAGE})

    assert (await ask(CompressionMiddleware(app), accept)).headers["vary"] == after


@pytest.mark.parametrize(
    ("before", "after"), [('"abc"', 'W/"abc"'), ('W/"abc"', 'W/"abc"'), ("abc", "abc"), ('""', 'W/""')]
)
async def test_an_etag_becomes_weak(before: str, after: str) -> None:
    app = CompressionMiddleware(answering(etag=before))
    assert (await ask(app)).headers["etag"] == after
    assert (await ask(app, "identity")).headers["etag"] == before


async def test_an_etag_stays_strong_where_the_body_stays() -> None:
    noise = os.urandom(5000)
    answer = await ask(CompressionMiddleware(answering(noise, etag='"abc"')))
    assert (answer.headers["etag"], answer.coding, answer.body) == ('"abc"', "identity", noise)
    assert answer.headers["vary"] == "accept-encoding"


@pytest.mark.parametrize(
    ("asked", "etag", "varies"),
    [
        ('W/"abc"', 'W/"abc"', True),
        ('"x", W/"abc"', 'W/"abc"', True),
        ('"abc"', '"abc"', False),
        ("*", '"abc"', False),
    ],
)
async def test_not_modified_has_the_etag_that_the_client_knows(asked: str, etag: str, varies: bool) -> None:
    """RFC 9111 section 4.3.4: a strong one would not freshen the encoded response that the client has stored."""
    app = CompressionMiddleware(answering(b"", 304, etag='"abc"'))
    answer = await ask(app, if_none_match=asked)
    assert (answer.headers["etag"], "vary" in answer.headers) == (etag, varies)


async def test_ranges_are_not_offered_of_an_encoded_body() -> None:
    app = CompressionMiddleware(answering(accept_ranges="bytes"))
    assert "accept-ranges" not in (await ask(app)).headers
    assert (await ask(app, "identity")).headers["accept-ranges"] == "bytes"


@pytest.mark.parametrize("pieces", [PAGE, [PAGE], [PAGE[:9], PAGE[9:]]])
async def test_the_length_is_that_of_what_is_sent_or_not_there(pieces: bytes | list[bytes]) -> None:
    answer = await ask(CompressionMiddleware(answering(pieces, content_length=str(len(PAGE)))))
    assert answer.body == PAGE, "which looks at the length"
    assert ("content-length" in answer.headers) is (len(pieces) != 2)


async def test_the_messages_of_the_application_are_not_changed() -> None:
    """It may send the same ones to everybody."""
    start = {"type": "http.response.start", "status": 200, "headers": [(b"etag", b'"abc"')]}
    body = {"type": "http.response.body", "body": PAGE}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start)
        await send(body)

    for _ in range(2):
        answer = await ask(CompressionMiddleware(app))
        assert (answer.coding, answer.body) == ("gzip", PAGE)
    assert start == {"type": "http.response.start", "status": 200, "headers": [(b"etag", b'"abc"')]}
    assert body == {"type": "http.response.body", "body": PAGE}


# -- codings ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "deflate"])
@pytest.mark.parametrize("pieces", [PAGE, [PAGE[:5000], b"", PAGE[5000:]]])
async def test_each_coding_that_is_offered(coding: str, pieces: bytes | list[bytes]) -> None:
    acc = await wdasync.default_accelerator()
    app = CompressionMiddleware(answering(pieces), codings=["gzip", "br", "zstd", "deflate"])
    answer = await ask(app, coding)
    offered = offers(acc, Kind.COMPRESS if pieces is PAGE else Kind.COMPRESS_CHUNK)
    assert answer.coding == (coding if coding in offered else "identity")
    assert answer.body == PAGE


async def test_x_gzip_is_answered_by_its_name() -> None:
    assert (await ask(CompressionMiddleware(answering()), "x-gzip")).coding == "gzip"


async def test_only_what_the_capabilities_have_is_negotiated() -> None:
    rows = [Capability(Kind.COMPRESS, "zlib"), Capability(Kind.COMPRESS_CHUNK, "gzip")]
    with backend.programmed() as program:
        program.capabilities = Capabilities(rows)
        async with wdasync.open_accelerator("mock", fallback=False) as acc:
            wanted, accept = ["gzip", "br", "deflate"], "gzip, br, deflate;q=0.1"
            whole = CompressionMiddleware(answering(), accelerator=acc, codings=wanted)
            assert (await ask(whole, accept)).coding == "deflate"
            pieces = CompressionMiddleware(answering([PAGE]), accelerator=acc, codings=wanted)
            assert (await ask(pieces, accept)).coding == "gzip"


async def test_our_order_of_preference() -> None:
    app = CompressionMiddleware(answering(), codings=["br", "gzip"])
    assert (await ask(app, "gzip, br")).coding == "br"
    assert (await ask(app, "gzip, br;q=0.9")).coding == "gzip"
    assert (await ask(CompressionMiddleware(answering(), codings="gzip"), "br")).coding == "identity"


async def test_levels() -> None:
    async def length(**how: object) -> int:
        return len(b"".join((await ask(CompressionMiddleware(answering(), **how))).pieces))  # type: ignore[arg-type]

    assert await length(level="best") == await length(level={"gzip": "best", "br": 1}) < await length(level=1)
    assert await length(level={"br": 11}) == await length()


@pytest.mark.parametrize(
    ("level", "window"), [("fast", None), ("best", None), (19, None), (20, 23), (22, 23)]
)
def test_the_window_of_zstd_is_what_browsers_have(level: str | int, window: int | None) -> None:
    """RFC 9659 section 3: 8 MiB."""
    assert window_of("zstd", level) == window
    assert window_of("br", level) is None


async def test_zstd_at_its_highest_level() -> None:
    """The frame's header tells the window (RFC 8878 section 3.1.1.1.2)."""
    acc = await wdasync.default_accelerator()
    if "zstd" not in offers(acc, Kind.COMPRESS):
        pytest.skip("the accelerator does not offer zstd")
    body = os.urandom(1000) * 100
    answer = await ask(CompressionMiddleware(answering(body), level={"zstd": 22}), "zstd")
    assert (answer.coding, answer.body) == ("zstd", body)
    streamed = await ask(CompressionMiddleware(answering([body]), level={"zstd": 22}), "zstd")
    assert streamed.body == body
    single_segment, window = streamed.pieces[0][4] & 0x20, streamed.pieces[0][5]
    assert single_segment or (window >> 3) + 10 <= 23


# -- refusal ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accept", ["identity;q=0", "*;q=0", "identity;q=0, compress"])
async def test_nothing_acceptable(accept: str) -> None:
    """RFC 9110 section 12.5.3 leaves it to the server; 406 only where that was asked for, and before the application runs."""
    answer = await ask(CompressionMiddleware(answering()), accept)
    assert (answer.status, answer.coding, answer.body) == (200, "identity", PAGE)
    ran = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        ran.append(scope)

    answer = await ask(CompressionMiddleware(app, strict=True), accept)
    assert (answer.status, answer.headers["vary"], ran) == (406, "accept-encoding", [])
    assert b"gzip, zstd, br" in answer.body


async def test_strict_does_not_mind_who_accepts_something() -> None:
    app = CompressionMiddleware(answering(), strict=True)
    for accept in (None, "", "br", "compress", "identity;q=0, gzip"):
        assert (await ask(app, accept)).body == PAGE


@pytest.mark.parametrize("accept", ["gzip, identity;q=0", "gzip, *;q=0"])
async def test_who_refuses_identity_gets_small_and_packed_bodies_encoded(accept: str) -> None:
    noise = os.urandom(100)
    answer = await ask(CompressionMiddleware(answering(noise, content_type="image/png")), accept)
    assert (answer.coding, answer.body) == ("gzip", noise)


# -- what is not HTTP, and what is odd ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["websocket", "lifespan", "something-new"])
async def test_other_protocols_are_not_touched(kind: str) -> None:
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((scope, receive, send))

    server, scope = Server(), {"type": kind, "headers": [(b"accept-encoding", b"gzip")]}
    await CompressionMiddleware(app)(scope, server.receive, server.send)
    assert seen == [(scope, server.receive, server.send)]


@pytest.mark.parametrize("kind", [memoryview, bytearray])
async def test_bodies_of_other_types(kind: type) -> None:
    assert (await ask(CompressionMiddleware(answering([kind(PAGE)])))).body == PAGE  # type: ignore[list-item]


@pytest.mark.parametrize("after", ["nothing", "start", "pieces"])
async def test_an_application_that_raises(after: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if after != "nothing":
            await send({"type": "http.response.start", "status": 200, "headers": []})
        if after == "pieces":
            await send({"type": "http.response.body", "body": PAGE, "more_body": True})
        raise ZeroDivisionError(after)

    server = Server()
    with pytest.raises(ZeroDivisionError, match=after):
        await server.run(CompressionMiddleware(app), scope_of(headers=[("accept-encoding", "gzip")]))
    assert bool(server.messages) is (after == "pieces"), "else the server can still say 500"


class Odd(BaseException):
    """No Exception."""


async def test_an_application_that_raises_something_odd() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise Odd

    with pytest.raises(Odd):
        await ask(CompressionMiddleware(app))


async def test_an_application_that_forgets_the_body() -> None:
    """The server sees what it would have seen."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})

    answer = await ask(CompressionMiddleware(app))
    assert [message["type"] for message in answer.messages] == ["http.response.start"]


async def test_messages_out_of_order_are_the_servers_to_refuse() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.body", "body": b"x"})

    server = Server()
    await server.run(CompressionMiddleware(app), scope_of())
    assert server.messages == [{"type": "http.response.body", "body": b"x"}]


async def test_strict_is_about_what_the_accelerator_offers() -> None:
    """Not about what it was configured to offer."""
    with backend.programmed():
        async with wdasync.open_accelerator("mock", fallback=False) as acc:
            app = CompressionMiddleware(answering(), accelerator=acc, codings=["zstd", "gzip"], strict=True)
            answer = await ask(app, "zstd, identity;q=0")
            assert (answer.status, "one of gzip, identity" in answer.body.decode()) == (406, True)
            assert (await ask(app, "zstd, gzip;q=0.1, identity;q=0")).coding == "gzip"


async def test_head_has_the_fields_of_a_compressed_page() -> None:
    """But for its length, which only compression tells (RFC 9110 sections 8.6, 9.3.2): then caches keep what they have."""
    tagged = answering(etag='"abc"', accept_ranges="bytes", content_length=str(len(PAGE)))
    app = CompressionMiddleware(tagged)
    got, said = (await ask(app)).headers, (await ask(app, method="HEAD")).headers
    assert {**said, "content-encoding": "gzip", "content-length": got["content-length"]} == got
    assert said["etag"] == 'W/"abc"'
    assert (await ask(app, "identity", "HEAD")).headers["etag"] == '"abc"'


async def test_a_start_without_headers() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": PAGE})

    assert (await ask(CompressionMiddleware(app))).body == PAGE
    assert (await ask(CompressionMiddleware(app), "br;q=0")).body == PAGE


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"codings": ["gzip", "snappy"]}, "codings: expected some of gzip, zstd, br, deflate, got 'snappy'"),
        ({"level": "fastest"}, "level: expected"),
        ({"level": {"snappy": 1}}, "codings: expected"),
        ({"level": {"gzip": 1.5}}, "level: expected"),
        ({"minimum_size": -1}, "minimum_size: expected an int of at least 0, got -1"),
        ({"padding": 1 << 20}, "padding: expected at most 16384 bytes, got 1048576"),
        ({"timeout": 0}, "timeout: expected seconds"),
        ({"timeout": "1"}, "timeout: expected seconds"),
        ({"compressible": "text/html"}, "compressible: expected a function"),
    ],
)
def test_options_that_cannot_be_right(how: dict[str, object], expected: str) -> None:
    with pytest.raises(wdasync.InvalidArgument, match=expected):
        CompressionMiddleware(answering(), **how)  # type: ignore[arg-type]


# -- which accelerator --------------------------------------------------------------------------------------------


async def test_an_accelerator_of_the_lifespan() -> None:
    async with wdasync.open_accelerator() as acc:

        async def later(scope: Scope) -> wdasync.Accelerator:
            return scope["state"]["acc"]

        for provider in (later, lambda scope: scope["state"]["acc"]):
            app = CompressionMiddleware(answering(), accelerator=provider)
            before = acc.statistics().completed + acc.statistics().inline
            scope = scope_of(headers=[("accept-encoding", "gzip")], state={"acc": acc})
            assert (await Server().run(app, scope)).body == PAGE
            assert acc.statistics().completed + acc.statistics().inline == before + 1


async def test_something_else_than_an_accelerator() -> None:
    app = CompressionMiddleware(answering(), accelerator=lambda scope: 5)
    with pytest.raises(wdasync.InvalidArgument, match="expected the function to give an Accelerator, got 5"):
        await ask(app)


# -- failures -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [PAGE, [PAGE]])
async def test_a_failure_before_the_response_begins_costs_nothing(pieces: bytes | list[bytes]) -> None:
    with backend.programmed() as program:
        async with wdasync.open_accelerator("mock", fallback=False) as acc:
            app = CompressionMiddleware(answering(pieces), accelerator=acc)
            program.fail(count=1)
            answer = await ask(app)
            assert (answer.coding, answer.body, answer.headers["vary"]) == (
                "identity",
                PAGE,
                "accept-encoding",
            )
            assert (await ask(app)).coding == "gzip"


async def test_an_operation_that_takes_too_long() -> None:
    with backend.programmed() as program:
        async with wdasync.open_accelerator("mock", fallback=False) as acc:
            program.hold()
            answer = await ask(CompressionMiddleware(answering(), accelerator=acc, timeout=0.05))
            assert (answer.coding, answer.body) == ("identity", PAGE)
            program.release()


async def test_a_failure_in_the_middle_is_an_error() -> None:
    """What was sent cannot be taken back, and an answer that only looks complete would be worse."""
    with backend.programmed() as program:
        async with wdasync.open_accelerator("mock", fallback=False) as acc:

            async def app(scope: Scope, receive: Receive, send: Send) -> None:
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": PAGE, "more_body": True})
                program.fail(count=1)
                await send({"type": "http.response.body", "body": PAGE, "more_body": True})

            server = Server()
            with pytest.raises(wdasync.DeviceError):
                await server.run(
                    CompressionMiddleware(app, accelerator=acc),
                    scope_of(headers=[("accept-encoding", "gzip")]),
                )
            assert server.messages[-1]["more_body"]
            assert acc.statistics().in_flight == 0


def test_decoders_are_others() -> None:
    """The tests decode with other libraries than those that encode."""
    assert DECODERS["gzip"] is gzip.decompress
    assert DECODERS["br"] is brotli.decompress
    assert DECODERS["deflate"] is zlib.decompress
