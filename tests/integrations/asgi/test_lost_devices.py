"""A backend that dies under load costs no request that another one can serve."""

import gzip
import random
import zlib
from collections import Counter

import anyio
import anyio.lowlevel
import pytest

import wdasync
from tests.integrations.asgi.support import PAGE, Answer, Server, answering, ask, echo, post, scope_of
from wdasync import registry
from wdasync.integrations.asgi import CompressionMiddleware, DecompressionMiddleware
from wdasync.integrations.asgi.types import App, Message, Receive, Scope, Send
from wdasync.testing.mock import backend

pytestmark = pytest.mark.anyio

GZIP = [("accept-encoding", "gzip")]


class Load:
    """Clients that ask one after the other, and check every answer.

    :ivar codings: of the answers -> how many
    """

    def __init__(self, app: App) -> None:
        self.codings: Counter[str] = Counter()
        self.answered = 0
        self._app = app

    async def client(self, count: int) -> None:
        for _ in range(count):
            answer = await ask(self._app)
            assert (answer.status, answer.body) == (200, PAGE)
            self.codings[answer.coding] += 1
            self.answered += 1

    async def until(self, answered: int) -> None:
        while self.answered < answered:
            await anyio.lowlevel.checkpoint()


async def test_a_lost_device_under_load() -> None:
    with backend.programmed() as program:
        async with wdasync.open_accelerator("mock", inline=False) as acc:
            load = Load(CompressionMiddleware(answering(), accelerator=acc))
            with anyio.fail_after(60):
                async with anyio.create_task_group() as group:
                    for _ in range(32):
                        group.start_soon(load.client, 10)
                    await load.until(50)
                    program.lose_device()
            assert load.codings == {"gzip": 320}
            statistics = acc.statistics()
            assert (statistics.in_flight, statistics.rescues) == (0, 0)
            assert {"mock", "cpu"} <= {
                lane.name.partition("/")[0] for lane in statistics.lanes if lane.completed
            }


async def test_the_emulated_chip_goes_away_under_load() -> None:
    async with wdasync.open_accelerator("hip08", inline=False) as acc:
        load = Load(CompressionMiddleware(answering(), accelerator=acc))
        chip = registry.get_backend("hip08")
        (device,) = [place.device for place in acc._places if place.name == "hip08/hisi_zip-0"]
        with anyio.fail_after(100):
            async with anyio.create_task_group() as group:
                for _ in range(16):
                    group.start_soon(load.client, 8)
                await load.until(20)
                chip.provoker.lose(device)  # type: ignore[attr-defined]  # for those who examine backends
        assert load.codings == {"gzip": 128}
        assert acc.statistics().in_flight == 0
        completed = Counter[str]()
        for lane in acc.statistics().lanes:
            completed[lane.name.partition("/")[0]] += lane.completed
        assert completed["hip08"] > 0
        assert completed["cpu"] > 0


async def test_without_a_fallback_the_pages_are_sent_as_they_are() -> None:
    with backend.programmed() as program:
        async with wdasync.open_accelerator("mock", fallback=False) as acc:
            load = Load(CompressionMiddleware(answering(), accelerator=acc))
            with anyio.fail_after(60):
                async with anyio.create_task_group() as group:
                    for _ in range(16):
                        group.start_soon(load.client, 10)
                    await load.until(20)
                    program.lose_device()
            assert sum(load.codings.values()) == 160
            assert load.codings["identity"] > 0


async def test_a_stream_that_begins_after_the_loss_goes_elsewhere() -> None:
    with backend.programmed() as program:
        async with wdasync.open_accelerator("mock", inline=False) as acc:
            app = CompressionMiddleware(answering([PAGE, PAGE]), accelerator=acc)
            assert (await ask(app)).body == PAGE * 2
            program.lose_device()
            answer = await ask(app)
            assert (answer.coding, answer.body) == ("gzip", PAGE * 2)


async def test_a_stream_whose_device_is_lost_in_the_middle_goes_on_elsewhere() -> None:
    with backend.programmed() as program:
        async with wdasync.open_accelerator("mock", inline=False) as acc:
            pieces = [b"piece %d\n" % number * 500 for number in range(20)]

            async def app(scope: Scope, receive: Receive, send: Send) -> None:
                await send({"type": "http.response.start", "status": 200, "headers": []})
                for number, piece in enumerate(pieces):
                    if number == 7:
                        program.lose_device()
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                await send({"type": "http.response.body", "body": b""})

            answer = await ask(CompressionMiddleware(app, accelerator=acc))
            assert (answer.coding, answer.body) == ("gzip", b"".join(pieces))
            decode = zlib.decompressobj(31).decompress
            assert [decode(piece) for piece in answer.pieces][:20] == pieces, (
                "each could be read when it was sent"
            )


def noise(size: int) -> bytes:
    return random.Random(5).randbytes(size)


@pytest.mark.parametrize("body", [PAGE * 40, noise(120_000), b"x" * 4_000_000], ids=["page", "noise", "same"])
@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("at", [1, 2, 7])
async def test_a_request_whose_device_is_lost_in_the_middle(coding: str, at: int, body: bytes) -> None:
    """It is decompressed from the beginning elsewhere; the application sees each byte once."""
    packed = gzip.compress(body) if coding == "gzip" else zlib.compress(body)
    step = len(packed) // 8 + 1
    with backend.programmed() as program:
        async with wdasync.open_accelerator("mock", inline=False) as acc:
            received = 0

            async def app(scope: Scope, receive: Receive, send: Send) -> None:
                async def counted() -> Message:
                    nonlocal received
                    received += 1
                    if received == at:
                        program.lose_device()
                    return await receive()

                await echo(scope, counted, send)

            pieces = [packed[start : start + step] for start in range(0, len(packed), step)]
            answer = await post(
                DecompressionMiddleware(app, accelerator=acc, max_ratio=100_000),
                pieces,
                content_encoding=coding,
            )
            assert (answer.status, answer.body) == (200, body)
            assert acc.statistics().in_flight == 0


async def read(receive: Receive) -> None:
    while (await receive())["more_body"]:
        pass


async def test_a_request_that_is_too_long_to_begin_again() -> None:
    """So much input is kept, and no more."""
    packed = gzip.compress(noise(400_000))
    with backend.programmed() as program:
        async with wdasync.open_accelerator("mock", inline=False) as acc:

            async def app(scope: Scope, receive: Receive, send: Send) -> None:
                for _ in range(30):
                    await receive()
                program.lose_device()
                with pytest.raises(wdasync.DeviceError):
                    await read(receive)
                with pytest.raises(wdasync.InvalidState, match="was cancelled or failed while a device"):
                    await receive()
                await answering(b"gone")(scope, receive, send)

            pieces = [packed[start : start + 10_000] for start in range(0, len(packed), 10_000)]
            answer = await post(
                DecompressionMiddleware(app, accelerator=acc), pieces, content_encoding="gzip"
            )
            assert answer.body == b"gone"


async def test_a_device_that_says_nothing_is_given_up() -> None:
    """Its deadline passes, the queue is reset, and the request is served elsewhere."""
    with backend.programmed() as program:
        async with wdasync.open_accelerator("mock", inline=False, deadline=0.2) as acc:
            program.stick(count=1)
            server = Server()
            app = CompressionMiddleware(answering(), accelerator=acc)
            with anyio.fail_after(60):
                await app(scope_of(headers=GZIP), server.receive, server.send)
            assert Answer(server.messages).body == PAGE
