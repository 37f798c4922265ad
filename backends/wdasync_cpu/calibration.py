"""How fast this machine's cores are, beside those on which the cost tables were measured."""

from __future__ import annotations

import time
import zlib
from functools import cache
from typing import Final

__all__ = ["factor"]

#: One KiB of JSON with numbers in it that look random, as identifiers and measurements do.
SAMPLE: Final = b"".join(
    b'{"id": %d, "name": "user%d", "score": 0.%d}, '
    % (zlib.crc32(b"%d" % n), zlib.adler32(b"%d" % n) % 5000, zlib.crc32(b"-%d" % n))
    for n in range(24)
)[:1024]

#: What zlib's level 1 takes for the sample on the core of the tables.
REFERENCE_NS: Final = 7_100

#: How often it is measured.
RUNS: Final = 25


@cache
def factor() -> float:
    """Time of this machine over time of the tables' machine; measured once a process, in less than a millisecond.

    zlib from the standard library is the yardstick, because it is always there. The shortest of a few runs counts: the
    longer ones measure what else goes on.
    """
    shortest = min(_run() for _ in range(RUNS))
    return min(max(shortest / REFERENCE_NS, 0.1), 10.0)


def _run() -> int:
    started = time.perf_counter_ns()
    zlib.compress(SAMPLE, 1)
    return time.perf_counter_ns() - started
