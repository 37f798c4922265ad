"""A module shaped like :mod:`zlib`, for those who compress through one.

Deflate data can be cut where a block ends on a byte (RFC 1951 section 3.2.4), and what follows may come from another encoder that
refers to nothing before it. So each large piece of a stream that comes in a thread goes through the accelerator, flush included, and all
the rest through zlib: an event loop's thread never waits for a device, not even at the end of the stream.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, Self

from anyio import NoEventLoopError
from anyio.from_thread import BlockingPortal, start_blocking_portal
from anyio.lowlevel import current_token

from ...errors import ClosedResourceError, WdasyncError
from ...handover import WRAPPERS
from ...lifecycle import open_accelerator

if TYPE_CHECKING:
    from ...accelerator import Accelerator
    from ...streams import Compressor

__all__ = ["AcceleratedZlib"]

#: Bytes of a piece up to which zlib is quicker than the way to a device and back. aiohttp gives larger ones to a thread.
SMALL: Final = 4096


class Format(NamedTuple):
    """What zlib's ``wbits`` asks for.

    :ivar extra: what is added to the window's base-2 logarithm
    :ivar sign: -1 for raw deflate
    :ivar header: bytes before the deflate data
    """

    extra: int
    sign: int
    header: int


#: Our name -> how zlib asks for it.
_FORMATS: Final = {"deflate": Format(0, -1, 0), "zlib": Format(0, 1, 2), "gzip": Format(16, 1, 10)}

#: The windows that there are.
_WINDOWS: Final = range(9, zlib.MAX_WBITS + 1)


class _Compressing(Protocol):
    """What :func:`zlib.compressobj` gives."""

    def compress(self, data: Any, /) -> bytes: ...

    def flush(self, mode: int = ..., /) -> bytes: ...


class AcceleratedZlib:
    """Shaped like the module :mod:`zlib`, and compresses on an accelerator: ``aiohttp.set_zlib_backend(AcceleratedZlib())``.

    aiohttp compresses pieces of more than 4 KiB in a thread of its own. There, such an object gives the work to an accelerator, which
    lives in an event loop and thread of its own, and waits. What is asked for in an event loop's thread, small pieces, and all
    decompression stay zlib's; so does a piece that the accelerator fails at.

    It lasts until :meth:`close`, or is a context manager; what is compressed afterwards is zlib's work, also in streams that began
    before. Make it after the process was forked: its thread is not in the child.

    :param settings: as of :func:`wdasync.open_accelerator`
    """

    __name__ = "wdasync"

    def __init__(self, **settings: Any) -> None:
        self._settings = settings
        self._stack = ExitStack()
        self._portal: BlockingPortal | None = None
        self._accelerator: Accelerator | None = None
        #: Streams of which a piece went through the accelerator.
        self.accelerated = 0
        self._open()

    def _open(self) -> None:
        with ExitStack() as stack:
            portal = stack.enter_context(start_blocking_portal())
            opening = open_accelerator(**self._settings)
            self._accelerator = stack.enter_context(portal.wrap_async_context_manager(opening))
            self._portal = portal
            self._stack = stack.pop_all()

    def __getattr__(self, name: str) -> Any:
        """Everything that is not here is zlib's: constants, checksums, decompression."""
        return getattr(zlib, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the accelerator, its loop and its thread. Idempotent."""
        self._accelerator = None
        self._stack.close()

    def compressobj(
        self,
        level: int = -1,
        method: int = zlib.DEFLATED,
        wbits: int = zlib.MAX_WBITS,
        memLevel: int = zlib.DEF_MEM_LEVEL,  # noqa: N803  zlib's name
        strategy: int = zlib.Z_DEFAULT_STRATEGY,
        zdict: Any = None,
    ) -> _Compressing:
        """As :func:`zlib.compressobj`."""
        found = [
            (name, kind, bits)
            for name, kind in _FORMATS.items()
            if (bits := wbits * kind.sign - kind.extra) in _WINDOWS
        ]
        if not found or zdict is not None or strategy or not -1 <= level <= 9:
            known = () if zdict is None else (zdict,)
            return zlib.compressobj(level, method, wbits, memLevel, strategy, *known)
        algorithm, kind, bits = found[0]
        header = (
            zlib.compressobj(level, method, wbits, memLevel).flush()[: kind.header] if kind.header else b""
        )
        return _Stream(
            self, algorithm, header, level, bits, lambda: zlib.compressobj(level, method, -bits, memLevel)
        )

    def compress(self, data: Any, /, level: int = -1, wbits: int = zlib.MAX_WBITS) -> bytes:
        """As :func:`zlib.compress`."""
        stream = self.compressobj(level, wbits=wbits)
        return stream.compress(data) + stream.flush()

    # -- for its streams ------------------------------------------------------------------------------------------

    def _run(self, step: Callable[[Accelerator], Any]) -> Any:
        """Await a coroutine function in the accelerator's event loop, and wait; ``None``: it is closed, or has failed."""
        accelerator, portal = self._accelerator, self._portal
        if accelerator is None or portal is None:
            return None
        try:
            return portal.call(step, accelerator)
        except (WdasyncError, ClosedResourceError, RuntimeError):  # of the portal: it is being closed
            return None

    def _give_back(self, stream: Compressor) -> None:
        """Close a stream of the accelerator's. Nobody waits for it."""
        if self._portal is not None:
            with suppress(RuntimeError):  # the accelerator is closed, and its streams with it
                self._portal.start_task_soon(stream.aclose)


class _Stream:
    """What :meth:`AcceleratedZlib.compressobj` gives.

    :param header: of the format
    :param make: a compressor of raw deflate by zlib, which refers to nothing before it
    """

    def __init__(
        self,
        owner: AcceleratedZlib,
        algorithm: str,
        header: bytes,
        level: int,
        window: int,
        make: Callable[[], _Compressing],
    ) -> None:
        self._owner = owner
        self._wrapper = WRAPPERS[algorithm]
        self._header = header
        self._level = None if level < 0 else level
        self._window = window if window < zlib.MAX_WBITS else None
        self._make = make
        self._check = self._wrapper.initial
        self._length = 0
        self._ended = False
        self._counted = False
        # At most one of these has the history of what comes next.
        self._plain: _Compressing | None = None
        self._stream: Compressor | None = None

    def compress(self, data: Any, /) -> bytes:
        """Take data; what output there is so far."""
        size = memoryview(data).nbytes
        made = self._through(data) if size > SMALL and not self._ended and not _in_event_loop() else None
        output = self._by_zlib().compress(data) if made is None else made
        self._check = self._wrapper.update(data, self._check)
        self._length += size
        return self._begun(output)

    def flush(self, mode: int = zlib.Z_FINISH, /) -> bytes:
        """As zlib's: everything taken so far becomes readable, or the stream ends. Nothing is left on a device."""
        if mode == zlib.Z_FINISH:
            output = self._by_zlib().flush()
            self._ended = True
            return self._begun(output + self._wrapper.trailer(self._check, self._length))
        if mode == zlib.Z_FULL_FLUSH:
            self._drop()
        return b"" if self._plain is None else self._begun(self._plain.flush(mode))

    def _through(self, data: Any) -> bytes | None:
        """A piece through the accelerator, while this thread waits; ``None``: it did not go."""
        output: bytes | None = self._owner._run(lambda accelerator: self._step(accelerator, data))
        if output is None:
            self._drop()
            return None
        self._owner.accelerated += not self._counted
        self._counted = True
        before, self._plain = self._plain, None
        return output if before is None else before.flush(zlib.Z_SYNC_FLUSH) + output

    async def _step(self, accelerator: Accelerator, data: Any) -> bytes:
        """In the accelerator's event loop."""
        if self._stream is None:
            self._stream = accelerator.compressor("deflate", level=self._level, window=self._window)
        return await self._stream.flush(data=data)

    def _by_zlib(self) -> _Compressing:
        if self._plain is None:
            self._drop()
            self._plain = self._make()
        return self._plain

    def _begun(self, output: bytes) -> bytes:
        """With the header, before the first of it."""
        if not output or not self._header:
            return output
        header, self._header = self._header, b""
        return header + output

    def _drop(self) -> None:
        """Give the accelerator's stream back."""
        stream, self._stream = self._stream, None
        if stream is not None:
            self._owner._give_back(stream)

    def __del__(self) -> None:
        """An unfinished stream is given back: aiohttp drops it when a client leaves."""
        self._drop()


def _in_event_loop() -> bool:
    """Whether this thread runs an event loop, which must not wait."""
    try:
        current_token()
    except NoEventLoopError:
        return False
    return True
