"""A body on its way through the accelerator: whole, or piece by piece."""

from __future__ import annotations

from anyio import to_thread

from ..accelerator import Accelerator
from ..streams import Compressor
from .codings import ALGORITHMS, window_of
from .options import Options
from .padding import NEEDS_FLUSH, pad

__all__ = ["Encoder"]

#: Bytes that are put together in the event loop's thread, at most.
COPY = 256 * 1024


class Encoder:
    """Compresses one body with one coding. Nothing is held on a device before the first piece.

    :ivar coding: as ``Content-Encoding`` has it
    """

    def __init__(self, accelerator: Accelerator, coding: str, options: Options) -> None:
        self.coding = coding
        self._accelerator = accelerator
        self._algorithm = ALGORITHMS[coding]
        level = options.levels[coding]
        self._level = accelerator.effective.config.level if level is None else level
        self._window = window_of(coding, self._level)
        self._timeout = options.timeout
        self._padding = options.padding
        self._stream: Compressor | None = None

    async def whole(self, body: bytes) -> list[bytes]:
        """All of the body, compressed, in one piece or several."""
        if self._padding and self.coding in NEEDS_FLUSH:
            return [await self.piece(body, flush=True), await self.last(b"")]
        packed = await self._accelerator.compress(
            body, self._algorithm, level=self._level, window=self._window, timeout=self._timeout
        )
        return [await self._padded(packed)]

    async def piece(self, body: bytes, *, flush: bool) -> bytes:
        """What comes out for a piece of the body; often nothing, without a flush."""
        stream = self._opened()
        if flush or self._padding:
            return await self._padded(await stream.flush(data=body, timeout=self._timeout))
        return await stream.compress(body, timeout=self._timeout)

    async def last(self, body: bytes) -> bytes:
        """What comes out for the last piece; the stream is over."""
        stream = self._opened()
        if self._padding:  # nothing has been put out yet, and padding wants a flush
            return await self.piece(body, flush=True) + await stream.finish(timeout=self._timeout)
        return await stream.finish(body, timeout=self._timeout)

    async def aclose(self) -> None:
        """Give the stream back, if there is one. Idempotent."""
        if self._stream is not None:
            await self._stream.aclose()

    def _opened(self) -> Compressor:
        if self._stream is None:
            self._stream = self._accelerator.compressor(
                self._algorithm, level=self._level, window=self._window
            )
        return self._stream

    async def _padded(self, output: bytes) -> bytes:
        """With padding, which is added once."""
        if not self._padding:
            return output
        most, self._padding = self._padding, 0
        if len(output) <= COPY:
            return pad(self.coding, output, most)
        return await to_thread.run_sync(pad, self.coding, output, most)
