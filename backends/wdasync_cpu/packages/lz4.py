"""LZ4: frames, and blocks without one."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from wdasync.buffers import Segment
from wdasync.errors import DataCause, Status
from wdasync.operations import Compress, Decompress, Flush

from .. import binding
from ..binding import Outcome
from ..guarded import whole
from ..plans import Plan
from .frames import FrameDecoder
from .outcomes import deliver, failed

__all__ = ["Lz4Encoder", "compress_block", "decompress_block", "lz4_decoder"]


class Lz4Encoder:
    """The package can flush only by writing at once whatever comes: then there is nothing to flush."""

    def __init__(self, module: Any, plan: Plan, size: int | None) -> None:
        self._module = module
        self._size = size
        self._level = plan.level
        self._state: Any = None
        self._ended = False

    def step(self, data: Segment, flush: Flush) -> bytes:
        if self._ended and not len(data):
            return b""
        output = b""
        if self._state is None:
            self._state = self._module.LZ4FrameCompressor(
                compression_level=self._level, content_checksum=True, auto_flush=self._size is None
            )
            output = self._state.begin(self._size or 0)
        self._ended = flush is Flush.FULL
        output += self._state.compress(data)
        if flush in (Flush.FULL, Flush.FINISH):
            output += self._state.flush()
            self._state = None
        return bytes(output)


def lz4_decoder(module: Any) -> FrameDecoder:
    """One frame."""
    # A block of 4 MiB may be held back, and a byte becomes 255.
    return FrameDecoder(module.LZ4FrameDecompressor(), 1 << 14, 9 << 20)


def compress_block(operation: Compress, plan: Plan) -> bytes:
    """A whole block."""
    mode: dict[str, Any] = {"mode": "default"}
    if plan.level >= 3:
        mode = {"mode": "high_compression", "compression": plan.level}
    if operation.dictionary is not None:
        mode["dict"] = operation.dictionary.content
    return bytes(import_module("lz4.block").compress(whole(operation.source), store_size=False, **mode))


def decompress_block(operation: Decompress) -> Outcome:
    """A whole block. The C side says how long the content is; the package cannot."""
    data = whole(operation.source)
    known = b"" if operation.dictionary is None else operation.dictionary.content
    length = binding.measure(data, len(known))
    if not isinstance(length, int):
        status, cause, message = length
        return failed(Status(status), message, binding.CAUSES[cause])
    if operation.destination is not None and length > len(operation.destination):
        text = f"the output of {length} bytes does not fit into {len(operation.destination)} bytes"
        return failed(Status.OUT_OF_SPACE_TERMINATED, text)
    if length > operation.max_length:
        text = f"the output of {length} bytes passes max_length of {operation.max_length} bytes"
        return failed(Status.OUT_OF_SPACE_TERMINATED, text)
    module = import_module("lz4.block")
    try:
        output = module.decompress(data, uncompressed_size=length, dict=known or None)
    except module.LZ4BlockError:
        return failed(Status.DATA_ERROR, "the LZ4 block is not valid", DataCause.CORRUPT)
    return deliver(bytes(output), len(data), operation.destination)
