"""Operations on their way through the SEC engine: what all of them have in common.

One descriptor is one message. The host builds what the standards put round a text: the counter block and block B0 of CCM, keys
of whole words. Associated data lie before the text in one source, so a large message of both is a scatter list.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Final

from wdasync.backend import Capabilities, Completion, Status
from wdasync.buffers import Segment
from wdasync.operations import Operation

from .files import AddressSpace
from .layout import Layout
from .outputs import Output
from .requests import JOIN_LIMIT, Answer, Counters, OperationT, Request, Settled, Workshop, paged_input
from .scatter import MAX_PIECE
from .sec_descriptor import SINGLE, SQES
from .sec_keys import SecKey

__all__ = ["Pieces", "SecCarrier", "SecRequest", "SecWorkshop", "short"]

Pieces = Sequence[Segment]

#: Error types that are known, and what they mean. They are the emulated chip's: silicon's are not published.
REFUSED: Final[Mapping[int, tuple[Status, str]]] = {
    0xE1: (Status.INVALID_ARGS, "the device refuses the descriptor"),
    0xE3: (Status.PAGE_FAULT, "an access to memory was refused"),
}


class SecWorkshop(Workshop[Counters]):
    """What the requests of one queue share.

    :param version: of the queue manager
    :param capabilities: of the device
    :ivar layout: of its descriptors
    """

    def __init__(self, space: AddressSpace, version: int, capabilities: Capabilities, where: str) -> None:
        super().__init__(space, where, Counters())
        self.capabilities = capabilities
        self.type = 2 if version < 3 else 3
        self.layout: Layout = SQES[self.type]
        self.tag_bit = self.layout["tag"].bit


class SecRequest(Request[OperationT, SecWorkshop]):
    """One descriptor of the engine."""

    __slots__ = ("_fields", "_output")

    def __init__(self, tag: int, operation: OperationT, shop: SecWorkshop) -> None:
        super().__init__(tag, operation, shop, shop.tag_bit)
        self._fields: dict[str, int] = {"type": shop.type, "scene": SINGLE}
        self._output: Output | None = None

    def number(self) -> int:
        return self._shop.layout.number(**self._fields)

    @abc.abstractmethod
    def prepare(self) -> None:
        """Fill in the descriptor.

        :raises Settled: nothing is left to do for the device
        :raises OSError: ENOMEM: the reserved region is used up for now
        """

    @abc.abstractmethod
    def done(self, icv: int) -> Completion:
        """The device has done it.

        :raises Settled: it ends otherwise than it seems
        """

    def finish(self, answer: Answer, entry: memoryview) -> Completion | None:
        done, icv, error = answer
        if not done or error:
            status, message = REFUSED.get(
                error, (Status.DEVICE_ERROR, f"the device failed: done {done}, error {error:#x}")
            )
            return self.failure(status, message)
        try:
            return self.done(icv)
        except Settled as settled:
            return self.settle(settled)

    # -- what all need ----------------------------------------------------------------------------------------

    def key(self) -> SecKey:
        """The operation's.

        :raises Settled: it has none, or none any more
        """
        session = self.operation.session
        if (
            isinstance(session, SecKey)
            and session.spec.algorithm == self.operation.algorithm
            and (session.cipher or session.hash)
        ):
            return session
        raise Settled(
            Status.INVALID_ARGS,
            f"expected a key for {self.operation.algorithm} that this device was told of, and is not to forget",
        )

    def pieces(self) -> Pieces:
        """The input."""
        source = self.operation.source
        return source if isinstance(source, tuple) else (source,)

    def reach_secret(self, content: bytes | bytearray) -> int:
        """The address of a key, or of something else that is wiped afterwards."""
        if isinstance(content, bytearray) and self._shop.space.direct:
            return self.grant(content, False, resident=True)
        return self.grant(self.secret(content), False, resident=True)

    def reach_source(self, pieces: Pieces, before: bytes = b"") -> bool:
        """Let the device read the input, with something before it; whether it is a scatter list.

        :param pieces: of the input; empty if it is paged
        """
        paged, direct = paged_input(self.operation), self._shop.space.direct
        total = sum(map(len, pieces)) + len(before)
        spans: list[tuple[int, int]]
        if paged is not None:
            spans = [(self.grant(paged, False), len(paged))]
            if before:
                spans.insert(0, self._span(before))
        elif not direct or (len(pieces) + bool(before) > 1 and total <= JOIN_LIMIT and not self.whole):
            self._shop.counters.joined += len(pieces) + bool(before) > 1
            spans = [self._span(self.reachable(before + self.copy(pieces)))]
        else:
            spans = [self._span(piece) for piece in ([before, *pieces] if before else pieces) if len(piece)]
        scattered = len(spans) > 1
        self._fields["source_list"] = scattered
        self._fields["source"] = self.chain(short(spans)) if scattered else spans[0][0]
        return scattered

    def _span(self, segment: Segment) -> tuple[int, int]:
        self._keep.append(segment)
        return self.grant(segment, False), len(segment)

    def reach_mac(self, content: bytes, writable: bool) -> memoryview:
        """Let the device reach a MAC."""
        memory = self._shop.memory(content)
        self._keep.append(memory)
        self._fields["mac"] = self.grant(memory, writable, resident=True)
        return memory

    def release(self) -> None:
        super().release()
        if self._output is not None:
            self._output.drop()
            self._output = None


def short(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Pieces as long as an entry of a scatter list may be."""
    return [
        (address + at, min(nbytes - at, MAX_PIECE))
        for address, nbytes in spans
        for at in range(0, nbytes, MAX_PIECE)
    ]


class SecCarrier(SecRequest[Operation]):
    """An operation that needs no work of the device, and yet a completion that wakes who waits for it.

    Its descriptor is marked as one to be skipped; it completes all the same, whatever it says.

    :param settled: how the operation ends; ``None`` for a :class:`~wdasync.operations.Nop`, which is all way
    """

    __slots__ = ("_settled",)

    def __init__(self, tag: int, operation: Operation, shop: SecWorkshop, settled: Settled | None) -> None:
        super().__init__(tag, operation, shop)
        self._settled = settled and settled.bare()
        self._fields["skip"] = 1

    def prepare(self) -> None:
        """Nothing."""

    def number(self) -> int:
        self._shop.counters.carried += 1
        return super().number()

    def finish(self, answer: Answer, entry: memoryview) -> Completion | None:
        return self.done(0)

    def done(self, icv: int) -> Completion:
        return self.success(None, 0, 0) if self._settled is None else self.settle(self._settled)
