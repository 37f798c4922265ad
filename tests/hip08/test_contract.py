"""The emulated chip keeps the queue contract, in all its settings."""

from typing import Any

import pytest

from wdasync.testing import check_accelerator, check_backend
from wdasync_hip08 import Options, backend

SETTINGS: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "consuming": {"consuming": True},
    "virtual clock, shallow, pinned, one at a time": {
        "clock": "virtual", "depth": 64, "residency": "pinned", "window": 1, "restartable": True,
    },
    "pinned": {"residency": "pinned"},
    "private": {"memory": "private"},
    "function": {"memory": "function", "consuming": True},
    "reserved": {"memory": "reserved"},
}  # fmt: skip


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS.keys())
def test_contract(setting: dict[str, Any]) -> None:
    report = check_backend(backend, Options(**setting), consuming=setting.get("consuming", False))
    assert not report.failed


@pytest.mark.anyio
@pytest.mark.parametrize("memory", ["private", "function", "reserved"])
async def test_what_users_are_promised(memory: str) -> None:
    report = await check_accelerator("hip08", memory=memory)
    assert not report.failed
