"""Bodies that come in pieces: what the client can read when, who waits for whom, and what a client that leaves costs."""

import zlib
from collections.abc import Callable

import anyio
import anyio.lowlevel
import brotli
import pytest

import wdasync
from tests.integrations.asgi.support import PAGE, Answer, Server, answering, ask, scope_of
from wdasync.integrations.asgi import CompressionMiddleware
from wdasync.integrations.asgi.types import App, Message, Receive, Scope, Send
from wdasync.testing.mock import backend
from wdasync.testing.program import Program

pytestmark = pytest.mark.anyio

PIECES = [b"first\n", b"second, and more of it\n" * 300, b"third\n"]
GZIP = [("accept-encoding", "gzip")]


def gunzip_so_far() -> Callable[[bytes], bytes]:
    return zlib.decompressobj(31).decompress


def unbrotli_so_far() -> Callable[[bytes], bytes]:
    return brotli.Decompressor().process  # type: ignore[no-any-return]


@pytest.mark.parametrize(("coding", "decoder"), [("gzip", gunzip_so_far), ("br", unbrotli_so_far)])
@pytest.mark.parametrize("content_type", ["text/plain", "text/event-stream; charset=utf-8"])
async def test_each_piece_can_be_read_when_it_was_sent(
    coding: str, decoder: Callable[[], Callable[[bytes], bytes]], content_type: str
) -> None:
    events = content_type.startswith("text/event-stream")
    app = CompressionMiddleware(answering(PIECES, content_type=content_type), flush=not events)
    answer = await ask(app, coding)
    assert answer.coding == coding
    decode = decoder()
    assert [decode(piece) for piece in answer.pieces if piece][: len(PIECES)] == PIECES
    assert "content-length" not in answer.headers


async def test_without_a_flush_the_compressor_holds_back() -> None:
    flushed = await ask(CompressionMiddleware(answering(PIECES * 20)))
    held = await ask(CompressionMiddleware(answering(PIECES * 20), flush=False))
    assert held.body == flushed.body == b"".join(PIECES * 20)
    assert len(held.pieces) < len(flushed.pieces)
    assert b"" not in held.pieces[:-1], "nothing is no message"


async def test_the_start_goes_out_with_the_first_piece() -> None:
    """An application that sends nothing yet still tells the client that it is there."""
    server = Server()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        assert server.messages[0]["type"] == "http.response.start"
        await send({"type": "http.response.body", "body": b"x"})

    assert (await server.run(CompressionMiddleware(app), scope_of(headers=GZIP))).body == b"x"


async def test_a_client_that_reads_slowly_holds_up_the_application() -> None:
    """Nothing is taken from the application before the server took what came of the piece before."""
    taken: list[int] = []
    blocked: list[anyio.Event] = []
    server = Server()

    async def send_slowly(message: Message) -> None:
        blocked.append(anyio.Event())
        await blocked[-1].wait()
        await server.send(message)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(10):
            await send({"type": "http.response.body", "body": PAGE, "more_body": True})
            taken.append(number)
        await send({"type": "http.response.body", "body": b""})

    async with anyio.create_task_group() as group:
        group.start_soon(CompressionMiddleware(app), scope_of(headers=GZIP), server.receive, send_slowly)
        for number in range(12):  # the start, ten pieces, the end
            with anyio.fail_after(20):
                while len(blocked) <= number:
                    await anyio.sleep(0.001)
            assert taken == list(range(number - 1)), "what the server has, and no more"
            blocked[-1].set()
    assert Answer(server.messages).body == PAGE * 10


# -- a client that leaves -----------------------------------------------------------------------------------------


def idle(acc: wdasync.Accelerator) -> bool:
    statistics = acc.statistics()
    return statistics.in_flight == 0 and all(lane.parked == 0 for lane in statistics.lanes)


async def run_until_gone(
    app: App, server: Server, acc: wdasync.Accelerator, program: Program, pieces: int = 0
) -> None:
    """Let a request get stuck on the device after it sent so many pieces, and the client leave."""
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(app, scope_of(headers=GZIP), server.receive, server.send)
            while not acc.statistics().in_flight or len(server.messages) < pieces:
                await anyio.lowlevel.checkpoint()
            server.leave.set()
        program.release()
        while not idle(acc):
            await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("pieces", [[PAGE], PAGE * 20], ids=["stream", "whole"])
async def test_a_client_that_leaves_cancels_the_work(pieces: bytes | list[bytes]) -> None:
    with backend.programmed(engines=1) as program:
        async with wdasync.open_accelerator("mock", fallback=False) as acc:
            program.hold()
            server = Server()
            await run_until_gone(
                CompressionMiddleware(answering(pieces), accelerator=acc), server, acc, program
            )
            assert (await ask(CompressionMiddleware(answering(), accelerator=acc))).body == PAGE


async def test_a_client_that_leaves_in_the_middle() -> None:
    with backend.programmed() as program:
        async with wdasync.open_accelerator("mock", fallback=False) as acc:
            sent, said = [], []

            async def app(scope: Scope, receive: Receive, send: Send) -> None:
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": PAGE, "more_body": True})
                program.hold()
                await send({"type": "http.response.body", "body": PAGE, "more_body": True})
                sent.append(len(server.messages))
                await send({"type": "http.response.body", "body": PAGE, "more_body": True})
                said.append((await receive())["type"])
                said.append((await receive())["type"])
                said.append((await receive())["type"])

            server = Server()
            await run_until_gone(CompressionMiddleware(app, accelerator=acc), server, acc, program, 2)
            assert [message["body"] for message in server.messages[2:]] == [b"", b""], "and no bytes of it"
            assert said == ["http.request", "http.disconnect", "http.disconnect"]


async def test_an_application_that_listens_itself_still_hears_it() -> None:
    """As Starlette's streaming responses do: one task sends, another one waits for the client to leave."""
    heard = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def listen() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            heard.append(True)
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(listen)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while True:
                await send({"type": "http.response.body", "body": PAGE, "more_body": True})
                if len(server.messages) > 5:
                    server.leave.set()

    server = Server()
    with anyio.fail_after(20):
        await CompressionMiddleware(app)(scope_of(headers=GZIP), server.receive, server.send)
    assert heard == [True]


@pytest.mark.parametrize("announced", [("content-length", "99"), ("transfer-encoding", "chunked")])
async def test_no_body_is_received_that_the_application_did_not_ask_for(announced: tuple[str, str]) -> None:
    """It might be large, and the first receive is what sends ``100 Continue``."""
    server = Server([b"x" * 99])
    app = CompressionMiddleware(answering([PAGE] * 3))
    assert (await server.run(app, scope_of("POST", headers=[*GZIP, announced]))).body == PAGE * 3
    assert server.received == 0
    server = Server([b"x" * 99])
    await server.run(app, scope_of("POST", headers=GZIP))
    assert server.received == 0, "HTTP/2 announces nothing"


async def test_a_body_that_was_received_ahead_is_not_lost() -> None:
    got = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(3):
            await send({"type": "http.response.body", "body": PAGE, "more_body": True})
        got.append(await receive())
        got.append(await receive())
        await send({"type": "http.response.body", "body": b"x"})

    server = Server([b"a body in a GET", b"of two pieces"])
    await server.run(CompressionMiddleware(app), scope_of(headers=GZIP))
    assert [message["body"] for message in got] == [b"a body in a GET", b"of two pieces"]


async def test_a_server_that_repeats_itself_does_not_keep_us_busy() -> None:
    """As the receive functions of many a test do."""
    calls = 0

    async def receive() -> Message:
        nonlocal calls
        calls += 1
        return {"type": "http.request", "body": b"", "more_body": False}

    server = Server()
    await CompressionMiddleware(answering([PAGE] * 3))(scope_of(headers=GZIP), receive, server.send)
    assert Answer(server.messages).body == PAGE * 3
    assert calls <= 2


async def test_a_receive_that_raises_is_the_applications() -> None:
    async def receive() -> Message:
        raise ZeroDivisionError("from the server")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answering([PAGE] * 3)(scope, receive, send)
        with pytest.raises(ZeroDivisionError):
            await receive()

    server = Server()
    await CompressionMiddleware(app)(scope_of(headers=GZIP), receive, server.send)
    assert Answer(server.messages).body == PAGE * 3


async def test_a_cancelled_request_gives_everything_back() -> None:
    """As hypercorn does it when the client has gone."""
    with backend.programmed() as program:
        async with wdasync.open_accelerator("mock", fallback=False) as acc:
            program.hold()
            server = Server()
            app = CompressionMiddleware(answering([PAGE]), accelerator=acc)
            with anyio.fail_after(20):
                async with anyio.create_task_group() as group:
                    group.start_soon(app, scope_of(headers=GZIP), server.receive, server.send)
                    while not acc.statistics().in_flight:
                        await anyio.lowlevel.checkpoint()
                    group.cancel_scope.cancel()
                assert server.messages == []
                program.release()
                while not idle(acc):
                    await anyio.lowlevel.checkpoint()
