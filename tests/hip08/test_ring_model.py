"""The rings of the queue manager against a deque, for a moment; `nox -s stress` does it for longer."""

from hypothesis import settings

from tests.hip08.ring_model import ChipRings

TestChipRings = ChipRings.TestCase
TestChipRings.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
