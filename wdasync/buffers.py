"""Bytes-like in, bytes out: what a device may read and write, pinned while it does.

A device works on memory by address, long after the call that submitted the work returned. So an input is
either immutable (``bytes``), or exported through a ``memoryview`` that lives as long as the operation: a
``bytearray`` whose buffer is exported refuses to be resized, which turns a use-after-free into a
``BufferError`` at the place that caused it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .errors import InvalidArgument

if TYPE_CHECKING:
    import sys

    if sys.version_info >= (3, 12):
        from collections.abc import Buffer
    else:
        from typing_extensions import Buffer

    #: One contiguous bytes-like object, or several that are read one after another.
    Source = Buffer | Sequence[Buffer]

__all__ = [
    "COPIED",
    "MAX_SEGMENTS",
    "Segment",
    "join",
    "listed",
    "overlap",
    "pin_destination",
    "pin_source",
    "short",
]

#: A contiguous run of readable bytes. ``memoryview`` segments are one-dimensional, of unsigned bytes.
Segment = bytes | memoryview

#: Bytes that are copied in the caller's thread, at most: that may be an event loop's.
COPIED = 256 * 1024

#: A hardware scatter list chain has at most 256 lists of 255 entries; more segments than this are refused.
MAX_SEGMENTS = 255 * 256


def pin_source(data: object, name: str = "data") -> tuple[Segment | tuple[Segment, ...], int, bool]:
    """Take hold of an input.

    :param data: a bytes-like object, or a list or tuple of them
    :param name: the parameter's name, for the error
    :returns: the segment or segments, their length in bytes, and whether nobody can change them
    :raises InvalidArgument: if it is not bytes-like, or not contiguous
    """
    if type(data) is bytes:
        return data, len(data), True
    if isinstance(data, list | tuple):
        return _pin_list(data, name)
    segment = _pin_one(data, name)
    return segment, len(segment), _immutable(segment)


def _pin_list(data: Sequence[object], name: str) -> tuple[tuple[Segment, ...], int, bool]:
    if len(data) > MAX_SEGMENTS:
        raise InvalidArgument(
            f"{name}: expected at most {MAX_SEGMENTS} segments, got {len(data)}; join some of them first"
        )
    segments = tuple(_pin_one(item, f"{name}[{index}]") for index, item in enumerate(data))
    return segments, sum(map(len, segments)), all(map(_immutable, segments))


def _pin_one(data: object, name: str) -> Segment:
    if type(data) is bytes:
        return data
    try:
        view = memoryview(data)  # type: ignore[arg-type]  # the TypeError below is the check
    except TypeError:
        raise InvalidArgument(
            f"{name}: expected a bytes-like object or a list of them, got {type(data).__name__}; "
            "encode text with str.encode() first"
        ) from None
    except (ValueError, BufferError) as error:
        raise InvalidArgument(
            f"{name}: expected memory that is there, got {type(data).__name__}: {error}"
        ) from None
    if not view.nbytes:
        return b""  # also of a strided one
    if not view.c_contiguous:
        view.release()  # the error lives longer
        raise InvalidArgument(f"{name}: expected contiguous memory, got a strided view; pass bytes({name})")
    return view.cast("B")


def _immutable(segment: Segment) -> bool:
    return type(segment) is bytes or type(segment.obj) is bytes  # type: ignore[union-attr]  # bytes was asked first


def pin_destination(buffer: object, name: str = "buffer") -> memoryview:
    """Take hold of an output that belongs to the caller.

    :raises InvalidArgument: if it is not bytes-like, read-only, or not contiguous
    """
    try:
        view = memoryview(buffer)  # type: ignore[arg-type]  # the TypeError below is the check
    except TypeError:
        raise InvalidArgument(
            f"{name}: expected a writable bytes-like object, got {type(buffer).__name__}; use a bytearray"
        ) from None
    except (ValueError, BufferError) as error:
        raise InvalidArgument(
            f"{name}: expected memory that is there, got {type(buffer).__name__}: {error}"
        ) from None
    if view.readonly:
        view.release()  # the error lives longer
        raise InvalidArgument(
            f"{name}: expected a writable buffer, got a read-only {type(buffer).__name__}; use a bytearray"
        )
    if not view.nbytes and not view.c_contiguous:
        return memoryview(bytearray())
    if not view.c_contiguous:
        view.release()
        raise InvalidArgument(f"{name}: expected contiguous memory, got a strided view; use a flat bytearray")
    return view.cast("B")


def overlap(source: Segment | tuple[Segment, ...], destination: memoryview) -> bool:
    """Whether some memory is input and output. Of a view that cannot be written through it counts what it is a view of."""
    there = _addresses(destination)
    for segment in listed(source):
        if type(segment) is not memoryview or not there:
            continue
        if segment.readonly:
            if segment.obj is destination.obj:
                return True
            continue
        here = _addresses(segment)
        if here.start < there.stop and there.start < here.stop:
            return True
    return False


def _addresses(view: memoryview) -> range:
    if not len(view):
        return range(0)
    start = ctypes.addressof(ctypes.c_char.from_buffer(view))
    return range(start, start + len(view))


def listed(source: Segment | tuple[Segment, ...]) -> tuple[Segment, ...]:
    """The segments of an input, also where it is a single one."""
    return source if type(source) is tuple else (source,)  # type: ignore[return-value]  # not a tuple


def join(source: Segment | tuple[Segment, ...]) -> Segment:
    """One contiguous segment with the content of all. Copies only where there are several."""
    if type(source) is tuple:
        return source[0] if len(source) == 1 else b"".join(source)
    return source  # type: ignore[return-value]  # not a tuple, so a Segment


def short(data: object, name: str) -> bytes:
    """An argument beside the data, as bytes of its own: a nonce, associated data, a signature. One ``bytes`` object is not copied.

    :raises InvalidArgument: if it is not bytes-like, not contiguous, or longer than :data:`COPIED` and would have to be copied
    """
    if type(data) is bytes:
        return data
    segments, nbytes, _ = pin_source(data, name)
    if nbytes > COPIED:
        del segments  # the error lives longer
        raise InvalidArgument(
            f"{name}: expected at most {COPIED} bytes, or one `bytes` object, got {nbytes} bytes that would have to be copied; "
            f"pass bytes({name}), made in a thread"
        )
    return bytes(join(segments))
