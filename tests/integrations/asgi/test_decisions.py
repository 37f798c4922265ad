"""Each row of the decision table, through the whole middleware: a row without a case here fails."""

from typing import NamedTuple

import pytest

from tests.integrations.asgi.support import PAGE, answering, ask
from wdasync.integrations.asgi import CompressionMiddleware
from wdasync.integrations.asgi.types import App
from wdasync.integrations.decisions import ROWS, Exchange, Row, decide
from wdasync.integrations.media import compressible

pytestmark = pytest.mark.anyio


class Case(NamedTuple):
    """A response, and the row that decides about it."""

    row: str
    app: App
    method: str = "GET"
    accept: str = "gzip"
    size: int = len(PAGE)


CASES = [
    Case("no content", answering(b"", 204), size=0),
    Case("no content", answering(b"", 205), size=0),
    Case("no content", answering(b"", 304), size=0),
    Case("tunnel", answering(), method="CONNECT"),
    Case("encoded", answering(content_encoding="br")),
    Case("encoded", answering(content_encoding="GZIP")),
    Case("encoded", answering(content_encoding="dcb")),
    Case("packed range", answering(status=206, content_type="video/mp4")),
    Case("range", answering(status=206)),
    Case("range", answering(status=206, content_range=f"bytes 0-9/{len(PAGE)}")),
    Case("range", answering(status=416, content_range=f"bytes */{len(PAGE)}")),
    Case("range", answering(content_type="Multipart/Byteranges; boundary=x")),
    Case("no-transform", answering(cache_control="no-transform")),
    Case("no-transform", answering(cache_control="public, No-Transform, max-age=1")),
    Case("digest", answering(content_digest="sha-256=:AA==:")),
    Case("digest", answering(repr_digest="sha-256=:AA==:")),
    Case("digest", answering(digest="sha-256=AA==")),
    Case("digest", answering(content_md5="AA==")),
    Case("digest", answering(trailer="Server-Timing, Content-Digest")),
    Case("empty", answering(b""), size=0),
    Case("empty", answering(b"", content_length="0"), method="HEAD", size=0),
    Case("media type", answering(content_type="image/png")),
    Case("media type", answering(content_type="Font/WOFF2")),
    Case("media type", answering([PAGE], content_type="video/mp4")),
    Case("media type", answering(content_type="image/png"), method="HEAD"),
    Case("small", answering(PAGE[:499]), size=499),
    Case("small", answering(b"", content_length="499"), method="HEAD", size=0),
    Case("small", answering([PAGE[:200], PAGE[200:499]], content_length="499"), size=499),
    Case("identity", answering(), accept="br;q=0"),
    Case("identity", answering(content_length=str(len(PAGE))), method="HEAD", accept=""),
    Case("identity", answering(), accept=""),
    Case("identity", answering(), accept="*;q=0"),
    Case("HEAD", answering(content_length=str(len(PAGE))), method="HEAD"),
    Case("HEAD", answering(b"", content_length=str(len(PAGE))), method="HEAD", size=0),
    Case("HEAD", answering(b""), method="HEAD", size=0),
    Case("HEAD", answering([PAGE]), method="HEAD"),
    Case("compress", answering()),
    Case("compress", answering(status=404)),
    Case("compress", answering(status=500)),
    Case("compress", answering(PAGE[:500]), size=500),
    Case("compress", answering([PAGE])),
    Case("compress", answering([b"x"]), size=1),
    Case("compress", answering(content_type=None)),
    Case("compress", answering(content_type="image/svg+xml")),
    Case("compress", answering(content_type="font/ttf")),
    Case("compress", answering(content_type="text/event-stream")),
    Case("compress", answering(content_encoding="identity")),
    Case("compress", answering(cache_control="private, max-age=0")),
    Case("compress", answering(), method="POST"),
    Case("compress", answering(content_length=str(len(PAGE)))),
    Case("compress", answering([PAGE], content_length=str(len(PAGE)))),
    Case("compress", answering([PAGE[:500], PAGE[500:]], content_length=str(len(PAGE)))),
    Case("compress", answering([PAGE], content_length="x" * 40)),
    Case("compress", answering(b"x" * 100), accept="gzip, identity;q=0", size=100),
    Case("compress", answering(content_type="image/png"), accept="gzip, *;q=0"),
]  # fmt: skip
BY_NAME = {row.name: row for row in ROWS}


def name_of(case: Case) -> str:
    return f"{case.row}-{CASES.index(case)}"


def test_each_row_has_a_case() -> None:
    assert [row.name for row in ROWS] == list(dict.fromkeys(case.row for case in CASES))


@pytest.mark.parametrize("case", CASES, ids=name_of)
async def test_case(case: Case) -> None:
    row = BY_NAME[case.row]
    plain = await ask(case.app, case.accept, case.method)
    answer = await ask(CompressionMiddleware(case.app), case.accept, case.method)
    assert answer.status == plain.status
    assert answer.complete
    assert (answer.headers.get("vary") == "accept-encoding") is row.varies
    if row.encode:
        assert answer.coding == "gzip"
        assert len(answer.body) == case.size
        assert answer.body == b"".join(plain.pieces)
    elif row.unseen:
        length = (
            {"content-length": plain.headers["content-length"]} if "content-length" in plain.headers else {}
        )
        assert {**answer.headers, **length, "vary": ""} == {**plain.headers, "vary": ""}
        assert answer.pieces == plain.pieces
        assert "content-length" not in answer.headers, "nobody knows what a compressed body would have"
    else:
        assert {**answer.headers, "vary": ""} == {**plain.headers, "vary": ""}
        assert answer.pieces == plain.pieces


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_says_all_that_the_documentation_needs(row: Row) -> None:
    assert all([row.name, row.situation, row.behaviour, row.source])


def test_the_last_row_always_holds() -> None:
    assert decide(Exchange("GET", 200, {}, None, "br")) == (ROWS[-1], "br")


PACKED = [
    "image/png",
    "image/jpeg",
    "image/webp",
    "image/avif",
    "image/gif",
    "audio/mpeg",
    "audio/ogg",
    "video/mp4",
    "video/webm",
    "font/woff",
    "font/woff2",
    "application/zip",
    "application/gzip",
    "application/zstd",
    "application/x-7z-compressed",
    "application/grpc",
    "application/grpc+proto",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "application/epub+zip",
    "multipart/x-mixed-replace",
    "application/vnd.something+zip",
    "IMAGE/PNG;x=y",
]
PLAIN = [
    "text/html",
    "text/plain",
    "text/event-stream",
    "application/json",
    "application/problem+json",
    "application/javascript",
    "application/wasm",
    "application/xml",
    "image/svg+xml",
    "image/bmp",
    "image/x-icon",
    "image/vnd.microsoft.icon",
    "font/ttf",
    "font/otf",
    "application/vnd.ms-fontobject",
    "application/octet-stream",
    "text/css",
    "multipart/form-data",
    "audio/wav",
    "x",
    "y/z",
]


@pytest.mark.parametrize("kind", [*PACKED, *PLAIN, ""])
def test_media_types(kind: str) -> None:
    assert compressible(kind) is (kind not in PACKED)
