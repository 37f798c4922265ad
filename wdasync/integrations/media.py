"""Which media types are compressed already."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

__all__ = ["compressible", "essence"]

#: Whole groups whose members are compressed already, but for :data:`_PLAIN`.
_GROUPS: Final = frozenset({"audio", "image", "video"})

#: Members of those groups that are text, or plain samples.
_PLAIN: Final = frozenset({
    "image/bmp", "image/svg+xml", "image/vnd.microsoft.icon", "image/x-icon", "image/x-ms-bmp",
    "audio/midi", "audio/wav", "audio/x-wav",
})  # fmt: skip

#: Compressed already, or a framing of their own that must not be buffered. ``font/ttf`` and ``font/otf`` are not.
_PACKED: Final = frozenset({
    "application/epub+zip", "application/font-woff", "application/grpc", "application/gzip",
    "application/java-archive", "application/vnd.android.package-archive", "application/vnd.rar",
    "application/x-7z-compressed", "application/x-brotli", "application/x-bzip", "application/x-bzip2",
    "application/x-compress", "application/x-gzip", "application/x-lz4", "application/x-lzma",
    "application/x-rar-compressed", "application/x-xz", "application/x-zip-compressed", "application/zip",
    "application/zlib", "application/zstd", "font/woff", "font/woff2", "multipart/x-mixed-replace",
})  # fmt: skip

#: Families of types that are ZIP archives inside.
_ARCHIVES: Final = (
    "application/vnd.openxmlformats-officedocument.",
    "application/vnd.oasis.opendocument.",
    "application/grpc+",
)
#: Structured suffixes that say so (RFC 6839 section 3.6, RFC 8460 section 6.1, RFC 9659).
_SUFFIXES: Final = ("+zip", "+gzip", "+zstd")


def essence(content_type: str) -> str:
    """``Text/HTML; charset=utf-8`` -> ``text/html``."""
    return content_type.partition(";")[0].strip().lower()


@lru_cache(256)
def compressible(content_type: str) -> bool:
    """Whether a body of this type gets smaller, as far as its name tells. Types that nobody knows may.

    :param content_type: the value of that field; empty: there is none
    """
    kind = essence(content_type)
    if kind in _PLAIN:
        return True
    if kind.partition("/")[0] in _GROUPS or kind in _PACKED:
        return False
    return not kind.endswith(_SUFFIXES) and not kind.startswith(_ARCHIVES)
