"""Compressed requests: what the application sees, and what is refused before it sees anything bad."""

import gzip
import os
import random
import zlib
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import anyio
import anyio.lowlevel
import brotli
import pytest

import wdasync
from tests.integrations.asgi.support import PAGE, Server, answering, ask, echo, post, scope_of
from wdasync.integrations.asgi import CompressionMiddleware, DecompressionMiddleware
from wdasync.integrations.asgi.types import Message, Receive, Scope, Send
from wdasync.testing.mock import backend

pytestmark = pytest.mark.anyio

ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    name: cache(partial(function, **how))
    for name, function, how in (
        ("gzip", gzip.compress, {"compresslevel": 1}),
        ("x-gzip", gzip.compress, {"compresslevel": 1}),
        ("deflate", zlib.compress, {"level": 1}),
        ("br", brotli.compress, {"quality": 3}),
    )
}


@cache
def zstd(body: bytes) -> bytes:
    """A frame."""
    return bytes(pytest.importorskip("backports.zstd").compress(body))


ENCODERS["zstd"] = zstd


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@pytest.mark.parametrize("coding", ENCODERS)
@pytest.mark.parametrize("size", [1, 7, 1000, 1 << 20])
async def test_the_application_sees_the_body_as_it_was(coding: str, size: int) -> None:
    body = PAGE[:200] if size == 1 else PAGE * 9
    packed = ENCODERS[coding](body)
    answer = await post(
        DecompressionMiddleware(echo),
        cut(packed, size),
        content_encoding=coding.upper(),
        content_length=str(len(packed)),
    )
    assert (answer.status, answer.body) == (200, body)
    assert answer.headers["x-seen"] == "[]", "neither coding nor length"


@pytest.mark.parametrize("headers", [{}, {"content_encoding": "identity"}, {"content_encoding": " "}])
async def test_a_plain_body_is_not_touched(headers: dict[str, str]) -> None:
    answer = await post(DecompressionMiddleware(echo), [PAGE], content_length=str(len(PAGE)), **headers)
    assert answer.body == PAGE
    assert "content-length" in answer.headers["x-seen"]


async def test_two_layers_and_no_more() -> None:
    twice = brotli.compress(gzip.compress(PAGE))
    app = DecompressionMiddleware(echo)
    assert (await post(app, cut(twice, 50), content_encoding="gzip, br")).body == PAGE
    assert (await post(app, [twice], content_encoding="gzip, gzip, br")).status == 415


async def test_concatenated_members() -> None:
    body = gzip.compress(PAGE) + gzip.compress(b"") + gzip.compress(b"more")
    for size in (13, 1 << 20):
        answer = await post(DecompressionMiddleware(echo), cut(body, size), content_encoding="gzip")
        assert answer.body == PAGE + b"more"


@pytest.mark.parametrize("size", [13, 1 << 20])
async def test_concatenated_frames(size: int) -> None:
    """RFC 8878 section 3.1; a skippable frame is nothing."""
    skippable = 0x184D2A53.to_bytes(4, "little") + (5).to_bytes(4, "little") + b"hello"
    body = zstd(PAGE) + skippable + zstd(b"more")
    answer = await post(DecompressionMiddleware(echo), cut(body, size), content_encoding="zstd")
    assert answer.body == PAGE + b"more"
    app = DecompressionMiddleware(echo, max_members=2)
    answer = await post(app, cut(zstd(b"x") * 3, size), content_encoding="zstd")
    assert answer.status == 413


async def test_an_empty_body() -> None:
    assert (await post(DecompressionMiddleware(echo), [b""], content_encoding="gzip")).body == b""


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (gzip.compress(PAGE)[:-1], "the end of the body in the middle of it"),
        (gzip.compress(PAGE)[:5], "the end of the body in the middle of it"),
        (PAGE, "wrong format"),
        (gzip.compress(PAGE) + b"x", "after its end"),
        (gzip.compress(PAGE)[:-8] + bytes(8), "checksum"),
        (gzip.compress(PAGE)[:30] + b"\xff" * 400, "corrupt"),
    ],
)
@pytest.mark.parametrize("size", [11, 1 << 20])
async def test_a_body_that_is_not_what_its_coding_says(body: bytes, text: str, size: int) -> None:
    answer = await post(DecompressionMiddleware(echo), cut(body, size), content_encoding="gzip")
    assert (answer.status, answer.headers["connection"]) == (400, "close")
    assert text in answer.body.decode()


@pytest.mark.parametrize("coding", ["compress", "dcb", "gzip, snappy", "supergzip"])
async def test_a_coding_that_nobody_offers(coding: str) -> None:
    """RFC 9110 sections 12.5.3 and 15.5.16: the answer says which ones are."""
    answer = await post(DecompressionMiddleware(echo), [PAGE], content_encoding=coding)
    assert answer.status == 415
    assert answer.headers["accept-encoding"].startswith("gzip, ")
    assert coding.rsplit(", ", maxsplit=1)[-1] in answer.body.decode()


async def test_only_some_codings() -> None:
    app = DecompressionMiddleware(echo, codings=["br"])
    answer = await post(app, [gzip.compress(PAGE)], content_encoding="gzip")
    assert (answer.status, answer.headers["accept-encoding"]) == (415, "br")
    assert (await post(app, [brotli.compress(PAGE)], content_encoding="br")).body == PAGE


# -- bombs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "zstd"])
async def test_a_bomb_is_refused_before_it_goes_off(coding: str) -> None:
    """The application has been given no more than the bound by then."""
    given = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal given
        while (message := await receive())["type"] == "http.request":
            given += len(message["body"])
            assert len(message["body"]) <= 1 << 18

    bomb = ENCODERS[coding](bytes(24 << 20))
    bounded = DecompressionMiddleware(app, max_length=5 << 20, max_ratio=1 << 30)
    answer = await post(bounded, cut(bomb, 10_000), content_encoding=coding)
    assert (answer.status, "at most 5242880 bytes" in answer.body.decode()) == (413, True)
    assert 0 < given <= 5 << 20


async def test_the_bound_itself_is_allowed() -> None:
    for length, status in ((len(PAGE), 200), (len(PAGE) - 1, 413)):
        app = DecompressionMiddleware(echo, max_length=length)
        assert (await post(app, [gzip.compress(PAGE)], content_encoding="gzip")).status == status


async def test_a_ratio_that_no_honest_body_has() -> None:
    packed = ENCODERS["gzip"](bytes(3 << 20))
    answer = await post(DecompressionMiddleware(echo), [packed], content_encoding="gzip")
    assert (answer.status, "at most 200 bytes out of one" in answer.body.decode()) == (413, True)
    app = DecompressionMiddleware(echo, max_ratio=2000)
    assert (await post(app, [packed], content_encoding="gzip")).body == bytes(3 << 20)
    small = gzip.compress(bytes(1 << 20))
    assert (await post(DecompressionMiddleware(echo), [small], content_encoding="gzip")).status == 200


@pytest.mark.parametrize("size", [20, 4096])
async def test_too_many_members(size: int) -> None:
    members = gzip.compress(b"") * 40
    app = DecompressionMiddleware(echo, max_members=39)
    answer = await post(app, cut(members, size), content_encoding="gzip")
    assert (answer.status, "at most 39 members" in answer.body.decode()) == (413, True)
    app = DecompressionMiddleware(echo, max_members=40)
    assert (await post(app, cut(members, size), content_encoding="gzip")).status == 200


async def test_members_are_counted_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not when all of a large message was decoded: 50,000 of them take seconds."""
    streams = []
    decompressor = wdasync.Accelerator.decompressor

    def noted(self: wdasync.Accelerator, *given: Any, **named: Any) -> wdasync.Decompressor:
        streams.append(decompressor(self, *given, **named))
        return streams[-1]

    monkeypatch.setattr(wdasync.Accelerator, "decompressor", noted)
    answer = await post(DecompressionMiddleware(echo), [gzip.compress(b"") * 50_000], content_encoding="gzip")
    assert answer.status == 413
    assert 1024 < streams[0].members < 2048


@pytest.mark.parametrize("bits", [24, 27, 28, 31])
@pytest.mark.parametrize("first", [True, False])
async def test_a_frame_that_wants_more_history_than_http_allows(bits: int, first: bool) -> None:
    """RFC 9659 section 3: 8 MiB. Its descriptor, then the exponent of its window, and an empty last block (RFC 8878 section 3.1.1)."""
    frame = b"\x28\xb5\x2f\xfd" + bytes([0, (bits - 10) << 3]) + b"\x01\x00\x00"
    body = frame if first else zstd(PAGE) + frame
    answer = await post(DecompressionMiddleware(echo), [body], content_encoding="zstd")
    assert (answer.status, answer.headers["connection"]) == (400, "close")
    assert "a history of at most 2**23 bytes" in answer.body.decode()
    allowed = frame[:5] + bytes([(23 - 10) << 3]) + frame[6:]
    assert (await post(DecompressionMiddleware(echo), [allowed], content_encoding="zstd")).status == 200


async def test_a_bomb_in_a_bomb() -> None:
    bomb = ENCODERS["gzip"](ENCODERS["gzip"](bytes(24 << 20)))
    answer = await post(DecompressionMiddleware(echo), cut(bomb, 999), content_encoding="gzip, gzip")
    assert answer.status == 413


async def test_noise_never_crashes() -> None:
    chance = random.Random(5)
    for _ in range(40):
        body = bytearray(gzip.compress(PAGE))
        body[chance.randrange(len(body))] ^= 1 << chance.randrange(8)
        pieces = cut(bytes(body), chance.choice([50, 500, 5000]))
        answer = await post(DecompressionMiddleware(echo), pieces, content_encoding="gzip")
        assert answer.status in (200, 400, 413)
        assert answer.status != 200 or answer.body == PAGE, "a bit that means nothing, such as in the time"


# -- who does what when -------------------------------------------------------------------------------------------


async def test_an_application_that_has_answered_is_not_answered_for() -> None:
    heard = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 202, "headers": []})
        await send({"type": "http.response.body", "body": b"on its way", "more_body": True})
        heard.append((await receive())["type"])
        heard.append((await receive())["type"])
        await send({"type": "http.response.body", "body": b"nobody wants it"})

    answer = await post(DecompressionMiddleware(app), [b"nonsense"], content_encoding="gzip")
    assert (answer.status, answer.pieces, answer.complete) == (202, [b"on its way"], False)
    assert heard == ["http.disconnect", "http.disconnect"]


@pytest.mark.parametrize("good", [True, False])
async def test_what_the_application_raises_after_a_refusal_does_not_matter(good: bool) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        raise ConnectionError("as frameworks do when the client has left")

    body = gzip.compress(PAGE) if good else b"nonsense"
    if good:
        with pytest.raises(ConnectionError):
            await post(DecompressionMiddleware(app), [body], content_encoding="gzip")
    else:
        assert (await post(DecompressionMiddleware(app), [body], content_encoding="gzip")).status == 400


async def test_http_2_has_no_connection_header() -> None:
    scope = scope_of("POST", headers=[("content-encoding", "gzip")], http_version="2")
    answer = await Server([b"nonsense"]).run(DecompressionMiddleware(echo), scope)
    assert (answer.status, "connection" in answer.headers) == (400, False)


async def test_a_client_that_leaves_in_the_middle() -> None:
    server, heard = Server([gzip.compress(PAGE)[:99], b"never sent"]), []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while True:
            server.leave.set() if heard else None
            heard.append((await receive())["type"])
            if heard[-1] == "http.disconnect":
                return

    await DecompressionMiddleware(app)(
        scope_of("POST", headers=[("content-encoding", "gzip")]), server.receive, server.send
    )
    assert heard[-1] == "http.disconnect"
    assert server.messages == [], "and no complaint about what is missing"


async def test_after_the_body_the_application_hears_the_client_leave() -> None:
    server, heard = Server([gzip.compress(PAGE)]), []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] == "http.request":
            if not message["more_body"]:
                server.leave.set()
        heard.append(message["type"])

    await DecompressionMiddleware(app)(
        scope_of("POST", headers=[("content-encoding", "gzip")]), server.receive, server.send
    )
    assert heard == ["http.disconnect"]


async def test_an_application_that_reads_slowly_holds_up_the_client() -> None:
    noise = os.urandom(4 << 20)
    server = Server(cut(gzip.compress(noise), 64 << 10))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await anyio.lowlevel.checkpoint()
        assert server.received <= 2

    await DecompressionMiddleware(app)(
        scope_of("POST", headers=[("content-encoding", "gzip")]), server.receive, server.send
    )


async def test_a_lost_device_is_an_error_of_the_server() -> None:
    with backend.programmed() as program:
        async with wdasync.open_accelerator("mock", fallback=False) as acc:
            program.fail(count=1)
            with pytest.raises(wdasync.DeviceError):
                await post(
                    DecompressionMiddleware(echo, accelerator=acc),
                    [gzip.compress(PAGE)],
                    content_encoding="gzip",
                )


@pytest.mark.parametrize("size", [100, 1 << 20])
async def test_a_receive_that_is_cancelled_loses_nothing(size: int) -> None:
    """As Starlette's ``is_disconnected()`` does it, whether the client or the accelerator is waited for."""
    body, given = os.urandom(300_000), b""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal given
        more = True
        while more:
            with anyio.CancelScope() as scope_of_it:
                scope_of_it.cancel()
                await receive()
            assert scope_of_it.cancelled_caught
            message = await receive()
            given += message["body"]
            more = message["more_body"]

    await post(DecompressionMiddleware(app), cut(gzip.compress(body), size), content_encoding="gzip")
    assert given == body


async def test_a_receive_that_is_given_up_while_the_client_is_slow() -> None:
    packed, hurry = gzip.compress(PAGE), anyio.Event()
    server = Server(cut(packed, len(packed) // 3))

    async def receive() -> Message:
        if server.received == 2:
            await hurry.wait()
        return await server.receive()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        given, more = b"", True
        while more:
            with anyio.move_on_after(0.01):
                message = await receive()
                given, more = given + message["body"], message["more_body"]
                continue
            hurry.set()
        assert given == PAGE

    scope = scope_of("POST", headers=[("content-encoding", "gzip")])
    await DecompressionMiddleware(app)(scope, receive, server.send)
    assert hurry.is_set()


async def test_a_receive_that_fails_is_no_end() -> None:
    packed, failing = gzip.compress(PAGE), [False, True, False, True]
    server = Server(cut(packed, len(packed) // 3 + 1))

    async def receive() -> Message:
        if failing and failing.pop(0):
            raise ConnectionError("the socket is in a bad mood")
        return await server.receive()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        given, more, failures = b"", True, 0
        while more:
            try:
                message = await receive()
            except ConnectionError:
                failures += 1
                continue
            given, more = given + message["body"], message["more_body"]
        assert (given, failures) == (PAGE, 2)

    scope = scope_of("POST", headers=[("content-encoding", "gzip")])
    await DecompressionMiddleware(app)(scope, receive, server.send)


@pytest.mark.parametrize("why", ["cancelled", "failed"])
async def test_a_body_whose_decompression_was_broken_off_never_ends(why: str) -> None:
    """The device is somewhere in the middle; an end would say that this was all."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if why == "failed":
            program.fail(count=1)
            with pytest.raises(wdasync.DeviceError):
                await receive()
        else:
            program.hold()
            async with anyio.create_task_group() as group:
                group.start_soon(receive)
                while not any(lane.in_flight for lane in acc.statistics().lanes):
                    await anyio.lowlevel.checkpoint()
                group.cancel_scope.cancel()
            program.release()
        for _ in range(3):
            with pytest.raises(wdasync.InvalidState, match="the rest of the request's body is lost"):
                await receive()

    with backend.programmed() as program:
        async with wdasync.open_accelerator("mock", fallback=False) as acc:
            await post(
                DecompressionMiddleware(app, accelerator=acc), [gzip.compress(PAGE)], content_encoding="gzip"
            )


async def test_two_tasks_that_receive() -> None:
    """One of them may only want to hear of the client's leaving, as in Starlette's streamed responses."""
    body, pieces = os.urandom(1 << 20), []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def take() -> None:
            while (message := await receive())["type"] == "http.request":
                pieces.append(message["body"])
                if not message["more_body"]:
                    server.leave.set()

        async with anyio.create_task_group() as group:
            group.start_soon(take)
            group.start_soon(take)

    server = Server(cut(gzip.compress(body), 10_000))
    scope = scope_of("POST", headers=[("content-encoding", "gzip")])
    await DecompressionMiddleware(app)(scope, server.receive, server.send)
    assert b"".join(pieces) == body


async def test_a_stream_that_cannot_be_opened_leaves_none_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = []
    decompressor = wdasync.Accelerator.decompressor

    def once(self: wdasync.Accelerator, *given: Any, **named: Any) -> wdasync.Decompressor:
        if streams:
            raise wdasync.UnsupportedOperation("one is enough")
        streams.append(decompressor(self, *given, **named))
        return streams[-1]

    monkeypatch.setattr(wdasync.Accelerator, "decompressor", once)
    with pytest.raises(wdasync.UnsupportedOperation, match="one is enough"):
        await post(DecompressionMiddleware(echo), [b"x"], content_encoding="gzip, gzip")
    with pytest.raises(wdasync.ClosedResourceError):
        await streams[0].decompress(b"")


@pytest.mark.parametrize("reads", [0, 1, 100])
async def test_streams_are_given_back(reads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of a body that the application did not want, or not all of."""
    streams = []
    decompressor = wdasync.Accelerator.decompressor

    def noted(self: wdasync.Accelerator, *given: Any, **named: Any) -> wdasync.Decompressor:
        streams.append(decompressor(self, *given, **named))
        return streams[-1]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for _ in range(reads):
            if not (await receive()).get("more_body", False):
                break
        await answering()(scope, receive, send)

    monkeypatch.setattr(wdasync.Accelerator, "decompressor", noted)
    body = cut(gzip.compress(gzip.compress(PAGE * 9)), 100)
    assert (await post(DecompressionMiddleware(app), body, content_encoding="gzip, gzip")).body == PAGE
    assert len(streams) == 2
    for stream in streams:
        with pytest.raises(wdasync.ClosedResourceError):
            await stream.decompress(b"")


@pytest.mark.parametrize("kind", ["websocket", "lifespan"])
async def test_other_protocols_are_not_touched(kind: str) -> None:
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((scope, receive, send))

    server, scope = Server(), {"type": kind, "headers": [(b"content-encoding", b"gzip")]}
    await DecompressionMiddleware(app)(scope, server.receive, server.send)
    assert seen == [(scope, server.receive, server.send)]


async def test_both_ways() -> None:
    app = CompressionMiddleware(DecompressionMiddleware(echo))
    answer = await post(app, [gzip.compress(PAGE)], content_encoding="gzip", accept_encoding="br")
    assert (answer.coding, answer.body) == ("br", PAGE)
    assert (await ask(CompressionMiddleware(DecompressionMiddleware(answering())))).body == PAGE


@pytest.mark.parametrize("name", ["max_length", "max_ratio", "max_members"])
def test_bounds_that_cannot_be_right(name: str) -> None:
    with pytest.raises(wdasync.InvalidArgument, match=f"{name}: expected an int of at least 1, got 0"):
        DecompressionMiddleware(echo, **{name: 0})  # type: ignore[arg-type]


def test_codings_that_cannot_be_right() -> None:
    with pytest.raises(wdasync.InvalidArgument, match="codings: expected"):
        DecompressionMiddleware(echo, codings=["identity"])
