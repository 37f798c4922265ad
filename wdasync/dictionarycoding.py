"""Dictionary-compressed content of HTTP (RFC 9842): the codings ``dcb`` (Brotli) and ``dcz`` (Zstandard).

A coded body begins with a number and the SHA-256 of the dictionary; what follows is a Brotli stream or a Zstandard frame that
was made with it as it is::

    dcb   ff 44 43 42               | SHA-256 |  Brotli, whose window has at most 16 MiB
    dcz   5e 2a 4d 18  20 00 00 00  | SHA-256 |  Zstandard, whose window has at most 8 MiB, or 1.25 times the
          (a skippable frame of 32 bytes)        dictionary's length if that is more, up to 128 MiB

Which dictionary a client has, and what it may be used for, is the server's to find out (``Available-Dictionary``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from .buffers import listed, pin_source
from .errors import DataCause, DataError, InvalidArgument
from .eventloop import current_event_loop
from .eventloop.threads import compute, join
from .operations import Dictionary, Level, Priority

if TYPE_CHECKING:
    from .accelerator import Accelerator
    from .buffers import Segment, Source

__all__ = ["CODINGS", "compress_with_dictionary", "decompress_with_dictionary", "window_of"]

#: Bytes of a SHA-256.
HASH: Final = 32

#: Base-2 logarithms of what a client of ``dcz`` has room for at least, and at most.
DCZ_WINDOWS: Final = (23, 27)


class Coding(NamedTuple):
    """One content coding.

    :ivar begin: the bytes before the hash
    :ivar algorithm: of what follows the hash
    """

    begin: bytes
    algorithm: str


#: Name in HTTP -> coding.
CODINGS: Final[dict[str, Coding]] = {
    "dcb": Coding(b"\xff\x44\x43\x42", "br"),
    "dcz": Coding(b"\x5e\x2a\x4d\x18\x20\x00\x00\x00", "zstd"),
}


def window_of(coding: str, dictionary_length: int) -> int:
    """Base-2 logarithm of the largest window that every client can read (RFC 9842, sections 4 and 5)."""
    if _coding(coding).algorithm == "br":
        return 24
    least, most = DCZ_WINDOWS
    wanted = dictionary_length + dictionary_length // 4
    return min(max(wanted.bit_length() - 1, least), most)


async def compress_with_dictionary(
    accelerator: Accelerator,
    data: Source,
    dictionary: Source | Dictionary,
    coding: str,
    *,
    level: Level | None = None,
    timeout: float | None = None,
    priority: Priority = Priority.NORMAL,
) -> bytes:
    """A body for ``Content-Encoding: dcb`` or ``dcz``.

    :param dictionary: what the client has, as it is; of a :class:`~wdasync.Dictionary` the hash is computed once
    :param coding: ``"dcb"`` or ``"dcz"``
    :raises InvalidArgument: if ``coding`` is another
    :raises UnsupportedOperation: if no backend has the algorithm with dictionaries
    """
    begin, algorithm = _coding(coding)
    known, digest = await _known(dictionary)
    packed = await accelerator.compress(
        data,
        algorithm,
        level=level,
        window=window_of(coding, len(known.content)),
        dictionary=known,
        timeout=timeout,
        priority=priority,
    )
    return await join(current_event_loop(), (begin, digest, packed))


async def decompress_with_dictionary(
    accelerator: Accelerator,
    data: Source,
    dictionary: Source | Dictionary,
    coding: str,
    *,
    max_length: int | None = None,
    timeout: float | None = None,
    priority: Priority = Priority.NORMAL,
) -> bytes:
    """The content of a body that was coded as ``dcb`` or ``dcz``.

    :param max_length: bytes of output allowed; default: the accelerator's ``max_length``
    :raises DataError: if it does not begin as the coding does (cause WRONG_FORMAT), was made with another dictionary (cause
        DICTIONARY), or is not valid
    :raises LimitExceeded: if the bound would be passed
    """
    begin, algorithm = _coding(coding)
    known, digest = await _known(dictionary)
    # An error lives on with this frame, and must not pin memory of the caller's by that.
    with memoryview(await _in_one_piece(data)) as body, body[len(begin) + HASH :] as content:
        _check_header(coding, bytes(body[: len(begin) + HASH]), digest)
        return await accelerator.decompress(
            content,
            algorithm,
            max_length=max_length,
            dictionary=known,
            timeout=timeout,
            priority=priority,
        )


async def _in_one_piece(data: Source) -> Segment:
    """Copied only where it is in several."""
    segments = listed(pin_source(data)[0])
    return segments[0] if len(segments) == 1 else await join(current_event_loop(), segments)


def _check_header(coding: str, header: bytes, digest: bytes) -> None:
    begin = CODINGS[coding].begin
    if not begin.startswith(header[: len(begin)]):
        raise DataError(
            f"decompress {coding}: expected {begin.hex(' ')}, got {header[: len(begin)].hex(' ')}; this is another coding",
            cause=DataCause.WRONG_FORMAT,
        )
    if len(header) < len(begin) + HASH:
        raise DataError(
            f"decompress {coding}: expected a header of {len(begin) + HASH} bytes, got {len(header)}; the input is truncated",
            cause=DataCause.TRUNCATED,
        )
    if header[len(begin) :] != digest:
        raise DataError(
            f"decompress {coding}: expected the dictionary whose SHA-256 is {header[len(begin) :].hex()}, got "
            f"{digest.hex()}; give the one that it was made with",
            cause=DataCause.DICTIONARY,
        )


def _coding(name: str) -> Coding:
    found = CODINGS.get(name) if type(name) is str else None
    if found is None:
        raise InvalidArgument(f"coding: expected one of {', '.join(CODINGS)}, got {name!r}")
    return found


async def _known(dictionary: Source | Dictionary) -> tuple[Dictionary, bytes]:
    """The dictionary as it is, whatever it begins with; and its hash."""
    loop = current_event_loop()
    if isinstance(dictionary, Dictionary):
        given = dictionary
    else:
        given = Dictionary(await join(loop, listed(pin_source(dictionary, "dictionary")[0])), raw=True)
    digest = await compute(loop, 0 if given.hashed else len(given.content), lambda: given.sha256)
    return given if given.raw else Dictionary(given.content, raw=True), digest
