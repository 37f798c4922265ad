"""Whole units: each algorithm, level and window, against the standard library's decoders and encoders."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.cpu.support import WBITS, good, noise, pack, run, unpack, words
from wdasync.backend import Status
from wdasync.operations import Compress, Decompress, Kind
from wdasync_cpu.codecs import ALGORITHMS
from wdasync_cpu.devices import CpuDevice
from wdasync_cpu.queues import CpuQueue

SIZES = (0, 1, 2, 17, 255, 256, 1000, 4096, 32_768, 32_769, 65_535, 65_536, 70_001, 300_000)
DEFLATES = tuple(WBITS)


def algorithms(device: CpuDevice, kind: Kind = Kind.COMPRESS) -> list[str]:
    return [row.algorithm for row in device.capabilities if row.kind is kind]


def test_every_size_and_algorithm(queue: CpuQueue, device: CpuDevice) -> None:
    for algorithm in algorithms(device):
        contents = [make(size, size) for size in SIZES for make in (words, noise)]
        outputs = [good(done) for done in run(queue, [Compress(data, algorithm) for data in contents])]
        assert [unpack(output, algorithm) for output in outputs] == contents
        back = run(queue, [Decompress(output, algorithm) for output in outputs])
        assert [good(done) for done in back] == contents
        assert [done.consumed for done in back] == [len(output) for output in outputs]


def test_every_level(queue: CpuQueue, device: CpuDevice) -> None:
    contents = [words(20_000), noise(3000), bytes(100_000), b""]
    for algorithm in algorithms(device):
        low, high = ALGORITHMS[algorithm].scale
        for level in (*range(low, high + 1), "fast", "balanced", "best"):
            done = run(queue, [Compress(data, algorithm, level=level) for data in contents])
            assert [unpack(good(each), algorithm) for each in done] == contents, f"{algorithm} {level}"


def test_what_others_wrote(queue: CpuQueue, device: CpuDevice) -> None:
    for algorithm in algorithms(device, Kind.DECOMPRESS):
        contents = [words(size, size) for size in SIZES] + [noise(5000), bytes(400_000)]
        packed = [pack(data, algorithm, level) for data in contents for level in (0, 1, 9)]
        done = run(queue, [Decompress(data, algorithm) for data in packed])
        assert [good(each) for each in done] == [data for data in contents for _ in range(3)]


@pytest.mark.parametrize("algorithm", DEFLATES)
@pytest.mark.parametrize("strategy", [zlib.Z_FIXED, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE])
def test_every_kind_of_block(queue: CpuQueue, algorithm: str, strategy: int) -> None:
    content = words(30_000) + bytes(1000) + noise(2000)
    encoder = zlib.compressobj(6, zlib.DEFLATED, WBITS[algorithm], 8, strategy)
    packed = encoder.compress(content[:9000]) + encoder.flush(zlib.Z_FULL_FLUSH)
    packed += encoder.compress(content[9000:]) + encoder.flush()
    assert good(run(queue, [Decompress(packed, algorithm)])[0]) == content


def test_every_window(queue: CpuQueue, device: CpuDevice) -> None:
    content = words(3000, 1) * 30
    for algorithm in algorithms(device):
        low, high = ALGORITHMS[algorithm].windows
        for window in range(low, high + 1):
            for level in (1, 6):
                (done,) = run(queue, [Compress(content, algorithm, level=level, window=window)])
                output = good(done)
                assert unpack(output, algorithm) == content
                if algorithm == "zlib":
                    assert (output[0] >> 4) + 8 <= window, (
                        "the header promises a larger history than was asked for"
                    )
                if algorithm == "deflate":
                    assert zlib.decompress(output, -window) == content
        for window in (low - 1, high + 1, 0, -1, 1 << 40):
            (done,) = run(queue, [Compress(content, algorithm, window=window)])
            assert done.status is Status.INVALID_ARGS
            assert f"{low}..{high}" in done.detail.message or "window" in done.detail.message


@pytest.mark.parametrize("level", [0, 1, 2, 3, 6, 9, 12])
@pytest.mark.parametrize("size", [0, 1, 1000, 65_536, 500_000])
def test_what_cannot_be_compressed_hardly_grows(queue: CpuQueue, level: int, size: int) -> None:
    (done,) = run(queue, [Compress(noise(size), "gzip", level=level)])
    assert len(good(done)) <= size + size // 1000 + 64


def test_levels_are_about_as_small_as_those_of_zlib(queue: CpuQueue) -> None:
    for content in (words(40_000), words(900), b'{"key": [1, 2, 3], "other": null}, ' * 500):
        for level in range(1, 10):
            (done,) = run(queue, [Compress(content, "zlib", level=level)])
            reference = len(zlib.compress(content, level))
            assert len(good(done)) <= reference * 1.12 + 40, f"level {level}"


def test_gzip_header_tells_nothing(queue: CpuQueue) -> None:
    """No time and no operating system: the same input gives the same output, wherever it was made."""
    for level in (0, 1, 2, 5, 9, 12):
        (done,) = run(queue, [Compress(b"some words", "gzip", level=level)])
        output = good(done)
        assert output[:4] == b"\x1f\x8b\x08\x00"
        assert output[4:8] == bytes(4), "mtime"
        assert output[9] == 255, "operating system"
    (done,) = run(queue, [Compress(b"some words", "gzip", level=6, window=12)])
    assert good(done)[9] == 255


@pytest.mark.parametrize("algorithm", DEFLATES)
def test_segments(queue: CpuQueue, device: CpuDevice, algorithm: str) -> None:
    content = words(50_000)
    mutable = bytearray(content[20_000:40_000])
    segments = [content[:1], b"", content[1:20_000], mutable, memoryview(content)[40_000:], b""]
    for level in (1, 6):
        done = run(queue, [Compress(segments, algorithm, level=level), Compress([], algorithm, level=level)])
        assert unpack(good(done[0]), algorithm) == content
        assert done[0].consumed == len(content)
        assert unpack(good(done[1]), algorithm) == b""
    packed = pack(content, algorithm)
    pieces = [packed[start : start + 997] for start in range(0, len(packed), 997)]
    assert good(run(queue, [Decompress(pieces, algorithm)])[0]) == content


def test_many_segments(whole_queue: CpuQueue) -> None:
    content = words(60_000)
    for algorithm in ("gzip", "br"):
        pieces = [content[start : start + 3] for start in range(0, len(content), 3)]
        packed = good(run(whole_queue, [Compress(pieces, algorithm)])[0])
        assert unpack(packed, algorithm) == content
        assert (
            good(run(whole_queue, [Decompress([bytes([byte]) for byte in packed], algorithm)])[0]) == content
        )


def test_large_outputs_are_copied_by_a_worker(queue: CpuQueue) -> None:
    sizes = (256 * 1024, 256 * 1024 + 1, 3_000_000)
    packed = [pack(words(size), "gzip") for size in sizes]
    before = queue.statistics().extra
    done = run(queue, [Decompress(data, "gzip") for data in packed])
    assert [good(each) for each in done] == [words(size) for size in sizes]
    after = queue.statistics().extra
    by_python = after["python"] - before["python"]
    assert after["copies"] - before["copies"] == (0 if by_python else 2)


def test_members(queue: CpuQueue) -> None:
    parts = [words(size, size) for size in (0, 5, 70_000, 0, 1)]
    packed = b"".join(gzip.compress(part, mtime=0) for part in parts)
    assert good(run(queue, [Decompress(packed, "gzip")])[0]) == b"".join(parts)


def test_zeros_after_a_member_are_padding(queue: CpuQueue) -> None:
    member = gzip.compress(b"a tape block")
    for packed, content in (
        (member + bytes(1), b"a tape block"),
        (member + bytes(5000), b"a tape block"),
        (member + bytes(512) + member, b"a tape block" * 2),
    ):
        (done,) = run(queue, [Decompress(packed, "gzip")])
        assert good(done) == content
        assert done.consumed == len(packed)


def test_many_members_take_linear_time(whole_queue: CpuQueue) -> None:
    """With quadratic time, 200 000 members would keep the worker for hours, and the test would be ended."""
    packed = gzip.compress(b"x", mtime=0) * 200_000
    (done,) = run(whole_queue, [Decompress(packed, "gzip", max_members=200_000)])
    assert good(done) == b"x" * 200_000


def test_optional_fields_of_a_header_are_skipped(queue: CpuQueue) -> None:
    body = zlib.compressobj(6, zlib.DEFLATED, -15)
    raw = body.compress(b"content") + body.flush()
    trailer = zlib.crc32(b"content").to_bytes(4, "little") + (7).to_bytes(4, "little")
    header = b"\x1f\x8b\x08\x1e\x01\x02\x03\x04\x00\x03" + b"\x05\x00EXTRA" + b"name\x00" + b"comment\x00"
    header += (zlib.crc32(header) & 0xFFFF).to_bytes(2, "little")
    assert good(run(queue, [Decompress(header + raw + trailer, "gzip")])[0]) == b"content"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_content(whole_queue: CpuQueue, data: st.DataObject) -> None:
    parts = data.draw(
        st.lists(st.one_of(st.binary(max_size=300), st.binary(max_size=4).map(lambda b: b * 500)), max_size=8)
    )
    algorithm = data.draw(st.sampled_from(sorted(ALGORITHMS)))
    level = data.draw(st.integers(*ALGORITHMS[algorithm].scale))
    packed = good(run(whole_queue, [Compress(parts, algorithm, level=level)])[0])
    assert unpack(packed, algorithm) == b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(packed)), max_size=5)))
    pieces = [packed[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(packed)], strict=True)]
    assert good(run(whole_queue, [Decompress(pieces, algorithm)])[0]) == b"".join(parts)
