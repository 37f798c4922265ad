"""Codecs of Python packages, for where the C libraries are absent: objects with the steps of a stream.

Whole units are streams of one member. Input is fed in pieces, between which a thread notices that its queue is being
stopped. Errors are explained by the C side, which walks the data, so they read as those of the native codecs.
"""

from __future__ import annotations

from .choice import complaint, decoder, encoder, problem
from .contract import BadDictionary, Decoder, Encoder, Stop, Stopped
from .frames import FrameKind, explain_frame, frame_kind
from .outcomes import failed
from .units import compress, decompress

__all__ = [
    "BadDictionary",
    "Decoder",
    "Encoder",
    "FrameKind",
    "Stop",
    "Stopped",
    "complaint",
    "compress",
    "decoder",
    "decompress",
    "encoder",
    "explain_frame",
    "failed",
    "frame_kind",
    "problem",
]
