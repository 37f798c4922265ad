"""Bytes of random number in a compressed body, which mean nothing: against BREACH.

Where a response has a secret and something that an attacker chose, the length of its compressed form tells whether they resemble each
other. A random number of bytes more blurs that. It slows such an attack down, and does not stop it: whoever asks often enough sees the
average. The remedy is not to compress secrets together with what others may choose.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final

__all__ = ["MOST", "NEEDS_FLUSH", "pad"]

#: Bytes of padding that may be asked for, at most. More would cost more than compression saves.
MOST: Final = 1 << 14

#: Codings that are padded after a flush, and so only as streams.
NEEDS_FLUSH: Final = frozenset({"br"})


def pad(coding: str, head: bytes, most: int) -> bytes:
    """The first output of a compressor, with 1 to ``most`` bytes of padding.

    :param head: of gzip and zstd the whole output or its beginning, at least the header; of br what a flush ends
    """
    return _WAYS[coding](head, secrets.randbelow(most) + 1)


def _gzip(head: bytes, count: int) -> bytes:
    """A file name (RFC 1952 section 2.3.1). A header that has other fields stays as it is: ours have none."""
    if len(head) < 10 or head[3] & 0b11110:
        return head
    return b"".join([head[:3], bytes([head[3] | 0b1000]), head[4:10], b"a" * count, b"\0", head[10:]])


def _zlib(head: bytes, count: int) -> bytes:
    """RFC 1950 has no room for it."""
    del count
    return head


def _zstd(head: bytes, count: int) -> bytes:
    """A skippable frame before it (RFC 8878 section 3.1.2)."""
    return b"".join([0x184D2A50.to_bytes(4, "little"), count.to_bytes(4, "little"), bytes(count), head])


def _brotli(head: bytes, count: int) -> bytes:
    """A metadata block after it, on a byte boundary (RFC 7932 section 9.2).

    From the lowest bit: ISLAST 0, MNIBBLES 3, a reserved 0, MSKIPBYTES, MSKIPLEN - 1 in so many bytes, zeros.
    """
    skip_bytes = 1 if count <= 256 else 2
    bits = 3 << 1 | skip_bytes << 4 | (count - 1) << 6
    return b"".join([head, bits.to_bytes(skip_bytes + 1, "little"), bytes(count)])


_WAYS: Final[dict[str, Callable[[bytes, int], bytes]]] = {
    "gzip": _gzip,
    "deflate": _zlib,
    "zstd": _zstd,
    "br": _brotli,
}
