"""Streams of the CPU backend. Their state lies on the C side, or in an object of a Python package."""

from __future__ import annotations

from wdasync.backend import StreamSpec
from wdasync.errors import DataCause, Status
from wdasync.operations import CompressChunk, DecompressChunk, Flush, Operation

from . import binding, codecs, packages
from .binding import Outcome
from .codecs import Format
from .guarded import whole
from .packages import Decoder, Encoder, FrameKind, Stop, Stopped
from .plans import Plan

__all__ = ["CpuSession"]


class CpuSession:
    """A stream.

    :ivar spec: what was asked for
    :ivar state: the C side's handle
    """

    def __init__(self, spec: StreamSpec, state: object, plan: Plan) -> None:
        self.spec = spec
        self.state = state
        self._plan = plan
        self._forget()

    def __repr__(self) -> str:
        return (
            f"<CpuSession {self.spec.direction.value} {self.spec.algorithm} by {self._plan.implementation}>"
        )

    def _forget(self) -> None:
        self._encoder: Encoder | None = None
        self._decoder: Decoder | None = None
        self._over = ""  # why there are no more steps
        self._later = False  # the first member has ended

    def reset(self) -> None:
        binding.reset_session(self.state)
        self._forget()

    def close(self) -> None:
        binding.close_session(self.state)
        self._forget()

    # -- steps of Python codecs, in a thread ---------------------------------------------------------------------

    def step(self, operation: Operation, stop: Stop) -> Outcome:
        """One step.

        :raises Exception: what the codec raises
        """
        if self._over:
            return packages.failed(Status.INVALID_STATE, self._over)
        self._over = "the stream has failed"
        if isinstance(operation, CompressChunk):
            outcome = self._compress(operation, stop)
        elif isinstance(operation, DecompressChunk):
            outcome = self._decompress(operation)
        else:
            return packages.failed(Status.INVALID_ARGS, "not a step of a stream")
        return outcome

    def _compress(self, operation: CompressChunk, stop: Stop) -> Outcome:
        if self._encoder is None:
            self._encoder = packages.encoder(self._plan, self.spec.dictionary)
        if stop():
            raise Stopped
        output = self._encoder.step(whole(operation.source), operation.flush)
        ended = operation.flush is Flush.FINISH
        self._over = "the stream has ended" if ended else ""
        return Status.SUCCESS, output, operation.nbytes, len(output), ended, None

    def _decompress(self, operation: DecompressChunk) -> Outcome:
        data = whole(operation.source)
        if self._decoder is not None and self._decoder.ended:
            self._later = True
            if not self._next_member(data):
                self._over = ""
                return Status.SUCCESS, b"", 0, 0, True, None
        if self._decoder is None:
            self._decoder = packages.decoder(self._plan, self.spec.dictionary)
        try:
            output, used = self._decoder.step(data, operation.max_length)
        except packages.complaint(self._plan) as error:
            if codecs.ALGORITHMS[self._plan.algorithm].format in (Format.ZSTD, Format.LZ4):
                return packages.explain_frame(error, self._plan, later=self._later)
            return _explain(error, later=self._later)
        self._over = ""
        return Status.SUCCESS, output, used, len(output), self._decoder.ended, None

    def _next_member(self, data: bytes | memoryview) -> bool:
        """Begin the next gzip member or frame, if ``data`` is the beginning of one."""
        kind = codecs.ALGORITHMS[self._plan.algorithm].format
        if kind not in (Format.GZIP, Format.ZSTD, Format.LZ4) or not data:
            return False
        if kind is Format.GZIP and not b"\x1f\x8b".startswith(bytes(data[:2])):
            return False
        if kind is not Format.GZIP and packages.frame_kind(kind, data) is FrameKind.NONE:
            return False
        self._decoder = packages.decoder(self._plan, self.spec.dictionary)
        return True


#: Words in the packages' messages -> what is wrong.
_CAUSES = {
    "incorrect header check": DataCause.WRONG_FORMAT,
    "unknown compression method": DataCause.WRONG_FORMAT,
    "invalid window size": DataCause.WRONG_FORMAT,
    "unknown header flags": DataCause.WRONG_FORMAT,
    "wrapper": DataCause.WRONG_FORMAT,
    "method": DataCause.WRONG_FORMAT,
    "incorrect data check": DataCause.CHECKSUM,
    "incorrect length check": DataCause.CHECKSUM,
    "header crc": DataCause.CHECKSUM,
    "checksum": DataCause.CHECKSUM,
    "zdict": DataCause.DICTIONARY,
    "error 2 while": DataCause.DICTIONARY,  # Z_NEED_DICT
}


def _explain(error: Exception, *, later: bool) -> Outcome:
    text = str(error)
    cause = next((cause for words, cause in _CAUSES.items() if words in text.lower()), DataCause.CORRUPT)
    if cause is DataCause.WRONG_FORMAT and later:
        cause = DataCause.TRAILING_DATA
    status = Status.CHECKSUM_FAILED if cause is DataCause.CHECKSUM else Status.DATA_ERROR
    return packages.failed(status, text, cause)
