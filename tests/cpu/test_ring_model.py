"""The native rings against a deque, for a moment; `nox -s stress` does it for longer."""

from hypothesis import settings

from tests.cpu.ring_model import NativeRings

TestNativeRings = NativeRings.TestCase
TestNativeRings.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
