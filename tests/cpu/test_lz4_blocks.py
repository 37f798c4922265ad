"""Blocks of LZ4 without a frame: how long their content is, and everything that can be wrong with them."""

from __future__ import annotations

import random

import lz4.block
import pytest

from tests.cpu.support import good, noise, pack, run, words
from wdasync.backend import DataCause, Status
from wdasync.operations import Compress, Decompress, Kind
from wdasync_cpu.devices import CpuDevice
from wdasync_cpu.queues import CpuQueue

pytestmark = pytest.mark.parametrize("device", ["all", "packages"], indirect=True)

#: A block, and what it becomes.
BLOCK = b"\x4fabcd\x04\x00\x05" + b"\x50vwxyz"
CONTENT = b"abcd" * 7 + b"vwxyz"

CORRUPT, TRUNCATED = DataCause.CORRUPT, DataCause.TRUNCATED

#: What is wrong -> block, words of the message, cause.
WRONG: dict[str, tuple[bytes, str, DataCause]] = {
    "nothing": (b"", "it is empty", TRUNCATED),
    "no literals": (b"\x50", "inside literals", TRUNCATED),
    "few literals": (b"\x50abcd", "inside literals", TRUNCATED),
    "a length of literals": (b"\xf0", "inside literals", TRUNCATED),
    "a length of literals that goes on": (b"\xf0\xff", "inside literals", TRUNCATED),
    "half an offset": (b"\x4fabcd\x04", "inside an offset", TRUNCATED),
    "a length of a match": (b"\x4fabcd\x04\x00\xff", "the length of a match", TRUNCATED),
    "no end": (b"\x4fabcd\x04\x00\x05", "a sequence", TRUNCATED),
    "an offset of 0": (b"\x4fabcd\x00\x00\x05\x50vwxyz", "an offset of 0, at byte 5", CORRUPT),
    "an offset before the beginning": (
        b"\x4fabcd\x05\x00\x05\x50vwxyz",
        "goes back before the beginning of the output, at byte 5",
        CORRUPT,
    ),
    "few last literals": (b"\x4fabcd\x04\x00\x05\x40vwxy", "ends too soon", CORRUPT),
    "a match near the end": (b"\x40abcd\x04\x00\x50vwxyz", "ends too soon", CORRUPT),
}


def test_the_block_that_the_wrong_ones_come_from(queue: CpuQueue) -> None:
    assert lz4.block.decompress(BLOCK, uncompressed_size=100) == CONTENT
    assert good(run(queue, [Decompress(BLOCK, "lz4-block")])[0]) == CONTENT


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong(queue: CpuQueue, name: str) -> None:
    block, words_, cause = WRONG[name]
    for source in (block, [block[:4], block[4:]]):
        (done,) = run(queue, [Decompress(source, "lz4-block")])
        assert (done.status, done.detail.cause) == (Status.DATA_ERROR, cause)
        assert words_ in done.detail.message
        assert done.output is None


def test_bounds(queue: CpuQueue) -> None:
    size = len(CONTENT)
    for most in (0, size - 1, size, size + 1):
        (done,) = run(queue, [Decompress(BLOCK, "lz4-block", max_length=most)])
        if most >= size:
            assert good(done) == CONTENT
        else:
            assert done.status is Status.OUT_OF_SPACE_TERMINATED
            assert f"{size} bytes passes max_length of {most} bytes" in done.detail.message
    for room in (0, size - 1, size, size + 1):
        buffer = bytearray(room + 8)
        (done,) = run(queue, [Decompress(BLOCK, "lz4-block", into=memoryview(buffer)[:room])])
        assert buffer[room:] == bytes(8)
        if room >= size:
            assert (done.status, done.produced, bytes(buffer[:size])) == (Status.SUCCESS, size, CONTENT)
        else:
            assert done.status is Status.OUT_OF_SPACE_TERMINATED
            assert f"does not fit into {room} bytes" in done.detail.message


def test_a_bomb_costs_no_memory(queue: CpuQueue) -> None:
    """Its length is known before any of it is made."""
    block = b"\x1fa\x01\x00" + b"\xff" * 2_000_000 + b"\x00\x50vwxyz"
    (done,) = run(queue, [Decompress(block, "lz4-block", max_length=1 << 20)])
    assert done.status is Status.OUT_OF_SPACE_TERMINATED
    assert "510000025 bytes" in done.detail.message


def test_a_bomb_beyond_what_a_block_can_have(queue: CpuQueue) -> None:
    """Its bound is what is wrong with it, not that the library could not count so far."""
    block = b"\x1fa\x01\x00" + b"\xff" * 9_000_000 + b"\x00\x50vwxyz"
    (done,) = run(queue, [Decompress(block, "lz4-block", max_length=1 << 20)])
    assert done.status is Status.OUT_OF_SPACE_TERMINATED
    assert "2295000025 bytes passes max_length of 1048576 bytes" in done.detail.message
    (done,) = run(queue, [Decompress(block, "lz4-block", into=bytearray(1000))])
    assert done.status is Status.OUT_OF_SPACE_TERMINATED


def test_there_are_no_streams(device: CpuDevice) -> None:
    assert device.capabilities.find(Kind.COMPRESS_CHUNK, "lz4-block") is None
    row = device.capabilities.find(Kind.COMPRESS, "lz4-block")
    assert row is not None
    assert row.max_input == 0x7E000000


def test_what_others_take_is_taken(queue: CpuQueue) -> None:
    """Blocks that were damaged: the same content as the library's, which gets room for exactly that; or an error."""
    block = pack(words(600) + noise(30) + bytes(700), "lz4-block")
    chance, damaged = random.Random(2), []
    for _ in range(1500):
        raw = bytearray(block)
        for _ in range(chance.choice((1, 1, 2))):
            raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
        damaged.append(bytes(raw[: chance.randrange(len(raw)) + 1] if chance.random() < 0.2 else raw))
    taken = 0
    for data, done in zip(
        damaged,
        run(queue, [Decompress(data, "lz4-block", max_length=1 << 20) for data in damaged]),
        strict=True,
    ):
        if done.status is Status.SUCCESS:
            taken += 1
            assert lz4.block.decompress(data, uncompressed_size=max(done.produced, 1)) == done.output
        elif done.status is Status.DATA_ERROR:
            assert done.detail.cause in (CORRUPT, TRUNCATED)
        else:
            assert done.status is Status.OUT_OF_SPACE_TERMINATED
    assert taken > 100


def test_content_of_every_kind(queue: CpuQueue) -> None:
    for content in (b"", b"a", bytes(100_000), words(70_000), noise(70_000)):
        for level in (0, 1, 3, 9, 12):
            (done,) = run(queue, [Compress(content, "lz4-block", level=level)])
            assert good(run(queue, [Decompress(good(done), "lz4-block")])[0]) == content
