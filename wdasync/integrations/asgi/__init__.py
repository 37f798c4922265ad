"""Middleware for ASGI applications: compressed responses and compressed requests, on an accelerator.

It is plain ASGI (https://asgi.readthedocs.io) and needs no web framework: Starlette, FastAPI, Litestar, Django and Quart
applications are wrapped alike, and any ASGI server runs them, on asyncio or trio.
"""

from __future__ import annotations

from ..variants import VariantCache
from .files import CompressedFiles
from .middleware import CompressionMiddleware
from .requests import DecompressionMiddleware

__all__ = ["CompressedFiles", "CompressionMiddleware", "DecompressionMiddleware", "VariantCache"]
