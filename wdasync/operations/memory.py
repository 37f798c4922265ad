"""Work on memory as it is: nothing, copy, fill, compare."""

from __future__ import annotations

from ..buffers import Segment, pin_source
from ..errors import InvalidArgument
from .base import Kind, Operation

__all__ = ["Compare", "Copy", "Fill", "Nop"]


class Nop(Operation):
    """Nothing, through the whole way: for measuring that way."""

    __slots__ = ()
    kind = Kind.NOP

    def __init__(self) -> None:
        self.source = b""
        self.paged = None
        self.resident = False
        self.chain = None
        self.nbytes = 0
        self.immutable = True
        self.destination = None
        self.session = None
        self.algorithm = "nop"
        self.dictionary = None
        self.level = "fast"
        self.window = None


class Copy(Operation):
    """Copy ``data`` into memory of the caller's.

    :param data: bytes-like, or a list of them; only where it is in one piece it may overlap ``into``
    :param into: a writable buffer, at least as long
    :raises InvalidArgument: if one of them is not of its type, or ``into`` is too short
    """

    __slots__ = ()
    kind = Kind.COPY

    def __init__(self, data: object, into: object) -> None:
        self._begin(data, "copy", _given(into))
        assert self.destination is not None
        if len(self.destination) < self.nbytes:
            wanted, got = self.nbytes, len(self.destination)
            self.release()
            raise InvalidArgument(f"into: expected at least {wanted} bytes, got {got}")


class Fill(Operation):
    """Fill memory of the caller's with one byte.

    :param into: a writable buffer
    :param value: 0..255
    :raises InvalidArgument: if one of them is not of its type
    """

    __slots__ = ("value",)
    kind = Kind.FILL

    value: int

    def __init__(self, into: object, value: int = 0) -> None:
        if type(value) is not int or not 0 <= value <= 255:
            raise InvalidArgument(f"value: expected an int from 0 to 255, got {value!r}")
        self._begin(b"", "fill", _given(into))
        self.value = value


class Compare(Operation):
    """Whether two inputs have the same content. The output is one byte: 1 if they do, 0 if not.

    The time it takes may tell where they differ: not for secrets.

    :param data: bytes-like, or a list of them
    :param other: likewise; another length is another content
    :raises InvalidArgument: if one of them is not of its type
    """

    __slots__ = ("other",)
    kind = Kind.COMPARE

    other: Segment | tuple[Segment, ...]

    def __init__(self, data: object, other: object) -> None:
        self._begin(data, "compare")
        try:
            self.other, length, immutable = pin_source(other, "other")
        except InvalidArgument:
            self.source = b""
            raise
        self.nbytes += length
        self.immutable = self.immutable and immutable

    def release(self) -> None:
        """Both inputs."""
        if not self.detachable:
            self.other = b""
        super().release()


def _given(into: object) -> object:
    if into is None:
        raise InvalidArgument("into: expected a writable bytes-like object, got None; use a bytearray")
    return into
