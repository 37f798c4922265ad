"""What is measured: an operation of a size, so many at a time, by certain sides."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from . import sides
from .works import WORKS

__all__ = ["CROWD", "IN_FLIGHT", "PRESETS", "Case", "Preset", "cases", "kib"]

#: Operations at a time, for throughput.
IN_FLIGHT: Final = 64

#: So many that doing them where they come in keeps the loop busy for long.
CROWD: Final = 512


def kib(nbytes: int) -> str:
    """A size as people say it: ``16 KiB``, ``300 B``."""
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if nbytes >= unit and nbytes % unit == 0:
            return f"{nbytes // unit} {name}"
    return f"{nbytes} B"


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to measure.

    :ivar kind: ``load`` (throughput), ``latency`` (one at a time), ``stall`` (very many at a time) or ``backends``
        (throughput, on the other backends), or a work of :data:`~wdasync.cli.benchmarks.works.WORKS` (its throughput)
    :ivar size: bytes to compress, or of the work's data; 0: a no-op
    :ivar in_flight: operations at a time
    :ivar sides: names of those who do it; the first is ours, with which the others are compared
    """

    kind: str
    size: int
    in_flight: int
    sides: tuple[str, ...]

    @property
    def title(self) -> str:
        """For people: ``1 KiB, 64 in flight``."""
        what = kib(self.size) if self.size else "no-op"
        if self.kind in WORKS:
            what = WORKS[self.kind].title
        return f"{what}, {'other backends' if self.kind == 'backends' else f'{self.in_flight} in flight'}"

    @property
    def ours(self) -> str:
        """The side that the others are compared with."""
        return self.sides[0]


#: Absent pages of one operation, for what a page fault costs.
_PAGES: Final = 16


class Preset(NamedTuple):
    """How much is measured if nothing else is said.

    :ivar rounds: times that every side has its turn
    :ivar seconds: length of a turn
    :ivar sizes: bytes, of the throughput of compression
    :ivar latencies: bytes, of the latency of compression
    :ivar stalls: bytes, of the longest stall
    :ivar backends: bytes, of the throughput of compression on the other backends
    :ivar pages: absent pages of one operation, for what a page fault costs; 0: it is not measured
    :ivar works: names of the other works, for their throughput
    """

    rounds: int
    seconds: float
    sizes: tuple[int, ...]
    latencies: tuple[int, ...]
    stalls: tuple[int, ...]
    backends: tuple[int, ...] = ()
    pages: int = 0
    works: tuple[str, ...] = ()

    def only(self, sizes: Collection[int]) -> Preset:
        """The same with these sizes, and without other works than compression; if there are any."""
        if not sizes:
            return self
        chosen = tuple(dict.fromkeys(sizes))
        return self._replace(
            sizes=chosen,
            latencies=chosen if self.latencies else (),
            stalls=chosen if self.stalls else (),
            backends=chosen if self.backends else (),
            works=(),
        )

    def doing(self, works: Collection[str]) -> Preset:
        """The same with these works and nothing else, if there are any."""
        if not works:
            return self
        return self._replace(
            sizes=(), latencies=(), stalls=(), backends=(), pages=0, works=tuple(dict.fromkeys(works))
        )

    def beside(self, peers: Collection[str]) -> Preset:
        """The same with the other backends if they are among these peers, and without them if they are not.

        :param peers: sides, and :data:`~wdasync.cli.benchmarks.sides.OTHERS`; empty: as it is
        """
        if not peers:
            return self
        if sides.OTHERS not in peers:
            return self._replace(backends=(), pages=0)
        return self._replace(backends=self.backends or self.sizes, pages=self.pages or _PAGES)


_BACKENDS: Final = (1 << 10, 64 << 10)

#: Name of the option -> preset; the one without a name is the default.
PRESETS: Final[dict[str, Preset]] = {
    "quick": Preset(7, 0.02, (1 << 10,), (), ()),
    "": Preset(
        7, 0.05, (1 << 10, 16 << 10, 256 << 10), (256, 1 << 10, 4 << 10), (), _BACKENDS, _PAGES, tuple(WORKS)
    ),
    "full": Preset(
        9,
        0.15,
        (1 << 10, 16 << 10, 64 << 10, 256 << 10),
        (256, 1 << 10, 4 << 10, 16 << 10),
        (1 << 10, 16 << 10, 256 << 10),
        _BACKENDS,
        _PAGES,
        tuple(WORKS),
    ),
}

_NOP: Final = (sides.HOP, "thread", "anyio", "pool", "futures")
_LOAD: Final = (sides.OURS, sides.HOP, "thread", "anyio", "pool", "inline", "thread-zlib", "inline-zlib")
_LATENCY: Final = (sides.HOP, sides.OURS, "thread", "anyio", "inline")
_STALL: Final = (sides.OURS, "thread", "inline")


def cases(
    preset: Preset, *, in_flight: int = IN_FLIGHT, peers: Collection[str] = (), others: Sequence[str] = ()
) -> list[Case]:
    """All cases, in the order in which they are shown; a no-op comes first.

    :param in_flight: operations at a time, for throughput
    :param peers: only these sides, beside our own; empty: all
    :param others: names of the backends found
    """
    elsewhere = (sides.OURS, *map(sides.other, others))
    wanted = [
        Case("load", 0, in_flight, _NOP),
        *(Case("load", size, in_flight, _LOAD) for size in preset.sizes),
        *(Case("latency", size, 1, _LATENCY) for size in preset.latencies),
        *(Case("stall", size, CROWD, _STALL) for size in preset.stalls),
        *(Case(work, WORKS[work].size, in_flight, WORKS[work].sides) for work in preset.works),
    ]
    return [
        *(Case(case.kind, case.size, case.in_flight, _only(case.sides, peers)) for case in wanted),
        *(Case("backends", size, in_flight, elsewhere) for size in preset.backends),
    ]


def _only(names: tuple[str, ...], peers: Collection[str]) -> tuple[str, ...]:
    return tuple(name for name in names if not peers or name in peers or name in (sides.OURS, sides.HOP))
