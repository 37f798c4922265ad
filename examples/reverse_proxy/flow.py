"""A body that is compressed in pieces, as the accelerator sees it: a stream on a device, which goes on on another if that one is lost.

Each piece is flushed. So where one ends, the deflate data can be cut, and what follows may come from another encoder;
:class:`wdasync.handover.Ledger` knows what that one must know, and keeps the check value at the end. Brotli and zstd have nothing of that kind.
"""

from __future__ import annotations

from collections.abc import Sequence

from wdasync import Flush, Kind, PolledDevice, WdasyncError
from wdasync.backend import Direction, Session, StreamSpec
from wdasync.handover import WRAPPERS, Ledger
from wdasync.operations import CompressChunk, Level

__all__ = ["Flow"]


class Flow:
    """One stream.

    :param movable: there is more than one device
    """

    def __init__(self, algorithm: str, level: Level, *, movable: bool) -> None:
        self._spec = StreamSpec(Direction.COMPRESS, algorithm, level)
        self._movable = movable and algorithm in WRAPPERS
        self._ledger: Ledger | None = None
        self._session: Session | None = None
        self._home: tuple[PolledDevice, int] | None = None
        self._content = b""
        self._flush = Flush.NONE

    def take(self, pieces: Sequence[bytes], flush: Flush) -> None:
        """The next step of it."""
        self._content, self._flush = b"".join(pieces), flush
        if self._ledger is not None:
            self._ledger.take(self._content, flush)

    def offer(self, polled: PolledDevice, *, moving: bool) -> CompressChunk | None:
        """The step, for this device; ``None``: it cannot go on there.

        :param moving: its own device is out of use, or has failed at this step
        """
        here = (polled, polled.resets)
        if self._session is None:
            self._begin(polled)
        elif moving:
            self._move(polled)
        if self._home != here or self._session is None:
            return None
        return CompressChunk(self._session, self._content, self._flush)

    def made(self, output: bytes) -> bytes:
        """The step is done; what the client gets of it."""
        if self._ledger is None:
            return output
        self._ledger.made(output)
        return self._ledger.deliver(self._flush)

    def close(self) -> None:
        """Give back what a device has of it. Nothing of it is under way."""
        if self._session is not None:
            self._session.close()
            self._session = self._home = None

    def _begin(self, polled: PolledDevice) -> None:
        row = polled.device.capabilities.find(Kind.COMPRESS_CHUNK, self._spec.algorithm)
        if row is None or not self._become(polled, self._spec):
            return
        if self._movable:
            self._ledger = Ledger(self._spec, row.window)
            self._ledger.take(self._content, self._flush)

    def _move(self, polled: PolledDevice) -> None:
        if self._ledger is not None and any(self._become(polled, spec) for spec in self._ledger.specs()):
            self._content = b"".join(self._ledger.again())
            self._ledger.moved()

    def _become(self, polled: PolledDevice, spec: StreamSpec) -> bool:
        if polled.device.capabilities.find(Kind.COMPRESS_CHUNK, spec.algorithm) is None:
            return False
        try:
            session = polled.device.open_session(spec)
        except WdasyncError:
            return False
        self.close()
        self._session, self._home = session, (polled, polled.resets)
        return True
