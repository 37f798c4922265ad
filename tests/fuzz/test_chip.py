"""10⁴ cases for what the emulated chip fetches; `nox -s stress` does 10⁶, guided by coverage."""

from tests.fuzz import chip


def test_any_descriptor() -> None:
    said = chip.blind(10_000, 1)
    assert said.startswith("10000 cases")
    for status in (0, 1, 2, 3):  # done, bad data, bad descriptor, no memory
        assert f"{status}: " in said, said
