"""Each wdasync.toml that the documentation shows is one that can be read."""

from pathlib import Path
from typing import Any

import pytest

from tests.docs.test_snippets import PAGES, blocks
from wdasync import registry
from wdasync.config import load

SHOWN = [
    pytest.param(block.source, id=block.id)
    for page in PAGES
    for block in blocks(page)
    if block.language == "toml" and "[project" not in block.source  # those are of pyproject.toml
]


def test_there_are_some() -> None:
    assert len(SHOWN) >= 2


@pytest.mark.parametrize("source", SHOWN)
def test_the_file_can_be_read(source: str, tmp_path: Path) -> None:
    path = tmp_path / "wdasync.toml"
    path.write_text(source)
    effective = load(environ={}, cwd=tmp_path)
    assert effective.file == path
    changed = [name for name, origin in effective.origins.items() if origin == f"file {path}"]
    assert changed
    for name in registry.backend_names():
        options: type[Any] = registry.get_backend(name).Options
        effective.options(name, options)
