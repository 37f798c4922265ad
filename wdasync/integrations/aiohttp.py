"""For aiohttp: compressed responses of a server, compressed bodies of a client, and the zlib that aiohttp itself uses.

:func:`compression` is a middleware for ``aiohttp.web`` that follows the same tables as the ASGI middleware. :func:`encoded`,
:func:`decoded` and :func:`read` are for clients. :class:`AcceleratedZlib` goes where none of them reaches:
``aiohttp.set_zlib_backend`` makes aiohttp's own compression, of streamed responses and WebSockets, run on an accelerator.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, ExitStack, aclosing, suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from aiohttp import ClientResponse, web
from anyio import NoEventLoopError
from anyio.from_thread import BlockingPortal, start_blocking_portal
from anyio.lowlevel import current_token

from ..errors import ClosedResourceError, LimitExceeded, WdasyncError
from ..lifecycle import default_accelerator, open_accelerator
from ..operations import DEFAULT_MAX_LENGTH, Kind, Level, check_bound
from . import media
from .asgi import headers as fields
from .asgi.encoder import Encoder
from .asgi.options import Options
from .codings import ALGORITHMS, PREFERENCE, WINDOWS, check_codings, check_layers, layers, offers
from .decisions import Exchange, decide
from .negotiation import choose, parse_accept_encoding

if TYPE_CHECKING:
    from ..accelerator import Accelerator
    from ..buffers import Source
    from ..streams import Compressor

__all__ = ["AcceleratedZlib", "compression", "decoded", "encoded", "read"]

Handler = Callable[[web.Request], Any]


# -- a server -----------------------------------------------------------------------------------------------------


def compression(
    accelerator: Accelerator | None = None,
    *,
    codings: Iterable[str] = PREFERENCE,
    level: Level | Mapping[str, Level] | None = None,
    minimum_size: int = 500,
    compressible: Callable[[str], bool] = media.compressible,
    timeout: float | None = None,
) -> Any:
    """A middleware for ``web.Application(middlewares=[…])`` that compresses whole bodies on an accelerator.

    It decides by :data:`wdasync.integrations.decisions.ROWS`. Streamed responses, files, and what the handler has given to
    ``enable_compression`` are aiohttp's to send: see :class:`AcceleratedZlib` for those.

    :param accelerator: ``None``: the default one of the event loop
    :param codings: ``gzip``, ``zstd``, ``br``, ``deflate``: what may be used, best first
    :param level: for all codings, or a mapping of codings to levels; ``None``: the accelerator's
    :param minimum_size: bytes of a body below which it is left alone
    :param compressible: says of the value of ``Content-Type`` whether such bodies get smaller
    :param timeout: seconds that one operation may take
    :raises InvalidArgument: if one of them cannot be right
    """
    options = Options(
        codings=codings, level=level, minimum_size=minimum_size, compressible=compressible, timeout=timeout
    )

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        response: web.StreamResponse = await handler(request)
        if isinstance(response, web.Response) and _is_whole(response):
            await _compress(accelerator or await default_accelerator(), request, response, options)
        return response

    return middleware


def _is_whole(response: web.Response) -> bool:
    """Whether its body is here, and nobody has begun to send it."""
    return isinstance(response.body, bytes) and not (
        response.prepared or response.compression or response.chunked
    )


async def _compress(
    accelerator: Accelerator, request: web.Request, response: web.Response, options: Options
) -> None:
    body = response.body
    assert isinstance(body, bytes)
    accepted = parse_accept_encoding(request.headers.getall("Accept-Encoding", []))
    able = offers(accelerator, Kind.COMPRESS)
    chosen = choose(accepted, [name for name in options.codings if name in able])
    lines = [(name.encode("latin-1"), text.encode("utf-8")) for name, text in response.headers.items()]
    exchange = Exchange(
        request.method,
        response.status,
        fields.folded(lines),
        len(body),
        chosen,
        options.minimum_size,
        accepted.identity == 0,
        options.compressible,
    )
    row, coding = decide(exchange)
    if row.varies:
        lines = fields.varying(lines)
    packed = await _attempt(accelerator, coding, options, body) if coding is not None else None
    if coding is not None and packed is not None and (len(packed) < len(body) or accepted.identity == 0):
        lines = fields.weakened(
            fields.without(lines, (b"content-encoding", b"content-length", b"accept-ranges"))
        )
        lines.append((b"content-encoding", coding.encode()))
        response.body = packed
    response.headers.clear()
    response.headers.extend([(name.decode("latin-1"), text.decode("utf-8")) for name, text in lines])


async def _attempt(accelerator: Accelerator, coding: str, options: Options, body: bytes) -> bytes | None:
    """The body, compressed; ``None``: it stays as it is, for the device has failed or takes too long."""
    try:
        return b"".join(await Encoder(accelerator, coding, options).whole(body))
    except WdasyncError:
        return None


# -- a client -----------------------------------------------------------------------------------------------------


async def encoded(
    data: Source,
    coding: str = "gzip",
    *,
    accelerator: Accelerator | None = None,
    level: Level | None = None,
    timeout: float | None = None,
) -> dict[str, Any]:
    """A compressed body for a request.

    Used as ``await session.post(url, **await encoded(data, "gzip"))``.

    :param coding: ``gzip``, ``zstd``, ``br``, ``deflate``
    :returns: the arguments ``data`` and ``headers``
    :raises InvalidArgument: if the coding is none of these
    :raises UnsupportedOperation: if no backend has it
    """
    check_codings(coding)
    accelerator = accelerator or await default_accelerator()
    body = await accelerator.compress(data, ALGORITHMS[coding], level=level, timeout=timeout)
    return {"data": body, "headers": {"Content-Encoding": coding}}


async def decoded(
    response: ClientResponse, *, accelerator: Accelerator | None = None, timeout: float | None = None
) -> AsyncGenerator[bytes, None]:
    """The body of a response piece by piece, decompressed, however large it is.

    Only for sessions that leave it to us: ``aiohttp.ClientSession(auto_decompress=False)``.

    :raises DataError: if the body is not what its ``Content-Encoding`` says
    :raises InvalidArgument: if that names a coding that is none of ours, or too many of them
    :raises UnsupportedOperation: if no backend has that coding, or the body wants more history than the coding may have (RFC 9659)
    """
    codings = check_layers(layers(response.headers.getall("Content-Encoding", [])))
    accelerator = accelerator or await default_accelerator()
    async with AsyncExitStack() as stack:
        source: AsyncIterable[bytes] = response.content.iter_any()
        for coding in reversed(codings):
            stream = accelerator.decompress_stream(
                source, ALGORITHMS[coding], window=WINDOWS.get(coding), timeout=timeout
            )
            source = await stack.enter_async_context(aclosing(stream))
        async for piece in source:
            yield piece


async def read(
    response: ClientResponse,
    *,
    accelerator: Accelerator | None = None,
    max_length: int = DEFAULT_MAX_LENGTH,
    timeout: float | None = None,
) -> bytes:
    """The whole body of a response, decompressed, and no more than ``max_length`` bytes of it. See :func:`decoded`.

    :raises LimitExceeded: if it is longer
    """
    check_bound(max_length, "max_length", 0)
    pieces, length = [], 0
    async with aclosing(decoded(response, accelerator=accelerator, timeout=timeout)) as body:
        async for piece in body:
            pieces.append(piece)
            length += len(piece)
            if length > max_length:
                raise LimitExceeded(
                    f"read: expected a body of at most {max_length} bytes, got more; give a larger max_length"
                )
    return b"".join(pieces)


# -- the zlib that aiohttp uses -----------------------------------------------------------------------------------


#: Bytes that aiohttp compresses in its event loop's thread at once, at most; larger pieces it gives to a thread.
SMALL: Final = 4096

#: Bytes that are held back for the next piece, at most.
HELD: Final = 64 * 1024

#: The wrappers that zlib's ``wbits`` asks for: its smallest and largest value -> our name, and what to take away for the window.
_WRAPPERS: Final = {(-15, -9): ("deflate", 0), (9, 15): ("zlib", 0), (25, 31): ("gzip", 16)}


class _Compressing(Protocol):
    """What :func:`zlib.compressobj` gives."""

    def compress(self, data: Any, /) -> bytes: ...

    def flush(self, mode: int = ..., /) -> bytes: ...


class AcceleratedZlib:
    """Shaped like the module :mod:`zlib`, and compresses on an accelerator: ``aiohttp.set_zlib_backend(AcceleratedZlib())``.

    aiohttp compresses pieces of more than 4 KiB in a thread of its own. There, such an object gives the work to an accelerator, which
    lives in an event loop and thread of its own, and waits. What aiohttp does in its event loop's thread, small pieces and all
    decompression, stays zlib's: waiting for a device would take longer. A stream that begins with small pieces is zlib's to its end.

    It lasts until :meth:`close`, or is a context manager; what is compressed afterwards is zlib's work.

    :param settings: as of :func:`wdasync.open_accelerator`
    """

    __name__ = "wdasync"

    def __init__(self, **settings: Any) -> None:
        self._settings = settings
        self._stack = ExitStack()
        self._portal: BlockingPortal | None = None
        self._accelerator: Accelerator | None = None
        #: Streams that went through the accelerator.
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

        def plain() -> _Compressing:
            dictionary = () if zdict is None else (zdict,)
            return zlib.compressobj(level, method, wbits, memLevel, strategy, *dictionary)

        found = [
            (name, abs(wbits) - extra)
            for (low, high), (name, extra) in _WRAPPERS.items()
            if low <= wbits <= high
        ]
        if not found or zdict is not None or strategy or not -1 <= level <= 9:
            return plain()
        algorithm, window = found[0]
        return _Stream(self, plain, algorithm, level, window)

    def compress(self, data: Any, /, level: int = -1, wbits: int = zlib.MAX_WBITS) -> bytes:
        """As :func:`zlib.compress`."""
        stream = self.compressobj(level, wbits=wbits)
        return stream.compress(data) + stream.flush()


class _Stream:
    """What :meth:`AcceleratedZlib.compressobj` gives. It is zlib's or the accelerator's from its first large piece on."""

    def __init__(
        self,
        owner: AcceleratedZlib,
        plain: Callable[[], _Compressing],
        algorithm: str,
        level: int,
        window: int,
    ) -> None:
        self._owner = owner
        self._make_plain = plain
        self._spec: dict[str, Any] = {"algorithm": algorithm, "level": None if level < 0 else level}
        if window < zlib.MAX_WBITS:
            self._spec["window"] = window
        self._held = bytearray()
        self._plain: _Compressing | None = None
        self._stream: Compressor | None = None
        self._begun = False

    def compress(self, data: Any, /) -> bytes:
        """Take data; what output there is so far."""
        if self._plain is not None:
            return self._plain.compress(data)
        self._held += data
        in_loop = _in_event_loop()
        if in_loop and len(self._held) <= (SMALL if self._stream is None else HELD):
            return b""
        if self._stream is not None or (not in_loop and self._begin()):
            return self._through(zlib.Z_NO_FLUSH)
        return self._zlibs(zlib.Z_NO_FLUSH)

    def flush(self, mode: int = zlib.Z_FINISH, /) -> bytes:
        """As zlib's: everything taken so far becomes readable, or the stream ends."""
        return self._zlibs(mode) if self._stream is None else self._through(mode)

    def _begin(self) -> bool:
        """Open a stream on the accelerator; whether there is one."""
        accelerator, portal = self._owner._accelerator, self._owner._portal
        if accelerator is None or portal is None:
            return False
        try:
            self._stream = portal.call(partial(accelerator.compressor, **self._spec))
        except (WdasyncError, ClosedResourceError, RuntimeError):  # it has no such stream, or is being closed
            return False
        self._owner.accelerated += 1
        return True

    def _zlibs(self, mode: int) -> bytes:
        """What is held, and all that follows, through zlib."""
        plain = self._plain = self._plain or self._make_plain()
        data, self._held = self._held, bytearray()
        output = plain.compress(data)
        return output if mode == zlib.Z_NO_FLUSH else output + plain.flush(mode)

    def _through(self, mode: int) -> bytes:
        """What is held, through the accelerator; this thread waits. As long as nothing was put out, zlib can take over."""
        portal, data = self._owner._portal, bytes(self._held)
        assert portal is not None
        try:
            output = portal.call(self._steps, data, mode)
        except WdasyncError:
            if self._begun:
                raise
            self._drop()
            return self._zlibs(mode)
        self._held.clear()
        self._begun = True
        return output

    async def _steps(self, data: bytes, mode: int) -> bytes:
        """In the accelerator's event loop."""
        stream = self._stream
        assert stream is not None
        if mode == zlib.Z_FINISH:
            output = await stream.finish(data)
            await stream.aclose()
            return output
        if mode == zlib.Z_NO_FLUSH:
            return await stream.compress(data)
        return await stream.flush("full" if mode == zlib.Z_FULL_FLUSH else "sync", data)

    def _drop(self) -> None:
        """Give the stream back."""
        stream, self._stream = self._stream, None
        portal = self._owner._portal
        if stream is not None and portal is not None:
            with suppress(RuntimeError):  # the accelerator is closed, and its streams with it
                portal.start_task_soon(stream.aclose)

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
