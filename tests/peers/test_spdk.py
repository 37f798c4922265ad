"""SPDK: what happens when a submission is refused."""

import gzip
from typing import Any

import anyio
import pytest

import wdasync
from wdasync.testing.mock import Program

pytestmark = pytest.mark.anyio


async def compress_numbered(acc: wdasync.Accelerator, count: int) -> list[int]:
    """So many at once; the numbers that came back."""
    found: list[int] = []

    async def one(number: int) -> None:
        found.append(int(gzip.decompress(await acc.compress(b"%d" % number))))

    async with anyio.create_task_group() as group:
        for number in range(count):
            group.start_soon(one, number)
    return sorted(found)


@pytest.mark.parametrize("options", [{"depth": 1}, {"accept": 1}, {"depth": 2, "accept": 1}])
@pytest.mark.parametrize("refusals", [0, 1, 30])
async def test_2430_a_refused_submission_is_made_again(
    program: Program, options: dict[str, Any], refusals: int
) -> None:
    """spdk#2430 (#2284): under load the framework ran out of tasks and returned -ENOMEM; a caller did not look, and its
    request was never done.

    Callers have nothing to look at: whoever finds no room waits for it, and each is served.
    """
    program.change(**options)
    program.refuse(refusals)
    async with wdasync.open_accelerator("mock", fallback=False) as acc:
        assert await compress_numbered(acc, 100) == list(range(100))
        program.refuse(refusals)
        outputs = await acc.compress_many([b"%d" % number for number in range(100)])
        assert [gzip.decompress(output) for output in outputs] == [b"%d" % number for number in range(100)]
        assert acc.statistics().rescues == 0


@pytest.mark.parametrize("name", ["cpu", "hip08"])
async def test_2430_with_the_smallest_ring(name: str) -> None:
    """spdk#2430, as its reporter proposed to test it: with next to no room for tasks."""
    async with wdasync.open_accelerator(name, fallback=False, depth=2, inline=False) as acc:
        assert await compress_numbered(acc, 150) == list(range(150))
        assert acc.statistics().rescues == 0


async def test_1622_nothing_is_in_flight_that_would_bring_the_next_try(program: Program) -> None:
    """spdk#1622: what was refused was tried again only after a completion; with none in flight it waited for ever."""
    program.refuse(50)
    async with wdasync.open_accelerator("mock", fallback=False) as acc:
        with anyio.fail_after(30):
            assert gzip.decompress(await acc.compress(b"the only one")) == b"the only one"


async def test_3176_what_a_device_says_it_can_do_is_what_it_does() -> None:
    """spdk#3176: a module named an operation among its capabilities that it could not do.

    Each row of each table that compresses is used once.
    """
    data = b"each row of the table " * 20
    for name in ("cpu", "mock", "hip08"):
        async with wdasync.open_accelerator(name, fallback=False) as acc:
            rows = [row for table in acc.capabilities().values() for row in table]
            algorithms = {row.algorithm for row in rows if row.kind is wdasync.Kind.COMPRESS}
            assert algorithms
            for algorithm in algorithms:
                packed = await acc.compress(data, algorithm)
                assert await acc.decompress(packed, algorithm) == data
