"""What a page fault costs beyond its pager: the same bytes with pages absent and with pages present, in turn."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Final

from ... import Accelerator, Compress, PagedBuffer, Paging, Result
from ..commands import Failure
from ..workload import Outcome
from .sides import ALGORITHM, WBITS

__all__ = ["PAGE", "FaultSample", "Faulting", "why_not"]

#: Bytes of a page.
PAGE: Final = 4096


@dataclass(frozen=True, slots=True)
class FaultSample:
    """What one turn showed. Seconds are sums over its operations.

    :ivar operations: pairs of them: one whose pages were absent, one whose pages were present
    :ivar faults: that the absent pages caused
    :ivar absent: seconds
    :ivar present: seconds
    :ivar pager: seconds; of those with absent pages, those that the pager itself took
    """

    operations: int
    faults: int
    absent: float
    present: float
    pager: float

    @property
    def cost(self) -> float:
        """Seconds of one fault, without its pager; infinite if there was none."""
        return (self.absent - self.present - self.pager) / self.faults if self.faults else math.inf


class _Pager:
    """Has the bytes ready, and takes its own time.

    :ivar seconds: that it took
    """

    __slots__ = ("_content", "seconds")

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.seconds = 0.0

    async def __call__(self, offset: int, length: int) -> bytes:
        begun = time.perf_counter()
        data = self._content[offset : offset + length]
        self.seconds += time.perf_counter() - begun
        return data


class Faulting:
    """Compresses buffers on an accelerator whose pages are absent, and such whose pages are present.

    :param accelerator: on one backend
    :param blocks: what is in the buffers
    """

    def __init__(self, accelerator: Accelerator, blocks: Sequence[bytes]) -> None:
        self._accelerator = accelerator
        self._source = cycle(blocks)
        self._level = accelerator.effective.config.level

    async def probe(self) -> Result:
        """Do it once.

        :returns: its ``paging`` and ``faults`` say whether there is anything to measure
        :raises UnsupportedOperation: if the device cannot compress so much
        :raises Failure: if the output is not right
        """
        block = next(self._source)
        return await self._compress(block, PagedBuffer(len(block), _Pager(block), page_size=PAGE))

    async def measure(self, seconds: float) -> FaultSample:
        """Alternate for a while; at least once.

        :raises Failure: if an output is not right
        """
        operations = faults = 0
        absent = present = pager = 0.0
        end = time.perf_counter() + seconds
        while not operations or time.perf_counter() < end:
            block = next(self._source)
            source = _Pager(block)
            buffers = [PagedBuffer(len(block), source, page_size=PAGE) for _ in range(2)]
            await buffers[0].fetch_all()
            present += (await self._compress(block, buffers[0])).latency
            source.seconds = 0.0
            result = await self._compress(block, buffers[1])
            operations, faults = operations + 1, faults + result.faults
            absent, pager = absent + result.latency, pager + source.seconds
        return FaultSample(operations, faults, absent, present, pager)

    async def _compress(self, block: bytes, buffer: PagedBuffer) -> Result:
        """A page that came late, or not at all, would show in the output only."""
        result = await self._accelerator.execute(Compress(buffer, ALGORITHM, level=self._level))
        if Outcome([block], answers=[(0, result.output or b"")]).wrong(WBITS):
            raise Failure(
                f"{result.backend}: an output of a paged input is not what was compressed; "
                "run `python -m wdasync doctor`"
            )
        return result


def why_not(result: Result) -> str:
    """Why there is nothing to measure, by the result of a probe; empty if there is."""
    if result.paging is not Paging.ON_FAULT:
        return "all pages are fetched before its device begins"
    return "" if result.faults else "its device touched absent pages without a fault"
