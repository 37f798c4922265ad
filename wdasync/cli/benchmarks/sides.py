"""Who does the work: the accelerator, and what programs do without one. A table; and other backends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Final, NamedTuple

import anyio.to_thread

from ... import Accelerator, Compress, Nop, Result
from ..commands import Failure
from ..workload import Outcome
from .codecs import ZLIB, Codec
from .loops import Natives
from .samples import Act

__all__ = [
    "ALGORITHM",
    "AWAITS",
    "BARE",
    "FEW",
    "HOP",
    "MANY",
    "OTHERS",
    "OURS",
    "SIDES",
    "WAYS",
    "WBITS",
    "Side",
    "Stage",
    "other",
    "pairs_of",
    "sample_results",
    "side_of",
]

#: The accelerator as it is if nothing is said.
OURS: Final = "wdasync"

#: The accelerator that never works in the loop's own thread.
HOP: Final = "wdasync-hop"

#: Threads that do nothing else, and hand nothing over.
BARE: Final = "bare"

#: So few of these as the device has workers.
FEW: Final = "bare-few"

#: The accelerator, with many pages in a call.
MANY: Final = "many"

#: The accelerator, with an await for each step of a sequence.
AWAITS: Final = "awaits"

#: Stands for all other backends, where people choose.
OTHERS: Final = "backends"

#: What names of sides that are other backends begin with.
_OTHER: Final = "backend:"

ALGORITHM: Final = "gzip"
#: With which the standard library reads it: a gzip header, any window.
WBITS: Final = 31


@dataclass(slots=True)
class Stage:
    """What the sides find on one event loop.

    :ivar accelerators: :data:`OURS`, :data:`HOP` and :func:`other` of other backends -> an accelerator
    :ivar natives: what the loop offers
    :ivar threads: of the pool: as many as the device has workers
    :ivar codec: the one that our side uses
    :ivar absent: other backends that could not be opened -> why
    """

    accelerators: Mapping[str, Accelerator]
    natives: Natives
    threads: int
    codec: Codec
    absent: Mapping[str, str] = field(default_factory=dict)


#: Stage, and the blocks to compress (none: a no-op) -> what does one operation.
Maker = Callable[[Stage, Sequence[bytes]], Act]


class Side(NamedTuple):
    """One who does the work.

    :ivar label: in tables; ``{threads}`` stands for their number
    :ivar help: one line
    :ivar make: puts it on a stage; of those that do no compression it only raises
    """

    label: str
    help: str
    make: Maker


def _accelerator(name: str) -> Maker:
    def make(stage: Stage, blocks: Sequence[bytes]) -> Act:
        accelerator = stage.accelerators[name]
        if not blocks:
            return accelerator.nop
        compress, source = accelerator.compress, cycle(blocks)
        return lambda: compress(next(source), ALGORITHM)

    return make


def _nothing() -> None:
    """What a thread does for a no-op."""


Call = Callable[..., Awaitable[object]]  #: function, its arguments -> to be awaited


def _called(how: Callable[[Stage], Call], codec: Codec | None = None) -> Maker:
    """A codec, called in some way.

    :param codec: default: the one that our side uses
    """

    def make(stage: Stage, blocks: Sequence[bytes]) -> Act:
        call = how(stage)
        if not blocks:
            return lambda: call(_nothing)
        compress, source = (codec or stage.codec).compress, cycle(blocks)
        return lambda: call(compress, next(source))

    return make


def _inline(stage: Stage) -> Call:
    checkpoint = stage.natives.checkpoint

    async def call(function: Callable[..., object], *arguments: object) -> None:
        function(*arguments)
        await (
            checkpoint()
        )  # as a server does between two requests; otherwise the first client would never stop

    return call


def _to_thread(stage: Stage) -> Call:
    return stage.natives.to_thread


def _in_pool(stage: Stage) -> Call:
    return stage.natives.in_pool


def _anyio(stage: Stage) -> Call:
    del stage
    return anyio.to_thread.run_sync


def _no_compression(stage: Stage, blocks: Sequence[bytes]) -> Act:
    raise NotImplementedError("this side is not for compression")


#: Name of a side that calls a function -> how, on a stage.
WAYS: Final[dict[str, Callable[[Stage], Call]]] = {"thread": _to_thread, "anyio": _anyio, "inline": _inline}

#: Name -> side. A comparison with another library is one more row.
SIDES: Final[dict[str, Side]] = {
    OURS: Side("wdasync", "the accelerator as it comes", _accelerator(OURS)),
    HOP: Side("wdasync, no inline", "the accelerator, never in the loop's thread", _accelerator(HOP)),
    "thread": Side("to_thread", "the loop's own to_thread", _called(_to_thread)),
    "anyio": Side("anyio.to_thread", "anyio.to_thread.run_sync", _called(_anyio)),
    "pool": Side("pool of {threads}", "a pool of as many threads as workers", _called(_in_pool)),
    "inline": Side("inline", "in the loop's thread", _called(_inline)),
    "thread-zlib": Side("to_thread, zlib 1", "to_thread of zlib.compress", _called(_to_thread, ZLIB)),
    "inline-zlib": Side("inline, zlib 1", "zlib.compress in the loop's thread", _called(_inline, ZLIB)),
    "futures": Side(
        "bare futures",
        "futures, woken in batches: no await costs less",
        lambda stage, _: stage.natives.park,
    ),
    BARE: Side("bare threads", "a thread for each core, that does nothing else", _no_compression),
    FEW: Side("bare threads, {threads}", "as many as the device has workers", _no_compression),
    AWAITS: Side("wdasync, three awaits", "the accelerator, an await for each step", _no_compression),
    MANY: Side("wdasync, compress_many", "the accelerator, 64 pages in a call", _no_compression),
}


def other(backend: str) -> str:
    """The name of the side that is the accelerator on another backend, as that comes."""
    return _OTHER + backend


def side_of(name: str) -> Side:
    """The side of a name: one of the table, or another backend."""
    if name.startswith(_OTHER):
        backend = name.removeprefix(_OTHER)
        return Side(f"wdasync on {backend}", f"the accelerator on {backend}", _accelerator(name))
    return SIDES[name]


def pairs_of(samples: Sequence[tuple[bytes, Result]]) -> list[tuple[bytes, bytes]]:
    """Inputs and outputs."""
    return [(block, result.output or b"") for block, result in samples]


async def sample_results(
    accelerator: Accelerator, blocks: Sequence[bytes], in_flight: int
) -> list[tuple[bytes, Result]]:
    """Input and result of operations like those that are measured, so many at a time.

    :raises UnsupportedOperation: if it cannot do them
    :raises Failure: if an output is not right
    """
    pairs: list[tuple[bytes, Result]] = []
    source = cycle(blocks or [b""])
    level = accelerator.effective.config.level

    async def one() -> None:
        block = next(source)
        operation = Compress(block, ALGORITHM, level=level) if blocks else Nop()
        pairs.append((block, await accelerator.execute(operation)))

    await one()  # If it cannot be done, this says so, and not in a group.
    pairs.clear()
    async with anyio.create_task_group() as group:
        for _ in range(in_flight):
            group.start_soon(one)
    answers = [(index, output) for index, (_, output) in enumerate(pairs_of(pairs))]
    if blocks and Outcome([block for block, _ in pairs], answers=answers).wrong(WBITS):
        backend = pairs[0][1].backend
        raise Failure(f"{backend}: an output is not what was compressed; run `python -m wdasync doctor`")
    return pairs
