"""Every check of the conformance suite can fail.

Each class below is the mock with one thing broken, and names the checks that have to notice. The mock without
that fault passes the same checks under the same options, so it is the fault that is found and nothing else.
"""

import dataclasses
import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, NamedTuple

import pytest

from wdasync.backend import (
    Capabilities,
    Capability,
    Check,
    Completion,
    Detail,
    DeviceInfo,
    PageFaults,
    Queue,
    QueueStatistics,
    Session,
    StreamSpec,
    Tiny,
)
from wdasync.errors import DataCause, Status, UnsupportedOperation
from wdasync.operations import (
    Chain,
    Compress,
    Decompress,
    DecompressChunk,
    Flush,
    KeySpec,
    Kind,
    Operation,
    Priority,
)
from wdasync.operations import Sequence as Steps
from wdasync.testing import _codecs
from wdasync.testing._mock_queue import MockQueue
from wdasync.testing._work import MockSession
from wdasync.testing.conformance import CHECKS, Verdict, examine
from wdasync.testing.mock import MockBackend, MockDevice, MockProvoker, Options, Program
from wdasync.testing.program import Effect
from wdasync_cpu.crypto import work as crypto
from wdasync_cpu.crypto.keys import CpuKey

#: Seconds that a check waits for what a broken backend may never do: short, and on a busy machine not enough.
PATIENCE, MORE_PATIENCE = 0.4, 20.0
Outcome = _codecs.Outcome


class Mutant(NamedTuple):
    """A broken backend.

    :ivar backend: its class
    :ivar healthy: the class without the fault
    :ivar check: the check that has to notice
    :ivar says: what it has to say, in part
    :ivar options: of the mock
    """

    backend: type[MockBackend]
    healthy: type[MockBackend]
    check: str
    says: str
    options: dict[str, Any]


MUTANTS: dict[str, Mutant] = {}


def backend_of(part: type) -> type[MockBackend]:
    """The mock, with this class in the place of its own."""
    if issubclass(part, MockBackend):
        return part
    if issubclass(part, MockDevice):
        return type(part.__name__, (MockBackend,), {"device_type": part})
    name = "queue_type" if issubclass(part, MockQueue) else "session_type"
    return backend_of(type(part.__name__, (MockDevice,), {name: part}))


def breaks(check: str, says: str, healthy: type[Any] = MockBackend, **options: Any) -> Callable[[type], type]:
    """Register a class as a mutant that this check has to notice."""

    def register(part: type) -> type:
        name = f"{part.__name__}-{check}"
        assert name not in MUTANTS
        MUTANTS[name] = Mutant(backend_of(part), backend_of(healthy), check, says, options)
        return part

    return register


# What comes and goes


@breaks("exactly_one_completion", "or completions were lost")
@breaks("twins_on_one_device", "no completion within")
class LosesACompletion(MockQueue):
    def dequeue_burst(self, limit: int) -> Sequence[Completion]:
        return [done for done in super().dequeue_burst(limit) if done.tag % 7 != 6]


@breaks("exactly_one_completion", "not in flight")
class CompletesTwice(MockQueue):
    def dequeue_burst(self, limit: int) -> Sequence[Completion]:
        taken = super().dequeue_burst(limit)
        return [*taken, taken[0]] if 1 < len(taken) < limit else taken


@breaks("exactly_one_completion", "not in flight")
class CompletesWhatNobodyAsked(MockQueue):
    def dequeue_burst(self, limit: int) -> Sequence[Completion]:
        return [*super().dequeue_burst(limit - 1), Completion(4_000_000_000, Status.SUCCESS, b"")]


@breaks("exactly_one_completion", "or completions were lost")
@breaks("burst_is_accepted_in_order", "are in flight in a queue of depth")
class AcceptsAndDrops(MockQueue):
    def enqueue_burst(self, entries: Sequence[tuple[int, Operation]]) -> int:
        super().enqueue_burst(entries)
        return len(entries)


@breaks("poll_mode", "no completion within")
class NeedsArming(MockQueue):
    def dequeue_burst(self, limit: int) -> Sequence[Completion]:
        return super().dequeue_burst(limit) if self.wake.armed else []


@breaks("poll_mode", "RuntimeError", steps=1)
class RaisesWhenEmpty(MockQueue):
    def dequeue_burst(self, limit: int) -> Sequence[Completion]:
        taken = super().dequeue_burst(limit)
        if not taken:
            raise RuntimeError("nothing there")
        return taken


@breaks("burst_is_accepted_in_order", "not in flight")
class AcceptsTheLastOnes(MockQueue):
    def enqueue_burst(self, entries: Sequence[tuple[int, Operation]]) -> int:
        return super().enqueue_burst(entries[::-1])


@breaks("whole_depth_can_be_used", "took 8 of 16")
class HasHalfItsDepth(MockQueue):
    def _room(self, wanted: int) -> int:
        return max(0, min(super()._room(wanted), self.depth // 2 - len(self._tags)))


@breaks("whole_depth_can_be_used", "17 operations are in flight in a queue of depth 16")
class HasMoreThanItsDepth(MockQueue):
    def _room(self, wanted: int) -> int:
        return wanted


@breaks("limit_is_kept", "gave 2 completions")
class GivesOneMore(MockQueue):
    def dequeue_burst(self, limit: int) -> Sequence[Completion]:
        return super().dequeue_burst(limit + 1)


@breaks("oldest_first", "expected the completion that waited")
class GivesTheNewest(MockQueue):
    def dequeue_burst(self, limit: int) -> Sequence[Completion]:
        self._pump()
        self._done.reverse()
        return super().dequeue_burst(limit)


@breaks("tags_are_any_number", "not in flight")
class KeepsThirtyOneBits(MockQueue):
    def dequeue_burst(self, limit: int) -> Sequence[Completion]:
        return [done._replace(tag=done.tag & 0x7FFFFFFF) for done in super().dequeue_burst(limit)]


@breaks("impossible_operations_complete", "expected INVALID_ARGS, got SUCCESS")
class CanDoEverything(MockQueue):
    def _do(self, operation: Operation) -> Outcome:
        outcome = super()._do(operation)
        refused = outcome.status is Status.INVALID_ARGS
        return Outcome(Status.SUCCESS, b"", operation.nbytes) if refused else outcome


@breaks("impossible_operations_complete", "no completion within")
class RefusesToAccept(MockQueue):
    def enqueue_burst(self, entries: Sequence[tuple[int, Operation]]) -> int:
        known = [operation.algorithm != "no-such-algorithm" for _, operation in entries]
        return super().enqueue_burst(entries[: (*known, False).index(False)])


@breaks("impossible_operations_complete", "KeyError")
class FallsOverTheUnknown(MockQueue):
    def _do(self, operation: Operation) -> Outcome:
        _codecs.CODECS[operation.algorithm]
        return super()._do(operation)


@breaks("a_dictionary_counts_or_is_refused", "a dictionary was given, and it completed SUCCESS")
class OverlooksDictionaries(MockQueue):
    def _do(self, operation: Operation) -> Outcome:
        operation.dictionary = None
        return super()._do(operation)


class Counts(MockQueue):
    """Has its counters replaced."""

    replaced: ClassVar[dict[str, Any]] = {}

    def statistics(self) -> QueueStatistics:
        return dataclasses.replace(super().statistics(), **self.replaced)


@breaks("counters_agree", "statistics: expected")
class CountsNothingInFlight(Counts):
    replaced: ClassVar[dict[str, Any]] = {"in_flight": 0}


@breaks("counters_agree", "closed")
class ForgetsItsCountersOnClose(MockQueue):
    def statistics(self) -> QueueStatistics:
        if self._closed:
            raise RuntimeError("closed")
        return super().statistics()


@breaks("counters_agree", "wakes went from")
class CountsBackwards(MockQueue):
    def statistics(self) -> QueueStatistics:
        return dataclasses.replace(super().statistics(), wakes=-self._enqueued)


@breaks("rejected_entries_are_counted", "rejected is 0")
class CountsNoRejection(Counts):
    replaced: ClassVar[dict[str, Any]] = {"rejected": 0}


@breaks("wakes_are_counted", "counted 0", steps=1)
class CountsNoWake(Counts):
    replaced: ClassVar[dict[str, Any]] = {"wakes": 0}


@breaks("every_level", "levels_mapped: 0 levels")
class CountsLevelsThatItHas(Counts):
    replaced: ClassVar[dict[str, Any]] = {"levels_mapped": 7}


@breaks("twins_on_one_device", "900 of 700 bytes consumed")
class GivesTheTwinsResults(MockQueue):
    def __init__(self, device: MockDevice, depth: int, queue_class: str) -> None:
        super().__init__(device, depth, queue_class)
        if device.queues:
            self._done = device.queues[0]._done

    def dequeue_burst(self, limit: int) -> Sequence[Completion]:
        self._done.reverse()
        return super().dequeue_burst(limit)


# The descriptor


@breaks("descriptor_is_one", "two queues have the same descriptor")
class SharesItsDescriptor(MockQueue):
    def fileno(self) -> int:
        return self.device.queues[0].wake.fileno()


@breaks("descriptor_is_one", "a regular file is always readable")
class HasAFileAsDescriptor(MockQueue):
    file: ClassVar[int] = os.open(__file__, os.O_RDONLY)

    def fileno(self) -> int:
        return self.file


@breaks("sleeper_is_woken", "not readable within", steps=100)
@breaks("sleeper_looks_once_more", "nobody woke the sleeper", latency=0.1)
@breaks("arming_again_is_harmless", "armed three times, and not woken", latency=0.005)
@breaks("readiness_waits_for_its_reader", "poll(2) saw nothing", steps=1)
class NeverWakes(MockQueue):
    def __init__(self, device: MockDevice, depth: int, queue_class: str) -> None:
        super().__init__(device, depth, queue_class)
        self.wake.ring = lambda: None  # type: ignore[method-assign]


@breaks("sleeper_is_woken", "not readable within", steps=100)
class WakesOnce(MockQueue):
    def arm(self) -> bool:
        armed = self.wake.count == 0 and super().arm()
        return armed or not self._done


@breaks("sleeper_is_woken", "completions wait")
@breaks("arm_sees_what_waits", "nothing was dequeued, and now it is True")
class SleepsThoughCompletionsWait(MockQueue):
    """It asks for a wake by the next completion, of which there may be none."""

    slept = 0

    def arm(self) -> bool:
        self.slept += 1
        armed = super().arm()
        return True if self.slept > 1 else armed


@breaks("arm_sees_what_waits", "no completion waits")
class NeverLetsSleep(MockQueue):
    def arm(self) -> bool:
        super().arm()
        return False


@breaks("idle_descriptor_is_quiet", "readable again after each arm()")
class WakesForNothing(MockQueue):
    def arm(self) -> bool:
        armed = super().arm()
        self.wake.ring()
        return armed


@breaks("idle_queue_is_quiet", "not armed, and the descriptor stays readable")
class TellsOldNews(MockQueue):
    """Its last news is never old."""

    def dequeue_burst(self, limit: int) -> Sequence[Completion]:
        taken = super().dequeue_burst(limit)
        if self.statistics().dequeued:
            os.eventfd_write(self.wake.fileno(), 1)
        return taken


@breaks("idle_queue_is_quiet", "armed once, and the descriptor stays readable")
class RingsWhileArmed(MockQueue):
    """As long as it is armed it wakes its owner, whether there is anything or not."""

    def dequeue_burst(self, limit: int) -> Sequence[Completion]:
        taken = super().dequeue_burst(limit)
        if self.wake.armed and not self.statistics().in_flight:
            os.eventfd_write(self.wake.fileno(), 1)
        return taken


@breaks("arming_first_is_enough", "armed, then enqueued, and not woken", steps=100)
class ForgetsArmsAtEnqueue(MockQueue):
    def enqueue_burst(self, entries: Sequence[tuple[int, Operation]]) -> int:
        self.wake._armed = False
        return super().enqueue_burst(entries)


@breaks("arming_again_is_harmless", "armed three times, and not woken", steps=100)
class ForgetsWhenArmedAgain(MockQueue):
    def arm(self) -> bool:
        if self.wake.armed or self.wake.count:
            return not self._done
        self.wake.arm()
        return True


@breaks("readiness_waits_for_its_reader", "a moment later it is not", steps=1)
class TakesItsReadinessBack(MockQueue):
    timer: threading.Timer | None = None

    def arm(self) -> bool:
        armed = super().arm()
        self.timer = threading.Timer(0.002, self.wake.touched, kwargs={"empty": True})
        self.timer.start()
        return armed

    def close(self) -> None:
        if self.timer:
            self.timer.join()
        super().close()


# Ends


@breaks("withdrawn_is_gone", "not in flight", engines=1, steps=2)
class CompletesWhatWasWithdrawn(MockQueue):
    def withdraw(self, tag: int) -> bool:
        return any(flight.tag == tag for flight in self._waiting)


@breaks("withdrawn_is_gone", "no completion within", engines=1, steps=2)
class WithdrawsAndSaysNo(MockQueue):
    def withdraw(self, tag: int) -> bool:
        super().withdraw(tag)
        return False


@breaks("withdrawn_is_gone", "not the sum of", engines=1, steps=2)
class CountsNoWithdrawal(Counts):
    replaced: ClassVar[dict[str, Any]] = {"withdrawn": 0}


@breaks("withdraw_knows_its_tags", "no such tag was in flight")
class WithdrawsAnything(MockQueue):
    def withdraw(self, tag: int) -> bool:
        return True


@breaks("withdrawn_tag_is_free", "enqueue_burst took", engines=1, steps=2)
class KeepsTheWithdrawnPlace(MockQueue):
    kept = 0

    def withdraw(self, tag: int) -> bool:
        withdrawn = super().withdraw(tag)
        self.kept += withdrawn
        return withdrawn

    def _room(self, wanted: int) -> int:
        return max(0, min(super()._room(wanted), self.depth - self.kept - len(self._tags)))


@breaks("stop_ends_all", "a stopped queue accepted an operation")
class AcceptsAfterStop(MockQueue):
    def stop(self) -> None:
        super().stop()
        self._stopped = False


@breaks("stop_ends_all", "no completion within", latency=60.0)
@breaks("stuck_operations_are_aborted", "no completion within")
class NeverAborts(MockQueue):
    def stop(self) -> None:
        self._stopped = True


@breaks("stop_ends_all", "after stop() expected SUCCESS or ABORTED", latency=60.0)
class AbortsAsDataError(MockQueue):
    def _end_all(self, outcome: Outcome) -> None:
        super()._end_all(outcome._replace(status=Status.DATA_ERROR))


FOREVER = threading.Event()


@breaks("stop_ends_all", "stop() did not return", latency=60.0)
@breaks("stuck_operations_are_aborted", "stop() did not return")
class WaitsInStop(MockQueue):
    def stop(self) -> None:
        if self._working:
            FOREVER.wait()
        super().stop()


@breaks("stuck_operations_are_aborted", "dequeue_burst() did not return")
class WaitsInDequeue(MockQueue):
    def dequeue_burst(self, limit: int) -> Sequence[Completion]:
        if self._working and not self._done:
            FOREVER.wait()
        return super().dequeue_burst(limit)


@breaks("stop_wakes_the_sleeper", "armed, then stopped", latency=60.0)
class StopsInSilence(MockQueue):
    def stop(self) -> None:
        self._stopped = True
        self._end_all(Outcome(Status.ABORTED))


@breaks("close_is_idempotent", "closed twice")
class ClosesOnce(MockQueue):
    def close(self) -> None:
        if self._closed:
            raise RuntimeError("closed twice")
        super().close()


@breaks("close_is_idempotent", "close() did not return")
class NeverCloses(MockQueue):
    def close(self) -> None:
        FOREVER.wait()


@breaks("closed_queue_touches_no_memory", "after close() the device still wrote", latency=60.0)
@breaks("stuck_buffers_are_held", "after close() the device still wrote")
class WritesAfterClose(MockQueue):
    def stop(self) -> None:
        self.targets = [flight.operation.destination for flight in self._working]
        super().stop()

    def close(self) -> None:
        super().close()
        threading.Timer(0.01, self.scribble).start()

    def scribble(self) -> None:
        for target in self.targets:
            if target:
                target[0] ^= 0xFF


@breaks("closed_queues_leave_no_descriptor", "descriptors were open")
class KeepsItsDescriptor(MockQueue):
    def __init__(self, device: MockDevice, depth: int, queue_class: str) -> None:
        super().__init__(device, depth, queue_class)
        self.leak = os.eventfd(0)


# Memory


def copied(operation: Operation) -> Operation:
    """The same work on other memory."""
    if not isinstance(operation, Compress):
        return operation
    source = operation.source
    data = bytes(source) if isinstance(source, memoryview) else source
    return Compress(
        data,
        operation.algorithm,
        level=operation.level,
        into=bytearray(8000) if operation.destination else None,
    )


@breaks("input_is_held_until_dequeued", "right after enqueue_burst")
@breaks("output_is_held_until_dequeued", "right after enqueue_burst")
@breaks("stuck_buffers_are_held", "while they were stuck")
class HoldsNothing(MockQueue):
    def enqueue_burst(self, entries: Sequence[tuple[int, Operation]]) -> int:
        return super().enqueue_burst([(tag, copied(operation)) for tag, operation in entries])


@breaks("input_is_held_until_dequeued", "when completions appeared", steps=1)
class LetsGoWhenDone(MockQueue):
    def _post(self, flight: Any, outcome: Outcome) -> None:
        super()._post(flight, outcome)
        self._tags[flight.tag] = Compress(b"", "gzip")
        flight.operation = self._tags[flight.tag]


@breaks("input_is_held_until_dequeued", "are still held")
@breaks("output_is_held_until_dequeued", "are still held")
@breaks("withdrawn_buffers_are_let_go", "are still held", engines=1, steps=2)
class HoldsForever(MockQueue):
    def _accept(self, tag: int, operation: Operation) -> None:
        self.held = [*getattr(self, "held", []), operation]
        super()._accept(tag, operation)


@breaks("compress_stays_inside", "wrote outside of them")
@breaks("decompress_stays_inside", "wrote outside of them")
class WritesOneTooMany(MockQueue):
    def _deliver(self, operation: Operation, outcome: Outcome) -> int:
        target = operation.destination
        if target is not None and isinstance(target.obj, bytearray) and len(outcome.output) >= len(target):
            beyond = (len(target.obj) - len(target)) // 2 + len(target)
            memoryview(target.obj)[beyond] = 0
        return super()._deliver(operation, outcome)


@breaks("decompress_stays_inside", "memory is exactly enough")
class WantsOneByteMore(MockQueue):
    def _do(self, operation: Operation) -> Outcome:
        outcome = super()._do(operation)
        tight = operation.destination is not None and len(outcome.output) == len(operation.destination)
        return Outcome(Status.OUT_OF_SPACE_TERMINATED) if tight else outcome


@breaks("compress_stays_inside", "somebody else cannot decompress")
class CutsWhatDoesNotFit(MockQueue):
    def _do(self, operation: Operation) -> Outcome:
        outcome = super()._do(operation)
        full = outcome.status is Status.OUT_OF_SPACE_TERMINATED
        return Outcome(Status.SUCCESS, outcome.output, operation.nbytes) if full else outcome


@breaks("input_is_left_alone", "the input has changed")
class WritesIntoItsInput(MockQueue):
    def _do(self, operation: Operation) -> Outcome:
        outcome = super()._do(operation)
        if isinstance(operation.source, memoryview) and not operation.source.readonly:
            operation.source[0] ^= 1
        return outcome


# Streams


@breaks("stream_compresses", "somebody else cannot decompress")
class DropsOutput(MockSession):
    def step(self, operation: Operation) -> Outcome:
        outcome = super().step(operation)
        return outcome._replace(output=b"") if operation.nbytes == 70_000 else outcome


@breaks("stream_compresses", "not marked final")
@breaks("stream_decompresses", "does not end")
class NeverSaysThatItEnded(MockSession):
    def step(self, operation: Operation) -> Outcome:
        self.ended = False
        return super().step(operation)._replace(detail=Detail())


@breaks("stream_compresses", "consumed 0 of")
class SaysItConsumedNothing(MockSession):
    def step(self, operation: Operation) -> Outcome:
        return super().step(operation)._replace(consumed=0)


@breaks("flush_lets_all_out", "bytes came out")
class DoesNotFlush(MockSession):
    def step(self, operation: Operation) -> Outcome:
        if getattr(operation, "flush", Flush.NONE) in (Flush.SYNC, Flush.FULL):
            operation.flush = Flush.NONE  # type: ignore[attr-defined]
        return super().step(operation)


@breaks("stream_decompresses", "came out of a step of at most")
class KnowsNoBound(MockSession):
    def step(self, operation: Operation) -> Outcome:
        if isinstance(operation, DecompressChunk):
            operation.max_length = 1 << 20
        return super().step(operation)


@breaks("stream_decompresses", "bytes used, nothing comes out")
@breaks("stream_ends_inside", "were consumed")
class SaysItConsumedAll(MockSession):
    def step(self, operation: Operation) -> Outcome:
        outcome = super().step(operation)
        return outcome._replace(consumed=operation.nbytes) if outcome.status is Status.SUCCESS else outcome


@breaks("reset_begins_anew", "a step after the end completed SUCCESS")
class GoesOnAfterItsEnd(MockSession):
    def step(self, operation: Operation) -> Outcome:
        return Outcome(Status.SUCCESS, b"", 0) if self.ended else super().step(operation)


@breaks("reset_begins_anew", "completed INVALID_STATE")
@breaks("broken_stream_can_be_reset", "completed INVALID_STATE")
@breaks("interrupted_stream_can_be_reset", "completed INVALID_STATE", latency=0.01)
class StaysBroken(MockSession):
    def reset(self) -> None:
        ended = self.ended
        super().reset()
        self.ended = ended


@breaks("reset_begins_anew", "the content has changed")
class KeepsItsHistory(MockSession):
    def reset(self) -> None:
        encoder, decoder = self._encoder, self._decoder
        fresh = self.ended
        super().reset()
        if not fresh:
            self._encoder, self._decoder = encoder, decoder


@breaks("stream_goes_on_with_members", "the content of a member has changed")
class ForgetsThatMembersFollow(MockSession):
    def _next_member(self, data: bytes) -> bool:
        return False


@breaks("stream_goes_on_with_members", "after the end, b'no member'")
class EatsWhatFollows(MockSession):
    def step(self, operation: Operation) -> Outcome:
        outcome = super().step(operation)
        nothing = outcome.status is Status.SUCCESS and not outcome.output
        return outcome._replace(consumed=operation.nbytes) if nothing else outcome


@breaks("streams_do_not_mix", "completed DATA_ERROR")
class SharesItsState(MockSession):
    shared: ClassVar[dict[Any, Any]] = {}

    def _begin(self) -> None:
        super()._begin()
        self._decoder = self.shared.setdefault((self.owner, self.spec), self._decoder)


@breaks("second_step_in_flight", "no completion within")
class LosesTheSecondStep(MockQueue):
    def _accept(self, tag: int, operation: Operation) -> None:
        busy = isinstance(operation.session, MockSession) and operation.session.busy
        super()._accept(tag, operation)
        if busy:
            self._vanished.append(self._waiting.pop())


@breaks("closed_stream_refuses", "completed SUCCESS")
class WorksWhenClosed(MockSession):
    def step(self, operation: Operation) -> Outcome:
        self.closed = False
        return super().step(operation)


@breaks("unknown_stream_is_refused", "expected UnsupportedOperation")
class OpensAnyStream(MockDevice):
    def open_session(self, spec: StreamSpec) -> Session:
        try:
            return super().open_session(spec)
        except UnsupportedOperation:
            return super().open_session(dataclasses.replace(spec, algorithm="gzip"))


# Units


class Changed(MockQueue):
    """Changes the outcome of some work."""

    def change(self, operation: Operation, outcome: Outcome) -> Outcome:
        raise NotImplementedError

    def _do(self, operation: Operation) -> Outcome:
        outcome = super()._do(operation)
        stateless = operation.session is None and operation.algorithm in _codecs.CODECS
        return self.change(operation, outcome) if stateless else outcome


@breaks("compress_round_trip", "somebody else cannot decompress")
@breaks("decompress_round_trip", "the content has changed")
class CorruptsLargeOutput(Changed):
    def change(self, operation: Operation, outcome: Outcome) -> Outcome:
        large = len(outcome.output) > 30_000
        return outcome._replace(output=outcome.output[:-1] + b"!") if large else outcome


@breaks("compress_round_trip", "consumed is")
@breaks("decompress_round_trip", "consumed is")
class ConsumesOneLess(Changed):
    def change(self, operation: Operation, outcome: Outcome) -> Outcome:
        return outcome._replace(consumed=max(0, outcome.consumed - 1))


@breaks("input_in_segments", "segments were joined wrongly")
class ReadsTheFirstSegments(MockQueue):
    def _do(self, operation: Operation) -> Outcome:
        if isinstance(operation.source, tuple) and len(operation.source) > 2:
            operation.source = (*operation.source[:-3], operation.source[-1])
        return super()._do(operation)


@breaks("every_level", "level='best' completed INVALID_ARGS")
class KnowsNoBest(Changed):
    def change(self, operation: Operation, outcome: Outcome) -> Outcome:
        return Outcome(Status.INVALID_ARGS) if operation.level == "best" else outcome


@breaks("every_window", "window 16 of at most 15 completed SUCCESS")
class TakesAnyWindow(MockQueue):
    def _do(self, operation: Operation) -> Outcome:
        if isinstance(operation, Compress) and (operation.window or 0) > 15:
            operation.window = 15
        return super()._do(operation)


class Limited(MockDevice):
    """Has rows with a longest input."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.capabilities = Capabilities(
            dataclasses.replace(row, max_input=100_000) for row in self.capabilities
        )


class _KnowsNoLimit(MockQueue):
    def _do(self, operation: Operation) -> Outcome:
        limited = self.device.capabilities
        self.device.capabilities = Capabilities(dataclasses.replace(row, max_input=None) for row in limited)
        try:
            return super()._do(operation)
        finally:
            self.device.capabilities = limited


@breaks("limits_of_the_table", "100001 bytes completed", Limited)
class KnowsNoLimit(Limited):
    queue_type = _KnowsNoLimit


@breaks("output_is_bounded", "completed SUCCESS")
class IsUnbounded(MockQueue):
    def _do(self, operation: Operation) -> Outcome:
        if isinstance(operation, Decompress):
            operation.max_length = 1 << 30
        return super()._do(operation)


@breaks("members_are_one_whole", "members were joined wrongly")
class ReadsOneMember(Changed):
    def change(self, operation: Operation, outcome: Outcome) -> Outcome:
        several = isinstance(operation, Decompress) and operation.max_members > 3
        return outcome._replace(output=outcome.output[:3000]) if several else outcome


@breaks("members_are_one_whole", "max_members=3 completed SUCCESS")
class CountsNoMembers(MockQueue):
    def _do(self, operation: Operation) -> Outcome:
        if isinstance(operation, Decompress):
            operation.max_members = 1 << 20
        return super()._do(operation)


@breaks("bad_input_is_an_error", "completed SUCCESS")
class BelievesEverything(Changed):
    def change(self, operation: Operation, outcome: Outcome) -> Outcome:
        bad = outcome.status in (Status.DATA_ERROR, Status.CHECKSUM_FAILED)
        return Outcome(Status.SUCCESS, b"", operation.nbytes) if bad else outcome


@breaks("bad_input_is_an_error", "did not return within")
class HangsOnBadInput(Changed):
    def change(self, operation: Operation, outcome: Outcome) -> Outcome:
        if outcome.status is Status.DATA_ERROR:
            FOREVER.wait()
        return outcome


@breaks("bad_input_has_a_cause", "cause corrupt")
class KnowsNoCause(Changed):
    def change(self, operation: Operation, outcome: Outcome) -> Outcome:
        return outcome._replace(detail=Detail(cause=DataCause.CORRUPT))


@breaks("good_survives_bad", "completed DATA_ERROR")
class IsUpsetByBadInput(Changed):
    def change(self, operation: Operation, outcome: Outcome) -> Outcome:
        before, self.before = getattr(self, "before", None), outcome
        return before if before and before.status is not Status.SUCCESS else outcome


# Devices and backends


@breaks("backend_has_its_shape", "name is 'The Mock'")
class HasABadName(MockBackend):
    name: ClassVar[str] = "The Mock"


@dataclasses.dataclass
class ThawedOptions:
    speed: int = dataclasses.field(default=1, metadata={"help": "how fast"})


@breaks("options_are_a_table", "not frozen")
class CanBeChangedLater(MockBackend):
    Options: ClassVar[type[Any]] = ThawedOptions


@dataclasses.dataclass(frozen=True)
class SilentOptions(Options):
    secret: int = 1


@breaks("options_are_a_table", 'metadata["help"] is None')
class ExplainsNothing(MockBackend):
    Options: ClassVar[type[Any]] = SilentOptions


@breaks("devices_can_be_listed", "names are not unique")
class ListsTwice(MockBackend):
    def devices(self) -> Sequence[DeviceInfo]:
        return [*super().devices(), *super().devices()]


@breaks("devices_can_be_listed", "devices() did not return")
class WaitsForDevices(MockBackend):
    def devices(self) -> Sequence[DeviceInfo]:
        FOREVER.wait()
        return super().devices()


@breaks("listing_opens_nothing", "after devices()")
class OpensWhileListing(MockBackend):
    opened: ClassVar[list[int]] = []

    def devices(self) -> Sequence[DeviceInfo]:
        self.opened.append(os.eventfd(0))
        return super().devices()


@breaks("foreign_device_is_refused", "expected BackendUnavailable")
class OpensAnything(MockBackend):
    def open(self, info: DeviceInfo, options: Any, **how: Any) -> MockDevice:
        return super().open(self.devices()[0], options, **how)


@breaks("doctor_gets_answers", "there is no advice")
class AdvisesNothing(MockBackend):
    def diagnose(self, options: Any) -> Iterable[Check]:
        yield Check("plug", False, "not plugged in")


@breaks("device_has_its_shape", "capabilities is")
class HasAListAsTable(MockDevice):
    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.capabilities = list(self.capabilities)  # type: ignore[assignment]


@breaks("table_makes_sense", "levels (0, 9) of scale (1, 5)")
class HasLevelsOutsideTheScale(MockDevice):
    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.capabilities = Capabilities(dataclasses.replace(row, scale=(1, 5)) for row in self.capabilities)


@breaks("every_queue_class_opens", "no such queue", split=True)
class OpensOneClass(MockDevice):
    def open_queue(self, depth: int, priority: Priority = Priority.NORMAL, queue_class: str = "") -> Queue:
        if queue_class == "decompress":
            raise ValueError("no such queue")
        return super().open_queue(depth, priority, queue_class)


@breaks("every_queue_class_opens", "completed INVALID_ARGS", split=True)
class MixesItsClasses(MockDevice):
    def open_queue(self, depth: int, priority: Priority = Priority.NORMAL, queue_class: str = "") -> Queue:
        return super().open_queue(depth, priority, "compress")


@breaks("unknown_queue_class_is_refused", "was opened")
class OpensAnyClass(MockDevice):
    def open_queue(self, depth: int, priority: Priority = Priority.NORMAL, queue_class: str = "") -> Queue:
        return super().open_queue(depth, priority, "")


@breaks("depth_is_a_wish", "wished for a depth of 1, got 16")
class HasAFixedDepth(MockDevice):
    def open_queue(self, depth: int, priority: Priority = Priority.NORMAL, queue_class: str = "") -> Queue:
        return super().open_queue(16, priority, queue_class)


@breaks("device_can_be_reset", "after reset() lost is")
@breaks("lost_device_comes_back", "after reset() lost is")
class StaysLost(MockDevice):
    def reset(self) -> None:
        self._lost = "still gone"


class OwnMemory(MockDevice):
    """Memory has to be its own."""

    def allocate(self, nbytes: int) -> memoryview | None:
        return memoryview(bytearray(nbytes))


@breaks("own_memory_is_usable", "asked for 10000 bytes", OwnMemory)
class GivesTooLittle(MockDevice):
    def allocate(self, nbytes: int) -> memoryview | None:
        return memoryview(bytearray(nbytes // 2))


class _Inline:
    def __init__(self, device: MockDevice, tag: int, status: Status) -> None:
        self.cost = lambda operation: 1
        inline = device.inline
        assert inline is not None
        self.run = lambda operation: inline.run(operation)._replace(tag=tag, status=status)


@breaks("inline_does_the_same", "tag is 7", inline_cost=5)
class TagsInlineWork(MockDevice):
    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.inline = _Inline(self, 7, Status.SUCCESS)


@breaks("inline_does_the_same", "INVALID_ARGS through a queue, SUCCESS inline", inline_cost=5)
class SucceedsInline(MockDevice):
    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.inline = _Inline(self, 0, Status.SUCCESS)


class _TinyInline:
    """Tiny digests, as this function makes them."""

    def __init__(self, device: MockDevice, make: Callable[[Any], bytes | None], fixed: int = 1) -> None:
        inline = device.inline
        assert inline is not None
        self.cost, self.run, self._make, self._fixed = inline.cost, inline.run, make, fixed

    def tiny(self, kind: Kind, algorithm: str) -> Tiny | None:
        known = kind is Kind.DIGEST and algorithm == "sha256"
        return Tiny(self._make, self._fixed, 1) if known else None


def sha256(data: Any) -> bytes | None:
    return hashlib.sha256(data).digest() if type(data) is bytes else None


class HasTinyWork(MockDevice):
    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.inline = _TinyInline(self, sha256)


@breaks("tiny_work_is_the_same", "another output without an operation", HasTinyWork, inline_cost=5)
class DigestsOtherwise(MockDevice):
    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.inline = _TinyInline(self, lambda data: sha256(data[1:]))


@breaks("tiny_work_is_the_same", "expected None for what is not bytes", HasTinyWork, inline_cost=5)
class DigestsAnything(MockDevice):
    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.inline = _TinyInline(self, lambda data: hashlib.sha256(data).digest())


@breaks("tiny_work_is_the_same", "it does nothing", HasTinyWork, inline_cost=5)
class DigestsNothing(MockDevice):
    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.inline = _TinyInline(self, lambda data: None)


@breaks("tiny_work_is_the_same", "fixed=-1", HasTinyWork, inline_cost=5)
class TakesNoTime(MockDevice):
    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.inline = _TinyInline(self, sha256, -1)


@breaks("queues_in_two_threads", "one thread owns a device")
class HasOneThread(MockQueue):
    def _enter(self, what: str) -> None:
        owners = self.device.__dict__.setdefault("owners", set())
        owners.add(threading.get_ident())
        if len(owners) > 1:
            raise RuntimeError("one thread owns a device")
        super()._enter(what)


@breaks("two_devices", "a stream of another device completed SUCCESS", devices=2)
class TakesForeignStreams(MockQueue):
    def _do(self, operation: Operation) -> Outcome:
        session = operation.session
        return session.step(operation) if isinstance(session, MockSession) else super()._do(operation)


@breaks("pages_come_when_touched", "5 pages were absent, faults is 0", page_faults=PageFaults.HANDLER)
class CountsNoFaults(MockQueue):
    def _complete(self, flight: Any) -> None:
        flight.faults = 0
        super()._complete(flight)


@breaks("pages_come_when_touched", "that nobody supplies completed SUCCESS", page_faults=PageFaults.HANDLER)
class MakesPagesUp(MockQueue):
    def _complete(self, flight: Any) -> None:
        if flight.outcome and flight.outcome.status is Status.PAGE_FAULT:
            flight.outcome = Outcome(Status.SUCCESS, b"")
        super()._complete(flight)


@breaks("pages_come_when_touched", "0 faults reported", page_faults=PageFaults.HANDLER)
class ReportsNoFaults(MockDevice):
    def __init__(self, info: DeviceInfo, program: Program, on_fault: Any, report: Any) -> None:
        super().__init__(info, program, on_fault, None)


@breaks(
    "pages_of_a_unit_come_when_touched",
    "completed INVALID_ARGS: the header is absent",
    page_faults=PageFaults.HANDLER,
)
class ReadsTheHeaderAtOnce(MockQueue):
    def _complete(self, flight: Any) -> None:
        if flight.faults and flight.operation.kind is Kind.DECOMPRESS:
            flight.outcome = Outcome(Status.INVALID_ARGS, detail=Detail("the header is absent"))
        super()._complete(flight)


# Trouble


@breaks("stuck_queue_leaves_its_twin_alone", "no completion within")
class SticksTogether(MockQueue):
    def _ripe(self) -> list[Any]:
        working = [flight for queue in self.device.queues for flight in queue._working]
        return [] if any(Effect.STICK in flight.effects for flight in working) else super()._ripe()


@breaks("lost_device_ends_all", "nobody woke")
class GoesInSilence(MockDevice):
    def lose(self, reason: str, after: int = 0) -> None:
        self._lost = reason


class _Silent(MockProvoker):
    silent = True


class _GoesInSilence(MockBackend):
    """As Linux removes a device: whoever asks is told."""

    device_type = GoesInSilence
    provoker = _Silent()


class _SaysThatAllIsWell(MockQueue):
    def arm(self) -> bool:
        return super().arm() or self.device.lost is not None


class _DeviceOfOneThatSaysSo(GoesInSilence):
    queue_type = _SaysThatAllIsWell


@breaks("lost_device_ends_all", "arm() says that all is well", healthy=_GoesInSilence)
class SaysThatAllIsWell(_GoesInSilence):
    device_type = _DeviceOfOneThatSaysSo


class _StuckForGood(MockQueue):
    def _end_all(self, outcome: Outcome) -> None:
        if outcome.status is not Status.DEVICE_ERROR:
            super()._end_all(outcome)


@breaks("lost_device_ends_all", "no completion within")
class LosesWhatWasInFlight(MockDevice):
    queue_type = _StuckForGood


@breaks("lost_device_ends_all", "lost is ''")
class DoesNotKnowThatItIsLost(MockDevice):
    @property
    def lost(self) -> str | None:
        return super().lost and ""


@pytest.fixture(autouse=True, scope="module")
def _let_go() -> Any:
    """Ends the threads of those who wait for ever."""
    yield
    FOREVER.set()


# Digests and keys


class CryptoQueue(MockQueue):
    """A mock whose device can do what the CPU can."""

    spoiled: ClassVar[Kind | None] = None

    def _do(self, operation: Operation) -> Outcome:
        if operation.kind < Kind.ENCRYPT:
            outcome = super()._do(operation)
        else:
            status, output, consumed, _, _, detail = crypto.run(operation, lambda: False)
            outcome = Outcome(Status(status), output or b"", consumed, detail or Detail())
        return self.spoil(outcome, operation) if operation.kind is self.spoiled else outcome

    def spoil(self, outcome: Outcome, operation: Operation) -> Outcome:
        """What the device makes of a right answer: it turns a bit around."""
        last = bytes(byte ^ 1 for byte in outcome.output[-1:])
        return outcome._replace(output=outcome.output[:-1] + last)


CRYPTO = Capabilities(
    [
        Capability(Kind.COMPRESS, "zlib"),
        *(Capability(kind, "aes-128-cbc") for kind in (Kind.ENCRYPT, Kind.DECRYPT)),
        *(Capability(kind, "aes-256-gcm") for kind in (Kind.SEAL, Kind.OPEN)),
        *(
            Capability(kind, "rsa")
            for kind in (Kind.SIGN, Kind.VERIFY, Kind.PUBLIC_ENCRYPT, Kind.PRIVATE_DECRYPT)
        ),
        Capability(Kind.EXCHANGE, "x25519"),
        Capability(Kind.GENERATE, "ec-p256"),
    ]
)


class CryptoDevice(MockDevice):
    queue_type = CryptoQueue

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.capabilities = CRYPTO

    def open_key(self, spec: KeySpec) -> CpuKey:
        return CpuKey(spec)


def spoils(
    check: str, says: str, kind: Kind, spoil: Callable[[Outcome, Operation], Outcome] | None = None
) -> None:
    """Register a mutant whose answers of one kind are wrong, in this way or by a bit."""
    members: dict[str, Any] = {"spoiled": kind}
    if spoil is not None:
        members["spoil"] = lambda _, outcome, operation: spoil(outcome, operation)
    queue = type(f"Spoils{kind.name.title().replace('_', '')}{len(MUTANTS)}", (CryptoQueue,), members)
    base = CryptoDevice if kind >= Kind.ENCRYPT else MockDevice
    breaks(check, says, base)(type(queue.__name__, (base,), {"queue_type": queue}))


def outcome_of(
    status: Status, output: bytes = b"", message: str = ""
) -> Callable[[Outcome, Operation], Outcome]:
    return lambda outcome, _: Outcome(status, output, outcome.consumed, Detail(message))


def _differs(outcome: Outcome, _: Operation) -> Outcome:
    """Each time another output."""
    return outcome._replace(output=outcome.output[:-8] + os.urandom(8))


def _talks(outcome: Outcome, _: Operation) -> Outcome:
    return outcome._replace(detail=Detail("byte 7 is wrong")) if outcome.status else outcome


def _around(outcome: Outcome, operation: Operation) -> Outcome:
    """Memory around what was given is written, too."""
    view: Any = operation.destination
    memory = view.obj
    if len(memory) > len(view):
        memory[0:1] = b"\0"
    return outcome


def _takes_all(outcome: Outcome, _: Operation) -> Outcome:
    return outcome._replace(status=Status.SUCCESS) if outcome.status else outcome


spoils("memory_work_is_done", "the memory has another content", Kind.COPY)
spoils("memory_work_is_done", "bytes around it were written", Kind.FILL, _around)
spoils("comparisons_are_right", "expected 00, got 01", Kind.COMPARE, outcome_of(Status.SUCCESS, b"\1"))
spoils(
    "checksums_are_right",
    "expected",
    Kind.CHECKSUM,
    lambda outcome, _: outcome._replace(output=outcome.output[::-1]),
)
spoils("digests_are_right", "expected", Kind.DIGEST)
spoils("codes_are_right", "expected", Kind.MAC)
spoils(
    "digests_in_steps_are_right",
    "output before the last piece",
    Kind.DIGEST_CHUNK,
    outcome_of(Status.SUCCESS, b"x"),
)
spoils("ciphers_are_right", "another output", Kind.ENCRYPT)
spoils("ciphers_are_right", "too long an iv: SUCCESS", Kind.DECRYPT, _takes_all)
spoils("seals_are_right", "completed CHECKSUM_FAILED", Kind.SEAL, _differs)
spoils("seals_are_right", "of something that was changed: SUCCESS", Kind.OPEN, _takes_all)
spoils("seals_are_right", "the message tells an attacker", Kind.OPEN, _talks)
spoils("signatures_are_right", "cryptography does not accept the signature", Kind.SIGN)
spoils(
    "signatures_are_right", "expected CHECKSUM_FAILED, got SUCCESS", Kind.VERIFY, outcome_of(Status.SUCCESS)
)
spoils("public_encryption_is_right", "the text has changed", Kind.PRIVATE_DECRYPT)
spoils("public_encryption_is_right", "the message tells an attacker", Kind.PRIVATE_DECRYPT, _talks)
spoils("exchanges_are_right", "the other side has another secret", Kind.EXCHANGE)
spoils("generated_keys_are_keys", "the same key twice", Kind.GENERATE, outcome_of(Status.SUCCESS, b"a key"))
spoils("generated_keys_are_keys", "cannot read the key", Kind.GENERATE, _differs)
spoils("keys_are_shared", "has 16 outputs", Kind.SEAL, _differs)
spoils("keys_are_shared", "has 16 outputs", Kind.ENCRYPT, _differs)


# Sequences


class SequencingQueue(MockQueue):
    """A mock whose device does several steps in one operation."""

    def _do(self, operation: Operation) -> Outcome:
        if not isinstance(operation, Steps):
            return super()._do(operation)
        data: bytes | None = None
        for number in range(len(operation.steps)):
            step = operation.feed(number, data)
            done = super()._do(step)
            if done.status:
                return self.failed(done, number)
            if step.kind is Kind.CHECKSUM:
                operation.seen[number] = done.output
            else:
                data = done.output
        return Outcome(Status.SUCCESS, data or b"", operation.nbytes)

    def failed(self, done: Outcome, number: int) -> Outcome:
        return Outcome(done.status, detail=Detail(done.detail.message, step=number))


class SequencingDevice(MockDevice):
    queue_type = SequencingQueue

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.capabilities = Capabilities([*self.capabilities, Capability(Kind.SEQUENCE, "sequence")])


class ForgetsTheStepQueue(SequencingQueue):
    def failed(self, done: Outcome, number: int) -> Outcome:
        return done


class SeesNothingQueue(SequencingQueue):
    def _do(self, operation: Operation) -> Outcome:
        outcome = super()._do(operation)
        if isinstance(operation, Steps):
            operation.seen[:] = [None] * len(operation.seen)
        return outcome


class ReturnsNothingQueue(SequencingQueue):
    def _do(self, operation: Operation) -> Outcome:
        outcome = super()._do(operation)
        return outcome._replace(output=b"") if isinstance(operation, Steps) else outcome


class KeepsTheInputQueue(SequencingQueue):
    def _do(self, operation: Operation) -> Outcome:
        if not isinstance(operation, Steps):
            return super()._do(operation)
        kept = operation.recipe.prepared
        if self not in kept:
            kept[self] = super()._do(operation)
        outcome: Outcome = kept[self]
        return outcome


@breaks("sequences_are_right", "a recipe that is used again", SequencingDevice)
class KeepsTheInput(SequencingDevice):
    queue_type = KeepsTheInputQueue


@breaks("sequences_are_right", "detail.step is None", SequencingDevice)
class ForgetsTheStep(SequencingDevice):
    queue_type = ForgetsTheStepQueue


@breaks("sequences_are_right", "to be seen", SequencingDevice)
class SeesNothing(SequencingDevice):
    queue_type = SeesNothingQueue


@breaks("sequences_are_right", "not that of the last step", SequencingDevice)
class ReturnsNothing(SequencingDevice):
    queue_type = ReturnsNothingQueue


class TakesTheChain(MockQueue):
    """Does something with the chain of each step."""

    def enqueue_burst(self, entries: Sequence[tuple[int, Operation]]) -> int:
        for _, operation in entries:
            if operation.chain is not None:
                self.take(operation.chain)
        return super().enqueue_burst(entries)

    def take(self, chain: Chain) -> None:
        raise NotImplementedError


@breaks("steps_of_a_chain", "cannot be ended")
class NeverEnds(TakesTheChain):
    def take(self, chain: Chain) -> None:
        if repr(chain) == "<Chain 0 kept>":
            chain.keep(lambda: {}["the queue is gone"])


@breaks("steps_of_a_chain", "that nobody goes on with")
class KeepsForNobody(TakesTheChain):
    def take(self, chain: Chain) -> None:
        chain._ends.append(lambda: None)


@breaks("steps_of_a_chain", "expected bytes as output")
class HandsOutViews(MockQueue):
    def dequeue_burst(self, limit: int) -> Sequence[Completion]:
        found = super().dequeue_burst(limit)
        return [done._replace(output=done.output and memoryview(done.output)) for done in found]  # type: ignore[arg-type]


def findings(backend: type[MockBackend], mutant: Mutant, patience: float) -> list[tuple[Verdict, str]]:
    program = Program(Options(**mutant.options))
    made = backend(program)
    report = examine(made, made.Options(**mutant.options), patience=patience, only=[mutant.check])
    return [(finding.verdict, finding.explanation) for finding in report.findings]


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS.keys())
def test_the_fault_is_found(mutant: Mutant) -> None:
    said: list[str] = []
    for patience in (PATIENCE, MORE_PATIENCE):
        found = findings(mutant.backend, mutant, patience)
        said += [explanation for verdict, explanation in found if verdict is Verdict.FAILED]
        if any(mutant.says in explanation for explanation in said):
            return
    raise AssertionError(said)


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS.keys())
def test_without_the_fault_it_passes(mutant: Mutant) -> None:
    found = findings(mutant.healthy, mutant, MORE_PATIENCE)
    assert [explanation for verdict, explanation in found if verdict is Verdict.FAILED] == []
    assert any(verdict is Verdict.PASSED for verdict, _ in found), found


def test_every_check_has_a_fault_to_find() -> None:
    assert set(CHECKS) - {mutant.check for mutant in MUTANTS.values()} == set()
