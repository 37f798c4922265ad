"""Other people's codecs, to which a device is compared, and data to compare with."""

from __future__ import annotations

import importlib
import random
import sys
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any, Final, NamedTuple

__all__ = ["Reference", "reference", "samples", "text"]


class Reference(NamedTuple):
    """A codec that is not the device's.

    :ivar compress: bytes to one whole unit
    :ivar decompress: one whole unit, concatenated members included, to bytes
    :raises ValueError: by ``decompress``, if the input is not exactly that
    :ivar members: units may be concatenated
    :ivar checked: the format has a check value over all of its content
    :ivar exact: it is usual that a decoder tells where a unit ended, and why an input is wrong
    """

    compress: Callable[[bytes], bytes]
    decompress: Callable[[bytes], bytes]
    members: bool = False
    checked: bool = False
    exact: bool = False


#: zlib's window argument -> which wrapper: RFC 1952, RFC 1950, RFC 1951.
_WBITS: Final = {"gzip": 31, "zlib": 15, "deflate": -15}

#: Algorithm -> its module. One that is not installed gives no reference.
_MODULES: Final = {
    "br": "brotli",
    "zstd": "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd",
    "lz4": "lz4.frame",
}


@cache
def reference(algorithm: str) -> Reference | None:
    """The reference for this algorithm; ``None``: nobody else here knows it."""
    if algorithm in _WBITS:
        return _of_zlib(_WBITS[algorithm], members=algorithm == "gzip")
    if algorithm not in _MODULES:
        return None
    try:
        module = importlib.import_module(_MODULES[algorithm])
    except ImportError:
        return None
    return {"br": _of_brotli, "zstd": _of_zstd, "lz4": _of_lz4}[algorithm](module)


def _of_brotli(module: Any) -> Reference:
    return Reference(module.compress, _strict(module.decompress))


def _of_zstd(module: Any) -> Reference:
    checked = {module.CompressionParameter.checksum_flag: 1}

    def compress(data: bytes) -> bytes:
        return bytes(module.compress(data, options=checked))

    def decompress(data: bytes) -> bytes:
        return _frames(module.ZstdDecompressor, data)

    return Reference(compress, _strict(decompress), members=True, checked=True, exact=True)


def _of_lz4(module: Any) -> Reference:
    def compress(data: bytes) -> bytes:
        return bytes(module.compress(data, content_checksum=True))

    def decompress(data: bytes) -> bytes:
        return _frames(module.LZ4FrameDecompressor, data)

    return Reference(compress, _strict(decompress), members=True, checked=True, exact=True)


def _frames(decoder: Callable[[], Any], data: bytes) -> bytes:
    """Concatenated frames, each by a decoder of its own."""
    parts = []
    while True:
        state = decoder()
        parts.append(state.decompress(data))
        if not state.eof:
            raise ValueError("truncated")
        data = state.unused_data or b""
        if not data:
            return b"".join(parts)


def _of_zlib(wbits: int, *, members: bool) -> Reference:
    def compress(data: bytes) -> bytes:
        state = zlib.compressobj(6, zlib.DEFLATED, wbits)
        return state.compress(data) + state.flush()

    def decompress(data: bytes) -> bytes:
        parts = []
        while True:
            state = zlib.decompressobj(wbits)
            try:
                parts.append(state.decompress(data))
            except zlib.error as error:
                raise ValueError(str(error)) from error
            if not state.eof:
                raise ValueError("truncated")
            data = state.unused_data
            if not data:
                return b"".join(parts)
            if not members:
                raise ValueError("trailing data")

    return Reference(compress, decompress, members=members, checked=wbits > 0, exact=True)


def _strict(decompress: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    def strict(data: bytes) -> bytes:
        try:
            return decompress(data)
        except Exception as error:
            raise ValueError(str(error)) from error

    return strict


WORDS: Final = (
    b"the queue takes a burst of entries and gives completions oldest first while nobody waits".split()
)


def text(nbytes: int, seed: int = 0) -> bytes:
    """Something that compresses about as prose does."""
    chance = random.Random(seed)  # noqa: S311  reproducible on purpose
    pieces = bytearray()
    while len(pieces) < nbytes:
        pieces += chance.choice(WORDS) + (b" " if chance.random() < 0.9 else b"%d\n" % chance.getrandbits(20))
    return bytes(pieces[:nbytes])


@cache
def samples() -> dict[str, bytes]:
    """Inputs of different sizes and kinds; sizes stand at the edges of blocks, pages and windows."""
    chance = random.Random(1)  # noqa: S311  reproducible on purpose
    sized = {f"text of {size}": text(size, size) for size in (1, 2, 17, 258, 4095, 4096, 4097, 32769, 65537)}
    return {
        "nothing": b"",
        **sized,
        "zeros": bytes(70_000),
        "random": chance.randbytes(40_000),
        "every byte": bytes(range(256)) * 3,
        "text and noise": text(30_000, 2) + chance.randbytes(5_000) + text(30_000, 2),
        "text of 600000": text(600_000, 3),
    }
