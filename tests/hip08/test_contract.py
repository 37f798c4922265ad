"""The emulated chip keeps the queue contract, in all its settings."""

from collections.abc import Sequence
from typing import Any

import pytest

from wdasync.backend import DeviceInfo
from wdasync.testing import check_accelerator, check_backend
from wdasync_hip08 import Hip08Backend, Options, backend
from wdasync_hip08.functions import HPRE, SEC, Function

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


class OneEngine(Hip08Backend):
    """The emulated chip as it is to who sees one of its engines alone."""

    def __init__(self, name: str) -> None:
        self.engine = name

    def devices(self) -> Sequence[DeviceInfo]:
        return [info for info in super().devices() if info.name == self.engine]


@pytest.mark.parametrize("generation", [2, 3])
@pytest.mark.parametrize("function", [HPRE, SEC], ids=lambda function: function.name)
def test_contract_of_the_other_engines(function: Function, generation: int) -> None:
    report = check_backend(OneEngine(function.name), Options(generation=generation))
    assert not report.failed


def test_work_that_is_done_when_its_user_has_left_wakes_nobody(new_machine: Any) -> None:
    """Its descriptor may be somebody else's by then."""
    attachment = new_machine().attach()
    attachment._asleep = True
    assert attachment.close()
    attachment.wake()
