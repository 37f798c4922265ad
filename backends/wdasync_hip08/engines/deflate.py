"""The arithmetic of the ZIP engine: deflate and inflate on bytes, with the check values of zlib and gzip.

The deflater is ISA-L's, as fast and as plain as a hardware one; what is compressed with it decodes everywhere.
"""

from __future__ import annotations

import enum
import zlib

from isal import isal_zlib

from wdasync.operations import Compress
from wdasync_hip08.tasks import Work

__all__ = ["CHECKS", "Check", "Deflation", "Inflater", "Progress", "deflate", "hardware_checksum"]

LEVEL = 1


class Check(enum.Enum):
    """What stands behind the deflate data."""

    ADLER32 = "adler32"
    CRC32_SIZE = "crc32, size"


#: Bytes of the trailer.
CHECKS = {Check.ADLER32: 4, Check.CRC32_SIZE: 8}
#: The format that has this check value: its name, and the bytes of its header (RFC 1950, 2.2; RFC 1952, 2.3).
WRAPPERS = {Check.ADLER32: ("zlib", 2), Check.CRC32_SIZE: ("gzip", 10)}


def deflate(data: bytes, window_bits: int, check: Check) -> tuple[bytes, int]:
    """One whole deflate stream with its trailer, and the check value (Adler-32 or CRC-32)."""
    deflater = isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, -window_bits)
    body = deflater.compress(data) + deflater.flush()
    value = checksum(data, check)
    return body + trailer(value, len(data), check), value


class Deflation(Work):
    """:func:`deflate`, as work that the CPU backend's codec workers may do as well: its result is the same pair."""

    __slots__ = ("check", "data", "window_bits")

    def __init__(self, data: bytes, window_bits: int, check: Check) -> None:
        super().__init__(lambda: deflate(data, window_bits, check), len(data))
        self.data = data
        self.window_bits = window_bits
        self.check = check

    def operation(self) -> Compress:
        """The operation whose output has all of the result in it."""
        return Compress(self.data, WRAPPERS[self.check][0], level=LEVEL, window=self.window_bits)

    def result(self, output: bytes) -> tuple[bytes, int]:
        """The result, out of the operation's output: a whole unit, whose header is the driver's here."""
        if self.check is Check.ADLER32:
            value = int.from_bytes(output[-4:], "big")
        else:
            value = int.from_bytes(output[-8:-4], "little")
        return output[WRAPPERS[self.check][1] :], value


def checksum(data: bytes, check: Check, value: int | None = None) -> int:
    """Running check value; begins where none is given."""
    if check is Check.ADLER32:
        return isal_zlib.adler32(data, 1 if value is None else value)
    return isal_zlib.crc32(data, value or 0)


def trailer(value: int, nbytes: int, check: Check) -> bytes:
    """The trailer as it stands in the data (RFC 1950: big-endian; RFC 1952: little-endian, then the size)."""
    if check is Check.ADLER32:
        return value.to_bytes(4, "big")
    return value.to_bytes(4, "little") + (nbytes & 0xFFFFFFFF).to_bytes(4, "little")


def hardware_checksum(value: int, check: Check) -> int:
    """The check value as the engine returns it in its descriptor: Adler-32 as it is; CRC-32 bit-reversed, inverted."""
    if check is Check.ADLER32:
        return value
    return int(f"{value:032b}"[::-1], 2) ^ 0xFFFFFFFF


class Progress(enum.Enum):
    """How far an inflater has come."""

    #: It wants more input.
    RUNNING = "running"
    #: The stream and its trailer are over, and the trailer is right.
    ENDED = "ended"
    #: There is more output than was allowed.
    NO_SPACE = "no space"
    #: Not deflate data.
    BAD_DATA = "bad data"
    #: The trailer is not that of the data.
    BAD_CHECK = "bad check"


class Inflater:
    """Inflates input piece by piece, up to a bound of output.

    :param capacity: bytes of output allowed

    :ivar consumed: input bytes used, trailer included
    :ivar value: running check value
    :ivar final: the last block is over
    :ivar message: what is wrong with the data
    """

    def __init__(self, check: Check, capacity: int) -> None:
        self.check = check
        self.capacity = capacity
        self.consumed = 0
        self.produced = 0
        self.final = False
        self.message = ""
        self.progress = Progress.RUNNING
        self._inflater = zlib.decompressobj(-15)
        self._pieces: list[bytes] = []
        self._tail = b""
        self.value = checksum(b"", self.check)

    def feed(self, data: bytes) -> Progress:
        """Go on with more input."""
        if not self.final:
            data = self._inflate(data)
        if self.final and self.progress is Progress.RUNNING:
            self._finish(data)
        return self.progress

    def _inflate(self, data: bytes) -> bytes:
        """What is left of ``data`` behind the deflate stream."""
        inflater = self._inflater
        try:
            # One byte more than there is room for, so that an output that just fits can come to its end.
            piece = inflater.decompress(data, self.capacity - self.produced + 1)
        except zlib.error as error:
            self.progress, self.message = Progress.BAD_DATA, str(error)
            return b""
        self.produced += len(piece)
        if self.produced > self.capacity:
            self.progress = Progress.NO_SPACE
            return b""
        self._pieces.append(piece)
        self.value = checksum(piece, self.check, self.value)
        self.final = inflater.eof
        self.consumed += len(data) - len(inflater.unused_data)
        return inflater.unused_data

    def _finish(self, data: bytes) -> None:
        wanted = CHECKS[self.check] - len(self._tail)
        self._tail += data[:wanted]
        self.consumed += min(wanted, len(data))
        if len(self._tail) == CHECKS[self.check]:
            right = self._tail == trailer(self.value, self.produced, self.check)
            self.progress = Progress.ENDED if right else Progress.BAD_CHECK

    def output(self) -> bytes:
        """All output so far."""
        return b"".join(self._pieces)

    def __repr__(self) -> str:
        return (
            f"<Inflater {self.check.value} {self.progress.value}, {self.consumed} bytes in, "
            f"{self.produced} of {self.capacity} out>"
        )
