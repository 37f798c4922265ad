"""Digests, and message authentication codes, that are computed piece by piece."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, Self, cast

from .operations import DigestChunk
from .sessions import PinnedSession

if TYPE_CHECKING:
    from .backend import DigestSession
    from .buffers import Source

__all__ = ["Digester"]


class Digester:
    """A digest of what comes in pieces. Made by :class:`~wdasync.Accelerator`, not by users. One task at a time uses it.

    Every method raises :exc:`ClosedResourceError` if it is closed, :exc:`BusyResourceError` if another task uses it,
    :exc:`InvalidState` if it is finished or poisoned. A cancelled call poisons it until :meth:`reset`. If its device is lost it
    ends with :exc:`DeviceError`: its state was there.
    """

    def __init__(self, session: PinnedSession, secret: bytearray | None) -> None:
        self._session = session
        self._secret = secret

    def __repr__(self) -> str:
        return f"<Digester {self._session!r}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self!r} can be neither copied nor pickled: its state is on a device")

    def __del__(self) -> None:
        self._wipe()

    def _wipe(self) -> None:
        if self._secret is not None:
            self._secret[:] = bytes(len(self._secret))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    @property
    def algorithm(self) -> str:
        """As the capability tables name it."""
        return self._session.spec.algorithm

    @property
    def device(self) -> str:
        """Backend and device where it lives."""
        return self._session.place.name

    async def update(self, data: Source, *, timeout: float | None = None) -> None:
        """Take ``data``."""
        await self._step(data, final=False, timeout=timeout)

    async def finish(self, data: Source = b"", *, timeout: float | None = None) -> bytes:
        """The digest of everything, with ``data`` at its end if given."""
        output = await self._step(data, final=True, timeout=timeout)
        self._session.finished = True
        return output

    async def _step(self, data: Source, *, final: bool, timeout: float | None) -> bytes:
        with self._session.use(timeout):
            completion = await self._session.run(
                DigestChunk(cast("DigestSession", self._session.session), data, final)
            )
        return completion.output or b""

    async def reset(self) -> None:
        """Begin anew, as if just opened; also makes a poisoned one usable again."""
        await self._session.reset()

    async def aclose(self) -> None:
        """Give it back; its key is wiped, as it is when nobody holds it any more. Idempotent."""
        self._session.close()
        self._wipe()
