"""Holds a backend to what users are promised, through the public methods and on the running event loop.

The queue contract is examined by :mod:`wdasync.testing.conformance`. What is here finds what only shows when an
event loop waits for the descriptor, tasks are cancelled, and callers keep their own memory.
"""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable, Iterable
from importlib.util import find_spec
from typing import Any, Final, NamedTuple

import anyio

import wdasync
from wdasync import Accelerator, Kind
from wdasync.backend import Capability

from ._bench import NotApplicable, Violation, require
from ._checks import ContractViolation, Finding, Report, Verdict
from ._reference import Reference, reference, text

__all__ = [
    "CASES",
    "Case",
    "check_accelerator",
    "event_loops",
    "examine_accelerator",
    "on_event_loop",
]

#: Seconds that a case may take, as a multiple of its patience.
LIMIT: Final = 10


class Case(NamedTuple):
    """One promise, and what examines it.

    :ivar promise: to users
    :ivar run: examines an open accelerator; the seconds are those without progress after which something is lost
    """

    promise: str
    run: Callable[[Accelerator, float], Awaitable[None]]


#: Name of an event loop -> the module it needs, and what :func:`anyio.run` has to know.
_LOOPS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "asyncio": ("asyncio", {}),
    "asyncio+uvloop": ("uvloop", {"use_uvloop": True}),
    "trio": ("trio", {}),
}

#: Name -> case, in the order in which a reader of a report wants them.
CASES: Final[dict[str, Case]] = {}


def _case(
    promise: str,
) -> Callable[
    [Callable[[Accelerator, float], Awaitable[None]]], Callable[[Accelerator, float], Awaitable[None]]
]:
    def register(
        function: Callable[[Accelerator, float], Awaitable[None]],
    ) -> Callable[[Accelerator, float], Awaitable[None]]:
        CASES[function.__name__] = Case(promise, function)
        return function

    return register


async def check_accelerator(
    backend: str, *, patience: float = 10.0, only: Iterable[str] | None = None, **settings: object
) -> Report:
    """Open accelerators on this backend, on the running event loop, and use them as users do.

    :param backend: its name
    :param patience: seconds without progress after which something counts as lost
    :param only: names of cases; by default all
    :param settings: as for :func:`wdasync.open_accelerator`
    :raises ContractViolation: if a case failed
    """
    report = await examine_accelerator(backend, patience=patience, only=only, **settings)
    if report.failed:
        raise ContractViolation(report)
    return report


async def examine_accelerator(
    backend: str, *, patience: float = 10.0, only: Iterable[str] | None = None, **settings: object
) -> Report:
    """As :func:`check_accelerator`, and the report is returned whatever it says."""
    chosen = list(CASES) if only is None else list(only)
    if unknown := [name for name in chosen if name not in CASES]:
        raise ValueError(f"only: expected names of cases ({', '.join(CASES)}), got {', '.join(unknown)}")
    # Nobody may help: neither another backend, nor work in the loop's thread.
    given = {"fallback": False, "inline": False} | settings
    findings = [await _examine(name, backend, patience, given) for name in chosen]
    return Report(backend, tuple(findings))


async def _examine(name: str, backend: str, patience: float, settings: dict[str, object]) -> Finding:
    case = CASES[name]
    verdict, explanation = Verdict.PASSED, ""
    try:
        with anyio.fail_after(LIMIT * patience):
            async with wdasync.open_accelerator(backend, **settings) as accelerator:  # type: ignore[arg-type]  # settings are fields of Config and options
                await case.run(accelerator, patience)
    except NotApplicable as reason:
        verdict, explanation = Verdict.NOT_APPLICABLE, str(reason)
    except Exception as problem:  # noqa: BLE001  whatever comes out is a finding
        verdict, explanation = Verdict.FAILED, _told(problem)
    return Finding(name, verdict, (case.promise,), explanation)


def _told(problem: BaseException) -> str:
    while isinstance(problem, BaseExceptionGroup):
        problem = problem.exceptions[0]
    if isinstance(problem, Violation):
        return str(problem)
    place = traceback.extract_tb(problem.__traceback__)[-1]
    return f"{type(problem).__name__}: {problem} ({place.filename}:{place.lineno})"


# Event loops


def event_loops() -> list[str]:
    """The event loops that are installed: ``asyncio``, ``asyncio+uvloop``, ``trio``."""
    return [name for name, (module, _) in _LOOPS.items() if find_spec(module) is not None]


def on_event_loop(loop: str, backend: str, **how: Any) -> Report:
    """:func:`examine_accelerator`, on a new event loop of this name."""

    async def run() -> Report:
        return await examine_accelerator(backend, **how)

    module, options = _LOOPS[loop]
    return anyio.run(run, backend="trio" if module == "trio" else "asyncio", backend_options=options)


# What the device can do


def _table(acc: Accelerator) -> list[Capability]:
    """What its devices can do, whichever of them it is."""
    return list(dict.fromkeys(row for table in acc.capabilities().values() for row in table))


def _algorithms(acc: Accelerator, kind: Kind) -> list[str]:
    """What the device can do of this kind, and somebody else too.

    :raises NotApplicable: if there is nothing
    """
    found = [row.algorithm for row in _table(acc) if row.kind is kind and reference(row.algorithm)]
    if not found:
        raise NotApplicable(
            f"the device has no row for {kind.name} of an algorithm that somebody else here knows"
        )
    return found


def _known(algorithm: str) -> Reference:
    known = reference(algorithm)
    if known is None:
        raise NotApplicable(f"nobody else here knows {algorithm}")
    return known


def _same(algorithm: str, packed: bytes, content: bytes) -> None:
    try:
        found = _known(algorithm).decompress(packed)
    except ValueError as error:
        raise Violation(f"{algorithm}: somebody else cannot decompress the output: {error}") from error
    require(found == content, f"{algorithm}: the round trip changed the content")


# Cases


@_case("``await`` a piece of work: bytes-like in, bytes out.")
async def units_round_trip(acc: Accelerator, patience: float) -> None:
    """What the device makes, somebody else reads, and the other way round."""
    del patience
    table = _table(acc)
    limits = [limit for row in table for limit in (row.max_input, row.max_output) if limit is not None]
    contents = [b"", b"x", text(5000), text(min(200_000, *limits) if limits else 200_000, 1)]
    for algorithm in _algorithms(acc, Kind.COMPRESS):
        for content in contents:
            _same(algorithm, await acc.compress(content, algorithm), content)
            _same(algorithm, await acc.compress([content[:7], bytearray(content[7:])], algorithm), content)
    for row in table:
        if row.kind is Kind.DECOMPRESS and reference(row.algorithm):
            for content in contents:
                packed = _known(row.algorithm).compress(content)
                found = await acc.decompress(packed, row.algorithm)
                require(found == content, f"{row.algorithm}: decompression changed the content")


@_case("One burst; order kept.")
async def many_keep_their_order(acc: Accelerator, patience: float) -> None:
    """compress_many gives results in the order of its inputs."""
    del patience
    algorithm = _algorithms(acc, Kind.COMPRESS)[0]
    contents = [text(100 + 37 * seed, seed) for seed in range(60)]
    results = await acc.compress_many(contents, algorithm)
    require(len(results) == len(contents), f"{len(contents)} inputs, {len(results)} results")
    for content, packed in zip(contents, results, strict=True):
        _same(algorithm, packed, content)


@_case("Every task gets the result of its own operation.")
async def tasks_do_not_mix(acc: Accelerator, patience: float) -> None:
    """Many tasks at once, more than the queue is deep; afterwards no slot is taken."""
    algorithm = _algorithms(acc, Kind.COMPRESS)[0]

    async def one(seed: int) -> None:
        content = text(200 + seed, seed)
        _same(algorithm, await acc.compress(content, algorithm), content)

    async with anyio.create_task_group() as tasks:
        for seed in range(150):
            tasks.start_soon(one, seed)
    await _slots_back(acc, patience)


@_case("The last in-flight operation always wakes; rescues must stay 0.")
async def every_wake_up_comes(acc: Accelerator, patience: float) -> None:
    """One await after another: no completion had to be found by the safety timer."""
    del patience
    algorithm = _algorithms(acc, Kind.COMPRESS)[0]
    for seed in range(120):
        await acc.compress(text(50, seed), algorithm)
    statistics = acc.statistics()
    require(statistics.rescues == 0, f"{statistics.rescues} completions were found only by the safety timer")
    spurious = sum(lane.spurious for lane in statistics.lanes)
    require(spurious == 0, f"{spurious} completions belonged to no operation")


@_case("``*_into``: memory of the caller's, and nothing around it.")
async def memory_of_the_caller(acc: Accelerator, patience: float) -> None:
    """Output goes where the caller wants it; too little memory is OutOfSpace."""
    del patience
    content = text(5000)
    for algorithm in _algorithms(acc, Kind.COMPRESS):
        buffer = bytearray(b"\xa5" * 10_000)
        count = await acc.compress_into(content, memoryview(buffer)[100:-100], algorithm)
        _same(algorithm, bytes(buffer[100 : 100 + count]), content)
        around = buffer[:100] + buffer[-100:]
        require(around == b"\xa5" * 200, f"{algorithm}: bytes around the buffer were written")
        await _refused(wdasync.OutOfSpace, acc.compress_into(content, bytearray(5), algorithm))


async def _refused(error: type[Exception], awaitable: Awaitable[object]) -> None:
    try:
        result = await awaitable
    except error:
        return
    raise Violation(f"expected {error.__name__}, got {result!r}")


@_case("Errors are typed, and name the cause.")
async def errors_are_typed(acc: Accelerator, patience: float) -> None:
    """Bad data, bounds and algorithms that nobody has raise what the documentation says."""
    del patience
    await _refused(wdasync.UnsupportedOperation, acc.compress(b"x", "no-such-algorithm"))
    for algorithm in _algorithms(acc, Kind.DECOMPRESS):
        packed = _known(algorithm).compress(text(3000))
        await _refused(wdasync.DataError, acc.decompress(packed[:-5], algorithm))
        await _refused(wdasync.LimitExceeded, acc.decompress(packed, algorithm, max_length=100))
        require(await acc.decompress(packed, algorithm) == text(3000), f"{algorithm}: good data after bad")


@_case("Streams: stateful, ordered.")
async def streams_round_trip(acc: Accelerator, patience: float) -> None:
    """Pieces with flushes between them, there and back."""
    del patience
    pieces = [text(size, size) for size in (1, 5000, 0, 40_000)]
    for algorithm in _algorithms(acc, Kind.COMPRESS_CHUNK):
        async with acc.compressor(algorithm) as stream:
            packed = b""
            for piece in pieces:
                packed += await stream.compress(piece) + await stream.flush()
            packed += await stream.finish()
        _same(algorithm, packed, b"".join(pieces))
    for algorithm in _algorithms(acc, Kind.DECOMPRESS_CHUNK):
        packed = _known(algorithm).compress(b"".join(pieces))
        async with acc.decompressor(algorithm) as back:
            found = b""
            for start in range(0, len(packed), 1000):
                found += await back.decompress(packed[start : start + 1000])
            while not back.needs_input:
                found += await back.decompress()
            await back.finish()
        require(found == b"".join(pieces), f"{algorithm}: the round trip changed the content")


@_case("After cancellation: slots all back, the accelerator usable, the caller's buffers left alone.")
async def cancelled_operations_leave_no_trace(acc: Accelerator, patience: float) -> None:
    """Awaits are cancelled at different moments; none leaves a slot taken or a buffer being written."""
    algorithm = _algorithms(acc, Kind.COMPRESS)[0]
    content = text(30_000)
    buffers = [bytearray(60_000) for _ in range(6)]

    async def own(buffer: bytearray) -> None:
        await acc.compress_into(content, buffer, algorithm)

    async def theirs() -> None:
        await acc.compress(content, algorithm)

    for moment in range(6):
        async with anyio.create_task_group() as tasks:
            for buffer in buffers:
                tasks.start_soon(own, buffer)
                tasks.start_soon(theirs)
            for _ in range(moment):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        before = [bytes(buffer) for buffer in buffers]
        await anyio.sleep(0.005)
        changed = [index for index, buffer in enumerate(buffers) if buffer != before[index]]
        require(not changed, f"the await had ended, and buffers {changed} were still written")
        for buffer in buffers:
            buffer.append(0)  # Raises BufferError if somebody still holds it.
            buffer.pop()
    await _slots_back(acc, patience)
    _same(algorithm, await acc.compress(content, algorithm), content)


async def _slots_back(acc: Accelerator, patience: float) -> None:
    """Wait until no slot is taken; a detached operation gives its back when the device has finished it."""
    with anyio.move_on_after(patience):
        while acc.statistics().in_flight:  # noqa: ASYNC110  nothing tells when a slot comes back
            await anyio.sleep(0.001)
    held = acc.statistics().in_flight
    require(held == 0, f"{held} slots are still taken after {patience} s")


@_case("Closing ends everything: what is in flight finishes or raises ClosedResourceError.")
async def closing_ends_everything(acc: Accelerator, patience: float) -> None:
    """Close under load, twice; later calls raise ClosedResourceError."""
    algorithm = _algorithms(acc, Kind.COMPRESS)[0]
    ends: list[str] = []

    async def one(seed: int) -> None:
        content = text(20_000, seed)
        try:
            _same(algorithm, await acc.compress(content, algorithm), content)
        except wdasync.ClosedResourceError:
            ends.append("closed")
        else:
            ends.append("finished")

    with anyio.move_on_after(LIMIT * patience / 2) as scope:
        async with anyio.create_task_group() as tasks:
            for seed in range(40):
                tasks.start_soon(one, seed)
            for _ in range(5):  # Until some are on the device, and some wait for a slot.
                await anyio.lowlevel.checkpoint()
            await acc.aclose()
        await acc.aclose()
    require(
        not scope.cancelled_caught, f"aclose() did not return, or {40 - len(ends)} operations did not end"
    )
    require(len(ends) == 40, f"40 operations, and {len(ends)} ended")
    await _refused(wdasync.ClosedResourceError, acc.compress(b"x", algorithm))
    require(not acc.is_open, "it was closed, and says that it is open")
