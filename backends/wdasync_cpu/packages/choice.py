"""Which package does it, and whether it is there."""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from typing import Final

from wdasync.operations import Dictionary

from ..plans import Plan
from .brotli import BrotliDecoder, BrotliEncoder
from .contract import Decoder, Encoder
from .deflate import DeflateDecoder, DeflateEncoder
from .lz4 import Lz4Encoder, lz4_decoder
from .zstd import ZstdEncoder, zstd_decoder

__all__ = ["complaint", "decoder", "encoder", "problem"]

#: Implementation -> its module.
_MODULES: Final = {
    "isal-package": "isal.isal_zlib",
    "deflate-package": "deflate",
    "zlib-module": "zlib",
    "brotli-package": "brotli",
    "zstd-package": "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd",
    "lz4-package": "lz4.frame",
}


@cache
def problem(implementation: str) -> str:
    """Why the package cannot be used; empty if it can."""
    try:
        module = import_module(_MODULES[implementation])
        if implementation == "brotli-package":
            module.Decompressor().process(b"", output_buffer_limit=1)
    except ImportError as error:
        return str(error)
    except TypeError:
        return "it cannot bound its output; Brotli 1.2 can"
    return ""


def encoder(plan: Plan, dictionary: Dictionary | None, size: int | None = None) -> Encoder:
    """A compressing stream.

    :param size: bytes of the whole unit; ``None``: not known
    """
    module = import_module(_MODULES[plan.implementation])
    match plan.implementation:
        case "brotli-package":
            return BrotliEncoder(module, plan)
        case "zstd-package":
            return ZstdEncoder(module, plan, size, dictionary)
        case "lz4-package":
            return Lz4Encoder(module, plan, size)
        case _:
            return DeflateEncoder(module, plan, dictionary)


def decoder(plan: Plan, dictionary: Dictionary | None) -> Decoder:
    """A decompressing stream."""
    module = import_module(_MODULES[plan.implementation])
    match plan.implementation:
        case "brotli-package":
            return BrotliDecoder(module, plan)
        case "zstd-package":
            return zstd_decoder(module, plan, dictionary)
        case "lz4-package":
            return lz4_decoder(module)
        case _:
            return DeflateDecoder(module, plan, dictionary)


def complaint(plan: Plan) -> type[Exception]:
    """What the package raises about data that is not valid."""
    module = import_module(_MODULES[plan.implementation])
    match plan.implementation:
        case "lz4-package":
            return RuntimeError
        case "zstd-package":
            error: type[Exception] = module.ZstdError
        case _:
            error = module.error
    return error
