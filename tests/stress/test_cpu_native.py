"""The CPU backend's C side for longer: data races, memory errors, memory that grows."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cpu.sanitizers import build_extension, build_stress, has_sanitizer, runtime, stress
from tests.cpu.support import CHECKOUT, good, noise, open_device, pack, run, words
from wdasync.backend import Direction, StreamSpec
from wdasync.operations import Compress, CompressChunk, Decompress, DecompressChunk, Flush, Nop, Operation

SUITE = [
    "test_bounds.py",
    "test_chains.py",
    "test_codecs.py",
    "test_corrupt.py",
    "test_digests.py",
    "test_gone.py",
    "test_inline.py",
    "test_paged.py",
    "test_ring.py",
    "test_sealing.py",
    "test_signing.py",
    "test_streams.py",
]


@pytest.mark.parametrize("sanitizer", ["", "thread", "address,undefined"])
@pytest.mark.parametrize(("owners", "workers"), [(1, 1), (2, 3), (6, 2), (4, 8)])
def test_rings(tmp_path: Path, sanitizer: str, owners: int, workers: int) -> None:
    if sanitizer and not has_sanitizer(sanitizer, tmp_path):
        pytest.skip(f"the compiler has no sanitizer {sanitizer} that runs here")
    program = build_stress(tmp_path, sanitizer)
    for seed in range(3):
        stress(program, 5, owners, workers, seed)


def test_memory_errors(tmp_path: Path) -> None:
    """The tests of the CPU backend once more, with the address and undefined-behaviour sanitizers in its C side."""
    if not has_sanitizer("address,undefined", tmp_path):
        pytest.skip("the compiler has no address sanitizer that runs here")
    home = build_extension(tmp_path / "home", "address")
    environment = os.environ | {
        "LD_PRELOAD": runtime("asan"),
        # SIGBUS is the program's: some of the tests are about whose it is.
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:handle_sigbus=0",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": str(home),
    }
    # Limits on the address space do not go with the sanitizer's shadow memory.
    tests = [f"tests/cpu/{name}" for name in SUITE] + ["-k", "not memory"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    where = [sys.executable, "-c", "import wdasync_cpu; print(wdasync_cpu.__file__)"]
    found = subprocess.run(where, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.startswith(str(home)), "the tests did not use the extension with the sanitizer"


def resident() -> int:
    """Bytes of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


@pytest.mark.parametrize("variant", ["all", "only zlib", "packages"])
def test_memory_is_flat(variant: str) -> None:
    device = open_device(variant)
    queue = device.open_queue(64)
    content, packed = words(3000), pack(words(400_000), "gzip")

    def once() -> None:
        work: list[Operation] = [
            Nop(),
            Compress(content, "gzip"),
            Compress([content, bytearray(noise(500))], "zlib", level=6),
            Compress(content, "gzip", into=bytearray(10)),
            Compress(content, "gzip", into=bytearray(5000)),
            Compress(content, "none"),
            Decompress(packed, "gzip"),
            Decompress(packed[:-1], "gzip"),
            Decompress(packed, "gzip", max_length=1000),
            Decompress(b"nonsense", "gzip"),
        ]
        run(queue, work)
        session = device.open_session(StreamSpec(Direction.COMPRESS, "gzip"))
        out = good(run(queue, [CompressChunk(session, content, Flush.FINISH)])[0])
        back = device.open_session(StreamSpec(Direction.DECOMPRESS, "gzip"))
        run(queue, [DecompressChunk(back, out)])
        run(queue, [DecompressChunk(back, b"\x1fnonsense that is long enough")])

    for _ in range(200):
        once()
    before = resident()
    for _ in range(1500):
        once()
    assert resident() - before < 8 << 20
    queue.close()
