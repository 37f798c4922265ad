"""What users are promised, on each backend and event loop; and each case can fail."""

from collections.abc import Sequence
from typing import Any

import anyio
import pytest

import wdasync
from wdasync.backend import Completion
from wdasync.errors import Status
from wdasync.operations import Compress, Operation
from wdasync.registry import backend_names, get_backend
from wdasync.testing import ContractViolation, check_accelerator
from wdasync.testing._codecs import Outcome
from wdasync.testing.accelerators import CASES, event_loops, examine_accelerator, on_event_loop
from wdasync.testing.conformance import Verdict
from wdasync.testing.mock import MockDevice, MockQueue, MockSession, Options, Program, Readiness
from wdasync.testing.mock import backend as mock

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("name", backend_names())
async def test_installed_backends_keep_the_promises(name: str) -> None:
    if not get_backend(name).devices():
        pytest.skip(f"no device of {name} here")
    report = await check_accelerator(name)
    assert len(report.with_verdict(Verdict.PASSED)) >= 8


@pytest.mark.parametrize(
    "options",
    [
        {"latency": 0.001, "engines": 2, "depth": 8},
        {"latency": 0.0005, "jitter": 0.0005, "readiness": Readiness.CONSUMING},
        {"steps": 3, "readiness": Readiness.CONSUMING, "lingering": True},
        {"steps": 1, "readiness": Readiness.EDGE, "accept": 3},
    ],
)
async def test_the_mock_keeps_them_in_its_moods(options: dict[str, Any]) -> None:
    with mock.programmed(Program(Options(**options))) as program:
        await check_accelerator("mock")
        assert program.complaints == []


# Each case can fail


class CorruptsLargeOutput(MockQueue):
    def _do(self, operation: Operation) -> Outcome:
        outcome = super()._do(operation)
        return outcome._replace(output=outcome.output[:-1]) if operation.nbytes > 4000 else outcome


class SwapsResults(MockQueue):
    def dequeue_burst(self, limit: int) -> Sequence[Completion]:
        taken = super().dequeue_burst(limit)
        tags = [done.tag for done in taken]
        return [done._replace(tag=tag) for done, tag in zip(taken, reversed(tags), strict=True)]


class Invents(MockQueue):
    def dequeue_burst(self, limit: int) -> Sequence[Completion]:
        taken = list(super().dequeue_burst(limit))
        return [*taken, Completion(4_000_000_000, Status.SUCCESS, b"")] if taken else taken


class WritesBeyond(MockQueue):
    def _deliver(self, operation: Operation, outcome: Outcome) -> int:
        target = operation.destination
        if target is not None and isinstance(target.obj, bytearray):
            target.obj[-1] = 0
        return super()._deliver(operation, outcome)


class BelievesEverything(MockQueue):
    def _do(self, operation: Operation) -> Outcome:
        outcome = super()._do(operation)
        return Outcome(Status.SUCCESS) if outcome.status is Status.DATA_ERROR else outcome


class DropsInput(MockSession):
    def step(self, operation: Operation) -> Outcome:
        outcome = super().step(operation)
        return outcome if operation.nbytes or outcome.detail.final else outcome._replace(output=b"")


class WritesLater(MockQueue):
    """It writes into the caller's memory once more, a moment after its completion."""

    def _deliver(self, operation: Operation, outcome: Outcome) -> int:
        if (target := operation.destination) is not None:
            self._program.alarm.at(0, lambda: scribble(target))
        return super()._deliver(operation, outcome)


def scribble(target: memoryview) -> None:
    import time

    time.sleep(0.002)
    target[-1] ^= 0xFF


FAULTS: dict[str, tuple[str, str, type, dict[str, Any]]] = {
    "corrupt output": ("units_round_trip", "somebody else cannot decompress", CorruptsLargeOutput, {}),
    "swapped results": ("many_keep_their_order", "the round trip changed the content", SwapsResults, {}),
    "mixed tasks": ("tasks_do_not_mix", "the round trip changed the content", SwapsResults, {}),
    "lost completions": ("tasks_do_not_mix", "TimeoutError", MockQueue, {"lose_interval": 50}),
    "no wake-ups": (
        "every_wake_up_comes",
        "by the safety timer",
        MockQueue,
        {"steps": 9, "readiness": Readiness.NEVER},
    ),
    "spurious completions": ("every_wake_up_comes", "belonged to no operation", Invents, {}),
    "written beyond": ("memory_of_the_caller", "bytes around the buffer were written", WritesBeyond, {}),
    "bad data believed": ("errors_are_typed", "expected DataError, got b''", BelievesEverything, {}),
    "a stream with a hole": ("streams_round_trip", "somebody else cannot decompress", DropsInput, {}),
    "late writes": ("cancelled_operations_leave_no_trace", "were still written", WritesLater, {}),
}


def device_of(part: type) -> type[MockDevice]:
    name = "queue_type" if issubclass(part, MockQueue) else "session_type"
    return type(part.__name__, (MockDevice,), {name: part})


@pytest.mark.parametrize(("case", "says", "part", "options"), FAULTS.values(), ids=FAULTS.keys())
async def test_a_case_finds_its_fault(
    case: str, says: str, part: type, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(mock), "device_type", device_of(part))
    said = []
    for patience in (0.3, 20):  # short, and on a busy machine not enough
        with mock.programmed(**options):
            report = await examine_accelerator("mock", patience=patience, only=[case], safety_interval=0.01)
        (finding,) = report.failed
        if says in finding.explanation:
            return
        said.append(finding.explanation)
    raise AssertionError(said)


async def test_buffers_that_stay_held_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[Operation] = []

    class Holds(MockQueue):
        def _accept(self, tag: int, operation: Operation) -> None:
            held.append(
                Compress(b"", "gzip", into=operation.destination) if operation.destination else operation
            )
            super()._accept(tag, operation)

    monkeypatch.setattr(type(mock), "device_type", device_of(Holds))
    (finding,) = (await examine_accelerator("mock", only=["cancelled_operations_leave_no_trace"])).failed
    assert "BufferError" in finding.explanation


async def test_slots_that_stay_taken_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device loses an operation that was cancelled and left to it: its slot stays taken until the deadline."""

    class LosesOne(MockQueue):
        def _post(self, flight: Any, outcome: Outcome) -> None:
            if flight.operation.destination is None and not self._vanished and not self._stopped:
                self._vanished.append(flight)
            else:
                super()._post(flight, outcome)

    monkeypatch.setattr(type(mock), "device_type", device_of(LosesOne))
    report = await examine_accelerator(
        "mock", patience=0.5, only=["cancelled_operations_leave_no_trace"], close_timeout=0.01
    )
    (finding,) = report.failed
    assert finding.explanation == "1 slots are still taken after 0.5 s"


async def test_a_close_that_does_not_come_back_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    close = wdasync.Accelerator.aclose

    calls = 0

    async def never(self: wdasync.Accelerator) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            await anyio.sleep(60)
        await close(self)

    monkeypatch.setattr(wdasync.Accelerator, "aclose", never)
    with mock.programmed(latency=0.1):
        (finding,) = (
            await examine_accelerator("mock", patience=0.5, only=["closing_ends_everything"])
        ).failed
    assert "aclose() did not return" in finding.explanation


def test_every_case_has_a_fault_to_find() -> None:
    assert {case for case, *_ in FAULTS.values()} | {"closing_ends_everything"} == set(CASES)


# Reports


async def test_a_violation_names_the_cases() -> None:
    with mock.programmed(lose_interval=2):
        with pytest.raises(ContractViolation, match="breaks the queue contract in many_keep_their_order"):
            await check_accelerator("mock", patience=0.1, only=["many_keep_their_order"], close_timeout=0.01)


async def test_unknown_cases_are_refused() -> None:
    with pytest.raises(ValueError, match="expected names of cases"):
        await examine_accelerator("mock", only=["no_such_case"])


def test_it_runs_on_an_event_loop_of_its_own() -> None:
    assert event_loops() == ["asyncio", "asyncio+uvloop", "trio"]
    for loop in event_loops():
        report = on_event_loop(loop, "mock", only=["many_keep_their_order"])
        assert [finding.verdict for finding in report.findings] == [Verdict.PASSED]
