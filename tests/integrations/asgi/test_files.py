"""A folder served with its files compressed once: HTTP, and what must not be served."""

import os
import time
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path

import pytest

import wdasync
from tests.integrations.asgi.support import Answer, Server, ask, scope_of
from wdasync.integrations.asgi import CompressedFiles, CompressionMiddleware, VariantCache
from wdasync.integrations.asgi.types import Message

pytestmark = pytest.mark.anyio

TEXT = b"".join(b"line %d of a file\n" % number for number in range(30_000))


@pytest.fixture
def site(tmp_path: Path) -> Path:
    root = tmp_path / "site"
    (root / "sub").mkdir(parents=True)
    (root / "page.html").write_bytes(TEXT)
    (root / "sub" / "index.html").write_bytes(TEXT[:2000])
    (root / "picture.png").write_bytes(TEXT)
    (root / "archive.tar.gz").write_bytes(TEXT)
    (root / "empty.txt").write_bytes(b"")
    (root / "odd").write_bytes(TEXT)
    (tmp_path / "secret.txt").write_bytes(b"secret")
    (root / "link.txt").symlink_to(tmp_path / "secret.txt")
    (root / "circle").symlink_to(root / "circle")
    return root


@pytest.fixture
def app(site: Path, tmp_path: Path) -> CompressedFiles:
    return CompressedFiles(site, VariantCache(tmp_path / "cache"))


async def get(
    app: CompressedFiles, path: str, accept: str = "gzip", method: str = "GET", **headers: str
) -> Answer:
    lines = [("accept-encoding", accept), *((name.replace("_", "-"), text) for name, text in headers.items())]
    return await Server().run(app, scope_of(method, path, lines))


@pytest.mark.parametrize("coding", ["gzip", "br", "identity"])
async def test_a_page(app: CompressedFiles, coding: str) -> None:
    for _ in range(2):
        answer = await get(app, "/page.html", coding)
        assert (answer.status, answer.coding, answer.body) == (200, coding, TEXT)
        assert answer.headers["vary"] == "accept-encoding"
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["etag"].startswith('"')
    assert app.cache.misses == (coding != "identity")


async def test_head(app: CompressedFiles) -> None:
    answer, whole = await get(app, "/page.html", method="HEAD"), await get(app, "/page.html")
    assert answer.pieces == [b""]
    assert answer.headers == whole.headers


@pytest.mark.parametrize(
    ("path", "kind", "coding"),
    [
        ("/picture.png", "image/png", "identity"),
        ("/archive.tar.gz", "application/gzip", "identity"),
        ("/odd", "application/octet-stream", "gzip"),
        ("/sub/", "text/html; charset=utf-8", "gzip"),
        ("/sub", "text/html; charset=utf-8", "gzip"),
        ("/empty.txt", "text/plain; charset=utf-8", "identity"),
    ],
)
async def test_kinds(app: CompressedFiles, path: str, kind: str, coding: str) -> None:
    answer = await get(app, path)
    assert (answer.status, answer.headers["content-type"], answer.coding) == (200, kind, coding)
    assert ("vary" in answer.headers) is (coding == "gzip")


@pytest.mark.parametrize(
    "path",
    ["/", "/none", "/../secret.txt", "//../secret.txt", "/sub/../../secret.txt", "/link.txt", "/circle", "/a\0b", "/" + "x" * 5000,
     "/page.html/x", "/\ud800.html"],
)  # fmt: skip
async def test_what_is_not_served(app: CompressedFiles, path: str) -> None:
    answer = await get(app, path)
    assert (answer.status, answer.body) == (404, b"there is nothing here\n")


async def test_other_methods(app: CompressedFiles) -> None:
    answer = await get(app, "/page.html", method="POST")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


async def test_a_client_that_has_it(app: CompressedFiles) -> None:
    first = await get(app, "/page.html")
    tag = first.headers["etag"]
    for tags in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        answer = await get(app, "/page.html", if_none_match=tags)
        assert (answer.status, answer.pieces) == (304, [b""])
        assert {answer.headers[name] for name in ("etag", "vary")} == {tag, "accept-encoding"}
    for tags in ('"x"', ""):
        assert (await get(app, "/page.html", if_none_match=tags)).status == 200
    other = await get(app, "/page.html", "br", if_none_match=tag)
    assert (other.status, other.coding) == (200, "br"), "that is another variant"


async def test_by_date(app: CompressedFiles, site: Path) -> None:
    modified = (site / "page.html").stat().st_mtime
    same, before = formatdate(modified, usegmt=True), formatdate(modified - 1, usegmt=True)
    assert (await get(app, "/page.html", if_modified_since=same)).status == 304
    assert (await get(app, "/page.html", if_modified_since=before)).status == 200
    assert (await get(app, "/page.html", if_modified_since="yesterday")).status == 200
    assert (await get(app, "/page.html", if_modified_since=same, if_none_match='"x"')).status == 200


@pytest.mark.parametrize(
    "date",
    [
        "Mon, 01 Jan 2040 00:00:00 +99999999999999999999",
        "Mon, 01 Jan 2040 00:00:00 +0100",
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        "Mon, 99 Jan 2040 00:00:00 GMT",
        "Mon, 01 Jan 2040 99:00:00 GMT",
        "",
    ],
)
async def test_a_date_that_is_none_of_http_is_ignored(app: CompressedFiles, date: str) -> None:
    """RFC 9110 sections 13.1.3, 13.1.4."""
    assert (await get(app, "/page.html", if_modified_since=date)).status == 200
    assert (await get(app, "/page.html", if_unmodified_since=date)).status == 200


@pytest.mark.parametrize(
    "date",
    ["Thu, 01 Jan 2060 00:00:01 GMT", "Thursday, 01-Jan-60 00:00:01 GMT", "Thu Jan  1 00:00:01 2060"],
)
async def test_the_three_forms_of_a_date(app: CompressedFiles, date: str) -> None:
    """RFC 9110 section 5.6.7: all of them mean Greenwich."""
    assert (await get(app, "/page.html", if_modified_since=date)).status == 304


async def test_a_date_without_a_zone_is_that_of_greenwich(
    app: CompressedFiles, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modified = time.gmtime((site / "page.html").stat().st_mtime)
    monkeypatch.setenv("TZ", "Etc/GMT-9")
    time.tzset()
    try:
        answer = await get(app, "/page.html", if_modified_since=time.asctime(modified))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert answer.status == 304


async def test_what_a_client_relies_on(app: CompressedFiles, site: Path) -> None:
    """RFC 9110 sections 13.1.1, 13.1.4, 13.2.2: 412, before anything else is looked at."""
    tag = (await get(app, "/page.html")).headers["etag"]
    modified = (site / "page.html").stat().st_mtime
    same, before = formatdate(modified, usegmt=True), formatdate(modified - 1, usegmt=True)
    for tags, status in ((tag, 200), (f'"x", {tag}', 200), ("*", 200), ('"x"', 412), (f"W/{tag}", 412)):
        assert (await get(app, "/page.html", if_match=tags)).status == status, tags
    assert (await get(app, "/page.html", if_match='"x"', if_none_match=tag)).status == 412
    assert (await get(app, "/page.html", if_match=tag, if_none_match=tag)).status == 304
    assert (await get(app, "/page.html", if_unmodified_since=same)).status == 200
    assert (await get(app, "/page.html", if_unmodified_since=before)).status == 412
    assert (await get(app, "/page.html", if_unmodified_since=before, if_match=tag)).status == 200


async def test_a_file_from_the_future(app: CompressedFiles, site: Path) -> None:
    """RFC 9110 section 8.8.2.1: not even then is ``Last-Modified`` later than now."""
    os.utime(site / "page.html", (time.time() + 1e6,) * 2)
    said = (await get(app, "/page.html")).headers["last-modified"]
    assert parsedate_to_datetime(said).timestamp() <= time.time()


@pytest.mark.parametrize("coding", ["identity", "gzip"])
@pytest.mark.parametrize("change", [50, -50])
async def test_a_file_that_changes_while_it_is_sent(
    app: CompressedFiles, site: Path, coding: str, change: int
) -> None:
    """No more is sent than was announced; too little is an error, by which the server ends the connection."""
    server = Server()

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            os.truncate(site / "page.html", len(TEXT) + change)
        await server.send(message)

    scope = scope_of("GET", "/page.html", [("accept-encoding", coding)])
    if change < 0 and coding == "identity":
        with pytest.raises(EOFError, match=f"expected {len(TEXT)} bytes, got {len(TEXT) + change}"):
            await app(scope, server.receive, send)
    else:
        await app(scope, server.receive, send)
        assert Answer(server.messages).body == TEXT


@pytest.mark.parametrize("how", ["a file", "nobody may write"])
async def test_a_cache_that_cannot_be_used(
    site: Path, tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are sent as they are."""
    (tmp_path / "file").write_bytes(b"")
    if how == "nobody may write":
        monkeypatch.setattr("tempfile.mkstemp", refuse)
    app = CompressedFiles(site, VariantCache(tmp_path / ("file" if how == "a file" else "cache")))
    answer = await get(app, "/page.html")
    assert (answer.status, answer.coding, answer.body) == (200, "identity", TEXT)


def refuse(*arguments: object, **named: object) -> None:
    raise PermissionError(13, "nobody may write here")


async def test_a_range_is_ignored(app: CompressedFiles) -> None:
    answer = await get(app, "/page.html", "identity", range="bytes=0-9")
    assert (answer.status, answer.body) == (200, TEXT)


async def test_below_a_path_of_an_application(app: CompressedFiles) -> None:
    scope = scope_of("GET", "/static/page.html", [("accept-encoding", "gzip")], root_path="/static")
    assert (await Server().run(app, scope)).body == TEXT


async def test_inside_of_the_middleware(app: CompressedFiles) -> None:
    """What is compressed already is left alone, and its strong tag with it."""
    answer = await ask(CompressionMiddleware(app))
    assert answer.status == 404
    answer = await Server().run(
        CompressionMiddleware(app), scope_of("GET", "/page.html", [("accept-encoding", "gzip")])
    )
    assert (answer.coding, answer.body, answer.headers["etag"][0]) == ("gzip", TEXT, '"')


async def test_further_headers(site: Path, tmp_path: Path) -> None:
    app = CompressedFiles(
        site, VariantCache(tmp_path / "cache"), headers=lambda path: [(b"cache-control", b"max-age=60")]
    )
    assert (await get(app, "/page.html")).headers["cache-control"] == "max-age=60"


async def test_a_file_that_vanishes(app: CompressedFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    async def gone(*arguments: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(app.cache, "open", gone)
    assert (await get(app, "/page.html")).status == 404


async def test_no_index(site: Path, tmp_path: Path) -> None:
    app = CompressedFiles(site, VariantCache(tmp_path / "cache"), index="")
    assert (await get(app, "/sub/")).status == 404


async def test_what_cannot_be_right(site: Path, tmp_path: Path) -> None:
    with pytest.raises(wdasync.InvalidArgument, match="directory: expected a folder"):
        CompressedFiles(site / "none", VariantCache(tmp_path / "cache"))
    with pytest.raises(wdasync.InvalidArgument, match="cache: expected a folder outside of"):
        CompressedFiles(site, VariantCache(site / "cache"))
    app = CompressedFiles(site, VariantCache(tmp_path / "cache"))
    server = Server()
    with pytest.raises(wdasync.InvalidArgument, match="expected http, got websocket"):
        await app({"type": "websocket"}, server.receive, server.send)
