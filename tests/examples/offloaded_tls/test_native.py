"""The C of the example is built when it is first wanted, and leaves nothing where it does not belong."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples.offloaded_tls.headers import needed
from tests.examples.support import EXAMPLES

needed()

USE = "from examples.offloaded_tls import native; print(native.lib.LINK_DONE, native.__file__)"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy in which nothing was built yet, beside an empty folder for temporary files."""
    (tmp_path / "temporary").mkdir()
    shutil.copytree(
        EXAMPLES / "offloaded_tls", tmp_path / "examples" / "offloaded_tls",
        ignore=shutil.ignore_patterns("__pycache__"),
    )  # fmt: skip
    return tmp_path


def use(checkout: Path, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", USE],
        cwd=checkout,
        env={**os.environ, "TMPDIR": str(checkout / "temporary"), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert str(checkout) in done.stdout, "it was another copy"
    assert list((checkout / "temporary").iterdir()) == []


def test_built_once_and_kept(checkout: Path) -> None:
    folder = checkout / "examples" / "offloaded_tls" / "__pycache__"
    use(checkout)
    (built,) = folder.glob("*.so")
    assert not [entry for entry in folder.iterdir() if entry.is_dir()]
    use(checkout, PATH="/nowhere")  # where no compiler is
    assert list(folder.glob("*.so")) == [built]


def test_where_nothing_may_be_kept(checkout: Path) -> None:
    (checkout / "examples" / "offloaded_tls" / "__pycache__").touch()  # no folder, for root too
    use(checkout)
    use(checkout)
