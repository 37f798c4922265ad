"""The queue contract driven by hand: a poll-mode owner, data, and the implementations that tests go through."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import lz4.block
import lz4.frame

import wdasync_cpu
from wdasync.backend import Completion, Queue, Session, Status
from wdasync.operations import CompressChunk, DecompressChunk, Flush, Operation
from wdasync_cpu import Options
from wdasync_cpu.backend import CpuBackend
from wdasync_cpu.devices import CpuDevice

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

#: As zstd(1) writes frames.
ZSTD_CHECKED = {zstd.CompressionParameter.checksum_flag: 1}

#: Name -> implementations that may be used; what a machine without the others has.
VARIANTS: dict[str, frozenset[str] | None] = {
    "all": None,
    "only zlib": frozenset({"zlib", "brotli-package"}),
    "packages": frozenset(
        {"isal-package", "deflate-package", "zlib-module", "brotli-package", "zstd-package", "lz4-package"}
    ),
    "standard library": frozenset({"zlib-module"}),
}

CHECKOUT = Path(__file__).parents[2]

#: Seconds after which something that has not happened is lost. Nothing is measured with it.
PATIENCE = 60.0

#: Algorithm -> wbits of the standard library's zlib.
WBITS = {"gzip": 31, "zlib": 15, "deflate": -15}


def open_device(variant: str = "all", **options: Any) -> CpuDevice:
    """The cpu device with the implementations of a variant."""
    backend = CpuBackend(VARIANTS[variant])
    return backend.open(backend.devices()[0], Options(**options))


def drain(queue: Queue, count: int) -> list[Completion]:
    """Poll until ``count`` completions have come."""
    found: list[Completion] = []
    end = time.monotonic() + PATIENCE
    while len(found) < count:
        batch = queue.dequeue_burst(64)
        found += batch
        if not batch:
            assert time.monotonic() < end, f"{len(found)} of {count} completions came: {queue.statistics()}"
            time.sleep(0.00005)
    return found


def run(queue: Queue, operations: Sequence[Operation]) -> list[Completion]:
    """Run operations, however many fit at a time; their completions in the order of the operations."""
    found: dict[int, Completion] = {}
    entries = list(enumerate(operations))
    accepted = 0
    end = time.monotonic() + PATIENCE
    while len(found) < len(entries):
        accepted += queue.enqueue_burst(entries[accepted:])
        batch = queue.dequeue_burst(64)
        for completion in batch:
            assert completion.tag not in found, f"two completions of tag {completion.tag}"
            found[completion.tag] = completion
        if not batch:
            time.sleep(0)  # Python threads want the interpreter lock, too
        assert time.monotonic() < end, (
            f"{len(found)} of {len(entries)} completions came: {queue.statistics()}"
        )
    return [found[tag] for tag in range(len(entries))]


def good(completion: Completion) -> bytes:
    """The output of an operation that succeeded."""
    assert completion.status is Status.SUCCESS, completion
    assert completion.output is not None
    assert completion.produced == len(completion.output)
    return completion.output


def unpack(data: bytes, algorithm: str) -> bytes:
    """Decompress one unit with a library that is not ours."""
    if algorithm == "br":
        import brotli

        return bytes(brotli.decompress(data))
    if algorithm == "zstd":
        return zstd.decompress(data)
    if algorithm == "lz4":
        return unpack_lz4(data)
    if algorithm == "lz4-block":
        return bytes(lz4.block.decompress(data, uncompressed_size=1 << 23))
    decoder = zlib.decompressobj(WBITS[algorithm])
    content = decoder.decompress(data) + decoder.flush()
    assert decoder.eof, f"{algorithm}: less than a unit"
    assert not decoder.unused_data, f"{algorithm}: more than a unit"
    return content


def unpack_lz4(data: bytes) -> bytes:
    """Frames that follow each other."""
    content = b""
    while data:
        decoder = lz4.frame.LZ4FrameDecompressor()
        content += decoder.decompress(data)
        assert decoder.eof, "lz4: less than a frame"
        data = decoder.unused_data or b""
    return content


def pack(data: bytes, algorithm: str, level: int = 6) -> bytes:
    """Compress with a library that is not ours."""
    if algorithm == "br":
        import brotli

        return bytes(brotli.compress(data, quality=min(level, 5)))
    if algorithm == "zstd":
        return zstd.compress(
            data, options=ZSTD_CHECKED | {zstd.CompressionParameter.compression_level: level}
        )
    if algorithm == "lz4":
        return bytes(lz4.frame.compress(data, compression_level=level, content_checksum=True))
    if algorithm == "lz4-block":
        return bytes(lz4.block.compress(data, store_size=False))
    encoder = zlib.compressobj(level, zlib.DEFLATED, WBITS[algorithm])
    return encoder.compress(data) + encoder.flush()


def words(size: int, seed: int = 0) -> bytes:
    """Text that compresses about as text does; the same for the same seed."""
    chance = random.Random(seed)
    vocabulary = ["".join(chance.choices("etaoinshrdlu", k=chance.randint(1, 9))) for _ in range(400)]
    text = " ".join(chance.choices(vocabulary, k=size // 3 + 1))
    return text.encode()[:size].ljust(size, b".")


def noise(size: int, seed: int = 0) -> bytes:
    """What no codec can compress."""
    return random.Random(seed).randbytes(size)


def squeeze(queue: Queue, session: Session, steps: Iterable[tuple[bytes, Flush]]) -> list[bytes]:
    """The outputs of the steps of a compressing stream."""
    return [good(run(queue, [CompressChunk(session, data, flush)])[0]) for data, flush in steps]


def expand(queue: Queue, session: Session, data: bytes, most: int = 1 << 20) -> tuple[bytes, int, bool]:
    """Feed ``data`` to a decompressing stream until it wants no more: content, bytes used, whether it ended."""
    content, position = b"", 0
    while True:
        (done,) = run(queue, [DecompressChunk(session, data[position:], most)])
        output = good(done)
        assert len(output) <= most
        content += output
        position += done.consumed
        if done.detail.final or not (output or done.consumed):
            return content, position, done.detail.final


def python(code: str, *, status: int = 0, **environment: str) -> str:
    """Run a program of its own, with warnings as errors; what it printed."""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(
        command,
        cwd=CHECKOUT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == status, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert not done.stderr, done.stderr
    return done.stdout


BACKEND = wdasync_cpu.backend
