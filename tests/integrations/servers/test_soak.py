"""A server that meets everything a network can bring, for a while: afterwards nothing is left of it.

tests/stress has the long version.
"""

import asyncio
from pathlib import Path

import anyio
import pytest

from tests.integrations.servers.conftest import serving
from tests.integrations.servers.traffic import UNREADABLE, Weather, status
from tests.traffic import Memory, Process, soaked

SEED = 11

#: What a server opens when it has something to do: pools of threads, modules, its own pipes.
SLACK = 12

Told = dict[str, int]


async def quiet(port: int, fds: int = 0) -> Told:
    """What the server says once it has noticed that everybody has left.

    :param fds: wait until it has no more open than so many, for servers keep idle connections for some seconds; 0: do not look
    """
    with anyio.fail_after(60):
        while True:
            told = await status(port)
            if (told["running"], told["busy"], told["streams"]) == (0, 0, 0) and told["fds"] <= (
                fds or told["fds"]
            ):
                return told
            await anyio.sleep(0.05)


async def soak(
    port: int, count: int, seed: int = SEED, losses: int = 0
) -> tuple[Told, Told, Weather, Memory]:
    """So many requests: what the server said before and after, how they ended, and its memory.

    :param losses: how often its best device goes away meanwhile
    """
    idle = await status(port)
    await Weather(port, min(count // 4, 2000), seed=seed).run()  # threads, caches and frameworks are there
    before = await quiet(port, idle["fds"] + SLACK)
    traffic = Weather(port, count, seed=seed + 1)
    async with asyncio.TaskGroup() as group:
        misfortune = group.create_task(lose(traffic, losses))
        memory = await soaked(traffic, Process(before["pid"]))
        misfortune.cancel()
    after = await quiet(port, before["fds"] + 2)
    check(traffic)
    assert after["rescues"] == 0
    assert after["threads"] <= before["threads"] + 2
    assert after["losses"] - before["losses"] >= losses // 3  # one that is not back yet cannot go again
    return before, after, traffic, memory


async def lose(traffic: Weather, losses: int) -> None:
    """The best device goes away, at each part of the way, as soon as it is there."""
    for number in range(losses):
        while traffic.done < traffic.count * (number + 1) / (losses + 1):
            await anyio.sleep(0.01)
        while not (await status(traffic.port, "/lose/"))["lost"]:
            await anyio.sleep(0.05)


def check(traffic: Weather) -> None:
    """Those who behave got what they asked for, and the others something that is right."""
    ended = traffic.ended
    assert sum(ended.values()) == traffic.count
    assert traffic.answered("page", "upload", "patient") == {"page 200", "upload 200", "patient 200"}
    assert traffic.answered("kept", "pipelined") == {"kept all", "pipelined all"}
    assert traffic.answered("bomb", "lies") <= {"bomb 413", "bomb nothing", "lies 400", "lies nothing"}
    assert ended["bomb 413"]
    assert ended["lies 400"]
    assert traffic.answered("smuggled") <= {f"smuggled {answer}" for answer in UNREADABLE}
    assert traffic.answered("oversized") <= {f"oversized {answer}" for answer in UNREADABLE}


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.anyio
async def test_nothing_is_left(served: tuple[str, int]) -> None:
    name, port = served
    if name == "hypercorn-trio":
        pytest.skip("some of the frameworks are for asyncio")
    await soak(port, 400)


@pytest.mark.parametrize("backend", ["hip08", "mock"])
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.anyio
async def test_a_device_that_dies_under_load_costs_no_request(backend: str, tmp_path: Path) -> None:
    with serving(
        "uvicorn",
        tmp_path / "log",
        WDASYNC_BACKEND=backend,
        WDASYNC_REOPEN_DELAY="0.2",
        WDASYNC_REOPEN_LIMIT="0.2",
    ) as port:
        await soak(port, 400, losses=3)
