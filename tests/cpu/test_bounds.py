"""Bounds: of the output, of the members, of memory that is the caller's."""

from __future__ import annotations

import gzip
import resource
import zlib
from collections.abc import Callable

import pytest

from tests.cpu.support import good, noise, pack, python, run, unpack, words
from wdasync.backend import Status
from wdasync.operations import Compress, Decompress, Kind
from wdasync_cpu.backend import available
from wdasync_cpu.devices import CpuDevice
from wdasync_cpu.queues import CpuQueue

GUARD = 64


def decompressors(device: CpuDevice) -> list[str]:
    return [row.algorithm for row in device.capabilities if row.kind is Kind.DECOMPRESS]


@pytest.mark.parametrize("size", [0, 1, 1000, 300_000])
def test_max_length_is_exact(queue: CpuQueue, device: CpuDevice, size: int) -> None:
    content = words(size)
    for algorithm in decompressors(device):
        packed = pack(content, algorithm)
        (fits, loose) = run(queue, [Decompress(packed, algorithm, max_length=size + more) for more in (0, 1)])
        assert good(fits) == good(loose) == content
        for bound in {0, size // 2, size - 1}:
            if 0 <= bound < size:
                (done,) = run(queue, [Decompress(packed, algorithm, max_length=bound)])
                assert done.status is Status.OUT_OF_SPACE_TERMINATED
                assert f"max_length of {bound} bytes" in done.detail.message
                assert done.output is None


@pytest.mark.parametrize("bound", [1 << 31, 1 << 32, (1 << 63) - 1, 1 << 64, 1 << 200])
def test_huge_max_length(queue: CpuQueue, device: CpuDevice, bound: int) -> None:
    for algorithm in decompressors(device):
        (done,) = run(queue, [Decompress(pack(b"short", algorithm), algorithm, max_length=bound)])
        assert good(done) == b"short"


def test_max_length_counts_all_members(queue: CpuQueue) -> None:
    packed = gzip.compress(bytes(600)) * 3
    assert len(good(run(queue, [Decompress(packed, "gzip", max_length=1800)])[0])) == 1800
    (done,) = run(queue, [Decompress(packed, "gzip", max_length=1799)])
    assert done.status is Status.OUT_OF_SPACE_TERMINATED


def test_max_members(queue: CpuQueue) -> None:
    packed = gzip.compress(b"x") * 5
    assert good(run(queue, [Decompress(packed, "gzip", max_members=5)])[0]) == b"xxxxx"
    (done,) = run(queue, [Decompress(packed, "gzip", max_members=4)])
    assert done.status is Status.OUT_OF_SPACE_TERMINATED
    assert "max_members of 4" in done.detail.message


def test_a_bomb_is_stopped(queue: CpuQueue, device: CpuDevice) -> None:
    """256 MiB of zeros in 256 KiB: with a bound they cost neither memory nor an answer."""
    piece = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = b"".join(piece.compress(bytes(1 << 20)) for _ in range(256)) + piece.flush()
    (done,) = run(queue, [Decompress(packed, "gzip", max_length=1 << 20)])
    assert done.status is Status.OUT_OF_SPACE_TERMINATED


def test_memory_follows_the_output_and_not_the_header() -> None:
    """A gzip trailer that promises 4 GiB: in a process with little address space, the answer is still right."""
    code = """
import gzip, resource, threading
import wdasync_cpu
from tests.cpu.support import open_device, run
from wdasync.operations import Decompress
device = open_device(workers=1)
queue = device.open_queue(8)
run(queue, [Decompress(gzip.compress(b"warm"), "gzip")])
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
packed = gzip.compress(bytes(range(256)) * 200)
lying = packed[:-4] + b"\\xff\\xff\\xff\\xff"
(done,) = run(queue, [Decompress(lying, "gzip", max_length=1 << 40)])
print(done.status.name)
queue.close()
"""
    assert python(code).split() == ["CHECKSUM_FAILED"]


def test_memory_that_runs_out_is_an_error() -> None:
    code = """
import resource, zlib
from tests.cpu.support import open_device, run
from wdasync.operations import Decompress, Compress
device = open_device(workers=1)
queue = device.open_queue(8)
piece = zlib.compressobj(9, zlib.DEFLATED, 31)
bomb = b"".join(piece.compress(bytes(1 << 22)) for _ in range(256)) + piece.flush()
run(queue, [Decompress(zlib.compress(b"warm"), "zlib"), Compress(b"warm", "gzip")])
resource.setrlimit(resource.RLIMIT_AS, (700 << 20, 700 << 20))
(done,) = run(queue, [Decompress(bomb, "gzip", max_length=1 << 40)])
print(done.status.name, "out of memory" in done.detail.message)
(done,) = run(queue, [Compress(b"x" * 1000, "gzip")])
print(done.status.name)
queue.close()
"""
    assert python(code).split("\n") == ["DEVICE_ERROR True", "SUCCESS", ""]


@pytest.mark.skipif(
    "lz4" not in available(native_codecs=True), reason="the Python package has memory of its own"
)
def test_memory_for_output_that_does_not_fit_at_once() -> None:
    """LZ4 wants room for the worst case; the caller's buffer has less, and then there is no memory of ours either."""
    code = """
import os, resource
from pathlib import Path
from tests.cpu.support import noise, open_device, run
from wdasync.operations import Compress
content, buffer = noise(300_000), bytearray(310_000)
device = open_device(workers=1)
queue = device.open_queue(8)
run(queue, [Compress(content, "lz4")])
pages = int(Path("/proc/self/statm").read_text().split()[0]) + 8
soft, hard = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGE_SIZE"), hard))
(done,) = run(queue, [Compress(content, "lz4", into=memoryview(buffer)[:305_000])])
resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
print(done.status.name, done.detail.message)
queue.close()
"""
    found = python(code, MALLOC_ARENA_MAX="1", MALLOC_TRIM_THRESHOLD_="0", MALLOC_TOP_PAD_="0")
    assert found.startswith("DEVICE_ERROR out of memory"), found


# -- memory of the caller's ------------------------------------------------------------------------------------------


def guarded(room: int) -> tuple[bytearray, memoryview]:
    """Memory with guard bytes round ``room`` bytes of it."""
    whole = bytearray(b"\xa5" * (room + 2 * GUARD))
    return whole, memoryview(whole)[GUARD : GUARD + room]


def untouched(whole: bytearray) -> bool:
    return whole[:GUARD] == whole[-GUARD:] == b"\xa5" * GUARD


def test_compress_into(queue: CpuQueue, device: CpuDevice) -> None:
    for algorithm in (row.algorithm for row in device.capabilities if row.kind is Kind.COMPRESS):
        for content in (b"", words(3000), noise(5000), words(400_000)):
            for level in ("fast", "balanced"):
                needed = len(good(run(queue, [Compress(content, algorithm, level=level)])[0]))
                for room in (0, 1, needed // 2, needed - 1, needed, needed + 1, needed + 500):
                    whole, view = guarded(room)
                    (done,) = run(queue, [Compress(content, algorithm, level=level, into=view)])
                    assert untouched(whole)
                    assert done.output is None
                    if done.status is Status.SUCCESS:
                        assert unpack(bytes(view[: done.produced]), algorithm) == content
                    else:
                        assert done.status is Status.OUT_OF_SPACE_TERMINATED
                        assert f"{room} bytes" in done.detail.message
                    # libdeflate wants a few bytes more than it needs in the end.
                    assert done.status is Status.SUCCESS or room < needed + 50
                    # LZ4 finds a match more or less by what it worked on before.
                    least = needed - 16 if algorithm == "lz4" else needed
                    assert done.status is not Status.SUCCESS or room >= least


def test_decompress_into(queue: CpuQueue, device: CpuDevice) -> None:
    for algorithm in decompressors(device):
        for content in (b"", words(3000), bytes(300_000)):
            packed = pack(content, algorithm)
            for room in {
                0,
                1,
                len(content) // 2,
                len(content) - 1,
                len(content),
                len(content) + 1,
                len(content) + 500,
            }:
                if room < 0:
                    continue
                whole, view = guarded(room)
                (done,) = run(queue, [Decompress(packed, algorithm, into=view)])
                assert untouched(whole)
                if room < len(content):
                    assert done.status is Status.OUT_OF_SPACE_TERMINATED
                    assert f"{room} bytes" in done.detail.message
                else:
                    assert (done.status, done.produced, done.output) == (Status.SUCCESS, len(content), None)
                    assert view[: done.produced] == content


def test_max_length_holds_for_memory_of_the_callers(queue: CpuQueue) -> None:
    whole, view = guarded(1000)
    (done,) = run(queue, [Decompress(gzip.compress(bytes(500)), "gzip", max_length=499, into=view)])
    assert done.status is Status.OUT_OF_SPACE_TERMINATED
    assert "max_length of 499" in done.detail.message
    assert untouched(whole)


def test_whole_members_that_fit_can_be_gone_on_from(queue: CpuQueue) -> None:
    parts = [words(size, size) for size in (500, 700, 900)]
    members = [gzip.compress(part) for part in parts]
    packed, content = b"".join(members), b"".join(parts)
    whole, view = guarded(1500)
    (done,) = run(queue, [Decompress(packed, "gzip", into=view)])
    assert done.status is Status.OUT_OF_SPACE_RECOVERABLE
    assert untouched(whole)
    assert (done.consumed, done.produced) == (len(members[0] + members[1]), 1200)
    assert view[:1200] == content[:1200]
    (rest,) = run(queue, [Decompress(packed[done.consumed :], "gzip", into=view)])
    assert (rest.status, bytes(view[: rest.produced])) == (Status.SUCCESS, content[1200:])


def test_input_and_output_of_many_operations_do_not_mix(open_queue: Callable[..., CpuQueue]) -> None:
    queue = open_queue(256)
    contents = [words(size, size) for size in range(1, 400)]
    buffers = [guarded(len(content) + 100) for content in contents]
    work = [
        Compress(content, "zlib", into=view) for content, (_, view) in zip(contents, buffers, strict=True)
    ]
    for content, (whole, view), done in zip(contents, buffers, run(queue, work), strict=True):
        assert untouched(whole)
        assert zlib.decompress(view[: done.produced]) == content


def test_address_space_is_not_limited_here() -> None:
    """The tests above that limit it do so in processes of their own."""
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY
