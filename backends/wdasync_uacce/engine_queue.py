"""One queue of an engine, as the queue contract wants it: what is the same whatever the engine.

Every accepted operation becomes a descriptor, also one that needs no work of the device: nothing but a completion of
the device makes the queue's descriptor readable. Between the rings (:mod:`.qm`) and the operations
(:mod:`.requests`) this module keeps account: which request is where, and in what order completions go out.

Where Python becomes too slow, C can take over here, in :meth:`EngineQueue._pack` (a burst of descriptors) and
:meth:`EngineQueue._collect` (a batch of finished ones); the rings' side of both is C already.
"""

from __future__ import annotations

import abc
import errno
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Generic

from wdasync.backend import Completion, QueueStatistics, Status
from wdasync.operations import Operation

from .files import AddressSpace, QueueFile
from .qm import QueuePair
from .requests import Answer, Request, Settled, ShopT, Shortage

__all__ = ["EngineQueue"]


class EngineQueue(abc.ABC, Generic[ShopT]):
    """A queue of an engine. One thread owns it, and no method but ``close`` waits.

    :param file: the open node; belongs to the queue from now on
    :param version: of the queue manager
    :param queue_type: what the queue does
    :param depth: operations in flight wished for
    :param on_lost: is told why the device cannot be used any more
    :raises OSError: from the file layer
    :raises QueueLayoutError: the rings have another shape

    :cvar sqe_size: bytes of a descriptor
    """

    sqe_size: ClassVar[int]

    def __init__(
        self,
        file: QueueFile,
        version: int,
        queue_type: int,
        depth: int,
        on_lost: Callable[[str], None],
    ) -> None:
        self._file = file
        self._pair: QueuePair[Request[Any, ShopT]] = QueuePair(file, version, queue_type, self.sqe_size)
        self._on_lost = on_lost
        #: A tag on the wire is the slot, and above it a number that changes with each descriptor.
        tag_bits = self._tag_bits(version)
        self._slot_bits = min((self._pair.depth - 1).bit_length() if tag_bits < 32 else 16, tag_bits)
        self._slot_mask = (1 << self._slot_bits) - 1
        self._generations = (1 << min(tag_bits - self._slot_bits, 16)) - 1
        try:
            self._shop = self._open_shop(file.space, version, f"queue {self._pair.number}")
        except BaseException:
            self._pair.close()
            raise
        self.depth = max(1, min(depth, self._pair.depth - 1))
        self._descriptor = file.fileno()
        self._again: deque[Request[Any, ShopT]] = deque()
        #: Those that begin anew when there is memory for them; until then nothing new is accepted.
        self._starved: deque[Request[Any, ShopT]] = deque()
        self._ready: deque[Completion] = deque()
        self._graves: list[Request[Any, ShopT]] = []
        self._generation = 0
        self._stopped = self._lost = self._closed = False
        self._in_flight = self._enqueued = self._dequeued = self._withdrawn = self._rejected = 0
        self._wakes = self._bad_tags = self._doorbells = 0

    # -- the engine -------------------------------------------------------------------------------------------

    def _tag_bits(self, version: int) -> int:
        """Bits that a descriptor has for the tag, of a queue manager of this version."""
        return 32

    @abc.abstractmethod
    def _open_shop(self, space: AddressSpace, version: int, where: str) -> ShopT:
        """What its requests share.

        :raises OSError: ENOMEM
        """

    @abc.abstractmethod
    def _request(self, tag: int, operation: Operation) -> Request[Any, ShopT]:
        """The request for an operation, ready for its first descriptor. What needs no device is carried by it.

        :raises OSError: ENOMEM: the reserved region is used up for now
        """

    @abc.abstractmethod
    def _carrier(self, tag: int, operation: Operation, settled: Settled | None) -> Request[Any, ShopT]:
        """The request for an operation that needs no work of the device."""

    @abc.abstractmethod
    def _read(self, request: Request[Any, ShopT], entry: memoryview) -> tuple[int, int, Answer]:
        """What a finished descriptor says: its tag, 0 if all is well, and what its request wants to know."""

    # -- in ---------------------------------------------------------------------------------------------------

    def enqueue_burst(self, entries: Sequence[tuple[int, Operation]]) -> int:
        room = 0 if self._stopped else min(len(entries), self.depth - self._in_flight)
        if self._lost:
            return self._refuse(entries[:room], len(entries))
        if self._again or self._starved:
            self._send_again()
        room = 0 if self._starved else self._pair.room(room)
        requests = self._make(entries[:room])
        if requests and not self._push(requests):
            for request in requests:
                request.release()
            return self._refuse(entries[:room], len(entries))
        self._account(len(requests), len(entries))
        return len(requests)

    def _make(self, entries: Sequence[tuple[int, Operation]]) -> list[Request[Any, ShopT]]:
        """Requests for as many operations as there is memory for."""
        requests: list[Request[Any, ShopT]] = []
        for tag, operation in entries:
            try:
                requests.append(self._request(tag, operation))
            except (OSError, MemoryError) as error:
                shortage = isinstance(error, MemoryError) or error.errno == errno.ENOMEM
                if shortage and (requests or self._in_flight):
                    break  # what is in flight gives memory back
                settled = Settled(Status.INVALID_ARGS, f"the device cannot have the memory: {error}")
                requests.append(self._carrier(tag, operation, settled))
        return requests

    def _push(self, requests: Sequence[Request[Any, ShopT]]) -> bool:
        """Descriptors for all of them, one doorbell."""
        sent = self._pair.push(self._pack(requests), requests)
        self._doorbells += sent
        return sent

    def _pack(self, requests: Sequence[Request[Any, ShopT]]) -> bytes:
        slot, depth, generation, size = self._pair.tail, self._pair.depth, self._generation, self.sqe_size
        entries = []
        for request in requests:
            generation = generation + 1 & self._generations
            request.wire_tag = generation << self._slot_bits | slot
            number = request.number() | request.wire_tag << request.tag_bit
            entries.append(number.to_bytes(size, "little"))
            slot = slot + 1 if slot + 1 < depth else 0
        self._generation = generation
        return b"".join(entries)

    def _send_again(self) -> None:
        """Descriptors for requests that need another one, as far as there are slots."""
        again = self._again
        if self._stopped:
            return
        if self._starved:
            self._feed()
        room = self._pair.room(len(again))
        requests = [again.popleft() for _ in range(room)]
        if requests and not self._push(requests):
            again.extendleft(reversed(requests))
            self._lose(self._pair.failure or "")

    def _feed(self) -> None:
        """Let those begin anew for which there is memory now. If nobody will give any back, the first one has failed."""
        while self._starved:
            request = self._starved[0]
            try:
                request.restart()
            except Settled as settled:
                request.release()
                self._ready.append(request.failure(settled.status, str(settled), settled.cause))
            except (OSError, MemoryError) as error:
                request.release()
                if self._pair.in_flight or self._again:
                    return
                message = f"no memory for the output: {error}"
                self._ready.append(request.failure(Status.INVALID_ARGS, message))
            else:
                self._again.append(request)
            self._starved.popleft()

    def _refuse(self, entries: Sequence[tuple[int, Operation]], wanted: int) -> int:
        """Accept operations for a device that is gone: they end as DEVICE_ERROR."""
        if not self._lost:
            self._lose(self._pair.failure or "")
        for tag, operation in entries:
            request = self._carrier(tag, operation, None)
            self._ready.append(request.failure(Status.DEVICE_ERROR, self._pair.failure or ""))
        self._account(len(entries), wanted)
        return len(entries)

    def _account(self, accepted: int, wanted: int) -> None:
        self._in_flight += accepted
        self._enqueued += accepted
        self._rejected += wanted - accepted

    # -- out --------------------------------------------------------------------------------------------------

    def dequeue_burst(self, limit: int) -> Sequence[Completion]:
        completions: list[Completion] = []
        self._hand_out(completions, limit)
        if limit > len(completions) and not self._stopped and not self._lost:
            self._file.pump()
            self._collect(completions, limit)
            if not completions and self._pair.in_flight and self._pair.failed():
                self._lose(self._pair.failure or "")
            self._hand_out(completions, limit)
            if not completions and not self._pair.armed:
                # Who has nothing in flight does not arm, and must not find the last wake again and again.
                self._file.acknowledge()
        self._in_flight -= len(completions)
        self._dequeued += len(completions)
        return completions

    def _hand_out(self, completions: list[Completion], limit: int) -> None:
        """Completions that the driver made itself."""
        while self._ready and limit > len(completions):
            completions.append(self._ready.popleft())

    def _collect(self, completions: list[Completion], limit: int) -> None:
        """Completions of the device, until there are none or ``limit``, oldest first."""
        pair = self._pair
        while limit > len(completions):
            armed = pair.armed
            finished = pair.reap(limit - len(completions))
            if not finished:
                break
            self._wakes += armed
            for request, offset in finished:
                completion = self._settle(request, offset)
                if completion is not None:
                    completions.append(completion)
            if self._again or self._starved:
                self._send_again()

    def _settle(self, request: Request[Any, ShopT], offset: int) -> Completion | None:
        """The completion that a finished descriptor makes; ``None``: the request needs another one, now or later."""
        entry = self._pair.entries[offset : offset + self.sqe_size]
        tag, failed, answer = self._read(request, entry)
        slot = request.wire_tag & self._slot_mask
        refusal = self._file.refusal(slot) if failed else None
        request.faults += self._file.faults(slot)
        if tag != request.wire_tag:
            self._bad_tags += 1
            completion: Completion | None = request.failure(
                Status.DEVICE_ERROR, "the device returned another tag than the descriptor's"
            )
        else:
            try:
                completion = request.finish(answer, entry)
            except Shortage:
                request.release()
                self._starved.append(request)
                return None
        if completion is None:
            self._again.append(request)
        else:
            if refusal and completion.status is Status.PAGE_FAULT:
                completion = request.failure(Status.PAGE_FAULT, refusal.words, raised=refusal.raised)
            request.release()
        return completion

    # -- waiting ----------------------------------------------------------------------------------------------

    def fileno(self) -> int:
        return self._descriptor

    def arm(self) -> bool:
        if self._ready:
            return False
        if self._stopped or self._lost:
            return True
        if self._pair.in_flight and self._pair.failed():
            self._lose(self._pair.failure or "")
            return not self._ready
        armed = self._pair.arm()
        if self._pair.failure is not None:
            self._lose(self._pair.failure)
            return not self._ready
        return armed

    # -- the end ----------------------------------------------------------------------------------------------

    def withdraw(self, tag: int) -> bool:
        """Only between two descriptors of one operation: the doorbell rings within ``enqueue_burst``.

        An operation that the device has is given up: no more pages of it are asked for.
        """
        for waiting in (self._again, self._starved):
            request = next((request for request in waiting if request.tag == tag), None)
            if request is not None:
                waiting.remove(request)
                request.release()
                self._in_flight -= 1
                self._withdrawn += 1
                return True
        slot = self._pair.slot_of(lambda request: request.tag == tag)
        if slot is not None and not self._stopped:
            self._file.give_up(slot)
        return False

    def stop(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        if not self._lost:
            completions: list[Completion] = []
            self._collect(completions, self._in_flight)
            self._ready.extend(completions)
            for slot in self._pair.slots:
                self._file.give_up(slot)  # otherwise closing waits for the program's answers
        self._bury(Status.ABORTED, "the queue was stopped")

    def _lose(self, reason: str) -> None:
        """The queue is over. While the kernel resets a device, that device does nothing any more."""
        self._lost = True
        self._bury(Status.DEVICE_ERROR, reason)
        self._on_lost(reason)

    def _bury(self, status: Status, reason: str) -> None:
        """End all that is under way. Its memory stays as it is until the device cannot touch it any more."""
        requests = [*self._pair.abandon(), *self._again, *self._starved]
        self._again.clear()
        self._starved.clear()
        self._graves += requests
        self._ready.extend(request.failure(status, reason) for request in requests)

    def close(self) -> None:
        if self._closed:
            return
        self.stop()
        self._pair.close()
        self._closed = True
        for request in self._graves:
            request.release()
        self._graves.clear()
        self._shop.close()

    def statistics(self) -> QueueStatistics:
        extra = self._shop.counters.as_dict()
        levels_mapped = extra.pop("levels_mapped")
        extra |= {"doorbells": self._doorbells, "strays": self._pair.strays, "bad_tags": self._bad_tags}
        return QueueStatistics(
            depth=self.depth,
            in_flight=self._in_flight,
            enqueued=self._enqueued,
            dequeued=self._dequeued,
            withdrawn=self._withdrawn,
            rejected=self._rejected,
            wakes=self._wakes,
            levels_mapped=levels_mapped,
            extra=extra,
        )

    def __repr__(self) -> str:
        state = "closed" if self._closed else "stopped" if self._stopped else "lost" if self._lost else "open"
        return f"<{type(self).__name__} {state}, {self._in_flight} of {self.depth} in flight, {self._pair!r}>"
