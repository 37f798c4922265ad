"""The tests that docs/tutorial/testing.md shows are found by pytest, and pass."""

import re
import subprocess
import sys
from pathlib import Path

from tests.docs.test_snippets import CHECKOUT, blocks


def test_the_tutorial_s_tests(tmp_path: Path) -> None:
    page = CHECKOUT / "docs" / "tutorial" / "testing.md"
    (source,) = [block.source for block in blocks(page) if "import pytest" in block.source]
    (tmp_path / "test_page.py").write_text(source)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir=.", "test_page.py"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout
    passed = re.search(r"(\d+) passed", ended.stdout)
    assert passed, ended.stdout
    assert int(passed[1]) >= 2 * (1 + 3), "two event loops, one test once and one on at least three backends"
