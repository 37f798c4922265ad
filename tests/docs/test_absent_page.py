"""The picture on the page about absent pages shows what the chip does today."""

import re
from pathlib import Path
from types import ModuleType

import pytest

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(CHECKOUT / "docs")
    import absent_page  # type: ignore[import-not-found]

    return absent_page


def words(picture: Path) -> list[str]:
    """The texts of an SVG, in their order, without the times."""
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", picture.read_text())
    return [text for text in texts if not text.isdecimal()]


def test_it_is_what_a_trace_says(module: ModuleType, tmp_path: Path) -> None:
    module.draw(tmp_path / "new.svg", module.record())
    shown = words(CHECKOUT / "docs" / "_static" / "absent-page.svg")
    assert words(tmp_path / "new.svg") == shown
    assert {"smmu", "interrupt", "SUCCESS"} <= set(shown)


def test_every_meaning_is_used(module: ModuleType) -> None:
    assert {step.name for step in module.record()} == set(module.MEANINGS)
