"""What it takes to go on with a compressing stream on another device: for raw deflate, gzip and zlib.

Deflate data can be cut where a block ends on a byte (RFC 1951, section 3.2.4): what follows may come from another encoder, which must
know no more than the last 32 KiB of content, as its dictionary. The header has been written by the first; the check value at the end
is kept here.

A device that is lost takes with it what it had not written yet, and nobody can ask it how far it came. So the output since the last
*boundary*, a sync flush, is held back, and the input since then is kept: on another device it is compressed once more, as if nothing
had been. A boundary is made every 256 KiB of input, and where the caller flushes.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Final, NamedTuple

from .backend import Direction, StreamSpec
from .operations import Dictionary, Flush

__all__ = ["BOUNDARY", "WRAPPERS", "Ledger", "Wrapper"]

#: Bytes of input between two boundaries, at most: each costs an empty block of 5 bytes, and the codes of a block begun anew.
BOUNDARY: Final = 256 * 1024

#: The history of deflate.
HISTORY: Final = 1 << 15


class Wrapper(NamedTuple):
    """What stands round the deflate data of a format.

    :ivar initial: the check value of nothing
    :ivar update: goes on with a check value
    :ivar trailer: of a check value and a length
    """

    initial: int
    update: Callable[[bytes, int], int]
    trailer: Callable[[int, int], bytes]


#: Algorithms whose streams can go on elsewhere -> their wrapper.
WRAPPERS: Final[dict[str, Wrapper]] = {
    "deflate": Wrapper(0, lambda data, value: 0, lambda value, length: b""),
    "zlib": Wrapper(1, zlib.adler32, lambda value, length: struct.pack(">I", value)),
    "gzip": Wrapper(0, zlib.crc32, lambda value, length: struct.pack("<II", value, length & 0xFFFFFFFF)),
}


class Ledger:
    """A stream as far as another device must know it. Synchronous; one a stream.

    :param window: base-2 logarithm of the history that the first device uses
    :ivar original: the stream that the caller opened
    :ivar plain: what goes on with it, without history
    :ivar raw: it goes on as raw deflate, and its check value is ours to write
    :ivar pending: bytes of input since the last boundary
    """

    def __init__(self, spec: StreamSpec, window: int) -> None:
        self.original = spec
        # The decoder was told the window of the first device; one that is the largest of the format binds nobody.
        bound = spec.window if 1 << window >= HISTORY else window
        self.plain = StreamSpec(Direction.COMPRESS, "deflate", spec.level, bound)
        self._wrapper = WRAPPERS[spec.algorithm]
        self._history = min(HISTORY, 1 << window)
        self.forget()

    def forget(self) -> None:
        """Nothing has come yet."""
        self.raw = False
        self.pending = 0
        self._input: list[bytes] = []
        self._output: list[bytes] = []
        self._tail = b""
        self._check = self._wrapper.initial
        self._length = 0
        self._begun = False

    def take(self, data: bytes, flush: Flush) -> Flush:
        """Keep what is to be compressed next; how it has to be flushed."""
        if data:
            self._input.append(data)
            self.pending += len(data)
        return Flush.SYNC if flush is Flush.NONE and self.pending >= BOUNDARY else flush

    def made(self, output: bytes) -> None:
        """Hold back what came out."""
        if output:
            self._output.append(output)

    def again(self) -> list[bytes]:
        """What has to be compressed once more. What came of it is forgotten."""
        self._output.clear()
        return list(self._input)

    def deliver(self, flush: Flush) -> bytes:
        """At a boundary: what was held back. Takes as long as the check value of the input does.

        :param flush: what made the boundary
        """
        output = b"".join(self._output)
        if flush is not Flush.FINISH or self.raw:
            content = b"".join(self._input)
            self._check = self._wrapper.update(content, self._check)
            self._length += len(content)
            self._tail = (self._tail + content[-self._history :])[-self._history :]
        if flush is Flush.FULL:
            self._tail = b""
        if flush is Flush.FINISH and self.raw:
            output += self._wrapper.trailer(self._check, self._length)
        self._input, self._output, self.pending = [], [], 0
        self._begun = True
        return output

    def specs(self) -> list[StreamSpec]:
        """The streams that would go on with it, best first. Before the first boundary it is the same one."""
        if not self._begun:
            return [self.original]
        if not self._tail:
            return [self.plain]
        return [replace(self.plain, dictionary=Dictionary(self._tail, raw=True)), self.plain]

    def moved(self) -> None:
        """It goes on elsewhere."""
        self.raw = self._begun
