"""What all operations have in common, and the arguments of more than one of them.

An operation is checked when it is made, holds its buffers until it is done, and is the same object from the
caller's hands to the backend's queue. The classes are plain and slotted because one is made for each await.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Final

from ..buffers import COPIED, Segment, join, overlap, pin_destination, pin_source
from ..errors import InvalidArgument
from ..paged import PagedBuffer

if TYPE_CHECKING:
    from ..backend import DigestSession, KeySession, Session

__all__ = [
    "DEFAULT_MAX_LENGTH",
    "Chain",
    "Dictionary",
    "Kind",
    "Level",
    "Operation",
    "Priority",
    "as_dictionary",
    "check_bound",
    "check_level",
    "check_window",
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
    COPY = 5
    FILL = 6
    COMPARE = 7
    CHECKSUM = 8
    DIGEST = 9
    DIGEST_CHUNK = 10
    MAC = 11
    ENCRYPT = 12
    DECRYPT = 13
    SEAL = 14
    OPEN = 15
    SIGN = 16
    VERIFY = 17
    PUBLIC_ENCRYPT = 18
    PRIVATE_DECRYPT = 19
    EXCHANGE = 20
    GENERATE = 21
    SEQUENCE = 22


class Priority(enum.IntEnum):
    """Which queue an operation waits in: a higher one is served first."""

    LOW = 0
    NORMAL = 1
    HIGH = 2


class Dictionary:
    """What the compressor and the decompressor know before: their first matches are in it.

    Each format has its own: the preset dictionary of zlib (RFC 1950) and of raw deflate, whose last 32 KiB count; a shared
    one of Brotli; of Zstandard content as it is, or a trained dictionary (RFC 8878, section 5); of LZ4 64 KiB at most.

    What is not ``bytes`` is copied, in the calling thread; so a large one is better made in a thread that no event loop needs.

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

    @property
    def hashed(self) -> bool:
        """Whether :attr:`sha256` takes no time, since it was asked for before."""
        return bool(self._digest)

    def __repr__(self) -> str:
        return f"<Dictionary of {len(self.content)} bytes{', raw' if self.raw else ''}>"


def as_dictionary(value: object) -> Dictionary | None:
    """A :class:`Dictionary`, of what bytes a caller gave.

    :raises InvalidArgument: if they are none, or so many that they must not be copied with each call
    """
    if value is None or isinstance(value, Dictionary):
        return value
    if type(value) is not bytes and (size := pin_source(value, "dictionary")[1]) > COPIED:
        raise InvalidArgument(
            f"dictionary: expected at most {COPIED} bytes, one `bytes` object, or a Dictionary, got {size} bytes that would have to be "
            "copied; make a wdasync.Dictionary of them once, in a thread"
        )
    return Dictionary(value)


class Chain:
    """What operations share of which each takes the output of the one before: memory that stays where it is.

    A device with shared addresses need not take an output out of the reach of devices before the next one reads it. It says with
    :meth:`keep` how the reach is ended; whoever runs the chain ends it. One thread uses it.
    """

    __slots__ = ("_closed", "_ends")

    def __init__(self) -> None:
        self._ends: list[Callable[[], None]] = []
        self._closed = False

    def keep(self, end: Callable[[], None]) -> None:
        """An output can still be reached, until ``end`` is called; at once, if nobody goes on with it."""
        if self._closed:
            end()
        else:
            self._ends.append(end)

    def release(self, count: int) -> None:
        """End the reach of the oldest ``count`` outputs: what was made of them is there."""
        ending, self._ends = self._ends[:count], self._ends[count:]
        for end in ending:
            end()

    def close(self) -> None:
        """Nothing goes on. Idempotent."""
        self._closed = True
        self.release(len(self))

    def __len__(self) -> int:
        return len(self._ends)

    def __repr__(self) -> str:
        return f"<Chain {len(self)} kept{', closed' if self._closed else ''}>"


class Operation:
    """The common part of all operations.

    :ivar source: the input: one segment, or a tuple of them
    :ivar paged: the input's pages come when they are touched; then ``source`` is empty. ``None``: it is plain memory
    :ivar resident: a page fault waits for it. It must not cause others: a device that takes page faults has all its memory
        brought in before it begins
    :ivar nbytes: length of the input in bytes
    :ivar immutable: nobody can change the input while the device reads it
    :ivar destination: where the caller wants the output; ``None``: the framework owns the output
    :ivar session: the stream this operation belongs to; of an operation with a key, what the device made of it
        (:meth:`wdasync.backend.Keyed.open_key`); ``None``: stateless
    :ivar algorithm: as the capability table names it
    :ivar dictionary: what both sides know before; ``None``: nothing
    :ivar level: how hard to try
    :ivar window: base-2 logarithm of the history in bytes; ``None``: what the device takes for
        that level
    :ivar chain: the chain of which it is a step: its output goes into another operation; ``None``: none
    :ivar key: of an operation with a key; ``None`` of all others
    """

    __slots__ = (
        "algorithm",
        "chain",
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
    key: Any = None  # a Key; what has one always says more of it

    source: Segment | tuple[Segment, ...]
    paged: PagedBuffer | None
    resident: bool
    chain: Chain | None
    nbytes: int
    immutable: bool
    destination: memoryview | None
    session: Session | DigestSession | KeySession | None
    algorithm: str
    dictionary: Dictionary | None
    level: Level
    window: int | None

    def _begin(self, data: object, algorithm: str, into: object = None) -> None:
        """All fields, of an operation that is no stream's."""
        self.paged = None
        self.resident = False
        self.chain = None
        self.session = None
        self.algorithm = algorithm
        self.dictionary = None
        self.level = "fast"
        self.window = None
        self.destination = None
        if type(data) is bytes:
            self.source = data
            self.nbytes = len(data)
            self.immutable = True
        else:
            self._take(data)
        if into is not None:
            self._take_destination(into)

    def _take(self, data: object) -> None:
        if isinstance(data, PagedBuffer):
            self.paged = data
            self.source, self.nbytes, self.immutable = b"", data.length, True
        else:
            self.source, self.nbytes, self.immutable = pin_source(data)

    @property
    def in_place(self) -> bool:
        """Its output goes over its input, so that a device that has begun may have spoilt that."""
        return self.destination is not None and overlap(self.source, self.destination)

    def _take_destination(self, into: object) -> None:
        """After the source. An error lives on with its traceback, and must not pin the source by that."""
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
