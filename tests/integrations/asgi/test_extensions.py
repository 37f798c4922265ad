"""The extensions of ASGI: files that the server sends itself, trailers, hints."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.integrations.asgi.support import PAGE, Answer, Server, ask, scope_of
from wdasync.integrations.asgi import CompressionMiddleware
from wdasync.integrations.asgi.types import App, Message, Receive, Scope, Send

pytestmark = pytest.mark.anyio


def sending(*messages: Message, **start: Any) -> App:
    """An application that sends these after the start."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        head = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
        await send({**head, **start})
        for message in messages:
            await send(dict(message))

    return app


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A file of more than one read."""
    path = tmp_path / "page"
    path.write_bytes(PAGE * 40)
    return path


async def test_a_path_is_read_here_if_it_is_to_be_encoded(page: Path) -> None:
    message = {"type": "http.response.pathsend", "path": str(page)}
    answer = await ask(CompressionMiddleware(sending(message)))
    assert (answer.coding, answer.body, answer.complete) == ("gzip", PAGE * 40, True)
    assert {message["type"] for message in answer.messages[1:]} == {"http.response.body"}


async def test_a_path_goes_to_the_server_if_not(page: Path) -> None:
    message = {"type": "http.response.pathsend", "path": str(page)}
    answer = await ask(CompressionMiddleware(sending(message)), "identity")
    assert answer.messages[1:] == [message]
    assert answer.headers["vary"] == "accept-encoding"
    small = [(b"content-type", b"text/plain"), (b"content-length", b"99")]
    assert (await ask(CompressionMiddleware(sending(message, headers=small)))).messages[1:] == [message]


@pytest.mark.parametrize(
    ("how", "part"),
    [
        ({}, slice(7, None)),
        ({"offset": 100}, slice(100, None)),
        ({"count": 10}, slice(7, 17)),
        ({"offset": 5, "count": 300_000}, slice(5, 300_005)),
        ({"offset": 5, "count": 1 << 40}, slice(5, None)),
        ({"count": 0}, slice(0, 0)),
    ],
)
@pytest.mark.parametrize("number", [True, False])
async def test_a_descriptor(page: Path, how: dict[str, int], part: slice, number: bool) -> None:
    with page.open("rb") as file:
        os.lseek(file.fileno(), 7, os.SEEK_SET)
        copy = {"type": "http.response.zerocopysend", "file": file.fileno() if number else file, **how}
        first = {**copy, "more_body": True}
        last = {"type": "http.response.body", "body": b"the end"}
        answer = await ask(CompressionMiddleware(sending(first, last)))
        assert (answer.coding, answer.body) == ("gzip", (PAGE * 40)[part] + b"the end")
        assert (await ask(CompressionMiddleware(sending(copy)))).body == (PAGE * 40)[part]
        assert (await ask(CompressionMiddleware(sending(copy)), "identity")).messages[1:] == [copy]
        assert os.lseek(file.fileno(), 0, os.SEEK_CUR) == 7


async def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    message = {"type": "http.response.pathsend", "path": str(tmp_path / "none")}
    with pytest.raises(FileNotFoundError):
        await ask(CompressionMiddleware(sending(message)))


@pytest.mark.parametrize("pieces", [[PAGE], [PAGE, PAGE]])
async def test_trailers_follow_the_body(pieces: list[bytes]) -> None:
    bodies = [
        {"type": "http.response.body", "body": piece, "more_body": number < len(pieces)}
        for number, piece in enumerate(pieces, 1)
    ]
    trailers = [
        {"type": "http.response.trailers", "headers": [(b"a", b"b")], "more_trailers": True},
        {"type": "http.response.trailers", "headers": [(b"c", b"d")], "more_trailers": False},
    ]
    answer = await ask(CompressionMiddleware(sending(*bodies, *trailers, trailers=True)))
    assert answer.start["trailers"]
    assert answer.messages[-2:] == trailers
    assert (answer.coding, answer.body) == ("gzip", b"".join(pieces))


async def test_hints_do_not_wait_for_the_response() -> None:
    hint = {"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]}
    server = Server()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(hint)
        assert server.messages == [hint]
        await sending({"type": "http.response.body", "body": PAGE})(scope, receive, send)
        assert server.messages[0] == hint

    scope = scope_of(headers=[("accept-encoding", "gzip")])
    answer = await server.run(CompressionMiddleware(app), scope)
    assert answer.body == PAGE


async def test_what_nobody_knows_yet_passes() -> None:
    message = {"type": "http.response.debug", "info": {}}
    answer = await ask(CompressionMiddleware(sending(message, {"type": "http.response.body", "body": PAGE})))
    assert answer.messages[0] == message
    assert Answer(answer.messages[1:]).body == PAGE
