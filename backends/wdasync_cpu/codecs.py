"""The codec table: who does which algorithm, direction and level, best first.

An *implementation* is a C library in the native workers, or a Python package in Python threads. Which of them there
are is found out when a device is opened; the table says who is preferred.

*Levels.* The levels 0 to 9 of gzip, zlib and deflate are zlib's, and 10 to 12 go on as libdeflate does. Level 0
stores. ISA-L's levels 1 and 2 make output as long as zlib's 1 and 2 (within 2 %) in a half to a fifth of the time; its
level 3 falls behind zlib's 3. libdeflate's levels are made to lie beside zlib's: within 5 % in length, often shorter,
in about half the time from 16 KiB on. Brotli's levels 0 to 11 are its own. libdeflate knows no streams, so a stream
whose level is above 2 is zlib's, and ends at level 9.

Zstandard's levels are its own, -7 to 22; 0 stands for 3. ``"best"`` is 19: the highest whose history of 8 MiB every
decoder of the HTTP content coding must have room for (RFC 9659). Levels 20 to 22 have up to 128 MiB, and must be asked
for; streams end at 19. LZ4's levels 1 and 2 are its quick search, 3 to 12 the thorough one; 0 stands for 1.

*Check values.* Frames of Zstandard and LZ4 are made with the optional check value of their content, and whole units with
its length. A block of LZ4 has neither. It is made by one call of the library, which cannot be stopped.

*Dictionaries.* What both sides know before. Not all libraries take one, nor all versions of those that do; and nothing
looks for matches in one at Brotli's levels below 5.

*Damage.* libdeflate and ISA-L take some deflate data that is not valid: reserved symbols, codes that nothing has. If
the content is another for it, the check values of gzip and zlib tell. Raw deflate has none, so it is left to zlib, which
takes nothing of the kind. So are all streams, whose output is used before the check value comes.

*Windows.* libdeflate and ISA-L have a history of 32 KiB. A smaller one is zlib's to make. Zstandard's history goes with
the level unless one is asked for; a frame that wants more than 128 MiB is refused. LZ4's is 64 KiB, always.
"""

from __future__ import annotations

import enum
from collections.abc import Container
from functools import cache
from typing import Final, NamedTuple

from wdasync.backend import Capabilities, Capability
from wdasync.operations import Kind

__all__ = [
    "ALGORITHMS",
    "IMPLEMENTATIONS",
    "Algorithm",
    "Cost",
    "Engine",
    "Format",
    "Implementation",
    "candidates",
    "capabilities",
    "choose",
    "cost",
]


class Format(enum.IntEnum):
    """As ``enum format`` of ``native/request.h``."""

    DEFLATE = 0
    ZLIB = 1
    GZIP = 2
    BROTLI = 3
    ZSTD = 4
    LZ4 = 5
    LZ4_BLOCK = 6


class Engine(enum.IntEnum):
    """As ``enum engine`` of ``native/request.h``."""

    ZLIB = 1
    LIBDEFLATE = 2
    ISAL = 3
    BROTLI = 4
    PYTHON = 5
    ZSTD = 6
    LZ4 = 7
    MEMORY = 8
    DIGEST = 9
    SEAL = 10
    CHAIN = 11
    SIGN = 12


class Implementation(NamedTuple):
    """Who can do it.

    :ivar engine: how the C side knows it
    :ivar library: the C library; empty: a Python package
    :ivar package: the module of the Python package; empty: a C library
    """

    engine: Engine
    library: str
    package: str


#: Name -> implementation. Each row needs either its C library or its Python package.
IMPLEMENTATIONS: Final[dict[str, Implementation]] = {
    "zlib": Implementation(Engine.ZLIB, "zlib", ""),
    "libdeflate": Implementation(Engine.LIBDEFLATE, "libdeflate", ""),
    "isal": Implementation(Engine.ISAL, "isal", ""),
    "brotli": Implementation(Engine.BROTLI, "brotli", ""),
    "zstd": Implementation(Engine.ZSTD, "zstd", ""),
    "lz4": Implementation(Engine.LZ4, "lz4", ""),
    "brotli-dictionary": Implementation(Engine.BROTLI, "brotli", ""),
    "lz4-dictionary": Implementation(Engine.LZ4, "lz4", ""),
    "isal-package": Implementation(Engine.PYTHON, "", "isal"),
    "deflate-package": Implementation(Engine.PYTHON, "", "deflate"),
    "zlib-module": Implementation(Engine.PYTHON, "", "zlib"),
    "brotli-package": Implementation(Engine.PYTHON, "", "brotli"),
    "zstd-package": Implementation(Engine.PYTHON, "", "zstd"),
    "lz4-package": Implementation(Engine.PYTHON, "", "lz4"),
}


class Algorithm(NamedTuple):
    """One algorithm.

    :ivar format: as the C side knows it
    :ivar scale: lowest and highest level
    :ivar fast: the level of that name
    :ivar balanced: the level of that name
    :ivar best: the level of that name
    :ivar windows: smallest and largest base-2 logarithm of the history
    :ivar window: the one that is used if none is asked for; 0: as the level has it
    """

    format: Format
    scale: tuple[int, int]
    fast: int
    balanced: int
    best: int
    windows: tuple[int, int]
    window: int


ALGORITHMS: Final[dict[str, Algorithm]] = {
    "gzip": Algorithm(Format.GZIP, (0, 12), 1, 6, 12, (9, 15), 15),
    "zlib": Algorithm(Format.ZLIB, (0, 12), 1, 6, 12, (9, 15), 15),
    "deflate": Algorithm(Format.DEFLATE, (0, 12), 1, 6, 12, (9, 15), 15),
    "br": Algorithm(Format.BROTLI, (0, 11), 4, 6, 11, (10, 24), 22),
    "zstd": Algorithm(Format.ZSTD, (-7, 22), 1, 3, 19, (10, 27), 0),
    "lz4": Algorithm(Format.LZ4, (0, 12), 1, 3, 12, (16, 16), 16),
    "lz4-block": Algorithm(Format.LZ4_BLOCK, (0, 12), 1, 3, 12, (16, 16), 16),
}

#: Algorithms whose windows zlib makes.
DEFLATES: Final = frozenset({Format.GZIP, Format.ZLIB, Format.DEFLATE})

#: The highest level of zlib, and of all streams: libdeflate has none.
ZLIB_BEST: Final = 9

#: The highest level of ISA-L that is worth its time.
ISAL_BEST: Final = 2

#: The highest level of a stream by Zstandard. Beyond, one whose length nobody knows takes up to 800 MB.
ZSTD_STREAM_BEST: Final = 19

#: Implementation, and the level by its own count.
Choice = tuple[str, int]

_BY_LIBDEFLATE: Final = ("libdeflate", "deflate-package", "zlib", "zlib-module")


def _deflate_level(level: int) -> tuple[Choice, ...]:
    """Who compresses whole units of the deflate family at this level."""
    rest = tuple((name, min(level, 12 if "deflate" in name else ZLIB_BEST)) for name in _BY_LIBDEFLATE)
    if level == 0:
        return tuple((name, 0) for name in ("libdeflate", "zlib", "zlib-module"))
    if level <= ISAL_BEST:
        return (("isal", level), ("libdeflate", level), ("isal-package", level), *rest)
    return rest


def _deflate_stream_level(level: int) -> tuple[Choice, ...]:
    """Who compresses streams of the deflate family at this level."""
    rest = tuple((name, min(level, ZLIB_BEST)) for name in ("zlib", "zlib-module"))
    return (("isal", level), ("isal-package", level), *rest) if 0 < level <= ISAL_BEST else rest


def _own_levels(name: str, algorithm: str, highest: int) -> dict[int, tuple[Choice, ...]]:
    """Levels that are the library's own, up to ``highest``."""
    low, high = ALGORITHMS[algorithm].scale
    levels = {level: min(level, highest) for level in range(low, high + 1)}
    return {level: ((name, own), (f"{name}-package", own)) for level, own in levels.items()}


def _decoders(*names: str) -> dict[int, tuple[Choice, ...]]:
    """Decompression has level 0 only."""
    return {0: tuple((name, 0) for name in names)}


_DEFLATE_LEVELS: Final = {level: _deflate_level(level) for level in range(13)}
_DEFLATE_STREAM_LEVELS: Final = {level: _deflate_stream_level(level) for level in range(13)}
_BROTLI_LEVELS: Final = _own_levels("brotli", "br", 11)
_ZSTD_LEVELS: Final = _own_levels("zstd", "zstd", 22)
_ZSTD_STREAM_LEVELS: Final = _own_levels("zstd", "zstd", ZSTD_STREAM_BEST)
_LZ4_LEVELS: Final = _own_levels("lz4", "lz4", 12)
_ONE_SHOT: Final = _decoders("libdeflate", "zlib", "isal-package", "zlib-module")
_STRICT: Final = _decoders("zlib", "zlib-module")
_BROTLI: Final = _decoders("brotli", "brotli-package")
_ZSTD: Final = _decoders("zstd", "zstd-package")
_LZ4: Final = _decoders("lz4", "lz4-package")

#: Kind -> format -> level -> who, best first.
TABLE: Final[dict[Kind, dict[Format, dict[int, tuple[Choice, ...]]]]] = {
    Kind.COMPRESS: {
        Format.GZIP: _DEFLATE_LEVELS,
        Format.ZLIB: _DEFLATE_LEVELS,
        Format.DEFLATE: _DEFLATE_LEVELS,
        Format.BROTLI: _BROTLI_LEVELS,
        Format.ZSTD: _ZSTD_LEVELS,
        Format.LZ4: _LZ4_LEVELS,
        Format.LZ4_BLOCK: _LZ4_LEVELS,
    },
    Kind.COMPRESS_CHUNK: {
        Format.GZIP: _DEFLATE_STREAM_LEVELS,
        Format.ZLIB: _DEFLATE_STREAM_LEVELS,
        Format.DEFLATE: _DEFLATE_STREAM_LEVELS,
        Format.BROTLI: _BROTLI_LEVELS,
        Format.ZSTD: _ZSTD_STREAM_LEVELS,
        Format.LZ4: _LZ4_LEVELS,
    },
    Kind.DECOMPRESS: {
        Format.GZIP: _ONE_SHOT,
        Format.ZLIB: _ONE_SHOT,
        Format.DEFLATE: _STRICT,
        Format.BROTLI: _BROTLI,
        Format.ZSTD: _ZSTD,
        Format.LZ4: _LZ4,
        Format.LZ4_BLOCK: _LZ4,
    },
    Kind.DECOMPRESS_CHUNK: {
        Format.GZIP: _STRICT,
        Format.ZLIB: _STRICT,
        Format.DEFLATE: _STRICT,
        Format.BROTLI: _BROTLI,
        Format.ZSTD: _ZSTD,
        Format.LZ4: _LZ4,
    },
}

#: Format -> who can do it with a dictionary, best first. The others have none: gzip's header has no place for it.
WITH_DICTIONARY: Final[dict[Format, tuple[str, ...]]] = {
    Format.ZLIB: ("zlib", "zlib-module"),
    Format.DEFLATE: ("zlib", "zlib-module"),
    Format.BROTLI: ("brotli-dictionary",),
    Format.ZSTD: ("zstd", "zstd-package"),
    Format.LZ4: ("lz4-dictionary",),
    Format.LZ4_BLOCK: ("lz4", "lz4-package"),
}

#: Lowest and highest level with a dictionary, where they are others than without.
LEVELS_WITH_DICTIONARY: Final = {Format.ZLIB: (0, 9), Format.DEFLATE: (0, 9), Format.BROTLI: (5, 11)}

#: Longest content of a block of LZ4.
MAX_INPUT: Final = {Format.LZ4_BLOCK: 0x7E000000}

#: Streams take no input in pages.
_WHOLE_UNITS: Final = (Kind.COMPRESS, Kind.DECOMPRESS)

#: Who can compress with a history of less than 32 KiB.
_SMALL_WINDOWS: Final = ("zlib", "zlib-module")


def candidates(
    kind: Kind, algorithm: str, level: int, window: int, *, dictionary: bool = False
) -> tuple[Choice, ...]:
    """Who could do it, best first, whether they are there or not."""
    row = ALGORITHMS[algorithm]
    compress = kind in (Kind.COMPRESS, Kind.COMPRESS_CHUNK)
    if row.format not in TABLE[kind]:
        return ()
    if dictionary:
        low, high = LEVELS_WITH_DICTIONARY.get(row.format, row.scale)
        high = min(high, ZSTD_STREAM_BEST) if kind is Kind.COMPRESS_CHUNK else high
        own = min(max(level, low), high) if compress else 0
        return tuple((name, own) for name in WITH_DICTIONARY.get(row.format, ()))
    if compress and row.format in DEFLATES and window < row.window:
        return tuple((name, min(level, ZLIB_BEST)) for name in _SMALL_WINDOWS)
    return TABLE[kind][row.format][level if compress else 0]


def choose(
    kind: Kind,
    algorithm: str,
    level: int,
    window: int,
    available: Container[str],
    *,
    dictionary: bool = False,
) -> Choice | None:
    """Who does it; ``None`` if nobody can."""
    found = candidates(kind, algorithm, level, window, dictionary=dictionary)
    return next((choice for choice in found if choice[0] in available), None)


def _highest(kind: Kind, name: str, available: Container[str]) -> int:
    """The highest level that is not just another name for a lower one."""
    row = ALGORITHMS[name]
    if kind in (Kind.DECOMPRESS, Kind.DECOMPRESS_CHUNK):
        return row.scale[1]
    best = choose(kind, name, row.scale[1], row.window, available)
    return best[1] if best else ZLIB_BEST


def _all_native(kind: Kind, name: str, available: Container[str]) -> bool:
    """Whether no level or window of the algorithm is left to a Python package."""
    row = ALGORITHMS[name]
    levels = range(row.scale[0], row.scale[1] + 1) if kind is Kind.COMPRESS else (0,)
    choices = [choose(kind, name, level, window, available) for level in levels for window in row.windows]
    return all(choice and IMPLEMENTATIONS[choice[0]].engine is not Engine.PYTHON for choice in choices)


@cache
def capabilities(available: frozenset[str], *, paged: bool) -> Capabilities:
    """The capability table, given which implementations are there.

    :param paged: native workers can wait for pages of their input
    """
    rows = [Capability(Kind.NOP, "nop")]
    for kind in (Kind.COMPRESS, Kind.DECOMPRESS, Kind.COMPRESS_CHUNK, Kind.DECOMPRESS_CHUNK):
        for name, row in ALGORITHMS.items():
            if choose(kind, name, row.fast, row.window, available) is None:
                continue
            highest = _highest(kind, name, available)
            capability = Capability(
                kind,
                name,
                levels=(row.scale[0], highest),
                scale=row.scale,
                default=row.fast,
                balanced=row.balanced,
                best=min(row.best, highest),
                window=row.windows[1],
                max_input=MAX_INPUT.get(row.format) if kind is Kind.COMPRESS else None,
                dictionary=choose(kind, name, row.fast, row.window, available, dictionary=True) is not None,
                paged=paged and kind in _WHOLE_UNITS and _all_native(kind, name, available),
            )
            rows.append(capability)
    return Capabilities(rows)


class Cost(NamedTuple):
    """What an operation takes: nanoseconds whatever its size, and for each KiB of input."""

    fixed: int
    per_kib: int


#: Implementation -> level -> cost of compressing; a level that is not named costs what the next lower one does. From
#: JSON of 256 bytes to 4 KiB, with the codec's state kept, on the core whose yardstick is in ``calibration``.
COMPRESS_COSTS: Final[dict[str, dict[int, Cost]]] = {
    "isal": {0: Cost(2_000, 1_400), 1: Cost(4_500, 1_500), 2: Cost(4_500, 1_700)},
    "libdeflate": {
        0: Cost(1_000, 150),
        1: Cost(6_000, 2_000),
        2: Cost(7_000, 3_400),
        5: Cost(7_000, 4_500),
        7: Cost(7_000, 6_500),
        8: Cost(7_000, 14_000),
        10: Cost(8_000, 30_000),
        12: Cost(8_000, 40_000),
    },
    "zlib": {
        0: Cost(2_000, 400),
        1: Cost(5_500, 3_700),
        4: Cost(5_500, 5_000),
        6: Cost(5_500, 7_000),
        7: Cost(5_500, 9_500),
    },
    "brotli": {
        0: Cost(3_500, 3_000),
        2: Cost(6_000, 5_000),
        4: Cost(10_000, 11_500),
        7: Cost(12_000, 16_000),
        9: Cost(300_000, 600_000),
        11: Cost(300_000, 1_200_000),
    },
    "zstd": {
        -7: Cost(2_500, 700),
        1: Cost(4_000, 1_300),
        3: Cost(4_200, 1_750),
        5: Cost(6_000, 3_500),
        9: Cost(10_000, 9_000),
        13: Cost(30_000, 40_000),
        16: Cost(60_000, 90_000),
        19: Cost(100_000, 150_000),
    },
    "lz4": {0: Cost(700, 650), 3: Cost(12_000, 5_000), 9: Cost(12_000, 9_000), 10: Cost(20_000, 30_000)},
}

#: Implementation -> cost of decompressing, by the KiB of compressed input.
DECOMPRESS_COSTS: Final[dict[str, Cost]] = {
    "libdeflate": Cost(2_000, 3_600),
    "isal": Cost(2_500, 4_500),
    "zlib": Cost(2_200, 4_800),
    "brotli": Cost(2_000, 5_500),
    "zstd": Cost(1_500, 2_500),
    "lz4": Cost(500, 800),
}

#: What the names of packages cost as: their C code is the libraries'.
_COSTS_AS: Final = {
    "isal-package": "isal",
    "deflate-package": "libdeflate",
    "zlib-module": "zlib",
    "brotli-package": "brotli",
    "zstd-package": "zstd",
    "lz4-package": "lz4",
    "brotli-dictionary": "brotli",
    "lz4-dictionary": "lz4",
}


def cost(kind: Kind, choice: Choice) -> Cost:
    """The cost of an operation on the core that the tables above were measured on."""
    name, level = choice
    name = _COSTS_AS.get(name, name)
    if kind in (Kind.DECOMPRESS, Kind.DECOMPRESS_CHUNK):
        return DECOMPRESS_COSTS[name]
    levels = COMPRESS_COSTS[name]
    return levels[max(known for known in levels if known <= level)]
