"""RFC 9842: dcb and dcz, against the layout that it gives and decoders that are not ours."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from typing import Any

import pytest

import wdasync
from tests.cpu.support import noise, words, zstd
from wdasync import DataCause, Dictionary
from wdasync.dictionarycoding import compress_with_dictionary, decompress_with_dictionary, window_of
from wdasync.eventloop import threads

OLD = words(60_000, 1)
NEW = OLD[:20_000] + b"changed" + OLD[20_500:] + words(300, 2)
BEGIN = {"dcb": b"\xff\x44\x43\x42", "dcz": b"\x5e\x2a\x4d\x18\x20\x00\x00\x00"}

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("coding", BEGIN)
async def test_there_and_back(coding: str) -> None:
    async with wdasync.open_accelerator("cpu") as acc:
        body = await compress_with_dictionary(acc, NEW, OLD, coding)
        assert body.startswith(BEGIN[coding] + hashlib.sha256(OLD).digest())
        assert len(body) < len(NEW) / 20
        assert await decompress_with_dictionary(acc, body, Dictionary(OLD), coding) == NEW
        assert await decompress_with_dictionary(acc, [body[:7], body[7:]], bytearray(OLD), coding) == NEW


async def test_a_decoder_of_zstandard_reads_dcz() -> None:
    """The header is a skippable frame."""
    async with wdasync.open_accelerator("cpu") as acc:
        body = await compress_with_dictionary(acc, NEW, OLD, "dcz", level="best")
    assert zstd.decompress(body, zstd.ZstdDict(OLD, is_raw=True)) == NEW


async def test_a_dictionary_that_looks_trained_is_content() -> None:
    old = b"\x37\xa4\x30\xec" + noise(5000)
    async with wdasync.open_accelerator("cpu") as acc:
        body = await compress_with_dictionary(acc, old + b"!", old, "dcz")
        assert len(body) < 200
        assert await decompress_with_dictionary(acc, body, Dictionary(old), "dcz") == old + b"!"


@pytest.mark.parametrize("coding", BEGIN)
async def test_wrong_ones(coding: str) -> None:
    async with wdasync.open_accelerator("cpu") as acc:
        body = await compress_with_dictionary(acc, NEW, OLD, coding)
        cases = {
            DataCause.DICTIONARY: (body, b"another"),
            DataCause.WRONG_FORMAT: (b"\x1f\x8b" + body, OLD),
            DataCause.TRUNCATED: (body[:20], OLD),
        }
        for cause, (data, known) in cases.items():
            with pytest.raises(wdasync.DataError, match=f"decompress {coding}: expected") as caught:
                await decompress_with_dictionary(acc, data, known, coding)
            assert caught.value.cause is cause
        with pytest.raises(wdasync.LimitExceeded):
            await decompress_with_dictionary(acc, body, OLD, coding, max_length=1000)
        with pytest.raises(wdasync.InvalidArgument, match="coding: expected one of dcb, dcz, got 'br'"):
            await compress_with_dictionary(acc, NEW, OLD, "br")


async def test_a_coding_is_a_name() -> None:
    async with wdasync.open_accelerator("cpu") as acc:
        for wrong in (["dcb"], b"dcb", None):
            with pytest.raises(wdasync.InvalidArgument, match="coding: expected one of dcb, dcz, got"):
                await compress_with_dictionary(acc, NEW, OLD, wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("coding", BEGIN)
async def test_an_error_that_is_kept_pins_no_memory(coding: str) -> None:
    async with wdasync.open_accelerator("cpu", inline=False) as acc:
        body = await compress_with_dictionary(acc, NEW, OLD, coding)
        begin = len(BEGIN[coding]) + 32
        for mine in (bytearray(body[:begin] + b"corrupt" * 100), bytearray(b"another coding")):
            with pytest.raises(wdasync.DataError) as caught:
                await decompress_with_dictionary(acc, mine, OLD, coding)
            mine.extend(b"nobody holds it")
            assert caught.value
        known = bytearray(OLD)
        with pytest.raises(wdasync.DataError) as caught:
            await decompress_with_dictionary(acc, body[:begin], known, coding)
        known.extend(b"nobody holds it")


@pytest.mark.parametrize("coding", BEGIN)
async def test_large_ones_do_not_hold_up_the_event_loop(coding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is hashed, and what is more than 256 KiB and copied, is so in a thread."""
    hashing: list[bool] = []
    joined: list[int] = []
    sha256, in_thread = hashlib.sha256, threads.in_thread

    def hash_it(data: bytes) -> Any:
        hashing.append(threading.current_thread() is threading.main_thread())
        return sha256(data)

    async def look(loop: Any, function: Callable[[], Any]) -> Any:
        result = await in_thread(loop, function)
        joined.append(len(result))
        return result

    monkeypatch.setattr(hashlib, "sha256", hash_it)
    monkeypatch.setattr(threads, "in_thread", look)
    old, new = noise(300_000), noise(400_000, 5)
    async with wdasync.open_accelerator("cpu") as acc:
        body = await compress_with_dictionary(acc, new, bytearray(old), coding)
        assert hashing == [False]
        assert joined == [len(old), 32, len(body)]
        known, joined[:] = Dictionary(old), []
        for _ in range(2):
            assert await decompress_with_dictionary(acc, [body[:9], body[9:]], known, coding) == new
        assert hashing == [False, False], "that of a Dictionary is computed once"
        assert joined == [32, len(body), len(body)]


@pytest.mark.parametrize(
    ("coding", "length", "window"),
    [
        ("dcb", 1, 24),
        ("dcb", 1 << 28, 24),
        ("dcz", 1, 23),
        ("dcz", 8 << 20, 23),
        ("dcz", (16 << 20) * 4 // 5 + 1, 24),
        ("dcz", (16 << 20) * 4 // 5, 23),
        ("dcz", 1 << 30, 27),
    ],
)
def test_windows(coding: str, length: int, window: int) -> None:
    """16 MiB; 8 MiB or 1.25 times the dictionary, up to 128 MiB: the largest power of two within that."""
    assert window_of(coding, length) == window


async def test_the_window_of_dcz_reaches_over_a_large_dictionary() -> None:
    old = noise(14 << 20)
    async with wdasync.open_accelerator("cpu") as acc:
        body = await compress_with_dictionary(acc, old, old, "dcz")
        assert len(body) < 100_000
        assert await decompress_with_dictionary(acc, body, old, "dcz", max_length=len(old)) == old
