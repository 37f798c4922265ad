"""Compression and decompression, of whole units and step by step."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from ..buffers import pin_source
from .base import DEFAULT_MAX_LENGTH, Kind, Level, Operation, as_dictionary, check_bound

if TYPE_CHECKING:
    from ..backend import Session

__all__ = ["Compress", "CompressChunk", "Decompress", "DecompressChunk", "Flush"]


class Flush(enum.IntEnum):
    """What a stream does with what it holds back (RFC 1951 section 3.2; DPDK ``rte_comp_flush_flag``)."""

    NONE = 0
    #: All input so far becomes decodable; the output ends on a byte boundary with an empty stored block.
    SYNC = 1
    #: As SYNC, and nothing after it refers to anything before it.
    FULL = 2
    #: The stream ends here, with its check value.
    FINISH = 3


class Compress(Operation):
    """Compress ``data`` into one whole unit of ``algorithm``.

    :param data: bytes-like, a list of them, or a :class:`~wdasync.PagedBuffer`
    :param algorithm: as the capability table names it: ``gzip``, ``zlib``, ``deflate``, ``br``, ``zstd``, ``lz4``, …
    :param level: ``"fast"``, ``"balanced"``, ``"best"`` or an int of the algorithm's own scale
    :param window: base-2 logarithm of the history in bytes; ``None``: what the device takes for
        that level
    :param into: a writable buffer for the output
    :param dictionary: bytes-like, or a :class:`Dictionary`: what the decompressor will know, too
    :raises InvalidArgument: if one of them is not of its type
    """

    __slots__ = ()
    kind = Kind.COMPRESS

    def __init__(
        self,
        data: object,
        algorithm: str,
        *,
        level: Level = "fast",
        window: int | None = None,
        into: object = None,
        dictionary: object = None,
    ) -> None:
        known = None if dictionary is None else as_dictionary(dictionary)
        self._begin(data, algorithm, into)
        self.dictionary = known
        self.level = level
        self.window = window


class Decompress(Operation):
    """Decompress one whole unit, its concatenated members included.

    :param data: bytes-like, a list of them, or a :class:`~wdasync.PagedBuffer`
    :param algorithm: as the capability table names it
    :param max_length: bytes of output allowed; more is :exc:`~wdasync.LimitExceeded`
    :param max_members: concatenated members (gzip) or frames allowed; skippable frames do not count
    :param into: a writable buffer for the output
    :param dictionary: bytes-like, or a :class:`Dictionary`: what the compressor knew
    :raises InvalidArgument: if one of them is not of its type, or a bound is negative
    """

    __slots__ = ("max_length", "max_members")
    kind = Kind.DECOMPRESS

    max_length: int
    max_members: int

    def __init__(
        self,
        data: object,
        algorithm: str,
        *,
        max_length: int = DEFAULT_MAX_LENGTH,
        max_members: int = 1024,
        into: object = None,
        dictionary: object = None,
    ) -> None:
        known = None if dictionary is None else as_dictionary(dictionary)
        self.max_length = check_bound(max_length, "max_length", 0)
        self.max_members = check_bound(max_members, "max_members", 1)
        self._begin(data, algorithm, into)
        self.dictionary = known


class CompressChunk(Operation):
    """One step of a compressing stream.

    :param session: the stream
    :param data: bytes-like, or a list of them; may be empty
    :param flush: what to do with what is held back
    """

    __slots__ = ("flush",)
    kind = Kind.COMPRESS_CHUNK

    flush: Flush

    def __init__(self, session: Session, data: object, flush: Flush = Flush.NONE) -> None:
        self.paged = None
        self.resident = False
        self.chain = None
        self.source, self.nbytes, self.immutable = pin_source(data)
        self.destination = None
        self.session = session
        self.algorithm = session.spec.algorithm
        self.dictionary = session.spec.dictionary
        self.level = session.spec.level
        self.window = session.spec.window
        self.flush = flush


class DecompressChunk(Operation):
    """One step of a decompressing stream.

    The completion's ``consumed`` says how much of ``data`` was used: less than all of it when ``max_length``
    was reached (give the rest again) or when the stream ended inside ``data``.

    :param session: the stream
    :param data: bytes-like, or a list of them; may be empty
    :param max_length: bytes of output allowed in this step, at least 1
    """

    __slots__ = ("max_length",)
    kind = Kind.DECOMPRESS_CHUNK

    max_length: int

    def __init__(self, session: Session, data: object, max_length: int = 1 << 20) -> None:
        self.paged = None
        self.resident = False
        self.chain = None
        self.source, self.nbytes, self.immutable = pin_source(data)
        self.destination = None
        self.session = session
        self.algorithm = session.spec.algorithm
        self.dictionary = session.spec.dictionary
        self.level = session.spec.level
        self.window = session.spec.window
        self.max_length = check_bound(max_length, "max_length", 1)
