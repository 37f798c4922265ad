"""Files compressed once: when, how often, what is kept, and what becomes of changes, crashes and full folders."""

import gc
import gzip
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import anyio
import brotli
import pytest

import wdasync
from wdasync.integrations import variants
from wdasync.integrations.negotiation import Preferences, parse_accept_encoding
from wdasync.integrations.variants import Variant, VariantCache
from wdasync.testing.mock import backend

pytestmark = pytest.mark.anyio

TEXT = b"".join(b"line %d of a file\n" % number for number in range(5000))
GZIP = parse_accept_encoding(["gzip"])


def write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "files" / "a file.txt"
    path.parent.mkdir()
    path.write_bytes(TEXT)
    return path


@pytest.fixture
def cache(tmp_path: Path) -> VariantCache:
    return VariantCache(tmp_path / "cache")


async def content(
    cache: VariantCache, path: Path, preferences: Preferences = GZIP, kind: str = "text/plain"
) -> tuple[Variant, bytes]:
    variant = await cache.open(await wdasync.default_accelerator(), path, preferences, kind)
    with variant.file:
        data = variant.file.read()
    assert len(data) == variant.length
    return variant, data


async def test_a_file_is_compressed_once(cache: VariantCache, source: Path) -> None:
    first, packed = await content(cache, source)
    assert (first.coding, gzip.decompress(packed), first.varies) == ("gzip", TEXT, True)
    again, data = await content(cache, source)
    assert (again.etag, data) == (first.etag, packed)
    assert (cache.hits, cache.misses) == (1, 1)
    assert repr(cache).endswith("1 hits, 1 misses, 0 dropped>")


async def test_each_coding_is_a_variant_with_a_tag_of_its_own(cache: VariantCache, source: Path) -> None:
    tags = set()
    for accept, decode in (("gzip", gzip.decompress), ("br", brotli.decompress), ("identity", bytes)):
        variant, data = await content(cache, source, parse_accept_encoding([accept]))
        assert (variant.coding, decode(data)) == (accept, TEXT)
        tags.add(variant.etag)
    assert len(tags) == 3
    assert all(tag.startswith('"') for tag in tags), "strong: the bytes are always the same"


async def test_many_at_once_make_it_once(cache: VariantCache, source: Path) -> None:
    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(content, cache, source)
    assert (cache.hits, cache.misses) == (19, 1)
    assert cache._making == {}


async def test_a_file_that_changes(cache: VariantCache, source: Path) -> None:
    before, _ = await content(cache, source)
    write(source, b"another one\n" * 100)
    after, data = await content(cache, source)
    assert gzip.decompress(data) == b"another one\n" * 100
    assert after.etag != before.etag


async def test_a_file_that_changes_while_it_is_compressed(
    cache: VariantCache, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was made of half the one and half the other is thrown away."""
    compress = cache._compress

    async def slowly(*arguments: object) -> None:
        await compress(*arguments)  # type: ignore[arg-type]
        os.truncate(source, 1000)

    monkeypatch.setattr(cache, "_compress", slowly)
    variant = await cache.open(await wdasync.default_accelerator(), source, GZIP, "text/plain")
    with variant.file:
        assert (variant.coding, variant.file.read()) == ("identity", TEXT[:1000])
    assert list(cache.folder.iterdir()) == []


async def test_what_does_not_get_smaller_is_tried_once(cache: VariantCache, source: Path) -> None:
    noise = os.urandom(5000)
    write(source, noise)
    for _ in range(3):
        variant, data = await content(cache, source)
        assert (variant.coding, data, variant.varies) == ("identity", noise, True)
    assert (cache.hits, cache.misses) == (2, 1)


@pytest.mark.parametrize(
    ("size", "kind", "varies"),
    [(499, "text/plain", False), (2000, "image/png", False), (3001, "text/plain", False)],
)
async def test_what_is_left_alone(tmp_path: Path, source: Path, size: int, kind: str, varies: bool) -> None:
    cache = VariantCache(tmp_path / "cache", max_size=3000)
    write(source, TEXT[:size])
    variant, data = await content(cache, source, kind=kind)
    assert (variant.coding, data, variant.varies) == ("identity", TEXT[:size], varies)
    assert not cache.folder.exists()


async def test_the_folder_is_bounded_and_keeps_what_is_used(tmp_path: Path, source: Path) -> None:
    folder = source.parent
    paths = [folder / f"{number}.txt" for number in range(6)]
    for path in paths:
        path.write_bytes(os.urandom(2000).hex().encode())
    cache = VariantCache(tmp_path / "cache", max_bytes=4 * 3000)
    for number, path in enumerate(paths):
        await content(cache, path)
        await content(cache, paths[0])  # always in use
        for variant in cache.folder.iterdir():  # time passes
            status = variant.stat()
            os.utime(variant, (status.st_atime, status.st_mtime - 10))
        assert sum(file.stat().st_size for file in cache.folder.iterdir()) <= 4 * 3000
        del number
    assert cache.dropped == 2
    misses = cache.misses
    await content(cache, paths[0])
    await content(cache, paths[5])
    assert cache.misses == misses
    await content(cache, paths[1])
    assert cache.misses == misses + 1


async def test_a_variant_that_is_dropped_can_still_be_read(tmp_path: Path, source: Path) -> None:
    cache = VariantCache(tmp_path / "cache", max_bytes=1)
    variant = await cache.open(await wdasync.default_accelerator(), source, GZIP, "text/plain")
    assert list(cache.folder.iterdir()) == []
    with variant.file:
        assert gzip.decompress(variant.file.read()) == TEXT


async def test_two_caches_share_a_folder(tmp_path: Path, source: Path) -> None:
    first, second = VariantCache(tmp_path / "cache"), VariantCache(tmp_path / "cache")
    await content(first, source)
    await content(second, source)
    assert (second.hits, second.misses) == (1, 0)


async def test_another_level_is_another_variant(tmp_path: Path, source: Path) -> None:
    await content(VariantCache(tmp_path / "cache", level="fast"), source)
    best = VariantCache(tmp_path / "cache", level="best")
    await content(best, source)
    assert best.misses == 1


async def test_cancelled_while_it_is_made(cache: VariantCache, source: Path) -> None:
    """No draft is left, and the next one makes it."""
    with backend.programmed() as program:
        async with wdasync.open_accelerator("mock", fallback=False) as acc:
            program.hold()
            with anyio.fail_after(20):
                async with anyio.create_task_group() as group:
                    group.start_soon(cache.open, acc, source, GZIP, "text/plain")
                    while not acc.statistics().in_flight:
                        await anyio.sleep(0.001)
                    group.cancel_scope.cancel()
            assert list(cache.folder.iterdir()) == []
            assert cache._making == {}
            program.release()
    _, data = await content(cache, source)
    assert gzip.decompress(data) == TEXT


async def test_a_device_that_fails(cache: VariantCache, source: Path) -> None:
    with backend.programmed() as program:
        async with wdasync.open_accelerator("mock", fallback=False) as acc:
            program.fail(count=1)
            variant = await cache.open(acc, source, GZIP, "text/plain")
            with variant.file:
                assert (variant.coding, variant.file.read()) == ("identity", TEXT)
            assert list(cache.folder.iterdir()) == []


async def test_a_disk_that_is_full(
    cache: VariantCache, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writing fails, and so does closing, which writes what is left. The source is sent, from its beginning."""
    drafted = variants._drafted

    def full(folder: Path) -> tuple[BinaryIO, Path]:
        draft, name = drafted(folder)
        draft.close()
        return Path("/dev/full").open("wb"), name

    monkeypatch.setattr(variants, "_drafted", full)
    write(source, noise := os.urandom(3 << 20))
    variant, data = await content(cache, source)
    assert (variant.coding, data == noise) == ("identity", True)
    assert list(cache.folder.iterdir()) == []


async def test_a_folder_that_cannot_be_read_keeps_nothing_back(
    cache: VariantCache, source: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    """It may be written to: then the variant is sent, and nothing is trimmed."""

    def unreadable(self: Path) -> Iterator[Path]:
        raise PermissionError(13, "nobody may read this")

    monkeypatch.setattr(Path, "iterdir", unreadable)
    variant, data = await content(cache, source)
    assert (variant.coding, gzip.decompress(data), cache.dropped) == ("gzip", TEXT, 0)
    gc.collect()
    assert not recwarn.list


async def test_a_variant_of_another_user(
    cache: VariantCache, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot be marked as used, and can be sent."""
    await content(cache, source)

    def refuse(*arguments: object) -> None:
        raise PermissionError(1, "not yours")

    monkeypatch.setattr(os, "utime", refuse)
    variant, data = await content(cache, source)
    assert (variant.coding, gzip.decompress(data), cache.hits) == ("gzip", TEXT, 1)


async def test_a_variant_is_on_the_disk_before_it_has_its_name(
    cache: VariantCache, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise, when the power fails, the name may be there and its content not."""
    happened = []

    def noted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments: happened.append(name) or function(*arguments)  # type: ignore[func-returns-value]

    monkeypatch.setattr(os, "fsync", noted("sync", os.fsync))
    monkeypatch.setattr(Path, "replace", noted("replace", Path.replace))
    await content(cache, source)
    assert happened == ["sync", "replace"]


async def test_drafts_of_the_dead_are_cleared_away(cache: VariantCache, source: Path) -> None:
    cache.folder.mkdir()
    old, new = cache.folder / f"x{variants.DRAFT}", cache.folder / f"y{variants.DRAFT}"
    for path in (old, new):
        path.write_bytes(b"half a variant")
    os.utime(old, (time.time() - variants.ABANDONED - 10,) * 2)
    await content(cache, source)
    assert (old.exists(), new.exists()) == (False, True)


async def test_a_large_file_goes_piece_by_piece(cache: VariantCache, source: Path) -> None:
    write(source, TEXT * 60)
    _, data = await content(cache, source)
    assert gzip.decompress(data) == TEXT * 60


async def test_what_is_no_file(cache: VariantCache, tmp_path: Path) -> None:
    acc = await wdasync.default_accelerator()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(wdasync.InvalidArgument, match="expected a regular file"):
        await cache.open(acc, tmp_path / "pipe", GZIP)
    with pytest.raises(wdasync.InvalidArgument, match="expected a regular file"):
        await cache.open(acc, tmp_path, GZIP)
    with pytest.raises(FileNotFoundError):
        await cache.open(acc, tmp_path / "none", GZIP)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"max_bytes": 0}, "max_bytes: expected an int of at least 1"),
        ({"codings": ("snappy",)}, "codings: expected"),
        ({"level": 1.5}, "level: expected"),
        ({"minimum_size": -1}, "minimum_size: expected"),
        ({"max_size": 0}, "max_size: expected"),
    ],
)
def test_settings_that_cannot_be_right(tmp_path: Path, how: dict[str, object], expected: str) -> None:
    with pytest.raises(wdasync.InvalidArgument, match=expected):
        VariantCache(tmp_path, **how)  # type: ignore[arg-type]
