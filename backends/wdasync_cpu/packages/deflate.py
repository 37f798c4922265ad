"""The deflate family, by modules shaped like :mod:`zlib`."""

from __future__ import annotations

import zlib
from importlib import import_module
from typing import Any, Final

from wdasync.buffers import Segment
from wdasync.operations import Dictionary, Flush

from .. import codecs
from ..codecs import Format
from ..plans import Plan

__all__ = ["DeflateDecoder", "DeflateEncoder", "compress_at_once"]

_FLUSHES: Final = {Flush.SYNC: zlib.Z_SYNC_FLUSH, Flush.FULL: zlib.Z_FULL_FLUSH, Flush.FINISH: zlib.Z_FINISH}

#: Functions of the package ``deflate``, which knows no streams.
_AT_ONCE: Final = {
    Format.GZIP: "gzip_compress",
    Format.ZLIB: "zlib_compress",
    Format.DEFLATE: "deflate_compress",
}


class DeflateEncoder:
    """See :class:`.contract.Encoder`."""

    def __init__(self, module: Any, plan: Plan, dictionary: Dictionary | None) -> None:
        known = {} if dictionary is None else {"zdict": dictionary.content}
        self._state = module.compressobj(plan.level, zlib.DEFLATED, _window_bits(plan), **known)
        self._os = 9 if codecs.ALGORITHMS[plan.algorithm].format is Format.GZIP else -1

    def step(self, data: Segment, flush: Flush) -> bytes:
        output = self._state.compress(data)
        if flush is not Flush.NONE:
            output += self._state.flush(_FLUSHES[flush])
        return self._without_os(output) if self._os >= 0 else bytes(output)

    def _without_os(self, output: bytes) -> bytes:
        """The tenth byte of a gzip header names an operating system; 255 is "unknown", as the native codecs say."""
        if len(output) > self._os:
            output = output[: self._os] + b"\xff" + output[self._os + 1 :]
            self._os = -1
        else:
            self._os -= len(output)
        return output


class DeflateDecoder:
    """See :class:`.contract.Decoder`."""

    def __init__(self, module: Any, plan: Plan, dictionary: Dictionary | None) -> None:
        known = {} if dictionary is None else {"zdict": dictionary.content}
        self._state = module.decompressobj(_window_bits(plan), **known)

    @property
    def ended(self) -> bool:
        return bool(self._state.eof)

    def step(self, data: Segment, limit: int) -> tuple[bytes, int]:
        output = self._state.decompress(data, limit)
        left = self._state.unused_data if self._state.eof else self._state.unconsumed_tail
        return output, len(data) - len(left)


def _window_bits(plan: Plan) -> int:
    """The window as zlib wants it: its sign and what is added say which wrapper."""
    match codecs.ALGORITHMS[plan.algorithm].format:
        case Format.GZIP:
            return plan.window + 16
        case Format.ZLIB:
            return plan.window
        case _:
            return -plan.window


def compress_at_once(data: Segment, plan: Plan) -> bytes:
    """A whole unit by the package ``deflate``."""
    function = getattr(import_module("deflate"), _AT_ONCE[codecs.ALGORITHMS[plan.algorithm].format])
    return bytes(function(data, plan.level))
