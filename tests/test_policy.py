"""The policy of an accelerator that was opened: rules come first, and a refused rule does not come in by the back door."""

from typing import Any

import pytest

import wdasync
from wdasync import Reason, Rule

pytestmark = pytest.mark.anyio

SMALL, LARGE = bytes(50_000), bytes(2 << 20)


async def where(backend: Any, rule: Rule, data: bytes, **settings: Any) -> tuple[str, Reason]:
    async with wdasync.open_accelerator(backend, policy=[rule], **settings) as acc:
        result = await acc.execute(wdasync.Compress(data, "gzip"))
    return result.backend, result.reason


@pytest.mark.parametrize("backend", ["cpu", ["cpu"], None])
async def test_a_backend_that_only_a_rule_names(backend: Any) -> None:
    rule = Rule("mock", min_size=1 << 20)
    assert await where(backend, rule, LARGE) == ("mock", Reason.PREFERRED)
    assert await where(backend, rule, SMALL) == ("cpu", Reason.SIZE)


async def test_the_order_in_which_backends_were_named() -> None:
    rule = Rule("mock", min_size=1 << 20)
    assert await where(["cpu", "mock"], rule, SMALL) == ("cpu", Reason.SIZE)
    assert await where(["mock", "cpu"], rule, SMALL) == ("mock", Reason.SIZE)


async def test_a_rule_for_the_fallback() -> None:
    rule = Rule("cpu", max_size=1000)
    assert await where("mock", rule, b"x", inline=False) == ("cpu", Reason.PREFERRED)
    assert await where("mock", rule, SMALL) == ("mock", Reason.SIZE)
