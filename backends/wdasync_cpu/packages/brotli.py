"""Brotli."""

from __future__ import annotations

from typing import Any

from wdasync.buffers import Segment
from wdasync.operations import Flush

from ..plans import Plan

__all__ = ["BrotliDecoder", "BrotliEncoder"]


class BrotliEncoder:
    """See :class:`.contract.Encoder`."""

    def __init__(self, module: Any, plan: Plan) -> None:
        self._state = module.Compressor(quality=plan.level, lgwin=plan.window)

    def step(self, data: Segment, flush: Flush) -> bytes:
        output = self._state.process(data) if len(data) else b""
        if flush is Flush.FINISH:
            return bytes(output + self._state.finish())
        return bytes(output + self._state.flush()) if flush is not Flush.NONE else bytes(output)


class BrotliDecoder:
    """The package takes all of its input, and may give back only a part of the output: it is asked until there is none.

    Where its input goes on after the end, it fails as for data that is not valid.
    """

    def __init__(self, module: Any, plan: Plan) -> None:
        self._state = module.Decompressor()
        self._kept = b""

    @property
    def ended(self) -> bool:
        return bool(self._state.is_finished()) and not self._kept

    def step(self, data: Segment, limit: int) -> tuple[bytes, int]:
        used = 0
        if len(self._kept) < limit and self._state.can_accept_more_data() and not self._state.is_finished():
            self._kept += self._state.process(data, output_buffer_limit=limit)
            used = len(data)
        while len(self._kept) < limit and not self._state.is_finished():
            more = self._state.process(b"", output_buffer_limit=limit)
            self._kept += more
            if not more and self._state.can_accept_more_data():
                break
        output, self._kept = self._kept[:limit], self._kept[limit:]
        return output, used
