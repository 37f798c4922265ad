"""Padding against BREACH: the length of a body says less, and every decoder still reads it."""

import os
import threading

import pytest

import wdasync
from tests.integrations.asgi.support import DECODERS, PAGE, answering, ask
from wdasync.integrations.asgi import CompressionMiddleware
from wdasync.integrations.codings import offers
from wdasync.integrations.padding import MOST, pad
from wdasync.operations import Kind

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
@pytest.mark.parametrize("pieces", [PAGE, [PAGE], [PAGE[:100], PAGE[100:]], [b""], PAGE * 30])
async def test_the_length_differs_and_the_content_does_not(coding: str, pieces: bytes | list[bytes]) -> None:
    if coding not in offers(await wdasync.default_accelerator(), Kind.COMPRESS_CHUNK):
        pytest.skip(f"the accelerator does not offer {coding}")
    content = pieces if isinstance(pieces, bytes) else b"".join(pieces)
    plain = await ask(CompressionMiddleware(answering(pieces)), coding)
    lengths = set()
    for _ in range(8):
        answer = await ask(CompressionMiddleware(answering(pieces), padding=1000), coding)
        assert (answer.coding, answer.body) == (coding, content)
        lengths.add(len(b"".join(answer.pieces)))
    assert len(lengths) > 1
    assert min(lengths) > len(b"".join(plain.pieces))
    assert max(lengths) <= len(b"".join(plain.pieces)) + 1000 + 100, "frames and flushes"


@pytest.mark.parametrize("count", [1, 2, 255, 256, 257, 258, 511, 512, 513, MOST])
@pytest.mark.parametrize("coding", ["gzip", "br"])
async def test_each_length_is_valid(coding: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.randbelow", lambda most: count - 1)
    async with (await wdasync.default_accelerator()).compressor(coding) as stream:
        head = await stream.compress(PAGE) + await stream.flush()
        padded = pad(coding, head, MOST)
        rest = await stream.finish(b"more")
    assert len(padded) - len(head) - count in (1, 2, 3)
    assert DECODERS[coding](padded + rest) == PAGE + b"more"


def test_deflate_has_no_room() -> None:
    assert pad("deflate", b"x" * 20, 5) == b"x" * 20


@pytest.mark.parametrize("head", [b"\x1f\x8b\x08", b"\x1f\x8b\x08\x08" + bytes(10)])
def test_a_header_that_is_not_ours_stays(head: bytes) -> None:
    assert pad("gzip", head, 5) == head


def test_zstd_gets_a_skippable_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 8878 section 3.1.2."""
    monkeypatch.setattr("secrets.randbelow", lambda most: 2)
    assert pad("zstd", b"frame", 9) == b"\x50\x2a\x4d\x18\x03\x00\x00\x00\x00\x00\x00frame"


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
@pytest.mark.parametrize("streamed", [False, True])
async def test_large_bodies_are_not_copied_in_the_event_loop(
    coding: str, streamed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = []

    def noted(coding: str, head: bytes, most: int) -> bytes:
        copied.append((threading.get_ident() == here, len(head)))
        return pad(coding, head, most)

    noise, here = os.urandom(2 << 20), threading.get_ident()
    monkeypatch.setattr("wdasync.integrations.encoder.pad", noted)
    app = CompressionMiddleware(answering([noise] if streamed else noise), padding=1000)
    answer = await ask(app, f"{coding}, identity;q=0")
    assert (answer.coding, answer.body == noise) == (coding, True)
    ((in_loop, length),) = copied
    assert not in_loop or length <= 256 * 1024
