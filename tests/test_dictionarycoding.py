"""RFC 9842: dcb and dcz, against the layout that it gives and decoders that are not ours."""

from __future__ import annotations

import hashlib

import pytest

import wdasync
from tests.cpu.support import noise, words, zstd
from wdasync import DataCause, Dictionary
from wdasync.dictionarycoding import compress_with_dictionary, decompress_with_dictionary, window_of

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
