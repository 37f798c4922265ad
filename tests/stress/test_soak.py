"""10⁵ requests of all kinds to each server: nothing left behind, and memory flat."""

import os
import time

import pytest

from tests.integrations.servers.conftest import served  # noqa: F401  the fixture
from tests.integrations.servers.test_soak import soak

#: So many to each server.
COUNT = int(os.environ.get("STRESS_REQUESTS", "100000"))

#: Bytes by which a server may grow after its warm-up.
GROWTH = 48 << 20


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.anyio
async def test_soak(served: tuple[str, int], capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    name, port = served
    if name == "hypercorn-trio":
        pytest.skip("some of the frameworks are for asyncio")
    began = time.perf_counter()
    before, after, traffic = await soak(port, COUNT)
    with capsys.disabled():
        print(
            f"\n{name}: {COUNT} requests in {time.perf_counter() - began:.0f} s: {dict(traffic.ended)}, "
            f"memory {before['memory'] >> 20} → {after['memory'] >> 20} MiB, fds {before['fds']} → {after['fds']}"
        )
    assert after["rescues"] == 0
    assert after["memory"] - before["memory"] < GROWTH
