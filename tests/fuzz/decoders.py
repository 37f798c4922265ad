"""Builds and runs ``decoders.c``; what it begins with."""

from __future__ import annotations

import ctypes
import gzip
import os
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

from tests.cpu.sanitizers import COMPILER, NATIVE
from tests.cpu.support import zstd
from wdasync_cpu import binding

SOURCE = Path(__file__).with_name("decoders.c")
CORPUS = Path(__file__).with_name("corpus") / "decoders.txt"
SOURCES = sorted(NATIVE.glob("*.c"))
SANITIZERS = "-fsanitize=address,undefined"

#: Bytes of the largest case.
LARGEST = 4096

#: In the order of ``enum format``.
FORMATS = ("deflate", "zlib", "gzip", "br", "zstd", "lz4", "lz4-block")

#: The dictionary of some of the cases.
KNOWN = b"line 1 of what is compressed\nline 2 of what is compressed\nwhat both sides know before"


def environment() -> dict[str, str]:
    """For the program: the system's libraries, as far as they are here. (Those in Python's packages need an interpreter.)"""
    found = {
        f"FUZZ_{name.upper()}": ":".join(library.files)
        for name, library in binding.LIBRARIES.items()
        if all(map(_loads, library.files))
    }
    return os.environ | found | {"ASAN_OPTIONS": "allocator_may_return_null=1:handle_sigbus=0"}


def _loads(file: str) -> bool:
    try:
        ctypes.CDLL(file)
    except OSError:
        return False
    return True


def build(folder: Path, compiler: list[str] = COMPILER, *flags: str) -> Path:
    """The program."""
    program = folder / "decoders"
    command = [
        *compiler, "-std=gnu11", "-g", "-O1", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all", *flags,
        f"-I{NATIVE}", str(SOURCE), *map(str, SOURCES),
        "-o", str(program), "-pthread", "-ldl",
    ]  # fmt: skip
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return program


def fuzz(program: Path, *arguments: str, timeout: float = 3600) -> str:
    """Run it; what it said."""
    done = subprocess.run(
        [str(program), *arguments],
        env=environment(), capture_output=True, text=True, errors="replace", timeout=timeout, check=False,
        cwd=program.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-8000:]
    return done.stdout + done.stderr


def seeds() -> Iterator[bytes]:
    """Good and nearly good units of each format."""
    text = b"".join(b"line %d of what is compressed\n" % number for number in range(40))
    for data in (b"", b"a", text, bytes(900), bytes(range(256)), text[:60] * 9):
        for level in (0, 1, 9):
            for wbits in (-15, 15, 31, -9):
                for strategy in (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FIXED):
                    encoder = zlib.compressobj(level, zlib.DEFLATED, wbits, 9, strategy)
                    packed = encoder.compress(data[:50]) + encoder.flush(zlib.Z_SYNC_FLUSH)
                    packed += encoder.compress(data[50:]) + encoder.flush()
                    number = {-15: 0, -9: 0, 15: 1, 31: 2}[wbits]
                    yield bytes([number, 200, 200, 1]) + packed
                    yield bytes([number, 7, 20, 0]) + packed
    named = b"\x1f\x8b\x08\x1e\0\0\0\0\0\3\4\0ab\1\0name\0comment\0"
    named += zlib.crc32(named).to_bytes(4, "little")[:2] + gzip.compress(text, mtime=0)[10:]
    yield (
        bytes([2, 3, 100, 0]) + named + gzip.compress(b"", mtime=0) + bytes(9) + gzip.compress(b"x", mtime=0)
    )
    yield from _frames(text)


def _frames(text: bytes) -> Iterator[bytes]:
    import brotli
    import lz4.block
    import lz4.frame

    for data in (b"", text, bytes(900), bytes(range(256))):
        for piece in (200, 5):
            for level in (0, 3, 9):
                yield bytes([3, piece, piece, 0]) + brotli.compress(data, quality=level)
                yield bytes([4, piece, piece, 0]) + zstd.compress(data, level)
                yield bytes([6, piece, piece, 0]) + lz4.block.compress(data, store_size=False)
                yield bytes([6, piece, piece, 2]) + lz4.block.compress(data, store_size=False, dict=KNOWN)
                known = zstd.ZstdDict(KNOWN, is_raw=True)
                yield bytes([4, piece, piece, 2]) + zstd.compress(data, level, zstd_dict=known)
                for wbits in (-15, 15):
                    encoder = zlib.compressobj(9, zlib.DEFLATED, wbits, zdict=KNOWN)
                    yield bytes([wbits > 0, piece, piece, 2]) + encoder.compress(data) + encoder.flush()
                yield bytes([5, piece, piece, 0]) + lz4.frame.compress(
                    data, compression_level=level, content_checksum=level > 0, block_linked=level != 3
                )
            yield bytes([4, piece, piece, 0]) + b"\x52\x2a\x4d\x18\5\0\0\0skip!" + zstd.compress(data) * 2


def write_corpus(path: Path, cases: set[bytes]) -> None:
    """A case a line, so that a change of it can be read."""
    path.write_text("".join(f"{case.hex()}\n" for case in sorted(cases, key=lambda case: (len(case), case))))


def read_corpus(path: Path) -> list[bytes]:
    return [bytes.fromhex(line) for line in path.read_text().splitlines()]
