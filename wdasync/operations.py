"""What can be asked of an accelerator: one small class an operation, one table of kinds.

An operation is checked when it is made, holds its buffers until it is done, and is the same object from the
caller's hands to the backend's queue. The classes are plain and slotted because one is made for each await.
"""

from __future__ import annotations

import enum
import hashlib
from typing import TYPE_CHECKING, ClassVar, Final

from .buffers import Segment, join, pin_destination, pin_source
from .errors import InvalidArgument
from .paged import PagedBuffer

if TYPE_CHECKING:
    from .backend import Session

__all__ = [
    "DEFAULT_MAX_LENGTH",
    "KINDS",
    "Compress",
    "CompressChunk",
    "Decompress",
    "DecompressChunk",
    "Dictionary",
    "Flush",
    "Kind",
    "Level",
    "Nop",
    "Operation",
    "Priority",
]

#: What a decompression may produce unless the caller says otherwise: 256 MiB.
DEFAULT_MAX_LENGTH: Final = 256 << 20

#: ``"fast"``, ``"balanced"``, ``"best"``, or the algorithm's own number.
Level = str | int

LEVEL_NAMES: Final = frozenset({"fast", "balanced", "best"})


class Kind(enum.IntEnum):
    """The kind of an operation; a capability table says who can do which."""

    NOP = 0
    COMPRESS = 1
    DECOMPRESS = 2
    COMPRESS_CHUNK = 3
    DECOMPRESS_CHUNK = 4


class Priority(enum.IntEnum):
    """Which queue an operation waits in: a higher one is served first."""

    LOW = 0
    NORMAL = 1
    HIGH = 2


class Flush(enum.IntEnum):
    """What a stream does with what it holds back (RFC 1951 section 3.2; DPDK ``rte_comp_flush_flag``)."""

    NONE = 0
    #: All input so far becomes decodable; the output ends on a byte boundary with an empty stored block.
    SYNC = 1
    #: As SYNC, and nothing after it refers to anything before it.
    FULL = 2
    #: The stream ends here, with its check value.
    FINISH = 3


class Dictionary:
    """What the compressor and the decompressor know before: their first matches are in it.

    Each format has its own: the preset dictionary of zlib (RFC 1950) and of raw deflate, whose last 32 KiB count; a shared
    one of Brotli; of Zstandard content as it is, or a trained dictionary (RFC 8878, section 5); of LZ4 64 KiB at most.

    :ivar content: the bytes
    :ivar raw: content as it is, also where it begins like a trained dictionary of Zstandard
    :raises InvalidArgument: if ``content`` is not bytes-like, or empty
    """

    __slots__ = ("_digest", "content", "raw")

    def __init__(self, content: object, *, raw: bool = False) -> None:
        try:
            self.content = bytes(join(pin_source(content)[0]))
        except InvalidArgument as error:
            raise InvalidArgument(f"dictionary: {error}") from None
        if not self.content:
            raise InvalidArgument("dictionary: expected at least one byte, got none; leave it out")
        self.raw = bool(raw)
        self._digest = b""

    @property
    def sha256(self) -> bytes:
        """The hash by which HTTP names it (RFC 9842); 32 bytes."""
        self._digest = self._digest or hashlib.sha256(self.content).digest()
        return self._digest

    def __repr__(self) -> str:
        return f"<Dictionary of {len(self.content)} bytes{', raw' if self.raw else ''}>"


def as_dictionary(value: object) -> Dictionary | None:
    """A :class:`Dictionary`, of what bytes a caller gave.

    :raises InvalidArgument: if they are none
    """
    return value if value is None or isinstance(value, Dictionary) else Dictionary(value)


class Operation:
    """The common part of all operations.

    :ivar source: the input: one segment, or a tuple of them
    :ivar paged: the input's pages come when they are touched; then ``source`` is empty. ``None``: it is plain memory
    :ivar resident: a page fault waits for it. It must not cause others: a device that takes page faults has all its memory
        brought in before it begins
    :ivar nbytes: length of the input in bytes
    :ivar immutable: nobody can change the input while the device reads it
    :ivar destination: where the caller wants the output; ``None``: the framework owns the output
    :ivar session: the stream this operation belongs to; ``None``: stateless
    :ivar algorithm: as the capability table names it
    :ivar dictionary: what both sides know before; ``None``: nothing
    :ivar level: how hard to try
    :ivar window: base-2 logarithm of the history in bytes; ``None``: the device's largest
    """

    __slots__ = (
        "algorithm",
        "destination",
        "dictionary",
        "immutable",
        "level",
        "nbytes",
        "paged",
        "resident",
        "session",
        "source",
        "window",
    )

    kind: ClassVar[Kind]

    source: Segment | tuple[Segment, ...]
    paged: PagedBuffer | None
    resident: bool
    nbytes: int
    immutable: bool
    destination: memoryview | None
    session: Session | None
    algorithm: str
    dictionary: Dictionary | None
    level: Level
    window: int | None

    def _take(self, data: object) -> None:
        if isinstance(data, PagedBuffer):
            self.paged = data
            self.source, self.nbytes, self.immutable = b"", data.length, True
        else:
            self.source, self.nbytes, self.immutable = pin_source(data)

    def _take_destination(self, into: object) -> None:
        """After the source. An error lives on with its traceback, and must not pin the source by that."""
        self.destination = None
        if into is not None:
            try:
                self.destination = pin_destination(into, "into")
            except BaseException:
                self.source = b""
                raise

    @property
    def stateless(self) -> bool:
        """Whether the operation may run again elsewhere after a device was lost."""
        return self.session is None

    @property
    def detachable(self) -> bool:
        """Whether nobody minds a device that still works on it after the caller has gone."""
        return self.immutable and self.destination is None

    def release(self) -> None:
        """Let go of memory of the caller's. A failed operation lives on in the traceback of its error; the caller's
        ``bytearray`` must not stay pinned by that. Only when the device is done with it.
        """
        if not self.detachable:
            self.source = b""
            self.destination = None

    def __repr__(self) -> str:
        name = type(self).__name__
        return f"<{name} {self.algorithm} {self.nbytes} bytes{'' if self.stateless else ' of a stream'}>"


class Nop(Operation):
    """Nothing, through the whole way: for measuring that way."""

    __slots__ = ()
    kind = Kind.NOP

    def __init__(self) -> None:
        self.source = b""
        self.paged = None
        self.resident = False
        self.nbytes = 0
        self.immutable = True
        self.destination = None
        self.session = None
        self.algorithm = "nop"
        self.dictionary = None
        self.level = "fast"
        self.window = None


class Compress(Operation):
    """Compress ``data`` into one whole unit of ``algorithm``.

    :param data: bytes-like, a list of them, or a :class:`~wdasync.PagedBuffer`
    :param algorithm: as the capability table names it: ``gzip``, ``zlib``, ``deflate``, ``br``, ``zstd``, ``lz4``, …
    :param level: ``"fast"``, ``"balanced"``, ``"best"`` or an int of the algorithm's own scale
    :param window: base-2 logarithm of the history in bytes; ``None``: the device's largest
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
        self.dictionary = None if dictionary is None else as_dictionary(dictionary)
        self.paged = None
        self.resident = False
        if type(data) is bytes:
            self.source = data
            self.nbytes = len(data)
            self.immutable = True
        else:
            self._take(data)
        self._take_destination(into)
        self.session = None
        self.algorithm = algorithm
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
        self.dictionary = None if dictionary is None else as_dictionary(dictionary)
        self.paged = None
        self.resident = False
        self.max_length = check_bound(max_length, "max_length", 0)
        self.max_members = check_bound(max_members, "max_members", 1)
        if type(data) is bytes:
            self.source = data
            self.nbytes = len(data)
            self.immutable = True
        else:
            self._take(data)
        self._take_destination(into)
        self.session = None
        self.algorithm = algorithm
        self.level = "fast"
        self.window = None


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
        self.source, self.nbytes, self.immutable = pin_source(data)
        self.destination = None
        self.session = session
        self.algorithm = session.spec.algorithm
        self.dictionary = session.spec.dictionary
        self.level = session.spec.level
        self.window = session.spec.window
        self.max_length = check_bound(max_length, "max_length", 1)


#: Kind of operation -> its class. Docs and tests are made from this table.
KINDS: Final[dict[Kind, type[Operation]]] = {
    operation.kind: operation for operation in (Nop, Compress, Decompress, CompressChunk, DecompressChunk)
}


def check_bound(value: int, name: str, least: int) -> int:
    """``value`` if it is an int of at least ``least``.

    :raises InvalidArgument: otherwise
    """
    if type(value) is not int or value < least:
        raise InvalidArgument(f"{name}: expected an int of at least {least}, got {value!r}")
    return value


def check_window(window: int | None) -> int | None:
    """``window`` if it can be a window at all; whether a device has it is in its capability table.

    :raises InvalidArgument: otherwise
    """
    if window is None or (type(window) is int and 1 <= window <= 64):
        return window
    raise InvalidArgument(
        f"window: expected the base-2 logarithm of a size in bytes, such as 15, got {window!r}"
    )


def check_level(level: Level) -> Level:
    """``level`` if it can be a level at all; what a device makes of it is in its capability table.

    :raises InvalidArgument: otherwise
    """
    if type(level) is int or (type(level) is str and level in LEVEL_NAMES):
        return level
    raise InvalidArgument(f'level: expected "fast", "balanced", "best" or an int, got {level!r}')
