"""The models of the rings for longer: more examples, and longer ones."""

import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from tests.cpu.ring_model import NativeRings
from tests.hip08.ring_model import ChipRings
from tests.uacce.test_qm import Ring

from .conftest import Teller

MODELS = {"native": (NativeRings, 1500), "driver": (Ring, 3000), "chip": (ChipRings, 300)}


@pytest.mark.parametrize(("model", "examples"), MODELS.values(), ids=MODELS)
def test_model(model: type[RuleBasedStateMachine], examples: int, tell: Teller) -> None:
    run_state_machine_as_test(
        model, settings=settings(max_examples=examples, stateful_step_count=80, deadline=None)
    )
    tell(f"model of the rings, {model.__name__}", f"{examples} examples of up to 80 steps; nothing found", 0)
