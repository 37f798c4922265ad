"""A server that meets everything a network can bring, for a while: afterwards nothing is left of it.

tests/stress has the long version.
"""

import anyio
import pytest

from tests.integrations.servers.traffic import Traffic, status

SEED = 11

#: What a server opens when it has something to do: pools of threads, modules, its own pipes.
SLACK = 12


async def quiet(port: int, fds: int = 0) -> dict[str, int]:
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


async def soak(port: int, count: int) -> tuple[dict[str, int], dict[str, int], Traffic]:
    """So many requests: what the server said before and after, and how they ended."""
    idle = await status(port)
    await Traffic(port, count // 4, seed=SEED).run()  # threads, caches and frameworks are there
    before = await quiet(port, idle["fds"] + SLACK)
    traffic = Traffic(port, count, seed=SEED + 1)
    await traffic.run()
    return before, await quiet(port, before["fds"] + 2), traffic


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.anyio
async def test_nothing_is_left(served: tuple[str, int]) -> None:
    name, port = served
    if name == "hypercorn-trio":
        pytest.skip("some of the frameworks are for asyncio")
    before, after, traffic = await soak(port, 400)
    assert after["rescues"] == 0
    assert after["threads"] <= before["threads"] + 2
    ended = traffic.ended
    assert sum(ended.values()) == 400
    refusals = {outcome: count for outcome, count in ended.items() if outcome.startswith(("bomb", "lies"))}
    assert set(refusals) <= {"bomb 413", "lies 400", "bomb nothing", "lies nothing"}
    assert ended["page 200"] > 100
    assert {outcome for outcome in ended if outcome.startswith(("page", "upload"))} == {
        "page 200",
        "upload 200",
    }
