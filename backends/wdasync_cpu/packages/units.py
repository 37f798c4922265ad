"""Whole units: streams of one member, or of several. Errors are explained by the C side, which walks the data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from wdasync.backend import Detail
from wdasync.buffers import Segment, listed
from wdasync.errors import DataCause, Status
from wdasync.operations import Compress, Decompress, Flush

from .. import binding, codecs
from ..binding import Outcome
from ..codecs import Format
from ..guarded import held, put, whole
from ..plans import Plan
from .choice import complaint, decoder, encoder
from .contract import Stop, Stopped
from .deflate import compress_at_once
from .frames import FORMATS, FrameKind, explain_frame, frame_kind
from .lz4 import compress_block, decompress_block
from .outcomes import deliver, failed

__all__ = ["compress", "decompress"]

#: Bytes of input between two looks at whether to stop.
PIECE: Final = 1 << 18

#: Bytes of output of one step.
STEP: Final = 1 << 20


def compress(operation: Compress, plan: Plan, stop: Stop) -> Outcome:
    """One whole unit."""
    if codecs.ALGORITHMS[plan.algorithm].format is Format.LZ4_BLOCK:
        output = compress_block(operation, plan)
    elif plan.implementation == "deflate-package":
        output = compress_at_once(whole(operation.source), plan)
    else:
        stream, parts = encoder(plan, operation.dictionary, operation.nbytes), []
        for piece in _pieces(operation):
            if stop():
                raise Stopped
            parts.append(stream.step(piece, Flush.NONE))
        parts.append(stream.step(b"", Flush.FINISH))
        output = b"".join(parts)
    return deliver(output, operation.nbytes, operation.destination)


def _pieces(operation: Compress) -> Iterator[Segment]:
    position = 0
    for segment in listed(operation.source):
        view = memoryview(segment)
        for start in range(0, len(view), PIECE):
            yield held(view[start : start + PIECE], position + start)
        position += len(view)


def decompress(operation: Decompress, plan: Plan, stop: Stop) -> Outcome:
    """One whole unit, concatenated members included."""
    if codecs.ALGORITHMS[plan.algorithm].format is Format.LZ4_BLOCK:
        return decompress_block(operation)
    return _Unpacking(operation, plan, stop).run()


class _Unpacking:
    """A decompression of a whole unit: where it is, and what came out."""

    def __init__(self, operation: Decompress, plan: Plan, stop: Stop) -> None:
        self.operation = operation
        self.plan = plan
        self.stop = stop
        self.complaint = complaint(plan)
        self.data = memoryview(whole(operation.source))
        self.format = codecs.ALGORITHMS[plan.algorithm].format
        room = operation.max_length if operation.destination is None else len(operation.destination)
        self.limit = min(operation.max_length, room)
        self.dictionary = operation.dictionary
        self.parts: list[bytes] = []
        self.produced = 0

    def run(self) -> Outcome:
        end = self.frames() if self.format in FORMATS else self.members()
        if not isinstance(end, int):
            return end
        return deliver(b"".join(self.parts), end, self.operation.destination)

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
        put(b"".join(self.parts), operation.destination)
        return Status.OUT_OF_SPACE_RECOVERABLE, None, begin, self.produced, False, Detail(text)

    def explain(self, begin: int, position: int, error: Exception | None) -> Outcome:
        """What is wrong with the member that begins there."""
        if self.format is Format.BROTLI:
            return self.explain_brotli(begin, position, error)
        if self.format in FORMATS and error is None:
            return self.truncated(f"the frame that begins at byte {begin}")
        if self.format in FORMATS and error is not None:
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
