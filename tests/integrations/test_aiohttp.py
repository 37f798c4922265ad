"""aiohttp: a server's middleware, a client's bodies, and the zlib that aiohttp itself uses."""

import gzip
import os
import random
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import anyio
import brotli
import pytest
from aiohttp import web
from multidict import CIMultiDict

import wdasync
from wdasync.integrations.aiohttp import AcceleratedZlib, compression, decoded, encoded, read
from wdasync.testing.mock import backend

PAGE = "".join(f"<p>Paragraph {number} of a page.</p>\n" for number in range(2000)).encode()
ON_ASYNCIO = pytest.mark.parametrize(
    "anyio_backend",
    [("asyncio", {"use_uvloop": False}), ("asyncio", {"use_uvloop": True})],
    ids=["asyncio", "asyncio+uvloop"],
)
pytestmark = [pytest.mark.anyio, ON_ASYNCIO]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def answering(**how: Any) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(**{"body": PAGE, "content_type": "text/html", **how})

    return handler


@asynccontextmanager
async def served(
    handler: Handler, *middlewares: Any, **options: Any
) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    """A client session that decodes nothing by itself, and the address of a server with one handler."""
    app = web.Application(middlewares=middlewares, client_max_size=1 << 30)
    app.router.add_route("*", "/", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        async with aiohttp.ClientSession(auto_decompress=False, **options) as session:
            yield session, str(site.name).replace("127.0.0.1:0", f"127.0.0.1:{runner.addresses[0][1]}")
    finally:
        await runner.cleanup()


async def ask(
    handler: Handler, accept: str, method: str = "GET", *, middleware: Any = None
) -> tuple[aiohttp.ClientResponse, bytes]:
    async with (
        served(handler, middleware or compression()) as (session, url),
        session.request(method, url, headers={"Accept-Encoding": accept}) as response,
    ):
        return response, await response.read()


# -- a server -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "coding", "decode"),
    [
        ("gzip, br", "gzip", gzip.decompress),
        ("gzip;q=0.1, br", "br", brotli.decompress),
        ("gzip;q=0", None, bytes),
        ("", None, bytes),
    ],
)
async def test_a_page(accept: str, coding: str | None, decode: Callable[[bytes], bytes]) -> None:
    response, body = await ask(answering(headers={"ETag": '"x"', "Vary": "Cookie"}), accept)
    assert (response.headers.get("Content-Encoding"), decode(body)) == (coding, PAGE)
    assert response.headers["Vary"] == "Cookie, accept-encoding"
    assert response.headers["ETag"] == ('"x"' if coding is None else 'W/"x"')
    assert response.headers["Content-Length"] == str(len(body))


@pytest.mark.parametrize(
    "how",
    [
        {"body": PAGE[:499]},
        {"content_type": "image/png"},
        {"status": 206, "content_type": "video/mp4"},
        {"headers": {"Cache-Control": "no-transform"}},
        {"headers": {"Content-Encoding": "br"}},
        {"headers": {"Content-Digest": "sha-256=:AA==:"}},
        {"body": None},
    ],
)
async def test_what_is_left_alone(how: dict[str, Any]) -> None:
    before, plain = await ask(answering(**how), "gzip", middleware=web.normalize_path_middleware())
    after, body = await ask(answering(**how), "gzip")
    assert body == plain
    assert {**after.headers, "Date": ""} == {**before.headers, "Date": ""}


async def test_head() -> None:
    """As a compressed page has it, but for what only compression tells (RFC 9110 sections 8.6, 9.3.2)."""
    tagged = answering(headers={"ETag": '"x"', "Accept-Ranges": "bytes"})
    response, body = await ask(tagged, "gzip", "HEAD")
    assert (response.status, body) == (200, b"")
    assert {
        name.lower(): value for name, value in response.headers.items() if name not in ("Date", "Server")
    } == {
        "content-type": "text/html",
        "etag": 'W/"x"',
        "vary": "accept-encoding",
    }
    plain, _ = await ask(tagged, "identity", "HEAD")
    assert (plain.headers["Content-Length"], plain.headers["ETag"]) == (str(len(PAGE)), '"x"')
    small, _ = await ask(answering(body=PAGE[:400]), "gzip", "HEAD")
    assert (small.headers["Content-Length"], "Vary" in small.headers) == ("400", False)


@pytest.mark.parametrize(("asked", "weak"), [('W/"x"', True), ('"x"', False)])
async def test_a_304_for_the_tag_of_a_compressed_page(asked: str, weak: bool) -> None:
    """It has the tag that the client has (RFC 9110 section 15.4.5)."""

    handler = answering(body=None, status=304, headers={"ETag": '"x"'})
    async with (
        served(handler, compression()) as (session, url),
        session.get(url, headers={"Accept-Encoding": "gzip", "If-None-Match": asked}) as response,
    ):
        assert (response.status, response.headers["ETag"]) == (304, asked)
        assert ("Vary" in response.headers) is weak


async def test_what_does_not_get_smaller() -> None:
    noise = os.urandom(5000)
    response, body = await ask(answering(body=noise), "gzip")
    assert (response.headers.get("Content-Encoding"), body) == (None, noise)


async def test_text_and_streams() -> None:
    response, body = await ask(answering(body=None, text=PAGE.decode()), "gzip")
    assert gzip.decompress(body) == PAGE

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(PAGE)
        return response

    response, body = await ask(stream, "gzip")
    assert (response.headers.get("Content-Encoding"), body) == (None, PAGE)


async def test_a_device_that_fails() -> None:
    with backend.programmed() as program:
        async with wdasync.open_accelerator("mock", fallback=False) as acc:
            program.fail(count=1)
            response, body = await ask(answering(), "gzip", middleware=compression(acc))
            assert (response.headers.get("Content-Encoding"), body) == (None, PAGE)


async def test_options_that_cannot_be_right() -> None:
    with pytest.raises(wdasync.InvalidArgument, match="codings: expected"):
        compression(codings=["snappy"])


# -- a client -----------------------------------------------------------------------------------------------------


async def length(request: web.Request) -> web.Response:
    return web.Response(text=str(len(await request.read())))


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br"])
async def test_a_compressed_request(coding: str) -> None:
    async with (
        served(length) as (session, url),
        session.post(url, **await encoded(PAGE, coding, level=5)) as response,
    ):
        assert await response.text() == str(len(PAGE))


async def test_a_request_in_a_coding_that_nobody_knows() -> None:
    with pytest.raises(wdasync.InvalidArgument, match="codings: expected some of gzip"):
        await encoded(PAGE, "snappy")


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(PAGE)),
        ("X-GZIP", gzip.compress(PAGE)),
        ("br", brotli.compress(PAGE, quality=3)),
        ("deflate", zlib.compress(PAGE)),
        ("identity", PAGE),
        ("gzip, br", brotli.compress(gzip.compress(PAGE), quality=3)),
    ],
)
async def test_a_compressed_response(coding: str, body: bytes) -> None:
    handler = answering(body=body, headers={"Content-Encoding": coding})
    async with served(handler) as (session, url):
        async with session.get(url) as response:
            assert await read(response) == PAGE
        async with session.get(url) as response:
            assert b"".join([piece async for piece in decoded(response)]) == PAGE


async def test_responses_that_are_bad() -> None:
    bomb = gzip.compress(bytes(4 << 20))
    async with served(answering(body=bomb, headers={"Content-Encoding": "gzip"})) as (session, url):
        async with session.get(url) as response:
            with pytest.raises(wdasync.LimitExceeded, match="at most 1000000 bytes"):
                await read(response, max_length=1_000_000)
        async with session.get(url) as response:
            assert len(await read(response, max_length=4 << 20)) == 4 << 20
    for coding, error in (("gzip", wdasync.DataError), ("snappy", wdasync.InvalidArgument)):
        async with served(answering(headers={"Content-Encoding": coding})) as (session, url):
            async with session.get(url) as response:
                with pytest.raises(error):
                    await read(response)


async def test_no_more_layers_than_two() -> None:
    """Each multiplies what a bomb can do, and holds a stream."""
    thrice = gzip.compress(gzip.compress(gzip.compress(PAGE)))
    lines = CIMultiDict([("Content-Encoding", "gzip"), ("Content-Encoding", "identity, gzip, gzip")])
    async with (
        served(answering(body=thrice, headers=lines)) as (session, url),
        session.get(url) as response,
    ):
        with pytest.raises(wdasync.InvalidArgument, match=r"at most 2 of gzip, .* got gzip, gzip, gzip"):
            await read(response)


@pytest.mark.parametrize("bits", [23, 24])
async def test_a_response_that_wants_more_history_than_http_allows(bits: int) -> None:
    """RFC 9659 section 3: 8 MiB. The frame is empty, and wants it all the same (RFC 8878 section 3.1.1)."""
    frame = b"\x28\xb5\x2f\xfd" + bytes([0, (bits - 10) << 3]) + b"\x01\x00\x00"
    async with (
        served(answering(body=frame, headers={"Content-Encoding": "zstd"})) as (session, url),
        session.get(url) as response,
    ):
        if bits == 23:
            assert await read(response) == b""
        else:
            with pytest.raises(wdasync.UnsupportedOperation, match=r"at most 2\*\*23 bytes"):
                await read(response)


# -- the zlib that aiohttp uses -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def backend_zlib() -> Iterator[AcceleratedZlib]:
    with AcceleratedZlib() as found:
        yield found


@pytest.fixture
def installed(backend_zlib: AcceleratedZlib) -> Iterator[AcceleratedZlib]:
    aiohttp.set_zlib_backend(backend_zlib)
    try:
        yield backend_zlib
    finally:
        aiohttp.set_zlib_backend(zlib)


@pytest.mark.parametrize("coding", [web.ContentCoding.gzip, web.ContentCoding.deflate])
@pytest.mark.parametrize("size", [100, 4096, 4097, len(PAGE), 2_000_000])
async def test_a_body_that_aiohttp_compresses(
    installed: AcceleratedZlib, coding: web.ContentCoding, size: int
) -> None:
    body, before = (PAGE * 30)[:size], installed.accelerated

    async def handler(request: web.Request) -> web.Response:
        response = web.Response(body=body)
        response.enable_compression(coding)
        return response

    decode = gzip.decompress if coding is web.ContentCoding.gzip else zlib.decompress
    _, sent = await ask(handler, "gzip", middleware=web.normalize_path_middleware())
    assert decode(sent) == body
    assert installed.accelerated - before == (size > 4096)


@pytest.mark.parametrize(
    "sizes", [[5000, 10, 20_000, 3], [10, 20_000], [3000, 3000], [100_000], [4000, 90], []]
)
async def test_a_stream_that_aiohttp_compresses(installed: AcceleratedZlib, sizes: list[int]) -> None:
    pieces = [PAGE[:size] for size in sizes]

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_compression(web.ContentCoding.gzip)
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
        return response

    _, sent = await ask(handler, "gzip", middleware=web.normalize_path_middleware())
    assert gzip.decompress(sent) == b"".join(pieces)


@pytest.mark.parametrize(
    ("sizes", "streams"),
    [((60_000, 10, 30_000, 0, 100), 2), ((10, 60_000, 100), 2), ((10, 0, 2000), 0)],
    ids=["large", "large later", "small"],
)
async def test_web_sockets_that_aiohttp_compresses(
    installed: AcceleratedZlib, sizes: tuple[int, ...], streams: int
) -> None:
    """Each side has one stream for all its messages; the large ones go through the accelerator."""
    before = installed.accelerated

    async def handler(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_bytes(message.data * 2)
        return socket

    async with served(handler) as (session, url), session.ws_connect(url, compress=15) as socket:
        for size in sizes:
            await socket.send_bytes(PAGE[:size])
            assert await socket.receive_bytes() == PAGE[:size] * 2
    assert installed.accelerated - before == streams


@pytest.mark.parametrize("wbits", [15, 31, -15, 9, 25, -10])
@pytest.mark.parametrize("mode", [zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH, zlib.Z_NO_FLUSH])
async def test_shaped_like_zlib(backend_zlib: AcceleratedZlib, wbits: int, mode: int) -> None:
    """In threads, as aiohttp calls it, and in the event loop's own."""

    def use(first: bytes, second: bytes) -> bytes:
        stream = backend_zlib.compressobj(level=6, wbits=wbits)
        so_far = stream.compress(first) + stream.flush(mode)
        if mode != zlib.Z_NO_FLUSH:
            assert zlib.decompressobj(wbits).decompress(so_far) == first
        return so_far + stream.compress(second) + stream.flush()

    for first, second in ((PAGE, b"x"), (b"x", PAGE), (b"", b"")):
        for output in (use(first, second), await anyio.to_thread.run_sync(use, first, second)):
            assert zlib.decompress(output, wbits) == first + second


async def test_what_is_zlibs(backend_zlib: AcceleratedZlib) -> None:
    assert (backend_zlib.MAX_WBITS, backend_zlib.Z_FINISH) == (zlib.MAX_WBITS, zlib.Z_FINISH)
    assert backend_zlib.crc32(PAGE) == zlib.crc32(PAGE)
    assert backend_zlib.decompress(backend_zlib.compress(PAGE)) == PAGE
    before = backend_zlib.accelerated
    dictionary = backend_zlib.compressobj(zdict=PAGE[:1000])
    filtered = backend_zlib.compressobj(strategy=zlib.Z_FILTERED)
    assert (
        zlib.decompressobj(zdict=PAGE[:1000]).decompress(dictionary.compress(PAGE) + dictionary.flush())
        == PAGE
    )
    assert zlib.decompress(filtered.compress(PAGE) + filtered.flush()) == PAGE
    assert backend_zlib.accelerated == before
    with pytest.raises(ValueError, match=r"(?i)invalid"):
        backend_zlib.compressobj(wbits=99)
    with pytest.raises(AttributeError):
        _ = backend_zlib.no_such_thing


async def test_after_it_was_closed() -> None:
    closed = AcceleratedZlib()
    stream = closed.compressobj()
    closed.close()
    closed.close()
    output = await anyio.to_thread.run_sync(lambda: stream.compress(PAGE) + stream.flush())
    assert (zlib.decompress(output), closed.accelerated) == (PAGE, 0)


@pytest.mark.parametrize("wbits", [15, 31, -15])
async def test_pieces_of_both(backend_zlib: AcceleratedZlib, wbits: int) -> None:
    """Large ones in threads, small ones and flushes in the event loop's thread, in any order."""
    chance = random.Random(wbits)
    for _ in range(20):
        stream, taken, made = backend_zlib.compressobj(6, wbits=wbits), b"", b""
        inflater = zlib.decompressobj(wbits)
        for _ in range(chance.randrange(9)):
            start, size = chance.randrange(len(PAGE)), chance.choice([0, 1, 100, 4096, 4097, 50_000])
            piece = (PAGE * 2)[start : start + size]
            made += inflater.decompress(await anyio.to_thread.run_sync(stream.compress, piece))
            taken += piece
            mode = chance.choice(
                [zlib.Z_NO_FLUSH, zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH, zlib.Z_PARTIAL_FLUSH]
            )
            made += inflater.decompress(stream.flush(mode))
            assert made == taken if mode != zlib.Z_NO_FLUSH else taken.startswith(made)
        made += inflater.decompress(stream.flush())
        assert (made == taken, inflater.eof, inflater.unused_data) == (True, True, b"")
        with pytest.raises(zlib.error):
            await anyio.to_thread.run_sync(stream.compress, PAGE)


async def test_the_event_loop_never_waits_for_a_device() -> None:
    """A device that does nothing any more would hold it up for ever."""
    with backend.programmed() as program, AcceleratedZlib(backend="mock", fallback=False) as held:
        stream = held.compressobj(wbits=31)
        output = await anyio.to_thread.run_sync(stream.compress, PAGE)
        program.hold()
        for mode in (zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH):
            output += stream.compress(PAGE) + stream.compress(b"small") + stream.flush(mode)
        output += stream.flush()
        assert gzip.decompress(output) == PAGE + (PAGE + b"small") * 2
        assert held.accelerated == 1
        program.release()


async def test_a_device_that_fails_costs_nothing() -> None:
    with backend.programmed() as program, AcceleratedZlib(backend="mock", fallback=False) as failing:
        for failures in ((0,), (1,), (0, 2), (1, 2)):
            stream, output = failing.compressobj(), b""
            for number in range(3):
                if number in failures:
                    program.fail(count=1)
                output += await anyio.to_thread.run_sync(stream.compress, PAGE)
            assert zlib.decompress(output + stream.flush()) == PAGE * 3


async def test_a_stream_that_outlives_its_accelerator() -> None:
    for in_between in (b"", b"small"):
        closed = AcceleratedZlib()
        stream = closed.compressobj()
        output = await anyio.to_thread.run_sync(stream.compress, PAGE)
        output += stream.compress(in_between)
        closed.close()
        output += await anyio.to_thread.run_sync(stream.compress, PAGE)
        assert zlib.decompress(output + stream.flush()) == PAGE + in_between + PAGE
        assert closed.accelerated == 1


async def test_settings_that_cannot_be_right() -> None:
    with pytest.raises(wdasync.ConfigError):
        AcceleratedZlib(no_such_setting=1)
