"""Codecs of Python packages, for where the C libraries are absent: objects with the steps of a stream.

Whole units are streams of one member. Input is fed in pieces, between which a thread notices that its queue is being
stopped. Errors are explained by the C side, which walks the data, so they read as those of the native codecs.
"""

from __future__ import annotations

import enum
import sys
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from typing import Any, Final, Protocol

from wdasync.backend import Detail
from wdasync.buffers import Segment, join
from wdasync.errors import DataCause, Status
from wdasync.operations import Compress, Decompress, Dictionary, Flush

from . import binding, codecs
from .binding import Outcome
from .codecs import Format
from .plans import Plan

__all__ = [
    "BadDictionary",
    "Decoder",
    "Encoder",
    "FrameKind",
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

#: Bytes of input between two looks at whether to stop.
PIECE: Final = 1 << 18

#: How a trained dictionary of Zstandard begins (RFC 8878, section 5).
TRAINED: Final = b"\x37\xa4\x30\xec"

#: Bytes of output of one step.
STEP: Final = 1 << 20

#: Says whether to give up.
Stop = Callable[[], bool]


class Stopped(Exception):
    """Raised inside a codec when its queue is being stopped."""


class BadDictionary(Exception):
    """Raised when a dictionary begins like a trained one of Zstandard, and is not valid."""


class Encoder(Protocol):
    """A compressing stream."""

    def step(self, data: Segment, flush: Flush) -> bytes: ...


class Decoder(Protocol):
    """A decompressing stream of one member.

    :ivar ended: the member's end was seen
    """

    @property
    def ended(self) -> bool: ...

    def step(self, data: Segment, limit: int) -> tuple[bytes, int]:
        """Decode: at most ``limit`` bytes of output, and how much of ``data`` was used.

        :raises Exception: the package's own, if the data is not valid
        """


# -- the deflate family ----------------------------------------------------------------------------------------------


class _DeflateEncoder:
    def __init__(self, module: Any, plan: Plan, dictionary: Dictionary | None) -> None:
        known = {} if dictionary is None else {"zdict": dictionary.content}
        self._state = module.compressobj(plan.level, zlib.DEFLATED, _window_bits(plan), **known)
        self._os = 9 if codecs.ALGORITHMS[plan.algorithm].format is Format.GZIP else -1

    def step(self, data: Segment, flush: Flush) -> bytes:
        output = self._state.compress(data)
        if flush is not Flush.NONE:
            output += self._state.flush(_FLUSHES[flush])
        return self._without_os(output) if self._os >= 0 else bytes(output)

    def _without_os(self, output: bytes) -> bytes:
        """The tenth byte of a gzip header names an operating system; 255 is "unknown", as the native codecs say."""
        if len(output) > self._os:
            output = output[: self._os] + b"\xff" + output[self._os + 1 :]
            self._os = -1
        else:
            self._os -= len(output)
        return output


class _DeflateDecoder:
    def __init__(self, module: Any, plan: Plan, dictionary: Dictionary | None) -> None:
        known = {} if dictionary is None else {"zdict": dictionary.content}
        self._state = module.decompressobj(_window_bits(plan), **known)

    @property
    def ended(self) -> bool:
        return bool(self._state.eof)

    def step(self, data: Segment, limit: int) -> tuple[bytes, int]:
        output = self._state.decompress(data, limit)
        left = self._state.unused_data if self._state.eof else self._state.unconsumed_tail
        return output, len(data) - len(left)


_FLUSHES: Final = {Flush.SYNC: zlib.Z_SYNC_FLUSH, Flush.FULL: zlib.Z_FULL_FLUSH, Flush.FINISH: zlib.Z_FINISH}


def _window_bits(plan: Plan) -> int:
    """The window as zlib wants it: its sign and what is added say which wrapper."""
    match codecs.ALGORITHMS[plan.algorithm].format:
        case Format.GZIP:
            return plan.window + 16
        case Format.ZLIB:
            return plan.window
        case _:
            return -plan.window


# -- Brotli ----------------------------------------------------------------------------------------------------------


class _BrotliEncoder:
    def __init__(self, module: Any, plan: Plan) -> None:
        self._state = module.Compressor(quality=plan.level, lgwin=plan.window)

    def step(self, data: Segment, flush: Flush) -> bytes:
        output = self._state.process(data) if len(data) else b""
        if flush is Flush.FINISH:
            return bytes(output + self._state.finish())
        return bytes(output + self._state.flush()) if flush is not Flush.NONE else bytes(output)


class _BrotliDecoder:
    """The package takes all of its input, and may give back only a part of the output: it is asked until there is none.

    Where its input goes on after the end, it fails as for data that is not valid.
    """

    def __init__(self, module: Any, plan: Plan) -> None:
        self._state = module.Decompressor()
        self._kept = b""

    @property
    def ended(self) -> bool:
        return bool(self._state.is_finished()) and not self._kept

    def step(self, data: Segment, limit: int) -> tuple[bytes, int]:
        used = 0
        if len(self._kept) < limit and self._state.can_accept_more_data() and not self._state.is_finished():
            self._kept += self._state.process(data, output_buffer_limit=limit)
            used = len(data)
        while len(self._kept) < limit and not self._state.is_finished():
            more = self._state.process(b"", output_buffer_limit=limit)
            self._kept += more
            if not more and self._state.can_accept_more_data():
                break
        output, self._kept = self._kept[:limit], self._kept[limit:]
        return output, used


# -- frames: Zstandard and LZ4 -------------------------------------------------------------------------------------------


class _ZstdEncoder:
    """A full flush ends the frame, as that of the native codec does; no empty frame follows the last one."""

    def __init__(self, module: Any, plan: Plan, size: int | None, dictionary: Dictionary | None) -> None:
        parameter = module.CompressionParameter
        options = {parameter.compression_level: plan.level, parameter.checksum_flag: 1}
        if plan.window:
            options[parameter.window_log] = plan.window
        self._state = module.ZstdCompressor(options=options, zstd_dict=_zstd_dictionary(module, dictionary))
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


def _zstd_dictionary(module: Any, dictionary: Dictionary | None) -> Any:
    """As the package wants it; the library overlooks one of less than 8 bytes, and the package refuses it.

    :raises BadDictionary: if it is not valid
    """
    if dictionary is None or len(dictionary.content) < 8:
        return None
    trained = dictionary.content.startswith(TRAINED) and not dictionary.raw
    if dictionary.raw and dictionary.content.startswith(TRAINED):
        return module.ZstdDict(
            dictionary.content, is_raw=True
        ).as_prefix  # else it is taken for a trained one
    try:
        known = module.ZstdDict(dictionary.content, is_raw=not trained)
        module.ZstdDecompressor(known)  # which looks into it
    except module.ZstdError as error:
        raise BadDictionary(str(error)) from None
    return known


class _Lz4Encoder:
    """The package can flush only by writing at once whatever comes: then there is nothing to flush."""

    def __init__(self, module: Any, plan: Plan, size: int | None) -> None:
        self._module = module
        self._size = size
        self._level = plan.level
        self._state: Any = None
        self._ended = False

    def step(self, data: Segment, flush: Flush) -> bytes:
        if self._ended and not len(data):
            return b""
        output = b""
        if self._state is None:
            self._state = self._module.LZ4FrameCompressor(
                compression_level=self._level, content_checksum=True, auto_flush=self._size is None
            )
            output = self._state.begin(self._size or 0)
        self._ended = flush is Flush.FULL
        output += self._state.compress(data)
        if flush in (Flush.FULL, Flush.FINISH):
            output += self._state.flush()
            self._state = None
        return bytes(output)


class _FrameDecoder:
    """The packages keep input that they cannot use yet, and do not say how much. So they are given little at a time, and all
    that it becomes is taken.

    :param little: bytes of input at a time
    :param room: bytes of output that this may become; -1: the package finds out. The one for LZ4 does not, and holds back
        what has no room at first
    """

    def __init__(self, state: Any, little: int, room: int) -> None:
        self._state = state
        self._little = little
        self._room = room
        self._kept = bytearray()

    @property
    def ended(self) -> bool:
        return bool(self._state.eof) and not self._kept

    def step(self, data: Segment, limit: int) -> tuple[bytes, int]:
        view, used = memoryview(data), 0
        while len(self._kept) < limit and used < len(view) and not self._state.eof:
            piece = view[used : used + self._little]
            self._kept += self._state.decompress(piece, self._room)
            used += len(piece) - len(self._state.unused_data or b"")
        output = bytes(self._kept[:limit])
        del self._kept[:limit]
        return output, used


def _most_window(plan: Plan) -> int:
    """Bits of the largest history that a frame of Zstandard may claim."""
    return plan.window or codecs.ALGORITHMS["zstd"].windows[1]


def _frame_decoder(plan: Plan, module: Any, dictionary: Dictionary | None) -> _FrameDecoder:
    if plan.implementation == "lz4-package":
        # A block of 4 MiB may be held back, and a byte becomes 255.
        return _FrameDecoder(module.LZ4FrameDecompressor(), 1 << 14, 9 << 20)
    most = {module.DecompressionParameter.window_log_max: _most_window(plan)}
    # A block of 4 bytes becomes 128 KiB.
    known = _zstd_dictionary(module, dictionary)
    return _FrameDecoder(module.ZstdDecompressor(zstd_dict=known, options=most), 1 << 8, -1)


#: Words in the packages' messages -> what is wrong.
_FRAME_CAUSES: Final = {
    "unknown frame descriptor": DataCause.WRONG_FORMAT,
    "version not supported": DataCause.WRONG_FORMAT,
    "frametype_unknown": DataCause.WRONG_FORMAT,
    "checksum": DataCause.CHECKSUM,
    "dictionary mismatch": DataCause.DICTIONARY,
}


def explain_frame(error: Exception, plan: Plan, *, later: bool) -> Outcome:
    """What is wrong with a frame, by the package's words.

    :param later: another frame has ended before
    """
    text = str(error)
    if "too much memory" in text:
        most = f"window: expected a frame with a history of at most 2**{_most_window(plan)} bytes, got one that wants more"
        return failed(Status.INVALID_ARGS, most)
    cause = next(
        (cause for words, cause in _FRAME_CAUSES.items() if words in text.lower()), DataCause.CORRUPT
    )
    if cause is DataCause.WRONG_FORMAT and later:
        cause = DataCause.TRAILING_DATA
    status = Status.CHECKSUM_FAILED if cause is DataCause.CHECKSUM else Status.DATA_ERROR
    return failed(status, text, cause)


class FrameKind(enum.Enum):
    """What begins where a frame may begin. MAYBE: there are too few bytes to tell."""

    NONE = enum.auto()
    MAYBE = enum.auto()
    DATA = enum.auto()
    SKIPPABLE = enum.auto()


_MAGIC: Final = {Format.ZSTD: b"\x28\xb5\x2f\xfd", Format.LZ4: b"\x04\x22\x4d\x18"}
_SKIPPABLE: Final = b"\x2a\x4d\x18"


def frame_kind(kind: Format, data: bytes | memoryview) -> FrameKind:
    """What begins with ``data``, of which four bytes tell."""
    begin = bytes(data[:4])
    full = FrameKind.MAYBE if len(begin) < 4 else None
    if _MAGIC[kind].startswith(begin):
        return full or FrameKind.DATA
    if begin[0] & 0xF0 == 0x50 and _SKIPPABLE.startswith(begin[1:]):
        return full or FrameKind.SKIPPABLE
    return FrameKind.NONE


# -- which package ---------------------------------------------------------------------------------------------------

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
            return _BrotliEncoder(module, plan)
        case "zstd-package":
            return _ZstdEncoder(module, plan, size, dictionary)
        case "lz4-package":
            return _Lz4Encoder(module, plan, size)
        case _:
            return _DeflateEncoder(module, plan, dictionary)


def decoder(plan: Plan, dictionary: Dictionary | None) -> Decoder:
    """A decompressing stream."""
    module = import_module(_MODULES[plan.implementation])
    match plan.implementation:
        case "brotli-package":
            return _BrotliDecoder(module, plan)
        case "zstd-package" | "lz4-package":
            return _frame_decoder(plan, module, dictionary)
        case _:
            return _DeflateDecoder(module, plan, dictionary)


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


# -- whole units -----------------------------------------------------------------------------------------------------


def failed(status: Status, message: str, cause: DataCause | None = None) -> Outcome:
    """What came of an operation that failed."""
    return status, None, 0, 0, False, Detail(message, cause=cause)


def _pieces(operation: Compress) -> Iterator[memoryview]:
    source = operation.source
    for segment in source if type(source) is tuple else (source,):
        view = memoryview(segment)  # type: ignore[arg-type]  # not a tuple, so a Segment
        for start in range(0, len(view), PIECE):
            yield view[start : start + PIECE]


_AT_ONCE: Final = {
    Format.GZIP: "gzip_compress",
    Format.ZLIB: "zlib_compress",
    Format.DEFLATE: "deflate_compress",
}


def compress(operation: Compress, plan: Plan, stop: Stop) -> Outcome:
    """One whole unit."""
    if codecs.ALGORITHMS[plan.algorithm].format is Format.LZ4_BLOCK:
        output = _compress_block(operation, plan)
    elif plan.implementation == "deflate-package":
        function = getattr(import_module("deflate"), _AT_ONCE[codecs.ALGORITHMS[plan.algorithm].format])
        output = bytes(function(join(operation.source), plan.level))
    else:
        stream, parts = encoder(plan, operation.dictionary, operation.nbytes), []
        for piece in _pieces(operation):
            if stop():
                raise Stopped
            parts.append(stream.step(piece, Flush.NONE))
        parts.append(stream.step(b"", Flush.FINISH))
        output = b"".join(parts)
    return _deliver(output, operation.nbytes, operation.destination)


def _compress_block(operation: Compress, plan: Plan) -> bytes:
    mode: dict[str, Any] = {"mode": "default"}
    if plan.level >= 3:
        mode = {"mode": "high_compression", "compression": plan.level}
    if operation.dictionary is not None:
        mode["dict"] = operation.dictionary.content
    return bytes(import_module("lz4.block").compress(join(operation.source), store_size=False, **mode))


def _decompress_block(operation: Decompress) -> Outcome:
    """The C side says how long the content is; the package cannot."""
    data = join(operation.source)
    known = b"" if operation.dictionary is None else operation.dictionary.content
    length = binding.measure(data, len(known))
    if not isinstance(length, int):
        status, cause, message = length
        return failed(Status(status), message, binding.CAUSES[cause])
    if operation.destination is not None and length > len(operation.destination):
        text = f"the output of {length} bytes does not fit into {len(operation.destination)} bytes"
        return failed(Status.OUT_OF_SPACE_TERMINATED, text)
    if length > operation.max_length:
        text = f"the output of {length} bytes passes max_length of {operation.max_length} bytes"
        return failed(Status.OUT_OF_SPACE_TERMINATED, text)
    module = import_module("lz4.block")
    try:
        output = module.decompress(data, uncompressed_size=length, dict=known or None)
    except module.LZ4BlockError:
        return failed(Status.DATA_ERROR, "the LZ4 block is not valid", DataCause.CORRUPT)
    return _deliver(bytes(output), len(data), operation.destination)


def _deliver(output: bytes, consumed: int, destination: memoryview | None) -> Outcome:
    size = len(output)
    if destination is None:
        return Status.SUCCESS, output, consumed, size, False, None
    if size > len(destination):
        return failed(
            Status.OUT_OF_SPACE_TERMINATED, f"the output does not fit into {len(destination)} bytes"
        )
    destination[:size] = output
    return Status.SUCCESS, None, consumed, size, False, None


class _Unpacking:
    """A decompression of a whole unit: where it is, and what came out."""

    def __init__(self, operation: Decompress, plan: Plan, stop: Stop) -> None:
        self.operation = operation
        self.plan = plan
        self.stop = stop
        self.complaint = complaint(plan)
        self.data = memoryview(join(operation.source))
        self.format = codecs.ALGORITHMS[plan.algorithm].format
        room = operation.max_length if operation.destination is None else len(operation.destination)
        self.limit = min(operation.max_length, room)
        self.dictionary = operation.dictionary
        self.parts: list[bytes] = []
        self.produced = 0

    def run(self) -> Outcome:
        end = self.frames() if self.format in _MAGIC else self.members()
        if not isinstance(end, int):
            return end
        return _deliver(b"".join(self.parts), end, self.operation.destination)

    def members(self) -> int | Outcome:
        """All members; where the last one ends."""
        position = members = 0
        while True:
            end = self.member(position)
            if not isinstance(end, int):
                return end
            members += 1
            position = self.skip_zeros(end) if self.format is Format.GZIP else end
            if position == len(self.data):
                return position
            if self.format is not Format.GZIP or not b"\x1f\x8b".startswith(
                self.data[position : position + 2]
            ):
                return self.trailing(position)
            if members >= self.operation.max_members:
                return self.too_many("members")

    def frames(self) -> int | Outcome:
        """All frames, of which those with content count; where the last one ends."""
        position = frames = 0
        end: int | Outcome = 0
        while position < len(self.data) or not position:
            kind = frame_kind(self.format, self.data[position:]) if len(self.data) else FrameKind.MAYBE
            if kind is FrameKind.NONE and position:
                return self.trailing(position)
            if kind is FrameKind.SKIPPABLE:
                length = int.from_bytes(self.data[position + 4 : position + 8], "little")
                end = position + 8 + length
                if end > len(self.data):
                    return self.truncated(f"the skippable frame that begins at byte {position}")
            elif kind is FrameKind.DATA and frames >= self.operation.max_members:
                return self.too_many("frames")
            elif not isinstance(end := self.member(position), int):
                return end
            else:
                frames += 1
            position = end
        return position

    def too_many(self, what: str) -> Outcome:
        text = f"there are more than max_members of {self.operation.max_members} {what}"
        return failed(Status.OUT_OF_SPACE_TERMINATED, text)

    def truncated(self, where: str) -> Outcome:
        return failed(Status.DATA_ERROR, f"the input ends inside {where}", DataCause.TRUNCATED)

    def trailing(self, position: int) -> Outcome:
        text = f"{len(self.data) - position} bytes follow the end, which is at byte {position}"
        return failed(Status.DATA_ERROR, text, DataCause.TRAILING_DATA)

    def skip_zeros(self, position: int) -> int:
        while position < len(self.data) and not self.data[position]:
            position += 1
        return position

    def member(self, begin: int) -> int | Outcome:
        """One member; where it ends."""
        if self.format in codecs.DEFLATES and (found := self.ask(begin, only_header=True)):
            return found  # ISA-L would overlook reserved flags.
        stream, position, before = decoder(self.plan, self.dictionary), begin, len(self.parts)
        produced = self.produced
        while not stream.ended:
            if self.stop():
                raise Stopped
            piece = self.data[position : position + PIECE]
            try:
                output, used = stream.step(piece, min(self.limit - self.produced + 1, STEP))
            except self.complaint as error:
                return self.explain(begin, position, error)
            position += used
            self.parts.append(output)
            self.produced += len(output)
            if self.produced > self.limit:
                del self.parts[before:]
                self.produced = produced
                return self.full(begin)
            if not used and not output and not stream.ended:
                return self.explain(begin, position, None)
        return position

    def full(self, begin: int) -> Outcome:
        operation = self.operation
        if operation.destination is None or operation.max_length < len(operation.destination):
            text = f"the output passes max_length of {operation.max_length} bytes"
            return failed(Status.OUT_OF_SPACE_TERMINATED, text)
        text = f"the output does not fit into {self.limit} bytes; {self.produced} bytes of it do, from the first {begin} bytes of input"
        if not begin:
            return failed(Status.OUT_OF_SPACE_TERMINATED, text)
        operation.destination[: self.produced] = b"".join(self.parts)
        return Status.OUT_OF_SPACE_RECOVERABLE, None, begin, self.produced, False, Detail(text)

    def explain(self, begin: int, position: int, error: Exception | None) -> Outcome:
        """What is wrong with the member that begins there."""
        if self.format is Format.BROTLI:
            return self.explain_brotli(begin, position, error)
        if self.format in _MAGIC and error is None:
            return self.truncated(f"the frame that begins at byte {begin}")
        if self.format in _MAGIC and error is not None:
            return explain_frame(error, self.plan, later=begin > 0)
        if found := self.ask(begin, only_header=False):
            return found
        if error is None:
            return failed(Status.DATA_ERROR, "the input ends inside the check value", DataCause.TRUNCATED)
        return failed(Status.CHECKSUM_FAILED, f"the check value is another: {error}", DataCause.CHECKSUM)

    def ask(self, begin: int, *, only_header: bool) -> Outcome | None:
        """What the C side finds wrong with the member that begins there."""
        known = None if self.dictionary is None else self.dictionary.content
        found = binding.explain(self.format, self.data[begin:], begin, only_header, known)
        if found is None:
            return None
        status, cause, message = found
        return failed(Status(status), message, binding.CAUSES[cause])

    def explain_brotli(self, begin: int, position: int, error: Exception | None) -> Outcome:
        """The package fails the same for bad data and for data after the end: take the last piece byte by byte."""
        if error is None:
            text = "the input ends before the Brotli stream does"
            return failed(Status.DATA_ERROR, text, DataCause.TRUNCATED)
        stream, made = decoder(self.plan, None), 1
        for start in range(begin, position, PIECE):
            stream.step(self.data[start : min(start + PIECE, position)], self.limit + 1)
        try:
            while not stream.ended and made <= self.limit + 1:
                output, used = stream.step(self.data[position : position + 1], self.limit + 1)
                made += len(output)
                position += used
        except self.complaint:
            return failed(Status.DATA_ERROR, f"the Brotli data is not valid: {error}", DataCause.CORRUPT)
        return self.trailing(position)


def decompress(operation: Decompress, plan: Plan, stop: Stop) -> Outcome:
    """One whole unit, concatenated members included."""
    if codecs.ALGORITHMS[plan.algorithm].format is Format.LZ4_BLOCK:
        return _decompress_block(operation)
    return _Unpacking(operation, plan, stop).run()
