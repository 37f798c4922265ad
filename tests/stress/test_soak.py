"""10⁵ requests of all kinds to each server and to the proxy: nothing left behind, memory flat, and no request lost with a device."""

import os
import time
from pathlib import Path

import pytest

from tests.examples.reverse_proxy import soak as proxies
from tests.examples.reverse_proxy.conftest import MODELS
from tests.examples.reverse_proxy.origin import origin
from tests.integrations.servers.conftest import served, serving  # noqa: F401  the fixture
from tests.integrations.servers.test_soak import soak
from tests.traffic import Memory, Traffic

from .conftest import Teller

#: So many to each server.
COUNT = int(os.environ.get("STRESS_REQUESTS", "100000"))
SEED = int(os.environ.get("STRESS_SEED", "1"))

#: Bytes by which the median of a server's memory may grow, from the second sixth of its requests to the last.
GROWTH = 16 << 20

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]


def figures(traffic: Traffic, memory: Memory, seconds: float, left: str) -> str:
    """What came of it, in words."""
    ended = ", ".join(f"{what}: {count}" for what, count in sorted(traffic.ended.items()))
    medians = " → ".join(str(median >> 20) for median in memory.medians)
    return f"{traffic.count} requests in {seconds:.0f} s; {left}; memory {medians} MiB; {ended}"


async def test_servers(served: tuple[str, int], tell: Teller) -> None:  # noqa: F811
    name, port = served
    if name == "hypercorn-trio":
        pytest.skip("some of the frameworks are for asyncio")
    began = time.perf_counter()
    before, after, traffic, memory = await soak(port, COUNT, SEED)
    left = f"descriptors {before['fds']} → {after['fds']}, threads {before['threads']} → {after['threads']}, slots in use 0"
    tell(f"soak, {name}", figures(traffic, memory, time.perf_counter() - began, left), SEED)
    assert memory.growth < GROWTH, memory.medians


async def test_a_device_that_dies(tmp_path: Path, tell: Teller) -> None:
    """A tenth of it, on the emulated chip, which is slower."""
    with serving(
        "uvicorn",
        tmp_path / "log",
        WDASYNC_BACKEND="hip08",
        WDASYNC_REOPEN_DELAY="0.2",
        WDASYNC_REOPEN_LIMIT="0.2",
    ) as port:
        began = time.perf_counter()
        before, after, traffic, memory = await soak(port, COUNT // 10, SEED, losses=max(1, COUNT // 5000))
    left = (
        f"its device was lost {after['losses']} times; descriptors {before['fds']} → {after['fds']}, "
        f"threads {before['threads']} → {after['threads']}, slots in use 0"
    )
    tell(
        "soak, uvicorn on hip08, which dies",
        figures(traffic, memory, time.perf_counter() - began, left),
        SEED,
    )
    assert memory.growth < GROWTH, memory.medians


def of_proxy(result: proxies.Result, seconds: float) -> str:
    """What came of a soak of the proxy, in words."""
    before, after, total = result.before, result.after, result.figures
    left = (
        f"its device was lost {result.losses} times; descriptors {before.descriptors} → {after.descriptors}, "
        f"threads {before.threads} → {after.threads}, buffers and slots in use 0; {total['operations']} operations, "
        f"{total['plain']} bodies left as they were"
    )
    return figures(result.traffic, result.memory, seconds, left)


@pytest.mark.parametrize("model", MODELS)
async def test_proxy(model: str, tell: Teller) -> None:
    began = time.perf_counter()
    with origin() as server:
        result = await proxies.soak(server, model, "cpu", COUNT, SEED, losses=0)
    proxies.check(result.traffic)
    tell(f"soak, proxy, {model}", of_proxy(result, time.perf_counter() - began), SEED)
    assert result.memory.growth < GROWTH, result.memory.medians


@pytest.mark.parametrize("model", MODELS)
async def test_proxy_whose_device_dies(model: str, tell: Teller) -> None:
    began = time.perf_counter()
    with origin() as server:
        result = await proxies.soak(server, model, "hip08", COUNT // 10, SEED, losses=max(1, COUNT // 5000))
    proxies.check(result.traffic)
    tell(f"soak, proxy, {model} on hip08, which dies", of_proxy(result, time.perf_counter() - began), SEED)
    assert result.memory.growth < GROWTH, result.memory.medians
