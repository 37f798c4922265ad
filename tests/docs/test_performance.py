"""The page on performance says of each target that was missed why."""

import json
from pathlib import Path
from typing import Any

import pytest

from docs import tables
from wdasync.cli.benchmarks.targets import PAGING, TARGETS


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a run with these targets the committed one."""

    def commit(*targets: dict[str, Any]) -> None:
        path = tmp_path / "bench.json"
        path.write_text(json.dumps({"targets": targets}))
        monkeypatch.setattr(tables, "RUN", path)

    return commit


def entry(text: str, loop: str, median: float, reached: bool) -> dict[str, Any]:
    return {"text": text, "loop": loop, "bound": "≥ 8", "median": median, "reached": reached}


def test_each_target_that_was_missed_has_a_reason() -> None:
    (table,) = tables.missed()
    missed = {found["text"] for found in tables.measured() if not found["reached"]}
    assert {row[0] for row in table.rows} == missed
    assert all(row[2] for row in table.rows)


def test_a_miss_without_a_reason_fails_the_build(run: Any) -> None:
    run(entry("something new", "asyncio", 1.0, False))
    with pytest.raises(LookupError, match="something new"):
        list(tables.missed())


def test_every_reason_is_of_a_target() -> None:
    texts = [target.text.format(name) for target in (*TARGETS, *PAGING) for name in ("cpu", "hip08")]
    assert [begin for begin in tables.REASONS if not any(text.startswith(begin) for text in texts)] == []


def test_what_was_missed_stands_out(run: Any) -> None:
    run(entry("no-op over x", "asyncio", 7.123, False), entry("no-op over x", "trio", 1234.5, True))
    (table,) = tables.targets()
    assert table.rows == [("no-op over x", "≥ 8", "**7.12**", "1,234")]
