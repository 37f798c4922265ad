"""Zstandard."""

from __future__ import annotations

from typing import Any, Final

from wdasync.buffers import Segment
from wdasync.operations import Dictionary, Flush

from ..plans import Plan
from .contract import BadDictionary
from .frames import FrameDecoder, most_window

__all__ = ["ZstdEncoder", "zstd_decoder"]

#: How a trained dictionary of Zstandard begins (RFC 8878, section 5).
_TRAINED: Final = b"\x37\xa4\x30\xec"


class ZstdEncoder:
    """A full flush ends the frame, as that of the native codec does; no empty frame follows the last one."""

    def __init__(self, module: Any, plan: Plan, size: int | None, dictionary: Dictionary | None) -> None:
        parameter = module.CompressionParameter
        options = {parameter.compression_level: plan.level, parameter.checksum_flag: 1}
        if plan.window:
            options[parameter.window_log] = plan.window
        self._state = module.ZstdCompressor(options=options, zstd_dict=_known(module, dictionary))
        if size is not None:
            self._state.set_pledged_input_size(size)
        self._modes = {
            Flush.NONE: self._state.CONTINUE,
            Flush.SYNC: self._state.FLUSH_BLOCK,
            Flush.FULL: self._state.FLUSH_FRAME,
            Flush.FINISH: self._state.FLUSH_FRAME,
        }
        self._ended = False

    def step(self, data: Segment, flush: Flush) -> bytes:
        if self._ended and not len(data):
            return b""
        self._ended = flush is Flush.FULL
        return bytes(self._state.compress(data, self._modes[flush]))


def zstd_decoder(module: Any, plan: Plan, dictionary: Dictionary | None) -> FrameDecoder:
    """One frame."""
    most = {module.DecompressionParameter.window_log_max: most_window(plan)}
    # A block of 4 bytes becomes 128 KiB.
    state = module.ZstdDecompressor(zstd_dict=_known(module, dictionary), options=most)
    return FrameDecoder(state, 1 << 8, -1)


def _known(module: Any, dictionary: Dictionary | None) -> Any:
    """As the package wants it; the library overlooks one of less than 8 bytes, and the package refuses it.

    :raises BadDictionary: if it is not valid
    """
    if dictionary is None or len(dictionary.content) < 8:
        return None
    trained = dictionary.content.startswith(_TRAINED) and not dictionary.raw
    if dictionary.raw and dictionary.content.startswith(_TRAINED):
        return module.ZstdDict(
            dictionary.content, is_raw=True
        ).as_prefix  # else it is taken for a trained one
    try:
        known = module.ZstdDict(dictionary.content, is_raw=not trained)
        module.ZstdDecompressor(known)  # which looks into it
    except module.ZstdError as error:
        raise BadDictionary(str(error)) from None
    return known
