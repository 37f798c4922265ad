"""The proxy under all that can happen, for a while. tests/stress has the long version."""

import pytest

from tests.examples.reverse_proxy.conftest import MODELS
from tests.examples.reverse_proxy.origin import Origin
from tests.examples.reverse_proxy.soak import check, soak


@pytest.mark.parametrize(("model", "backend"), [("rtc", "mock"), *((model, "hip08") for model in MODELS)])
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.anyio
async def test_nothing_is_left_and_nothing_is_lost(server: Origin, model: str, backend: str) -> None:
    result = await soak(server, model, backend, count=500, seed=7, losses=4)
    check(result.traffic)
