"""Operations on their way through an engine: what those of all engines have in common.

A request turns its operation into one descriptor after the other, and the last one's answer into a completion. It
holds its buffers, and the grants that let the device touch them, until :meth:`Request.release`.
"""

from __future__ import annotations

import abc
import contextlib
import errno
from collections.abc import Callable, Sequence, Sized
from typing import Any, Final, Generic, TypeVar

from wdasync.backend import Completion, DataCause, Detail, Status
from wdasync.buffers import Segment
from wdasync.operations import Operation
from wdasync.paged import PagedBuffer

from .files import AddressSpace
from .memory import address_of
from .outputs import OutputPool
from .scatter import ALIGNMENT, chain_size, write_chain

__all__ = [
    "JOIN_LIMIT",
    "Answer",
    "Counters",
    "OperationT",
    "Request",
    "Settled",
    "ShopT",
    "Shortage",
    "Workshop",
    "paged_input",
]

OperationT = TypeVar("OperationT", bound=Operation)
CountersT = TypeVar("CountersT", bound="Counters")
ShopT = TypeVar("ShopT", bound="Workshop[Any]")

#: What a finished descriptor says, as the engine's queue reads it; the first number is the status.
Answer = tuple[int, ...]

#: Inputs in pieces of up to so many bytes are joined: the copy costs less than a scatter list.
JOIN_LIMIT: Final = 16 << 10


class Settled(Exception):
    """Raised when it is known how an operation ends without asking the device.

    :ivar status: of its completion
    :ivar cause: what is wrong with the data
    :ivar output: on success
    """

    def __init__(
        self, status: Status, message: str = "", cause: DataCause | None = None, output: bytes = b""
    ) -> None:
        super().__init__(message)
        self.status = status
        self.cause = cause
        self.output = output

    def bare(self) -> Settled:
        """The same without the frames that it came through: they hold the other operations of the burst."""
        self.__cause__ = self.__context__ = None
        return self.with_traceback(None)


class Shortage(Exception):
    """Raised when an operation that has begun needs more memory of the reserved region than is free now."""


class Counters:
    """What only these drivers count, for one queue.

    :ivar carried: descriptors that only carried an operation which needed no device
    :ivar chains: scatter lists
    :ivar joined: inputs in pieces that were copied into one
    :ivar levels_mapped: levels that the device does not have
    """

    __slots__ = ("carried", "chains", "joined", "levels_mapped")

    def __init__(self) -> None:
        for name in self.names():
            setattr(self, name, 0)

    carried: int
    chains: int
    joined: int
    levels_mapped: int

    @classmethod
    def names(cls) -> list[str]:
        """Of all counters, a subclass's included."""
        return [name for kind in cls.__mro__ for name in getattr(kind, "__slots__", ())]

    def as_dict(self) -> dict[str, int]:
        """The counters by name."""
        return {name: getattr(self, name) for name in self.names()}


class Workshop(Generic[CountersT]):
    """What the requests of one queue share.

    :param space: how buffers become addresses
    :param where: the part of the device that does the work, for the completions
    :param counters: what they count
    """

    def __init__(self, space: AddressSpace, where: str, counters: CountersT) -> None:
        self.space = space
        self.outputs = OutputPool(space)
        self.counters = counters
        self.plain = Detail(where=where)
        self._held: list[tuple[memoryview, int, bool]] = []
        self._kept: dict[int, bytes] = {}

    def memory(self, content: bytes | bytearray) -> memoryview:
        """New memory that the device can reach, with this content.

        :raises OSError: ENOMEM
        """
        memory = self.space.allocate(len(content))
        if memory is None:
            return memoryview(bytearray(content))
        memory[: len(content)] = content
        return memory[: len(content)]

    def hold(self, content: bytes | bytearray, writable: bool) -> int:
        """Memory with this content that the device may touch as long as the queue is; its address.

        :raises OSError: ENOMEM
        """
        memory = self.memory(content)
        address = self.space.grant(memory, writable, resident=True)
        self._held.append((memory, address, writable))
        return address

    def keep(self, output: bytes) -> Callable[[], None]:
        """Let devices read an output as long as somebody goes on with it; what ends that.

        :raises OSError: they cannot
        """
        address = self.space.grant(output, False)
        self._kept[address] = output
        return lambda: self._let_go(address)

    def _let_go(self, address: int) -> None:
        output = self._kept.pop(address, None)
        if output is not None:
            self.space.revoke(address, len(output), False)

    def close(self) -> None:
        """Take the grants back. The device touches nothing any more."""
        for address in list(self._kept):
            self._let_go(address)
        for memory, address, writable in self._held:
            self.space.revoke(address, len(memory), writable)
        self._held.clear()


class Request(abc.ABC, Generic[OperationT, ShopT]):
    """An operation on its way.

    :ivar tag: the caller's
    :ivar operation: keeps its buffers alive
    :ivar tag_bit: where its present descriptor has the tag
    :ivar wire_tag: what stands there
    :ivar faults: page faults so far
    """

    __slots__ = ("_grants", "_keep", "_secrets", "_shop", "faults", "operation", "tag", "tag_bit", "wire_tag")

    def __init__(self, tag: int, operation: OperationT, shop: ShopT, tag_bit: int) -> None:
        self.tag = tag
        self.operation = operation
        self.tag_bit = tag_bit
        self.wire_tag = 0
        self.faults = 0
        self._shop = shop
        self._grants: list[tuple[int, int, bool]] = []
        self._keep: list[Segment] = []
        self._secrets: list[memoryview] | None = None

    @abc.abstractmethod
    def number(self) -> int:
        """The next descriptor as an integer, without its tag."""

    @abc.abstractmethod
    def finish(self, answer: Answer, entry: memoryview) -> Completion | None:
        """A descriptor is finished.

        :param answer: the fields that are always needed
        :param entry: all of it
        :returns: ``None``: there is a next one
        :raises Shortage: there may be, once other operations have given memory back: see :meth:`restart`
        """

    def restart(self) -> None:
        """Begin anew, after a :exc:`Shortage` and :meth:`release`.

        :raises Settled: it is known now how it ends
        :raises OSError: ENOMEM: there is still no memory for it
        """

    # -- how it ends ------------------------------------------------------------------------------------------

    def failure(
        self,
        status: Status,
        message: str,
        cause: DataCause | None = None,
        raised: BaseException | None = None,
    ) -> Completion:
        """The completion of an operation that has failed."""
        where = self._shop.plain.where
        detail = Detail(message, cause=cause, where=where, faults=self.faults, raised=raised)
        return Completion(self.tag, status, None, 0, 0, detail)

    def success(self, output: bytes | None, consumed: int, produced: int) -> Completion:
        """The completion of an operation that has not."""
        detail = self._shop.plain
        if self.faults:
            detail = Detail(where=detail.where, faults=self.faults)
        return Completion(self.tag, Status.SUCCESS, output, consumed, produced, detail)

    def settle(self, settled: Settled) -> Completion:
        """The completion of an operation whose end was known without the device."""
        if settled.status is not Status.SUCCESS:
            return self.failure(settled.status, str(settled), settled.cause)
        output, destination = settled.output, self.operation.destination
        if destination is None:
            return self.success(output, self.operation.nbytes, len(output))
        try:
            self.store(destination[: len(output)], output)
        except Settled as fault:
            return self.failure(fault.status, str(fault))
        return self.success(None, self.operation.nbytes, len(output))

    # -- memory -----------------------------------------------------------------------------------------------

    @property
    def whole(self) -> bool:
        """Whether an output is to be made in the object that is handed out: another operation reads it there."""
        return self.operation.chain is not None

    def keep(self, output: bytes) -> None:
        """An output is ready. Of a step of a chain it stays in the reach of devices, and the translations of its pages with it."""
        chain = self.operation.chain
        if chain is not None and output and self._shop.space.shared:
            with contextlib.suppress(OSError, MemoryError):  # then the next one grants it anew
                chain.keep(self._shop.keep(output))

    def grant(self, buffer: Sized, writable: bool, resident: bool = False) -> int:
        """Let the device touch a buffer until :meth:`release`.

        :param resident: without page faults
        :raises Settled: it cannot reach it
        :raises OSError: ENOMEM
        """
        resident = resident or self.operation.resident
        try:
            address = self._shop.space.grant(buffer, writable, resident)
        except OSError as error:
            if error.errno == errno.ENOMEM:
                raise
            status = Status.PAGE_FAULT if resident else Status.INVALID_ARGS
            raise Settled(status, f"the device cannot reach the buffer: {error}") from error
        except TypeError as error:  # an object that only other file layers know
            raise Settled(Status.INVALID_ARGS, f"the device cannot reach such a buffer: {error}") from error
        self._grants.append((address, len(buffer), writable))
        return address

    def few(self, source: tuple[Segment, ...]) -> Segment | tuple[Segment, ...]:
        """Pieces without empty ones; one piece if there are few bytes, or if they are copied anyway."""
        pieces = tuple(piece for piece in source if len(piece))
        if len(pieces) == 1:
            return pieces[0]
        if sum(map(len, pieces)) > JOIN_LIMIT and self._shop.space.direct:
            return pieces
        self._shop.counters.joined += 1
        return self.copy(pieces)

    def reachable(self, source: Segment) -> Segment:
        """A segment itself, or a copy where the device can reach it; kept alive."""
        memory = self._shop.space.allocate(len(source))
        if memory is not None:
            memory[: len(source)] = self.copy([source])
            source = memory[: len(source)]
        self._keep.append(source)
        return source

    def secret(self, content: bytes | bytearray) -> memoryview:
        """Memory that the device can reach, with this content; wiped when the device is done with it.

        :raises OSError: ENOMEM
        """
        memory = self._shop.memory(content)
        if self._secrets is None:
            self._secrets = []
        self._secrets.append(memory)
        return memory

    def chain(self, spans: Sequence[tuple[int, int]]) -> int:
        """A scatter list, as an address.

        :param spans: address and length of each piece; none is empty
        """
        size = chain_size(len(spans))
        memory = memoryview(bytearray(size + ALIGNMENT))
        start = -address_of(memory) % ALIGNMENT
        memory = memory[start : start + size]
        address = self.grant(memory, False)
        write_chain(memory, address, spans)
        self._keep.append(memory)
        self._shop.counters.chains += 1
        return address

    def copy(self, pieces: Sequence[Segment]) -> bytes:
        """Join memory of the caller's.

        :raises Settled: some of it is not there: the file that was mapped has shrunk, for one
        """
        if all(map(_surely_there, pieces)):
            return b"".join(pieces)
        data = self._shop.space.peek(pieces)
        if len(data) < sum(map(len, pieces)):
            raise Settled(Status.PAGE_FAULT, "a page of the input cannot be had")
        return data

    def present(self) -> Sequence[Segment]:
        """The input, all of which is there.

        :raises Settled: its pages are still to come
        """
        if paged_input(self.operation) is not None:
            raise Settled(Status.INVALID_ARGS, "data: expected memory that is there, got pages to be fetched")
        source = self.operation.source
        return source if isinstance(source, tuple) else (source,)

    def store(self, memory: memoryview, data: bytes) -> None:
        """Write into memory that may be the caller's. Raises as :meth:`copy`."""
        if _surely_there(memory):
            memory[:] = data
        elif self._shop.space.poke(memory, data) < len(data):
            raise Settled(Status.PAGE_FAULT, "a page of the output buffer cannot be had")

    def release(self) -> None:
        """Take back what the device was allowed. Only when it has no descriptor of this request."""
        for grant in self._grants:
            self._shop.space.revoke(*grant)
        self._grants.clear()
        self._keep.clear()
        if self._secrets is not None:
            for memory in self._secrets:
                memory[:] = bytes(len(memory))
            self._secrets.clear()


def _surely_there(segment: Segment) -> bool:
    """Whether its memory is Python's own, and not a mapping of a file."""
    return isinstance(segment if isinstance(segment, bytes) else segment.obj, bytes | bytearray)


def paged_input(operation: Operation) -> PagedBuffer | None:
    """The input, if its pages come only when the device touches them."""
    return operation.paged if operation.nbytes and not operation.source else None
