"""What was recorded once of driver and device, on the emulated chip. The guest replays it on a device of the kernel's."""

import copy
from typing import Any

import pytest

from tests.uacce.replay import DEPTH, Mismatch, Replay, load, replay
from wdasync_hip08.functions import ZIP


@pytest.mark.parametrize("options", [{}, {"residency": "cold"}, {"seed": 3, "tlb_entries": 4}], ids=str)
def test_replay(new_machine: Any, options: dict[str, Any]) -> None:
    machine = new_machine(depth=DEPTH, **options)
    assert replay(machine, machine.discover()[-1]) > 3 * DEPTH


@pytest.mark.parametrize(
    ("what", "change"),
    [
        (
            "completion entry",
            lambda completion: completion.update(
                cqe=completion["cqe"][:16] + "0900" + completion["cqe"][20:]
            ),
        ),
        ("entry in slot", lambda completion: completion.update(sqe="ff" + completion["sqe"][2:])),
    ],
)
def test_another_answer_is_found(new_machine: Any, what: str, change: Any) -> None:
    machine = new_machine(depth=DEPTH)
    recording = copy.deepcopy(load()["queues"][0])
    change(next(step["complete"][0] for step in recording["steps"] if step.get("complete")))
    with pytest.raises(Mismatch, match=what):
        Replay(machine.open(ZIP.name), recording).run()


def test_another_output_is_found(new_machine: Any) -> None:
    machine = new_machine(depth=DEPTH)
    recording = copy.deepcopy(load()["queues"][1])
    completions = [told for step in recording["steps"] for told in step.get("complete", ())]
    next(told for told in completions if "output" in told)["output"] = "0" * 64
    with pytest.raises(Mismatch, match="another output"):
        Replay(machine.open(ZIP.name), recording).run()


def test_rings_of_another_depth(new_machine: Any) -> None:
    machine = new_machine(depth=DEPTH * 2)
    with pytest.raises(Mismatch, match="expected rings of"):
        replay(machine, machine.discover()[-1])
